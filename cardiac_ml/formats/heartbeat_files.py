"""Kaggle's heartbeat files, in a folder, compressed, or in the zip they come in: found, checked, read, written.

A file has no header and 188 columns: 187 samples in 0..1, padded with zeros, then the class. It may lie in its folder
as ``.csv``, ``.csv.gz`` or inside a ``.zip``, which is read where it is and never unpacked.
"""
import gzip
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, atomic_write, cached_arrays, find_data, fingerprint

SAMPLES = 187
COLUMNS = SAMPLES + 1  # the class comes last
CLASSES_IN = {"ptbdb_normal": (0,), "ptbdb_abnormal": (1,),  # the class numbers that may stand in each file
              "mitbih_train": (0, 1, 2, 3, 4), "mitbih_test": (0, 1, 2, 3, 4)}
PUBLISHED_ROWS = {"ptbdb_normal": 4046, "ptbdb_abnormal": 10506, "mitbih_train": 87554, "mitbih_test": 21892}
KAGGLE = "https://www.kaggle.com/datasets/shayanfazeli/heartbeat"
KAGGLE_INPUTS = [Path("/kaggle/input", *names) for names in (("heartbeat",), ("datasets", "shayanfazeli", "heartbeat"))]
AGAIN = f"Download the file again from {KAGGLE}."
BROKEN_ARCHIVE = (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, RuntimeError)


# ---- finding: in a folder, its subfolders, or an archive ----

class Source(NamedTuple):
    """A CSV file, plain or compressed, or a member of a zip archive."""
    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path} ({self.member} in it)" if self.member else str(self.path)


def find_folder(folder: str | Path | None = None) -> Path | None:
    """Where real files are: ``folder``, ecg_dataset/, or the input of a Kaggle notebook; None where there are none."""
    return find_data("ecg_dataset", folder) or next((place for place in KAGGLE_INPUTS if place.is_dir()), None)


def find_pair(names, folder) -> dict[str, Source] | None:
    """The two files ("mitbih_train", "mitbih_test"); None where there is neither and no folder was asked for."""
    place = find_folder(folder)
    found = {name: place and find_file(place, f"{name}.csv") for name in names}
    missing = [f"{name}.csv" for name, source in found.items() if source is None]
    if not missing:
        return found
    if len(missing) == 1 or folder is not None:
        raise DataError(f"{place} has no {' and no '.join(missing)} (nor .csv.gz, nor in a zip archive). Get "
                        f"archive.zip from {KAGGLE} and put it there as it is.")
    return None


def find_file(folder: Path, name: str) -> Source | None:
    """``name`` (such as "mitbih_train.csv") in a folder, its subfolders or a zip archive; None where there is none."""
    if not folder.is_dir():
        return _in_archive(folder, name)
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())]
    archives = [archive for place in places for archive in sorted(place.glob("*.zip"))]
    return next((found for place in places if (found := _in_folder(place, name))), None) or next(
        (found for archive in archives if (found := _in_archive(archive, name))), None)


def find_beside(source: Source, name: str) -> Source | None:
    """The file ``name`` in the folder or the archive in which ``source`` lies."""
    return _in_archive(source.path, name) if source.member else _in_folder(source.path.parent, name)


