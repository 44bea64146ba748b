"""One virtual patient: a heart in a body, and any beat of it at every node, at the recording points and on the skin.

>>> patient = draw_patient(seed=0, number=1)                                           # doctest: +SKIP
>>> rng = np.random.default_rng(0)                                                     # doctest: +SKIP
>>> beats = simulate_beats(patient, [normal(patient.heart, rng), lbbb(patient.heart, rng)])   # doctest: +SKIP
>>> beats.activation_ms[0]; beats.point_ms[1]                                          # doctest: +SKIP
>>> ecg_mv = to_leads(electrodes_mv(patient, beats, 0))                                # doctest: +SKIP

What does not change from beat to beat is prepared once (0.5 s). Beats of one heart are solved side by side, so a list
of sixteen takes little longer than a single one.
"""
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cardiac_ml.files import DataError
from cardiac_ml.virtual import population, signals, torso
from cardiac_ml.virtual.anatomy import Heart, Shape, build_heart, draw_shape
from cardiac_ml.virtual.conduction import NEVER_MS, Paths, first_arrivals, make_paths, slowness_tensor
from cardiac_ml.virtual.mesh import volumes_mm3
from cardiac_ml.virtual.patterns import Excitation
from cardiac_ml.virtual.points import Places, find_places, pulled_in, recording_points
from cardiac_ml.virtual.torso import Torso

SEED_MM = 3.2      # nodes this close to an early site get their time straight from it
FINE_MM = 2.0      # coarser meshes may miss a recording point in a thin wall: it is pulled in
AVERAGE = population.middle("speeds")


@dataclass(frozen=True)
class Speeds:
    """mm/ms: along the fibre, across it, through the wall, and in the fast layer on the inner surfaces."""
    along: float = AVERAGE["along"]
    across: float = AVERAGE["along"] * AVERAGE["across"]
    through: float = AVERAGE["along"] * AVERAGE["through"]
    layer: float = AVERAGE["layer"]

    def __post_init__(self):
        if not min(self.along, self.across, self.through, self.layer) > 0:
            raise DataError(f"Speeds must be positive, found {self}.")

    @property
    def muscle(self):
        """Outside the fast layer: along, across, through."""
        return self.along, self.across, self.through


def draw_speeds(rng, width=1.0) -> Speeds:
    along, across, through, layer = population.draw(rng, "speeds", width).values()
    return Speeds(along, along * across, along * through, layer)


@dataclass(frozen=True)
class Patient:
    """A heart in a body, with everything that stays the same from beat to beat."""
    heart: Heart
    torso: Torso
    repolarisation: signals.Repolarisation
    speeds: Speeds
    tensor: np.ndarray             # (n, 3, 3) slowness
    paths: Paths
    stiffness: sparse.csr_matrix   # (n, n) S/m mm
    volume_mm3: np.ndarray         # (n,)
    layer: np.ndarray              # (n,) number in membrane.LAYERS
    points: Places                 # the 75 recording points


def make_patient(shape=Shape(), body=None, repolarisation=signals.Repolarisation(), speeds=Speeds(), step_mm=2.0):
    """Prepares a Patient; the defaults are the average heart in an average body."""
    heart = build_heart(shape, step_mm)
    body = torso.around(heart, body or torso.average_torso(shape.rv_angle_deg))
    n = len(heart.nodes_mm)
    v = np.tile(speeds.muscle, (n, 1))
    v[np.minimum(heart.lv_endo_mm, heart.rv_endo_mm) <= shape.layer_mm] = speeds.layer
    tensor = slowness_tensor(heart.fibre, heart.through, v)
    share = volumes_mm3(heart.nodes_mm, heart.tetrahedra) / 4
    points_mm = recording_points(shape)
    if step_mm > FINE_MM:
        points_mm = pulled_in(heart, points_mm)
    return Patient(heart, body, repolarisation, speeds, tensor,
                   make_paths(heart.nodes_mm, heart.tetrahedra, tensor),
                   torso.stiffness(heart, speeds.muscle),
                   np.bincount(heart.tetrahedra.ravel(), np.repeat(share, 4), minlength=n).astype(np.float32),
                   signals.layer_of(heart), find_places(heart, points_mm))


def draw_patient(seed, number, step_mm=2.0, width=1.0) -> Patient:
    """Patient ``number`` of the population of a seed; ``width``: how far from the average patients are."""
    rng = np.random.default_rng([seed, number, 0])
    shape = draw_shape(rng, width)
    body = torso.draw_torso(rng, shape.rv_angle_deg, width)
    return make_patient(shape, body, signals.draw_repolarisation(rng, width), draw_speeds(rng, width), step_mm)


@dataclass(frozen=True)
class Beats:
    """Beats of one heart: where the fronts came when, and how long each cell stayed active. NaN: never."""
    excitations: list
    bcl: np.ndarray             # (beats,) cycle length, ms
    g_kr: np.ndarray            # (beats,) factor on the rapid delayed rectifier
    activation_ms: np.ndarray   # (beats, n)
    apd_ms: np.ndarray          # (beats, n)
    point_ms: np.ndarray        # (beats, 75) activation
    point_apd_ms: np.ndarray    # (beats, 75)


