import io
import json
import zipfile

import numpy as np
import pytest
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
def test_round_trip_in_any_order(tmp_path, task, suffix):
    values, order = prediction(task), np.random.default_rng(0).permutation(len(IDS))
    path = tmp_path / f"mine{suffix}"
    if suffix == ".csv" and task > 2:
        with pytest.raises(DataError, match="is a .npz file"):
            submission.write_submission(path, task, IDS, values)
        return
    submission.write_submission(path, task, IDS[order], values[order])
    assert submission.check(path, task, IDS) == []
    assert submission.aligned(submission.read_submission(path), IDS) == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("task", [1, 2, 3, 4])
def test_a_template_passes_the_check(tmp_path, task):
    assert submission.check(submission.write_template(tmp_path / "t.npz", task, IDS), task, IDS) == []


def test_a_wrong_prediction_is_not_written(tmp_path):
    with pytest.raises(DataError, match="NaN"):
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
    "plain numbers or text": dict(prediction=np.array([{"a": 1}] * 7, dtype=object)),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_damage_is_named(good, words):
    rewrite(good, **DAMAGES[words])
    wrong = submission.check(good, 3, IDS)
    assert len(wrong) == 1
    with pytest.raises(AssertionError, match=words):
        assert wrong == [], wrong[0]


def test_swapped_axes_are_named(tmp_path):
    path = submission.write_submission(tmp_path / "mine.npz", 4, IDS, prediction(4))
    rewrite(path, prediction=np.ascontiguousarray(prediction(4).swapaxes(1, 2)))
    assert "swapped" in submission.check(path, 4, IDS)[0]


@pytest.mark.parametrize("values, words", [(np.full((7, 5), 0.5), "add up"), (np.full((7, 5), 3.0), "logits")])
def test_probabilities_must_be_probabilities(tmp_path, values, words):
    path = rewrite(submission.write_template(tmp_path / "t.npz", 2, IDS), prediction=values.astype(np.float32))
    assert words in submission.check(path, 2, IDS)[0]


def test_truncated_file(good):
    good.write_bytes(good.read_bytes()[:-200])
    assert "cannot be read" in submission.check(good, 3, IDS)[0]


def test_a_header_that_claims_terabytes_allocates_nothing(good):
    content = io.BytesIO()
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(content, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, data.replace(b"(7, 75)", b"(10**12, 9)"[:7]) if "pred" in info.filename else data)
    good.write_bytes(content.getvalue())
    assert submission.check(good, 3, IDS)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f4", "fortran_order": False, "shape": (10 ** 12, 75)})
    with zipfile.ZipFile(good, "w") as new:
        for name in ("header", "ids", "prediction"):
            new.writestr(f"{name}.npy", huge.getvalue())
    assert "claims the shape" in submission.check(good, 3, IDS)[0]


def test_csv_damage_is_named(tmp_path):
    path = submission.write_template(tmp_path / "t.csv", 2, IDS)
    text = path.read_text()
    for change, words in [((",S,", ",X,"), "second line must be"), (("0.2,0.2\n", "0.2\n"), "columns, expected 6"),
                          (("# {", "{"), "must start with"), (("0.2\n", "zero\n"), "cannot be read")]:
        path.write_text(text.replace(*change))
        assert words in submission.check(path, 2, IDS)[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_a_hostile_file_never_crashes_the_check(tmp_path, data):
    path = tmp_path / data.draw(strategies.sampled_from(["a.npz", "a.csv"]))
    submission.write_template(path, 2, IDS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(strategies.integers(1, 8))):
        content[data.draw(strategies.integers(0, len(content) - 1))] = data.draw(strategies.integers(0, 255))
    cut = data.draw(strategies.integers(0, len(content)))
    path.write_bytes(bytes(content[:cut]) if data.draw(strategies.booleans()) else bytes(content))
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
