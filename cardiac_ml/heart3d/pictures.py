"""Pictures of the heart for reports and notebooks: maps, truth beside prediction, bull's-eye, GIF.

Colours. Activation: early is bright yellow, late is dark blue, as warm is early in clinical maps; but evenly graded
and safe for colour-blind eyes (matplotlib's plasma, reversed), unlike a rainbow. Voltage: resting is dark blue,
excited is yellow. Differences: red is too late, blue too early. Grey: no value, because the point never activates.
Thin lines are isochrones, one every 10 ms. Shading dims a colour by a third at most.
"""
import re
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Circle, Wedge

from cardiac_ml import metrics
from cardiac_ml.heart3d import mesh as heart
from cardiac_ml.files import DataError
from cardiac_ml.heart3d.film import film_frame, write_gif
from cardiac_ml.heart3d.points import check_points
from cardiac_ml.heart3d.raster import SIDES, VIEWS, Raster, camera, isochrones, raster, smoothed

ACTIVATION, VOLTAGE, DIFFERENCE = "plasma_r", "plasma", "RdBu_r"
VOLTAGE_MV = (-90, 40)  # limits of the voltage scale
MISSING, RESTING = (0.62, 0.62, 0.62), (0.87, 0.87, 0.88)
FINE = 2  # pictures are painted this much larger, then averaged down


# ------------------------------------------------------------------------------------------------ values on the surface

