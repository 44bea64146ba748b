"""Figures of tasks 3 and 4: twelve leads on ECG paper, the lead matrix, voltages, and where errors live."""
import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml.leads import ELECTRODES, LEAD_MATRIX, LEADS
from cardiac_ml.leads import PAPER as DISPLAY

SQUARES = ("#f7d9d5", "#edb5ae")  # small and large squares
INK = ("#1b3a5c", "#c8553d", "#3a7d44", "#7a5195", "#b8860b")


def paper(ax, length_ms, low_mv, high_mv):
    """ECG paper behind a trace: a small square is 40 ms by 0.1 mV, a large one 200 ms by 0.5 mV."""
    for (time, volt), colour, width in (((40, 0.1), SQUARES[0], 0.4), ((200, 0.5), SQUARES[1], 0.7)):
        ax.vlines(np.arange(0, length_ms + 1, time), low_mv, high_mv, colour, lw=width, zorder=0)
        ax.hlines(np.arange(np.ceil(low_mv / volt), high_mv / volt + 0.01) * volt, 0, length_ms, colour, lw=width, zorder=0)
    ax.set(xlim=(0, length_ms), ylim=(low_mv, high_mv), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def twelve_leads(ecg_mv, labels=None, rate_hz=1000, title=None):
    """Twelve leads on ECG paper, in the order clinics print them: (12, time) or several of them (n, 12, time) in mV."""
    ecg_mv = np.asarray(ecg_mv)
    ecg_mv = ecg_mv[None] if ecg_mv.ndim == 2 else ecg_mv
    time_ms = np.arange(ecg_mv.shape[-1]) * 1000 / rate_hz
    low, high = np.floor(ecg_mv.min() / 0.5) * 0.5, np.ceil(ecg_mv.max() / 0.5) * 0.5
    figure, axes = plt.subplots(3, 4, figsize=(11, 1.2 + 3 * max(1.3, min(2.6, 0.9 * (high - low)))), sharex=True,
                                sharey=True, layout="constrained")
    figure.get_layout_engine().set(wspace=0, hspace=0, w_pad=0.02, h_pad=0.02)
    for ax, name in zip(axes.flat, np.ravel(DISPLAY)):
        paper(ax, time_ms[-1], low, high)
        for i, case in enumerate(ecg_mv):
            ax.plot(time_ms, case[LEADS.index(name)], color=INK[i % len(INK)], lw=1.2,
                    label=None if labels is None else str(list(labels)[i]))
        ax.text(0.02, 0.97, name, transform=ax.transAxes, va="top", weight="bold", fontsize=10)
    if labels is not None:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=len(ecg_mv), frameon=False)
    figure.suptitle(title, x=0.01, ha="left")
    figure.supxlabel("one large square: 200 ms wide, 0.5 mV high", fontsize=9, x=0.01, ha="left")
    return figure


def lead_matrix():
    """How each lead is put together from the electrodes: the numbers of the lead matrix."""
    figure, ax = plt.subplots(figsize=(7, 5.2), layout="constrained")
    ax.imshow(LEAD_MATRIX, cmap="RdBu_r", vmin=-1.2, vmax=1.2, aspect="auto")
    for row, column in np.argwhere(np.abs(LEAD_MATRIX) > 1e-9):
        value = LEAD_MATRIX[row, column]
        ax.text(column, row, {1: "1", -1: "−1"}.get(round(value, 6), f"{value:.2f}".replace("-", "−")), ha="center",
                va="center", color="white" if abs(value) > 0.7 else "black", fontsize=8)
    ax.set(xticks=range(10), xticklabels=ELECTRODES, yticks=range(12), yticklabels=LEADS, xlabel="electrode", ylabel="lead")
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    return figure


def activation_of(voltage_mv, activation_ms, points=(0, 10, 40), names=None):
    """A few voltage traces with their activation times marked: (75, time) mV, (75,) ms."""
    figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for i, point in enumerate(points):
        ax.plot(voltage_mv[point], color=INK[i], label=f"point {point}" if names is None else str(names[point]))
        ax.plot(activation_ms[point], 0, "o", color=INK[i], ms=7)
    ax.axhline(0, color="0.7", lw=0.8, zorder=0)
    ax.set(xlabel="time (ms)", ylabel="voltage (mV)")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def voltages(truth_mv, predicted_mv=None, points=(0, 10, 20, 32, 52, 72), names=None):
    """Traces of some points, truth and prediction: (75, time) each, a panel a point."""
    columns = min(3, len(points))
    figure, axes = plt.subplots(-(-len(points) // columns), columns, figsize=(11, 2.2 * -(-len(points) // columns)),
                                sharex=True, sharey=True, layout="constrained", squeeze=False)
    for ax, point in zip(axes.flat, points):
        ax.plot(truth_mv[point], color=INK[0], lw=2, label="truth")
        if predicted_mv is not None:
            ax.plot(predicted_mv[point], color=INK[1], lw=1.3, label="prediction")
        ax.set_title(f"point {point}" if names is None else str(names[point]), fontsize=9, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.supxlabel("time (ms)", fontsize=10)
    figure.supylabel("voltage (mV)", fontsize=10)
    return figure


def bars(values, xlabel, reference=None, spreads=None):
    """Horizontal bars, one a name, the numbers written beside them: a dictionary name -> value."""
    figure, ax = plt.subplots(figsize=(8, 0.8 + 0.34 * len(values)), layout="constrained")
    names, heights = list(values), np.array(list(values.values()), dtype=float)
    error = None if spreads is None else np.abs(np.array([spreads[name] for name in names]).T - heights)
    ax.barh(names, heights, color=INK[0], height=0.65, xerr=error, error_kw=dict(ecolor="0.45", capsize=2))
    right = heights if error is None else heights + error[1]
    for i, (value, end) in enumerate(zip(heights, right)):
        ax.text(end, i, f"  {value:.3g}", va="center", fontsize=9)
    if reference is not None:
        ax.axvline(reference, color=INK[1], lw=1, ls="--")
    ax.invert_yaxis()
    ax.set(xlabel=xlabel, xlim=(0, np.nanmax(right) * 1.12))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def truth_and_prediction(truth, predicted, unit="ms", colour=None, label=None):
    """Every value as a dot: predictions on the line are right."""
    figure, ax = plt.subplots(figsize=(5, 4.6), layout="constrained")
    style = dict(color=INK[0]) if colour is None else dict(c=colour, cmap="viridis")
    dots = ax.scatter(truth, predicted, s=4, alpha=0.35, lw=0, **style)
    low, high = np.nanmin(truth), np.nanmax(truth)
    ax.plot([low, high], [low, high], color=INK[1], lw=1)
    ax.set(xlabel=f"truth ({unit})", ylabel=f"prediction ({unit})", aspect="equal")
    if colour is not None:
        figure.colorbar(dots, label=label)
    return figure
