"""The heartbeat CSV files of Kaggle, read fast, checked once, and kept as ``.npy`` for the next time.

A file has no header and 188 columns: 187 samples in 0..1, padded with zeros, then the class. It may lie in its folder
as ``.csv``, ``.csv.gz`` or inside a ``.zip``, which is read where it is and never unpacked.
"""
import gzip
import hashlib
import re
import warnings
import zipfile
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, cache_folder, atomic_write

SAMPLES = 187
COLUMNS = SAMPLES + 1  # the class comes last
KAGGLE = "https://www.kaggle.com/datasets/shayanfazeli/heartbeat"
AGAIN = f"Download the file again from {KAGGLE}."
BROKEN_ARCHIVE = (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, RuntimeError)


class Source(NamedTuple):
    """A CSV file, plain or compressed, or a member of a zip archive."""
    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path} ({self.member} in it)" if self.member else str(self.path)


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


def read_rows(source: Source, labels: tuple[int, ...]) -> np.ndarray:
    """All rows of a file, (rows, 188) float32, checked; from the cached copy where there is one.

    The copy is named after the size and time of the file: a changed file is read, and checked, again.
    """
    places = _places_of_copy(source)  # before reading: a file that changes meanwhile must not pass for the new one
    for kept in places:
        try:
            rows = np.load(kept, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue  # absent or damaged: the CSV still has everything
        if rows.ndim == 2 and rows.shape[1] == COLUMNS and rows.dtype == np.float32:
            return rows
    rows = parse_rows(source, labels)
    _keep_copy(rows, source, places)
    return rows


def _places_of_copy(source: Source) -> list[Path]:
    """Where the copy of a file may lie: beside it, or in the cache folder where that place is read-only."""
    state = source.path.stat()
    name = source.path.name + (f".{Path(source.member).name}" if source.member else "")
    stamp = f"{state.st_size:x}-{state.st_mtime_ns:x}.npy"
    digest = hashlib.sha256(f"{source.path.resolve()}|{source.member}".encode()).hexdigest()[:12]
    return [source.path.with_name(f"{name}.{stamp}"), cache_folder() / "heartbeats" / f"{name}.{digest}.{stamp}"]


def _keep_copy(rows: np.ndarray, source: Source, places: list[Path]) -> None:
    trouble = None
    for place in places:
        try:
            with atomic_write(place) as file:
                np.save(file, rows)
            return _forget_older(place)
        except OSError as error:  # read-only or full: try the next place
            trouble = error
    warnings.warn(f"{source} was read, but its fast copy could not be kept, so it will be read in full again next "
                  f"time. {trouble}", stacklevel=2)


def _forget_older(place: Path) -> None:
    """Remove the copies of the same file as it was before it changed."""
    name = re.escape(place.name.removesuffix(".npy").rpartition(".")[0])
    for older in place.parent.iterdir():
        if older != place and re.fullmatch(name + r"\.[0-9a-f]+-[0-9a-f]+\.npy", older.name):
            with suppress(OSError):  # another process may still read it
                older.unlink()


def parse_rows(source: Source, labels: tuple[int, ...]) -> np.ndarray:
    """Parse a CSV file to (rows, 188) float32; the first faulty line, if any, is named in a DataError."""
    try:
        try:
            with opened(source) as stream:
                rows = _parse_fast(stream)
            if _are_right(rows, labels):
                return rows
        except ValueError:
            pass  # the parser does not say what is wrong in words that help
        with opened(source) as stream:
            raise DataError(f"{source}: {_first_fault(stream, labels)}")
    except BROKEN_ARCHIVE as error:
        raise DataError(f"{source} is damaged or incomplete ({error}). {AGAIN}") from error


def _parse_fast(stream) -> np.ndarray:
    """Chunks keep the memory at the size of the result; pandas' C parser was the fastest of those measured."""
    chunks = pd.read_csv(stream, header=None, dtype=np.float32, chunksize=2048)
    return np.concatenate([chunk.to_numpy() for chunk in chunks])


def _are_right(rows: np.ndarray, labels: tuple[int, ...]) -> bool:
    if rows.shape[1] != COLUMNS or not np.isin(rows[:, -1], labels).all():
        return False
    return bool((rows[:, :-1].min() >= 0) and (rows[:, :-1].max() <= 1))  # a NaN fails both


def _first_fault(stream, labels: tuple[int, ...]) -> str:
    """What is wrong with the first faulty line, and what to do."""
    empty = True
    for number, line in enumerate(iter(lambda: stream.readline(1_000_000), b""), 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
        if text and (fault := line_fault(text.split(","), labels, first=empty)):
            return f"line {number} {fault}"
        empty = empty and not text
    return f"the file is empty. {AGAIN}" if empty else f"the lines do not form a table of numbers. {AGAIN}"


def line_fault(cells: list[str], labels: tuple[int, ...], first: bool = False) -> str | None:
    """What is wrong with one line of a heartbeat file, or None.

    >>> line_fault(["0.5"] * 187, (0, 1))
    'has 187 columns, expected 188 (187 samples, then the class): the class or a sample is missing.'
    """
    numbers = [_number(cell) for cell in cells]
    names = numbers.count(None) > len(cells) // 2 or numbers[-2:] == [COLUMNS - 2, COLUMNS - 1]
    if first and len(cells) > 1 and names:
        return (f"is a header ({cells[0]}, {cells[1]} ...), but these files have none. Delete that line, or write the "
                "file without one (header=False, index=False in pandas).")
    if len(cells) == SAMPLES:
        return "has 187 columns, expected 188 (187 samples, then the class): the class or a sample is missing."
    if len(cells) != COLUMNS:
        why = f"It is cut short. {AGAIN}" if len(cells) < COLUMNS else f"Is this another file? {AGAIN}"
        return f"has {len(cells)} columns, expected 188 (187 samples, then the class). {why}"
    if None in numbers:
        column = numbers.index(None)
        what = repr(cells[column][:30]) if cells[column].strip() else "nothing"
        return f"has {what} in column {column + 1}, expected a number. Correct that line. {AGAIN}"
    return _value_fault(np.array(numbers, np.float32), cells, labels)


def _value_fault(values: np.ndarray, cells: list[str], labels: tuple[int, ...]) -> str | None:
    beat, label = values[:-1], values[-1]
    wrong = np.flatnonzero(~((beat >= 0) & (beat <= 1)))  # a NaN is wrong too
    if len(wrong):
        column, value = wrong[0] + 1, cells[wrong[0]].strip()
        if not np.isfinite(beat[wrong[0]]):
            return f"has {value} in column {column}, expected a finite number. Correct or delete that line. {AGAIN}"
        return (f"has {value} in column {column}, outside 0..1. Scale each beat by its own minimum and maximum, as the "
                "published files are.")
    if label not in labels:
        expected = f"{labels[0]}" if len(labels) == 1 else f"a whole number {min(labels)}..{max(labels)}"
        return (f"has class {cells[-1].strip()} in column {COLUMNS}, expected {expected}. Correct that line, or check "
                "that the file has its right name.")
    return None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def write_rows(path: Path, rows: np.ndarray) -> None:
    """Write (rows, 188) float32 in Kaggle's layout, to the letter: 18 decimals, no header; read back bit for bit."""
    with atomic_write(path) as file:
        for start in range(0, len(rows), 2048):
            block = np.ascontiguousarray(rows[start:start + 2048], np.float32)
            values, where = np.unique(block, return_inverse=True)  # few values repeat often: each is printed once
            printed = np.array([b"%.18e" % value for value in values.tolist()], "S24")
            text = np.full((*block.shape, 25), ord(","), np.uint8)
            text[..., :24] = printed[where].view(np.uint8).reshape(*block.shape, 24)
            text[:, -1, 24] = ord("\n")
            file.write(text.tobytes())


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
    known = {}
    if beats := find_beside(first, "beats.csv"):
        known = _split_beats(beats, counts)
    elif "mitbih_train" in counts and (records := find_beside(first, "records.csv")):
        known = _split_records(records, counts)
    bare = {name: pd.DataFrame({"file": name, "row": np.arange(rows)}) for name, rows in counts.items()}
    return bare | known


def _split_beats(source: Source, counts: dict[str, int]) -> dict[str, pd.DataFrame]:
    table = _read_table(source, ["file", "row"])
    parts = {name: table[table["file"] == name].reset_index(drop=True) for name in counts if name in set(table["file"])}
    for name, part in parts.items():
        if not np.array_equal(part["row"], np.arange(counts[name])):
            raise DataError(f"{source} has {len(part)} rows for {name}.csv, expected {counts[name]}, in its order. "
                            "Remove it, or put the one that was written with these files.")
    return parts


def _split_records(source: Source, counts: dict[str, int]) -> dict[str, pd.DataFrame]:
    table = _read_table(source, ["record", "sample"])
    if len(table) != sum(counts.values()):
        raise DataError(f"{source} has {len(table)} rows, expected {sum(counts.values())}: one for each row of "
                        f"{' and then of '.join(counts)}. Remove it, or put the one of these files.")
    file = np.repeat(list(counts), list(counts.values()))
    row = np.concatenate([np.arange(rows) for rows in counts.values()])
    table = pd.DataFrame({"file": file, "row": row, "patient": table["record"]}).join(table)
    return {name: table[file == name].reset_index(drop=True) for name in counts}


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
