"""What one heart muscle cell does with its voltage: the human ventricular cell of ten Tusscher and Panfilov.

The membrane is a capacitor. Twelve currents charge and discharge it, C dV/dt = -(sum of currents); each current is a
conductance times gates that open and close with the voltage times the distance from its reversal voltage. Gate y runs
towards y_inf(V) with a time constant tau(V), which has an exact solution over a short step (Rush and Larsen 1978):
y <- y_inf + (y - y_inf) exp(-dt / tau). Calcium lives in three spaces: the cell, its store (the sarcoplasmic
reticulum) and the narrow cleft between them.

The model: K. H. W. J. ten Tusscher, A. V. Panfilov, Am J Physiol Heart Circ Physiol 291:H1088 (2006), with the sodium
and potassium currents of their first paper, Am J Physiol Heart Circ Physiol 286:H1573 (2004). Conductances in nS/pF,
currents in pA/pF, concentrations in mM, times in ms.

``action_potential_table()`` is what the rest of the virtual heart uses: action potentials of endocardial, mid-wall (M)
and epicardial cells, paced at two cycle lengths with more or less of the rapid delayed rectifier current I_Kr.
"""
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cardiac_ml.files import DataError, cached_arrays
from cardiac_ml.activation import apd90_ms, upstroke_ms
from cardiac_ml.virtual.compiled import compiled

LAYERS = ("endo", "M", "epi")
CYCLE_LENGTHS_MS = (600, 1000)
G_KR_FACTORS = (0.0, 0.5, 1.0, 1.5)
PLATEAU_FROM_MS = 40.0   # upstroke and notch before this are never stretched; after it time bends to a local APD

G_TO = {"endo": 0.073, "M": 0.294, "epi": 0.294}
G_KS = {"endo": 0.392, "M": 0.098, "epi": 0.392}
G_NA, G_CAL, G_KR, G_K1, G_PK = 14.838, 3.980e-5, 0.153, 5.405, 0.0146
G_PCA, G_BNA, G_BCA, P_NAK, K_NACA = 0.1238, 2.9e-4, 5.92e-4, 2.724, 1000.0
K_OUT, NA_OUT, CA_OUT = 5.4, 140.0, 2.0
RT_F = 8314.472 * 310 / 96485.3415               # mV
FARADAY = 96485.3415
CELL, RETICULUM, CLEFT = 0.016404, 0.001094, 5.468e-5   # volumes, nl
TO_MM = 0.185 / (CELL * FARADAY)                 # current to concentration a ms, one charge an ion
STIMULUS = 52.0                                  # pA/pF, for STIMULUS_MS
STIMULUS_MS = 1.0
DIFFUSION = 0.154                                # mm2/ms along the fibre: plane waves at 0.7 m/s

# One row of state: voltage, eleven voltage gates, the calcium gate, release, three calciums, sodium, potassium.
(V, M, H, J, XR1, XR2, XS, R, S, D, F, F2, FCASS, RELEASE, CA_SR, CA_SS, CA_I, NA_I, K_I) = range(19)
AT_REST = np.array([-85.4, 0.0016, 0.755, 0.755, 2e-4, 0.473, 0.0032, 2.3e-8, 1.0, 3.3e-5, 0.98, 0.9995, 0.9999, 0.99,
                    3.4, 2.1e-4, 1.0e-4, 9.0, 137.0])
GATES = 11
FINE_MS, COARSE_MS, FINE_UNTIL_MS = 0.02, 0.1, 25.0
LAST_MS = 760.0                                  # how long the recorded beat is followed
LOWEST_MV, TABLE_STEP_MV, TABLE_ROWS = -130.0, 0.1, 2301   # tables reach 100 mV


def _rise(v, middle, width):
    """The curve of nearly every gate: 0 far below ``middle``, 1 far above; the reverse where ``width`` is negative."""
    return 1 / (1 + np.exp((middle - v) / width))


