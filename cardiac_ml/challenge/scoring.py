"""Scores of submissions: every metric with an interval over hearts or patients.

The truth of a task is a small file too (``.npz``, no pickles): ids, labels, the group of each case (its heart or
patient), and which cases are kept for the end. Cases of one group resemble each other, so intervals come from whole
groups. The scores are those of the notebooks, in ``metrics``.
"""
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cardiac_ml import metrics
from cardiac_ml.challenge import submission
from cardiac_ml.files import DataError, atomic_write

MAIN = {1: "balanced accuracy", 2: "macro-F1", 3: "MAE (ms)", 4: "MAE (mV)"}  # ranks the board
MORE_IS_BETTER = {1: True, 2: True, 3: False, 4: False}
TOO_GOOD = {1: 1.0, 2: 1.0, 3: 0.05, 4: 0.01}  # nobody reaches this by learning: the labels of a simulator carry noise


class Truth(NamedTuple):
    task: int
    ids: np.ndarray    # (cases,) text
    label: np.ndarray  # (cases,) class numbers, (cases, 75) ms or (cases, 75, 500) mV
    group: np.ndarray  # (cases,) text: heart or patient
    final: np.ndarray  # (cases,) bool: kept for the end


def write_truth(path, truth):
    with atomic_write(path) as file:
        np.savez_compressed(file, **truth._asdict())


def read_truth(path) -> Truth:
    try:
        with np.load(path, allow_pickle=False) as file:
            truth = Truth(int(file["task"]), *(file[name] for name in Truth._fields[1:]))
        wrong = _wrong_with(truth)
    except Exception as error:  # whatever a parser raises on a damaged file
        wrong = f"{type(error).__name__}: {submission.plain(error)}"
    if wrong:
        raise DataError(f"{path} is not a truth file of a challenge, or is damaged ({wrong}). "
                        "Give private/truth_task_N.npz, or copy it again.")
    return truth


def _wrong_with(truth):
    if truth.task not in submission.TASKS:
        return f"it is for task {truth.task}"
    shape = () if truth.task <= 2 else submission.TASKS[truth.task].shape
    shapes = {"ids": (), "label": shape, "group": (), "final": ()}
    kinds = {"ids": "U", "label": "iu" if truth.task <= 2 else "f", "group": "U", "final": "b"}
    for name, shape in shapes.items():
        array = getattr(truth, name)
        if array.dtype.kind not in kinds[name] or array.shape != (len(truth.ids), *shape):
            return f"its {name} is {array.dtype} of shape {array.shape}"
    if len(set(truth.ids.tolist())) != len(truth.ids) or not len(truth.ids):
        return "its ids are not all different"
    classes = len(submission.TASKS[truth.task].columns)
    if truth.task <= 2 and not ((0 <= truth.label) & (truth.label < classes)).all():
        return f"its labels are not 0..{classes - 1}"
    return "labels are infinite" if truth.task > 2 and np.isinf(truth.label).any() else ""


def find_truths(folder) -> dict:
    """The truths of a challenge, {task: Truth}; ``folder`` is the challenge or its private part."""
    places = [Path(folder) / "private", Path(folder)]
    found = next((paths for place in places if (paths := sorted(place.glob("truth_task_*.npz")))), [])
    if not found:
        raise DataError(f"{folder} has no truth_task_N.npz: give the folder of a challenge, with its private part.")
    return {truth.task: truth for truth in map(read_truth, found)}


def find_truth(folder, task) -> Truth:
    truths = find_truths(folder)
    if task not in truths:
        raise DataError(f"This is for task {task}; the challenge in {folder} has task {', '.join(map(str, truths))}.")
    return truths[task]


def part_of(final):
    """Which part of the test cases is scored, in words."""
    return "the part kept for the end" if final else "the part for the week"


def metrics_of(task):
    """The named scores of a task: name -> function(truth, prediction)."""
    if task in (1, 2):
        return metrics.classification(submission.TASKS[task].columns)
    return metrics.ACTIVATION if task == 3 else metrics.VOLTAGE


def rows_of(truth, final=False):
    """Which cases count: during the week those that are not kept for the end, then only those."""
    rows = truth.final if final and truth.final.any() else ~truth.final
    return np.flatnonzero(rows)


def score(path, truth, final=False) -> dict:
    """Every metric of a submission file: name -> metrics.Interval; DataError lists what is wrong with the file."""
    rows = rows_of(truth, final)
    given = submission.read_submission(path, truth.task, truth.ids).prediction[rows]
    return metrics.bootstrap(metrics_of(truth.task), truth.label[rows], given, truth.group[rows])


def truth_of_beats(task, data, rows) -> Truth:
    """Ids are file and row; the group is the patient where known, else the row itself."""
    table = data.table.iloc[rows]
    ids = (table["file"].astype(str) + ":" + table["row"].astype(str)).to_numpy(dtype=str)
    group = table["patient"].astype(str).to_numpy(dtype=str) if "patient" in table else ids
    return Truth(task, ids, data.label[rows], group, np.zeros(len(ids), bool))


def truth_of_hearts(task, data, rows) -> Truth:
    """Ids are heart and row of the table, which are the same wherever the same data is loaded."""
    ids = np.array([f"{heart}:{row}" for heart, row in zip(data.hearts[rows], rows)])
    label = np.asarray((data.activation_ms if task == 3 else data.voltage_mv)[rows])
    return Truth(task, ids, label, data.hearts[rows], np.zeros(len(ids), bool))


def as_text(scores):
    """A line for each metric: its value and its interval."""
    width = max(map(len, scores))
    return "\n".join(f"{name:<{width}}  {value.value:8.3f}   ({value.low:.3f} .. {value.high:.3f})"
                     for name, value in scores.items())


def write_json(path, scores):
    with atomic_write(path, "w") as file:
        json.dump({name: dict(value._asdict()) for name, value in scores.items()}, file, indent=1)
    return path
