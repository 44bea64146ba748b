"""A small renderer in numpy: what each pixel shows is found once a view, then any map is painted in milliseconds.

The steps are those of a graphics card: turn, fill triangles, keep the nearest, interpolate values inside, look up
colours, shade. A pixel keeps its triangle and three weights, so a film of 500 frames needs the slow step once.
"""
from dataclasses import dataclass, replace

import numpy as np

VIEWS = {  # azimuth: where the viewer stands (0 = left side, -90 = in front); elevation: above the base plane
    "anterior": (-90, 18), "left": (0, 18), "inferior": (90, 18), "right": (180, 18), "from above": (-90, 62),
}
SIDES = {  # what lies in the direction of each axis of the mesh
    (0, 1): "LV lateral", (0, -1): "RV", (1, 1): "inferior", (1, -1): "anterior",
}
LIGHT = np.array([-0.3, 0.4, 0.866])  # right, up, towards the viewer: from above the viewer's left shoulder
AMBIENT = 0.72  # the least a colour is dimmed to: shading must not be mistaken for a value


def camera(azimuth: float, elevation: float) -> np.ndarray:
    """Rows (3, 3): the directions right, up and towards the viewer, in the axes of the mesh. Angles in degrees."""
    a, e = np.radians([azimuth, elevation])
    towards = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    return np.stack([right, np.cross(towards, right), towards])


