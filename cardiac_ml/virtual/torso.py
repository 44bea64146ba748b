"""From the voltage of every cell to ten electrodes on the skin.

Where the voltage changes from cell to cell, current flows, and an electrode sees each bit of current through the body:
phi(e) = -1 / (4 pi sigma_b) * integral of (sigma grad V) . grad G(e), G being the voltage at e of a unit source. On a
mesh the integral is the matrix K, and since everything is linear each electrode has one weight a node, w = -K G / (4 pi
sigma_b), its *lead field* (McFee and Johnston, Circulation 8:554, 1953); the ECG is the weights times the voltages.

G is 1 / d in an infinite medium, as the published simulations had it. A body ends at its skin: in a sphere with an
insulated surface of radius R, for an electrode on that surface and a source at x, G = 2 / d + ln(2 R^2 / (R d + R^2 -
x.e)) / R (Wilson and Bayley, Circulation 1:84, 1950). It costs the same and looks clinical.
"""
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from cardiac_ml.files import DataError
from cardiac_ml.virtual import population
from cardiac_ml.virtual.anatomy import Heart
from cardiac_ml.virtual.mesh import volumes_mm3

LEAD_FIELDS = ("sphere", "infinite")
SIGMA_FIBRE = 0.30     # S/m
# Without a body the electrodes sit on a ball around the heart. Ways and gain: fitted to the spread of published leads.
BALL_WAYS = np.array([(-1, 0, .5), (1, 0, .5), (.4, -.1, -1.4), (-.4, 0, -1.4), (-.3, -1, 0), (.1, -1, 0), (.3, -.9, 0),
                      (.5, -.85, -.1), (.8, -.6, -.1), (1, -.2, 0)])
BALL_GAIN = 2.45


@dataclass(frozen=True)
class Torso:
    """Where the heart lies in a body and where its electrodes are."""
    electrodes_mm: np.ndarray    # (10, 3)
    heart_mm: np.ndarray         # (3,) middle of the muscle
    axes: np.ndarray             # (3, 3) columns: the heart's x, y, z in the body
    radius_mm: float             # of the body
    conductivity_s_m: float      # of the body


def heart_axes(apex_way, right_way, rv_angle_deg):
    """(3, 3) rotation from the heart's axes to the body's: apex along one way, right ventricle near the other."""
    up = -np.asarray(apex_way) / np.linalg.norm(apex_way)
    right = right_way - (right_way @ up) * up
    right /= np.linalg.norm(right)
    angle = np.radians(rv_angle_deg)
    own_right, own_up = np.array([np.cos(angle), -np.sin(angle), 0]), np.array([0, 0, 1.0])
    body = np.stack([right, np.cross(up, right), up], axis=1)
    return body @ np.stack([own_right, np.cross(own_up, own_right), own_up])


def average_torso(rv_angle_deg) -> Torso:
    return _torso(population.middle("torso"), rv_angle_deg)


def draw_torso(rng, rv_angle_deg, width=1.0) -> Torso:
    """A body of the population."""
    return _torso(population.draw(rng, "torso", width), rv_angle_deg)


def _torso(drawn, rv_angle_deg):
    axes = heart_axes(drawn.pop("apex_way"), drawn.pop("right_way"), rv_angle_deg)
    return Torso(axes=axes, **drawn)


def around(heart: Heart, torso: Torso) -> Torso:
    """The same body, larger if this heart would stick out of it: a large heart has no small chest around it."""
    nodes = (heart.nodes_mm - heart.nodes_mm.mean(axis=0)) @ torso.axes.T + torso.heart_mm
    farthest = np.linalg.norm(nodes, axis=1).max()
    return torso if farthest < torso.radius_mm else replace(torso, radius_mm=1.03 * float(farthest))


def move_electrodes(rng, torso: Torso, where="clinic", width=1.0) -> Torso:
    """The same body on another day: electrodes never sit twice in one place, least of all those of a "holter"."""
    return replace(torso, electrodes_mm=torso.electrodes_mm + population.draw(rng, where, width)["moved_mm"])


