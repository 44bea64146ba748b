# Copied out of the kit, this file needs leads.py beside it.
"""Figures of the four tasks. Each function takes arrays (and ``ax``, if it draws one panel) and returns the figure."""
import matplotlib.pyplot as plt
import numpy as np
from sklearn import metrics as scores

try:
    from cardiac_ml.leads import ELECTRODES, LEAD_MATRIX, LEADS, PAPER, check_shape
except ImportError:  # copied
    from leads import ELECTRODES, LEAD_MATRIX, LEADS, PAPER, check_shape

INK = ("#1b3a5c", "#c8553d", "#3a7d44", "#7a5195", "#b8860b", "#5f6b73")
SQUARES = ("#f7d9d5", "#edb5ae")  # small and large squares of ECG paper


def style():
    """Figures that you draw yourself look like these from here on: call it once, at the top of a notebook."""
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
                         "axes.prop_cycle": plt.cycler(color=INK), "boxplot.medianprops.color": INK[1]})


def _panel(ax, size=(4.6, 3.6)):
    """(figure, ax): a new panel where none is given, without the lines that carry nothing."""
    figure, ax = plt.subplots(figsize=size, layout="constrained") if ax is None else (ax.figure, ax)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


# ---- any task ----

def learning_curve(history):
    """Loss in training and validation, and the score that chose the epoch, from the history that ``fit`` returns."""
    name, best = history.attrs["score"], history.attrs["best_epoch"]
    scored = name != "loss" and history["score"].notna().any()
    figure, axes = plt.subplots(1, 1 + scored, figsize=(4.6 * (1 + scored), 3.2), layout="constrained", squeeze=False)
    for column, label, colour in (("train_loss", "training", INK[0]), ("valid_loss", "validation", INK[1])):
        if history[column].notna().any():
            axes[0, 0].plot(history["epoch"], history[column], "o-", ms=3, color=colour, label=label)
    axes[0, 0].set(xlabel="epoch", ylabel="loss")
    if scored:
        kept = history.set_index("epoch")["score"][best]
        axes[0, 1].plot(history["epoch"], history["score"], "o-", ms=3, color=INK[1])
        axes[0, 1].plot(best, kept, "o", ms=9, mfc="none", color=INK[2], label=f"kept: {kept:.4g}, in epoch {best}")
        axes[0, 1].set(xlabel="epoch", ylabel=f"{name} (validation)")
    for ax in axes[0]:
        _panel(ax)
        ax.legend(frameon=False)
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def bars(values, xlabel, reference=None, intervals=None, digits=2, ax=None):
    """Horizontal bars, one a name, the numbers written beside them: a dictionary name -> value.

    ``intervals``: name -> (low, high), drawn as thin lines; ``reference``: a dashed line; ``digits`` after the point.
    """
    figure, ax = _panel(ax, (8, 0.8 + 0.34 * len(values)))
    lengths = np.array(list(values.values()), dtype=float)
    error = None if intervals is None else np.abs(np.array([intervals[name] for name in values]).T - lengths)
    ax.barh([str(name) for name in values], lengths, color=INK[0], height=0.65, xerr=error,
            error_kw=dict(ecolor="0.45", capsize=2))
    right = np.maximum(lengths if error is None else lengths + error[1], 0)
    for i, (value, end) in enumerate(zip(lengths, right)):
        ax.text(end, i, f"  {value:.{digits}f}", va="center", fontsize=9)
    if reference is not None:
        ax.axvline(reference, color=INK[1], lw=1, ls="--")
    ax.invert_yaxis()
    ax.set(xlabel=xlabel, xlim=(min(0, np.nanmin(lengths)), (np.nanmax(right) or 1) * 1.14))
    return figure