def vertex_normals(nodes_mm: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals at the nodes (n, 3): the mean of their triangles' normals, weighted by area."""
    a, b, c = (nodes_mm[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    corner, count = triangles.ravel(), len(nodes_mm)
    normals = np.stack([np.bincount(corner, np.repeat(face[:, k], 3), count) for k in range(3)], axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def smoothed(nodes_mm: np.ndarray, triangles: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Nodes (n, 3) of a surface without the small steps that a mesh cut from a lattice has; for pictures only.

    Each node moves half way to the mean of its neighbours, then back by a little more, so that the heart does not
    shrink (Taubin 1995, "A signal processing approach to fair surface design").
    """
    n = len(nodes_mm)
    edges = [triangles[:, a] * n + triangles[:, b] for a in range(3) for b in range(3) if a != b]  # both ways
    own, other = np.divmod(np.unique(edges), n)
    count = np.maximum(np.bincount(own, minlength=n), 1)[:, None]
    for share in (0.5, -0.53) * rounds:
        sums = [np.bincount(own, nodes_mm[other, k], n) for k in range(3)]
        nodes_mm = nodes_mm + share * (np.stack(sums, axis=1) / count - nodes_mm)
    return nodes_mm


@dataclass(frozen=True)
class Raster:
    """What each pixel of one view shows: for the k pixels that show heart, a triangle and where in it they lie."""

    seen: np.ndarray  # (height, width) booleans, k of them true; row 0 is the top of the picture
    nodes: np.ndarray  # (k, 3) corners of the triangle in view
    weights: np.ndarray  # (k, 3) how much of each corner
    shade: np.ndarray  # (k,) brightness 0..1
    flat: np.ndarray  # (n, 2) column and row of every node, in pixels

    def values(self, at_nodes: np.ndarray) -> np.ndarray:
        """Values (n,) at the nodes -> (k,) at the pixels that show heart."""
        return np.einsum("ij,ij->i", np.asarray(at_nodes, dtype=np.float32)[self.nodes], self.weights)

    def picture(self, at_pixels: np.ndarray) -> np.ndarray:
        """(k, ...) -> (height, width, ...), zero where there is no heart."""
        whole = np.zeros((*self.seen.shape, *at_pixels.shape[1:]), dtype=at_pixels.dtype)
        whole[self.seen] = at_pixels
        return whole


def covered_pixels(corners: np.ndarray, width: int, height: int):
    """Pixel centres inside triangles (k, 3 corners, 2): triangle, column, row, weights of second and third corner."""
    low = np.clip(np.ceil(corners.min(axis=1)), 0, [width, height]).astype(np.int32)
    high = np.clip(np.floor(corners.max(axis=1)), -1, [width - 1, height - 1]).astype(np.int32)
    size = np.maximum(high - low + 1, 0)
    count = size.prod(axis=1)
    triangle = np.repeat(np.arange(len(corners), dtype=np.int32), count)  # every pixel of every bounding box ...
    within = np.arange(count.sum(), dtype=np.int32) - np.repeat(np.cumsum(count) - count, count).astype(np.int32)
    down, right = np.divmod(within, size[:, 0][triangle])
    start = low - corners[:, 0]
    (bx, by), (cx, cy) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area = bx * cy - by * cx
    area[area == 0] = np.inf  # seen exactly from its edge: weights are zero, its neighbours cover it
    second = np.stack([start[:, 0] * cy - start[:, 1] * cx, cy, -cx]) / area  # at the box's corner, per column, per row
    third = np.stack([start[:, 1] * bx - start[:, 0] * by, -by, bx]) / area
    second, third = (w[0][triangle] + w[1][triangle] * right + w[2][triangle] * down
                     for w in (second.astype(np.float32), third.astype(np.float32)))
    kept = np.flatnonzero((second >= 0) & (third >= 0) & (second + third <= 1))  # ... of which those inside are kept
    triangle = triangle[kept]
    return triangle, low[triangle, 0] + right[kept], low[triangle, 1] + down[kept], second[kept], third[kept]


def raster(nodes_mm, triangles, view="anterior", pixels: int = 800, width_mm: float | None = None) -> Raster:
    """Render a closed surface, nodes (n, 3) and triangles (k, 3), into ``pixels`` x ``pixels``.

    ``view`` is a name of VIEWS, or azimuth and elevation in degrees; the picture is ``width_mm`` wide.
    """
    axes = camera(*(VIEWS[view] if isinstance(view, str) else view))
    width_mm = width_mm or np.linalg.norm(np.ptp(nodes_mm, axis=0))
    turned = (nodes_mm - (nodes_mm.min(axis=0) + nodes_mm.max(axis=0)) / 2) @ axes.T
    flat = turned[:, :2] * [1, -1] * pixels / width_mm + pixels / 2 - 0.5
    beside, below = (flat[triangles[:, k]] - flat[triangles[:, 0]] for k in (1, 2))
    front = triangles[beside[:, 0] * below[:, 1] < beside[:, 1] * below[:, 0]]  # rows count downwards
    which, column, row, second, third = covered_pixels(flat[front], pixels, pixels)
    corner_depth = turned[front, 2].astype(np.float32)
    first, rise = corner_depth[:, 0], corner_depth[:, 1:] - corner_depth[:, :1]
    depth = first[which] + second * rise[which, 0] + third * rise[which, 1]
    order = np.argsort(depth)  # far to near: the last writer of a pixel is the nearest
    shown = np.full(pixels * pixels, -1, dtype=np.int64)
    shown[row[order] * pixels + column[order]] = order
    seen = (shown >= 0).reshape(pixels, pixels)
    shown = shown[shown >= 0]
    weights = np.stack([1 - second[shown] - third[shown], second[shown], third[shown]], axis=1)
    view = Raster(seen, front[which[shown]], weights, np.ones(len(shown), dtype=np.float32), flat)
    light = lambert(view, vertex_normals(nodes_mm, triangles) @ axes.T)
    return replace(view, shade=light * outline(view, depth[shown]))


def lambert(view: Raster, normals: np.ndarray) -> np.ndarray:
    """Brightness (k,) of a matt surface under LIGHT, from the nodes' normals (n, 3) in the viewer's axes."""
    return AMBIENT + (1 - AMBIENT) * np.clip(view.values(normals @ LIGHT) / np.linalg.norm(LIGHT), 0, 1)


def outline(view: Raster, depth_mm: np.ndarray, jump_mm: float = 6.0) -> np.ndarray:
    """Brightness (k,): darker where the next pixel lies far behind, an edge of one part in front of another."""
    depth, edge = view.picture(depth_mm + 1e4), np.ones(view.seen.shape, dtype=np.float32)  # no heart: depth 0
    for ahead, behind in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        step = np.where(view.seen[ahead] & view.seen[behind], depth[ahead] - depth[behind], 0)
        edge[ahead][step > jump_mm] = 0.55
        edge[behind][step < -jump_mm] = 0.55
    return edge[view.seen]


def isochrones(view: Raster, at_nodes: np.ndarray, step: float, width: float = 2.4) -> np.ndarray:
    """Lines at every multiple of ``step``: (k,) 0..1, 1 on a line. ``width`` in pixels.

    A pixel's distance to the next line is its value's distance, divided by the slope inside its own triangle. Slopes
    between neighbouring pixels would draw false lines along every edge where one part hides another.
    """
    value, place = np.asarray(at_nodes, dtype=np.float32), view.flat.astype(np.float32)
    a, b, c = view.nodes.T
    (bx, by), (cx, cy) = (place[b] - place[a]).T, (place[c] - place[a]).T
    rise_b, rise_c = value[b] - value[a], value[c] - value[a]
    slope = np.hypot(rise_b * cy - rise_c * by, rise_c * bx - rise_b * cx) / np.maximum(np.abs(bx * cy - by * cx), 1e-6)
    off = np.abs((view.values(value) / step + 0.5) % 1 - 0.5) * step
    return np.clip(width / 2 + 0.5 - off / np.maximum(slope, 1e-6), 0, 1)
