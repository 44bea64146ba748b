"""Heartbeats for tasks 1 and 2: load the Kaggle files, look at what is there, split by class or by patient.

    train, test = load_mitbih()          # five classes; 120 Hz
    hearts = load_ptb()                  # normal or abnormal

Real files are looked for in ``ecg_dataset/``; where there are none, virtual heartbeats stand in, and a line says so.
"""
import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, cache_folder, find_data
from cardiac_ml.heartbeat_files import (KAGGLE, SAMPLES, Source, find_beside, find_file, opened, read_rows, read_tables,
                              write_folder)

PTB_CLASSES = ("normal", "abnormal")
MITBIH_CLASSES = ("N", "S", "V", "F", "Q")
MITBIH_HZ = 120.0  # every third sample of 360 Hz, although the page of the dataset says 125
PTB_HZ = 125.0  # as the page of the dataset says; its raw records were not at hand to check
PAIRS = {  # the class numbers that may stand in each file
    "ptb": {"ptbdb_normal": (0,), "ptbdb_abnormal": (1,)},
    "mitbih": {"mitbih_train": (0, 1, 2, 3, 4), "mitbih_test": (0, 1, 2, 3, 4)},
}

# The usual split of the MIT-BIH records between patients to learn from and patients to test on (de Chazal 2004).
DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)
PACED = (102, 104, 107, 217)  # left out of that split: nearly all of their beats are paced
SAME_PERSON = {202: 201}  # two records of one man; the usual split has one on each side


@dataclass(frozen=True, eq=False, repr=False)
class Heartbeats:
    """Beats that start at their R peak, their classes, and one table row for each. ``ds[index]`` is a subset."""
    beats: np.ndarray  # (rows, 187) float32, each scaled to 0..1, zeros after its end
    label: np.ndarray  # (rows,) int64, position in classes
    classes: tuple[str, ...]
    table: pd.DataFrame  # file, row; patient and rr_before_ms, rr_after_ms where known
    source: str
    rate_hz: float = MITBIH_HZ

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index) -> "Heartbeats":
        index = np.atleast_1d(np.arange(len(self))[index])
        arrays = {name: array[index] for name, array in vars(self).items() if isinstance(array, np.ndarray)}
        return replace(self, **arrays, table=self.table.iloc[index].reset_index(drop=True))

    @property
    def time_ms(self) -> np.ndarray:
        """Milliseconds after the R peak, (187,)."""
        return np.arange(self.beats.shape[-1]) * 1000 / self.rate_hz

    def __repr__(self) -> str:
        return data_card(self)


def data_card(ds: Heartbeats) -> str:
    """What a dataset holds, in a few lines."""
    counts = np.bincount(ds.label, minlength=len(ds.classes))
    shares = [f"{name} {count} ({100 * count / max(len(ds), 1):.1f} %)" for name, count in zip(ds.classes, counts)]
    patients = ("not known, so any split mixes beats of the same patient" if "patient" not in ds.table
                else f"{ds.table['patient'].nunique()}")
    middle_ms = np.median(beat_lengths(ds.beats)) * 1000 / ds.rate_hz if len(ds) else 0
    zeros = 100 * np.mean(ds.beats == 0) if len(ds) else 0
    return "\n".join([
        f"{type(ds).__name__}: {len(ds)} beats of {ds.beats.shape[-1]} samples, {ds.rate_hz:g} Hz, scaled to 0..1",
        f"  source    {ds.source}", f"  classes   {', '.join(shares)}", f"  patients  {patients}",
        f"  length    {middle_ms:.0f} ms (median) of {ds.time_ms[-1]:.0f} ms; {zeros:.0f} % of all values are zero",
    ])


def beat_lengths(beats: np.ndarray) -> np.ndarray:
    """Number of samples before the zeros at the end of each beat: (rows, 187) -> (rows,).

    In MIT-BIH rows it tells the interval that follows: a beat runs to the next R peak, and on for a fifth of the
    interval after that.
    """
    filled = beats[:, ::-1] != 0
    return np.where(filled.any(axis=1), beats.shape[1] - filled.argmax(axis=1), 0)