def gate_curves(v, endocardial):
    """Where the eleven gates head to and how fast, by voltage: (n,) mV -> y_inf (11, n), tau (11, n) in ms."""
    low = v < -40
    beta_h = np.where(low, 2.7 * np.exp(0.079 * v) + 3.1e5 * np.exp(0.3485 * v), 0.77 / 0.13 * _rise(v, -10.66, 11.1))
    alpha_h = np.where(low, 0.057 * np.exp(-(v + 80) / 6.8), 0)
    alpha_j = np.where(low, (-2.5428e4 * np.exp(0.2444 * v) - 6.948e-6 * np.exp(-0.04391 * v)) * (v + 37.78)
                       * _rise(v, -79.23, -1 / 0.311), 0)
    beta_j = np.where(low, 0.02424 * np.exp(-0.01052 * v) * _rise(v, -40.14, 1 / 0.1378),
                      0.6 * np.exp(0.057 * v) * _rise(v, -32, 10))
    h_inf = _rise(v, -71.55, -7.43) ** 2
    if endocardial:
        s = _rise(v, -28, -5), 1000 * np.exp(-(v + 67) ** 2 / 1000) + 8
    else:
        s = _rise(v, -20, -5), 85 * np.exp(-(v + 45) ** 2 / 320) + 5 * _rise(v, 20, -5) + 3
    curves = [
        (_rise(v, -56.86, 9.03) ** 2, _rise(v, -60, 5) * (0.1 * _rise(v, -35, -5) + 0.1 * _rise(v, 50, -200))),  # m
        (h_inf, 1 / (alpha_h + beta_h)),
        (h_inf, 1 / (alpha_j + beta_j)),
        (_rise(v, -26, 7), 450 * _rise(v, -45, 10) * 6 * _rise(v, -30, -11.5)),                                  # xr1
        (_rise(v, -88, -24), 3 * _rise(v, -60, 20) * 1.12 * _rise(v, 60, -20)),                                  # xr2
        (_rise(v, -5, 14), 1400 * np.sqrt(_rise(v, 5, 6)) * _rise(v, 35, -15) + 80),                             # xs
        (_rise(v, 20, 6), 9.5 * np.exp(-(v + 40) ** 2 / 1800) + 0.8),                                            # r
        s,
        (_rise(v, -8, 7.5), (1.4 * _rise(v, -35, 13) + 0.25) * 1.4 * _rise(v, -5, -5) + _rise(v, 50, 20)),       # d
        (_rise(v, -20, -7), 1102.5 * np.exp(-(v + 27) ** 2 / 225) + 200 * _rise(v, 13, 10)
         + 180 * _rise(v, -30, -10) + 20),                                                                       # f
        (0.67 * _rise(v, -35, -7) + 0.33, 562 * np.exp(-(v + 27) ** 2 / 240) + 31 * _rise(v, 25, 10)
         + 80 * _rise(v, -30, -10)),                                                                             # f2
    ]
    return np.stack([y for y, _ in curves]), np.stack([tau for _, tau in curves])


def voltage_table(step_ms, endocardial):
    """All that depends on voltage alone, every 0.1 mV from -130 to 100 mV: (2301, 28), one row read a cell and step.

    Columns: 11 targets y_inf, 11 decays exp(-dt / tau), then pump, plateau potassium, exchanger (2), I_CaL (2).
    """
    v = LOWEST_MV + TABLE_STEP_MV * np.arange(TABLE_ROWS)
    target, tau = gate_curves(v, endocardial)
    pump = P_NAK * K_OUT / (K_OUT + 1) / (1 + 0.1245 * np.exp(-0.1 * v / RT_F) + 0.0353 * np.exp(-v / RT_F))
    plateau = G_PK * _rise(v, 25, 5.98)
    exchange = K_NACA / (87.5**3 + NA_OUT**3) / (1.38 + CA_OUT) / (1 + 0.1 * np.exp(-0.65 * v / RT_F))
    inward, outward = exchange * np.exp(0.35 * v / RT_F) * CA_OUT, exchange * np.exp(-0.65 * v / RT_F) * NA_OUT**3 * 2.5
    x = 2 * (v + 1e-6 - 15) / RT_F   # the hair keeps 0 / 0 away at exactly 15 mV
    calcium = G_CAL * 2 * FARADAY * x / np.expm1(x)
    calcium_in, calcium_out = calcium * 0.25 * np.exp(x), calcium * CA_OUT
    columns = [*target, *np.exp(-step_ms / tau), pump, plateau, inward, outward, calcium_in, calcium_out]
    return np.ascontiguousarray(np.stack(columns, axis=1))


