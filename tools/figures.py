"""The pictures that the README shows, made from the virtual hearts by ``python -m tools.figures [--out DIR]``."""
import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml import intracardiac, plots
from cardiac_ml.files import ROOT
from cardiac_ml.heart3d import mesh as heart, pictures as heart_pictures
from cardiac_ml.leads import ELECTRODES, LEADS

SHOWN = {"normal": "normal beat", "LBBB": "left bundle branch block", "focal": "one focus"}


def make_figures(folder):
    """The banner and four pictures in ``folder``; returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mesh, points = heart.default_heart()
    data = intracardiac.load()
    kinds = data.table["kind"].to_numpy(dtype=str)
    rows = {title: int(np.flatnonzero(kinds == kind)[0]) for kind, title in SHOWN.items()}
    maps = {title: np.asarray(data.activation_ms[row]) for title, row in rows.items()}
    figures = {
        "activation_maps.png": heart_pictures.maps(mesh, points, maps),
        "twelve_leads.png": plots.twelve_leads(data.ecg_mv[list(rows.values())], labels=list(rows)),
        "ten_to_twelve.png": plots.lead_matrix(),
        "data_generation.png": data_generation(mesh, points, data, rows["normal beat"]),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=110)
        plt.close(figure)
    banner = heart_pictures.gif(folder / "banner.gif", mesh, points, maps, turn=360)
    return [banner, *(folder / name for name in figures)]


def data_generation(mesh, points, data, case):
    """How one case is made, from left to right: the wave in the muscle, voltages, electrodes, leads."""
    figure, (muscle, cells, skin, leads) = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained",
                                                        width_ratios=(1, 1.1, 1.1, 1.1))
    activation_ms = np.asarray(data.activation_ms[case])
    heart_pictures.draw_map(muscle, mesh, points, activation_ms)
    for color, point in zip(plots.INK, (0, 10, 40)):
        cells.plot(data.voltage_mv[case, point], color=color, label=points["name"].iloc[point])
    cells.set(xlabel="ms", ylabel="mV")
    cells.legend(frameon=False, fontsize=8, loc="upper right")
    stacked(skin, data.electrodes_mv[case], ELECTRODES)
    stacked(leads, data.ecg_mv[case], LEADS)
    titles = ("1. a wave runs through the muscle", "2. each cell answers with a voltage",
              "3. ten electrodes hear all cells", "4. twelve leads: differences")
    for ax, title in zip((muscle, cells, skin, leads), titles):
        ax.set_title(title, fontsize=11)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def stacked(ax, signals_mv, names, gap_mv=1.2):
    """Signals (n, time) under each other, each with its name."""
    for row, (signal, name) in enumerate(zip(signals_mv, names)):
        ax.plot(np.asarray(signal) - gap_mv * row, color="#1b3a5c", lw=1)
        ax.text(-12, -gap_mv * row, name, ha="right", va="center", fontsize=8)
    ax.set(yticks=[], xlabel="ms")
    ax.spines["left"].set_visible(False)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.figures", description="Make the pictures of the README.")
    parser.add_argument("--out", type=Path, default=ROOT / "figures", help="folder (default: figures/)")
    print(*make_figures(parser.parse_args(arguments).out), sep="\n")


if __name__ == "__main__":
    main()