class HeartSurface:
    """The surface of a mesh with its own numbering, and a way to carry values of the recording points to it."""

    def __init__(self, mesh: heart.Mesh, points: pd.DataFrame):
        check_points(points)
        used, triangles = np.unique(heart.surface(mesh), return_inverse=True)
        self.triangles = triangles.reshape(-1, 3)
        self.nodes_mm = smoothed(mesh.points_mm[used], self.triangles)
        self.points_mm = points[["x", "y", "z"]].to_numpy(dtype=float)
        self.nearest = heart.distances(self.nodes_mm, self.points_mm).argmin(axis=1)

    def spread(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (75,) of the points -> values at the nodes, and which nodes belong to a point that has none."""
        values = np.asarray(values, dtype=float)
        if values.shape != (len(self.points_mm),):
            raise DataError(f"A map needs one value for each of the {len(self.points_mm)} recording points, found "
                            f"shape {values.shape}. Voltages (75, time) go to gif or view.show.")
        return heart.interpolate(self.points_mm, self.nodes_mm, values), np.isnan(values)[self.nearest]

    def rasters(self, views, pixels: int) -> list[Raster]:
        """One raster a view, all at one scale, without the empty rows and columns that all of them share."""
        middle = (self.nodes_mm.min(axis=0) + self.nodes_mm.max(axis=0)) / 2
        axes = [camera(*direction(view))[:2] for view in views]
        width_mm = 2.06 * max(np.abs((self.nodes_mm - middle) @ two.T).max() for two in axes)
        found = [raster(self.nodes_mm, self.triangles, view, FINE * pixels, width_mm) for view in views]
        seen = np.any([view.seen for view in found], axis=0)
        rows, columns = (trimmed(seen.any(axis=axis)) for axis in (1, 0))
        return [replace(view, seen=view.seen[rows, columns]) for view in found]


def trimmed(used: np.ndarray) -> slice:
    """The stretch that is used, with a margin, from even place to even place."""
    first, last = np.flatnonzero(used)[[0, -1]] // FINE
    return slice(max(first - 2, 0) * FINE, min(last + 3, len(used) // FINE) * FINE)


def direction(view) -> tuple[float, float]:
    """Azimuth and elevation (degrees) of a named view; two numbers stay what they are."""
    return VIEWS[view] if isinstance(view, str) else tuple(view)


def known_views(views) -> tuple:
    """The views as a tuple; an unknown name raises with the list of names."""
    views = (views,) if isinstance(views, str) else tuple(views)
    unknown = [view for view in views if isinstance(view, str) and view not in VIEWS]
    if unknown or not views:
        raise DataError(f"Unknown view {unknown}. Choose from {list(VIEWS)}, or give (azimuth, elevation) in degrees.")
    return views


def paint(view: Raster, colours: np.ndarray, lines: np.ndarray | None = None) -> np.ndarray:
    """Shade colours (k, 3), draw lines (k,) over them, average down: a picture (height, width, 4), floats 0..1."""
    shaded = colours.astype(np.float32) * view.shade[:, None]
    if lines is not None:  # dark on light, light on dark
        ink = np.where(shaded @ np.float32([0.3, 0.59, 0.11]) > 0.25, 0, 1)[:, None]
        shaded += (ink - shaded) * (0.5 * lines[:, None])
    whole = view.picture(np.column_stack([shaded, np.ones(len(shaded), dtype=np.float32)]))
    height, width = (side // FINE for side in view.seen.shape)
    whole = whole.reshape(height, FINE, width, FINE, 4).mean(axis=(1, 3))
    whole[..., :3] /= np.maximum(whole[..., 3:], 1e-6)
    return whole.clip(0, 1)


def painted_map(view: Raster, at_nodes, missing, cmap, norm, step=None) -> np.ndarray:
    """One map in one view as a picture (height, width, 4); ``step``: distance of isochrones, None for no lines."""
    colours = colormaps[cmap](norm(view.values(at_nodes)))[:, :3]
    absent = view.values(missing) > 0.5
    colours[absent] = MISSING
    lines = isochrones(view, at_nodes, step) * ~absent if step else None
    return paint(view, colours, lines)


def painted_wave(view: Raster, at_nodes, missing, now_ms, norm) -> np.ndarray:
    """The map as far as the wave has come at ``now_ms``: pale ahead of it, white at its front, coloured behind it."""
    since = now_ms - view.values(at_nodes)
    colours = colormaps[ACTIVATION](norm(now_ms - since))[:, :3]
    colours += (1 - colours) * np.exp(-np.abs(since)[:, None] / 2.5)
    colours[since < 0] = RESTING
    colours[view.values(missing) > 0.5] = MISSING
    return paint(view, colours)


# -------------------------------------------------------------------------------------------------------------- panels

def side_labels(view) -> dict[str, str]:
    """What lies to the left and right of the viewer: {"left": "RV", "right": "LV lateral"}."""
    right = camera(*direction(view))[0]
    axis = int(np.abs(right).argmax())
    sign = 1 if right[axis] > 0 else -1
    return {"left": SIDES[axis, -sign], "right": SIDES[axis, sign]}


def show_panel(ax, picture: np.ndarray, view=None) -> None:
    """A painted picture on axes without frame; with a view, the names of the sides beneath it."""
    ax.imshow(picture, interpolation="antialiased")
    ax.set_axis_off()
    for side, name in (side_labels(view) if view is not None else {}).items():
        ax.text(side == "right", -0.02, name, transform=ax.transAxes, ha=side, va="top", color="0.5", fontsize=8)


def row_title(ax, title: str) -> None:
    """A title of the user's, as it is: a $ in it begins no formula."""
    ax.text(-0.03, 0.5, title, transform=ax.transAxes, rotation=90, va="center", ha="right", fontsize=10,
            parse_math=False)


def panels(rows: int, rasters: list[Raster], width: float = 2.6, extra: float = 0.0):
    """A figure with a row of panels for each map and a column for each raster, sized to the pictures."""
    height = width * rasters[0].seen.shape[0] / rasters[0].seen.shape[1]
    return plt.subplots(rows, len(rasters), figsize=(width * len(rasters) + 0.9, (height + extra) * rows + 0.3),
                        squeeze=False, layout="constrained")


def colour_bar(figure, axes, cmap: str, norm, label: str) -> None:
    bar = figure.colorbar(ScalarMappable(norm, colormaps[cmap]), ax=axes, shrink=0.8, aspect=28, pad=0.01)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def scale(values, limits=None) -> Normalize:
    """A linear scale over all finite values, or over ``limits``."""
    finite = np.concatenate([np.ravel(v)[np.isfinite(np.ravel(v))] for v in values])
    if not finite.size:
        raise DataError("All values are missing (NaN): there is nothing to show.")
    low, high = limits or (finite.min(), finite.max())
    return Normalize(low, high if high > low else low + 1)


def maps(mesh, points, values: dict, cmap: str = ACTIVATION, views=("anterior", "left", "inferior", "right"),
         unit: str = "ms", limits=None, step: float | None = None, pixels: int = 340):
    """Maps {title: (75,)} on the heart, a row each, a column a view; one colour scale for all. Returns the figure.

    Isochrones are drawn every 10 ms for activation, else every ``step`` if given.
    """
    surface, views = HeartSurface(mesh, points), known_views(views)
    norm, step = scale(values.values(), limits), step or (10 if cmap == ACTIVATION else None)
    rasters = surface.rasters(views, pixels)
    figure, axes = panels(len(values), rasters, extra=0.2)
    for row, (title, one) in zip(axes, values.items()):
        at_nodes, missing = surface.spread(one)
        for ax, view, seen in zip(row, views, rasters):
            show_panel(ax, painted_map(seen, at_nodes, missing, cmap, norm, step), view)
        row_title(row[0], title)
    for ax, view in zip(axes[0], views):
        ax.set_title(view if isinstance(view, str) else "", fontsize=9, color="0.4")
    colour_bar(figure, axes, cmap, norm, unit)
    return figure


def draw_map(ax, mesh, points, values, cmap: str = ACTIVATION, view="anterior", pixels: int = 340) -> None:
    """One map (75,) in one view, into a figure of your own."""
    surface, (side,) = HeartSurface(mesh, points), known_views((view,))
    picture, = surface.rasters((side,), pixels)
    step = 10 if cmap == ACTIVATION else None
    show_panel(ax, painted_map(picture, *surface.spread(values), cmap, scale([values]), step), side)


def comparison(mesh, points, truth, predicted, views=("anterior", "inferior"), pixels: int = 340):
    """Truth beside prediction beside error: activation (75,) each in ms, a row a view, bull's-eyes below."""
    surface, views = HeartSurface(mesh, points), known_views(views)
    error = np.asarray(predicted, dtype=float) - np.asarray(truth, dtype=float)
    norm, most = scale([truth, predicted]), max(5.0, float(np.nanpercentile(np.abs(error), 98)))
    either = Normalize(-most, most)
    shown = {"truth": (truth, ACTIVATION, norm, 10), "prediction": (predicted, ACTIVATION, norm, 10),
             f"error (mean size {np.nanmean(np.abs(error)):.1f} ms)": (error, DIFFERENCE, either, None)}
    rasters = surface.rasters(views, pixels)
    tall = 2.6 * rasters[0].seen.shape[0] / rasters[0].seen.shape[1] + 0.2
    figure, axes = plt.subplots(len(views) + 1, 3, figsize=(9.2, tall * len(views) + 2.5), layout="constrained",
                                height_ratios=[tall] * len(views) + [2.2])
    for column, (title, (values, cmap, limits, step)) in zip(axes.T, shown.items()):
        at_nodes, missing = surface.spread(values)
        for ax, view, seen in zip(column, views, rasters):
            picture = painted_map(seen, at_nodes, missing, cmap, limits, step)
            show_panel(ax, picture, view)
        column[0].set_title(title, fontsize=10)
        bulls_eye(values, points.name, column[-1], cmap, limits)
    for ax, view in zip(axes[:, 0], views):
        row_title(ax, view if isinstance(view, str) else "")
    colour_bar(figure, axes[:, :2], ACTIVATION, norm, "activation time (ms)")
    colour_bar(figure, axes[:, 2], DIFFERENCE, either, "too early      (ms)      too late")
    return figure


def check_values(values: dict, count: int = 75) -> bool:
    """Are these voltages (75, time), rather than maps (75,)? Raises where they are neither, mixed, or not in mV."""
    shapes = {title: np.shape(one) for title, one in values.items()}
    recording = [len(shape) == 2 for shape in shapes.values()]
    if any(len(shape) not in (1, 2) or shape[0] != count for shape in shapes.values()) or len(set(recording)) != 1:
        raise DataError(f"Found values of shape {shapes}; expected activation maps ({count},) in ms, or voltages "
                        f"({count}, time) in mV, all of one kind, since they share one colour scale.")
    if recording[0]:
        largest = max(np.abs(one).max() for one in values.values())
        if not largest < 160:  # also catches NaN
            raise DataError(f"Voltages reach {largest:.4g}; expected finite mV, within -160 to 160. Divide microvolts "
                            f"by 1000.")
    return recording[0]


def wave_norm(values: dict) -> tuple[bool, Normalize]:
    """Are these voltages rather than maps; and the colour scale that goes with them."""
    recording = check_values(values)
    return recording, Normalize(*VOLTAGE_MV) if recording else scale(values.values())


def wave_pictures(surface: HeartSurface, views: list[Raster], values: np.ndarray, times_ms, norm) -> list[np.ndarray]:
    """A picture for each time from a map (75,) or a recording (75, time); ``views`` holds one raster for each time."""
    if np.ndim(values) == 1:
        at_nodes, missing = surface.spread(values)
        return [painted_wave(view, at_nodes, missing, now, norm) for view, now in zip(views, times_ms)]
    voltage = heart.wave(surface.points_mm, surface.nodes_mm, values, times_ms)
    nowhere = np.zeros(len(surface.nodes_mm))
    return [painted_map(view, now, nowhere, VOLTAGE, norm) for view, now in zip(views, voltage)]


def wave_times(recording: bool, values, norm, count: int) -> np.ndarray:
    """Times (ms) spread evenly over the wave: to the end of a recording, to the latest point of a map."""
    last = min(np.shape(v)[1] for v in values) - 1 if recording else norm.vmax
    return np.linspace(0 if recording else norm.vmin, last, count + 1)[1:].round()


# ----------------------------------------------------------------------------------------------------------------- GIF

def gif(path, mesh, points, values, times_ms=None, view="anterior", turn: float = 0.0, frames_per_second: int = 20,
        pixels: int = 260) -> Path:
    """An animated GIF of the wave: a map (75,), a recording (75, time), or {name: either} side by side.

    ``turn``: degrees by which the heart turns during the film. Without ``times_ms`` 60 frames cover the wave, and
    the last one stands for a second.
    """
    values = values if isinstance(values, dict) else {"": values}
    surface, (recording, norm) = HeartSurface(mesh, points), wave_norm(values)
    hold = times_ms is None
    times_ms = wave_times(recording, values.values(), norm, 60) if hold else np.asarray(times_ms, dtype=float)
    (azimuth, elevation), = (direction(view) for view in known_views([view]))
    angles = azimuth + turn * np.arange(len(times_ms)) / len(times_ms)
    views = surface.rasters([(a, elevation) for a in (angles if turn else angles[:1])], pixels)
    views = views if turn else views * len(times_ms)
    films = [wave_pictures(surface, views, one, times_ms, norm) for one in values.values()]
    frames = [film_frame(pictures, list(values), f"{now:.0f} ms") for *pictures, now in zip(*films, times_ms)]
    return write_gif(path, frames, 1000 // frames_per_second, last_ms=1000 if hold else None)


# ---------------------------------------------------------------------------------------------------------- bull's-eye

RINGS = ((1.0, 0.72, 6, 60), (0.72, 0.44, 6, 60), (0.44, 0.18, 4, 45))  # outer and inner radius, segments, first angle
EDGES = {"anterior": (0, 1.08), "inferior": (0, -1.08), "septum": (-1.08, 0), "lateral": (1.08, 0)}


def segment_means(values, names):
    """Mean over the points of each of the 17 segments of the left ventricle: (..., 75) -> (..., 17), NaN left out.

    All layers of the wall count; septal points belong to their left segment; right points to none.
    """
    values = np.asarray(values, dtype=float)
    found = [re.search(r"AHA(\d\d)", name) for name in names]
    segment = np.array([int(match[1]) if match else 0 for match in found])
    if values.shape[-1:] != segment.shape or set(range(1, 18)) - set(segment):
        raise DataError(f"Values of shape {values.shape} and {len(segment)} names; expected one value per recording "
                        f"point, and names of all 17 segments (AHA01 ... AHA17).")
    member = segment == np.arange(1, 18)[:, None]  # (17, points)
    known = np.isfinite(values)
    return metrics.ratio(np.where(known, values, 0) @ member.T, known @ member.T.astype(float))


def bulls_eye(values, names, ax=None, cmap: str = ACTIVATION, norm=None):
    """The 17 segments of the left ventricle as seen from the apex: base outside, anterior above, septum on the left."""
    means = segment_means(values, names)
    ax, norm = ax or plt.subplots(figsize=(3.2, 3.2), layout="constrained")[1], norm or scale([means])
    patches = [Wedge((0, 0), outer, start + k * 360 / count, start + (k + 1) * 360 / count, width=outer - inner)
               for outer, inner, count, start in RINGS for k in range(count)] + [Circle((0, 0), RINGS[-1][1])]
    for patch, mean in zip(patches, means):
        colour = colormaps[cmap](norm(mean)) if np.isfinite(mean) else (*MISSING, 1)
        patch.set(facecolor=colour, edgecolor="white", linewidth=1.2)
        ax.add_patch(patch)
        ink = "white" if np.dot(colour[:3], (0.3, 0.59, 0.11)) < 0.5 else "black"
        number = f"{round(mean):d}" if np.isfinite(mean) else "?"
        ax.text(*middle_of(patch), number, ha="center", va="center", fontsize=7, color=ink)
    for name, place in EDGES.items():
        ax.text(*place, name, ha="center", va="center", fontsize=7, color="0.4", rotation=90 * (place[1] == 0))
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    ax.set_axis_off()
    return ax.figure


def middle_of(patch) -> tuple[float, float]:
    """Where the number of a segment is written."""
    if isinstance(patch, Circle):
        return 0, 0
    radius, angle = patch.r - patch.width / 2, np.radians((patch.theta1 + patch.theta2) / 2)
    return radius * np.cos(angle), radius * np.sin(angle)
