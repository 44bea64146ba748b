"""From one beat to the heart: what the networks of tasks 3 and 4 say, how far to believe it, and a picture of it.

    answer = ask(beat.ecg_mv)
    remarks = doubts(beat, answer)
    picture(recording.signal_mv, beat, answer, reference_heart())
"""
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cardiac_ml import models, plots, training
from cardiac_ml.activation import apd90_ms
from cardiac_ml.files import ROOT
from cardiac_ml.heart3d import pictures, view
from cardiac_ml.leads import LEADS, PAPER
from cardiac_ml.predict.beat import Beat
from cardiac_ml.virtual.points import POINT_NAMES

TRAINED = ROOT / "cardiac_ml" / "trained"
LEVEL = 0.9  # of the intervals around activation times
LARGE_UNLIKENESS, SWAPPED = 1.0, -0.2  # correlation of lead I with V6, which is positive in nearly everybody
RATES = (25, 220)


class Answer(NamedTuple):
    time_ms: np.ndarray  # (75,) from the beginning of the beat (12, 500)
    spread_ms: np.ndarray  # (75,) mean absolute error that the network expects
    voltage_mv: np.ndarray | None  # (75, 500); None where the folder has no network for them
    unlike: float  # the ECG, to those that the network learned from: one of these in fifty exceeds 1
    limits: str  # what the network's card says about where it fails


def ask(ecg_mv, folder=TRAINED) -> Answer:
    """What the networks in ``folder`` (task_3.npz, and task_4.npz if there) say of a beat (12, 500)."""
    timing, path = training.load(Path(folder) / "task_3.npz"), Path(folder) / "task_4.npz"
    time_ms, spread_ms = models.times_and_spreads(training.predict(timing, ecg_mv[None]))
    voltage_mv = training.predict(training.load(path), ecg_mv[None])[0] if path.exists() else None
    unlike = float(training.predict(timing.known, ecg_mv[None])[0])
    return Answer(time_ms[0], spread_ms[0], voltage_mv, unlike, timing.card.get("fails", ""))


def doubts(beat: Beat, answer: Answer) -> list[str]:
    """Plain words about what does not look right, the worst first."""
    one, six = beat.ecg_mv[LEADS.index("I")], beat.ecg_mv[LEADS.index("V6")]
    said = []
    if one @ six < SWAPPED * np.linalg.norm(one) * np.linalg.norm(six):
        said.append("Lead I is V6 upside down: the electrodes of the two arms are probably swapped (or the heart lies "
                    "on the right). Swap RA and LA and record again; the map below is of the ECG as it is.")
    if answer.unlike > LARGE_UNLIKENESS:
        said.append(f"This ECG is unlike those that the network learned from ({answer.unlike:.1f} on a scale on which "
                    "49 in 50 of these stay below 1): take the map for a guess.")
    if not RATES[0] <= beat.rate_per_min <= RATES[1]:
        said.append(f"{beat.rate_per_min:.0f} beats a minute: is the rate of the samples right (--rate)?")
    if (odd := int((~beat.used).sum())):
        said.append(f"{odd} of {len(beat.used)} beats look different and were left out.")
    return said


def half_width_ms(answer: Answer) -> np.ndarray:
    """(75,) of the intervals around the activation times, whose errors are spread as Laplace has it."""
    return -np.log(1 - LEVEL) * answer.spread_ms


def table(answer: Answer) -> pd.DataFrame:
    """A row a recording point: activation with its interval, end of the action potential where voltages are known."""
    half = half_width_ms(answer)
    rows = pd.DataFrame(dict(point=POINT_NAMES, activation_ms=answer.time_ms, low_ms=answer.time_ms - half,
                             high_ms=answer.time_ms + half))
    if answer.voltage_mv is not None:
        rows["apd90_ms"] = apd90_ms(answer.voltage_mv)
    return rows.round(1)


def turning_heart(answer: Answer, body) -> view.HeartView:
    """The heart to turn: voltages where they are known, else the map. ``body`` is a mesh and its recording points."""
    return view.show(*body, answer.time_ms if answer.voltage_mv is None else answer.voltage_mv)


