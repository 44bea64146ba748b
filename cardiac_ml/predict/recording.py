"""A twelve-lead ECG from a file of one's own: WFDB, CSV, .npy, .mat, DICOM or EDF, in millivolts, in the kit's order.

    recording = read_recording("ecg.csv", rate_hz=500, unit="uV")
    recording.signal_mv, recording.remarks     # (12, samples) at 1 kHz; what had to be assumed

What a file does not say has to be said: a rate, a unit, names of leads. Nothing is guessed in silence.
"""
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError
from cardiac_ml.lead_importance.twelve_leads import PER_MV, RATES_HZ, check_quality, in_order, read_record, resampled
from cardiac_ml.leads import INDEPENDENT, LEADS

NAME = re.compile(r"(?:ecg|lead|mdc_ecg_lead)?[\s_-]*(III|II|I|aVR|aVL|aVF|V[1-6])(?![A-Za-z0-9])", re.IGNORECASE)
UNIT = re.compile(r"[(\[_ ](mv|uv|µv|v)[)\]]?$", re.IGNORECASE)
ASSUMED = {len(names): list(names) for names in (LEADS, INDEPENDENT)}  # channels -> names, where a file has none
LONGEST_S = 60


class Raw(NamedTuple):
    """What a file says: signal (channels, samples), and names, rate and units where it states them."""
    signal: np.ndarray
    names: list[str] | None = None
    rate_hz: float | None = None
    units: list[str] | None = None


class Recording(NamedTuple):
    signal_mv: np.ndarray  # (12, samples) float32 at 1 kHz
    remarks: list[str]


def read_recording(path, rate_hz=None, unit=None, names=None) -> Recording:
    """The first minute of the recording in ``path``; a rate, a unit and names that are given override the file's."""
    path = Path(path)
    header, kind = path.with_suffix(".hea"), path.suffix.lower()
    if not path.is_file() and not header.is_file():
        raise DataError(f"There is no file {path}.")
    if header.is_file() and kind in ("", ".hea", ".dat", ".mat"):
        signal, stated = read_record(header, LONGEST_S)
        raw = Raw(signal, list(LEADS), stated.fs, ["mV"] * len(LEADS))
    elif kind in READERS:
        raw = READERS[kind](path)
    else:
        raise DataError(f"{path} is of a kind that is not read here. Known are WFDB records (.hea and .dat or .mat) "
                        f"and {' '.join(READERS)}. For SCP-ECG or XML let the device's software export CSV or DICOM.")
    return in_millivolts(raw, path, rate_hz, unit, names)


def in_millivolts(raw: Raw, path, rate_hz=None, unit=None, names=None) -> Recording:
    """Twelve leads at 1 kHz of what a file says and what was added to that; remarks name what was assumed."""
    remarks, signal = [], np.asarray(raw.signal, dtype=float)
    names = names or raw.names
    if names is None and len(signal) in ASSUMED:
        names = ASSUMED[len(signal)]
        remarks.append(f"The file names no leads: taken as {' '.join(names)}, in this order (--leads says otherwise).")
    if names is None or len(names) != len(signal):
        raise DataError(f"{path} has {len(signal)} channels{f' and {len(names)} names' if names else ''}. Twelve "
                        "leads, or the eight of which the others follow, are needed; name them: --leads I II V1 V2 ...")
    rate_hz = rate_hz or raw.rate_hz
    if rate_hz is None:
        raise DataError(f"{path} does not say how many samples a second has. Add --rate 500, if 10 s are 5000 samples "
                        f"(it has {signal.shape[1]}), or a column named time, in seconds.")
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise DataError(f"{path}: a rate of {rate_hz:g} Hz; an ECG has {RATES_HZ[0]} to {RATES_HZ[1]}. Say it: "
                        "--rate HZ.")
    units = [unit] * len(names) if unit else raw.units or ["mV"] * len(names)
    if unknown := [one for one in units if one.lower() not in PER_MV]:
        raise DataError(f"{path} has the unit {unknown[0]!r}; ECGs are in mV, uV or V. Say it: --unit uV.")
    signal = signal[:, :round(LONGEST_S * rate_hz)] / np.array([[PER_MV[one.lower()]] for one in units])
    signal_mv = in_order(signal, [plain(name) for name in names], path)
    swing = float(np.median(np.ptp(signal_mv, axis=1)))
    if swing == 0:
        raise DataError(f"{path}: the leads are flat. Was no electrode on, or is this another kind of file?")
    if swing > 30 or swing < 0.03:
        wrong, hint = ("micro", "uV") if swing > 30 else ("", "V")
        raise DataError(f"{path}: the leads swing over {swing:.3g} mV; a heartbeat makes 0.5 to 5. These look like "
                        f"{wrong}volts: add --unit {hint}.")
    try:
        check_quality(signal_mv)
    except DataError as error:
        raise DataError(f"{path}: {error} Was an electrode off? Nothing can be said from such a recording.") from None
    return Recording(resampled(signal_mv, rate_hz, 1000), remarks)


