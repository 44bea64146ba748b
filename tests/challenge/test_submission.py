import io
import json
import re
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from challenge.made import damaged
from hypothesis import HealthCheck, given, settings, strategies

from cardiac_ml.challenge import submission
from cardiac_ml.files import DataError

IDS = np.array([f"case {i}" for i in range(7)])


def prediction(task):
    rng = np.random.default_rng(task)
    shape = (len(IDS), *submission.TASKS[task].shape)
    if task <= 2:
        return rng.dirichlet(np.ones(shape[1]), shape[0]).astype(np.float32)
    return rng.uniform(0, 120, shape).astype(np.float32) if task == 3 else rng.uniform(-90, 30, shape).astype("f4")


def rewrite(path, **arrays):
    """The submission at ``path`` with some of its arrays replaced."""
    with np.load(path) as file:
        kept = dict(file) | arrays
    np.savez(path, **{name: value for name, value in kept.items() if value is not None})
    return path


@pytest.fixture
def good(tmp_path):
    return submission.write_submission(tmp_path / "mine.npz", 3, IDS, prediction(3), team="us")


@pytest.mark.parametrize("task", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_a_template_is_valid_and_a_round_trip_in_any_order(tmp_path, task, suffix):
    values, order = prediction(task), np.random.default_rng(0).permutation(len(IDS))
    assert submission.check(submission.write_template(tmp_path / "t.npz", task, IDS), task, IDS) == []
    path = tmp_path / f"mine{suffix}"
    if suffix == ".csv" and task > 2:
        with pytest.raises(DataError, match="is a .npz file"):
            submission.write_submission(path, task, IDS, values)
        return
    submission.write_submission(path, task, IDS[order], values[order])
    assert submission.check(path, task, IDS) == []
    assert submission.read_submission(path, task, IDS).prediction == pytest.approx(values, abs=1e-6)


def test_a_wrong_prediction_is_not_written(tmp_path):
    with pytest.raises(DataError, match="7 cases hold NaN or infinity, the first is 'case 0'"):
        submission.write_submission(tmp_path / "mine.npz", 3, IDS, np.full((7, 75), np.nan))
    assert not list(tmp_path.iterdir())


DAMAGES = {
    "ids are missing": dict(ids=IDS[:-1], prediction=prediction(3)[:-1]),
    "appear more than once": dict(ids=np.r_[IDS, IDS[:1]], prediction=np.r_[prediction(3), prediction(3)[:1]]),
    "are not test cases": dict(ids=np.r_[IDS, ["case x"]], prediction=np.r_[prediction(3), prediction(3)[:1]]),
    "shape": dict(prediction=prediction(3)[:, :74]),
    "of type int64": dict(prediction=prediction(3).astype(np.int64)),
    "NaN or infinity": dict(prediction=np.where(prediction(3) > 100, np.nan, prediction(3))),
    "Are these seconds, samples": dict(prediction=prediction(3) * 1000),
    "Are these seconds\\?": dict(prediction=prediction(3) / 1000),
    "for task 1, not for task 3": dict(header=np.array(json.dumps({"task": 1}))),
    "other test cases": dict(header=np.array(json.dumps({"task": 3, "data": "0" * 16}))),
    "header must be JSON": dict(header=np.array(json.dumps({"task": 9}))),
    "header must be JSON with": dict(header=np.array(json.dumps({"task": [3]}))),
    "JSONDecodeError": dict(header=np.array("not json")),
    "holds header.npy, prediction.npy": dict(ids=None),
    "holds extra.npy": dict(extra=np.zeros(3)),
    "list of text": dict(ids=np.arange(7)),
    "3000 ids of up to 1 letters for 7 cases": dict(ids=np.full(3000, "x")),
    "of up to 300 letters": dict(ids=np.array(["x" * 300] * 7)),
    "no letters": dict(ids=np.frombuffer(b"\xff\xff\xff\x7f" * 7, "<U1")),
    "of type float128": dict(prediction=prediction(3).astype(np.longdouble)),
    "plain numbers or text": dict(prediction=np.array([{"a": 1}] * 7, dtype=object)),
    "swapped": dict(task=4, prediction=np.ascontiguousarray(prediction(4).swapaxes(1, 2))),
    "add up": dict(task=2, prediction=np.full((7, 5), 0.5, np.float32)),
    "logits": dict(task=2, prediction=np.full((7, 5), 3, np.float32)),
    "percent": dict(task=2, prediction=np.full((7, 5), 20, np.float32)),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_damage_is_named(tmp_path, words):
    task, damage = DAMAGES[words].get("task", 3), {key: it for key, it in DAMAGES[words].items() if key != "task"}
    path = submission.write_submission(tmp_path / "mine.npz", task, IDS, prediction(task), team="us")
    wrong = submission.check(rewrite(path, **damage), task, IDS)
    assert len(wrong) == 1 and re.search(words, wrong[0]), wrong


def test_truncated_file(good):
    good.write_bytes(good.read_bytes()[:-200])
    assert "cannot be read" in submission.check(good, 3, IDS)[0]


def test_a_tensor_in_training_is_written_too(tmp_path):
    tensor = torch.tensor(prediction(3), requires_grad=True)
    path = submission.write_submission(tmp_path / "mine.npz", 3, IDS, tensor)
    assert submission.read_submission(path, 3, IDS).prediction == pytest.approx(prediction(3))


def test_a_poor_linear_prediction_of_voltages_is_valid(tmp_path):
    values = np.linspace(-173, 117, prediction(4).size).reshape(prediction(4).shape)
    assert submission.check(submission.write_submission(tmp_path / "mine.npz", 4, IDS, values), 4, IDS) == []


def bomb(kind, path):
    """Small files that claim, or unpack to, gigabytes."""
    sizes = {"terabytes": ("<f4", (10 ** 12, 75)), "wide ids": ("<U200000000", (3,)), "empty ids": ("<U0", (2 ** 28,)),
             "many ids": ("<U50", (2 ** 24,)), "zeros": ("<f4", (2 ** 28,))}
    descr, shape = sizes.get(kind, ("<U200", (10 ** 6,)))
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    body = bytes(10 ** 6) if kind == "terabytes" else b""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2 if kind == "bzip2 ids" else zipfile.ZIP_DEFLATED) as new:
        with np.load(submission.write_submission(path.with_name("g.npz"), 3, IDS, prediction(3))) as good:
            for name, array in good.items():
                file = io.BytesIO()
                np.lib.format.write_array(file, array)
                attacked = name == ("prediction" if kind in ("terabytes", "zeros") else "ids")
                with new.open(f"{name}.npy", "w") as member:
                    member.write(head.getvalue() + body if attacked else file.getvalue())
                    if attacked and kind in ("bzip2 ids", "zeros", "many ids"):
                        [member.write(bytes(1 << 20)) for _ in range(100)]
        if kind == "members":
            [new.writestr(f"{number}", b"") for number in range(20_000)]
    return path


@pytest.mark.parametrize("kind", ["terabytes", "wide ids", "empty ids", "many ids", "zeros", "bzip2 ids", "members"])
def test_a_bomb_costs_neither_memory_nor_time(tmp_path, kind):
    path = bomb(kind, tmp_path / "bomb.npz")
    tracemalloc.start()
    try:
        started = time.monotonic()
        wrong = submission.check(path, 3, IDS)
        assert len(wrong) == 1 and time.monotonic() - started < 2
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_csv_damage_is_named(tmp_path):
    path = submission.write_template(tmp_path / "t.csv", 2, IDS)
    text = path.read_text()
    for change, words in [((",S,", ",X,"), "second line must be"), (("0.2,0.2\n", "0.2\n"), "columns, expected 6"),
                          (("# {", "{"), "first line must be"), (("0.2\n", "zero\n"), "cannot be read"),
                          (('"task": 2', '"task": 1'), "columns are those of task 2"),
                          (("case 0", "x" * 131_000), "expected 6"), (("case 0", "x" * 300), "expected 6")]:
        path.write_text(text.replace(*change))
        wrong = submission.check(path, 2, IDS)
        assert len(wrong) == 1 and words in wrong[0]
    path.write_text(text + "x,0.2,0.2,0.2,0.2,0.2\n" * 5000)
    assert "more than 1014 rows for 7 cases" in submission.check(path, 2, IDS)[0]


@pytest.mark.parametrize("saved", [
    lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n"), lambda text: text.split("\n", 1)[1],
    lambda text: "\n".join([text.split("\n")[0], *(line.replace(",", ";").replace("0.2", "0,2") for line in
                                                   text.split("\n")[1:])]),
    lambda text: "\ufeff" + '"# {""task"": 2"," ""team"": ""me"""}",,,\n'.replace('}"', '}') + text.split("\n", 1)[1]])
def test_csv_as_spreadsheets_save_it(tmp_path, saved):
    path = submission.write_template(tmp_path / "our team.csv", 2, IDS, team="me")
    path.write_text(saved(path.read_text()), encoding="utf-8", newline="")
    assert submission.check(path, 2, IDS) == []
    assert submission.team_of(submission.read_header(path)) in ("me", "our team")


def test_names_of_strangers_are_plain_text():
    assert submission.team_of({"team": "a\x1b[31m\r\nb\ud800\u202e"}) == "a?[31m??b??"
    assert submission.team_of({"team": ["x"]}) == submission.team_of({"team": "  "}) == "anonymous"
    assert submission.team_of({"team": "x" * 999}) == "x" * (submission.MAX_TEAM - 1) + "…"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_a_hostile_file_never_crashes_the_check(tmp_path, data):
    path = tmp_path / data.draw(strategies.sampled_from(["a.npz", "a.csv"]))
    submission.write_template(path, 2, IDS)
    path.write_bytes(damaged(path.read_bytes(), data))
    assert isinstance(submission.check(path, 2, IDS), list)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=strategies.binary(max_size=300), suffix=strategies.sampled_from([".npz", ".csv", ""]))
def test_any_bytes_at_all(tmp_path, content, suffix):
    path = tmp_path / f"b{suffix}"
    path.write_bytes(content)
    assert submission.check(path, 2, IDS) != []


def test_a_pickle_is_never_opened(tmp_path, good):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))
    rewrite(good, prediction=np.array([Trap()] * 7, dtype=object))
    assert submission.check(good, 3, IDS)
    assert not (tmp_path / "opened").exists()
