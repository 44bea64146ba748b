"""The cases of a challenge, for those who take part: what to learn from, what to predict, how to hand it in.

>>> train, valid, test = load("public", task=3)                     # doctest: +SKIP
>>> submit(test, model.predict(test.ecg_mv), team="Purkinje")       # doctest: +SKIP

Without a folder they are those that ``CARDIAC_ML_DATA`` names; without a challenge the data at hand, whose test part
has its answers taken away.
"""
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cardiac_ml import heartbeats, intracardiac
from cardiac_ml.challenge import scoring, submission
from cardiac_ml.files import DataError


@dataclass(frozen=True, eq=False, repr=False)
class Cases:
    """Cases without answers."""
    task: int
    ids: np.ndarray     # (cases,) text
    inputs: np.ndarray  # tasks 1 and 2: beats (cases, 187); tasks 3 and 4: ECGs (cases, 12, 500) in mV

    def __len__(self):
        return len(self.ids)

    def __repr__(self):
        return f"{len(self)} test cases of task {self.task}, inputs {self.inputs.shape}, without answers"

    @property
    def beats(self):
        return self.inputs

    @property
    def ecg_mv(self):
        return self.inputs


def load(folder=None, task=3):
    """(train, valid, test): two datasets with answers, of different hearts or patients, and the ``Cases``."""
    if (place := _public(folder)) is None:
        return _load_at_hand(task)
    test = read_test_cases(place / f"test_task_{task}.npz", task)
    if task == 2:
        return *heartbeats.load_mitbih(place / "ecg_dataset"), test
    if task == 1:
        data = heartbeats.load_ptb(place / "ecg_dataset")
        split = heartbeats.split_by_patient(data, test=())
    else:
        data = intracardiac.load(place / "intracardiac_dataset")
        split = intracardiac.split_by_heart(data, test=())
    return data[split.train], data[split.valid], test


def test_cases(task, data=None, rows=None, folder=None) -> Cases:
    """Only what is to be predicted: the cases of a challenge where one is named, else ``rows`` of ``data``.

    A challenge is named by its public ``folder`` or by the environment variable CARDIAC_ML_DATA.
    """
    if task not in submission.TASKS:
        raise DataError(f"There is no task {task!r}: give 1, 2, 3 or 4.")
    if (place := _public(folder)) is not None:
        return read_test_cases(place / f"test_task_{task}.npz", task)
    if data is None:
        return _load_at_hand(task)[2]
    kind = heartbeats.Heartbeats if task <= 2 else intracardiac.Intracardiac
    if not isinstance(data, kind):
        raise DataError(f"test_cases(task, data, rows): the data of task {task} are {kind.__name__}, not a "
                        f"{type(data).__name__}.")
    if rows is None:
        raise DataError("test_cases(task, data, rows): say which rows are the test, such as split.test.")
    truth = (scoring.truth_of_beats if task <= 2 else scoring.truth_of_hearts)(task, data, rows)
    return Cases(task, truth.ids, data[rows].beats if task <= 2 else data[rows].ecg_mv)


def submit(test, prediction, team, path=None):
    """Check the predictions and write them as a submission (by default to submission_task_N.npz); returns its path."""
    if not isinstance(test, Cases):
        raise DataError(f"submit takes what test_cases(task, data, split.test) gives, not a {type(test).__name__}.")
    path = path or f"submission_task_{test.task}.npz"
    return submission.write_submission(path, test.task, test.ids, prediction, team)


def _public(folder):
    """The public folder of a challenge, named as such or as the folder around it; None where none is named."""
    named = folder or os.environ.get("CARDIAC_ML_DATA")
    places = [] if named is None else [Path(named).expanduser(), Path(named).expanduser() / "public"]
    found = next((place for place in places if any(place.glob("test_task_*.npz"))), None)
    if found is None and folder is not None:
        raise DataError(f"{folder} is not the public folder of a challenge: there is no test_task_N.npz in it.")
    return found


def read_test_cases(path, task) -> Cases:
    try:
        with np.load(path, allow_pickle=False) as file:
            cases = Cases(task, file["ids"], file["inputs"])
    except Exception as error:  # absent, damaged or of another kind
        raise DataError(f"{path} cannot be read as the test cases of task {task} ({type(error).__name__}: {error}). "
                        "Give the public folder of a challenge with this task, or copy it again.") from error
    shape = (187,) if task <= 2 else (12, 500)
    if cases.ids.ndim != 1 or cases.inputs.shape != (len(cases.ids), *shape):
        raise DataError(f"{path} holds inputs of shape {cases.inputs.shape} for {cases.ids.shape} ids; expected "
                        f"{('cases', *shape)}. Copy it again.")
    return cases


# ---- without a challenge: the data at hand ----

def _load_at_hand(task):
    train, valid, test, truth = _at_hand(task)
    return train, valid, Cases(task, truth.ids, test.beats if task <= 2 else test.ecg_mv)


def truth_at_hand(task) -> scoring.Truth:
    """The answers to the test cases of the data at hand: real files where they are, else the virtual ones."""
    return _at_hand(task)[3]


def _at_hand(task):
    if task == 2:
        both, test = heartbeats.load_mitbih()
        split = heartbeats.split(both)
        train, valid = both[np.union1d(split.train, split.test)], both[split.valid]
        return train, valid, test, scoring.truth_of_beats(2, test, np.arange(len(test)))
    data = heartbeats.load_ptb() if task == 1 else intracardiac.load()
    split = heartbeats.split(data) if task == 1 else intracardiac.split_by_heart(data)
    truth = (scoring.truth_of_beats if task == 1 else scoring.truth_of_hearts)(task, data, split.test)
    return *(data[rows] for rows in split), truth