def stiffness(heart: Heart, speeds, only=slice(None)) -> sparse.csr_matrix:
    """K (n, n) in S/m mm: v' K v is the integral of sigma (grad v)^2. Conductivity grows with the square of speed.

    ``speeds`` (3,): along the fibre, across it, through the wall. ``only``: of these tetrahedra. Rows sum to zero: a
    constant voltage makes no current.
    """
    along, across, normal = SIGMA_FIBRE * (np.asarray(speeds) / speeds[0])**2
    corners = heart.tetrahedra[only]
    volume = volumes_mm3(heart.nodes_mm, corners)
    a, b, c = np.moveaxis(heart.nodes_mm[corners[:, 1:]] - heart.nodes_mm[corners[:, :1]], 1, 0)
    slopes = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1) / (6 * volume)[:, None, None]
    slopes = np.concatenate([-slopes.sum(axis=1, keepdims=True), slopes], axis=1)       # (m, 4, 3) grad of each corner
    fibre, through = heart.fibre[corners].mean(axis=1), heart.through[corners].mean(axis=1)
    f, t = np.einsum("mai,mi->ma", slopes, fibre), np.einsum("mai,mi->ma", slopes, through)
    local = across * np.einsum("mai,mbi->mab", slopes, slopes)
    local += (along - across) * f[:, :, None] * f[:, None] + (normal - across) * t[:, :, None] * t[:, None]
    rows, columns = np.repeat(corners, 4, axis=1).ravel(), np.tile(corners, (1, 4)).ravel()
    entries = (volume[:, None, None] * local).ravel().astype(np.float32)
    return sparse.coo_matrix((entries, (rows, columns)), shape=(len(heart.nodes_mm),) * 2).tocsr()


def lead_field(heart: Heart, matrix, torso: Torso, kind="sphere"):
    """Weights (10, n): how much a millivolt at a node adds to each electrode."""
    if kind not in LEAD_FIELDS:
        raise DataError(f"Unknown lead field {kind!r}: choose one of {', '.join(LEAD_FIELDS)}.")
    nodes = (heart.nodes_mm - heart.nodes_mm.mean(axis=0)) @ torso.axes.T
    potential = (_in_sphere if kind == "sphere" else _in_infinity)(nodes, torso)
    return (matrix @ potential.astype(np.float32)).T * np.float32(-1 / (4 * np.pi * torso.conductivity_s_m))


def ball_mm():
    """(10, 3) electrodes on a ball around the heart, as the published simulations have them."""
    ways = BALL_WAYS / np.linalg.norm(BALL_WAYS, axis=1, keepdims=True)
    return population.middle("torso")["radius_mm"] * ways


def _in_infinity(nodes, torso):
    """G (n, 10) in 1 / mm: one over the distance, electrodes misplaced as in the torso."""
    electrodes = ball_mm() + torso.electrodes_mm - population.middle("torso")["electrodes_mm"]
    return BALL_GAIN / _distances(nodes, electrodes)


def _in_sphere(nodes, torso):
    """G (n, 10) in 1 / mm, inside an insulated sphere; electrodes are moved to its surface."""
    radius = torso.radius_mm
    nodes = nodes + torso.heart_mm
    if (np.linalg.norm(nodes, axis=1) >= radius).any():
        raise DataError(f"The heart sticks out of a body of radius {radius:.0f} mm. Make the body larger.")
    electrodes = radius * torso.electrodes_mm / np.linalg.norm(torso.electrodes_mm, axis=1, keepdims=True)
    distance = _distances(nodes, electrodes)
    return 2 / distance + np.log(2 * radius**2 / (radius * distance + radius**2 - nodes @ electrodes.T)) / radius


def _distances(nodes, electrodes):
    """(n, 10) mm"""
    square = (nodes**2).sum(axis=1)[:, None] + (electrodes**2).sum(axis=1) - 2 * nodes @ electrodes.T
    return np.sqrt(square)
