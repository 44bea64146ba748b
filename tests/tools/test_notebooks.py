"""The notebooks of the repository: made from their sources, run in order, and every one runs on tiny settings.

Each is run once. The score that it prints is the one that the scorer gives to the submission it writes.
"""
import re

import numpy as np
import pytest

from cardiac_ml import heartbeats, intracardiac
from cardiac_ml.challenge import scoring
from tools import notebooks

SCORED = {"task_1": r"balanced accuracy ([\d.]+)", "task_3": r"MAE ([\d.]+) ms", "task_4": r"MAE ([\d.]+) mV"}
every = pytest.mark.parametrize("path", notebooks.all_notebooks(), ids=lambda path: path.stem)


@every
def test_is_what_its_source_makes(path):
    assert notebooks.problems(path) == []


def truth_of(task, path):
    """The test cases of a quick run, whose settings stand in the source."""
    if task == 1:
        data = heartbeats.load_ptb(hearts=8)
        return scoring.truth_of_beats(1, data, heartbeats.split(data).test)
    source = notebooks.source_path(path).read_text(encoding="utf-8")
    sizes = [int(re.search(rf"^{name} = .*# quick: (\d+)", source, re.MULTILINE)[1]) for name in ("HEARTS", "CASES")]
    data = intracardiac.load(hearts=sizes[0], cases=sizes[1], progress=False)
    return scoring.truth_of_hearts(task, data, intracardiac.split_by_heart(data.table).test)


@every
def test_runs_on_tiny_settings_and_agrees_with_the_scorer(path, tmp_path):
    outcome = notebooks.run_one(path, tmp_path, quick=True)
    assert outcome.failure is None, str(outcome.failure)
    if path.stem.startswith("task_"):
        assert outcome.source and any(letter.isdigit() for letter in outcome.score)
    if path.stem[:6] in SCORED:
        task, printed = int(path.stem[5]), re.search(SCORED[path.stem[:6]], outcome.score)[1]
        submission = next(tmp_path.rglob(f"submission_task_{task}.npz"))
        found = scoring.score(submission, truth_of(task, path))[scoring.MAIN[task]]
        assert found.value == pytest.approx(float(printed), abs=0.6 * 10.0 ** -len(printed.partition(".")[2]))
        assert np.isfinite([found.low, found.high]).all() and found.low <= found.high
