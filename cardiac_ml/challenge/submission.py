"""Submissions: one file per task with the predictions for every test case, written, read and checked.

A submission is an ``.npz`` file with three arrays, or, for the heartbeats, a ``.csv`` file that a spreadsheet opens:

* ``header``: JSON text: task, team, data (a fingerprint of the test cases it was made for);
* ``ids``: the name of each case;
* ``prediction``: tasks 1 and 2 a probability for each class, task 3 activation times (75) in ms, task 4 voltages
  (75, 500) in mV.

Files come from strangers: nothing in them is executed, and no size they claim is believed.
"""
import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cardiac_ml.files import DataError, atomic_write


class Task(NamedTuple):
    title: str
    shape: tuple      # of one case's prediction
    low: float        # values outside low..high are in the wrong unit
    high: float
    unit: str
    columns: tuple = ()  # names of the values, where there are few


TASKS = {
    1: Task("healthy or irregular heartbeat", (2,), 0, 1, "probability", ("normal", "abnormal")),
    2: Task("five classes of heartbeats", (5,), 0, 1, "probability", ("N", "S", "V", "F", "Q")),
    3: Task("activation map", (75,), -50, 600, "ms"),
    4: Task("transmembrane voltages", (75, 500), -150, 100, "mV"),
}
ARRAYS = ("header", "ids", "prediction")
MAX_ID = 200  # letters in the name of a case


class Submission(NamedTuple):
    header: dict
    ids: np.ndarray         # (cases,) text
    prediction: np.ndarray  # (cases, ...)


def fingerprint(ids):
    """A short hash of the test cases, whatever their order: the same for all who predict the same cases."""
    return hashlib.sha256("\n".join(sorted(map(str, ids))).encode()).hexdigest()[:16]


def write_submission(path, task, ids, prediction, team="anonymous"):
    """Write a submission (``.npz``, or ``.csv`` for tasks 1 and 2), after the same checks as ``check``."""
    path, ids, prediction = Path(path), np.asarray(ids, dtype=str), np.asarray(prediction, dtype=np.float32)
    header = {"task": task, "team": team, "data": fingerprint(ids)}
    if wrong := problems(Submission(header, ids, prediction), task, ids):
        raise DataError(f"Not written to {path}: " + " ".join(wrong))
    if path.suffix == ".csv" and TASKS[task].columns:
        with atomic_write(path, "w") as file:
            file.write(f"# {json.dumps(header)}\n")
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["id", *TASKS[task].columns])
            rows.writerows([name, *(f"{value:.6g}" for value in row)] for name, row in zip(ids, prediction))
    elif path.suffix == ".npz":
        with atomic_write(path) as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), ids=ids, prediction=prediction)
    else:
        kinds = ".npz or .csv" if TASKS[task].columns else ".npz"
        raise DataError(f"{path.name}: a submission for task {task} is a {kinds} file.")
    return path


def write_template(path, task, ids, team="anonymous"):
    """A valid submission that knows nothing: equal probabilities, 50 ms everywhere, rest everywhere."""
    value = {1: 1 / 2, 2: 1 / 5, 3: 50.0, 4: -85.0}[task]
    return write_submission(path, task, ids, np.full((len(ids), *TASKS[task].shape), value, np.float32), team)


def read_submission(path, max_cases=1_000_000) -> Submission:
    """Read a submission without trusting it; DataError says why it cannot be read."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is not a file. `python -m cardiac_ml submit-template TASK` writes one to start from.")
    try:
        parts = _read_csv(path) if path.suffix == ".csv" else _read_npz(path, max_cases)
    except DataError as error:
        raise (error if path.name in str(error) else DataError(f"{path.name}: {error}")) from None
    except Exception as error:  # whatever a parser raises on a hostile file, the answer is the same
        raise DataError(f"{path.name} cannot be read as a submission ({type(error).__name__}: {error}). "
                        "Write it with cardiac_ml.challenge.submission.write_submission.") from error
    header, ids, prediction = parts
    if not isinstance(header, dict) or type(header.get("task")) is not int or header["task"] not in TASKS:
        raise DataError(f"{path.name}: the header must be JSON with \"task\": 1, 2, 3 or 4; found {str(header)[:80]}.")
    return Submission(header, ids, prediction)


def _read_npz(path, max_cases):
    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())
        if names != sorted(f"{name}.npy" for name in ARRAYS):
            raise DataError(f"{path.name} holds {', '.join(names)[:120] or 'nothing'}; "
                            f"a submission holds {', '.join(ARRAYS)}.")
        header = json.loads(str(_read_array(archive, "header", 10_000)))
        ids = _read_array(archive, "ids", max_cases * MAX_ID * 4)
        if ids.ndim != 1 or ids.dtype.kind != "U":
            raise DataError(f"{path.name}: ids must be a list of text, found {ids.dtype} of shape {ids.shape}.")
        case_bytes = 8 * max(int(np.prod(task.shape)) for task in TASKS.values())
        prediction = _read_array(archive, "prediction", (len(ids) + 1) * case_bytes)
        return header, ids, prediction


def _read_array(archive, name, max_bytes):
    """One array out of the zip file: numbers or text only, its claimed size checked against what is there."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > max_bytes + 1000:
        raise DataError(f"{name} claims {info.file_size:,} bytes, far more than a submission needs.")
    data = io.BytesIO(archive.read(info))
    version = np.lib.format.read_magic(data)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read_header(data)
    if dtype.kind not in "fiuU" or fortran and len(shape) > 1:
        raise DataError(f"{name} holds {dtype} in {'column' if fortran else 'row'} order; plain numbers or text in row "
                        "order (C) are expected.")
    rest = data.read()
    count = 1
    for side in shape:
        count *= side
    if count < 0 or count * dtype.itemsize != len(rest):
        raise DataError(f"{name} claims the shape {shape}, which does not fit its {len(rest)} bytes.")
    return np.frombuffer(rest, dtype).reshape(shape) if len(rest) else np.zeros(shape, dtype)


