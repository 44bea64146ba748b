import json

import numpy as np
import pytest

from cardiac_ml.challenge import scoring, submission
from cardiac_ml.heart3d import mesh as heart
from cardiac_ml.__main__ import main


@pytest.fixture
def truth(tmp_path):
    rng = np.random.default_rng(0)
    truth = scoring.Truth(3, np.array([f"case {i}" for i in range(20)]), rng.uniform(10, 120, (20, 75)).astype(np.float32),
                          np.repeat(["v1", "v2", "v3", "v4"], 5))
    scoring.write_truth(tmp_path / "truth.npz", truth)
    return truth


def test_template_check_score_and_leaderboard(tmp_path, truth, capsys):
    known, mine = ["--truth", str(tmp_path / "truth.npz")], tmp_path / "teams" / "mine.npz"
    assert main(["submit-template", "3", "--out", str(mine), *known]) == 0
    assert main(["check", str(mine), *known]) == 0 and "is a valid submission" in capsys.readouterr().out
    assert main(["score", str(mine), "--json", str(tmp_path / "s.json"), *known]) == 0
    expected = np.abs(truth.label - 50).mean()
    assert json.loads((tmp_path / "s.json").read_text())["MAE (ms)"]["value"] == pytest.approx(expected, abs=1e-3)
    submission.write_submission(tmp_path / "teams" / "best.npz", 3, truth.ids, truth.label, team="best")
    assert main(["score", "--leaderboard", str(mine.parent), *known]) == 0
    assert (mine.parent / "leaderboard.md").read_text().index("best") < (mine.parent / "leaderboard.md").read_text().index("mine")
    assert (mine.parent / "leaderboard.html").exists()


def test_a_damaged_submission_fails_the_check(tmp_path, truth, capsys):
    path = submission.write_template(tmp_path / "t.npz", 3, truth.ids[1:])
    assert main(["check", str(path), "--truth", str(tmp_path / "truth.npz")]) == 1
    assert "1 ids are missing" in capsys.readouterr().out


@pytest.mark.parametrize("call, words", [
    (["score"], "Give a submission file"), (["check", "absent.npz"], "not a file"),
    (["score", "--leaderboard", "."], "which task"), (["pack", "absent"], "does not exist"),
])
def test_a_wrong_call_says_what_to_do(capsys, call, words):
    assert main(call) == 1
    assert words in capsys.readouterr().err


def test_geometry_is_the_committed_one_and_reads_back(tmp_path):
    assert main(["simulate", "geometry", "--out", str(tmp_path)]) == 0
    made, kept = heart.default_heart(tmp_path), heart.default_heart()
    assert made[0].points_mm == pytest.approx(kept[0].points_mm, abs=1e-3)
    assert (made[0].tetrahedra == kept[0].tetrahedra).all() and made[1].equals(kept[1])


def test_intracardiac_files_in_the_real_layout(tmp_path, capsys):
    out = tmp_path / "intracardiac_dataset"
    assert main(["simulate", "intracardiac", "--hearts", "1", "--cases", "2", "--workers", "1", "--out", str(out)]) == 0
    assert len(list(out.rglob("pECGData_*.npy"))) == len(list(out.rglob("VmData_*.npy"))) == 2
    assert main(["simulate", "intracardiac", "--hearts", "1", "--cases", "2", "--out", str(out)]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert main(["pack", str(out)]) == 0 and "2 heartbeats" in capsys.readouterr().out


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("simulate", "pack", "rebuild-heartbeats", "score", "make-challenge"))
