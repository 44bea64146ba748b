"""Figures of tasks 1 and 2. Each function takes arrays (and ``ax``, where it draws one panel), returns the figure."""
import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml import metrics

INK = ("#1b3a5c", "#c8553d", "#3a7d44", "#7a5195", "#b8860b", "#5f6b73")


def _panel(ax, size=(4.6, 3.6)):
    """(figure, ax): a new panel where none is given, without the lines that carry nothing."""
    figure, ax = plt.subplots(figsize=size, layout="constrained") if ax is None else (ax.figure, ax)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def heartbeats(beats, label, classes, rate_hz=120, spread=(10, 90)):
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
            low, middle, high = np.nanpercentile(values, (spread[0], 50, spread[1]), axis=0)
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


def learning_curve(curve):
    """Loss in training and validation, and the score that chose the epoch, from ``fit(...).curve``."""
    scored = any(score is not None for score in curve["score"]) and curve.score_name != "loss"
    figure, axes = plt.subplots(1, 1 + scored, figsize=(4.6 * (1 + scored), 3.2), layout="constrained", squeeze=False)
    _panel(axes[0, 0])
    for name, label, colour in (("train_loss", "training", INK[0]), ("valid_loss", "validation", INK[1])):
        if any(value is not None for value in curve[name]):
            axes[0, 0].plot(curve["epoch"], np.array(curve[name], dtype=float), "o-", ms=3, color=colour, label=label)
    axes[0, 0].set(xlabel="epoch", ylabel="loss")
    axes[0, 0].legend(frameon=False)
    if scored:
        _panel(axes[0, 1])
        values = np.array(curve["score"], dtype=float)
        axes[0, 1].plot(curve["epoch"], values, "o-", ms=3, color=INK[1])
        kept = curve["epoch"].index(curve.best["epoch"])
        axes[0, 1].plot(curve.best["epoch"], values[kept], "o", ms=9, mfc="none", color=INK[2],
                        label=f"kept: epoch {curve.best['epoch']}, {values[kept]:.4g}")
        axes[0, 1].set(xlabel="epoch", ylabel=f"{curve.score_name} (validation)")
        axes[0, 1].legend(frameon=False)
    for ax in axes[0]:
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def confusion(truth, prediction, classes, ax=None):
    """Counts, and percentages of each row: of the true beats of a class, how many were called what?"""
    table = metrics.confusion(truth, prediction)
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
    for number, hit, score in _one_against_rest(truth, probability):
        alarms, found, _ = metrics.roc_curve(hit, score)
        area = np.trapezoid(found, alarms) if hasattr(np, "trapezoid") else np.trapz(found, alarms)
        ax.plot(alarms, found, color=INK[number % len(INK)], label=f"{classes[number]}: area {area:.3f}")
    ax.plot([0, 1], [0, 1], "--", color="0.7", lw=1, label="guessing: area 0.5")
    ax.set(xlabel="false alarms (1 - specificity)", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def precision_recall(truth, probability, classes, ax=None):
    """Predictive value against sensitivity at every threshold: kinder to look at than ROC where a class is rare."""
    figure, ax = _panel(ax)
    for number, hit, score in _one_against_rest(truth, probability):
        found, right, _ = metrics.precision_recall_curve(hit, score)
        ax.step(np.r_[0, found], np.r_[right[0], right], where="pre", color=INK[number % len(INK)],
                label=f"{classes[number]} ({100 * np.mean(hit):.1f} % of rows)")
        ax.axhline(np.mean(hit), color=INK[number % len(INK)], ls="--", lw=0.7)
    ax.set(xlabel="sensitivity", ylabel="predictive value (dashed: guessing)", xlim=(0, 1.01), ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def _one_against_rest(truth, probability):
    truth = np.asarray(truth)
    numbers = [1] if probability.shape[1] == 2 else range(probability.shape[1])
    return [(c, truth == c, probability[:, c]) for c in numbers if 0 < np.sum(truth == c) < len(truth)]


def reliability(truth, probability, bins=10, ax=None):
    """Of the rows called with 80 % certainty, are 80 % right? On the diagonal, yes; dots grow with their rows."""
    figure, ax = _panel(ax)
    stated, right, rows = metrics.reliability(truth, probability, bins)
    ax.plot([0, 1], [0, 1], "--", color="0.7", lw=1)
    ax.plot(stated, right, color=INK[0], lw=1)
    ax.scatter(stated, right, s=15 + 150 * rows / rows.sum(), color=INK[0], zorder=3)
    error = metrics.calibration_error(truth, probability)
    ax.set(xlabel="stated probability of the called class", ylabel="share that is right",
           title=f"calibration error {error:.3f}", xlim=(1 / probability.shape[1] - 0.02, 1.02), ylim=(-0.02, 1.05))
    ax.title.set_fontsize(10)
    return figure


def saliency(beats, importance, rate_hz=120, titles=None):
    """Beats coloured by what mattered to the network: (rows, samples) each; see ``saliency.occlusion``.

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
        dots = ax.scatter(time_ms[shown], beat[shown], c=relative[shown], cmap="coolwarm", vmin=-1, vmax=1, s=9, zorder=2)
        ax.set_title("" if titles is None else titles[i], fontsize=10, loc="left")
    axes[0, 0].set_ylabel("amplitude, scaled to 0..1")
    figure.supxlabel("time after the R peak (ms)", fontsize=10)
    figure.colorbar(dots, ax=axes, label="importance / largest", shrink=0.9)
    return figure


def heartbeat_parts():
    """One heartbeat in lead II with its parts named. A drawing, not a recording."""
    time_ms = np.arange(0, 900)
    waves = [("P", 160, 28, 0.12), ("Q", 279, 8, -0.15), ("R", 306, 10, 1.1), ("S", 326, 10, -0.22), ("T", 560, 45, 0.3)]
    signal = sum(size * np.exp(-((time_ms - centre) / width) ** 2 / 2) for _, centre, width, size in waves)
    figure, ax = _panel(None, (8, 3.4))
    ax.plot(time_ms, signal, color=INK[0], lw=2)
    for name, centre, _, size in waves:
        ax.annotate(name, (centre, size), (0, 8 if size > 0 else -16), textcoords="offset points", ha="center", weight="bold")
    for number, (start, stop, text) in enumerate((
            (80, 240, "atria\nactivate"), (270, 350, "QRS:\nventricles\nactivate"),
            (350, 430, "ST:\nall are\nactive"), (430, 690, "ventricles\nrecover"))):
        ax.axvspan(start, stop, ymax=0.22, color=INK[number % 2], alpha=0.15, lw=0)
        ax.text((start + stop) / 2, -0.57, text, ha="center", va="center", fontsize=8)
    ax.set(xlabel="time (ms)", ylabel="voltage (mV)", ylim=(-0.75, 1.35), xlim=(0, 900))
    return figure