def simulate_beats(patient: Patient, excitations: list[Excitation], bcl=1000, g_kr=1.0, onset_ms=0.0,
                   speed=1.0) -> Beats:
    """Activation and duration everywhere. The last four are one value, or one a beat; ``speed`` is a factor on all."""
    if not excitations:
        raise DataError("No beat to simulate: the list of excitations is empty.")
    bcl, g_kr, onset, speed = (np.broadcast_to(value, len(excitations)) for value in (bcl, g_kr, onset_ms, speed))
    if not (np.min(speed) > 0 and np.min(onset) >= 0):
        raise DataError(f"Speed factors must be positive and onsets not negative, found {np.min(speed)} and "
                        f"{np.min(onset)} ms.")
    slowness = np.stack([beat.slowness / s for beat, s in zip(excitations, speed)], axis=1)
    starts, direct = zip(*(_starts(patient, beat, s) for beat, s in zip(excitations, speed)))
    arrival = first_arrivals(patient.paths, np.stack(starts, axis=1), slowness)
    if (silent := np.isnan(arrival).all(axis=0)).any():
        raise DataError(f"Beat {silent.argmax()} ({excitations[silent.argmax()].kind}) never starts: all of its early "
                        "sites lie in dead muscle. Move them or the scar.")
    apd = _durations(patient, excitations, arrival, bcl, g_kr).T
    activation = arrival.T + onset[:, None].astype(np.float32)
    points = [_at_points(patient.points, values) for values in (activation, apd)]
    straight = np.stack(direct) + onset[:, None]
    times = np.where(straight < NEVER_MS, np.minimum(points[0], straight), points[0])
    return Beats(list(excitations), bcl, g_kr, activation, apd, times, points[1])


def _starts(patient, beat, speed):
    """Times around the early sites, straight from them, NEVER_MS elsewhere: at nodes (n,), at points (75,)."""
    targets = patient.heart.nodes_mm, patient.points.points_mm
    starts = [np.full(len(points), NEVER_MS) for points in targets]
    sites = find_places(patient.heart, np.array([place for place, _ in beat.sites]))
    for (place, ms), corners in zip(beat.sites, sites.corners):
        tensor, factor = patient.tensor[corners].mean(axis=0), beat.slowness[corners].min() / speed
        if np.isinf(factor):
            continue                                    # dead muscle: this site is silent
        for points, times in zip(targets, starts):
            away = points - place
            near = np.flatnonzero((away**2).sum(axis=1) < SEED_MM**2)
            took = factor * np.sqrt(np.einsum("ni,ij,nj->n", away[near], tensor, away[near]))
            times[near] = np.minimum(times[near], ms + took)
    return starts


def _durations(patient, excitations, arrival, bcl, g_kr):
    """(n, beats) ms: own durations, evened out between neighbours."""
    wanted = arrival + np.stack([
        signals.own_durations(patient.heart, patient.repolarisation, int(b), float(g)) + beat.apd_shift_ms
        for beat, b, g in zip(excitations, bcl, g_kr)], axis=1)
    wanted = np.where(np.isnan(wanted), np.nanmean(wanted, axis=0), wanted)     # dead nodes pull no neighbour far
    spread = patient.stiffness * np.float32(patient.repolarisation.coupling_mm**2 / torso.SIGMA_FIBRE)
    return signals.coupled(spread, patient.volume_mm3, wanted) - arrival


def _at_points(places, values):
    """Values (beats, n) at the nodes -> (beats, p) at places; NaN where most of the surroundings never activate."""
    corner = values[:, places.corners]                              # (beats, p, 4)
    share = np.where(np.isnan(corner), 0, places.share)
    total = share.sum(axis=-1)
    return np.where(total > 0.5, (share * np.nan_to_num(corner)).sum(axis=-1) / np.maximum(total, 1e-6), np.nan)


def voltages_mv(patient: Patient, beats: Beats, number) -> np.ndarray:
    """Transmembrane voltage (75, 500) of beat ``number`` at the recording points."""
    points = patient.points
    layer = patient.layer[points.corners[np.arange(len(points.share)), points.share.argmax(axis=1)]]
    return signals.voltage_of(beats.point_ms[number], beats.point_apd_ms[number], layer, int(beats.bcl[number]),
                              float(beats.g_kr[number]))


def lead_weights(patient: Patient, beats: Beats, number, body=None, lead_field="sphere") -> np.ndarray:
    """Weights (10, n) of every node's voltage for beat ``number`` in a body (the patient's own if None).

    Dead muscle carries no current, so its tetrahedra are left out; injured cells count by their smaller amplitude.
    """
    dead, matrix = np.isnan(beats.activation_ms[number]), patient.stiffness
    if dead.any():
        gone = dead[patient.heart.tetrahedra].any(axis=1)
        matrix = matrix - torso.stiffness(patient.heart, patient.speeds.muscle, gone)
    weights = torso.lead_field(patient.heart, matrix, body or patient.torso, lead_field)
    height = beats.excitations[number].amplitude
    return weights if height is None else weights * height.astype(np.float32)


def electrodes_mv(patient: Patient, beats: Beats, number, body=None, lead_field="sphere", samples=500) -> np.ndarray:
    """Potential (10, samples) of beat ``number`` at RA LA LL RL V1..V6. ``samples``: up to 800, 1 ms each."""
    weights = lead_weights(patient, beats, number, body, lead_field)
    return signals.ecg_of(weights, beats.activation_ms[number], beats.apd_ms[number], patient.layer,
                          int(beats.bcl[number]), float(beats.g_kr[number]), samples)
