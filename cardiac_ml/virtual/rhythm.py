"""From single beats to a running strip: intervals, P waves, breathing, noise, and the rows that are cut from it.

Nothing here knows where a beat's shape comes from. A ``Shape`` is one heartbeat as two leads see it, QRS and T wave; a
strip is a sequence of kinds, each at its time: N sinus, S atrial premature, V ventricular premature, F fusion of both
fronts, Q paced or not to be classified.
"""
from dataclasses import dataclass

import numpy as np
from scipy import signal

RATE_HZ = 360.0          # of the records that the MIT-BIH rows are cut from; every third sample is kept
SAMPLES = 187
SHORTEST_MS = 300.0      # no two beats are closer


@dataclass(frozen=True)
class Shape:
    """One beat from the start of its QRS, 1 ms a sample."""
    leads_mv: np.ndarray   # (2, times) the recorded lead, and one that breathing mixes in
    peak_ms: float         # where a cardiologist's mark goes: the QRS's largest deflection
    qrs_ms: float          # after this comes the T wave, which follows the heart rate
    name: str              # what the table calls it


@dataclass(frozen=True)
class RhythmParameters:
    """How one patient's heart beats and how well the electrodes stick: drawn once a patient by ``draw_parameters``."""
    rr_ms: float
    breathing: float             # share of RR and of the lead's axis that goes with breath
    breath_ms: float
    wander: float                # slow change of RR, share
    fibrillates: bool            # atria: no P wave, irregular RR
    pr_ms: float
    p_mv: float                  # sinus P wave
    p_premature: tuple           # height mV and PR ms of the atrial premature beat's
    early: float                 # coupling of premature beats, share of RR
    paced_rr_ms: float
    spike_mv: float              # of a pacemaker, in one sample, before the recorder's filters
    noise_mv: float
    drift_mv: float
    mains_mv: float
    high_pass_hz: float
    low_pass_hz: float


def draw_parameters(rng) -> RhythmParameters:
    """Rates, P waves, noise and filters as they differ from record to record."""
    pr = rng.normal(155, 20)
    return RhythmParameters(
        rr_ms=float(np.clip(rng.normal(830, 140), 540, 1250)), breathing=rng.uniform(0.01, 0.06),
        breath_ms=rng.uniform(2800, 5500), wander=rng.uniform(0.01, 0.04), fibrillates=rng.random() < 0.1,
        pr_ms=pr, p_mv=rng.uniform(0.04, 0.2),
        p_premature=(rng.choice([-1, 1]) * rng.uniform(0.04, 0.2), pr * rng.uniform(0.75, 1.1)),
        early=rng.uniform(0.52, 0.78), paced_rr_ms=rng.uniform(780, 1000),
        spike_mv=rng.choice([-1, 1]) * rng.uniform(0.2, 1.5),
        noise_mv=0.012 * rng.lognormal(0, 0.6), drift_mv=0.05 * rng.lognormal(0, 0.6),
        mains_mv=rng.choice([0, 0.006]) * rng.random(), high_pass_hz=rng.choice([0.05, 0.1, 0.3, 0.5]),
        low_pass_hz=rng.choice([35.0, 50.0, 75.0, 100.0]))


def beat_times(kinds, parameters, rng):
    """When each beat of a sequence such as "NNVNS" is marked: (beats,) ms.

    A ventricular beat leaves the sinus clock alone (the pause makes up for it); an atrial one resets it.
    """
    now, drift, before, times = 1000.0, 0.0, "N", []
    shortened = 0.0   # by how much the last beat came too early on the sinus clock
    for kind in kinds:
        drift = 0.95 * drift + rng.normal(0, 0.3 * parameters.wander)
        rr = parameters.rr_ms * (1 + drift + parameters.breathing * np.sin(2 * np.pi * now / parameters.breath_ms))
        if parameters.fibrillates:
            rr = parameters.rr_ms * rng.lognormal(0, 0.2)
        interval = _interval(kind, before, rr, parameters, rng)
        pause = shortened if kind not in "VQ" and not parameters.fibrillates else 0
        shortened = rr - interval if kind in "VF" else 0
        now += max(interval + pause, SHORTEST_MS)
        times.append(now)
        before = kind
    return np.array(times)


def _interval(kind, before, rr, parameters, rng):
    if kind == "Q":
        return parameters.paced_rr_ms + rng.normal(0, 3)
    share = {"S": parameters.early + rng.uniform(-0.05, 0.12), "V": parameters.early + rng.uniform(-0.06, 0.1),
             "F": rng.uniform(0.86, 0.98), "N": 1.0}[kind]
    if before == "S" and kind == "N":
        share = rng.uniform(1.0, 1.18)   # the sinus node was reset, and takes its time
    return share * rr


def strip(kinds, shapes, times_ms, parameters, rng):
    """The recorded lead: one shape a beat, at its time -> signal (samples,) mV at 360 Hz, marks (beats,) samples."""
    mv = np.zeros(int((times_ms[-1] + 1500) * RATE_HZ / 1000))
    intervals = np.diff(times_ms, prepend=times_ms[0] - parameters.rr_ms)
    for kind, shape, at, rr in zip(kinds, shapes, times_ms, intervals, strict=True):
        _add_beat(mv, shape, at - shape.peak_ms, rr, parameters)
        if shape.name.startswith("paced"):
            mv[_sample(at - shape.peak_ms - 3)] += parameters.spike_mv
        if not parameters.fibrillates:
            _add_p_wave(mv, kind, at - shape.peak_ms, rr, parameters, rng)
    if parameters.fibrillates:
        mv += _fibrillation(len(mv), rng)
    rough = np.zeros(len(mv))   # a beat that nobody can name lies in a burst of noise
    for shape, at in zip(shapes, times_ms, strict=True):
        if shape.name == "unclassifiable":
            rough[_sample(at - 300):_sample(at + 500)] = 1
    mv = _filtered(mv + _disturbances(len(mv), rough, parameters, rng), parameters)
    marks = np.round(times_ms * RATE_HZ / 1000 + rng.normal(0, 1.2, len(times_ms))).astype(int)
    return np.round(mv / 0.005) * 0.005, marks   # 11-bit recorder: 5 uV a step