def _in_folder(folder: Path, name: str) -> Source | None:
    return next((Source(path) for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _in_archive(path: Path, name: str) -> Source | None:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not a zip archive, or only a part of one. {AGAIN} Or give the folder of the files.")
    with zipfile.ZipFile(path) as archive:
        members = sorted(m for m in archive.namelist() if m.rpartition("/")[2] == name and not m.startswith("__MACOSX"))
    return Source(path, members[0]) if members else None


@contextmanager
def opened(source: Source):
    """The bytes of a CSV file as a stream, wherever it lies."""
    if source.member:
        with zipfile.ZipFile(source.path) as archive, archive.open(source.member) as stream:
            yield stream
    elif source.path.suffix == ".gz":
        with gzip.open(source.path) as stream:
            yield stream
    else:
        with open(source.path, "rb") as stream:
            yield stream


# ---- reading ----

def read_pair(sources: dict[str, Source]) -> tuple[dict[str, np.ndarray], dict[str, pd.DataFrame], str]:
    """(rows (n, 188) of each file, table with a row a beat of each file, what they are and where they came from)."""
    rows = {name: read_rows(source, CLASSES_IN[name]) for name, source in sources.items()}
    return rows, read_tables(sources, {name: len(array) for name, array in rows.items()}), _source_line(sources, rows)


def _source_line(sources, rows) -> str:
    """What the files say of themselves; Kaggle's name only where they have as many rows as Kaggle's."""
    first = next(iter(sources.values()))
    if found := find_beside(first, "source.txt"):
        with opened(found) as stream:
            return stream.read().decode("utf-8", errors="replace").strip()
    place = first.path if first.member else first.path.parent
    counts = [f"{len(array)} of the published {PUBLISHED_ROWS[name]} rows of {name}.csv" for name, array in rows.items()
              if len(array) != PUBLISHED_ROWS[name]]
    return f"heartbeats in {place}: {', '.join(counts)}" if counts else f"Kaggle's heartbeat files, as found in {place}"


def read_rows(source: Source, labels: tuple[int, ...]) -> np.ndarray:
    """All rows of a file, (rows, 188) float32, checked; from the copy in the cache where there is one."""
    state = source.path.stat()  # before reading: a file that changes meanwhile must not pass for the new one
    owner = f"heartbeats/{source.path.stem}_{fingerprint(str(source.path.resolve()), source.member)}"
    return cached_arrays(owner, fingerprint(state.st_size, state.st_mtime_ns),
                         lambda: {"rows": parse_rows(source, labels)})["rows"]


def parse_rows(source: Source, labels: tuple[int, ...]) -> np.ndarray:
    """Parse a CSV file to (rows, 188) float32; the first faulty line, if any, is named in a DataError."""
    try:
        try:
            with opened(source) as stream:  # chunks keep the memory at the size of the result
                chunks = pd.read_csv(stream, header=None, dtype=np.float32, chunksize=2048)
                rows = np.concatenate([chunk.to_numpy() for chunk in chunks])
            beats, label = rows[:, :-1], rows[:, -1]
            if rows.shape[1] == COLUMNS and np.isin(label, labels).all() and beats.min() >= 0 and beats.max() <= 1:
                return rows  # a NaN fails these
        except ValueError:
            pass  # the parser does not say what is wrong in words that help
        with opened(source) as stream:
            raise DataError(f"{source}: {_first_fault(stream, labels)}")
    except BROKEN_ARCHIVE as error:
        raise DataError(f"{source} is damaged or incomplete ({error}). {AGAIN}") from error


def _first_fault(stream, labels: tuple[int, ...]) -> str:
    """What is wrong with the first faulty line, and what to do."""
    empty, foreign = True, {b"\0": "binary", b"<": "a web page", b";": "separated by semicolons"}
    for number, line in enumerate(iter(lambda: stream.readline(1_000_000), b""), 1):
        if what := [name for mark, name in foreign.items() if number == 1 and mark in line]:
            return f"the file is {what[0]}, expected lines of numbers with commas between them. {AGAIN}"
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
        if text and (fault := line_fault(text.split(","), labels, first=empty)):
            return f"line {number} {fault}"
        empty = empty and not text
    return f"the file is empty. {AGAIN}" if empty else f"the lines do not form a table of numbers. {AGAIN}"


def line_fault(cells: list[str], labels: tuple[int, ...], first: bool = False) -> str | None:
    """What is wrong with one line of a heartbeat file, or None.

    >>> line_fault(["0.5"] * 187, (0, 1))
    'has 187 columns, expected 188 (187 samples, then the class). The class or a sample is missing.'
    """
    numbers = pd.to_numeric(pd.Series(cells), errors="coerce").to_numpy(np.float32)  # NaN where there is none
    if first and len(cells) > 1 and (np.isnan(numbers).mean() > 0.5 or numbers[-2:].tolist() == [SAMPLES - 1, SAMPLES]):
        return (f"is a header ({cells[0]}, {cells[1]} ...), but these files have none. Delete that line, or write the "
                "file without one (header=False, index=False in pandas).")
    if len(cells) != COLUMNS:
        why = "The class or a sample is missing." if len(cells) == SAMPLES else (
            f"It is cut short. {AGAIN}" if len(cells) < COLUMNS else f"Is this another file? {AGAIN}")
        return f"has {len(cells)} columns, expected 188 (187 samples, then the class). {why}"
    wrong = np.flatnonzero(~((numbers[:-1] >= 0) & (numbers[:-1] <= 1)))  # a NaN is wrong too
    if len(wrong):
        return (f"has {cells[wrong[0]].strip()[:30] or 'nothing'} in column {wrong[0] + 1}, expected a number in 0..1. "
                "Correct or delete that line; each beat is scaled by its own minimum and maximum, as published.")
    if numbers[-1] not in labels:
        expected = f"{labels[0]}" if len(labels) == 1 else f"a whole number {min(labels)}..{max(labels)}"
        return (f"has class {cells[-1].strip()} in column {COLUMNS}, expected {expected}. Correct that line, or check "
                "that the file has its right name.")
    return None


def write_rows(path: Path, rows: np.ndarray) -> None:
    """Write (rows, 188) float32 in Kaggle's layout, to the letter: 18 decimals, no header; read back bit for bit."""
    with atomic_write(path) as file:
        np.savetxt(file, np.asarray(rows, np.float32).astype(float), delimiter=",")


def write_folder(folder: Path, files: dict[str, tuple[np.ndarray, pd.DataFrame]], source: str) -> None:
    """Write whole data: ``{"mitbih_train": (rows, table)}`` as CSV files, one ``beats.csv`` and ``source.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    for name, (rows, table) in files.items():
        write_rows(folder / f"{name}.csv", rows)
        place = {"file": name, "row": np.arange(len(rows))}
        tables.append(table.reset_index(drop=True).drop(columns=list(place), errors="ignore").assign(**place))
    beats = pd.concat(tables, ignore_index=True)
    with atomic_write(folder / "beats.csv", "w") as file:
        beats[["file", "row", *beats.columns.drop(["file", "row"])]].to_csv(file, index=False, lineterminator="\n")
    with atomic_write(folder / "source.txt", "w") as file:
        file.write(source + "\n")


def read_tables(sources: dict[str, Source], counts: dict[str, int]) -> dict[str, pd.DataFrame]:
    """One row a beat for each file: file, row, and what a table beside it says of its patient and intervals.

    ``beats.csv`` (of a rebuild or of virtual hearts) knows all; ``records.csv`` has the record and the sample of each
    row of the MIT-BIH pair, training rows first.
    """
    first = next(iter(sources.values()))
    tables = {name: pd.DataFrame({"file": name, "row": np.arange(rows)}) for name, rows in counts.items()}
    if beats := find_beside(first, "beats.csv"):
        known = _read_table(beats, ["file", "row"])
        for name in [name for name in counts if name in set(known["file"])]:
            tables[name] = known[known["file"] == name].reset_index(drop=True)
            if not np.array_equal(tables[name]["row"], np.arange(counts[name])):
                raise DataError(f"{beats} has {len(tables[name])} rows for {name}.csv, expected {counts[name]}, in its "
                                "order. Remove it, or put the one that was written with these files.")
    elif "mitbih_train" in counts and (records := find_beside(first, "records.csv")):
        known = _read_table(records, ["record", "sample"])
        if len(known) != sum(counts.values()):
            raise DataError(f"{records} has {len(known)} rows, expected {sum(counts.values())}: one for each row of "
                            f"{' and then of '.join(counts)}. Remove it, or put the one of these files.")
        start = np.cumsum([0, *counts.values()])
        for name, begin, end in zip(counts, start, start[1:]):
            part = known.iloc[begin:end].reset_index(drop=True)
            tables[name] = tables[name].assign(patient=part["record"]).join(part)
    return tables


def _read_table(source: Source, columns: list[str]) -> pd.DataFrame:
    try:
        with opened(source) as stream:
            table = pd.read_csv(stream)
    except ValueError as error:
        raise DataError(f"{source} is not a table ({error}). Remove it or write it again.") from error
    if missing := [column for column in columns if column not in table]:
        raise DataError(f"{source} has no column {', '.join(missing)}; it has {', '.join(table.columns)}. Remove it or "
                        "write it again.")
    return table