def rectifier_table():
    """Inward rectifier I_K1 (pA/pF) by distance from potassium's reversal voltage, on the same grid: (2301,)."""
    x = LOWEST_MV + TABLE_STEP_MV * np.arange(TABLE_ROWS) + 50   # -80 .. 150 mV from E_K
    alpha = 0.1 / (1 + np.exp(0.06 * (x - 200)))
    beta = (3 * np.exp(2e-4 * (x + 100)) + np.exp(0.1 * (x - 10))) / (1 + np.exp(-0.5 * x))
    return G_K1 * alpha / (alpha + beta) * x


@compiled
def advance(cell, inflow, step_ms, table, rectifier, constants):
    """One step of one cell (19,), in place; ``inflow`` (mV/ms) is what neighbours and a stimulus push in."""
    g_to, g_ks, g_kr = constants
    v = cell[V]
    place = (v - LOWEST_MV) / TABLE_STEP_MV
    i = min(max(int(place), 0), TABLE_ROWS - 2)
    b = place - i
    a = 1 - b
    for gate in range(GATES):
        target = a * table[i, gate] + b * table[i + 1, gate]
        decay = a * table[i, gate + GATES] + b * table[i + 1, gate + GATES]
        cell[1 + gate] = target + (cell[1 + gate] - target) * decay
    pump, plateau = a * table[i, 22] + b * table[i + 1, 22], a * table[i, 23] + b * table[i + 1, 23]
    inward, outward = a * table[i, 24] + b * table[i + 1, 24], a * table[i, 25] + b * table[i + 1, 25]
    cal_in, cal_out = a * table[i, 26] + b * table[i + 1, 26], a * table[i, 27] + b * table[i + 1, 27]
    na, k, ca = cell[NA_I], cell[K_I], cell[CA_I]
    e_k, e_na, e_ca = RT_F * np.log(K_OUT / k), RT_F * np.log(NA_OUT / na), RT_F / 2 * np.log(CA_OUT / ca)
    e_ks = RT_F * np.log((K_OUT + 0.03 * NA_OUT) / (k + 0.03 * na))
    place = (v - e_k - 50 - LOWEST_MV) / TABLE_STEP_MV
    i = min(max(int(place), 0), TABLE_ROWS - 2)
    i_k1 = rectifier[i] + (place - i) * (rectifier[i + 1] - rectifier[i])
    i_na = G_NA * cell[M] ** 3 * cell[H] * cell[J] * (v - e_na) + G_BNA * (v - e_na)
    i_k = ((g_to * cell[R] * cell[S] + g_kr * cell[XR1] * cell[XR2] + plateau) * (v - e_k) + i_k1
           + g_ks * cell[XS] ** 2 * (v - e_ks))
    i_cal = cell[D] * cell[F] * cell[F2] * cell[FCASS] * (cal_in * cell[CA_SS] - cal_out)
    i_nak = pump * na / (na + 40)
    i_naca = inward * na**3 - outward * ca
    i_ca = G_PCA * ca / (5e-4 + ca) + G_BCA * (v - e_ca)
    calcium_step(cell, i_cal, i_ca - 2 * i_naca, step_ms)
    cell[NA_I] -= step_ms * TO_MM * (i_na + 3 * i_nak + 3 * i_naca)
    cell[K_I] -= step_ms * TO_MM * (i_k - 2 * i_nak)
    cell[V] += step_ms * (inflow - i_na - i_k - i_cal - i_nak - i_naca - i_ca)


@compiled
def calcium_step(cell, i_cal, i_membrane, step_ms):
    """Calcium that enters the cleft opens the store, which empties into cleft and cell; pumps fill it again."""
    sr, ss, ca = cell[CA_SR], cell[CA_SS], cell[CA_I]
    cleft_full = (ss / 0.05) ** 2
    fcass_target = 0.6 / (1 + cleft_full) + 0.4
    cell[FCASS] = fcass_target + (cell[FCASS] - fcass_target) * np.exp(-step_ms / (80 / (1 + cleft_full) + 2))
    load = 2.5 - 1.5 / (1 + (1.5 / sr) ** 2)
    opening = 0.15 / load * ss**2
    open_part = opening * cell[RELEASE] / (0.06 + opening)
    cell[RELEASE] += step_ms * (0.005 * (1 - cell[RELEASE]) - 0.045 * load * ss * cell[RELEASE])
    release, leak, across = 0.102 * open_part * (sr - ss), 3.6e-4 * (sr - ca), 0.0038 * (ss - ca)
    uptake = 0.006375 / (1 + (2.5e-4 / ca) ** 2)
    into_cleft = (release * RETICULUM - across * CELL) / CLEFT - i_cal * TO_MM / 2 * CELL / CLEFT
    into_cell = across - (uptake - leak) * RETICULUM / CELL - i_membrane * TO_MM / 2
    cell[CA_SR] += step_ms * (uptake - release - leak) / (1 + 10 * 0.3 / (sr + 0.3) ** 2)   # the rest is buffered
    cell[CA_SS] += step_ms * into_cleft / (1 + 0.4 * 2.5e-4 / (ss + 2.5e-4) ** 2)
    cell[CA_I] += step_ms * into_cell / (1 + 0.2 * 0.001 / (ca + 0.001) ** 2)


