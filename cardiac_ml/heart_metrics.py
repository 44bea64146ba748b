"""Scores for tasks 3 and 4: activation maps (cases, 75) in ms and voltages (cases, 75, time) in mV.

Every score takes the truth first, then the prediction. A point that never activates has the label NaN: it is left out of
the score, and ``missing`` counts it. ``ACTIVATION`` and ``VOLTAGE`` name the scores that notebooks and scorer share.
"""
import re

import numpy as np

from cardiac_ml.activation import activation_times
from cardiac_ml.files import DataError


def upstroke_ms(voltage_mv):
    """Activation times read off voltages (..., time), interpolated: (...) in ms, NaN where a point never activates."""
    return activation_times(voltage_mv)[0]


def apd90_ms(voltage_mv, chunk=256):
    """Action potential duration: from the upstroke to 90 % recovery, the end interpolated; NaN if not seen to its end.

    The resting voltage is the trace's lowest value, its height the highest: (cases, points, time) -> (cases, points).
    """
    return np.concatenate([_apd90(voltage_mv[i:i + chunk]) for i in range(0, len(voltage_mv), chunk)])


def _apd90(voltage_mv):
    voltage_mv = np.asarray(voltage_mv, dtype=np.float32)
    rest, peak = voltage_mv.min(axis=-1), voltage_mv.max(axis=-1)
    level = (rest + 0.1 * (peak - rest))[..., None]
    time = np.arange(voltage_mv.shape[-1])
    start = upstroke_ms(voltage_mv)
    recovered = (voltage_mv < level) & (time > np.nan_to_num(start, nan=np.inf)[..., None])
    after = recovered.argmax(axis=-1)
    low, high = (np.take_along_axis(voltage_mv, i[..., None], -1)[..., 0] for i in (after, np.maximum(after - 1, 0)))
    end = after - np.where(high > low, (level[..., 0] - low) / np.where(high > low, high - low, 1), 0)
    return np.where(recovered.any(axis=-1), end - start, np.nan)


# ---- activation maps: (cases, 75) ms ----

def mae_ms(truth, prediction):
    """Mean absolute error over all points that activate."""
    return float(np.nanmean(np.abs(prediction - truth)))


def rmse_ms(truth, prediction):
    """Root mean square error: large misses weigh more."""
    return float(np.sqrt(np.nanmean((prediction - truth) ** 2)))


def p95_ms(truth, prediction):
    """95 % of the points are closer to the truth than this."""
    return float(np.nanpercentile(np.abs(prediction - truth), 95))


def map_correlation(truth, prediction):
    """Pearson correlation of each map with its prediction, averaged over cases: is the pattern right?"""
    weight = np.isfinite(truth)
    count = np.maximum(weight.sum(axis=1, keepdims=True), 1)
    t, p = (np.where(weight, a, 0) for a in (truth, prediction))
    t, p = (np.where(weight, a - a.sum(axis=1, keepdims=True) / count, 0) for a in (t, p))
    norm = np.sqrt((t ** 2).sum(axis=1) * (p ** 2).sum(axis=1))
    return float(np.mean((t * p).sum(axis=1)[norm > 0] / norm[norm > 0])) if (norm > 0).any() else float("nan")


def earliest_site_mm(truth, prediction, points_mm):
    """Distance between the true and the predicted earliest point, averaged over cases that have one."""
    some = np.isfinite(truth).any(axis=1) & np.isfinite(prediction).any(axis=1)
    first, guess = (np.nanargmin(np.where(np.isfinite(a[some]), a[some], np.inf), axis=1) for a in (truth, prediction))
    return float(np.linalg.norm(points_mm[first] - points_mm[guess], axis=1).mean())


def missing(truth, prediction):
    """How many labels are NaN, and so left out."""
    return int(np.isnan(truth).sum())


ACTIVATION = {"MAE (ms)": mae_ms, "RMSE (ms)": rmse_ms, "95th percentile (ms)": p95_ms,
              "map correlation": map_correlation, "labels left out": missing}


# ---- voltages: (cases, 75, time) mV ----

def mae_mv(truth, prediction):
    """Mean absolute error over points and time."""
    return float(np.mean([np.abs(p - t).mean() for t, p in zip(truth, prediction)]))


