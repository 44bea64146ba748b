"""A ventricle for tests: a cup-shaped wall of tetrahedra (open above and at the apex) with 75 named points inside."""
import numpy as np
import pandas as pd

from cardiac_ml.heart3d.mesh import Mesh
from cardiac_ml.virtual.points import POINT_NAMES

KUHN = [[0, 1, 3, 7], [0, 1, 5, 7], [0, 2, 3, 7], [0, 2, 6, 7], [0, 4, 5, 7], [0, 4, 6, 7]]  # a cube as six tetrahedra


def place(depth, angle, height):
    """Millimetres from depth in the wall (0 inside, 1 outside), angle (radians) and height (0 apex, 1 base)."""
    radius = (26 + 12 * depth) * np.sqrt(1 - (0.93 * (1 - height)) ** 2)
    return np.stack([50 + radius * np.cos(angle), 45 + radius * np.sin(angle), 72 * height], axis=-1)


def wall(layers=3, around=24, rings=12) -> Mesh:
    """Cells of a bent grid, each cut into six tetrahedra along the same diagonal, so that neighbours fit."""
    k, a, z = np.meshgrid(np.arange(layers), np.arange(around), np.arange(rings), indexing="ij")
    nodes = place(k / (layers - 1), 2 * np.pi * a / around, z / (rings - 1)).reshape(-1, 3)
    number = lambda k, a, z: (k * around + a % around) * rings + z
    k, a, z = (grid[:-1, :, :-1].ravel() for grid in (k, a, z))
    cube = np.stack([number(k + (c & 1), a + (c >> 1 & 1), z + (c >> 2)) for c in range(8)], axis=1)
    return Mesh(nodes, cube[:, KUHN].reshape(-1, 4))


def points() -> pd.DataFrame:
    """75 points spread evenly through the wall."""
    k = np.arange(75)
    depth = np.select([k < 30, k < 50], [0.25, 0.75], 0.5)
    table = pd.DataFrame(place(depth, 2.4 * k, 0.05 + 0.9 * (k * 0.381966 % 1)), columns=["x", "y", "z"])
    table["name"] = POINT_NAMES
    return table


def activation(places_mm, source_mm=(70.0, 30.0, 50.0), speed_mm_per_ms=0.6):
    """A smooth map (n,): the distance from one place, in ms."""
    return 5 + np.linalg.norm(np.asarray(places_mm) - source_mm, axis=-1) / speed_mm_per_ms


def voltages(activation_ms, length=500):
    """Action potentials (75, length) in mV that rise at the activation time; a point with NaN stays at rest."""
    since = np.arange(length) - np.asarray(activation_ms, dtype=float)[:, None]
    excited = (1 + np.tanh(since / 1.6)) * (1 - np.tanh((since - 250) / 30)) / 4
    return -85 + 115 * np.nan_to_num(excited)
