"""The heart as a mesh: tetrahedra, its surface, 75 named recording points, and values between them.

Axes of the mesh files, in mm: z runs from the apex (0) to the base, x to the lateral wall of the left ventricle, y from
the anterior wall to the inferior one; the right ventricle lies at small x.
"""
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.activation import upstroke_ms
from cardiac_ml.files import ROOT, DataError, atomic_write
from cardiac_ml.heart3d.points import read_points, read_text
from cardiac_ml.virtual import mesh as lattice
from cardiac_ml.virtual.anatomy import Shape, build_heart
from cardiac_ml.virtual.points import POINT_NAMES, find_places, recording_points

TETRAHEDRON = 10  # the number VTK gives this shape
SHAPES = {1: "points", 3: "lines", 5: "triangles", 9: "quadrangles", 10: "tetrahedra", 12: "hexahedra", 13: "wedges",
          14: "pyramids", 24: "quadratic tetrahedra"}
STEP_MM = 2.72  # the average heart cut into about 8000 nodes, as many as the published mesh has


@dataclass(frozen=True)
class Mesh:
    """A volume of tetrahedra: points_mm (n, 3) float, tetrahedra (m, 4) whole numbers that name points."""

    points_mm: np.ndarray
    tetrahedra: np.ndarray

    def __post_init__(self):
        points, cells = np.asarray(self.points_mm, dtype=float), np.asarray(self.tetrahedra)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise DataError(f"A mesh needs finite points of shape (n, 3) in mm, found {points.shape}"
                            f"{' with NaN or infinite numbers' if points.ndim == 2 and points.shape[1] == 3 else ''}.")
        if cells.ndim != 2 or cells.shape[1] != 4 or len(cells) == 0 or cells.dtype.kind not in "iu":
            raise DataError(f"A mesh needs tetrahedra of shape (m, 4) in whole numbers, found {cells.shape} "
                            f"{cells.dtype}. A surface alone is not enough: nothing could lie inside it.")
        if cells.min() < 0 or cells.max() >= len(points):
            raise DataError(f"Tetrahedra name points {cells.min()} to {cells.max()}, but the {len(points)} points "
                            f"count from 0. Points and tetrahedra come from different meshes, or count from 1.")
        object.__setattr__(self, "points_mm", points)
        object.__setattr__(self, "tetrahedra", cells.astype(np.int64))

    def __repr__(self):
        low, high = self.points_mm.min(axis=0), self.points_mm.max(axis=0)
        size = " x ".join(f"{length:.0f}" for length in high - low)
        return (f"Mesh({len(self.points_mm)} points, {len(self.tetrahedra)} tetrahedra, {size} mm, "
                f"{np.abs(self.volumes_mm3).sum() / 1000:.0f} ml)")

    @property
    def volumes_mm3(self) -> np.ndarray:
        """Volume of each tetrahedron (m,); negative where its corners are numbered the other way round."""
        return lattice.volumes_mm3(self.points_mm, self.tetrahedra)


# --------------------------------------------------------------------------------------------------------- mesh files

def _numbers(path: Path, text: str, section: str, per_item: int | None, kind: type) -> np.ndarray:
    """The numbers under one heading ("POINTS 8033 double"): (count, per_item), or flat where ``per_item`` is None."""
    heading = re.search(rf"^{section}[ \t]+(\d+)(?:[ \t]+(\w+))?[ \t]*\r?$", text, re.MULTILINE)
    if not heading:
        raise DataError(f"{path} has no line '{section} <count>': it is cut off, or no unstructured grid.")
    following = re.compile(r"^[A-Z]", re.MULTILINE).search(text, heading.end())
    words = text[heading.end():following.start() if following else len(text)].split()
    count = int(heading[1])
    expected = count * per_item if per_item else int(heading[2])
    if len(words) != expected:
        advice = "It is cut off: copy it again." if len(words) < expected else "It is damaged: make it again."
        raise DataError(f"{path}: '{heading[0].strip()}' promises {expected} numbers, found {len(words)}. {advice}")
    try:
        values = np.array(words, dtype=kind)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}, under {section}: {error}. Expected only numbers.") from None
    return values.reshape(count, per_item) if per_item else values