# ---- the picture ----

def picture(signal_mv, beat: Beat, answer: Answer, body, title=""):
    """The recording, the beat that was used, the map with its uncertainty, and the 17 segments: a figure."""
    figure = plt.figure(figsize=(13, 13), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(4.5, 4, 4.5))
    figure.suptitle(title, x=0.01, ha="left", parse_math=False)
    draw_recording(top.subplots(), signal_mv, beat)
    draw_beat(middle.subplots(), beat.ecg_mv)
    draw_heart(bottom.subplots(1, 4, width_ratios=(1, 1, 1, 0.9)), answer, body)
    return figure


def draw_recording(ax, signal_mv, beat, apart_mv=1.5):
    """All leads, one below the other; beats in the average are shaded."""
    time_s = np.arange(signal_mv.shape[1]) / 1000
    centred = np.clip(signal_mv - np.median(signal_mv, axis=1, keepdims=True), -apart_mv, 2 * apart_mv)
    ax.plot(time_s, (centred - apart_mv * np.arange(12)[:, None]).T, color=plots.INK[0], lw=0.6)
    for onset in beat.onset_ms[beat.used]:
        ax.axvspan(onset / 1000, (onset + beat.ecg_mv.shape[1]) / 1000, color=plots.INK[2], alpha=0.15, lw=0)
    ax.set(xlim=(0, time_s[-1]), ylim=(-12 * apart_mv, 1.5 * apart_mv), xlabel="s",
           yticks=-apart_mv * np.arange(12), yticklabels=LEADS)
    ax.set_title(f"{beat.used.sum()} of {len(beat.used)} beats, shaded, look alike; {beat.rate_per_min:.0f} a minute",
                 fontsize=10, loc="left")
    ax.spines[:].set_visible(False)


def draw_beat(ax, ecg_mv):
    """The twelve leads on one sheet, as clinics print them."""
    low, high = np.floor(2 * ecg_mv.min()) / 2, np.ceil(2 * ecg_mv.max()) / 2
    rows, columns, samples = len(PAPER), len(PAPER[0]), ecg_mv.shape[1]
    plots.paper(ax, columns * samples, low - (rows - 1) * (high - low), high)
    for (row, column), name in np.ndenumerate(PAPER):
        x, y = column * samples, -row * (high - low)
        ax.plot(x + np.arange(samples), y + ecg_mv[LEADS.index(name)], color=plots.INK[0], lw=1.2)
        ax.text(x + 10, y + high - 0.1, name, va="top", weight="bold", fontsize=9)
    ax.set_title("the usual beat: a large square is 200 ms by 0.5 mV", fontsize=10, loc="left")


def draw_heart(axes, answer, body):
    """The map from two sides, half the width of its intervals, and its means over the 17 segments: four axes."""
    norm, half, surface = pictures.scale([answer.time_ms]), half_width_ms(answer), pictures.HeartSurface(*body)
    front, below = surface.rasters(("anterior", "inferior"), 300)
    for ax, raster, side in ((axes[0], front, "anterior"), (axes[1], below, "inferior")):
        painted = pictures.painted_map(raster, *surface.spread(answer.time_ms), pictures.ACTIVATION, norm, step=10)
        pictures.show_panel(ax, painted, side)
        ax.set_title(f"activation, {side}", fontsize=10)
    pictures.show_panel(axes[2], pictures.painted_map(front, *surface.spread(half), "Greys", pictures.scale([half])),
                        "anterior")
    axes[2].set_title(f"uncertainty: {LEVEL:.0%} intervals", fontsize=10)
    figure = axes[0].figure
    pictures.colour_bar(figure, axes[:2], pictures.ACTIVATION, norm, "ms since the beginning of the beat")
    pictures.colour_bar(figure, axes[2], "Greys", pictures.scale([half]), "ms either way")
    pictures.bulls_eye(answer.time_ms, POINT_NAMES, ax=axes[3], norm=norm)
    axes[3].set_title("17 segments of the left ventricle", fontsize=10)
