"""Beats that the training patients lack, made of their own beats: for learning, and as a stress test of its own.

``synthetic_fusions`` adds up a normal and a ventricular beat: nearly all real fusion beats are of one record.
``noisy_records`` adds bursts of noise, in which a normal beat looks like no other: few records have many of those.
``retimed_records`` puts normal beats of one patient at new times: most of them atrial premature, as in MIT-BIH record
232, bigeminy, runs, single early beats; and irregular but normal: atrial fibrillation and flutter, breathing, pauses.
"""
from dataclasses import replace

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError
from cardiac_ml.new_patients.records import RecordBeats

NORMAL, EARLY, VENTRICULAR, FUSION = range(4)  # positions in MITBIH_CLASSES
FUSIONS = 60  # fusion beats of a patient, in at most every 25th beat, so that the record stays what it was
RHYTHMS = ("mostly early", "bigeminy", "runs", "single", "fibrillation", "flutter", "sinus arrhythmia", "pauses")
NOISE = 0.5  # of the most that is added, in units of the record's height
FLUTTER_MS = 220.0  # between two flutter waves, of which the ventricles follow every second to fifth


# ---- fusion beats and noise ----

def synthetic_fusions(ds: RecordBeats, seed: int = 0) -> tuple[RecordBeats, np.ndarray]:
    """Fusion beats of patients with five ventricular beats or more, each in the place of a normal one.

    In a fusion beat two fronts share the ventricles, so its QRS lies between those of a normal and of a ventricular
    beat, while P wave and rhythm are those of the normal one. Returns the whole records, and the rows that changed.
    """
    rng = np.random.default_rng(seed)
    normal, ventricular = [np.empty(0, int)], [np.empty(0, int)]
    for rows in ds.table.groupby("record", sort=False).indices.values():
        here, others = rows[ds.label[rows] == NORMAL], rows[ds.label[rows] == VENTRICULAR]
        if len(others) >= 5:
            normal.append(rng.permutation(here)[:min(FUSIONS, len(rows) // 25)])
            ventricular.append(rng.choice(others, len(normal[-1])))
    normal, ventricular = np.concatenate(normal), np.concatenate(ventricular)
    window_mv, label = ds.window_mv.copy(), ds.label.copy()
    window_mv[normal] = mixed(ds.window_mv[normal], ds.window_mv[ventricular], ds.window_time_ms, rng)
    label[normal] = FUSION
    return replace(ds, window_mv=window_mv, label=label), normal


def mixed(normal_mv: np.ndarray, ventricular_mv: np.ndarray, time_ms: np.ndarray,
          rng: np.random.Generator) -> np.ndarray:
    """Normal beats (rows, channels, samples) with a quarter to three quarters of a ventricular one from the QRS on."""
    share = rng.uniform(0.25, 0.75, len(normal_mv))[:, None, None] * np.clip((time_ms + 130) / 60, 0, 1)
    most = round(22 / (time_ms[1] - time_ms[0]))  # the two fronts start up to 22 ms apart
    columns = np.arange(len(time_ms)) + rng.integers(-most, most + 1, (len(normal_mv), 1))
    columns = np.clip(columns, 0, len(time_ms) - 1)[:, None]
    moved = np.take_along_axis(ventricular_mv, np.broadcast_to(columns, normal_mv.shape), axis=2)
    level, other_level = (np.median(x, axis=2, keepdims=True) for x in (normal_mv, moved))
    return (level + (normal_mv - level) * (1 - share) + (moved - other_level) * share).astype(np.float32)


def noisy_records(ds: RecordBeats, seed: int = 0) -> RecordBeats:
    """The same records with bursts of noise, as of muscles and loose electrodes, stronger in one channel."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(ds.window_mv.shape, np.float32)
    noise = 0.5 * noise + np.cumsum(noise, axis=2) / 10
    for rows in ds.table.groupby("record", sort=False).indices.values():
        height = np.median(np.ptp(ds.window_mv[rows], axis=2), axis=0) * rng.uniform(0.05, NOISE, noise.shape[1])
        knots = rng.random(len(rows) // 40 + 2) ** 2  # how noisy, every 40 beats
        burst = np.interp(np.arange(len(rows)) / 40, np.arange(len(knots)), knots)
        noise[rows] *= np.outer(burst, height)[:, :, None].astype(np.float32)
    return replace(ds, window_mv=ds.window_mv + noise)


# ---- records in another rhythm ----

def retimed_records(ds: RecordBeats, seed: int = 0, kinds=RHYTHMS, beats: int = 200) -> RecordBeats:
    """A record of each kind of rhythm for each patient, made of the patient's normal beats.

    ``beats``, Kaggle's rows, stay those of the beats that they were made of.
    """
    parts = []
    for number, rows in enumerate(ds.table.groupby("record", sort=False).indices.values()):
        normal = rows[ds.label[rows] == NORMAL]
        for kind in kinds if len(normal) else ():
            rng = np.random.default_rng([seed, number, RHYTHMS.index(kind)])
            chosen = rng.choice(normal, beats)
            window_mv, table, label = retimed(ds.window_mv[chosen], ds.window_time_ms, kind, rng)
            table = table.assign(patient=ds.table["patient"].iloc[rows[0]], kind=kind)
            parts.append((chosen, window_mv, label, table.assign(record=table["patient"].astype(str) + " " + kind)))
    if not parts:
        raise DataError(f"{ds.source} has no normal beat (class N) to make records of. Add records that have some.")
    chosen, window_mv, label, table = zip(*parts)
    return replace(ds[np.concatenate(chosen)], window_mv=np.concatenate(window_mv), label=np.concatenate(label),
                   table=pd.concat(table, ignore_index=True))


def rhythm_of(kind: str, beats: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Intervals before the beats in ms, and which beats are atrial premature; (beats,) each."""
    if kind == "fibrillation":  # the node between atria and ventricles lets one through, then rests
        shape = rng.uniform(1.5, 5)
        return rng.uniform(300, 550) + rng.uniform(200, 500) * rng.gamma(shape, 1 / shape, beats), np.zeros(beats, bool)
    if kind == "flutter":  # for some beats every second, say, then every fourth
        waves = np.repeat(rng.integers(2, 6, beats), rng.integers(1, rng.integers(2, 12), beats))[:beats]
        return waves * FLUTTER_MS + rng.normal(0, 12, beats), np.zeros(beats, bool)
    cycle = rng.uniform(*{"mostly early": (1000, 1900), "bigeminy": (700, 1300)}.get(kind, (600, 1100)))
    breath = rng.uniform(0.02, 0.18 if kind == "sinus arrhythmia" else 0.07)
    early = early_beats(kind, beats, rng)
    coupling, run_ms = rng.uniform(0.45, 0.8, 2) * cycle
    pause = rng.uniform(1.0, 1.35)
    phase = 2 * np.pi * np.cumsum(cycle + np.zeros(beats)) / rng.uniform(3000, 6000)
    sinus = cycle * np.exp(breath * np.sin(phase) + np.cumsum(rng.normal(0, 0.006, beats)) + rng.normal(0, 0.01, beats))
    last = np.append(False, early[:-1])
    interval = np.where(early, np.where(last, run_ms, coupling) * np.exp(rng.normal(0, rng.uniform(0.02, 0.09), beats)),
                        np.where(last, sinus * pause * np.exp(rng.normal(0, 0.05, beats)), sinus))
    if kind == "pauses":  # a sinus pause, or a premature atrial beat that the ventricles do not follow
        interval = np.where(rng.random(beats) < rng.uniform(0.005, 0.06), interval * rng.uniform(1.3, 2.1), interval)
    return np.maximum(interval, 280), early


def early_beats(kind: str, beats: int, rng: np.random.Generator) -> np.ndarray:
    """Which of the beats come early, (beats,) bool: sinus beats, so many at a time, then early ones, so many."""
    sinus, run = {"mostly early": ((1, 2), (1, 8)), "bigeminy": ((1, 3), (1, 2)), "runs": ((10, 60), (3, 20)),
                  "single": ((5, 60), (1, 2))}.get(kind, ((beats, beats + 1), (0, 1)))
    parts = []
    while sum(map(len, parts)) < beats:
        parts += [np.zeros(rng.integers(*sinus), bool), np.ones(rng.integers(*run), bool)]
    return np.concatenate(parts)[:beats]


def retimed(window_mv: np.ndarray, time_ms: np.ndarray, kind: str,
            rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Normal beats (rows, channels, samples) in a new rhythm.

    Returns its windows, like those given, its intervals and its labels. The P wave of an early beat has another shape
    and comes a little sooner or later; in atrial fibrillation there are small waves in place of any.
    """
    beats = len(window_mv)
    interval_ms, early = rhythm_of(kind, beats, rng)
    step = time_ms[1] - time_ms[0]
    at = np.round((np.cumsum(interval_ms) + 1000) / step).astype(int)
    chosen = window_mv - np.median(window_mv, axis=2, keepdims=True)
    p_wave, rest = (chosen * np.interp(time_ms, span, (0, 1, 1, 0))
                    for span in ((-280, -220, -100, -50), (-100, -50, 330, 480)))
    factor = np.where(early[:, None], rng.uniform(-1, 1.3, chosen.shape[1]), 1.0)[:, :, None]
    moved = early * round(rng.uniform(-40, 40) / step)
    signal = rng.normal(0, 0.004, (chosen.shape[1], at[-1] + 600))
    if kind in ("fibrillation", "flutter"):
        signal, factor = signal + atrial_waves(kind, *signal.shape, step, rng), 0 * factor
    start = at - np.flatnonzero(time_ms >= 0)[0]
    for i in range(beats):
        signal[:, start[i]:start[i] + len(time_ms)] += rest[i]
        signal[:, start[i] + moved[i]:start[i] + moved[i] + len(time_ms)] += factor[i] * p_wave[i]
    columns = start[:, None] + np.arange(len(time_ms))
    between = np.diff(at) * step
    table = pd.DataFrame({"rr_before_ms": np.append(np.nan, between), "rr_after_ms": np.append(between, np.nan)})
    return signal[:, columns].transpose(1, 0, 2).astype(np.float32), table, np.where(early, EARLY, NORMAL)


def atrial_waves(kind: str, channels: int, samples: int, step_ms: float, rng: np.random.Generator) -> np.ndarray:
    """Fibrillation: waves of 4 to 9 Hz whose rate wanders; flutter: saw teeth; (channels, samples) mV."""
    height = rng.uniform(0.02, 0.1, channels)[:, None]
    if kind == "flutter":
        return 2 * height * ((np.arange(samples) * step_ms / FLUTTER_MS + rng.random((channels, 1))) % 1)
    rate_hz = np.clip(rng.uniform(5, 7.5) + np.cumsum(rng.normal(0, 0.05, samples)) * np.sqrt(step_ms), 4, 9)
    return height * np.sin(2 * np.pi * (np.cumsum(rate_hz) * step_ms / 1000 + rng.random((channels, 1))))