def read_mesh(path: str | Path) -> Mesh:
    """Tetrahedra from a legacy ASCII VTK file (an unstructured grid, as ParaView saves it)."""
    path = Path(path)
    text = read_text(path)
    head = [line.strip() for line in text.splitlines()[:4]] + [""] * 4
    if not head[0].startswith("# vtk DataFile") or head[2] != "ASCII" or head[3] != "DATASET UNSTRUCTURED_GRID":
        raise DataError(f"{path} begins with {head[0][:40]!r}, {head[2][:40]!r}, {head[3][:40]!r}; expected '# vtk "
                        f"DataFile ...', 'ASCII', 'DATASET UNSTRUCTURED_GRID'. Save it again as legacy VTK in ASCII.")
    if re.search(r"^OFFSETS", text, re.MULTILINE):
        raise DataError(f"{path} is legacy VTK 5.1. Save it with file version 4.2, which lists corners per cell.")
    points = _numbers(path, text, "POINTS", 3, float)
    cells = _numbers(path, text, "CELLS", None, np.int64)
    types, counts = np.unique(_numbers(path, text, "CELL_TYPES", 1, np.int64), return_counts=True)
    if types.tolist() != [TETRAHEDRON]:
        found = ", ".join(f"{n} {SHAPES.get(t, 'of another shape')} (type {t})" for t, n in zip(types, counts))
        raise DataError(f"{path} holds {found or 'no cells'}; expected tetrahedra (type 10) only. Cut other cells into "
                        f"tetrahedra first (in ParaView: the filter Tetrahedralize).")
    if len(cells) != 5 * counts[0] or (cells[::5] != 4).any():
        raise DataError(f"{path}: every line under CELLS must be '4' and four corners. The file is damaged: make it "
                        f"again.")
    try:
        return Mesh(points, cells.reshape(-1, 5)[:, 1:])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def write_mesh(path: str | Path, mesh: Mesh, point_values: dict[str, np.ndarray] | None = None) -> Path:
    """A mesh as legacy ASCII VTK, with values (n,) at its points for ParaView: {"activation_ms": array, ...}."""
    point_values = {name: np.asarray(values, dtype=float) for name, values in (point_values or {}).items()}
    for name, values in point_values.items():
        if values.shape != (len(mesh.points_mm),) or not re.fullmatch(r"\S+", name):
            raise DataError(f"The values {name!r} have shape {values.shape}; expected one number for each of the "
                            f"{len(mesh.points_mm)} points of the mesh, and a name without spaces.")
    count = len(mesh.tetrahedra)
    with atomic_write(path, "w") as file:
        file.write("# vtk DataFile Version 2.0\nheart, mm\nASCII\nDATASET UNSTRUCTURED_GRID\n")
        file.write(f"POINTS {len(mesh.points_mm)} double\n")
        file.writelines(f"{x:.8g} {y:.8g} {z:.8g}\n" for x, y, z in mesh.points_mm.tolist())
        file.write(f"\nCELLS {count} {5 * count}\n")
        file.writelines(f"4 {a} {b} {c} {d}\n" for a, b, c, d in mesh.tetrahedra.tolist())
        file.write(f"\nCELL_TYPES {count}\n" + f"{TETRAHEDRON}\n" * count)
        file.write(f"\nPOINT_DATA {len(mesh.points_mm)}\n" if point_values else "")
        for name, values in point_values.items():
            file.write(f"SCALARS {name} double 1\nLOOKUP_TABLE default\n")
            file.writelines(f"{value:.8g}\n" for value in values.tolist())
    return Path(path)


