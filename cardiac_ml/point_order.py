"""Which column of the voltages is which recording point? In the published files that likely differs between hearts.

The innerindex cases tell. In the case whose stimulus is at point N, the column of point N is the earliest. With one
case a point this is an assignment problem: give every point a column of its own, the sum of the times being smallest.
"""
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError

POINTS = 75
NEVER_MS = 500.0  # stands for a column that does not activate: later than any that does
NEAR_MM = 6.0


class PointOrder(NamedTuple):
    """``columns[heart][point]`` is the column of the voltages that belongs to the point; ``report`` says how sure."""
    columns: dict[str, np.ndarray]  # heart -> (75,) a permutation
    report: pd.DataFrame  # a row a heart


def recover_point_order(dataset, points_mm=None) -> PointOrder:
    """The order of the columns, heart by heart, and a report. It changes nothing: ``reorder`` does, when you ask.

    The report: ``focal_points`` of 75 have a case of their own; in ``earliest`` of them the column found is the first
    to activate; ``margin_ms`` is the smallest lead over the next column; ``moved`` columns were not in place; ``sure``
    if every point has its case (one may lack: the last column left is its own) and 95 % are the earliest.
    With points_mm (75, 3) also how far apart in time points nearer than 6 mm are, before, after, and any two points.
    """
    columns, rows = {}, []
    for heart in dict.fromkeys(dataset.table["heart"]):
        cases = np.flatnonzero((dataset.table["heart"] == heart).to_numpy())
        sites = dataset.table["innerindex"].iloc[cases].to_numpy(dtype=float, na_value=np.nan)
        times_ms = dataset.activation_ms[cases]
        order, row = _of_heart(times_ms, sites, heart)
        if points_mm is not None:
            row |= _spatial_check(times_ms if np.isfinite(sites).all() else times_ms[np.isnan(sites)], order, points_mm)
        columns[heart] = order
        rows.append({"heart": heart, **row})
    return PointOrder(columns, pd.DataFrame(rows))


def _of_heart(times_ms, sites, heart):
    """times_ms (cases, 75), sites (cases,) NaN where not focal -> (column of each point (75,), row of the report)."""
    from scipy.optimize import linear_sum_assignment

    known = sites[np.isfinite(sites)]
    if ((known < 0) | (known >= POINTS)).any():
        raise DataError(f"heart {heart} has innerindex {known.min():.0f} .. {known.max():.0f}, expected 0 .. 74.")
    late_ms = np.where(np.isnan(times_ms), NEVER_MS, times_ms)
    late_ms = late_ms - late_ms.min(axis=1, keepdims=True)  # since the case's own beginning
    cost = np.zeros((POINTS, POINTS))  # of giving a point (row) a column; a point without a case takes what is left
    given = np.isin(np.arange(POINTS), known)
    for point in np.flatnonzero(given):
        cost[point] = late_ms[sites == point].mean(axis=0)
    order = linear_sum_assignment(cost)[1]
    own = np.take_along_axis(cost, order[:, None], axis=1)[:, 0]
    others = cost.copy()
    np.put_along_axis(others, order[:, None], np.inf, axis=1)
    margin = (others.min(axis=1) - own)[given]
    earliest = int((margin > 0).sum())
    row = {"focal_cases": len(known), "focal_points": int(given.sum()), "earliest": earliest,
           "margin_ms": float(margin.min()) if len(margin) else np.nan,
           "moved": int((order != np.arange(POINTS)).sum()),
           "sure": bool(given.sum() >= POINTS - 1 and earliest >= 0.95 * given.sum())}
    return order, row


def _spatial_check(times_ms, order, points_mm):
    """Mean difference in time of points near each other, as stored and in the order found, and of any two points."""
    points_mm = np.asarray(points_mm, dtype=float)
    if points_mm.shape != (POINTS, 3):
        raise DataError(f"points_mm has shape {points_mm.shape}, expected ({POINTS}, 3): x, y, z in mm of each point.")
    one, two = np.triu_indices(POINTS, 1)
    gap_ms = np.abs(times_ms[:, one] - times_ms[:, two])
    gap_reordered_ms = np.abs(times_ms[:, order[one]] - times_ms[:, order[two]])
    near = np.linalg.norm(points_mm[one] - points_mm[two], axis=1) < NEAR_MM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean over no pair is NaN, and that is the answer
        return {"near_as_stored_ms": float(np.nanmean(gap_ms[:, near])),
                "near_reordered_ms": float(np.nanmean(gap_reordered_ms[:, near])),
                "any_two_ms": float(np.nanmean(gap_ms))}
