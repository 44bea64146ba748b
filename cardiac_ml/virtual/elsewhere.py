"""Another world: virtual hearts that are no draw of the first population, to see how far a network carries.

Ventricles are bullets on a lattice of cubes, not ellipsoids cut into tetrahedra. A front takes the shortest way from
cube to cube (Dijkstra 1959), along other fibres, faster in the muscle and slower in the inner layer. A cell's voltage
is a product of smooth steps whose duration shrinks with its time of activation. The body is an infinite medium, its
electrodes lie on an ellipsoid. The recording points have the same names, some mm away from the first world's.

Networks are tested here and never trained: a score from here is a score from another hospital.
"""
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import delayed
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from scipy.special import expit

from cardiac_ml.files import DataError
from cardiac_ml.virtual import points
from cardiac_ml.virtual.parallel import in_order
from cardiac_ml.virtual.points import POINT_NAMES
from cardiac_ml.virtual.torso import heart_axes

STEP_MM = 2.5
SAMPLES = 500
# What the cases of a heart are, in this order, again and again.
KINDS = ("normal", "sites", "LBBB", "focal", "RBBB", "scar", "focal", "sites")
SEPTUM_DEG = -140.0
RIGHT_TIP = 0.12                            # height of the right ventricle's lower end
FIBRES_DEG = (78.0, -40.0)                  # inside, outside
LAYER_MM = 2.4                              # of fast tissue under the inner surfaces
DEPTHS = (0.2, 0.45, 0.8)                   # of the recording points: inner, mid-wall, outer
TURNED_DEG, LOWER = 6.0, 0.94               # and where they lie instead, about 5 mm away
REST_MV, HEIGHT_MV = -82.0, 112.0
RISE_MS, FRONT_MS, FALL_MS = 0.7, 2.0, 13.0     # of a cell, of a cube of cells, of recovery
GAIN = 3.0                                  # of the leads, for a body that ends at its skin
# Early sites: wall, angle (0 lateral, 90 anterior), height, ms.
LEFT_SITES = (("lv", -135, 0.66, 0), ("lv", 125, 0.84, 2), ("lv", -95, 0.72, 5))
RIGHT_SITES = (("septum", -155, 0.64, 6), ("rv", -170, 0.58, 9))
BODY_MM = np.array([172.0, 134.0, 290.0])
# Ways from the body's middle to RA LA LL RL V1..V6: x to the patient's left, y to the back, z up.
WAYS = np.array([(-.8, -.2, .7), (.8, -.2, .7), (.45, -.2, -.95), (-.45, -.2, -.95), (-.22, -1, .1), (.14, -1, .08),
                 (.42, -.93, .03), (.7, -.8, -.02), (1, -.45, -.03), (1.1, 0, -.03)])


@dataclass(frozen=True)
class Bullets:
    """Sizes of one heart, mm: a left ventricle shaped like a bullet, a right one around its side."""
    height: float
    radius: float
    wall: float
    right_radius: float
    right_offset: float
    right_wall: float = 4.4

    def inner(self, z):
        """Radius of the left cavity at a height."""
        return self.radius * np.sqrt(np.clip((z - 0.9 * self.wall) / (self.height - 0.9 * self.wall), 0, 1))

    def outer(self, z):
        return (self.radius + self.wall) * np.clip(z / self.height, 0, 1)**0.42

    def right(self, z):
        """Centre (..., 2) and radius of the right cavity."""
        share = np.clip((z / self.height - RIGHT_TIP) / (1 - RIGHT_TIP), 0, 1)
        centre = (self.right_offset * (0.6 + 0.4 * np.sqrt(share)))[..., None] * _way(SEPTUM_DEG)
        return centre, self.right_radius * np.sqrt(share)

    def depths_mm(self, places):
        """Distances (n,) from the left cavity, to the left outside, from the right cavity; all positive outwards."""
        z = places[:, 2]
        away, (centre, radius) = np.linalg.norm(places[:, :2], axis=1), self.right(z)
        return (away - self.inner(z), self.outer(z) - away, np.linalg.norm(places[:, :2] - centre, axis=1) - radius)

    def muscle(self, places):
        left, outside, right = self.depths_mm(places)
        share = places[:, 2] / self.height
        free_wall = (right >= 0) & (right <= self.right_wall) & (share > RIGHT_TIP)
        return (share >= 0) & (share <= 1) & np.where(outside >= 0, left >= 0, free_wall)


