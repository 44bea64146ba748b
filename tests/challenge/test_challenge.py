import numpy as np
import pytest

from cardiac_ml import intracardiac
from cardiac_ml.challenge import making as challenge, scoring, submission
from cardiac_ml.files import DataError

SEED = 987_654_321_012  # long, so that no other number holds it by chance


def made_heartbeats(seed=0, **_):
    """The four files of the heartbeat simulator, with noise in place of beats: eight patients."""
    rng = np.random.default_rng(seed)

    def file(rows, label, patients):
        import pandas as pd
        beats = np.column_stack([rng.random((rows, 187)), np.full(rows, label)]).astype(np.float32)
        return beats, pd.DataFrame({"patient": rng.choice(patients, rows), "rr_before_ms": 800.0, "rr_after_ms": 800.0})
    return {"mitbih_train": file(40, 0, range(6)), "mitbih_test": file(20, 2, [6, 7]),
            "ptbdb_normal": file(20, 0, range(4)), "ptbdb_abnormal": file(30, 1, range(4, 8))}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("challenge") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(challenge.beats, "simulate_heartbeats", made_heartbeats)
        return challenge.make_challenge(out, seed=SEED, hearts=3, test_hearts=1, cases=2, workers=1)


def test_the_public_part_trains_and_the_private_part_scores(made, tmp_path):
    public, private = made
    data = intracardiac.load(public / "intracardiac_dataset")
    assert len(set(data.hearts)) == 2
    for task in (1, 2, 3, 4):
        truth = scoring.read_truth(private / f"truth_task_{task}.npz")
        with np.load(public / f"test_task_{task}.npz") as given:
            assert set(given.files) == {"ids", "inputs"} and sorted(given["ids"]) == sorted(truth.ids)
        path = submission.write_template(tmp_path / f"{task}.npz", task, truth.ids)
        assert np.isfinite(scoring.score(path, truth, draws=10)[scoring.MAIN[task]].value)
    assert not set(scoring.read_truth(private / "truth_task_3.npz").group) & set(data.hearts)


def test_nothing_in_the_public_part_tells_the_truth(made):
    public, private = made
    assert len({path.stat().st_mtime for path in public.rglob("*")}) == 1
    truth = scoring.read_truth(private / "truth_task_3.npz")
    assert all(len(name) == 13 and name.startswith("case-") for name in truth.ids)
    public_text = "".join(str(path) for path in public.rglob("*"))
    assert not any(heart in public_text for heart in {f"volunteer.{group}" for group in truth.group})
    with np.load(public / "test_task_1.npz") as given:
        assert given["inputs"].shape[1] == 187  # the 188th column is the answer


def test_the_seed_is_nowhere_in_the_public_part(made):
    """Whoever knows it makes the same hearts again, and with them every answer."""
    public, _ = made
    texts = [path for path in public.rglob("*") if path.is_file() and path.suffix not in (".npy", ".npz")]
    assert any(path.name == "cases.csv" for path in texts)
    for path in texts:
        assert str(SEED) not in path.read_text(encoding="utf-8"), path
        assert "seed" not in path.read_text(encoding="utf-8").splitlines()[0].lower().split(","), path


def test_the_ecg_belongs_to_its_id(made):
    """Tasks 3 and 4 show the same ECG under the same name."""
    public, _ = made
    with np.load(public / "test_task_3.npz") as three, np.load(public / "test_task_4.npz") as four:
        assert (three["ids"] == four["ids"]).all() and (three["inputs"] == four["inputs"]).all()


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="never overwritten"):
        challenge.make_challenge(tmp_path, seed=0)
    with pytest.raises(DataError, match="at least one heart"):
        challenge.make_challenge(tmp_path / "new", seed=0, hearts=2, test_hearts=2)
