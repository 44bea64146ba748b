"""From activation times to voltages: action potentials that start when the front comes and last as long as they should.

Action potentials are shorter at the epicardium than at the endocardium and shorter at the apex than at the base, so
that cells which activate last recover first and T points where QRS does (Franz, Bargheer, Rafflenbeul, Haverich and
Lichtlen, Circulation 75:379, 1987). Alone, M cells would last 100 ms longer than their neighbours; in the wall they are
coupled, and currents between them even recovery times out: (1 - lambda^2 Laplacian) R = activation + own duration.

The ECG is a sum over 20000 nodes, but nodes that activate together and last equally long can be added up first: weights
are sorted into bins of activation time and duration, and each bin row is convolved with its action potential.
"""
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from cardiac_ml.virtual import population
from cardiac_ml.virtual.anatomy import Heart
from cardiac_ml.virtual.compiled import compiled
from cardiac_ml.virtual.membrane import LAYERS, action_potential_table, table_time

SAMPLES = 500
LONG = 1024                      # room for a convolution of two traces
SHORTEST_MS, LEVEL_MS, LEVELS = 180.0, 10.0, 42
FRONT_MS = 1.8         # a node stands for 2 mm of muscle, which the front takes some ms to cross (standard deviation)
GRADIENT_MM = 40.0     # half the heart's width
AVERAGE = population.middle("repolarisation")
M_SHARE = 0.15         # of the M cells' own extra duration survives in the wall


@lru_cache(maxsize=1)
def action_potentials():
    """The table of action potentials, read once a process."""
    return action_potential_table()


def layer_of(heart: Heart):
    """(n,) number in LAYERS of each node's cell; the right side of the septum is endocardial too."""
    layer = np.digitize(heart.depth, (0.4, 0.6))
    return np.where(heart.rv_endo_mm < 0.3 * heart.shape.wall_mm, np.where(heart.is_left, 0, layer), layer)


@dataclass(frozen=True)
class Repolarisation:
    """How the cells' own durations differ inside a heart, ms, before coupling halves the differences."""
    longer_ms: float = AVERAGE["longer_ms"]                  # everywhere
    epi_minus_endo_ms: float = AVERAGE["epi_minus_endo_ms"]
    base_minus_apex_ms: float = AVERAGE["base_minus_apex_ms"]
    right_minus_left_ms: float = AVERAGE["right_minus_left_ms"]
    inferior_minus_anterior_ms: float = AVERAGE["inferior_minus_anterior_ms"]   # per GRADIENT_MM
    lateral_minus_septal_ms: float = AVERAGE["lateral_minus_septal_ms"]         # per GRADIENT_MM
    coupling_mm: float = AVERAGE["coupling_mm"]              # lambda, along the fibre


def draw_repolarisation(rng, width=1.0) -> Repolarisation:
    return Repolarisation(**population.draw(rng, "repolarisation", width))


def own_durations(heart: Heart, own: Repolarisation, bcl, g_kr):
    """(n,) ms: what each cell's action potential would last if only its layer and place mattered."""
    table = action_potentials()
    endo, middle = (table.apd(layer, bcl, g_kr) for layer in ("endo", "M"))
    bump = M_SHARE * (middle - endo) * np.exp(-((heart.depth - 0.5) / 0.2)**2)
    lateral, inferior, _ = ((heart.nodes_mm - heart.nodes_mm.mean(axis=0)) / GRADIENT_MM).T
    return (endo + own.longer_ms + bump + own.epi_minus_endo_ms * (heart.depth - 0.5)
            + own.base_minus_apex_ms * (heart.height - 0.5) + own.right_minus_left_ms * (~heart.is_left - 0.35)
            + own.inferior_minus_anterior_ms * inferior + own.lateral_minus_septal_ms * lateral)


def coupled(matrix, volume_mm3, wanted_ms, steps=18):
    """Recovery times (n, cases) after neighbours have evened them out: conjugate gradients for (1 + K') R = wanted.

    ``matrix`` is K' in mm3, a stiffness times lambda^2; these steps leave errors of 0.2 ms.
    """
    mass = volume_mm3[:, None]
    x = wanted_ms.astype(np.float32)
    r = -(matrix @ x)                        # right side mass * wanted, first guess wanted
    z = r / (mass + matrix.diagonal()[:, None])
    p, size = z.copy(), np.einsum("nc,nc->c", r, z)
    for _ in range(steps):
        ap = mass * p + matrix @ p
        step = size / np.maximum(np.einsum("nc,nc->c", p, ap), 1e-12)
        x += step * p
        r -= step * ap
        z = r / (mass + matrix.diagonal()[:, None])
        new = np.einsum("nc,nc->c", r, z)
        p = z + (new / np.maximum(size, 1e-12)) * p
        size = new
    return x


