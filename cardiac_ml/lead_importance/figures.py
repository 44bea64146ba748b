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
    """A heat map (rows, columns) with its numbers, blue for what helps and red for what misleads.

    Both colours are equally strong for equal sizes; the colour bar shows the part of them that there is.
    """
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
    bar = ax.figure.colorbar(image, ax=ax, label=unit, shrink=0.9)
    if np.any(table < 0) or np.any(table > 0):
        bar.ax.set_ylim(min(0, np.nanmin(table)), max(0, np.nanmax(table)))
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


def convergence(added, exact, ax=None):
    """How far the running mean of ``added`` (orders, n) is from the exact values (n,), and how far it should be."""
    ax = ax or plt.subplots(figsize=(6, 3.4), layout="constrained")[1]
    orders = np.arange(1, len(added) + 1)
    error = np.cumsum(added, axis=0) / orders[:, None] - exact
    one_order = np.sqrt(np.mean((added - exact) ** 2))
    ax.plot(orders, np.sqrt(np.mean(error ** 2, axis=1)), color=FOR, label="error, root mean square over the players")
    ax.plot(orders, one_order / np.sqrt(orders), "--", color=AGAINST, label="error of one order / root of their number")
    ax.set(xscale="log", yscale="log", xlabel="random orders", ylabel="error of the values")
    ax.legend(fontsize=8, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