def truth_and_prediction(truth, predicted, unit="ms", ax=None):
    """Predictions against the truth: on the line they are right. Many values are counted in hexagons, few are dots."""
    figure, ax = _panel(ax, (5.4, 4.6))
    known = np.isfinite(truth) & np.isfinite(predicted)
    truth, predicted = np.asarray(truth)[known], np.asarray(predicted)[known]
    if len(truth) > 2000:
        shown = ax.hexbin(truth, predicted, gridsize=60, bins="log", mincnt=1, cmap="Blues", lw=0)
        figure.colorbar(shown, label="points")
    else:
        ax.scatter(truth, predicted, s=8, alpha=0.5, lw=0, color=INK[0])
    ends = [truth.min(), truth.max()]
    ax.plot(ends, ends, color=INK[1], lw=1)
    ax.set(xlabel=f"truth ({unit})", ylabel=f"prediction ({unit})", aspect="equal")
    return figure


# ---- heartbeats ----

def heartbeat_parts():
    """One heartbeat in lead II with its parts named. A drawing, not a recording."""
    time_ms = np.arange(0, 900)
    waves = (("P", 160, 28, 0.12), ("Q", 279, 8, -0.15), ("R", 306, 10, 1.1), ("S", 326, 10, -0.22),
             ("T", 560, 45, 0.3))
    signal = sum(size * np.exp(-((time_ms - centre) / width) ** 2 / 2) for _, centre, width, size in waves)
    figure, ax = _panel(None, (8, 3.4))
    ax.plot(time_ms, signal, color=INK[0], lw=2)
    for name, centre, _, size in waves:
        ax.annotate(name, (centre, size), (0, 8 if size > 0 else -16), textcoords="offset points", ha="center",
                    weight="bold")
    for number, (start, stop, text) in enumerate((
            (80, 240, "atria\nactivate"), (270, 350, "QRS:\nventricles\nactivate"),
            (350, 430, "ST:\nall are\nactive"), (430, 690, "ventricles\nrecover"))):
        ax.axvspan(start, stop, ymax=0.22, color=INK[number % 2], alpha=0.15, lw=0)
        ax.text((start + stop) / 2, -0.57, text, ha="center", va="center", fontsize=8)
    ax.set(xlabel="time (ms)", ylabel="voltage (mV)", ylim=(-0.75, 1.35), xlim=(0, 900))
    return figure


def heartbeats(beats, label, classes, rate_hz=120):
    """Each class: its median beat and where the middle 80 % of its beats lie. Padding counts as absent.

    beats (rows, samples) in 0..1, label (rows,); drawn as far as at least a fifth of the beats of the class reach.
    """
    figure, axes = plt.subplots(1, len(classes), figsize=(2.6 * len(classes), 2.8), sharex=True, sharey=True,
                                layout="constrained", squeeze=False)
    time_ms = np.arange(beats.shape[1]) * 1000 / rate_hz
    for number, (ax, name) in enumerate(zip(axes[0], classes)):
        mine = beats[label == number]
        _panel(ax)
        ax.set_title(f"{name}: {len(mine)} beats", fontsize=10, loc="left")
        if len(mine):
            there = np.flip(np.cumsum(np.flip(mine, 1), 1), 1) > 0
            shown = there.mean(axis=0) >= 0.2
            values = np.where(there, mine, np.nan)[:, shown]
            low, middle, high = np.nanpercentile(values, (10, 50, 90), axis=0)
            ax.fill_between(time_ms[shown], low, high, color=INK[number % len(INK)], alpha=0.2, lw=0)
            ax.plot(time_ms[shown], middle, color=INK[number % len(INK)], lw=1.8)
    axes[0, 0].set_ylabel("amplitude, scaled to 0..1")
    figure.supxlabel("time after the R peak (ms)", fontsize=10)
    return figure


def class_balance(label, classes, ax=None):
    """How many rows each class has, with its share written beside."""
    figure, ax = _panel(ax, (5.6, 0.7 + 0.38 * len(classes)))
    counts = np.bincount(label, minlength=len(classes))
    ax.barh(classes, counts, color=INK[0], height=0.65)
    for i, count in enumerate(counts):
        ax.text(count, i, f"  {count} ({100 * count / max(1, counts.sum()):.1f} %)", va="center", fontsize=9)
    ax.invert_yaxis()
    ax.set(xlabel="rows", xlim=(0, max(1, counts.max()) * 1.3))
    return figure


