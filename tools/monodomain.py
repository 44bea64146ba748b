"""The check on the fast way: a wedge of muscle whose cells are all computed, and what the eikonal model says of it.

The monodomain equation, dV/dt = div(D grad V) - I_ion(V, gates) / C, is solved on a regular lattice: diffusion by
finite differences, then every cell's own step (operator splitting), with the cell of ``membrane``. The eikonal model
replaces all this with one number a node, the time at which the front passes, given the front's speed along and across
the fibres. Those speeds are measured here, on cables, and nothing else is fitted.

D has axes along the fibre, across it in the sheet and through the wall. Speed grows with the square root of D.
"""
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from cardiac_ml.files import DataError
from cardiac_ml.virtual import membrane
from cardiac_ml.virtual.compiled import compiled
from cardiac_ml.virtual.conduction import NEVER_MS, first_arrivals, make_paths, slowness_tensor
from cardiac_ml.virtual.membrane import V, advance
from cardiac_ml.virtual.mesh import mesh_solid

DIFFUSION = (0.154, 0.070, 0.048)   # mm2/ms along the fibre, across it, through the wall: about 0.66, 0.43, 0.34 m/s
FINE_MS, COARSE_MS = 0.02, 0.1
CYCLE_LENGTH_MS = 1000
FIRES_AFTER_MS = 1.2   # a stimulated cell's way to 0 mV


@dataclass(frozen=True)
class Wedge:
    """A block of wall: x, y along it, z through it, endocardium at z = 0."""
    step_mm: float
    points_mm: np.ndarray       # (nodes, 3), z runs fastest
    shape: tuple                # nodes along x, y, z
    fibre: np.ndarray           # (nodes, 3) unit vectors
    layer: np.ndarray           # (nodes,) 0 endo, 1 M, 2 epi
    helix_deg: tuple            # fibre angle at the endocardium and at the epicardium
    diffusion: tuple            # mm2/ms: along the fibre, across it, through the wall
    stiffness: sparse.csr_matrix    # (nodes, nodes) mm3/ms: minus div(D grad), times the node's volume
    volume_mm3: np.ndarray      # (nodes,)