def default_heart(folder: str | Path | None = None) -> tuple[Mesh, pd.DataFrame]:
    """Mesh and recording points of the heart that the kit shows, or of ``folder``.

    A clone reads them from ``geometry/``; an installed package has no such folder and makes the same heart again.
    """
    folder = ROOT / "geometry" if folder is None and (ROOT / "geometry").is_dir() else folder
    if folder is None:
        return reference_heart()
    mesh, points = read_mesh(Path(folder) / "heart_mesh.vtk"), read_points(Path(folder) / "points.csv")
    check_inside(mesh, points)
    return mesh, points


def reference_heart(shape: Shape = Shape(), step_mm: float = STEP_MM) -> tuple[Mesh, pd.DataFrame]:
    """The average virtual heart and its 75 points (columns x, y, z in mm and name), all coordinates from 0 up.

    It is cut more coarsely than the hearts that are simulated.
    """
    heart, places = build_heart(shape, step_mm), recording_points(shape)
    find_places(heart, places)  # all of them inside, or an error
    corner = heart.nodes_mm.min(axis=0)
    points = pd.DataFrame(np.round(places - corner, 4), columns=["x", "y", "z"]).assign(name=POINT_NAMES)
    return Mesh(np.round(heart.nodes_mm - corner, 4), heart.tetrahedra), points


# --------------------------------------------------------------------------------------------------------- geometry

def surface(mesh: Mesh) -> np.ndarray:
    """Triangles (k, 3) of the outer surface, cavities included, each with its normal pointing out of the muscle."""
    turned = np.where(mesh.volumes_mm3[:, None] < 0, mesh.tetrahedra[:, [0, 2, 1, 3]], mesh.tetrahedra)
    return lattice.surface_triangles(turned)


def inside(mesh: Mesh, points_mm: np.ndarray, tolerance_mm: float = 0.01) -> np.ndarray:
    """Which points (k, 3) lie in a tetrahedron or within ``tolerance_mm`` of its faces: booleans (k,)."""
    corner = mesh.points_mm[mesh.tetrahedra]  # (m, 4, 3)
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat tetrahedron has no heights and contains nothing
        cross = np.cross(corner[:, [2, 3, 1]] - corner[:, :1], corner[:, [3, 1, 2]] - corner[:, :1])
        slope = cross / (6 * mesh.volumes_mm3[:, None, None])  # (m, 3, 3): how fast the share of corners 1 to 3 grows
        slope = np.concatenate([-slope.sum(axis=1, keepdims=True), slope], axis=1)
        least = -tolerance_mm * np.linalg.norm(slope, axis=2)  # (m, 4)
    low, high = corner.min(axis=1) - tolerance_mm, corner.max(axis=1) + tolerance_mm
    found = np.zeros(len(points_mm), dtype=bool)
    for k, point in enumerate(np.asarray(points_mm, dtype=float)):
        near = ((low <= point) & (point <= high)).all(axis=1)
        share = np.einsum("nfj,nj->nf", slope[near], point - corner[near, 0]) + [1, 0, 0, 0]
        found[k] = (share >= least[near]).all(axis=1).any()
    return found


def check_inside(mesh: Mesh, points: pd.DataFrame) -> None:
    """Raise if a recording point lies outside the muscle: mesh and points are then of different hearts, or units."""
    outside = points.name[~inside(mesh, points[["x", "y", "z"]].to_numpy())].tolist()
    if outside:
        low, high = (np.round(end(mesh.points_mm, axis=0)).tolist() for end in (np.min, np.max))
        named = ", ".join(outside[:5]) + (" ..." if len(outside) > 5 else "")
        raise DataError(f"{len(outside)} of {len(points)} recording points lie outside the mesh: {named}. The mesh "
                        f"spans {low} to {high} mm: are both files of one heart and in mm?")


# ---------------------------------------------------------------------------------------------------- interpolation