def confusion(truth, prediction, classes, ax=None):
    """Counts, and percentages of each row: of the true beats of a class, how many were called what?"""
    called = prediction.argmax(axis=1) if np.ndim(prediction) == 2 else prediction
    table = scores.confusion_matrix(truth, called, labels=range(len(classes)))
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, ax = _panel(ax, (1.6 + 0.85 * len(classes), 1.3 + 0.72 * len(classes)))
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(table.shape):
        ax.text(column, row, f"{table[row, column]}\n{100 * share[row, column]:.1f} %", ha="center", va="center",
                fontsize=8, color="white" if share[row, column] > 0.6 else "black")
    ax.set(xticks=range(len(classes)), xticklabels=classes, yticks=range(len(classes)), yticklabels=classes,
           xlabel="called", ylabel="true class")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure


def roc(truth, probability, classes, ax=None):
    """Sensitivity against false alarms at every threshold: one line a class, class 1 of two."""
    figure, ax = _panel(ax)
    for number in [1] if probability.shape[1] == 2 else range(probability.shape[1]):
        hit = np.asarray(truth) == number
        if 0 < hit.sum() < len(hit):
            alarms, found, _ = scores.roc_curve(hit, probability[:, number])
            name = f"{classes[number]}: area {scores.auc(alarms, found):.3f}"
            ax.plot(alarms, found, color=INK[number % len(INK)], label=name)
    ax.plot([0, 1], [0, 1], "--", color="0.7", lw=1, label="guessing: area 0.5")
    ax.set(xlabel="false alarms (1 - specificity)", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def reliability(truth, probability, bins=10, ax=None):
    """Of the rows called with 80 % certainty, are 80 % right? On the diagonal, yes; dots grow with their rows."""
    figure, ax = _panel(ax, (3.9, 3.6))
    called, right = probability.max(axis=1), probability.argmax(axis=1) == truth
    place = np.clip((called * bins).astype(int), 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    some = rows > 0
    stated, share = (np.bincount(place, value, bins)[some] / rows[some] for value in (called, right))
    ax.plot([0, 1], [0, 1], "--", color="0.7", lw=1)
    ax.plot(stated, share, color=INK[0], lw=1)
    ax.scatter(stated, share, s=15 + 150 * rows[some] / rows.sum(), color=INK[0], zorder=3)
    ends = min(1 / probability.shape[1], share.min()) - 0.05, 1.05
    ax.set(xlabel="stated probability of the called class", ylabel="share that is right", xlim=ends, ylim=ends,
           aspect=1)
    return figure


def saliency(beats, importance, rate_hz=120, titles=None):
    """Beats coloured by what mattered to the network: (rows, samples) each; see ``training.occlusion``.

    Red: without this part the network would be less sure of its answer. Each beat has its own scale.
    """
    figure, axes = plt.subplots(1, len(beats), figsize=(3.1 * len(beats), 2.8), sharey=True, layout="constrained",
                                squeeze=False)
    time_ms = np.arange(beats.shape[1]) * 1000 / rate_hz
    for i, (ax, beat) in enumerate(zip(axes[0], beats)):
        _panel(ax)
        shown = slice(int(np.flatnonzero(beat)[-1]) + 1 if beat.any() else 1)
        relative = importance[i] / max(np.abs(importance[i]).max(), 1e-9)
        ax.plot(time_ms[shown], beat[shown], color="0.75", lw=1, zorder=1)
        dots = ax.scatter(time_ms[shown], beat[shown], 9, relative[shown], cmap="coolwarm", vmin=-1, vmax=1, zorder=2)
        ax.set_title("" if titles is None else titles[i], fontsize=10, loc="left")
    axes[0, 0].set_ylabel("amplitude, scaled to 0..1")
    figure.supxlabel("time after the R peak (ms)", fontsize=10)
    figure.colorbar(dots, ax=axes, label="importance / largest", shrink=0.9)
    return figure


# ---- the ECG, maps and voltages ----

def paper(ax, length_ms, low_mv, high_mv):
    """ECG paper behind a trace: a small square is 40 ms by 0.1 mV, a large one 200 ms by 0.5 mV."""
    for (time, volt), colour, width in (((40, 0.1), SQUARES[0], 0.4), ((200, 0.5), SQUARES[1], 0.7)):
        ax.vlines(np.arange(0, length_ms + 1, time), low_mv, high_mv, colour, lw=width, zorder=0)
        rows = np.arange(np.ceil(low_mv / volt), high_mv / volt + 0.01) * volt
        ax.hlines(rows, 0, length_ms, colour, lw=width, zorder=0)
    ax.set(xlim=(0, length_ms), ylim=(low_mv, high_mv), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def twelve_leads(ecg_mv, labels=None, rate_hz=1000, title=None):
    """Twelve leads on ECG paper, in the order clinics print them: (12, time) or several of them (n, 12, time) in mV."""
    ecg_mv = np.asarray(ecg_mv)
    check_shape(ecg_mv.shape, samples=None)
    ecg_mv = ecg_mv[None] if ecg_mv.ndim == 2 else ecg_mv
    time_ms = np.arange(ecg_mv.shape[-1]) * 1000 / rate_hz
    low, high = np.floor(ecg_mv.min() / 0.5) * 0.5, np.ceil(ecg_mv.max() / 0.5) * 0.5
    figure, axes = plt.subplots(3, 4, figsize=(11, 1.2 + 3 * max(1.3, min(2.6, 0.9 * (high - low)))), sharex=True,
                                sharey=True, layout="constrained")
    figure.get_layout_engine().set(wspace=0, hspace=0, w_pad=0.02, h_pad=0.02)
    for ax, name in zip(axes.flat, np.ravel(PAPER)):
        paper(ax, time_ms[-1], low, high)
        for i, case in enumerate(ecg_mv):
            ax.plot(time_ms, case[LEADS.index(name)], color=INK[i % len(INK)], lw=1.2,
                    label=None if labels is None else str(list(labels)[i]))
        ax.text(0.02, 0.97, name, transform=ax.transAxes, va="top", weight="bold", fontsize=10)
    if labels is not None:
        lines = axes[0, 0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside upper right", ncols=len(ecg_mv), frameon=False)
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
    ax.set(xticks=range(10), xticklabels=ELECTRODES, xlabel="electrode", yticks=range(12), yticklabels=LEADS,
           ylabel="lead")
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    return figure


def voltages(truth_mv, predicted_mv=None, points=(0, 10, 20, 32, 52, 72), names=None, activation_ms=None):
    """Traces of some points, truth and prediction: (75, time) each, a panel a point; dots: activation times (75,)."""
    columns = min(3, len(points))
    figure, axes = plt.subplots(-(-len(points) // columns), columns, figsize=(11, 2.2 * -(-len(points) // columns)),
                                sharex=True, sharey=True, layout="constrained", squeeze=False)
    for ax, point in zip(axes.flat, points):
        ax.plot(truth_mv[point], color=INK[0], lw=2, label="truth")
        if predicted_mv is not None:
            ax.plot(predicted_mv[point], color=INK[1], lw=1.3, label="prediction")
        if activation_ms is not None:
            ax.plot(activation_ms[point], 0, "o", color=INK[1], label="activation")
        ax.set_title(f"point {point}" if names is None else str(names[point]), fontsize=9, loc="left")
        _panel(ax)
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.supxlabel("time (ms)", fontsize=10)
    figure.supylabel("voltage (mV)", fontsize=10)
    return figure