def load_ptb(folder: str | Path | None = None, *, virtual_hearts: int | None = None) -> Heartbeats:
    """Healthy (0) or abnormal (1) heartbeats of the PTB pair, normal rows first.

    ``folder`` holds ``ptbdb_normal.csv`` and ``ptbdb_abnormal.csv``, plain, as ``.csv.gz`` or in Kaggle's zip, or is
    that zip. Without it the files are looked for in ``ecg_dataset/``, and virtual heartbeats stand in where there are
    none (``virtual_hearts``: of how many hearts).
    """
    return join(*_load_pair("ptb", PTB_CLASSES, PTB_HZ, folder, virtual_hearts))


def load_mitbih(folder: str | Path | None = None, *,
                virtual_hearts: int | None = None) -> tuple[Heartbeats, Heartbeats]:
    """Training and test heartbeats of the MIT-BIH pair, five classes; arguments as of ``load_ptb``.

    Kaggle's two files mix beats of the same 48 records, so the score on its test file is not the score on a new
    patient. A ``records.csv`` or the ``beats.csv`` of a rebuild beside the files gives each row its patient.
    """
    train, test = _load_pair("mitbih", MITBIH_CLASSES, MITBIH_HZ, folder, virtual_hearts)
    return train, test


def join(*parts: Heartbeats) -> Heartbeats:
    """Several datasets as one, in order."""
    if len({part.classes for part in parts}) != 1:
        raise DataError(f"Datasets of different classes cannot be joined: {[part.classes for part in parts]}.")
    arrays = [name for name, array in vars(parts[0]).items() if isinstance(array, np.ndarray)]
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
                   table=pd.concat([part.table for part in parts], ignore_index=True))


def _load_pair(pair, classes, rate_hz, folder, virtual_hearts) -> list[Heartbeats]:
    sources = _find_pair(pair, folder) or _virtual_pair(pair, virtual_hearts)
    rows = {name: read_rows(source, PAIRS[pair][name]) for name, source in sources.items()}
    tables = read_tables(sources, {name: len(array) for name, array in rows.items()})
    said = _source_line(next(iter(sources.values())))
    return [Heartbeats(np.ascontiguousarray(array[:, :SAMPLES]), np.array(array[:, SAMPLES], np.int64), classes,
                       tables[name], said, rate_hz) for name, array in rows.items()]


def _find_pair(pair: str, folder) -> dict[str, Source] | None:
    """The two real files; None where there is neither and no folder was asked for."""
    place = find_data("ecg_dataset", folder)
    found = {name: place and find_file(place, f"{name}.csv") for name in PAIRS[pair]}
    missing = [f"{name}.csv" for name, source in found.items() if source is None]
    if not missing:
        return found
    if len(missing) == 1 or folder is not None:
        raise DataError(f"{place} has no {' and no '.join(missing)} (nor .csv.gz, nor in a zip archive). Get "
                        f"archive.zip from {KAGGLE} and put it there as it is.")
    return None


def _source_line(source: Source) -> str:
    if found := find_beside(source, "source.txt"):
        with opened(found) as stream:
            return stream.read().decode("utf-8", errors="replace").strip()
    return f"Kaggle's heartbeat files, as found in {source.path if source.member else source.path.parent}"


def _virtual_pair(pair: str, hearts: int | None) -> dict[str, Source]:
    folder = virtual_folder(hearts)
    return {name: find_file(folder, f"{name}.csv") for name in PAIRS[pair]}


def virtual_folder(hearts: int | None = None) -> Path:
    """The folder of the virtual heartbeats, in the layout of the real ones; they are simulated if it is not there yet.

    Its name holds a digest of the simulator, so that another simulator makes other files.
    """
    code = b"".join(path.read_bytes() for path in sorted((Path(__file__).parent / "virtual").glob("*.py")))
    name = f"virtual_heartbeats_{hearts or 'default'}_{hashlib.sha256(code).hexdigest()[:10]}"
    folder = cache_folder() / name
    print(f"No real heartbeats here, so these are virtual ones, simulated once by this kit. For the real ones put "
          f"archive.zip from {KAGGLE} into ecg_dataset/.")
    if folder.is_dir():
        return folder
    files = _simulate(hearts)
    try:
        return _make_folder(folder, files)
    except OSError as error:
        aside = Path(tempfile.gettempdir()) / name
        warnings.warn(f"The virtual heartbeats go to {aside} instead. {error}", stacklevel=2)
        return aside if aside.is_dir() else _make_folder(aside, files)


