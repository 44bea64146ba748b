"""Real twelve-lead ECGs from WFDB records, as PTB-XL, Chapman-Shaoxing and the PhysioNet challenges store them.

    ecgs = load_twelve_leads("folder of .hea files")
    ecgs.ecg_mv, ecgs.table, ecgs.has("left bundle branch block")

Leads come in the order of ``leads.LEADS`` and in millivolts, whatever order and unit the files have; two limb leads
give the other four. Reading needs ``wfdb``.
"""
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError
from cardiac_ml.leads import DERIVED_MATRIX, INDEPENDENT, LEADS

# SNOMED CT codes in the headers ("# Dx: 164909002,...") of what is wrong with the conduction of a beat.
CONDUCTION = {
    "left bundle branch block": ("164909002", "733534002"),
    "right bundle branch block": ("59118001", "713427006"),
    "incomplete right bundle branch block": ("713426002",),
    "left anterior fascicular block": ("445118002",),
    "first degree AV block": ("270492004",),
    "nonspecific conduction disorder": ("698252002",),
}
PER_MV = {"mv": 1.0, "uv": 1000.0, "µv": 1000.0, "microvolt": 1000.0, "v": 0.001}
PLAIN = {name.lower(): name for name in LEADS}
LIMB = LEADS[:6]


@dataclass(frozen=True, eq=False)
class TwelveLeads:
    """ECGs of one length and rate, with a row of the table each: record, diagnoses (codes), seconds, age, sex."""
    ecg_mv: np.ndarray  # (records, 12, samples) float32
    table: pd.DataFrame
    rate_hz: float

    def __len__(self) -> int:
        return len(self.table)

    def has(self, diagnosis: str) -> np.ndarray:
        """(records,) True where the header names the diagnosis: a name in CONDUCTION or a SNOMED CT code."""
        codes = CONDUCTION.get(diagnosis, (diagnosis,))
        if diagnosis not in CONDUCTION and not diagnosis.isdigit():
            known = ", ".join(CONDUCTION)
            raise DataError(f"Unknown diagnosis {diagnosis!r}: give a SNOMED CT code, or one of {known}.")
        return np.array([bool(set(codes) & set(own)) for own in self.table.diagnoses], dtype=bool)


def load_twelve_leads(folder: str | Path, records: Sequence[str] | None = None, *, rate_hz: float = 500,
                      seconds: float = 10) -> TwelveLeads:
    """All records of a folder and the folders in it (or the named ones), at ``rate_hz``, cut to ``seconds``.

    A shorter one is filled with zeros at its end; the table says how long it was.
    """
    headers = {path.stem: path for path in sorted(Path(folder).rglob("*.hea"))}
    names = list(headers) if records is None else [str(name).removesuffix(".hea") for name in records]
    if not names:
        raise DataError(f"{folder} holds no WFDB records (.hea files, each with a .mat or .dat beside it).")
    if missing := [name for name in names if name not in headers]:
        raise DataError(f"{folder} has no record {', '.join(missing[:5])}. It holds {', '.join(list(headers)[:5])} ...")
    samples = round(rate_hz * seconds)
    ecg = np.zeros((len(names), len(LEADS), samples), np.float32)
    rows = []
    for row, name in enumerate(names):
        signal_mv, header = _read(headers[name])
        signal_mv = resampled(signal_mv, header.fs, rate_hz)[:, :samples]
        ecg[row, :, :signal_mv.shape[1]] = signal_mv
        rows.append(dict(record=name, seconds=header.sig_len / header.fs, **_comments(header.comments)))
    return TwelveLeads(ecg, pd.DataFrame(rows), float(rate_hz))


def _read(path: Path):
    """((12, samples) mV, the header) of one record."""
    import wfdb
    try:
        with warnings.catch_warnings():  # what wfdb thinks of pandas is not the reader's business
            warnings.simplefilter("ignore")
            record = wfdb.rdrecord(str(path.with_suffix("")))
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"{path} could not be read ({type(error).__name__}: {error}). Is the .mat or .dat file of the "
                        "record beside it, and whole?") from error
    if record.p_signal is None or not len(record.p_signal):
        raise DataError(f"{path} has no samples. Download the record again.")
    unknown = sorted({unit for unit in record.units if unit.lower() not in PER_MV})
    if unknown:
        raise DataError(f"{path} has the unit {unknown[0]!r}; ECGs are in mV, uV or V.")
    per_mv = np.array([PER_MV[unit.lower()] for unit in record.units])
    return in_order((record.p_signal / per_mv).T, record.sig_name, path), record


def in_order(signal_mv: np.ndarray, names: Sequence[str], where="The record") -> np.ndarray:
    """Signals (channels, samples) with these names as the twelve leads (12, samples); other channels are left out.

    Limb leads that are missing are computed from any two that are there.
    """
    plain = [PLAIN.get(name.strip().lower()) for name in names]
    if twice := sorted({name for name in plain if name and plain.count(name) > 1}):
        raise DataError(f"{where} has lead {', '.join(twice)} more than once. Leave the record out (records=...).")
    rows = {name: row for name, row in zip(plain, signal_mv) if name}
    if bad := [name for name, row in rows.items() if not np.isfinite(row).all()]:
        raise DataError(f"{where}: lead {', '.join(bad)} has missing samples. Leave the record out (records=...).")
    limb = [name for name in LIMB if name in rows]
    lost = [name for name in INDEPENDENT[2:] if name not in rows] + (["two limb leads"] if len(limb) < 2 else [])
    if lost:
        raise DataError(f"{where} lacks {', '.join(lost)}; it has {', '.join(names)}. Twelve leads need V1 to V6 and "
                        "two of I, II, III, aVR, aVL, aVF. Leave the record out (records=...).")
    matrix = DERIVED_MATRIX[[LEADS.index(name) for name in limb], :2].astype(float)
    one_two = np.linalg.lstsq(matrix, np.stack([rows[name] for name in limb]), rcond=None)[0]
    derived = DERIVED_MATRIX[:6, :2].astype(float) @ one_two
    apart = max(np.abs(rows[name] - derived[LIMB.index(name)]).mean() for name in limb)
    if apart > 0.05 + 0.2 * np.abs(one_two).mean():
        raise DataError(f"{where}: its limb leads contradict each other (II is not I + III, by {apart:.2f} mV): some "
                        "are swapped or misnamed. Leave the record out (records=...).")
    return np.stack([rows.get(name, derived[k] if k < 6 else None) for k, name in enumerate(LEADS)]).astype(np.float32)


def resampled(signal: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """The signal (..., samples) at another rate, filtered against aliasing."""
    if from_hz == to_hz:
        return signal
    from scipy.signal import resample_poly
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line").astype(np.float32)


def _comments(comments: Sequence[str]) -> dict:
    """Age, sex and diagnoses from the comments of a header, in any order; unknown ones are left empty."""
    told = {key.strip(" #").lower(): value.strip() for key, _, value in (line.partition(":") for line in comments)}
    age = told.get("age", "")
    return dict(diagnoses=tuple(code.strip() for code in told.get("dx", "").split(",") if code.strip()),
                age=float(age) if age.replace(".", "", 1).isdigit() else np.nan, sex=told.get("sex", ""))
