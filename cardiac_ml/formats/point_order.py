"""Which column of the voltages belongs to which recording point? In the published files likely another in each heart.

The innerindex cases tell: in the case whose stimulus is at point N, the column of point N is the earliest. With one
case a point this is an assignment problem: give every point a column of its own, the sum of the times being smallest.
"""
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from cardiac_ml.files import DataError
from cardiac_ml.formats.intracardiac_files import POINT_COUNT

NEVER_MS = 500.0  # stands for a column that does not activate: later than any that does


class PointOrder(NamedTuple):
    """``columns[heart][point]`` is the column of the voltages that belongs to the point; ``report`` says how sure."""
    columns: dict[str, np.ndarray]  # heart -> (75,) a permutation
    report: pd.DataFrame  # a row a heart

    def of(self, hearts) -> np.ndarray:
        """The columns for cases of these hearts, (cases,) -> (cases, 75); hearts of unsure order are refused."""
        sure = set(self.report["heart"][self.report["sure"]])
        if wrong := sorted(set(hearts) - sure):
            raise DataError(f"the order of the points is not sure in heart {', '.join(wrong)}; see order.report. "
                            "Leave those hearts out: data[~np.isin(data.hearts, [...])].")
        return np.stack([self.columns[heart] for heart in hearts])


def recover_point_order(dataset) -> PointOrder:
    """The order of the columns, heart by heart, and a report. It changes nothing: ``intracardiac.reorder`` does.

    The report: ``focal_points`` of 75 have a case of their own; in ``earliest`` of them the column found is the first
    to activate; ``margin_ms`` is the smallest lead over the next column; ``moved`` columns were not in place; ``sure``
    if every point has its case (one may lack: the last column left is its own) and 95 % are the earliest.
    """
    columns, rows, hearts = {}, [], dataset.table["heart"].to_numpy(dtype=str)
    for heart in dict.fromkeys(hearts):
        sites = dataset.table["innerindex"][hearts == heart].to_numpy(dtype=float, na_value=np.nan)
        columns[heart], row = _of_heart(dataset.activation_ms[hearts == heart], sites, heart)
        rows.append({"heart": heart, **row})
    return PointOrder(columns, pd.DataFrame(rows))


def _of_heart(times_ms, sites, heart):
    """times_ms (cases, 75), sites (cases,) NaN where not focal -> (column of each point (75,), row of the report)."""
    known = sites[np.isfinite(sites)]
    if ((known < 0) | (known >= POINT_COUNT)).any():
        raise DataError(f"heart {heart} has innerindex {known.min():.0f} .. {known.max():.0f}, expected 0 .. 74.")
    late_ms = np.where(np.isnan(times_ms), NEVER_MS, times_ms)
    late_ms = late_ms - late_ms.min(axis=1, keepdims=True)  # since the case's own beginning
    cost = np.zeros((POINT_COUNT, POINT_COUNT))  # of giving a point (row) a column; one without a case takes any left
    given = np.isin(np.arange(POINT_COUNT), known)
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
           "moved": int((order != np.arange(POINT_COUNT)).sum()),
           "sure": bool(given.sum() >= POINT_COUNT - 1 and earliest >= 0.95 * given.sum())}
    return order, row


def reordered(data, columns):
    """The cases of a dataset as batches for a pack, their voltages in the order of ``columns`` (cases, 75)."""
    for first in range(0, len(columns), 256):
        part = slice(first, first + 256)
        voltage_mv = np.take_along_axis(data.voltage_mv[part], columns[part, :, None], axis=1)
        yield data.electrodes_mv[part].swapaxes(1, 2), voltage_mv.swapaxes(1, 2), data.table.iloc[part]