def _way(angle_deg):
    angle = np.radians(angle_deg)
    return np.stack([np.cos(angle), -np.sin(angle)], axis=-1)


@dataclass(frozen=True)
class World:
    """One heart in one body, ready for any beat."""
    shape: Bullets
    nodes_mm: np.ndarray        # (n, 3) middles of the cubes
    links: np.ndarray           # (links, 2) from cube to cube
    links_ms: np.ndarray        # (links,) how long a front takes
    touching: np.ndarray        # (faces, 2) cubes that share a face
    is_fast: np.ndarray         # (2, n) in the layer of the left and of the right cavity
    points_mm: np.ndarray       # (75, 3)
    electrodes_mm: np.ndarray   # (10, 3) in the heart's axes
    longer_ms: np.ndarray       # (n,) action potentials than the heart's mean


def draw_world(rng) -> World:
    """A heart and a body of this world; its speeds, fibres and recovery are all outside the first one's ranges."""
    shape = Bullets(*(rng.uniform(*limits) for limits in ((64, 74), (20, 26), (8, 11), (29, 35), (26, 31))))
    axes = [np.arange(low, high, STEP_MM) for low, high in ((-80, 45), (-45, 80), (STEP_MM / 2, shape.height))]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    nodes = nodes[shape.muscle(nodes)]
    left, outside, right = shape.depths_mm(nodes)
    is_left = outside >= 0
    depth = np.where(is_left, left / np.maximum(left + outside, 1e-6), right / shape.right_wall)
    from_right = np.where(is_left, np.where(right < 0, outside, np.inf), right)
    fast = np.stack([is_left & (left < LAYER_MM), from_right < LAYER_MM])
    centre = np.where(is_left[:, None], 0, shape.right(nodes[:, 2])[0])
    links, took = _links(shape, nodes, _slowness(rng, nodes[:, :2] - centre, depth, fast.any(axis=0)))
    longer = (rng.uniform(6, 12) * (0.5 - depth) + rng.uniform(4, 10) * (nodes[:, 2] / shape.height - 0.5)
              + rng.uniform(14, 24) * ~is_left)
    return World(shape, nodes, links, took, _faces(nodes), fast, _recording_points(shape), _electrodes(rng, nodes),
                 longer)


def _slowness(rng, outwards, depth, fast):
    """(n, 3, 3): inverse squares of speeds along and across fibres that turn through the wall."""
    along, across, layer = rng.uniform(0.66, 0.74), rng.uniform(0.33, 0.38), rng.uniform(0.66, 0.76)
    ring = np.stack([-outwards[:, 1], outwards[:, 0]], axis=1)
    ring /= np.maximum(np.linalg.norm(ring, axis=1, keepdims=True), 1e-6)
    angle = np.radians(FIBRES_DEG[0] + (FIBRES_DEG[1] - FIBRES_DEG[0]) * depth)[:, None]
    fibre = np.concatenate([np.cos(angle) * ring, np.sin(angle)], axis=1)
    tensor = across**-2 * np.eye(3) + (along**-2 - across**-2) * fibre[:, :, None] * fibre[:, None]
    tensor[fast] = layer**-2 * np.eye(3)
    return tensor


def _links(shape, nodes, slowness):
    """Straight ways between cubes up to two steps apart that stay in the muscle: (links, 2) and their times."""
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    steps = [step for step in steps if tuple(step) > (0, 0, 0) and np.gcd.reduce(step) == 1]
    tree, pairs = cKDTree(nodes), []
    for step in steps:
        gap, other = tree.query(nodes + STEP_MM * step, distance_upper_bound=0.1)
        here = np.flatnonzero(np.isfinite(gap))
        here = here[shape.muscle(nodes[here] + STEP_MM * step / 2)]
        pairs.append(np.stack([here, other[here]], axis=1))
    pairs = np.concatenate(pairs)
    way = nodes[pairs[:, 1]] - nodes[pairs[:, 0]]
    return pairs, np.sqrt(np.einsum("ni,nij,nj->n", way, slowness[pairs].mean(axis=1), way))


def _faces(nodes):
    pairs = cKDTree(nodes).query_pairs(1.1 * STEP_MM, output_type="ndarray")
    return pairs[np.lexsort(pairs.T)]       # in one order everywhere


