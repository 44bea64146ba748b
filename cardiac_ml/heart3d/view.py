"""The heart to turn, zoom and run in a notebook: one self-contained page of HTML, no server, no network, no package.

``show`` gives an object that a notebook displays: the page in a frame, and a still picture for places that strip
scripts. Colours are those of ``heart_pictures``: early is yellow, late dark blue; resting is dark blue, excited yellow.
"""
import base64
import html
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps

from cardiac_ml.heart3d import mesh as heart, pictures as heart_pictures
from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.heart3d.film import few_colours
from cardiac_ml.activation import upstroke_ms

FOLDER = Path(__file__).parent
MOST_NODES = 16000  # a finer surface is thinned: more would not be seen, and the page must stay below 1 MB
GRAIN_MV = 0.005  # voltages travel as whole numbers of this


@dataclass(frozen=True)
class HeartView:
    """What ``show`` returns. A notebook displays it; ``save`` writes the page to a file."""

    page: str  # a whole HTML document
    draw: Callable[[], bytes]
    height: int

    @cached_property
    def picture(self) -> bytes:
        """The still picture, a PNG: drawn once it is asked for."""
        return self.draw()

    def _repr_html_(self) -> str:
        still = f'<img alt="heart" style="max-width:100%" src="data:image/png;base64,{text64(self.picture)}">'
        frame = (f'<iframe srcdoc="{html.escape(self.page)}" style="width:100%;height:{self.height}px;border:0" '
                 f'title="heart"></iframe>')
        return f"<div>{still}{frame}</div>"

    def _repr_png_(self) -> bytes:
        return self.picture

    def __repr__(self):
        return f"HeartView({len(self.page) / 1e6:.2f} MB of HTML; save(path) writes it to a file)"

    def save(self, path) -> Path:
        """Write the page to a file that any browser opens."""
        with atomic_write(path, "w") as file:
            file.write(self.page)
        return Path(path)


def show(mesh, points, values, height: int = 480, view="anterior") -> HeartView:
    """An interactive heart: a map (75,) in ms, a recording (75, time) in mV, or up to three of them as {title: values}.

    Drag to turn all hearts together, wheel to zoom, play to run the wave; point at a place to read the recording point
    beneath. NaN in a map is a point that never activates, drawn grey.
    """
    values = values if isinstance(values, dict) else {"": values}
    values = {plain(title): np.asarray(one, dtype=float) for title, one in values.items()}
    if not 1 <= len(values) <= 3:
        raise DataError(f"{len(values)} hearts to show; the view has room for one to three side by side.")
    heart_pictures.check_values(values)
    view, = heart_pictures.known_views([view])
    surface = heart_pictures.HeartSurface(mesh, points)
    starts = {title: upstroke_ms(one) if one.ndim == 2 else one for title, one in values.items()}
    content = json.dumps(page_data(surface, points, values, starts, view), separators=(",", ":"), allow_nan=False)
    page = (FOLDER / "view.html").read_text(encoding="utf-8")
    scripts = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("view.js", "view_page.js"))
    page = page.replace("/*SCRIPT*/", scripts).replace("/*DATA*/", content.replace("<", "\\u003c"))
    return HeartView(page, partial(still_picture, mesh, points, starts, view), height)


def plain(title) -> str:
    """A title that can be written to any file: half of a surrogate pair becomes a question mark."""
    return str(title).encode("utf-8", "replace").decode("utf-8")


def still_picture(mesh, points, starts: dict, view) -> bytes:
    """The activation maps as PNG, two views each."""
    figure = heart_pictures.maps(mesh, points, starts, views=(view, "inferior"), pixels=220)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    plt.close(figure)
    return few_colours(file.getvalue())


# ------------------------------------------------------------------------------------ what the page computes with

