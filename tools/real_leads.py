"""R, S and T of real people, lead by lead, and which medians of the virtual beats lie outside their range.

The numbers are of the median beats of 19 ECGs that hospitals called normal: PTB-XL, Chapman and Georgia records of the
PhysioNet/CinC challenge 2021, 500 Hz, 0.5 to 40 Hz. Where CARDIAC_ML_REAL_DATA has a folder ``cinc2021_sample``, its
normal records are measured anew, in the same way as the virtual beats.
"""
import os
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import butter, find_peaks, sosfiltfilt

from cardiac_ml.lead_importance.twelve_leads import comments_of, read_record, resampled
from cardiac_ml.leads import LEADS
from tools import ecg_measures as measures

NORMAL = "426783006"                 # the code of sinus rhythm, and of nothing else
BEFORE_MS, AFTER_MS = 90, 410        # of a median beat, around its R peak
# Wave -> 10 %, 50 % and 90 % of people, mV, in the order of LEADS.
REAL_MV = {
    "R": ((.20, .54, .04, .02, .04, .19, .04, .20, .25, .45, .53, .55),
          (.85, 1.03, .58, .06, .39, .87, .13, .28, .67, .90, .87, .81),
          (1.18, 1.33, 1.06, .13, .83, 1.07, .23, .78, 1.37, 1.77, 1.60, 1.25)),
    "S": ((.02, .02, .03, .58, .05, .03, .51, .64, .39, .03, .04, .04),
          (.07, .09, .11, .82, .13, .07, .94, .98, .61, .29, .10, .07),
          (.21, .16, .47, 1.12, .52, .21, 1.28, 1.73, 1.81, .81, .43, .22)),
    "T": ((.18, .19, -.04, -.39, .04, .10, -.21, .09, .15, .14, .14, .14),
          (.27, .28, .05, -.28, .11, .16, -.12, .33, .40, .34, .26, .20),
          (.35, .45, .15, -.19, .18, .29, .08, .56, .77, .76, .49, .41))}
# Of the published simulations (Landajuela et al. 2022): standard deviation of each lead, in the order of LEADS.
PUBLISHED_LEAD_STD_MV = np.array([0.52, 0.47, 0.37, 0.46, 0.39, 0.33, 0.37, 0.30, 0.26, 0.23, 0.19, 0.22])


def waves_mv(ecg_mv):
    """(cases, 12, time) -> wave -> (cases, 12): R height, S or Q depth, T with its sign."""
    r, s = measures.r_and_s_mv(ecg_mv)
    return {"R": r, "S": s, "T": measures.t_wave_mv(ecg_mv)}


def beside_real(ecg_mv) -> pd.DataFrame:
    """A row a wave and lead: median and 10 to 90 % of the beats (cases, 12, time), those of people, inside or not."""
    rows = []
    for wave, found in waves_mv(ecg_mv).items():
        for k, (lead, real) in enumerate(zip(LEADS, np.transpose(REAL_MV[wave]), strict=True)):
            low, middle, high = np.percentile(found[:, k], (10, 50, 90))
            rows.append(dict(wave=wave, lead=lead, virtual_10=low, virtual_50=middle, virtual_90=high, real_10=real[0],
                             real_50=real[1], real_90=real[2], inside=bool(real[0] <= middle <= real[2])))
    return pd.DataFrame(rows).round(2)


def sample_beats(folder=None):
    """Median beats (records, 12, 500) mV of the normal records of a folder; None where there is no such folder."""
    folder = folder or Path(os.environ.get("CARDIAC_ML_REAL_DATA", "/nonexistent")) / "cinc2021_sample"
    if not folder.is_dir():
        return None
    beats = []
    for path in sorted(folder.rglob("*.hea")):
        signal, header = read_record(path)
        if comments_of(header.comments)["codes"] == (NORMAL,):
            beats.append(median_beat(resampled(signal, header.fs, 500.0)))
    return np.stack(beats) if beats else None


def median_beat(signal_mv):
    """(12, samples) at 500 Hz -> the median of its beats (12, 500), 1 ms, from BEFORE_MS before the R peak on."""
    smooth = sosfiltfilt(butter(2, (0.5, 40), "bandpass", fs=500, output="sos"), signal_mv, axis=-1)
    size = np.sqrt((np.gradient(smooth, axis=-1)**2).sum(axis=0))
    peaks = find_peaks(size, height=0.4 * np.quantile(size, 0.995), distance=200)[0]
    first, last = BEFORE_MS // 2, AFTER_MS // 2
    inside = peaks[(peaks >= first) & (peaks < smooth.shape[1] - last)]
    beat = np.median([smooth[:, peak - first:peak + last] for peak in inside], axis=0)
    level = np.median(beat[:, :10], axis=1, keepdims=True)        # between P and QRS
    return np.stack([np.interp(np.arange(500) / 2, np.arange(250), lead) for lead in beat - level])
