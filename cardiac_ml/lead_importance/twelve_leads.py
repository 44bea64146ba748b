"""One real twelve-lead ECG from a WFDB record, as PTB-XL, Chapman-Shaoxing and the PhysioNet challenges store it.

    signal_mv, header = read_record("folder/JS00001.hea")  # (12, samples)

Leads come in the order of ``leads.LEADS`` and in millivolts, whatever order and unit the file has; two limb leads give
the other four. ``records.prepare`` reads whole folders. Reading needs ``wfdb``.
"""
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.leads import DERIVED_MATRIX, INDEPENDENT, LEADS

# A diagnosis and its names: SNOMED CT codes of WFDB headers ("# Dx: 164909002,..."), SCP statements of PTB-XL.
TARGETS = {
    "sinus rhythm": ("426783006", "SR"),
    "sinus bradycardia": ("426177001", "SBRAD"),
    "sinus tachycardia": ("427084000", "STACH"),
    "atrial fibrillation": ("164889003", "AFIB"),
    "atrial flutter": ("164890007", "AFLT"),
    "atrial premature beats": ("284470004", "63593006", "PAC"),
    "ventricular premature beats": ("427172004", "17338001", "164884008", "PVC"),
    "paced rhythm": ("10370003", "PACE"),
    "first degree AV block": ("270492004", "1AVB"),
    "left bundle branch block": ("164909002", "733534002", "CLBBB"),
    "right bundle branch block": ("59118001", "713427006", "CRBBB"),
    "incomplete right bundle branch block": ("713426002", "IRBBB"),
    "left anterior fascicular block": ("445118002", "LAFB"),
    "nonspecific conduction disorder": ("698252002", "IVCD"),
    "left ventricular hypertrophy": ("164873001", "LVH"),
    "myocardial infarction": ("164865005", "164867002", "57054005", "54329005",
                              *"IMI ASMI ILMI AMI ALMI LMI IPLMI IPMI PMI INJAS INJAL INJIN INJLA INJIL".split()),
    "ST-T change": ("55930002", "164930006", "428750005", "59931005", "164934002", "429622005", "164931005",
                    *"NDT NST_ STD_ STE_ INVT TAB_ NT_ ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ISCAN".split()),
}
LONGEST_S, RATES_HZ = 3600, (50, 5000)  # of a record; what states anything else is damaged
PER_MV = {"mv": 1.0, "uv": 1000.0, "µv": 1000.0, "microvolt": 1000.0, "v": 0.001}
PLAIN = {name.lower(): name for name in LEADS}
LIMB = LEADS[:6]


def read_record(path: Path, seconds: float = 10):
    """((12, samples) mV, the header) of the first ``seconds`` of one record."""
    try:
        import wfdb
    except ImportError:
        raise DataError("Records of hospitals are read with wfdb, which is not installed: pip install wfdb") from None
    try:
        with warnings.catch_warnings():  # what wfdb thinks of pandas is not the reader's business
            warnings.simplefilter("ignore")
            header = wfdb.rdheader(str(path.with_suffix("")))
            _check_header(path, header)
            signal = _samples(path, header, min(header.sig_len, round(seconds * header.fs)))
    except DataError:
        raise
    except Exception as error:  # wfdb raises whatever its parsing stumbles over
        raise DataError(f"{path} could not be read ({type(error).__name__}: {error}). Is the .mat or .dat file of the "
                        "record beside it, and whole?") from error
    if signal is None or not len(signal):
        raise DataError(f"{path} has no samples. Download the record again.")
    unknown = sorted({unit for unit in header.units if unit.lower() not in PER_MV})
    if unknown:
        raise DataError(f"{path} has the unit {unknown[0]!r}; ECGs are in mV, uV or V.")
    per_mv = np.array([PER_MV[unit.lower()] for unit in header.units])
    return in_order((signal / per_mv).T, header.sig_name, path), header


def _samples(path, header, samples):
    """(samples, channels) in the units of the header.

    The usual record, one file of 16-bit numbers, is read as such: wfdb would take apart the header again, which is most
    of the time that a record takes.
    """
    usual = set(header.fmt) == {"16"} and len(set(header.file_name)) == 1 and set(header.samps_per_frame) == {1}
    file, start = path.with_name(header.file_name[0]), header.byte_offset[0] or 0
    if not usual or any(header.skew) or file.stat().st_size < start + 2 * header.n_sig * header.sig_len:
        import wfdb
        return wfdb.rdrecord(str(path.with_suffix("")), sampto=samples).p_signal
    whole = np.fromfile(file, "<i2", samples * header.n_sig, offset=start).reshape(samples, header.n_sig)
    signal = (whole - np.array(header.baseline)) / np.array(header.adc_gain)
    return np.where(whole == -32768, np.nan, signal)  # the number that stands for a lost sample


