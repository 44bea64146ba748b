"""The 75 recording points: their names, their places, and which column of a recording belongs to which point.

In the published files the columns of the voltages are likely in another order in each heart. The innerindex cases tell
which is which: in the case whose stimulus is at point N, the column of point N is the earliest. With one case a point
this is an assignment problem: give every point a column of its own, the sum of the times being smallest.
"""
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, atomic_write, read_text

FREE_LEFT = (1, 4, 5, 6, 7, 10, 11, 12, 13, 15, 16, 17)  # segments whose outside is the epicardium
FREE_RIGHT = (1, 2, 3, 6, 7, 8, 11, 12)
POINT_NAMES = (  # the order of the points file, and of the columns of every voltage recording
    *(f"AHA{i:02}" for i in range(1, 18)), *(f"RV{i:02}" for i in range(1, 14)),
    *(f"EPI_AHA{i:02}" for i in FREE_LEFT), *(f"EPI_RV{i:02}" for i in FREE_RIGHT),
    *(f"MID_AHA{i:02}" for i in FREE_LEFT), *(f"MID_RV{i:02}" for i in FREE_RIGHT),
    *(f"SEPTM_AHA{left:02}_RV{right:02}" for left, right in ((2, 5), (3, 4), (8, 10), (9, 9), (14, 13))),
)
POINTS = 75
NEVER_MS = 500.0  # stands for a column that does not activate: later than any that does
NEAR_MM = 6.0


# ---- the points file ----

def read_points(path: str | Path) -> pd.DataFrame:
    """The 75 recording points: columns x, y, z (mm) and name, without the quotes that the file puts around names."""
    path = Path(path)
    lines = [line.split(",") for line in read_text(path).splitlines() if line.strip()]
    header = [word.strip().strip('"') for word in lines[0]] if lines else []
    wanted = ["Points:0", "Points:1", "Points:2", "Name"]
    if not set(wanted) <= set(header):
        raise DataError(f"{path} has the columns {header}; expected {wanted} in its first line.")
    columns = [header.index(name) for name in wanted]
    try:
        rows = [(*(float(line[i].strip(' "')) for i in columns[:3]), line[columns[3]].strip(" \"'"))
                for line in lines[1:]]
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} has a line without three numbers and a name ({error}). Copy the file again.") from None
    table = pd.DataFrame(rows, columns=["x", "y", "z", "name"])
    check_points(table, path)
    return table


def check_points(points: pd.DataFrame, where: str | Path = "The table of recording points") -> None:
    """Raise unless these are the 75 known points, in the known order, each at a finite place of its own."""
    names = points.name.tolist()
    doubled = sorted({name for name in names if names.count(name) > 1})
    missing, unknown = sorted(set(POINT_NAMES) - set(names)), sorted(set(names) - set(POINT_NAMES))
    if doubled or missing or unknown:
        said = [f"{what}: {', '.join(map(str, which[:5]))}{' ...' if len(which) > 5 else ''}" for what, which in
                (("doubled", doubled), ("missing", missing), ("unknown", unknown)) if which]
        raise DataError(f"{where} has {len(names)} points, expected the 75 of cardiac_ml.points.POINT_NAMES; "
                        f"{'; '.join(said)}.")
    if names != list(POINT_NAMES):
        row = next(i for i, (found, expected) in enumerate(zip(names, POINT_NAMES)) if found != expected)
        raise DataError(f"{where}: row {row} is {names[row]}, expected {POINT_NAMES[row]}. The order matters, it is "
                        f"that of the 75 columns of a recording: sort the rows as in cardiac_ml.points.POINT_NAMES.")
    places = points[["x", "y", "z"]].to_numpy(dtype=float)
    if not np.isfinite(places).all():
        bad = points.name[~np.isfinite(places).all(axis=1)].tolist()
        raise DataError(f"{where}: {', '.join(bad[:5])} have NaN or infinite coordinates; expected mm.")


def write_points(path: str | Path, points: pd.DataFrame) -> Path:
    """Recording points in the layout of the points file: quoted headings, names in single quotes."""
    check_points(points)
    with atomic_write(path, "w") as file:
        file.write('"Points:0","Points:1","Points:2","Name"\n')
        file.writelines(f"{x!r},{y!r},{z!r},'{name}'\n" for x, y, z, name in
                        zip(*(points[axis].astype(float).tolist() for axis in "xyz"), points.name))
    return Path(path)


# ---- the order of the columns ----

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