def _place(shape, wall, angle_deg, height, depth):
    """(3,) mm in a wall, as in ``points``: angle, share of the height, share of the wall."""
    z = np.array(height * shape.height)
    if wall == "rv":
        centre, radius = shape.right(z)
        return np.append(centre + (radius + depth * shape.right_wall) * _way(angle_deg), z)
    inner, outer = shape.inner(z), shape.outer(z)
    return np.append((inner + (1 - depth if wall == "septum" else depth) * (outer - inner)) * _way(angle_deg), z)


def _recording_points(shape):
    """(75, 3) in the order of POINT_NAMES: the first world's angles turned, its heights lowered, other depths."""
    def point(name):
        if name.startswith("SEPTM"):
            left, right = name.split("_")[1:]
            return (point(left) + point(right)) / 2
        depth = DEPTHS[("MID", "EPI").index(name[:3]) + 1] if name[:3] in ("MID", "EPI") else DEPTHS[0]
        wall, number = name.split("_")[-1][:-2], int(name[-2:])
        if wall == "AHA":
            angle, height = (0, 0.07) if number == 17 else points.LV_PLACES[number - 1]
            return _place(shape, "lv", angle + TURNED_DEG, LOWER * height, depth)
        *septal, angle, height = points.RV_PLACES[number - 1]
        return _place(shape, "septum" if septal else "rv", angle + TURNED_DEG, LOWER * height, depth)
    return np.stack([point(name) for name in POINT_NAMES])


def _electrodes(rng, nodes):
    """(10, 3) mm in the heart's axes."""
    way = np.array([0.62, -0.50, -0.60]) + 0.08 * rng.normal(size=3)
    axes = heart_axes(way, np.array([-0.75, -0.65, 0.0]) + 0.08 * rng.normal(size=3), SEPTUM_DEG)
    skin = WAYS * BODY_MM / np.linalg.norm(WAYS, axis=1, keepdims=True)
    skin = rng.normal(1, 0.05) * skin + 6 * rng.normal(size=(10, 3))
    return (skin - np.array([14.0, -26.0, -25.0]) - 6 * rng.normal(size=3)) @ axes + nodes.mean(axis=0)


# ---- a beat ----

def simulate_beat(world: World, kind, rng):
    """Electrodes (500, 10) mV, voltages (500, 75) mV and the number of the recording point where it began, or None."""
    sites, factor, index = _excitation(world, kind, rng)
    arrival = _arrival(world, sites, factor) + rng.uniform(2, 10)
    mean = rng.uniform(255, 320)
    apd = np.maximum(mean + world.longer_ms - 0.8 * (arrival - np.median(arrival)), 150)
    electrodes = _leads(world, arrival, apd, rng)
    return electrodes, _at_points(world, arrival, apd, index), index


def _excitation(world, kind, rng):
    """Sites [(node, ms)], slowness factor (n,), number of a recording point or None."""
    factor, index = np.ones(len(world.nodes_mm)), None
    wanted = {"LBBB": RIGHT_SITES, "RBBB": LEFT_SITES}.get(kind, LEFT_SITES + RIGHT_SITES)
    places = [(_place(world.shape, wall, angle + 8 * rng.normal(), height + 0.04 * rng.normal(), 0.15),
               ms + 1.5 * rng.uniform()) for wall, angle, height, ms in wanted]
    if kind == "focal":
        index = int(rng.integers(len(POINT_NAMES)))
        places = [(world.points_mm[index], 0.0)]
    if kind == "sites":
        inner = np.flatnonzero(world.is_fast.any(axis=0))
        places = [(world.nodes_mm[k], rng.uniform(0, 8)) for k in rng.choice(inner, rng.integers(2, 7), replace=False)]
    for side, block in enumerate(("LBBB", "RBBB")):
        factor[world.is_fast[side]] = 1.7 if kind == block else 1.2 if kind in ("focal", "sites") else 1.0
    if kind == "scar":
        centre = world.nodes_mm[rng.choice(np.flatnonzero(world.nodes_mm[:, 0] > -15))]
        away = np.linalg.norm(world.nodes_mm - centre, axis=1) / rng.uniform(9, 20)
        factor = np.select([away < 0.55, away < 1], [np.inf if rng.random() < 0.5 else 5.0, 2.0], factor)
    node = cKDTree(world.nodes_mm).query([place for place, _ in places])[1]
    return list(zip(node, (ms for _, ms in places))), factor, index


