"""Tiny data in the layouts of the real files, made by functions, for tests."""
from pathlib import Path

import numpy as np
import pytest

from cardiac_ml import files
from cardiac_ml.files import DataError
from cardiac_ml.formats import heartbeat_files

PTB = {"ptbdb_normal": (0,), "ptbdb_abnormal": (1,)}
MITBIH = {"mitbih_train": (0, 1, 2, 3, 4), "mitbih_test": (0, 1, 2, 3, 4)}


def made_scores(seed: int, rows: int = 200, classes: int = 5, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers (rows,), each there and 0 the common one, and probabilities (rows, classes) that know a little."""
    rng = np.random.default_rng(seed)
    share = np.r_[0.6, np.full(classes - 1, 0.4 / (classes - 1))]
    truth = np.r_[np.arange(classes), rng.choice(classes, rows - classes, p=share)]
    score = np.exp(rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[truth])
    probability = score / score.sum(axis=1, keepdims=True)
    return truth, np.round(probability, 1) if ties else probability


def made_rows(rows: int, labels: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Beats in Kaggle's layout, (rows, 188) float32: smooth, scaled to 0..1, padded with zeros, the class last.

    A class shows as the place and width of a bump, so that a classifier has something to learn.
    """
    random = np.random.default_rng(seed)
    label = np.array(labels)[np.arange(rows) % len(labels)]
    time = np.arange(187)
    place = 40 + 12 * label + random.normal(0, 3, rows)
    beat = np.exp(-time / 4) + 0.6 * np.exp(-((time - place[:, None]) / (6 + 2 * label[:, None])) ** 2)
    beat += random.normal(0, 0.02, beat.shape)
    length = random.integers(100, 188, rows)[:, None]
    low = beat.min(axis=1, where=time < length, initial=np.inf)[:, None]
    high = beat.max(axis=1, where=time < length, initial=-np.inf)[:, None]
    beat = np.where(time < length, (beat - low) / (high - low), 0)
    return np.column_stack([beat, label]).astype(np.float32)


def made_heartbeat_files(folder: Path, rows: int = 40, seed: int = 0, records: bool = False) -> dict[str, np.ndarray]:
    """Write the four heartbeat files of Kaggle with ``rows`` rows each; ``records``: also the patients of MIT-BIH rows.

    Returns the rows of each file, (rows, 188) float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {name: made_rows(rows, labels, seed + n) for n, (name, labels) in enumerate((PTB | MITBIH).items())}
    for name, array in made.items():
        np.savetxt(folder / f"{name}.csv", array.astype(float), delimiter=",")  # as the published files were written
    if records:
        record = np.resize([101, 106, 100, 103, 102], 2 * rows)  # of DS1, DS2, and a paced one
        np.savetxt(folder / "records.csv", np.column_stack([record, 400 * np.arange(2 * rows)]), delimiter=",",
                   fmt="%d", header="record,sample", comments="")
    return made


def made_record(folder: Path, name: str, symbols: str = "+NNANVNNFNQN~NN", seed: int = 0, leads=("MLII", "V1")) -> dict:
    """Write one raw record, 360 Hz, two leads, with an annotation per symbol about 300 samples apart (needs wfdb).

    Returns its raw signal (samples, 2) and its annotations' samples and symbols.
    """
    import wfdb

    random = np.random.default_rng(seed)
    at = np.cumsum(random.integers(250, 350, len(symbols)))
    time = np.arange(at[-1] + 200)
    peaks = sum(np.exp(-((time - one) / 6) ** 2) for one in at)
    signal = 1024 + np.outer(peaks, (200, -90)) + random.normal(0, 4, (len(time), 2))
    signal = np.round(signal).astype(np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(name, fs=360, units=["mV", "mV"], sig_name=list(leads), d_signal=signal, fmt=["212", "212"],
                adc_gain=[200, 200], baseline=[1024, 1024], write_dir=str(folder))
    wfdb.wrann(name, "atr", at, list(symbols), write_dir=str(folder))
    return {"signal": signal, "at": at, "symbol": np.array(list(symbols))}


def flip_a_bit(path: Path, place: int = -1000) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def message(call, *arguments, **named) -> str:
    """What the DataError says that this call must raise."""
    with pytest.raises(DataError) as error:
        call(*arguments, **named)
    return str(error.value)


def unwritable(monkeypatch, *places: Path) -> None:
    """Let every file written below these places fail as on a full disk."""
    write = files.atomic_write

    def atomic_write(path, *mode):
        if any(place in path.parents for place in places):
            raise OSError(28, f"No space left on device: {path}")
        return write(path, *mode)
    for module in (files, heartbeat_files):
        monkeypatch.setattr(module, "atomic_write", atomic_write)