def _sample(ms):
    return max(int(ms * RATE_HZ / 1000), 0)


def _add_beat(mv, shape, onset_ms, rr, parameters):
    """Breathing turns the heart a little and changes its size; the T wave comes sooner after a short interval."""
    breath = np.sin(2 * np.pi * onset_ms / parameters.breath_ms)
    turned = parameters.breathing * breath
    lead = (1 + turned) * shape.leads_mv[0] + 2 * turned * shape.leads_mv[1]
    stretch = np.clip((rr / 1000) ** 0.35, 0.7, 1.12)
    samples = np.arange(_sample(onset_ms), min(_sample(onset_ms + stretch * len(lead)), len(mv)))
    since = samples * 1000 / RATE_HZ - onset_ms
    since = np.where(since > shape.qrs_ms, shape.qrs_ms + (since - shape.qrs_ms) / stretch, since)
    mv[samples] += np.interp(since, np.arange(len(lead)), lead, 0, 0)


def _add_p_wave(mv, kind, onset_ms, rr, parameters, rng):
    """Two Gaussians, right atrium then left, in place of atria that are not simulated."""
    height, pr = parameters.p_premature if kind == "S" else (parameters.p_mv, parameters.pr_ms)
    if kind in "VQ":   # the sinus node does not know: its P wave falls where it may
        pr = rng.uniform(-200, 250)
    if kind == "F":
        pr *= rng.uniform(0.6, 0.9)
    start = onset_ms - pr * np.clip(rr / 800, 0.7, 1.05)
    samples = np.arange(_sample(start - 60), min(_sample(start + 200), len(mv)))
    since = samples * 1000 / RATE_HZ - start
    bump = np.exp(-((since - 30) / 20) ** 2 / 2) + 0.8 * np.exp(-((since - 65) / 22) ** 2 / 2)
    mv[samples] += height / 1.2 * bump


def _fibrillation(samples, rng):
    """Fine waves of the atria at about 6 a second, never twice the same."""
    rate = 6 + signal.lfilter([0.002], [1, -0.998], rng.normal(0, 20, samples))
    return rng.uniform(0.02, 0.08) * np.sin(2 * np.pi * np.cumsum(rate) / RATE_HZ)


def _disturbances(samples, rough, parameters, rng):
    """Muscle noise that comes and goes, drifting baseline, mains: (samples,) mV."""
    time_s = np.arange(samples) / RATE_HZ
    level = np.exp(signal.lfilter([1], [1, -0.9995], rng.normal(0, 0.018, samples)))
    muscle = signal.lfilter([1, -0.7], [1, -0.4], rng.normal(0, 1, samples)) * parameters.noise_mv * level
    burst = signal.lfilter([1], [1, -0.9], rng.normal(0, 1, samples)) * rough * 0.25
    slow = signal.lfilter([0.006], [1, -0.998], rng.normal(0, 1, samples)) * 8 * parameters.drift_mv
    breath = parameters.drift_mv * np.sin(2 * np.pi * time_s * 1000 / parameters.breath_ms)
    return muscle + burst + slow + breath + parameters.mains_mv * np.sin(2 * np.pi * 60 * time_s)


def _filtered(mv, parameters):
    """The recorder's own filters, forward only, as they were."""
    for cut_hz, kind in ((parameters.high_pass_hz, "highpass"), (parameters.low_pass_hz, "lowpass")):
        mv = signal.sosfilt(signal.butter(1, cut_hz, kind, fs=RATE_HZ, output="sos"), mv)
    return mv


def cut_beats(mv, marks):
    """The rule of Kaggle's MIT-BIH rows: strip and (n,) marks -> (n - 2, 187) float32 in 0..1, padded with zeros.

    A row starts at its own mark, ends a fifth of the next interval after the next mark, keeps each third sample
    (120 Hz) and is scaled by its own minimum and maximum.
    """
    rows = np.zeros((len(marks) - 2, SAMPLES), np.float32)
    for row, own, after, later in zip(rows, marks, marks[1:], marks[2:]):
        _fill(row, mv[own:after + int(0.2 * (later - after))][::3])
    return rows


def cut_windows(mv, marks, rate_hz=125.0):
    """The published rule of Kaggle's PTB rows: each beat 1.2 median intervals long from its mark, at 125 Hz.

    The median is over the ten seconds around. Strip and (n,) marks -> (n - 2, 187) float32, scaled and padded likewise.
    """
    mv = np.interp(np.arange(0, len(mv), RATE_HZ / rate_hz), np.arange(len(mv)), mv)
    marks = np.round(marks * rate_hz / RATE_HZ).astype(int)
    rows = np.zeros((len(marks) - 2, SAMPLES), np.float32)
    for k, row in enumerate(rows):
        near = marks[np.abs(marks - marks[k]) <= 5 * rate_hz]
        _fill(row, mv[marks[k]:marks[k] + int(1.2 * np.median(np.diff(near)))])
    return rows


def _fill(row, values):
    low, high = values.min(), values.max()
    values = (values[:SAMPLES] - low) / (high - low)
    row[:len(values)] = values
