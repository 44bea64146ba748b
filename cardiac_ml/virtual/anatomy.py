"""The shape of a virtual heart: two ventricles from truncated ellipsoids, and how their muscle fibres run.

The left ventricle is the wall between two half ellipsoids; the right ventricle is a thin shell around a cavity beside
it. Millimetres, in the heart's own axes: apex at z = 0, base plane at the top, +x lateral wall of the left ventricle,
-y anterior, the right ventricle towards (-x, +y). Angles around the long axis count from lateral (0) towards anterior
(90).

Fibres follow the rule found by Streeter, Spotnitz, Patel, Ross and Sonnenblick, Circulation Research 24:339 (1969):
they lie in planes parallel to the wall and turn from about +60 degrees at the endocardium over 0 (around the heart) in
mid-wall to -60 degrees at the epicardium.
"""
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from cardiac_ml.files import DataError
from cardiac_ml.virtual import population
from cardiac_ml.virtual.mesh import mesh_solid

GROOVE_MM = 5.0        # how far the corner between the ventricles is rounded
RV_LENGTH = 0.88       # the right ventricle ends above the apex
AVERAGE = population.middle("shape")


@dataclass(frozen=True)
class Shape:
    """Sizes of one heart. The defaults are an average adult: about 110 ml of muscle."""
    lv_radius_mm: float = AVERAGE["lv_radius_mm"]     # cavity, at its widest
    lv_length_mm: float = AVERAGE["lv_length_mm"]     # outer apex to the widest level
    wall_mm: float = AVERAGE["wall_mm"]
    rv_radius_mm: float = AVERAGE["rv_radius_mm"]
    rv_wall_mm: float = AVERAGE["rv_wall_mm"]
    rv_offset_mm: float = AVERAGE["rv_offset_mm"]     # between the axes of the ventricles, at the base
    rv_angle_deg: float = AVERAGE["rv_angle_deg"]
    fibre_deg: float = AVERAGE["fibre_deg"]           # of the fibres at the endocardium, the opposite outside
    layer_mm: float = AVERAGE["layer_mm"]             # thickness of the fast layer on the inner surfaces
    base_share: float = 0.9        # the base plane cuts at this share of the length

    def __post_init__(self):
        values = asdict(self)
        if not all(np.isfinite(value) for value in values.values()):
            raise DataError(f"Impossible anatomy: every size must be a number, found {values}.")
        rules = [
            (self.base_share > 0, f"the base lies below the apex (base_share {self.base_share}); it must be above 0"),
            (0.5 <= self.base_share <= 1, f"base_share is {self.base_share}; it must be between 0.5 and 1"),
            (min(self.wall_mm, self.rv_wall_mm) > 2, f"walls of {self.wall_mm} and {self.rv_wall_mm} mm; the thinnest "
             "possible is 2 mm"),
            (self.wall_mm < self.lv_radius_mm, f"the left wall ({self.wall_mm} mm) is thicker than the cavity's radius "
             f"({self.lv_radius_mm} mm)"),
            (self.rv_wall_mm < self.rv_radius_mm, f"the right wall ({self.rv_wall_mm} mm) is thicker than its radius "
             f"({self.rv_radius_mm} mm)"),
            (self.lv_length_mm > 1.5 * self.outer_radius_mm, f"the length ({self.lv_length_mm} mm) is less than 1.5 "
             f"times the outer radius ({self.outer_radius_mm} mm): no long axis"),
            (self.rv_offset_mm + self.rv_radius_mm > self.outer_radius_mm + 8, "the right ventricle lies inside the "
             "left one: move it away (rv_offset_mm) or widen it (rv_radius_mm)"),
            (self.rv_offset_mm < self.outer_radius_mm + 0.5 * self.rv_radius_mm, f"the ventricles hardly touch "
             f"(rv_offset_mm {self.rv_offset_mm})"),
        ]
        for holds, complaint in rules:
            if not holds:
                raise DataError(f"Impossible anatomy: {complaint}.")

    @property
    def outer_radius_mm(self):
        return self.lv_radius_mm + self.wall_mm

    @property
    def base_mm(self):
        """Height of the base plane over the apex."""
        return self.base_share * self.lv_length_mm


def draw_shape(rng, width=1.0) -> Shape:
    """A heart of the population. Sizes that do not go together are drawn again."""
    while True:
        drawn = population.draw(rng, "shape", width)
        size = drawn.pop("size")
        try:
            return Shape(**{name: value * (size if name.endswith("_mm") and name != "layer_mm" else 1)
                            for name, value in drawn.items()})
        except DataError:
            continue


# ---- distances to the four surfaces: negative inside, mm ----

def _ellipsoid(points, centre_xy, radius, length, middle_z):
    """About the distance (n,) to an ellipsoid around the vertical axis through ``centre_xy``, (2,) or (n, 2)."""
    scaled = np.concatenate([(points[:, :2] - centre_xy) / radius, (points[:, 2:] - middle_z) / length], axis=1)
    size = np.sqrt((scaled**2).sum(axis=1))
    slope = np.sqrt(((scaled / np.array([radius, radius, length]))**2).sum(axis=1)) / np.maximum(size, 1e-9)
    return (size - 1) / np.maximum(slope, 1e-9)


def _smooth_max(a, b, width):
    """The larger of two distances, the corner where they meet rounded over ``width`` mm."""
    return np.maximum(a, b) + np.maximum(width - np.abs(a - b), 0)**2 / (4 * width)


