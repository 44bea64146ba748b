"""Submissions: one file per task with the predictions for every test case, written, read and checked.

A submission is an ``.npz`` file with three arrays, or, for the heartbeats, a ``.csv`` file that a spreadsheet opens:

* ``header``: JSON text: task, team, data (a fingerprint of the test cases it was made for);
* ``ids``: the name of each case;
* ``prediction``: tasks 1 and 2 a probability for each class, task 3 activation times (75) in ms, task 4 voltages
  (75, 500) in mV.

Files come from strangers: nothing in them is executed, no size they claim is believed, and nothing is read before what
stands ahead of it has been found right.
"""
import csv
import hashlib
import json
import zipfile
from collections import Counter
from contextlib import contextmanager
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
    nothing: float    # what a submission says that knows nothing
    columns: tuple = ()  # names of the values, where there are few


TASKS = {
    1: Task("healthy or irregular heartbeat", (2,), 0, 1, "probability", 1 / 2, ("normal", "abnormal")),
    2: Task("five classes of heartbeats", (5,), 0, 1, "probability", 1 / 5, ("N", "S", "V", "F", "Q")),
    3: Task("activation map", (75,), -200, 1000, "ms", 50.0),
    4: Task("transmembrane voltages", (75, 500), -500, 500, "mV", -85.0),
}
ARRAYS = ("header", "ids", "prediction")
MAX_ID, MAX_TEAM = 200, 40  # letters
MAX_LINE, MAX_HEADER = 2000, 10_000
PIECE = 1 << 18  # numbers read at a time


class Submission(NamedTuple):
    header: dict
    ids: list               # the name of each case
    prediction: np.ndarray  # (cases, ...) float32


def plain(text, longest=120):
    """Text from strangers on one line: whatever does not print (escape codes, line ends, half letters) is a '?'."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(text)[:longest + 1])
    return text if len(text) <= longest else text[:longest - 1] + "…"


def team_of(header):
    """The name a team gave itself."""
    team = header.get("team")
    return (plain(team, MAX_TEAM).strip() if isinstance(team, str) else "") or "anonymous"


def fingerprint(ids):
    """A short hash of the test cases, whatever their order: the same for all who predict the same cases."""
    return hashlib.sha256("\n".join(sorted(map(str, ids))).encode()).hexdigest()[:16]


# ---- writing ----

def write_submission(path, task, ids, prediction, team="anonymous"):
    """Write a submission (``.npz``, or ``.csv`` for tasks 1 and 2), after the same checks as ``check``."""
    path, ids = Path(path), [str(name) for name in ids]
    prediction = prediction.detach().cpu() if hasattr(prediction, "detach") else prediction  # a tensor
    prediction = np.asarray(prediction, dtype=np.float32)
    header = {"task": task, "team": team, "data": fingerprint(ids)}
    if wrong := problems(Submission(header, ids, prediction), task, ids):
        raise DataError(f"Not written to {path}: " + " ".join(wrong))
    if path.suffix.lower() == ".csv" and TASKS[task].columns:
        with atomic_write(path, "w") as file:
            file.write(f"# {json.dumps(header)}\n")
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["id", *TASKS[task].columns])
            rows.writerows([name, *(f"{value:.6g}" for value in row)] for name, row in zip(ids, prediction))
    elif path.suffix.lower() == ".npz":
        with atomic_write(path) as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), ids=np.array(ids), prediction=prediction)
    else:
        kinds = ".npz or .csv" if TASKS[task].columns else ".npz"
        raise DataError(f"{path.name}: a submission for task {task} is a {kinds} file.")
    return path


def write_template(path, task, ids, team="anonymous"):
    """A valid submission that knows nothing: equal probabilities, 50 ms everywhere, rest everywhere."""
    return write_submission(path, task, ids, np.full((len(ids), *TASKS[task].shape), TASKS[task].nothing), team)


# ---- reading ----

def read_header(path) -> dict:
    """Task and team of a submission, without reading the rest; DataError says why it cannot be read."""
    with _refusing(path):
        if Path(path).suffix.lower() == ".csv":
            with open(path, encoding="utf-8-sig", newline="") as file:
                return _checked_header(_csv_start(file, path)[0])
        with zipfile.ZipFile(_plain_zip(path)) as archive:
            return _npz_header(archive)


def read_submission(path, task, ids) -> Submission:
    """A submission for these test cases, in their order; DataError says all that is wrong with it."""
    read = _read_csv if Path(path).suffix.lower() == ".csv" else _read_npz
    with _refusing(path):
        ids = [str(name) for name in ids]
        submission = read(path, task, ids)
        if wrong := problems(submission, task, ids):
            raise DataError(" ".join(wrong))
        return submission


def check(path, task, ids):
    """Problems of a submission file for these test cases (an empty list if none): unreadable files included."""
    try:
        read_submission(path, task, ids)
    except DataError as error:
        return [str(error)]
    return []


@contextmanager
def _refusing(path):
    """Whatever a parser raises on a hostile file, the answer is a DataError that begins with the file's name."""
    name = plain(Path(path).name)
    try:
        if not Path(path).is_file():
            raise DataError("not a file. `python -m cardiac_ml submit-template TASK` writes one to start from.")
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except Exception as error:
        raise DataError(f"{name}: cannot be read as a submission ({type(error).__name__}: {plain(error)}). "
                        "Write it with cardiac_ml.challenge.submit.") from error