def _arrival(world, sites, factor):
    """(n,) ms: the shortest ways from all sites at once; infinite in dead muscle."""
    n = len(world.nodes_mm)
    took = world.links_ms * factor[world.links].mean(axis=1)
    alive = np.isfinite(took)
    start = np.array([[n, node] for node, _ in sites])      # one more node, from which all sites are reached
    rows = np.concatenate([world.links[alive], world.links[alive][:, ::-1], start])
    times = np.concatenate([took[alive], took[alive], [ms + 1e-3 for _, ms in sites]])
    graph = sparse.coo_matrix((times, rows.T), shape=(n + 1, n + 1)).tocsr()
    arrival = csgraph.dijkstra(graph, indices=n)[:n]
    return np.where(np.isinf(factor), np.inf, arrival)


def _voltage(arrival, apd, rise_ms):
    """(cells, 500) mV: up, a slow way down, and recovery, all smooth; at rest where nothing arrives."""
    since = np.arange(SAMPLES, dtype=np.float32) - np.minimum(arrival, 1e4)[:, None].astype(np.float32)
    apd = apd[:, None].astype(np.float32)
    plateau = 1 - 0.22 * np.clip(since / apd, 0, 1)
    return REST_MV + HEIGHT_MV * expit(since / rise_ms) * plateau * expit((apd - since) / FALL_MS)


def _leads(world, arrival, apd, rng):
    """(500, 10) mV in an infinite medium: current flows between living cubes that share a face."""
    alive = np.isfinite(arrival)
    a, b = world.touching[alive[world.touching].all(axis=1)].T
    skin = world.electrodes_mm + 4 * rng.normal(size=(10, 3))
    potential = 1 / np.linalg.norm(world.nodes_mm[:, None] - skin, axis=2)      # (n, 10)
    weights = np.zeros_like(potential)
    np.add.at(weights, a, potential[a] - potential[b])
    np.add.at(weights, b, potential[b] - potential[a])
    heard = _voltage(arrival, np.where(alive, apd, 300), FRONT_MS).T @ weights.astype(np.float32)
    return -GAIN * STEP_MM / (4 * np.pi) * heard + 0.004 * rng.normal(size=heard.shape)


def _at_points(world, arrival, apd, index=None):
    """(500, 75) mV at the recording points, between the nearest cubes; at rest where the nearest is dead.

    The beat begins at point number ``index`` itself, not in the cube around it.
    """
    gap, near = cKDTree(world.nodes_mm).query(world.points_mm, k=4)
    share = np.where(np.isfinite(arrival[near]), 1 / (gap + 0.3)**2, 0)
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
    time, lasts = ((share * np.where(share > 0, values[near], 0)).sum(axis=1) for values in (arrival, apd))
    if index is not None:
        time[index] = arrival.min() - 0.5
    dead = np.isinf(arrival[near[:, 0]])
    return _voltage(np.where(dead, np.inf, time), np.where(dead, 300, lasts), RISE_MS).T


# ---- the dataset ----

def simulate_heart(seed, number, cases):
    """All cases of heart e``number``: (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table), float32."""
    world = draw_world(np.random.default_rng([seed, number, 77]))
    electrodes, voltages, rows = [], [], []
    for k in range(cases):
        kind = KINDS[k % len(KINDS)]
        heard, voltage, index = simulate_beat(world, kind, np.random.default_rng([seed, number, 77, k + 1]))
        electrodes.append(heard.astype(np.float32))
        voltages.append(voltage.astype(np.float32))
        rows.append(dict(heart=f"e{number}", pattern=None if kind == "focal" else k, innerindex=index, bcl=1000,
                         gkr=100, kind=kind, seed=seed))
    table = pd.DataFrame(rows).astype({"pattern": "Int64", "innerindex": "Int64"})
    return np.stack(electrodes), np.stack(voltages), table


def simulate(hearts=8, cases=50, seed=0, workers=None, progress=True):
    """Yields (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table) of hearts e1, e2, ... in order.

    As ``dataset.simulate_intracardiac`` does, and as reproducible; under a minute on two quiet cores.
    """
    if hearts < 1 or cases < 1:
        raise DataError(f"{hearts} hearts with {cases} cases each: there must be at least one of both.")
    jobs = [delayed(simulate_heart)(seed, number, cases) for number in range(1, hearts + 1)]
    return in_order(jobs, workers, progress, "hearts elsewhere")