@compiled
def _paced_beat(cable, length_ms, tables, rectifier, constants, step_mm, trace):
    """One beat of a cable of cells (n, 19), n = 1 for a single cell, stimulated at its start; in place.

    Steps of FINE_MS while the wave passes, then COARSE_MS. ``trace`` (samples,), as long as it is, receives the middle
    cell's voltage every COARSE_MS.
    """
    n = len(cable)
    fine = int(round(COARSE_MS / FINE_MS))
    stimulated = min(n, 5)
    flow = np.zeros(n)
    for sample in range(int(round(length_ms / COARSE_MS))):
        time = sample * COARSE_MS
        if sample < len(trace):
            trace[sample] = cable[n // 2, V]
        steps, kind = (fine, 0) if time < FINE_UNTIL_MS else (1, 1)
        step = COARSE_MS / steps
        for _ in range(steps):
            for i in range(n):
                left, right = cable[max(i - 1, 0), V], cable[min(i + 1, n - 1), V]   # sealed ends
                flow[i] = DIFFUSION / step_mm**2 * (left - 2 * cable[i, V] + right)
                if i < stimulated and time < STIMULUS_MS:
                    flow[i] += STIMULUS
            for i in range(n):
                advance(cable[i], flow[i], step, tables[kind], rectifier, constants)


def cell_constants(layer, g_kr_factor=1.0):
    """The three conductances that differ between cells: g_to, g_Ks, g_Kr in nS/pF."""
    if layer not in LAYERS:
        raise DataError(f"The wall has no layer {layer!r}: choose one of {', '.join(LAYERS)}.")
    return G_TO[layer], G_KS[layer], G_KR * g_kr_factor


def _cable_tables(layer, g_kr_factor):
    """Voltage tables for fine and for coarse steps, and what else a step needs."""
    tables = np.stack([voltage_table(step, layer == "endo") for step in (FINE_MS, COARSE_MS)])
    return tables, rectifier_table(), cell_constants(layer, g_kr_factor)


def paced_cell(layer, cycle_length_ms, g_kr_factor=1.0, beats=60):
    """State (19,) of a single cell at the end of many beats, where it hardly changes from beat to beat.

    240 more beats would shorten its action potential by 1 to 2 %.
    """
    fixed = _cable_tables(layer, g_kr_factor)
    cell = AT_REST[None].copy()
    for _ in range(beats):
        _paced_beat(cell, cycle_length_ms, *fixed, 1.0, np.empty(0))
    return cell[0]


def pace(layer, cycle_length_ms, g_kr_factor, beats=60, cable_beats=3, length_mm=8.0, step_mm=0.2):
    """The last of many beats in the middle of a short cable: trace (samples,) of V every 0.1 ms from the stimulus.

    A single cell is paced first, then a cable of such cells, because the upstroke of tissue that a wave passes is lower
    and slower than that of a cell under an electrode.
    """
    if DIFFUSION * COARSE_MS > step_mm**2 / 2:
        raise DataError(f"Cells {step_mm} mm apart are too close for steps of {COARSE_MS} ms: use 0.18 mm or more.")
    cell = paced_cell(layer, cycle_length_ms, g_kr_factor, beats)
    cable = np.repeat(cell[None], int(round(length_mm / step_mm)) + 1, axis=0)
    fixed = *_cable_tables(layer, g_kr_factor), step_mm
    for _ in range(cable_beats - 1):
        _paced_beat(cable, cycle_length_ms, *fixed, np.empty(0))
    trace = np.empty(int(LAST_MS / COARSE_MS))
    _paced_beat(cable, LAST_MS, *fixed, trace)
    return trace


@dataclass(frozen=True)
class ActionPotentials:
    """Action potentials on one time axis; time 0 is where the upstroke crosses 0 mV.

    The axis is even, so sample (t - time_ms[0]) / 0.1 needs no search. Before its start and after its end a cell rests.

    >>> table = action_potential_table()                                   # doctest: +SKIP
    >>> v = table.voltage("epi", 1000, 1.0)                                # doctest: +SKIP
    >>> since = np.arange(500) - activation_ms                             # doctest: +SKIP
    >>> read_at = table_time(since, table.apd("epi", 1000, 1.0), local_apd_ms)   # doctest: +SKIP
    >>> voltage = np.interp(read_at, table.time_ms, v)                     # doctest: +SKIP
    """
    time_ms: np.ndarray      # (times,) -10 .. 700, every 0.1
    voltage_mv: np.ndarray   # (layers, cycle lengths, g_Kr factors, times) float32
    apd90_ms: np.ndarray     # (layers, cycle lengths, g_Kr factors) upstroke to 90 % recovery
    rest_mv: np.ndarray      # (layers, cycle lengths, g_Kr factors) just before the stimulus

    def voltage(self, layer, cycle_length_ms=1000, g_kr_factor=1.0):
        """(times,) mV."""
        return self.voltage_mv[_place(layer, cycle_length_ms, g_kr_factor)]

    def apd(self, layer, cycle_length_ms=1000, g_kr_factor=1.0):
        """APD90 in ms."""
        return float(self.apd90_ms[_place(layer, cycle_length_ms, g_kr_factor)])

    def rest(self, layer, cycle_length_ms=1000, g_kr_factor=1.0):
        """Resting voltage in mV."""
        return float(self.rest_mv[_place(layer, cycle_length_ms, g_kr_factor)])


def _place(layer, cycle_length_ms, g_kr_factor):
    wanted = {"layer": (layer, LAYERS), "cycle length": (cycle_length_ms, CYCLE_LENGTHS_MS),
              "g_Kr factor": (g_kr_factor, G_KR_FACTORS)}
    for name, (value, known) in wanted.items():
        if value not in known:
            raise DataError(f"No action potential for {name} {value!r}: the table has {', '.join(map(str, known))}.")
    return tuple(known.index(value) for value, known in wanted.values())


def table_time(since_ms, table_apd_ms, local_apd_ms):
    """Times since activation -> where to read the table so that its action potential lasts ``local_apd_ms``.

    The first 40 ms (upstroke, notch) stay as they are; the rest is stretched. All three broadcast; APDs exceed 40 ms.
    """
    stretch = (table_apd_ms - PLATEAU_FROM_MS) / (np.asarray(local_apd_ms) - PLATEAU_FROM_MS)
    late = np.maximum(np.asarray(since_ms) - PLATEAU_FROM_MS, 0)
    return since_ms + late * (stretch - 1)


def action_potential_table() -> ActionPotentials:
    """Endo, M and epi cells at 600 and 1000 ms with 0, 0.5, 1, 1.5 times I_Kr: computed once (about 6 s), then cached.

    The cached file's name carries a digest of this file: a changed model makes a new table. Call this once before
    starting worker processes, so that they all read the same file.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    return ActionPotentials(**cached_arrays("virtual/action_potentials", digest, lambda: vars(compute_table())))


def compute_table() -> ActionPotentials:
    """Pace all 24 cables."""
    time = np.arange(-100, 7001) / 10
    traces = np.array([[[pace(layer, cycle, g_kr) for g_kr in G_KR_FACTORS] for cycle in CYCLE_LENGTHS_MS]
                       for layer in LAYERS])
    upstroke = upstroke_ms(traces) * COARSE_MS   # counted in samples, hence the factor
    axis = COARSE_MS * np.arange(traces.shape[-1])
    voltage = np.empty((*upstroke.shape, len(time)), np.float32)
    for place in np.ndindex(upstroke.shape):
        voltage[place] = np.interp(time + upstroke[place], axis, traces[place])
    apd = apd90_ms(traces.reshape(-1, *traces.shape[2:])).reshape(upstroke.shape) * COARSE_MS
    return ActionPotentials(time, voltage, apd, traces[..., 0])