def _checked_header(header):
    if not isinstance(header, dict) or type(header.get("task")) is not int or header["task"] not in TASKS:
        raise DataError(f"the header must be JSON with \"task\": 1, 2, 3 or 4; found {plain(header, 80)}.")
    return header


def _plain_zip(path):
    """The path, once the end of the zip file lists few members: long lists cost memory before they are looked at."""
    with open(path, "rb") as file:
        file.seek(max(0, Path(path).stat().st_size - 42))
        end = file.read()
    if len(end) < 42 or end[20:24] != b"PK\5\6":
        raise DataError("cannot be read as a submission: it is no .npz file, or only a part of one.")
    members, listed = (int.from_bytes(end[start:stop], "little") for start, stop in ((30, 32), (32, 36)))
    if end[:4] == b"PK\6\7" or members > 50 or listed > MAX_HEADER:
        raise DataError(f"holds {members} things; a submission holds {', '.join(ARRAYS)}.")
    return path


def _npz_header(archive):
    names = sorted(archive.namelist())
    if names != sorted(f"{name}.npy" for name in ARRAYS):
        raise DataError(f"holds {plain(', '.join(names)) or 'nothing'}; a submission holds {', '.join(ARRAYS)}.")
    with _array(archive, "header") as (stream, shape, dtype):
        if shape != () or dtype.kind != "U" or not 0 < dtype.itemsize <= MAX_HEADER:
            raise DataError(f"the header must be one JSON text, found {dtype} of shape {shape}.")
        return _checked_header(json.loads(_texts(stream, 1, dtype)[0]))


def _read_npz(path, task, ids):
    with zipfile.ZipFile(_plain_zip(path)) as archive:
        header = _npz_header(archive)
        with _array(archive, "ids") as (stream, shape, dtype):
            if len(shape) != 1 or dtype.kind != "U":
                raise DataError(f"ids must be a list of text, found {dtype} of shape {shape}.")
            if shape[0] > _most(ids) or not 0 < dtype.itemsize <= 4 * MAX_ID:
                raise DataError(f"there are {shape[0]} ids of up to {dtype.itemsize // 4} letters for {len(ids)} "
                                "cases.")
            found = _texts(stream, shape[0], dtype)
        with _array(archive, "prediction") as (stream, shape, dtype):
            if wrong := _problems_of_form(header, found, shape, dtype, task, ids):
                raise DataError(" ".join(wrong))
            return Submission(header, ids, _numbers(stream, shape, dtype, _places(found, ids)))


