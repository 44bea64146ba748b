"""Exercises: lenient to how an answer is written, strict to what it says, and never a traceback."""
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cardiac_ml.exercises import check
from cardiac_ml.exercises.answers import COMPUTED, FIXED
from cardiac_ml.files import DataError


def said(capsys, *given, **context):
    check(*given, **context)
    return capsys.readouterr().out.split()[0].strip("!.")


@pytest.mark.parametrize("exercise, right, wrong", [
    ("task1.2", ["down", " Down ", '"DOWN"'], ["up", 0.5, None]),
    ("task2.1", [8 / 11, "0.727", 0.73, "72.7 %", 72.7], [0.8, 8 / 14, 0, "many"]),
    ("task2.3", ["a", "(A)", "a)"], ["b", "abc"]),
    ("task3.1", ["aVR", "avr"], ["aVL", "I"]),
    ("tutorial3.1", ["Symmetry", "symmetry "], ["dummy", 1]),
    ("task4.2", [0.22, "0,22", 110 / 500], [110, 0.0, 31]),
])
def test_fixed_answers(capsys, exercise, right, wrong):
    assert [said(capsys, exercise, answer) for answer in right] == ["Right"] * len(right)
    assert [said(capsys, exercise, answer) for answer in wrong] == ["Not"] * len(wrong)
    assert said(capsys, exercise, ...) == "Not" and exercise in FIXED


def test_answers_that_depend_on_the_data(capsys):
    truth, prediction = np.array([0, 1, 1, 1]), np.eye(2)[[0, 1, 0, 1]]
    for answer, word in ((2 / 3, "Right"), ("66.7%", "Right"), (66.7, "Right"), (0.9, "Not"), (17, "Not"),
                         ([1, 2], "Not")):
        assert said(capsys, "task1.1", answer, truth=truth, prediction=prediction) == word
    for answer, word in ((0.81, "Right"), (0.8, "Not"), (17, "Not"), ("0.9", "Right")):
        assert said(capsys, "task1.3", answer, before=0.8) == word
    assert said(capsys, "task3.2", "FUSION", by_kind={"normal": 2.0, "fusion": 5.0}) == "Right"
    value = np.array([0, 1, 2, 2.5, 3, 3.5, 6, 10])
    assert said(capsys, "tutorial3.2", {"ii", "V1"}, value=value, names=("I", "II", "V1")) == "Right"
    assert said(capsys, "tutorial3.2", {"I", "II"}, value=value, names=("I", "II", "V1")) == "Not"
    assert said(capsys, "tutorial3.3", "25 %", value=value) == "Right" != said(capsys, "tutorial3.3", 0.3, value=value)
    pulled = dict(find=lambda pixels: SimpleNamespace(ratio=len(pixels) / 36), chest=np.zeros((8, 8)))
    assert said(capsys, "tutorial4.5", 0.44, **pulled) == "Right" != said(capsys, "tutorial4.5", 0.22, **pulled)
    traces = np.cumsum(np.random.default_rng(0).normal(size=(2, 75, 500)), axis=2)
    predicted = traces + 0.5
    change = np.abs(np.roll(predicted, 1, axis=2) - traces).mean() - 0.5
    assert said(capsys, "task4.1", change, truth=traces, predicted=predicted) == "Right"
    assert said(capsys, "task4.1", 0.0, truth=traces, predicted=predicted) == "Not"


def test_an_exercise_that_is_none_is_named():
    with pytest.raises(DataError, match="no exercise 'task9.9'. There are .*task1.1"):
        check("task9.9", 1)


def test_lists_sets_and_curves(capsys):
    assert said(capsys, "tutorial1.3", ["Plain", "cured"], plain=(1.0, 0.7), cured=(0.9, 0.8)) == "Right"
    assert said(capsys, "tutorial1.3", ["plain", ...], plain=(1.0, 0.7), cured=(0.9, 0.8)) == "Not"
    value = np.zeros(8)
    value[0b101] = 1
    for pair, word in (({"II", "i"}, "Not"), ({"V1", "I"}, "Right"), (["v1", "I"], "Right"), (None, "Not")):
        assert said(capsys, "tutorial3.2", pair, value=value, names=("I", "II", "V1")) == word
    for alpha, word in ((1.2, "Right"), ("1", "Right"), (100, "Not"), (-1, "Not")):
        assert said(capsys, "tutorial2.2", alpha, alphas=[0.1, 1, 10, 100], errors=[6, 5, 5.5, 9]) == word
    table = pd.DataFrame({"a": [0, 1, 2, 3], "b": [1, 0, 1, 0], "c": [3, 2, 1, 0.5]})
    for pair, word in (({"c", "A"}, "Right"), ({"a", "b"}, "Not")):
        assert said(capsys, "tutorial2.4", pair, table=table) == word
    check("tutorial2.4", "yes", table=table)
    assert "x.corr() has the correlation" in capsys.readouterr().out


@pytest.mark.parametrize("exercise, right, wrong", [
    ("tutorial1.1", 0.1, 1), ("tutorial1.2", -np.log(0.1), 1.0), ("tutorial1.5", "too high", "low"),
    ("tutorial4.1", 0.75, 0.25), ("tutorial4.2", "10 %", 0.2), ("tutorial4.3", 11.8, 18), ("tutorial4.4", 1 / 3, 0.5)])
def test_answers_of_the_tutorials(capsys, exercise, right, wrong):
    assert said(capsys, exercise, right) == "Right" and said(capsys, exercise, wrong) == "Not"


def test_no_answer_stands_in_the_file():
    assert all(len(digits) == 10 and int(digits, 16) for hashes, _ in FIXED.values() for digits in hashes)
    assert all(callable(function) and hint for function, _, hint in COMPUTED.values())