def plain(name: str) -> str:
    """"Lead II (mV)" -> "II"; what is no name of a lead stays what it is."""
    match = NAME.match(name.strip())
    return match[1] if match else name


# ---- kinds of files ----

def read_table(path) -> Raw:
    """Columns are leads, or rows are; a line of names may come first, and a column of time."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    separator = next((mark for mark in ";\t," if mark in first), r"\s+")
    decimal = "," if separator != "," and "," in text else "."
    named = re.search(r"[a-df-z]", first.lower()) is not None  # 1e-3 is a number
    try:
        table = pd.read_csv(io.StringIO(text), sep=separator, decimal=decimal, comment="#",
                            header=0 if named else None).dropna(axis=1, how="all")
        values = table.to_numpy(float)
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is no table of numbers ({error}). One column a lead, one line a sample.") from error
    names, rate = [str(name) for name in table.columns] if named else None, None
    steps = np.diff(values[:, 0]) if len(values) > 2 else np.zeros(1)
    if values.shape[1] > 1 and steps.min() > 0 and np.ptp(steps) < 0.1 * steps.mean():  # time, or numbers of samples
        heading = names[0].lower() if named else ""
        rate = 1000 / steps.mean() if "ms" in heading else 1 / steps.mean() if steps.mean() < 0.1 else None
        values, names = values[:, 1:], names and names[1:]
    units = [UNIT.search(name) for name in names or []]
    return Raw(along_time(values), names, rate, [unit[1] for unit in units] if names and all(units) else None)


def read_npy(path) -> Raw:
    try:
        return Raw(along_time(np.load(path, allow_pickle=False)))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no array of numbers ({error}). Save (12, samples) with numpy.save.") from error


def read_mat(path) -> Raw:
    """The largest array of a MATLAB file."""
    from scipy.io import loadmat
    try:
        arrays = [value for value in loadmat(path).values() if isinstance(value, np.ndarray) and value.ndim == 2
                  and value.dtype.kind in "fiu"]
    except Exception as error:  # scipy raises whatever its parsing stumbles over
        raise DataError(f"{path} could not be read ({type(error).__name__}: {error}). Is it whole? Files of MATLAB 7.3 "
                        "have to be saved again with -v7.") from error
    if not arrays:
        raise DataError(f"{path} holds no matrix of numbers. Expected one of 12 leads by samples.")
    return Raw(along_time(max(arrays, key=np.size)))


def read_dicom(path) -> Raw:
    """The longest waveform of a DICOM file."""
    try:
        import pydicom
    except ImportError:
        raise DataError(f"{path} is a DICOM file; reading it needs pydicom: pip install pydicom") from None
    try:
        header = pydicom.dcmread(path)
        groups = list(header.get("WaveformSequence", []))
        if not groups:
            raise DataError(f"{path} is a DICOM file without waveforms. An X-ray? That is `predict xray`.")
        longest = max(range(len(groups)), key=lambda k: groups[k].NumberOfWaveformSamples)
        signal, channels = header.waveform_array(longest).T, groups[longest].ChannelDefinitionSequence
        names = [one.ChannelSourceSequence[0].CodeMeaning for one in channels]
        units = [one.ChannelSensitivityUnitsSequence[0].CodeValue for one in channels]
        return Raw(signal, names, float(groups[longest].SamplingFrequency), units)
    except DataError:
        raise
    except Exception as error:  # pydicom raises whatever its parsing stumbles over
        raise DataError(f"{path} is no whole DICOM ECG ({type(error).__name__}: {error}). Export it again.") from error


def read_edf(path) -> Raw:
    try:
        from wfdb.io.convert.edf import read_edf as read
    except ImportError:
        raise DataError(f"{path} is an EDF file; reading it needs wfdb: pip install wfdb") from None
    try:
        record = read(str(path))
        return Raw(record.p_signal.T, record.sig_name, record.fs, record.units)
    except Exception as error:  # wfdb raises whatever its parsing stumbles over
        raise DataError(f"{path} is no whole EDF file ({type(error).__name__}: {error}). Export it again.") from error


def along_time(values) -> np.ndarray:
    """(channels, samples) of a table whose longer side is time."""
    if values.ndim != 2 or values.dtype.kind not in "fiu" or 0 in values.shape:
        raise DataError(f"expected numbers of shape (12, samples), found {values.dtype} of shape {values.shape}.")
    return values.T if values.shape[0] > values.shape[1] else values


READERS = {".csv": read_table, ".txt": read_table, ".tsv": read_table, ".npy": read_npy, ".mat": read_mat,
           ".dcm": read_dicom, ".edf": read_edf}