def _places(found, ids):
    """(cases,) where each case of the file belongs."""
    place = {name: number for number, name in enumerate(ids)}
    return np.array([place[name] for name in found], int)


@contextmanager
def _array(archive, name):
    """(stream, shape, dtype) of an array in the zip file, before any of its values are unpacked."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{name} is compressed in another way than numpy does it.")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream, max_header_size=MAX_HEADER)
        if dtype.kind not in "fiuU" or fortran and len(shape) > 1:
            raise DataError(f"{name} holds {dtype} in {'column' if fortran else 'row'} order; plain numbers or text in "
                            "row order (C) are expected.")
        claimed = dtype.itemsize
        for side in shape:
            claimed *= side
        if not 0 <= claimed < 1 << 40:
            raise DataError(f"{name} claims the shape {shape}, far more than a submission needs.")
        yield stream, shape, dtype
        if stream.read(1):
            raise DataError(f"{name} claims the shape {shape} and holds more than that.")


def _exactly(stream, count):
    data = stream.read(count)
    if len(data) != count:
        raise DataError(f"cannot be read as a submission: it ends {count - len(data)} bytes early.")
    return data


def _texts(stream, count, dtype):
    letters = np.frombuffer(_exactly(stream, count * dtype.itemsize), np.dtype("u4").newbyteorder(dtype.byteorder))
    if letters.size and letters.max() > 0x10FFFF:  # numpy does not look, and breaks
        raise DataError("ids and header must be text, found numbers that are no letters.")
    return letters.view(dtype).tolist()


def _numbers(stream, shape, dtype, places):
    """float32 of this shape, a few cases at a time: neither a claim nor a bomb takes more memory than the result."""
    values = np.empty(shape, np.float32)
    size = max(values[:1].size, 1)
    with np.errstate(all="ignore"):  # too large for float32 becomes infinite, which is found below
        for some in np.array_split(places, max(values.size // PIECE, 1)):
            part = np.frombuffer(_exactly(stream, len(some) * size * dtype.itemsize), dtype)
            values[some] = part.reshape(len(some), *shape[1:])
    return values


def _most(ids):
    """So many rows are looked at, to say what is wrong with them; more are refused unread."""
    return 2 * len(ids) + 1000


def _csv_start(file, path):
    """(header, delimiter, lines) of a CSV file as the kit writes it or a spreadsheet saves it, header line or none."""
    lines = iter(lambda: file.readline(MAX_LINE), "")
    first = next(lines, "")
    headed = first.lstrip('"').startswith("#")
    names = next(lines, "") if headed else first
    delimiter = max(",;\t", key=names.count)
    cells = [cell.strip() for cell in next(csv.reader([names], delimiter=delimiter), [])]
    task = next((number for number, task in TASKS.items() if task.columns and cells == ["id", *task.columns]), None)
    if task is None:
        named = " or ".join(f"id,{','.join(task.columns)}" for task in TASKS.values() if task.columns)
        line = "second" if headed else "first"
        raise DataError(f"the {line} line must be {named}; found {plain(names.strip(), 60)!r}.")
    header = _checked_header(_csv_header(first, delimiter)) if headed else {"task": task, "team": Path(path).stem}
    if header["task"] != task:
        raise DataError(f"its first line says task {header['task']}, its columns are those of task {task}.")
    return header, delimiter, lines


def _csv_header(line, delimiter):
    try:
        return json.loads(line.strip().lstrip("#"))
    except ValueError:  # a spreadsheet has cut it into cells and doubled its quotes
        cells = next(csv.reader([line.strip()], delimiter=delimiter))
        return json.loads(delimiter.join(cells).rstrip(delimiter).lstrip("#"))


def _read_csv(path, task, ids):
    with open(path, encoding="utf-8-sig", newline="") as file:
        header, delimiter, lines = _csv_start(file, path)
        width, found, values = len(TASKS[header["task"]].columns), [], []
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), start=1):
            if not row:
                continue
            if len(row) != width + 1 or len(row[0]) > MAX_ID:
                raise DataError(f"row {number} has {len(row)} columns, expected {width + 1}.")
            if len(found) > _most(ids):
                raise DataError(f"there are more than {_most(ids)} rows for {len(ids)} cases.")
            found.append(row[0])
            values.append([float(cell if delimiter == "," else cell.replace(",", ".")) for cell in row[1:]])
    given = np.array(values, np.float32).reshape(len(found), width)
    if wrong := _problems_of_form(header, found, given.shape, given.dtype, task, ids):
        raise DataError(" ".join(wrong))
    return Submission(header, ids, given[np.argsort(_places(found, ids))])


# ---- checking ----

def problems(submission, task, ids):
    """Everything that is wrong with a submission for these test cases, in plain words; an empty list if all is well."""
    header, found, prediction = submission
    return _problems_of_form(header, found, prediction.shape, prediction.dtype, task, ids) or _problems_of_values(
        found, prediction, TASKS[task])


def _problems_of_form(header, found, shape, dtype, task, ids):
    """What can be told before the predictions are read."""
    if header.get("task") != task:
        return [f"This is a submission for task {header.get('task')}, not for task {task}."]
    wrong, expected = _problems_of_ids(found, [str(name) for name in ids]), (len(found), *TASKS[task].shape)
    if dtype.kind != "f" or dtype.itemsize > 8:
        wrong.append(f"The predictions are of type {dtype}; write float32.")
    elif shape != expected:
        hint = " The last two axes look swapped." if shape == expected[:1] + expected[:0:-1] else ""
        wrong.append(f"The predictions have the shape {shape}, expected {expected}.{hint}")
    if not wrong and header.get("data") not in (None, fingerprint(ids)):
        wrong.append("The header's data fingerprint belongs to other test cases: predict again on this data.")
    return wrong


def _problems_of_ids(found, wanted):
    counts, wanted = Counter(found), set(wanted)
    kinds = {"are missing": wanted - counts.keys(), "are not test cases": counts.keys() - wanted,
             "appear more than once": {name for name, count in counts.items() if count > 1}}
    return [f"{len(some)} ids {what}, such as {plain(min(some), 80)!r}." for what, some in kinds.items() if some]


def _problems_of_values(found, prediction, task):
    if prediction.size == 0:
        return ["There are no predictions."]
    low, high = float(prediction.min()), float(prediction.max())  # NaN if any value is
    if not np.isfinite([low, high]).all():
        cases = np.flatnonzero(~np.isfinite(prediction).all(axis=tuple(range(1, prediction.ndim))))
        return [f"{len(cases)} cases hold NaN or infinity, the first is {plain(found[cases[0]], 80)!r}."]
    if low < task.low or high > task.high:
        hint = {"ms": " Are these seconds, samples or microseconds?", "mV": " Are these microvolts?",
                "probability": " Are these percent? Divide by 100." if np.allclose(prediction.sum(axis=1), 100, atol=1)
                               else " Are these logits? Apply softmax."}[task.unit]
        return [f"Values span {low:g} .. {high:g}; {task.low:g} .. {task.high:g} {task.unit} is plausible.{hint}"]
    if task.unit == "ms" and 0 < high < 1:
        return [f"The largest time is {high:g} ms. Are these seconds?"]
    if task.unit == "mV" and max(-low, high) < 1:
        return [f"Values span {low:g} .. {high:g} mV. Are these volts?"]
    if task.unit == "probability" and (off := np.abs(prediction.sum(axis=1) - 1) > 0.01).any():
        return [f"The probabilities of {int(off.sum())} cases do not add up to 1."]
    return []