def make_wedge(size_mm=(16.0, 12.0, 8.0), step_mm=0.25, helix_deg=(60.0, -60.0), diffusion=DIFFUSION) -> Wedge:
    """Fibres turn in the plane of the wall, from ``helix_deg[0]`` at the endocardium to ``helix_deg[1]`` outside.

    The inner third are endocardial cells, the middle third M cells. A size of 0 makes a sheet or a cable.
    """
    if step_mm <= 0 or min(diffusion) <= 0 or min(size_mm) < 0:
        raise DataError(f"A wedge of {size_mm} mm, step {step_mm} mm, diffusion {diffusion}: all must be positive.")
    shape = tuple(int(round(length / step_mm)) + 1 for length in size_mm)
    points = np.stack(np.meshgrid(*(step_mm * np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    depth = points[:, 2] / max(size_mm[2], step_mm)   # 0 endo .. 1 epi
    fibre = fibre_at(depth, helix_deg)
    layer = np.minimum((3 * depth).astype(int), 2)
    stiffness, volume = _stiffness(shape, step_mm, fibre, diffusion)
    return Wedge(step_mm, points, shape, fibre, layer, tuple(helix_deg), tuple(diffusion), stiffness, volume)


def fibre_at(depth, helix_deg):
    """Unit vectors (n, 3) at depths (n,) from 0 at the endocardium to 1 at the epicardium."""
    angle = np.radians(helix_deg[0] + (helix_deg[1] - helix_deg[0]) * depth)
    return np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)


def _stiffness(shape, h, fibre, diffusion):
    """Finite differences of -div(D grad V) that conserve charge and seal the faces: (nodes, nodes), volumes (nodes,).

    It is the second derivative of an energy: the sum over lattice edges of D_xx (difference)^2 / 2 (and y, z), and over
    lattice squares of D_xy (mean x difference)(mean y difference). The faces need no formula of their own.
    """
    along, across, through = diffusion
    tensor = along * fibre[:, :, None] * fibre[:, None, :]
    sheet = np.cross([0.0, 0.0, 1.0], fibre)
    tensor += across * sheet[:, :, None] * sheet[:, None, :]
    tensor[:, 2, 2] += through
    eye = [sparse.identity(n) for n in shape]
    step = [sparse.diags([-1.0, 1.0], [0, 1], shape=(n - 1, n)) / h for n in shape]
    mean = [sparse.diags([0.5, 0.5], [0, 1], shape=(n - 1, n)) for n in shape]
    half = [_ends_halved(n, h) for n in shape]

    def kron(a, b, c):
        return sparse.kron(sparse.kron(a, b), c).tocsr()

    def weighted(gradient, at, volume, entry):   # energy of one product of differences, ``at`` moves D to its place
        return gradient[0].T @ sparse.diags(volume * (at @ entry)) @ gradient[1]

    matrix = sparse.csr_matrix((len(fibre), len(fibre)))
    for axis in range(3):
        d = kron(*[step[i] if i == axis else eye[i] for i in range(3)])
        at = kron(*[mean[i] if i == axis else eye[i] for i in range(3)])
        volume = _outer(*[np.full(shape[i] - 1, h) if i == axis else half[i] for i in range(3)])
        matrix = matrix + weighted((d, d), at, volume, tensor[:, axis, axis])
    gx, gy, at = kron(step[0], mean[1], eye[2]), kron(mean[0], step[1], eye[2]), kron(mean[0], mean[1], eye[2])
    volume = _outer(np.full(shape[0] - 1, h), np.full(shape[1] - 1, h), half[2])
    cross = weighted((gx, gy), at, volume, tensor[:, 0, 1])
    return (matrix + cross + cross.T).tocsr(), _outer(*half)


def _ends_halved(n, h):
    """Length that belongs to each of n nodes in a row: (n,) mm; a single node stands for 1 mm of sheet or cable."""
    if n == 1:
        return np.ones(1)
    length = np.full(n, h)
    length[[0, -1]] = h / 2
    return length


def _outer(a, b, c):
    return (a[:, None, None] * b[:, None] * c).ravel()


@compiled
def _march(cells, v, kind, tables, rectifier, constants, matrix, steps, step_ms, time_ms, pushed, activation):
    """``steps`` steps of every cell, in place. The sparse ``matrix`` (values, columns, row starts) is div(D grad).

    ``pushed`` (nodes,) is the time at which a node's stimulus starts. Activation is the first crossing of 0 mV.
    """
    values, columns, starts = matrix
    for k in range(steps):
        time = time_ms + k * step_ms
        for i in range(len(cells)):
            flow = 0.0
            for at in range(starts[i], starts[i + 1]):
                flow += values[at] * v[columns[at]]
            if pushed[i] <= time < pushed[i] + membrane.STIMULUS_MS:
                flow += membrane.STIMULUS
            c = constants[kind[i]]
            advance(cells[i], flow, step_ms, tables[kind[i]], rectifier, (c[0], c[1], c[2]))
        for i in range(len(cells)):
            if np.isnan(activation[i]) and cells[i, V] > 0:
                activation[i] = time + step_ms * (1 - cells[i, V] / (cells[i, V] - v[i]))
            v[i] = cells[i, V]


@dataclass(frozen=True)
class Wave:
    """What a wave left behind."""
    activation_ms: np.ndarray    # (nodes,) NaN where it never came
    electrogram: np.ndarray      # (electrodes, times) one sample a ms from 0, arbitrary gain
    voltage_mv: np.ndarray       # (probes, times) at ``probes``


def stimulus_times(points_mm, sites):
    """When each node is stimulated: sites are (centre (3,) mm, radius mm, time ms) -> (nodes,) ms, inf where never."""
    pushed = np.full(len(points_mm), np.inf)
    for centre, radius, time in sites:
        inside = np.linalg.norm(points_mm - np.asarray(centre, float), axis=1) <= radius
        if not inside.any():
            raise DataError(f"No node within {radius} mm of the early site {tuple(centre)}: it is outside the muscle.")
        pushed[inside] = np.minimum(pushed[inside], time)
    return pushed


def solve(wedge: Wedge, sites, duration_ms=60, electrodes_mm=(), probes=()) -> Wave:
    """March the monodomain equation, with fine steps until 5 ms after the last node fires, then coarse ones.

    Cells start as paced once a second. Electrograms are those of an infinite medium (see ``lead_weights``).
    """
    cells, fixed = _cells_and_tables(wedge)
    pushed, activation, v = stimulus_times(wedge.points_mm, sites), np.full(len(cells), np.nan), cells[:, V].copy()
    weights = lead_weights(wedge, electrodes_mm)
    minus = sparse.diags(-1 / wedge.volume_mm3) @ wedge.stiffness
    matrix = minus.data, minus.indices, minus.indptr
    coarse = _largest_step(wedge)
    electrogram, voltage = np.empty((len(weights), duration_ms)), np.empty((len(probes), duration_ms))
    for time in range(duration_ms):
        electrogram[:, time], voltage[:, time] = weights @ v, v[list(probes)]
        step = coarse if time > np.max(np.nan_to_num(activation, nan=np.inf)) + 5 else FINE_MS
        _march(cells, v, wedge.layer, fixed[step], *fixed["same"], matrix, int(round(1 / step)), step, float(time),
               pushed, activation)
    return Wave(activation, electrogram, voltage)


def _largest_step(wedge):
    """COARSE_MS, or less where the lattice is so fine that explicit diffusion would blow up."""
    limit = 0.8 * wedge.step_mm**2 / 2 / sum(wedge.diffusion)
    return COARSE_MS if limit >= COARSE_MS else 1 / np.ceil(1 / limit)


def _cells_and_tables(wedge):
    states = np.stack([membrane.paced_cell(layer, CYCLE_LENGTH_MS) for layer in membrane.LAYERS])
    constants = np.array([membrane.cell_constants(layer) for layer in membrane.LAYERS])
    fixed = {"same": (membrane.rectifier_table(), constants)}
    for step in (FINE_MS, _largest_step(wedge)):
        fixed[step] = np.stack([membrane.voltage_table(step, layer == "endo") for layer in membrane.LAYERS])
    return states[wedge.layer], fixed


def lead_weights(wedge, electrodes_mm):
    """How much each node's voltage adds to each electrode: (electrodes, nodes), arbitrary gain.

    The heart's current source is div(D grad V); an electrode in an infinite medium sees each source divided by its
    distance. The operator is symmetric, so it can be applied to 1 / distance once and for all.
    """
    electrodes = np.asarray(electrodes_mm, float).reshape(-1, 3)
    distance = np.linalg.norm(electrodes[:, None] - wedge.points_mm, axis=2)
    return -(wedge.stiffness @ (1 / distance).T).T / (4 * np.pi)


def plane_wave_speed(diffusion, step_mm=0.25, layer=2, length_mm=16.0):
    """Speed in m/s (= mm/ms) of a front along a cable with this D (mm2/ms), measured over its middle half.

    A plane front along a lattice axis is a cable, so the cable has the wedge's own discretisation error.
    """
    cable = make_wedge((length_mm, 0, 0), step_mm, (0, 0), (diffusion,) * 3)
    cable = Wedge(**{**cable.__dict__, "layer": np.full(len(cable.points_mm), layer)})
    t = solve(cable, [((0, 0, 0), 1.0, 0.0)], int(length_mm / 0.15)).activation_ms
    x = cable.points_mm[:, 0]
    middle = (x > length_mm / 4) & (x < 3 * length_mm / 4)
    return 1 / np.polyfit(x[middle], t[middle], 1)[0]


# ---- the eikonal model of the same wedge ----

SITES = (((4.0, 4.0, 0.0), 1.0, 0.0), ((14.0, 10.0, 0.0), 1.0, 8.0))   # two early sites on the endocardium
ELECTRODES_MM = ((8.0, 6.0, 40.0), (-30.0, 6.0, 4.0), (8.0, 50.0, 4.0))   # off the epicardium, and off two sides


@dataclass(frozen=True)
class Comparison:
    """The monodomain solution beside the eikonal one, at the wedge's nodes."""
    wedge: Wedge
    wave: Wave
    speeds_mm_ms: tuple                # measured on cables: along the fibre, across it, through the wall
    eikonal_ms: np.ndarray             # (nodes,)
    eikonal_electrogram: np.ndarray    # (electrodes, times)

    @property
    def mean_error_ms(self):
        return float(np.abs(self.eikonal_ms - self.wave.activation_ms).mean())

    @property
    def correlations(self):
        """Of the electrograms of each electrode: (electrodes,)."""
        pairs = zip(self.wave.electrogram, self.eikonal_electrogram, strict=True)
        return np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])


