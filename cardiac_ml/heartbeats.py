"""Heartbeats for tasks 1 and 2: load the Kaggle files, look at what is there, split by class or by patient.

    train, test = load_mitbih()          # five classes; 120 Hz
    data = load_ptb()                    # normal or abnormal

Real files are looked for in ``ecg_dataset/``; where there are none, virtual heartbeats stand in, and a line says so.
"""
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, Split
from cardiac_ml.formats.heartbeat_files import KAGGLE, SAMPLES, find_pair, read_pair
from cardiac_ml.virtual import kept

PTB_CLASSES = ("normal", "abnormal")
MITBIH_CLASSES = ("N", "S", "V", "F", "Q")
MITBIH_HZ = 120.0  # every third sample of 360 Hz, although the page of the dataset says 125
PTB_HZ = 125.0  # as the page of the dataset says; its raw records were not at hand to check

# The usual split of the MIT-BIH records between patients to learn from and patients to test on (de Chazal 2004).
DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)
PACED = (102, 104, 107, 217)  # left out of that split: nearly all of their beats are paced


@dataclass(frozen=True, eq=False, repr=False)
class Heartbeats:
    """Beats that start at their R peak, their classes, and one table row for each. ``data[index]`` is a subset."""
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
        """What the dataset holds, in a few lines."""
        rows, samples = self.beats.shape
        counts = zip(self.classes, np.bincount(self.label, minlength=len(self.classes)))
        shares = ", ".join(f"{name} {count} ({100 * count / max(rows, 1):.1f} %)" for name, count in counts)
        patients = ("not known, so any split mixes beats of the same patient" if "patient" not in self.table
                    else self.table["patient"].nunique())
        middle_ms = np.median((self.beats[:, ::-1].cumsum(axis=1) > 0).sum(axis=1)) * 1000 / self.rate_hz if rows else 0
        zeros = 100 * np.mean(self.beats == 0) if rows else 0
        return (f"{type(self).__name__}: {rows} beats of {samples} samples, {self.rate_hz:g} Hz, scaled to 0..1\n"
                f"  source    {self.source}\n  classes   {shares}\n  patients  {patients}\n  length    {middle_ms:.0f} "
                f"ms (median) of {self.time_ms[-1]:.0f} ms; {zeros:.0f} % of all values are zero")


def load_ptb(folder: str | Path | None = None, *, hearts: int | None = None) -> Heartbeats:
    """Healthy (0) or abnormal (1) heartbeats of the PTB pair, normal rows first.

    ``folder`` holds ``ptbdb_normal.csv`` and ``ptbdb_abnormal.csv``, plain, as ``.csv.gz`` or in Kaggle's zip, or is
    that zip. Without it the files are looked for in ``ecg_dataset/``, and virtual heartbeats stand in where there are
    none (of so many ``hearts``).
    """
    return concatenate(*_load_pair(("ptbdb_normal", "ptbdb_abnormal"), PTB_CLASSES, PTB_HZ, folder, hearts))


def load_mitbih(folder: str | Path | None = None, *, hearts: int | None = None) -> tuple[Heartbeats, Heartbeats]:
    """Training and test heartbeats of the MIT-BIH pair, five classes; arguments as of ``load_ptb``.

    Kaggle's two files mix beats of the same 48 records, so the score on its test file is not the score on a new
    patient. A ``records.csv`` or the ``beats.csv`` of a rebuild beside the files gives each row its patient.
    """
    train, test = _load_pair(("mitbih_train", "mitbih_test"), MITBIH_CLASSES, MITBIH_HZ, folder, hearts)
    return train, test


def download(folder: str | Path | None = None) -> Path:
    """Fetch Kaggle's four files into ecg_dataset/ (or ``folder``) through kagglehub, if not there; check them."""
    from cardiac_ml.download import kaggle
    return kaggle.heartbeats(folder)


def simulate(hearts: int = 64, seed: int = 0, out: str | Path | None = None, workers: int | None = None) -> Path:
    """The folder with the four files of virtual heartbeats; ``load_ptb`` and ``load_mitbih`` read it.

    ``out``: a new folder; by default one in the cache, which is simulated once.
    """
    return kept.heartbeats(hearts, seed, workers, out)


def concatenate(*parts: Heartbeats) -> Heartbeats:
    """Several datasets as one, in order."""
    if len({part.classes for part in parts}) != 1:
        raise DataError(f"Datasets of different classes cannot be joined: {[part.classes for part in parts]}.")
    arrays = [name for name, array in vars(parts[0]).items() if isinstance(array, np.ndarray)]
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
                   table=pd.concat([part.table for part in parts], ignore_index=True))


def _load_pair(names, classes, rate_hz, folder, hearts) -> list[Heartbeats]:
    sources = find_pair(names, folder)
    if sources is None:
        print(f"No real heartbeats here, so these are virtual ones, simulated once by this kit. For the real ones put "
              f"archive.zip from {KAGGLE} into ecg_dataset/.")
        sources = find_pair(names, simulate(64 if hearts is None else hearts))
    elif hearts is not None:
        print(f"hearts={hearts} is for virtual heartbeats; the files in {sources[names[0]].path} are read whole.")
    rows, tables, said = read_pair(sources)
    return [Heartbeats(np.ascontiguousarray(rows[name][:, :SAMPLES]), np.array(rows[name][:, SAMPLES], np.int64),
                       classes, tables[name], said, rate_hz) for name in names]