def text64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def page_data(surface, points, values: dict, starts: dict, view) -> dict:
    """Everything the page computes with, ready for JSON."""
    nodes_mm, triangles = thinned(surface.nodes_mm, surface.triangles, MOST_NODES)
    known = list(dict.fromkeys(tuple(np.flatnonzero(np.isfinite(start)).tolist()) for start in starts.values()))
    whole = tuple(range(len(surface.points_mm)))
    recording = any(one.ndim == 2 for one in values.values())
    patterns = known + [whole] * (recording and whole not in known)
    norm = heart_pictures.scale(starts.values())
    ramps = {"activation": ramp(heart_pictures.ACTIVATION, (norm.vmin, norm.vmax), "ms", ("early", "late"))}
    if recording:
        ramps["voltage"] = ramp(heart_pictures.VOLTAGE, heart_pictures.VOLTAGE_MV, "mV", ("resting", "excited"))
    end = min(one.shape[1] for one in values.values()) - 1 if recording else int(np.ceil(norm.vmax)) + 10
    weights = [packed_weights(surface.points_mm[list(pattern)]) for pattern in patterns]
    return dict(
        **packed_surface(nodes_mm, triangles), names=points.name.tolist(),
        points_mm=surface.points_mm.round(6).tolist(),
        patterns=[dict(known=pattern, weights=weight) for pattern, weight in zip(patterns, weights)],
        whole_pattern=patterns.index(whole) if recording else 0, ramps=ramps, line_ms=10, end_ms=end, grain_mv=GRAIN_MV,
        first_ms=float(np.nanmedian(list(starts.values())).round()) if recording else end,
        view=heart_pictures.direction(view),
        panels=[panel_data(title, one, starts[title], patterns) for title, one in values.items()])


def panel_data(title: str, values: np.ndarray, start_ms: np.ndarray, patterns: list) -> dict:
    """One heart: its activation times (None where missing), and its voltages if there are any."""
    known = tuple(np.flatnonzero(np.isfinite(start_ms)).tolist())
    panel = dict(title=title, pattern=patterns.index(known),
                 activation_ms=[None if np.isnan(t) else round(float(t), 3) for t in start_ms])
    if values.ndim == 2:
        grains = np.round(values / GRAIN_MV).astype("<i2")
        panel.update(voltage=text64(grains.tobytes()), frames=values.shape[1],
                     silent_start_ms=float(np.nanmedian(start_ms)))
    return panel


def packed_weights(points_mm: np.ndarray) -> str:
    return text64(heart.rbf_weights(points_mm).astype("<f4").tobytes())


def packed_surface(nodes_mm: np.ndarray, triangles: np.ndarray) -> dict:
    """Nodes as steps of a fine grid from one corner, triangles as whole numbers."""
    corner = nodes_mm.min(axis=0)
    grain = float(np.ptp(nodes_mm, axis=0).max() / 65535)
    wide = len(nodes_mm) > 65535
    places = np.round((nodes_mm - corner) / grain).astype("<u2")
    return dict(nodes=text64(places.tobytes()), corner_mm=corner.tolist(), grain_mm=grain, wide=wide,
                triangles=text64(triangles.astype("<u4" if wide else "<u2").tobytes()))


def ramp(cmap: str, limits, unit: str, words) -> dict:
    """A colour scale: 256 colours, and what its ends mean."""
    colours = (colormaps[cmap](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)
    low, high = limits
    return dict(colours=text64(colours.tobytes()), range=[float(low), float(high)], unit=unit, words=list(words))


def thinned(nodes_mm: np.ndarray, triangles: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """A coarser surface of at most ``most`` nodes: nodes in one cell of a grid become one, at their mean."""
    size_mm = 0.5
    while len(nodes_mm) > most:
        cells = np.floor((nodes_mm - nodes_mm.min(axis=0)) / size_mm).astype(np.int64)
        _, cell = np.unique(cells, axis=0, return_inverse=True)
        cell = cell.reshape(-1)
        if cell.max() < most:
            count = np.bincount(cell)
            nodes_mm = np.stack([np.bincount(cell, nodes_mm[:, k]) / count for k in range(3)], axis=1)
            triangles = cell[triangles]
            a, b, c = triangles.T
            triangles = triangles[(a != b) & (b != c) & (c != a)]
        size_mm *= 1.15
    return nodes_mm, triangles