def rv_axis(shape, z_mm):
    """Axis of the right ventricle at a height: (..., 2); it leans towards the apex."""
    angle = np.radians(shape.rv_angle_deg)
    reach = shape.rv_offset_mm * (0.75 + 0.25 * np.asarray(z_mm) / shape.base_mm)
    return reach[..., None] * np.array([np.cos(angle), -np.sin(angle)])


def lv_cavity(shape, points):
    length = shape.lv_length_mm
    return _ellipsoid(points, np.zeros(2), shape.lv_radius_mm, length - shape.wall_mm, length)


def lv_outside(shape, points):
    return _ellipsoid(points, np.zeros(2), shape.outer_radius_mm, shape.lv_length_mm, shape.lv_length_mm)


def _rv_ellipsoid(shape, points, wall_mm):
    length = RV_LENGTH * shape.lv_length_mm + wall_mm
    return _ellipsoid(points, rv_axis(shape, points[:, 2]), shape.rv_radius_mm + wall_mm, length, shape.lv_length_mm)


def rv_cavity(shape, points):
    """Inside the right ellipsoid and outside the left ventricle."""
    return _smooth_max(_rv_ellipsoid(shape, points, 0), -lv_outside(shape, points), GROOVE_MM)


def epicardium(shape, points):
    """The outer surface of both ventricles together."""
    outer = _rv_ellipsoid(shape, points, shape.rv_wall_mm)
    return -_smooth_max(-lv_outside(shape, points), -outer, GROOVE_MM)


def muscle(shape, points):
    """Negative in the muscle: within the epicardium, below the base, in neither cavity."""
    return np.maximum.reduce([epicardium(shape, points), -lv_cavity(shape, points), -rv_cavity(shape, points),
                              points[:, 2] - shape.base_mm])


# ---- the heart ----

@dataclass(frozen=True)
class Heart:
    """Muscle as a mesh with what conduction needs to know of every node."""
    shape: Shape
    nodes_mm: np.ndarray        # (n, 3)
    tetrahedra: np.ndarray      # (m, 4)
    is_left: np.ndarray         # (n,) True in the left ventricle and septum, False in the right free wall
    depth: np.ndarray           # (n,) 0 at the endocardium .. 1 at the epicardium (septum: 0 left .. 1 right)
    height: np.ndarray          # (n,) 0 apex .. 1 base
    lv_endo_mm: np.ndarray      # (n,) distance to the left cavity
    rv_endo_mm: np.ndarray      # (n,) distance to the right cavity
    fibre: np.ndarray           # (n, 3) unit vectors
    through: np.ndarray         # (n, 3) unit vectors through the wall, towards the epicardium

    @cached_property
    def middles(self):
        """Search tree of the tetrahedra's middles."""
        return cKDTree(self.nodes_mm[self.tetrahedra].mean(axis=1))


def build_heart(shape: Shape = Shape(), step_mm: float = 2.0) -> Heart:
    """Mesh and fibres of a shape. A node stands for step_mm ** 3 of muscle: about 20000 nodes at 2 mm."""
    if not 0.5 <= step_mm <= 3.5:
        raise DataError(f"step_mm is {step_mm}; walls of {shape.rv_wall_mm} mm need 0.5 to 3.5 mm.")
    nodes, tetrahedra = mesh_solid(lambda p: muscle(shape, p), *_bounds(shape), step_mm)
    left = lv_outside(shape, nodes) <= 0.25 * shape.rv_wall_mm
    inner = np.where(left, lv_cavity(shape, nodes), rv_cavity(shape, nodes))
    outer = -np.where(left, lv_outside(shape, nodes), _rv_ellipsoid(shape, nodes, shape.rv_wall_mm))
    inner, outer = np.maximum(inner, 0), np.maximum(outer, 0)
    depth = inner / np.maximum(inner + outer, 1e-6)
    through, fibre = _fibres(shape, nodes, left, depth)
    return Heart(shape, nodes, tetrahedra, left, depth, nodes[:, 2] / shape.base_mm,
                 np.maximum(lv_cavity(shape, nodes), 0), np.maximum(rv_cavity(shape, nodes), 0), fibre, through)


def _bounds(shape):
    x, y = rv_axis(shape, shape.base_mm)
    radius, outer = shape.rv_radius_mm + shape.rv_wall_mm, shape.outer_radius_mm
    return ((min(-outer, x - radius), min(-outer, y - radius), 0),
            (max(outer, x + radius), max(outer, y + radius), shape.base_mm))


def _gradient(distance, points):
    """Unit vectors (n, 3) along which a distance grows."""
    way = np.stack([distance(points + step) - distance(points - step) for step in 0.01 * np.eye(3)], axis=1)
    return way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)


def _fibres(shape, nodes, left, depth):
    """(through, fibre): the wall's normal, and the direction that turns by 120 degrees on the way through the wall."""
    through = np.empty_like(nodes)
    through[left] = _gradient(lambda p: lv_outside(shape, p), nodes[left])
    through[~left] = _gradient(lambda p: _rv_ellipsoid(shape, p, shape.rv_wall_mm), nodes[~left])
    upwards = np.array([0.0, 0.0, 1.0]) - through[:, 2:] * through
    length = np.linalg.norm(upwards, axis=1, keepdims=True)
    sideways = np.array([1.0, 0, 0]) - through[:, :1] * through      # at the very apex nothing in the wall points up
    upwards = np.where(length > 0.05, upwards / np.maximum(length, 0.05),
                       sideways / np.maximum(np.linalg.norm(sideways, axis=1, keepdims=True), 0.05))
    around = np.cross(upwards, through)
    angle = np.radians(shape.fibre_deg * (1 - 2 * depth))[:, None]
    return through, np.cos(angle) * around + np.sin(angle) * upwards