# ---- splits: each returns the row numbers of train, valid and test; any of them may be empty ----

def split(data: Heartbeats, seed: int = 0) -> Split:
    """The split of a dataset that comes without a test file, as the PTB pair does; fixed, so that scores compare.

    Whole patients where they are known; elsewhere rows of each class at random, which flatters: the same patients are
    on all sides.
    """
    if isinstance(data, tuple):
        raise DataError(f"These are {len(data)} sets of beats: split one of them, or all as one: concatenate(*both).")
    return split_by_patient(data, seed=seed) if "patient" in data.table else split_random(data, seed=seed)


def split_random(data, valid: float = 0.12, test: float = 0.2, seed: int = 0) -> Split:
    """Shares ``valid`` and ``test`` of each class; ``data`` may be its labels. A class's only row is trained on."""
    label = np.asarray(getattr(data, "label", data))
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise DataError(f"valid is {valid} and test {test}, expected shares between 0 and 1 that leave rows to train "
                        "on.")
    shuffled = np.random.default_rng(seed).permutation(len(label))
    part = np.zeros(len(label), int)
    for one in np.unique(label):
        rows = shuffled[label[shuffled] == one]
        counts = [min(max(round(share * len(rows)), 1), (len(rows) - 1) // 2 or len(rows) - 1) if share else 0
                  for share in (test, valid)]
        part[rows[:counts[0]]] = 2
        part[rows[counts[0]:min(sum(counts), len(rows) - 1)]] = 1
    return Split(*(np.flatnonzero(part == number) for number in range(3)))


def split_by_patient(data, test=0.25, valid=0.12, seed: int = 0) -> Split:
    """No patient is in two parts. ``test`` and ``valid`` name patients, or say which share of them is drawn.

    The MIT-BIH records are tested on DS2, as usual, and the paced ones left out, unless ``test`` names others.
    """
    table, tested = getattr(data, "table", data), bool(np.size(test) if np.ndim(test) else test)
    if "patient" not in table:
        raise DataError("The patients of these beats are not known: Kaggle's files do not tell. Rebuild the MIT-BIH "
                        "half from its raw records: python -m cardiac_ml rebuild-heartbeats RECORDS OUT")
    patient = table["patient"].to_numpy()
    known, rng = np.unique(patient), np.random.default_rng(seed)
    if np.ndim(test) == 0 and test and np.isin(known, DS1 + DS2 + PACED).all():
        known, test = np.setdiff1d(known, PACED), np.intersect1d(known, DS2)
    label = pd.Series(getattr(data, "label", np.zeros(len(patient), int)))
    kinds = label.groupby(patient).agg(lambda labels: labels.mode()[0]).loc[known].to_dict()
    test = _drawn(test, known, kinds, rng)
    valid = _drawn(valid, np.setdiff1d(known, test), kinds, rng)
    if both := sorted(set(valid) & set(test)):
        raise DataError(f"Patients {both} are both in valid and in test. Name each on one side.")
    train = np.setdiff1d(known, [*valid, *test])
    parts = Split(*(np.flatnonzero(np.isin(patient, side)) for side in (train, valid, test)))
    if not len(parts.train) or tested and not len(parts.test):
        raise DataError(f"One side of the split is empty: the patients here are {', '.join(map(str, known))}. Name "
                        "some of them with test=[...].")
    return parts


def held_out_patients(train: Heartbeats, test: Heartbeats, valid: float = 0.15, seed: int = 0):
    """Two files as three datasets (train, valid, test) of different patients, as far as the files tell who is who.

    MIT-BIH records are split as usual (DS1, DS2); files that share no patient stay as they are. Kaggle's own do not
    name patients: then rows of the training file are drawn, patients are shared, and a line says so.
    """
    if "patient" not in train.table:
        print("These files do not say whose the beats are, so the same patients are in training and test. The rebuild "
              "from raw records knows: python -m cardiac_ml rebuild-heartbeats RECORDS OUT")
        parts = split_random(train, valid=valid, test=0, seed=seed)
    elif set(train.table["patient"]) & set(test.table["patient"]):
        both = concatenate(train, test)
        return tuple(both[rows] for rows in split_by_patient(both, valid=valid, seed=seed))
    else:
        parts = split_by_patient(train, test=(), valid=valid, seed=seed)
    return train[parts.train], train[parts.valid], test


def _drawn(wanted, patients, kinds, rng):
    """``wanted`` itself where it names patients; else that share of the patients of each kind, drawn from ``patients``.

    ``kinds``: patient -> what most of the patient's beats are, so that ill and healthy ones come to every side.
    """
    if np.ndim(wanted) == 1:
        return np.asarray(wanted, dtype=patients.dtype)
    if not 0 <= wanted < 1:
        raise DataError(f"expected a list of patients or a share between 0 and 1, found {wanted}.")
    if not wanted:
        return patients[:0]
    chosen = []
    for kind, count in sorted(Counter(kinds.values()).items()):
        some = [one for one in rng.permutation(patients) if kinds[one] == kind]
        chosen += some[:min(round(wanted * count), max(len(some) - 1, 0))]
    return np.array(chosen or [rng.choice(patients)] if len(patients) > 1 else [], dtype=patients.dtype)