def distances(nodes_mm: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """Distance of every node to every point: (n, 3), (p, 3) -> (n, p)."""
    return np.linalg.norm(np.asarray(nodes_mm, dtype=float)[:, None] - np.asarray(points_mm, dtype=float), axis=2)


def rbf_weights(points_mm: np.ndarray) -> np.ndarray:
    """(p + 1, p): values at the points -> a weight per point and a constant, so that at any place x

    value(x) = sum over points of weight * distance(x, point) + constant. It is exact at the points, and the weights
    sum to zero, so that far away the value stops growing.
    """
    p = len(points_mm)
    gap = distances(points_mm, points_mm)
    if p < 2 or (gap[~np.eye(p, dtype=bool)] < 1e-6).any():
        raise DataError(f"Interpolation needs at least two points, all at different places; found {p} points"
                        f"{', of which at least two coincide' if p > 1 else ''}.")
    system = np.ones((p + 1, p + 1))
    system[:p, :p], system[p, p] = gap, 0
    return np.linalg.solve(system, np.eye(p + 1, p))


def interpolation_matrix(points_mm: np.ndarray, nodes_mm: np.ndarray) -> np.ndarray:
    """Matrix (nodes, points) float32 of linear radial basis functions: ``values @ matrix.T`` brings values to nodes."""
    points_mm = np.asarray(points_mm, dtype=float)
    if points_mm.ndim != 2 or points_mm.shape[1] != 3 or not np.isfinite(points_mm).all():
        raise DataError(f"Interpolation needs finite points of shape (p, 3) in mm, found {points_mm.shape}.")
    weights = rbf_weights(points_mm)
    return (distances(nodes_mm, points_mm) @ weights[:-1] + weights[-1]).astype(np.float32)


def interpolate(points_mm, nodes_mm, values: np.ndarray) -> np.ndarray:
    """Values (..., p) at the points -> (..., nodes). NaN is a missing value: such points are left out, case by case."""
    values = np.asarray(values, dtype=float)
    if values.shape[-1:] != (len(points_mm),) or np.isinf(values).any():
        raise DataError(f"Values of shape {values.shape} for {len(points_mm)} recording points: expected (..., "
                        f"{len(points_mm)}), NaN where a value is missing, and nothing infinite.")
    cases = values.reshape(-1, len(points_mm))
    result = np.empty((len(cases), len(nodes_mm)))
    patterns, which = np.unique(np.isfinite(cases), axis=0, return_inverse=True)
    for number, known in enumerate(patterns):
        if known.sum() < 2:
            raise DataError(f"Only {known.sum()} of {len(known)} recording points have a value: too few for a map.")
        rows = which.reshape(-1) == number
        matrix = interpolation_matrix(np.asarray(points_mm)[known], nodes_mm)
        result[rows] = cases[rows][:, known] @ matrix.T
    return result.reshape(*values.shape[:-1], len(nodes_mm))


def wave(points_mm: np.ndarray, nodes_mm: np.ndarray, voltage_mv: np.ndarray, times_ms) -> np.ndarray:
    """Voltage at the nodes (times, nodes) from the traces of the points (p, time), 1 ms apart.

    Averaging traces that start at different times would blur the front. So each trace is first shifted to the
    node's own activation time; then the traces are combined with the interpolation's weights.
    """
    voltage_mv = np.asarray(voltage_mv, dtype=float)
    if voltage_mv.ndim != 2 or len(voltage_mv) != len(points_mm) or not np.isfinite(voltage_mv).all():
        raise DataError(f"Voltages of shape {voltage_mv.shape} for {len(points_mm)} recording points: expected finite "
                        f"({len(points_mm)}, time) in mV.")
    start_ms = upstroke_ms(voltage_mv)
    node_ms = interpolate(points_mm, nodes_mm, start_ms)
    start_ms = np.where(np.isfinite(start_ms), start_ms, np.nanmedian(start_ms))  # silent: any shift will do
    matrix, time_ms = interpolation_matrix(points_mm, nodes_mm), np.arange(voltage_mv.shape[1])
    result = np.empty((len(times_ms), len(nodes_mm)))
    for row, now in enumerate(times_ms):
        since = now - node_ms
        result[row] = sum(weight * np.interp(since + start, time_ms, trace)
                          for weight, start, trace in zip(matrix.T, start_ms, voltage_mv))
    return result
