"""The pictures that the README shows, made from the virtual hearts by ``python -m cardiac_ml figures``."""
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml import ecg_plots, heart, heart_pictures, intracardiac

SHOWN = {"normal": "normal beat", "LBBB": "left bundle branch block", "focal": "one focus"}


def make_figures(folder):
    """banner.gif, activation_maps.png, twelve_leads.png and ten_to_twelve.png in ``folder``; returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mesh, points = heart.default_heart()
    data = intracardiac.load()
    kinds = data.table["kind"].to_numpy(dtype=str)
    rows = {title: int(np.flatnonzero(kinds == kind)[0]) for kind, title in SHOWN.items()}
    maps = {title: np.asarray(data.activation_ms[row]) for title, row in rows.items()}
    figures = {
        "activation_maps.png": heart_pictures.maps(mesh, points, maps),
        "twelve_leads.png": ecg_plots.twelve_leads(data.ecg_mv[list(rows.values())], labels=list(rows)),
        "ten_to_twelve.png": ecg_plots.lead_matrix(),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=110)
        plt.close(figure)
    banner = heart_pictures.gif(folder / "banner.gif", mesh, points, maps, turn=360)
    return [banner, *(folder / name for name in figures)]