@lru_cache(maxsize=8)
def _waves(bcl, g_kr):
    """Spectra (layers, levels, frequencies) of action potentials above rest, one for every duration level."""
    table, time = action_potentials(), np.arange(LONG) - np.where(np.arange(LONG) >= LONG - 20, LONG, 0.0)
    waves = np.empty((len(LAYERS), LEVELS, LONG), np.float32)
    for k, layer in enumerate(LAYERS):
        v, rest = table.voltage(layer, bcl, g_kr), table.rest(layer, bcl, g_kr)
        for level in range(LEVELS):
            since = table_time(time, table.apd(layer, bcl, g_kr), SHORTEST_MS + LEVEL_MS * level)
            waves[k, level] = np.interp(since, table.time_ms, v, left=rest, right=rest) - rest
    frequency = np.arange(LONG // 2 + 1) / LONG
    blur = np.exp(-2 * (np.pi * frequency * FRONT_MS)**2).astype(np.float32)
    return fft.rfft(waves) * blur


@compiled
def _bin(weights, activation, level, layer, bins):
    """Adds the weights (electrodes, n) to bins (layers, levels, electrodes, LONG), shared between the nearest four."""
    for i in range(len(activation)):
        if not (activation[i] >= 0 and activation[i] < SAMPLES - 1):     # never, or too late to be heard
            continue
        k, d = int(activation[i]), int(level[i])
        late, far = activation[i] - np.float32(k), level[i] - np.float32(d)
        for e in range(weights.shape[0]):
            w = weights[e, i]
            bins[layer[i], d, e, k] += w * (1 - late) * (1 - far)
            bins[layer[i], d, e, k + 1] += w * late * (1 - far)
            bins[layer[i], d + 1, e, k] += w * (1 - late) * far
            bins[layer[i], d + 1, e, k + 1] += w * late * far


def ecg_of(weights, activation_ms, apd_ms, layer, bcl=1000, g_kr=1.0, samples=SAMPLES, waves=None):
    """Electrode potentials (10, samples) mV, 1 ms each, from weights (10, n) and (n,) times, durations, layers.

    ``waves``: spectra (layers, levels, frequencies) of other cells' action potentials above rest.
    """
    waves = _waves(bcl, g_kr) if waves is None else waves
    level = (np.clip(np.nan_to_num(apd_ms, nan=300), SHORTEST_MS, SHORTEST_MS + LEVEL_MS * (LEVELS - 1.01))
             - SHORTEST_MS) / LEVEL_MS
    low, high = int(level.min()), int(level.max()) + 2
    bins = np.zeros((len(LAYERS), high - low, len(weights), LONG), np.float32)
    _bin(np.ascontiguousarray(weights, np.float32), activation_ms.astype(np.float32), (level - low).astype(np.float32),
         layer, bins)
    spectrum = np.einsum("klef,klf->ef", fft.rfft(bins), waves[:, low:high])
    return fft.irfft(spectrum, LONG)[:, :samples]


def voltage_of(activation_ms, apd_ms, layer, bcl=1000, g_kr=1.0):
    """Voltage (points, 500) mV of cells with (points,) activation, duration and layer; NaN: they stay at rest."""
    table = action_potentials()
    time = np.arange(SAMPLES)
    voltage = np.empty((len(activation_ms), SAMPLES), np.float32)
    for i, (start, apd, k) in enumerate(zip(activation_ms, apd_ms, layer)):
        v, rest = table.voltage(LAYERS[k], bcl, g_kr), table.rest(LAYERS[k], bcl, g_kr)
        if np.isnan(start):
            voltage[i] = rest
            continue
        since = table_time(time - start, table.apd(LAYERS[k], bcl, g_kr), apd)
        voltage[i] = np.interp(since, table.time_ms, v, left=rest, right=rest)
    return voltage
