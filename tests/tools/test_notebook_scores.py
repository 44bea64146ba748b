"""The score that a notebook prints is the one that the scorer gives to its submission."""
import re

import numpy as np
import pytest

from cardiac_ml import heartbeats, intracardiac
from cardiac_ml.challenge import scoring
from tools import notebooks

MAIN_SCORE = {1: r"balanced accuracy ([\d.]+)", 3: r"MAE ([\d.]+) ms", 4: r"MAE ([\d.]+) mV"}


@pytest.mark.parametrize("task", MAIN_SCORE)
def test_notebook_and_scorer_agree(task, tmp_path):
    path, = notebooks.chosen([str(task)])
    outcome = notebooks.run_one(path, tmp_path, quick=True)
    assert outcome.failure is None, str(outcome.failure)
    if task == 1:
        data = heartbeats.load_ptb(virtual_hearts=8)
        truth = scoring.truth_of_beats(1, data, heartbeats.split_test(data)[1])
    else:
        sizes = [int(re.search(rf"^{name} = .*# quick: (\d+)", notebooks.source_path(path).read_text(), re.MULTILINE)[1])
                 for name in ("HEARTS", "CASES")]
        data = intracardiac.load(virtual_hearts=sizes[0], virtual_cases=sizes[1], progress=False)
        truth = scoring.truth_of_hearts(task, data, intracardiac.split_by_heart(data.table).test)
    found = scoring.score(next(tmp_path.rglob(f"submission_task_{task}.npz")), truth, draws=20)[scoring.MAIN[task]]
    printed = re.search(MAIN_SCORE[task], outcome.score)[1]
    assert found.value == pytest.approx(float(printed), abs=0.6 * 10.0 ** -len(printed.partition(".")[2]))
    assert np.isfinite([found.low, found.high]).all() and found.low <= found.high