def _read_csv(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith("# {"):
        raise DataError(f"{path.name} must start with a line such as # {{\"task\": 1}}.")
    header = json.loads(lines[0][2:])
    task = TASKS.get(header.get("task"))
    if task is None or not task.columns:
        raise DataError(f"{path.name}: a .csv file is for tasks 1 and 2; its header names {str(header)[:80]}.")
    rows = list(csv.reader(lines[1:]))
    if not rows or rows[0] != ["id", *task.columns]:
        raise DataError(f"{path.name}: the second line must be id,{','.join(task.columns)}.")
    for number, row in enumerate(rows[1:], start=3):
        if len(row) != len(rows[0]):
            raise DataError(f"{path.name}, line {number}: {len(row)} columns, expected {len(rows[0])}.")
    values = np.array([row[1:] for row in rows[1:]], dtype=np.float32).reshape(len(rows) - 1, len(task.columns))
    return header, np.array([row[0] for row in rows[1:]], dtype=str), values


def problems(submission, task, ids):
    """Everything that is wrong with a submission for these test cases, in plain words; an empty list if all is well."""
    header, found, prediction = submission
    wanted, expected = TASKS[task], (len(found), *TASKS[task].shape)
    if header.get("task") != task:
        return [f"This is a submission for task {header.get('task')}, not for task {task}."]
    wrong = _problems_of_ids(np.asarray(found), np.asarray(ids, dtype=str))
    if prediction.dtype.kind != "f":
        wrong.append(f"The predictions are of type {prediction.dtype}; write float32.")
    elif prediction.shape != expected:
        hint = " The last two axes look swapped." if prediction.shape == expected[:1] + expected[:0:-1] else ""
        wrong.append(f"The predictions have the shape {prediction.shape}, expected {expected}.{hint}")
    elif not np.isfinite(prediction).all():
        cases = np.flatnonzero(~np.isfinite(prediction).all(axis=tuple(range(1, prediction.ndim))))
        wrong.append(f"{len(cases)} cases hold NaN or infinity, the first is {found[cases[0]]!r}.")
    else:
        wrong += _problems_of_values(prediction, wanted)
    if not wrong and header.get("data") not in (None, fingerprint(ids)):
        wrong.append("The header's data fingerprint belongs to other test cases: predict again on this data.")
    return wrong


def _problems_of_ids(found, wanted):
    wrong = []
    names, counts = np.unique(found, return_counts=True)
    for what, some in (("are missing", np.setdiff1d(wanted, names)), ("are not test cases", np.setdiff1d(names, wanted)),
                       ("appear more than once", names[counts > 1])):
        if len(some):
            wrong.append(f"{len(some)} ids {what}, such as {str(some[0])[:80]!r}.")
    return wrong


def _problems_of_values(prediction, task):
    if prediction.size == 0:
        return ["There are no predictions."]
    low, high = float(prediction.min()), float(prediction.max())
    if low < task.low or high > task.high:
        hint = {"ms": " Are these seconds, samples or microseconds?", "mV": " Are these volts or microvolts?",
                "probability": " Are these logits? Apply softmax."}[task.unit]
        return [f"Values span {low:g} .. {high:g}; {task.low:g} .. {task.high:g} {task.unit} is plausible.{hint}"]
    if task.unit == "ms" and 0 < high < 1:
        return [f"The largest time is {high:g} ms. Are these seconds?"]
    if task.unit == "mV" and max(-low, high) < 1:
        return [f"Values span {low:g} .. {high:g} mV. Are these volts?"]
    if task.unit == "probability" and (off := np.abs(prediction.sum(axis=1) - 1) > 0.01).any():
        return [f"The probabilities of {int(off.sum())} cases do not add up to 1."]
    return []


def check(path, task, ids):
    """Problems of a submission file for these test cases (an empty list if none): unreadable files included."""
    try:
        return problems(read_submission(path), task, ids)
    except DataError as error:
        return [str(error)]


def aligned(submission, ids):
    """The predictions in the order of ``ids``; check the submission first."""
    row = {name: i for i, name in enumerate(submission.ids)}
    return submission.prediction[[row[name] for name in np.asarray(ids, dtype=str)]]