def write_virtual(folder: str | Path, hearts: int | None = None, seed: int = 0, workers: int | None = None) -> Path:
    """Simulate heartbeats into a new folder, in the layout of the real files; ``load_mitbih(folder)`` reads them."""
    folder = Path(folder).expanduser()
    if folder.exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise DataError(f"{folder} already holds something. Give a folder that is empty or not there yet.")
        folder.rmdir()  # it comes back whole
    return _make_folder(folder, _simulate(hearts, seed=seed, workers=workers))


def _simulate(hearts: int | None, **more) -> dict:
    from cardiac_ml.virtual import beats

    if hearts is not None:  # as many rows a heart as by default
        more = dict(hearts=hearts, train=200 * hearts, test=50 * hearts, ptb=83 * hearts) | more
    return beats.simulate_heartbeats(**more)


def _make_folder(folder: Path, files: dict) -> Path:
    """Write under another name, then rename: the folder is whole or absent, whoever else is making it too."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        write_folder(part, files, "virtual heartbeats, simulated by cardiac_ml.virtual")
        part.chmod(0o755)
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)  # nothing is left of it after the rename
    return folder


def split_stratified(dataset, fraction: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of kept and held-out rows, ``fraction`` of each class held out; ``dataset`` may be its labels.

    A class of two rows or more has at least one on each side; a single row is kept.
    """
    label = np.asarray(getattr(dataset, "label", dataset))
    if not 0 < fraction < 1:
        raise DataError(f"fraction is {fraction}, expected a number between 0 and 1: the share that is held out.")
    shuffled = np.random.default_rng(seed).permutation(len(label))
    held_out = np.zeros(len(label), bool)
    for one in np.unique(label):
        rows = shuffled[label[shuffled] == one]
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held_out[rows[:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split_by_patient(dataset, held_out: Sequence | None = None, *, kept: Sequence | None = None,
                     fraction: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rows of kept and of held-out patients; ``dataset`` may be its table.

    Without a choice of patients: MIT-BIH records are split as usual, DS1 kept, DS2 held out, paced records in neither;
    of other patients (virtual hearts) a random ``fraction`` is held out. ``kept`` defaults to all others.
    """
    patient = _patients(dataset)
    known = np.unique(patient)
    if held_out is None and np.isin(known, DS1 + DS2 + PACED).all():
        kept, held_out = DS1 if kept is None else kept, DS2
    elif held_out is None:
        count = min(max(round(fraction * len(known)), 1), len(known) - 1)
        held_out = np.random.default_rng(seed).permutation(known)[:count]
    kept = np.setdiff1d(known, held_out) if kept is None else kept
    if both := sorted(set(kept) & set(held_out)):
        raise DataError(f"Patients {both} are both kept and held out. Name each on one side.")
    sides = np.flatnonzero(np.isin(patient, kept)), np.flatnonzero(np.isin(patient, held_out))
    if not (len(sides[0]) and len(sides[1])):
        raise DataError(f"One side of the split is empty: the patients here are {', '.join(map(str, known))}. Name "
                        "some of them with held_out=[...], or use patient_folds.")
    return sides


def split_test(dataset: Heartbeats, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rest and of the test rows of a dataset that comes without a test file, as the PTB pair does.

    Whole patients where they are known, a fifth of each class elsewhere. Fixed, so that scores can be compared.
    """
    if "patient" in dataset.table:
        return split_by_patient(dataset, fraction=0.25, seed=seed)
    return split_stratified(dataset, fraction=0.2, seed=seed)


def patient_folds(dataset: Heartbeats, folds: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cross-validation over whole patients: (train_index, test_index) of each fold, classes spread as evenly as can be.

    Two records of the same person (201 and 202) stay together.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    patient = _patients(dataset)
    person = pd.Series(patient).replace(SAME_PERSON).to_numpy()
    if not 2 <= folds <= len(np.unique(person)):
        raise DataError(f"{folds} folds of {len(np.unique(person))} patients: give 2 folds or more, and no more than "
                        "there are patients.")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # a rare class may miss a fold
        return list(splitter.split(np.zeros(len(patient)), dataset.label, person))


def _patients(dataset) -> np.ndarray:
    table = getattr(dataset, "table", dataset)
    if "patient" not in table:
        raise DataError("The patients of these beats are not known: Kaggle's files do not tell. Rebuild the MIT-BIH "
                        "half from its raw records: python -m cardiac_ml rebuild-heartbeats RECORDS OUT")
    return table["patient"].to_numpy()
