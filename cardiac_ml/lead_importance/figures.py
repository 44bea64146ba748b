"""Pictures of the values of leads: bars with intervals, leads by class, pairs of leads, the best set of each size."""
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from cardiac_ml.plots import INK

FOR, AGAINST, ERROR, SHADE = INK[0], INK[1], "#e0a030", "RdBu"


def bars(names, mean, low=None, high=None, unit="", ax=None):
    """One bar a lead, the largest on top, with its interval. Values below 0 (the lead misleads) are red."""
    ax = ax or plt.subplots(figsize=(6, 0.32 * len(names) + 0.9), layout="constrained")[1]
    order = np.argsort(mean)
    mean, labels = np.asarray(mean)[order], np.asarray(names)[order]
    ax.barh(labels, mean, color=np.where(mean < 0, AGAINST, FOR))
    if low is not None:
        low, high = np.asarray(low)[order], np.asarray(high)[order]
        ax.errorbar(mean, labels, xerr=[mean - low, high - mean], fmt="none", ecolor=ERROR, elinewidth=1.6, capsize=3)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel(unit)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def lead_by_class(table, rows, columns, unit="", ax=None, digits=2):
    """A heat map (rows, columns) with its numbers, blue for what helps and red for what misleads."""
    table = np.asarray(table)
    ax = ax or plt.subplots(figsize=(0.75 * len(columns) + 2.6, 0.45 * len(rows) + 1.1), layout="constrained")[1]
    largest = np.nanmax(np.abs(table)) or 1.0
    image = ax.imshow(table, cmap=SHADE, vmin=-largest, vmax=largest, aspect="auto")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            ax.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=8,
                    color="white" if abs(value) > 0.6 * largest else "black")
    ax.figure.colorbar(image, ax=ax, label=unit, shrink=0.9)
    return ax


def pairs(matrix, names, unit="", ax=None):
    """Interactions (n, n): blue where two leads complement each other, red where one stands in for the other."""
    matrix = np.where(np.eye(len(names), dtype=bool), np.nan, matrix)
    ax = ax or plt.subplots(figsize=(5.6, 4.4), layout="constrained")[1]
    return lead_by_class(matrix, names, names, unit, ax)


def by_count(values, marked=None, unit="", ax=None):
    """The best set of each size as a line, other sets as points.

    ``values`` is (n, best value of each size from 0); ``marked`` maps a name to (number of leads, value).
    """
    ax = ax or plt.subplots(figsize=(6, 3.4), layout="constrained")[1]
    ax.plot(range(len(values)), values, "o-", color=FOR, label="best set of this size")
    for name, (count, value) in (marked or {}).items():
        ax.plot(count, value, "s", color=AGAINST)
        ax.annotate(name, (count, value), textcoords="offset points", xytext=(6, -11), fontsize=8, color=AGAINST)
    ax.set(xlabel="number of leads", ylabel=unit)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="lower right", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def convergence(added, exact, names, ax=None):
    """How the running mean of ``added`` (orders, n) comes to the exact values (n,)."""
    ax = ax or plt.subplots(figsize=(6, 3.4), layout="constrained")[1]
    orders = np.arange(1, len(added) + 1)
    running = np.cumsum(added, axis=0) / orders[:, None]
    for player, name in enumerate(names):
        line, = ax.plot(orders, running[:, player], linewidth=1.2, label=name)
        ax.axhline(exact[player], color=line.get_color(), linestyle=":", linewidth=1)
    ax.set(xscale="log", xlabel="random orders", ylabel="estimate (dotted: exact)")
    ax.legend(ncols=2, fontsize=8, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
