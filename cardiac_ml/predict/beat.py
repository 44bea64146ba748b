"""From seconds of twelve leads to one heartbeat as the networks of tasks 3 and 4 know it.

    beat = usual_beat(signal_mv)      # (12, samples) mV at 1 kHz -> Beat; beat.ecg_mv is (12, 500)

Beats are found where the leads together change fast. Odd ones are left out, of the largest group that looks alike the
median is taken, and a line through the moments before each QRS takes the drift away. The beat starts LEAD_IN_MS before
its QRS, as virtual ones do, is 0 there, and ends before the P wave of the next one.
"""
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

from cardiac_ml.files import DataError
from cardiac_ml.leads import independent

SAMPLES, LEAD_IN_MS = 500, 7
BEFORE_MS, AFTER_MS = 250, 600  # of a beat, around its steepest moment
CLOSEST_MS = 250  # two beats
CORE_MS, SHIFT_MS = (-100, 150), 40  # what is compared around that moment; how far it may be moved to fit better
ALIKE, FEWEST = 0.9, 3  # correlation of beats that are averaged, and how many there must be
QUIET_MS, STEEP = 16, 0.03  # a QRS begins after so long without anything steeper than this share of its steepest
P_MS, FADE_MS = 200, 40  # so long before the next QRS its P wave may begin; until then the beat is led to 0
SMOOTH = butter(2, 100, "lowpass", fs=1000, output="sos")
QRS_BAND = butter(2, (5, 30), "bandpass", fs=1000, output="sos")


class Beat(NamedTuple):
    """The usual beat of a recording, and how it was made."""
    ecg_mv: np.ndarray  # (12, 500) float32, 1 ms a sample
    onset_ms: np.ndarray  # (found,) where in the recording the QRS of each beat begins
    used: np.ndarray  # (found,) whether it is one of those that look alike
    rate_per_min: float


def usual_beat(signal_mv: np.ndarray) -> Beat:
    """(12, samples) mV at 1 kHz -> Beat; a DataError where no beats look alike."""
    signal_mv = sosfiltfilt(SMOOTH, signal_mv, axis=-1)
    fast = sosfiltfilt(QRS_BAND, independent(signal_mv), axis=-1)
    at, used = in_step(fast, steepest_moments(fast))
    if used.sum() < FEWEST:
        raise DataError(f"{len(at)} places look like a heartbeat, and {used.sum()} of them like each other; {FEWEST} "
                        "are needed for an average. Is this noise, too short, or of another rate (--rate)?")
    onset = at + qrs_onset(independent(np.median(around(signal_mv, at[used]), axis=0)))
    level = np.mean([signal_mv[:, onset[used] - k] for k in range(1, 11)], axis=0)  # (12, used)
    time = np.arange(signal_mv.shape[1])
    flat = signal_mv - np.stack([np.interp(time, onset[used] - 5, one) for one in level])
    middle = np.median(around(flat, onset[used], LEAD_IN_MS, SAMPLES - LEAD_IN_MS), axis=0)  # bursts of noise drop out
    rr_ms = float(np.median(np.diff(onset)))
    fade = np.clip((LEAD_IN_MS + rr_ms - P_MS - np.arange(SAMPLES)) / FADE_MS, 0, 1)
    return Beat((middle * fade).astype(np.float32), onset, used, 60000 / rr_ms)


def steepest_moments(fast):
    """(beats,) where all leads of (8, samples) in the band of a QRS are steepest together; whole beats only."""
    speed = gaussian_filter1d(np.sqrt((np.gradient(fast, axis=-1) ** 2).sum(axis=0)), 20)
    at = find_peaks(speed, height=0.35 * np.quantile(speed, 0.98), distance=CLOSEST_MS)[0]
    return at[(at >= 2 * BEFORE_MS) & (at < fast.shape[1] - AFTER_MS - 2 * SHIFT_MS)]


def around(signal, at, before=BEFORE_MS, after=AFTER_MS):
    """(beats, leads, before + after) of a signal (leads, samples), around each moment."""
    return np.stack([signal[:, moment - before:moment + after] for moment in at])


def in_step(fast, at):
    """The moments, each moved so that its beat lies over the most typical one, and whether it is of the main group."""
    if not len(at):
        return at, np.zeros(0, bool)
    before, after = -CORE_MS[0], CORE_MS[1]
    typical = around(fast, at, before, after)[correlations(around(fast, at, before, after)).mean(axis=0).argmax()]
    shifts = np.arange(-SHIFT_MS, SHIFT_MS + 1)
    fit = np.einsum("kblt,lt->kb", np.stack([around(fast, at + shift, before, after) for shift in shifts]), typical)
    at = at + shifts[fit.argmax(axis=0)]
    alike = correlations(around(fast, at, before, after)) > ALIKE
    return at, alike[alike.sum(axis=1).argmax()]


def correlations(beats):
    """(beats, beats) between beats (beats, leads, time)."""
    flat = beats.reshape(len(beats), -1)
    flat = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9)
    return flat @ flat.T


def qrs_onset(mean):
    """Where, in ms from the steepest moment of an average beat (8, BEFORE_MS + AFTER_MS), its QRS begins."""
    speed = np.sqrt((np.gradient(gaussian_filter1d(mean, 2, axis=-1), axis=-1) ** 2).sum(axis=0))[:BEFORE_MS + 50]
    limit = max(STEEP * speed.max(), 2 * np.quantile(speed, 0.2))
    before = np.arange(BEFORE_MS, BEFORE_MS - 200, -1)
    loudest = np.array([speed[moment - QUIET_MS:moment].max() for moment in before])
    quiet = loudest < limit
    return int(before[quiet.argmax() if quiet.any() else loudest.argmin()]) - BEFORE_MS
