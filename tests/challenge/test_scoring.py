import json
import time

import numpy as np
import pytest
from challenge.made import damaged, made_truth, perfect
from hypothesis import HealthCheck, given, settings, strategies

from cardiac_ml import metrics
from cardiac_ml.challenge import scoring, submission
from cardiac_ml.files import DataError


@pytest.mark.parametrize("task", [1, 2, 3, 4])
def test_a_perfect_submission_scores_perfectly_and_a_shuffled_one_badly(tmp_path, task):
    truth = made_truth(task, cases=24 if task == 4 else 60)
    path = submission.write_submission(tmp_path / "mine.npz", task, truth.ids, perfect(truth))
    best = scoring.score(path, truth)[scoring.MAIN[task]]
    assert best.value == best.low == best.high == (1 if scoring.MORE_IS_BETTER[task] else 0)
    shuffled = np.random.default_rng(9).permutation(perfect(truth))
    submission.write_submission(path, task, truth.ids, shuffled)
    bad = scoring.score(path, truth, final=True)[scoring.MAIN[task]]
    assert bad.value < 0.7 if scoring.MORE_IS_BETTER[task] else bad.value > 5
    assert bad.low <= bad.value <= bad.high


def test_truth_round_trip(tmp_path):
    truth = made_truth(2)
    scoring.write_truth(tmp_path / "truth_task_2.npz", truth)
    again = scoring.find_truth(tmp_path, 2)
    assert again.task == 2 and all((a == b).all() for a, b in zip(truth[1:], again[1:]))
    with pytest.raises(DataError, match="the challenge in .* has task 2"):
        scoring.find_truth(tmp_path, 3)
    with pytest.raises(DataError, match="with its private part"):
        scoring.find_truth(tmp_path / "public", 2)


WRONG_TRUTHS = {"for task 7": dict(task=7), "ids is float64": dict(ids=np.zeros(60)),
                "all different": dict(ids=np.full(60, "x")), r"not 0\.\.4": dict(label=np.full(60, 9)),
                r"group is .* of shape \(59,\)": dict(group=np.full(59, "v1")),
                "label is float64": dict(label=np.zeros(60)), "final is int64": dict(final=np.zeros(60, int)),
                "Object arrays": dict(label=np.array([None] * 60)), "KeyError": dict(ids=None)}


@pytest.mark.parametrize("words", WRONG_TRUTHS)
def test_a_truth_of_another_kind_is_refused(tmp_path, words):
    fields = {**made_truth(2)._asdict(), **WRONG_TRUTHS[words]}
    np.savez(tmp_path / "truth.npz", **{name: value for name, value in fields.items() if value is not None})
    with pytest.raises(DataError, match=f"not a truth file of a challenge, or is damaged .*{words}"):
        scoring.read_truth(tmp_path / "truth.npz")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_a_damaged_truth_is_refused_or_the_same(tmp_path, data):
    truth, path = made_truth(1, cases=12), tmp_path / "truth.npz"
    scoring.write_truth(path, truth)
    path.write_bytes(damaged(path.read_bytes(), data))
    try:
        assert (scoring.read_truth(path).label == truth.label).all()
    except DataError as error:
        assert "truth.npz" in str(error)


def test_missing_labels_do_not_reach_the_score(tmp_path):
    truth = made_truth(3)
    label = truth.label.copy()
    label[:, :5] = np.nan
    truth = truth._replace(label=label)
    path = submission.write_submission(tmp_path / "m.npz", 3, truth.ids, np.nan_to_num(label, nan=50) + 2)
    scores = scoring.score(path, truth)
    assert scores["MAE (ms)"].value == pytest.approx(2, abs=1e-4)
    assert scores["labels left out"].value == scores["labels left out"].high == 200, "the part for the week"


def test_scores_as_text_and_json(tmp_path):
    scores = {"MAE (ms)": metrics.Interval(1.5, 1.0, 2.0)}
    assert "1.500   (1.000 .. 2.000)" in scoring.as_text(scores)
    path = scoring.write_json(tmp_path / "scores.json", scores)
    assert json.loads(path.read_text()) == {"MAE (ms)": {"value": 1.5, "low": 1.0, "high": 2.0}}


def test_many_rows_without_groups_are_scored_soon(tmp_path):
    rng, rows = np.random.default_rng(0), 10_000
    truth = made_truth(2, cases=rows, groups=rows)
    path = submission.write_submission(tmp_path / "m.npz", 2, truth.ids, rng.dirichlet(np.ones(5), rows))
    started = time.process_time()
    scores = scoring.score(path, truth)
    assert time.process_time() - started < 10
    assert scores["accuracy"].high - scores["accuracy"].low == pytest.approx(2 * 1.645 * 0.4 / rows ** 0.5, rel=0.4)
