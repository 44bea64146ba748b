"""MIT-BIH heartbeats from their raw records: the rows of Kaggle's files bit for bit, and what those leave out.

    python -m cardiac_ml rebuild-heartbeats RECORDS OUT

writes the Kaggle layout and, for every beat, its patient and the intervals around it. ``load_records`` gives the same
beats with the signal before and after the R peak. The records are PhysioNet's ``mitdb``; reading them needs ``wfdb``.
"""
import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError
from cardiac_ml.formats.heartbeat_files import SAMPLES, write_folder
from cardiac_ml.heartbeats import DS2, MITBIH_CLASSES, PACED, Heartbeats

RECORD_HZ = 360
STEP = 3  # Kaggle keeps every third sample, without a filter
KINDS = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}  # annotations of beats, by class
CLASS_OF = {symbol: MITBIH_CLASSES.index(kind) for kind, symbols in KINDS.items() for symbol in symbols}
TEST_RECORDS = DS2 + PACED[2:]  # half of the paced records on each side, so that both have beats of class Q
WHERE = "Get the MIT-BIH Arrhythmia Database from https://physionet.org/content/mitdb/1.0.0/ (.hea, .dat, .atr)."


class Record(NamedTuple):
    """One raw record and its annotations."""
    name: int | str
    signal: np.ndarray  # (samples, channels), raw units of the converter
    leads: list[str]
    gain: np.ndarray  # (channels,) raw units per mV
    baseline: np.ndarray  # (channels,) raw units at 0 mV
    at: np.ndarray  # (annotations,) sample
    symbol: np.ndarray  # (annotations,)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RecordBeats(Heartbeats):
    """Heartbeats with what surrounds them. ``window_mv`` starts ``before_ms`` before the R peak."""
    window_mv: np.ndarray  # (rows, channels, samples) float32, 360 Hz
    before_ms: float

    @property
    def window_time_ms(self) -> np.ndarray:
        """Milliseconds from the R peak of each sample of a window, (samples,)."""
        before = round(self.before_ms * RECORD_HZ / 1000)
        return (np.arange(self.window_mv.shape[-1]) - before) * 1000 / RECORD_HZ

    def __repr__(self) -> str:
        shape = "{} channels of {} samples".format(*self.window_mv.shape[1:])
        return f"{super().__repr__()}\n  window    {shape}, {RECORD_HZ} Hz, from {-self.before_ms:g} ms, in mV"


