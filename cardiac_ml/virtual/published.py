"""Virtual hearts with the quirks of the published files, so that the first contact with the real ones is no surprise.

What is known of the published simulations and done here: waves start at t = 0; a stimulated point stands at +50 mV
there; voltages overshoot to 46 .. 49.5 mV and undershoot to -90 .. -93 mV; durations differ by about 10 ms inside a
beat; the body is infinite and leads reach several mV; the columns of the voltage are in another order in each heart;
hearts are v1, v2, v4 ...; a beat starts at early sites (29 patterns) or at one recording point (75 of them).
"""
from dataclasses import replace

import numpy as np

from cardiac_ml.virtual.points import POINT_NAMES
from cardiac_ml.virtual.signals import SAMPLES

PATTERNS = 29
G_KR_PERCENT = (0, 50)
STIMULUS_MV = 50.0
STIMULATED_MS = 0.5                 # a point that activates this soon lies under the stimulus
OVERSHOOT_MV, OVERSHOOT_MS, HIGHEST_MV = 34.0, 5.0, 49.5
UNDERSHOOT_MV, UNDERSHOOT_MS = 7.0, 14.0    # below rest, after the end of the action potential: where is not known
APD_RANGE_MS = 10.0
APD_LIMITS_MS = (306.0, 344.0)


def heart_name(number):
    """The published volunteers lack a third."""
    return f"v{number if number < 3 else number + 1}"


def plan(cases):
    """Cases of a heart as ``dataset.plan`` has them: patterns at both cycle lengths, then a focus at each point."""
    return ([("stimulated", k // 2 % PATTERNS, None) for k in range(cases)]
            + [("focal", None, index) for index in range(len(POINT_NAMES))])


def column_order(seed, number):
    """(75,) which recording point each column of a heart's voltages is of."""
    return np.random.default_rng([seed, number, 0, 2]).permutation(len(POINT_NAMES))


def as_published(beats):
    """The same beats: points under the stimulus start at once, durations differ by some 10 ms around a known mean."""
    middle = np.nanmedian(beats.point_apd_ms, axis=1, keepdims=True)
    spread = np.nanmax(beats.point_apd_ms, axis=1, keepdims=True) - np.nanmin(beats.point_apd_ms, axis=1, keepdims=True)
    share, wanted = np.minimum(1, APD_RANGE_MS / spread), np.clip(middle, *APD_LIMITS_MS)
    return replace(beats, apd_ms=wanted + share * (beats.apd_ms - middle),
                   point_apd_ms=wanted + share * (beats.point_apd_ms - middle),
                   point_ms=np.where(beats.point_ms < STIMULATED_MS, 0, beats.point_ms))


def with_quirks(voltage_mv, activation_ms, apd_ms):
    """Voltages (75, 500) of cells with (75,) activation and duration, drawn as the published ones are."""
    since = np.arange(SAMPLES) - activation_ms[:, None]
    started = since >= 0
    over = np.where(started, OVERSHOOT_MV * np.exp(-np.maximum(since, 0) / OVERSHOOT_MS), 0)
    end = (since - apd_ms[:, None] - 2 * UNDERSHOOT_MS) / UNDERSHOOT_MS
    voltage = voltage_mv + over - np.nan_to_num(UNDERSHOOT_MV * np.exp(-end**2 / 2))
    voltage = np.minimum(voltage, HIGHEST_MV)
    voltage[activation_ms == 0, 0] = STIMULUS_MV
    return voltage.astype(np.float32)