def compare(size_mm=(16.0, 12.0, 8.0), step_mm=0.25, eikonal_step_mm=1.0, sites=SITES, electrodes_mm=ELECTRODES_MM,
            duration_ms=60) -> Comparison:
    """Solve a wedge both ways. About 40 s at 0.25 mm, 12 s at 0.4 mm."""
    wedge = make_wedge(size_mm, step_mm)
    wave = solve(wedge, sites, duration_ms, electrodes_mm)
    if np.isnan(wave.activation_ms).any():
        raise DataError(f"After {duration_ms} ms the front has not reached all of the wedge: ask for more.")
    speeds = tuple(plane_wave_speed(d, step_mm) for d in wedge.diffusion)
    eikonal = eikonal_activation(wedge, sites, speeds, eikonal_step_mm)
    trace = lead_weights(wedge, electrodes_mm) @ eikonal_voltage(wedge, eikonal, duration_ms)
    return Comparison(wedge, wave, speeds, eikonal, trace)


def eikonal_activation(wedge, sites, speeds_mm_ms, step_mm=1.0):
    """Arrival times (nodes,) at the wedge's nodes, solved on tetrahedra of ``step_mm``.

    Around a site, where curvature and the stimulus count, times come straight from the distance to its rim.
    """
    upper = wedge.points_mm.max(axis=0)
    nodes, tetrahedra = mesh_solid(lambda p: np.max(np.maximum(-p, p - upper), axis=1), (0, 0, 0), upper, step_mm)
    fibre, through = fibre_at(nodes[:, 2] / upper[2], wedge.helix_deg), np.tile([0.0, 0.0, 1.0], (len(nodes), 1))
    tensor = slowness_tensor(fibre, through, np.tile(speeds_mm_ms, (len(nodes), 1)))
    start = np.full(len(nodes), NEVER_MS)
    for centre, radius, time in sites:
        away = nodes - centre
        took = np.sqrt(np.einsum("ni,nij,nj->n", away, tensor, away))
        distance = np.linalg.norm(away, axis=1)
        took *= np.maximum(1 - radius / np.maximum(distance, 1e-9), 0)   # the whole ball fires at once
        near = distance < radius + 2 * step_mm
        start[near] = np.minimum(start[near], time + FIRES_AFTER_MS + took[near])
    arrival = first_arrivals(make_paths(nodes, tetrahedra, tensor), start[:, None], np.ones((len(nodes), 1)))[:, 0]
    inside = LinearNDInterpolator(nodes, arrival)(wedge.points_mm)
    return np.where(np.isnan(inside), NearestNDInterpolator(nodes, arrival)(wedge.points_mm), inside)


def eikonal_voltage(wedge, activation_ms, duration_ms):
    """(nodes, times) mV: the table's action potential of each node's layer, started at its time."""
    table, time = membrane.action_potential_table(), np.arange(duration_ms)
    voltage = np.empty((len(activation_ms), duration_ms), np.float32)
    for k, layer in enumerate(membrane.LAYERS):
        here = wedge.layer == k
        since = (time - activation_ms[here, None] - table.time_ms[0]) / (table.time_ms[1] - table.time_ms[0])
        row = np.clip(np.rint(since), 0, len(table.time_ms) - 1).astype(int)
        voltage[here] = table.voltage(layer, CYCLE_LENGTH_MS)[row]
    return voltage