def find_records(folder: str | Path, records: Sequence | None = None) -> list[str]:
    """Names of the records of a folder, in order; of the wanted ``records`` if given, which must all be there."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. {WHERE}")
    here = sorted(path.stem for path in folder.glob("*.hea"))
    wanted = here if records is None else [str(name) for name in records]
    if missing := [name for name in wanted if name not in here]:
        raise DataError(f"{folder} has no header (.hea) of the records {', '.join(missing)}. {WHERE}")
    if not wanted:
        raise DataError(f"{folder} has no records (no .hea files). {WHERE}")
    return wanted


def read_record(folder: str | Path, name: int | str) -> Record:
    """Read one record whole and check it against its header."""
    path = Path(folder).expanduser() / str(name)
    for suffix, what in ((".hea", "header"), (".dat", "signal"), (".atr", "annotations")):
        file = path.with_name(path.name + suffix)
        if not file.is_file() or file.stat().st_size == 0:
            state = "empty" if file.is_file() else "missing"
            raise DataError(f"Record {name} has no {what}: {file} is {state}. {WHERE}")
    try:
        import wfdb
        raw = wfdb.rdrecord(str(path), physical=False)
        notes = wfdb.rdann(str(path), "atr")
    except ImportError:
        raise DataError("Raw records are read with wfdb, which is not installed: pip install wfdb") from None
    except Exception as error:  # wfdb raises whatever its parsing stumbles over
        raise DataError(f"Record {name} in {path.parent} cannot be read ({error}): one of its files is damaged or cut "
                        f"short. {WHERE}") from error
    record = Record(int(name) if str(name).isdigit() else name, raw.d_signal, raw.sig_name, np.array(raw.adc_gain),
                    np.array(raw.baseline), np.asarray(notes.sample), np.array(notes.symbol))
    _check_record(record, raw, path)
    return record


def _check_record(record: Record, raw, path: Path) -> None:
    if raw.fs != RECORD_HZ:
        raise DataError(f"{path}.hea says {raw.fs} Hz, expected {RECORD_HZ}, the rate of the MIT-BIH records. {WHERE}")
    found = record.signal.sum(axis=0) % 65536
    for lead, total, said in zip(record.leads, found, raw.checksum):
        if said is not None and total != said % 65536:
            raise DataError(f"{path}.dat does not match its header: the checksum of lead {lead} is {total}, the header "
                            f"says {said % 65536}. A file is damaged or of another record. {WHERE}")
    if not np.isin(record.symbol, list(CLASS_OF)).any():
        raise DataError(f"{path}.atr has {len(record.symbol)} annotations and none is a beat. {WHERE}")
    if (np.diff(record.at) < 0).any() or record.at[-1] >= len(record.signal):
        raise DataError(f"{path}.atr has annotations out of order or after the end of the signal ({len(record.signal)} "
                        f"samples). {WHERE}")


def kaggle_beat(signal: np.ndarray, start: int, next_one: int, one_after: int) -> np.ndarray | None:
    """One beat as Kaggle has it, (187,) float32, from three annotations in a row; None if the signal is flat there.

    It runs from its R peak to the next annotation and a fifth of the interval after that, at a third of the rate,
    scaled by its own minimum and maximum, then cut or padded with zeros.
    """
    beat = signal[start:next_one + int(0.2 * (one_after - next_one))][::STEP].astype(float)
    if len(beat) == 0 or beat.max() == beat.min():
        return None
    scaled = ((beat - beat.min()) / (beat.max() - beat.min())).astype(np.float32)[:SAMPLES]
    return np.pad(scaled, (0, SAMPLES - len(scaled)))


def record_beats(record: Record) -> tuple[np.ndarray, pd.DataFrame]:
    """All beats of a record as Kaggle rows (beats, 188) float32, class last, and a table with a row for each.

    The last annotation of a record has no end and drops out, as it does at Kaggle.
    """
    edges = np.append(record.at, len(record.signal))  # annotations that are not beats end a beat too
    intervals = beat_intervals(record)
    rows, kept = [], []
    for i in np.flatnonzero(np.isin(record.symbol[:-1], list(CLASS_OF))):
        beat = kaggle_beat(record.signal[:, 0], *edges[i:i + 3])
        if beat is None:
            warnings.warn(f"Record {record.name}: the signal is flat at sample {record.at[i]}; that beat is left out.")
            continue
        rows.append(np.append(beat, np.float32(CLASS_OF[record.symbol[i]])))
        kept.append(i)
    table = pd.DataFrame({"patient": record.name, "record": record.name, "sample": record.at[kept],
                          "symbol": record.symbol[kept]})
    return np.array(rows, np.float32).reshape(-1, SAMPLES + 1), table.join(intervals.loc[kept].reset_index(drop=True))


def beat_intervals(record: Record) -> pd.DataFrame:
    """Intervals between R peaks around each beat, in ms; a row for each beat, numbered as its annotation.

    ``rr_local_ms`` is the mean of the ten intervals up to the beat, ``rr_patient_ms`` that of the whole record. What a
    beat has no neighbour for is NaN.
    """
    beat = np.flatnonzero(np.isin(record.symbol, list(CLASS_OF)))
    between_ms = np.diff(record.at[beat]) * 1000 / RECORD_HZ
    before = pd.Series(np.append(np.nan, between_ms), index=beat)
    return pd.DataFrame({
        "rr_before_ms": before, "rr_after_ms": np.append(between_ms, np.nan),
        "rr_local_ms": before.rolling(10, min_periods=1).mean(), "rr_patient_ms": before.mean(),
    }).round(3)


def interval_features(table: pd.DataFrame) -> np.ndarray:
    """Intervals as a classifier likes them, (rows, 6) float32, near 0 for a regular beat; 0 where one is unknown.

    Logarithms of: before/local, after/local, before/after, before/patient, after/patient, local/patient. Where the
    table has no ``rr_local_ms`` or ``rr_patient_ms``, the mean over the patient's beats in it takes their place.
    """
    if not {"patient", "rr_before_ms", "rr_after_ms"} <= set(table):  # Kaggle's files, those of a challenge
        return np.zeros((len(table), 6), np.float32)
    mean = table.groupby("patient")["rr_before_ms"].transform("mean")
    columns = [table.get(f"rr_{name}_ms", mean) for name in ("before", "after", "local", "patient")]
    before, after, local, patient = (np.log(column.where(column > 0).to_numpy(float)) for column in columns)
    ratios = (before - local, after - local, before - after, before - patient, after - patient, local - patient)
    return np.nan_to_num(np.column_stack(ratios), nan=0.0).astype(np.float32)


def load_records(folder: str | Path, records: Sequence | None = None, *, before_ms: float = 300.0,
                 after_ms: float = 600.0, channels: int = 1) -> RecordBeats:
    """Beats of raw records with the signal around each R peak and the intervals: the context of a new patient's beat.

    ``records``: such as ``heartbeats.DS1``; all of the folder by default. ``channels``: 1 or 2; lead MLII comes first
    where a record has it (``lead_1``, ``lead_2`` of the table name them). Where a window leaves the record its edge
    sample is repeated. ``beats`` are Kaggle's rows, of the first channel.
    """
    offsets = np.arange(-round(before_ms * RECORD_HZ / 1000), round(after_ms * RECORD_HZ / 1000))
    if not len(offsets):
        raise DataError(f"No sample from {before_ms} ms before to {after_ms} ms after the R peak. Widen the window.")
    rows, tables, windows = [], [], []
    for name in find_records(folder, records):
        record = read_record(folder, name)
        row, table = record_beats(record)
        window, leads = windows_around(record, table["sample"].to_numpy(), offsets, channels)
        rows, windows = [*rows, row], [*windows, window]
        tables.append(table.assign(file=str(name), row=np.arange(len(table)), **leads))
    rows = np.concatenate(rows)
    return RecordBeats(beats=np.ascontiguousarray(rows[:, :SAMPLES]), label=rows[:, SAMPLES].astype(np.int64),
                       classes=MITBIH_CLASSES, table=pd.concat(tables, ignore_index=True),
                       source=f"{len(tables)} MIT-BIH records in {folder}", window_mv=np.concatenate(windows),
                       before_ms=float(before_ms))


def windows_around(record: Record, sample: np.ndarray, offsets: np.ndarray,
                   channels: int) -> tuple[np.ndarray, dict[str, str]]:
    """Signal around the given samples, (beats, channels, offsets) float32 mV, and the leads it shows."""
    if not 1 <= channels <= len(record.leads):
        raise DataError(f"channels is {channels}, but record {record.name} has {len(record.leads)}: move its files "
                        "out of the folder, or ask for no more (new patients are told apart by two).")
    order = sorted(range(len(record.leads)), key=lambda channel: record.leads[channel] != "MLII")[:channels]
    signal_mv = ((record.signal[:, order] - record.baseline[order]) / record.gain[order]).astype(np.float32)
    inside = np.clip(sample[:, None] + offsets, 0, len(signal_mv) - 1)
    leads = {f"lead_{n}": record.leads[channel] for n, channel in enumerate(order, 1)}
    return np.ascontiguousarray(signal_mv[inside].transpose(0, 2, 1)), leads


def rebuild_heartbeats(records_folder: str | Path, out_folder: str | Path, test_records: Sequence = TEST_RECORDS,
                       overwrite: bool = False) -> pd.DataFrame:
    """Write ``mitbih_train.csv``, ``mitbih_test.csv`` and ``beats.csv`` from raw records; returns the latter's table.

    Each row equals Kaggle's bit for bit as float32, but the files divide the *patients*: ``test_records`` (DS2 and two
    paced records) are the test file, all others the training file. ``load_mitbih(out_folder)`` reads them, and
    ``split_by_patient`` splits them as the literature does, without the paced records.
    """
    out, names = Path(out_folder).expanduser(), find_records(records_folder)
    if not overwrite and (there := sorted(path.name for path in out.glob("mitbih_*.csv*"))):
        raise DataError(f"{out} already holds {', '.join(there)}. Choose another folder, or say that they may be "
                        "replaced: overwrite=True, --overwrite.")
    sides = {"mitbih_train": [], "mitbih_test": []}
    for name in names:
        side = "mitbih_test" if name in {str(record) for record in test_records} else "mitbih_train"
        sides[side].append(record_beats(read_record(records_folder, name)))
    files = {side: (np.concatenate([rows for rows, _ in parts]), pd.concat([table for _, table in parts]))
             for side, parts in sides.items() if parts}
    write_folder(out, files, f"{len(names)} MIT-BIH records rebuilt as Kaggle's rows, each patient in one file")
    for side in sides.keys() - files.keys():
        print(f"{side}.csv was not written: {records_folder} has no record for it. Name test records with --test.")
    return pd.concat([table.assign(file=side) for side, (_, table) in files.items()], ignore_index=True)


def add_commands(subparsers) -> None:
    """Add ``rebuild-heartbeats`` to the commands of ``python -m cardiac_ml``."""
    command = subparsers.add_parser("rebuild-heartbeats", help="MIT-BIH beats from raw records, in Kaggle's layout",
                                    description=rebuild_heartbeats.__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("records", help="folder with .hea, .dat and .atr files")
    command.add_argument("out", help="folder to write to")
    command.add_argument("--test", nargs="+", default=TEST_RECORDS, metavar="RECORD",
                         help="records of the test file (default: DS2, 107 and 217)")
    command.add_argument("--overwrite", action="store_true", help="replace heartbeat files that are there")
    command.set_defaults(run=_run_rebuild)


def _run_rebuild(arguments) -> None:
    table = rebuild_heartbeats(arguments.records, arguments.out, arguments.test, arguments.overwrite)
    for file, part in table.groupby("file", sort=False):
        print(f"{file}.csv: {len(part)} beats of {part['patient'].nunique()} records")