def rmse_mv(truth, prediction):
    """Root mean square error over points and time."""
    return float(np.sqrt(np.mean([np.square(p - t).mean() for t, p in zip(truth, prediction)])))


def r2(truth, prediction):
    """Share of the variance explained; 0 is what a constant reaches."""
    residual = sum(float(np.square(p - t, dtype=np.float64).sum()) for t, p in zip(truth, prediction))
    mean = float(np.mean([t.mean(dtype=np.float64) for t in truth]))
    return 1 - residual / max(sum(float(np.square(t - mean, dtype=np.float64).sum()) for t in truth), 1e-12)


def upstroke_error_ms(truth, prediction):
    """Mean absolute error of the activation times read off the traces: when does each point fire?"""
    return _mean_difference(upstroke_ms, truth, prediction)


def apd90_error_ms(truth, prediction):
    """Mean absolute error of the action potential duration, where both traces show its end."""
    return _mean_difference(apd90_ms, truth, prediction)


def _mean_difference(measure, truth, prediction):
    difference = np.abs(measure(prediction) - measure(truth))
    return float(np.nanmean(difference)) if np.isfinite(difference).any() else float("nan")


def plateau_error_mv(truth, prediction, start_ms=20, stop_ms=150):
    """Mean absolute error from 20 to 150 ms after each point's true upstroke: upstroke timing has no part in it."""
    since = np.arange(np.shape(truth)[-1]) - upstroke_ms(truth)[..., None]
    plateau = (since >= start_ms) & (since < stop_ms)
    return float(np.abs(prediction - truth)[plateau].mean()) if plateau.any() else float("nan")


VOLTAGE = {"MAE (mV)": mae_mv, "RMSE (mV)": rmse_mv, "R2": r2, "upstroke error (ms)": upstroke_error_ms,
           "plateau error (mV)": plateau_error_mv, "APD90 error (ms)": apd90_error_ms}


# ---- by heart ----

def by_heart(score, truth, prediction, hearts):
    """The score within each heart: a dictionary heart -> value, in order of first appearance."""
    hearts = np.asarray(hearts)
    return {heart: score(truth[hearts == heart], prediction[hearts == heart]) for heart in dict.fromkeys(hearts)}


def redrawn_hearts(score, truth, prediction, hearts, draws, rng):
    """The score in ``draws`` worlds with other hearts (a bootstrap): (draws,).

    Scores are means over cases, so the hearts' own scores are enough, each with the weight of its cases.
    """
    own = np.array(list(by_heart(score, truth, prediction, hearts).values()))
    cases = np.array([np.sum(np.asarray(hearts) == heart) for heart in dict.fromkeys(hearts)])
    drawn = rng.integers(len(own), size=(draws, len(own)))
    return (own * cases)[drawn].sum(axis=1) / cases[drawn].sum(axis=1)


def worst_heart(score, truth, prediction, hearts, worst=max):
    """The heart with the worst score, and that score (``worst=min`` for a score where more is better)."""
    scores = by_heart(score, truth, prediction, hearts)
    return worst(scores.items(), key=lambda item: item[1])


def coverage(truth, prediction, spread, level=0.9):
    """Share of the labels inside the central interval of a Laplace distribution with this spread (mean |error|)."""
    inside = np.abs(truth - prediction) <= -np.log(1 - level) * spread
    return float(inside[np.isfinite(truth)].mean())


def segment_means(values: np.ndarray, names) -> np.ndarray:
    """Mean over the points of each of the 17 segments of the left ventricle: (..., 75) -> (..., 17), NaN left out.

    All layers of the wall count; septal points belong to their left segment; right points to none.
    """
    values = np.asarray(values, dtype=float)
    found = [re.search(r"AHA(\d\d)", name) for name in names]
    segment = np.array([int(match[1]) if match else 0 for match in found])
    if values.shape[-1:] != segment.shape or set(range(1, 18)) - set(segment):
        raise DataError(f"Values of shape {values.shape} and {len(segment)} names; expected one value per recording "
                        f"point, and names of all 17 segments (AHA01 ... AHA17).")
    member = segment == np.arange(1, 18)[:, None]  # (17, points)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0) @ member.T / (known @ member.T.astype(float))