def _check_header(path, header):
    """Before memory is asked for: a rate and a length that a twelve-lead record can have."""
    low, high = RATES_HZ
    if not header.n_sig or header.sig_name is None:
        raise DataError(f"{path} names no leads. Download the record again.")
    if not (header.fs and low <= header.fs <= high):
        raise DataError(f"{path} states a rate of {header.fs} Hz; an ECG has {low} to {high}. Correct its first line.")
    if not (header.sig_len and 0 < header.sig_len <= LONGEST_S * header.fs):
        raise DataError(f"{path} states {header.sig_len} samples at {header.fs:g} Hz; expected 1 to {LONGEST_S} s. "
                        "Download the record again.")


def in_order(signal_mv: np.ndarray, names: Sequence[str], where="The record") -> np.ndarray:
    """Signals (channels, samples) with these names as the twelve leads (12, samples); other channels are left out.

    Limb leads that are missing are computed from any two that are there.
    """
    plain = [PLAIN.get(name.strip().lower()) for name in names]
    if twice := sorted({name for name in plain if name and plain.count(name) > 1}):
        raise DataError(f"{where} has lead {', '.join(twice)} more than once. Keep one of them.")
    rows = {name: row for name, row in zip(plain, signal_mv) if name}
    if bad := [name for name, row in rows.items() if not np.isfinite(row).all()]:
        raise DataError(f"{where}: lead {', '.join(bad)} has missing samples. Repair it or leave the record out.")
    limb = [name for name in LIMB if name in rows]
    lost = [name for name in INDEPENDENT[2:] if name not in rows] + (["two limb leads"] if len(limb) < 2 else [])
    if lost:
        raise DataError(f"{where} lacks {', '.join(lost)}; it has {', '.join(names)}. Twelve leads need V1 to V6 and "
                        "two of I, II, III, aVR, aVL, aVF.")
    matrix = DERIVED_MATRIX[[LEADS.index(name) for name in limb], :2].astype(float)
    one_two = np.linalg.lstsq(matrix, np.stack([rows[name] for name in limb]), rcond=None)[0]
    derived = DERIVED_MATRIX[:6, :2].astype(float) @ one_two
    apart = max(np.abs(rows[name] - derived[LIMB.index(name)]).mean() for name in limb)
    if apart > 0.05 + 0.2 * np.abs(one_two).mean():
        raise DataError(f"{where}: its limb leads contradict each other (II is not I + III, by {apart:.2f} mV): some "
                        "are swapped or misnamed.")
    return np.stack([rows.get(name, derived[k] if k < 6 else None) for k, name in enumerate(LEADS)]).astype(np.float32)


def check_quality(signal_mv: np.ndarray) -> None:
    """Raise where a lead (12, samples) is flat or clipped, or too large for millivolts."""
    swing = np.ptp(signal_mv, axis=1)
    if flat := [name for name, size in zip(LEADS, swing) if size < 0.02]:
        raise DataError(f"lead {', '.join(flat)} is flat.")
    if swing.max() > 30:
        raise DataError(f"swings over {swing.max():.0f} mV: microvolts under the name of millivolts, or no ECG.")
    top = np.abs(signal_mv).max(axis=1, keepdims=True)
    if clipped := [name for name, share in zip(LEADS, (np.abs(signal_mv) == top).mean(axis=1)) if share > 0.02]:
        raise DataError(f"lead {', '.join(clipped)} is clipped: many samples share its largest value.")


def resampled(signal: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """The signal (..., samples) at another rate, filtered against aliasing."""
    if from_hz == to_hz:
        return signal
    from scipy.signal import resample_poly
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line").astype(np.float32)


def comments_of(comments: Sequence[str]) -> dict:
    """Age, sex and diagnoses from the comments of a header, in any order; unknown ones are left empty."""
    told = {key.strip(" #").lower(): value.strip() for key, _, value in (line.partition(":") for line in comments)}
    age, patient = told.get("age", ""), told.get("patient")
    codes = tuple(code.strip() for code in told.get("dx", "").split(",") if code.strip())
    age = float(age) if age.replace(".", "", 1).isdigit() else np.nan
    return dict(codes=codes, age=age, sex=told.get("sex", "")) | (dict(patient=patient) if patient else {})
