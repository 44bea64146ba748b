"""A solid cut into tetrahedra: a regular lattice, its cells cut into six, the outermost nodes moved onto the surface.

The solid is given by a function that is negative inside, positive outside and close to the distance (mm) near its
surface. Cutting every cell along the same diagonal (Kuhn 1960) makes the pieces of neighbours fit; on a body-centred
lattice all pieces are alike and nearly regular (Sommerville 1923). Moving the surface nodes by half a step at most
makes walls smooth and as thick as they should be.
"""
from itertools import permutations

import numpy as np
from scipy import sparse

from cardiac_ml.files import DataError

REACH = 0.6 
SNAP = 0.5          # surface nodes at most this many steps from the surface are moved onto it
FLATTEST = 0.12     # the smallest volume kept, as a share of a regular piece


def _kuhn_pieces():
    """The six tetrahedra of a cell, in steps along its edges: (6, 4, 3) corners, all with positive volume."""
    pieces = []
    for order in permutations(range(3)):
        corners = np.cumsum([np.zeros(3, int)] + [np.eye(3, dtype=int)[axis] for axis in order], axis=0)
        positive = np.linalg.det(corners[1:] - corners[0]) > 0
        pieces.append(corners if positive else corners[[0, 2, 1, 3]])
    return np.array(pieces)


def volumes_mm3(nodes_mm, tetrahedra):
    """Signed volumes (m,): positive where the fourth node lies on the side that the first three turn around."""
    a, b, c = np.moveaxis(nodes_mm[tetrahedra[:, 1:]] - nodes_mm[tetrahedra[:, :1]], 1, 0)
    return np.einsum("ij,ij->i", np.cross(a, b), c) / 6


def surface_triangles(tetrahedra):
    """Triangles (k, 3) that belong to one tetrahedron only, turned so that their normals point outwards."""
    faces = np.concatenate([tetrahedra[:, corners] for corners in ([0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2])])
    n = int(tetrahedra.max()) + 1
    low, middle, high = np.sort(faces, axis=1).astype(np.int64).T
    _, first, count = np.unique((low * n + middle) * n + high, return_index=True, return_counts=True)
    if (count > 2).any():
        raise DataError(f"{(count > 2).sum()} faces of the mesh belong to more than two tetrahedra, so that it has no "
                        f"surface. Cells are doubled or overlap: make the mesh again.")
    return faces[np.sort(first[count == 1])]


def _lattice_axes():
    """Three steps (3, 3), rows, that lead to the next nodes of a body-centred lattice with one node a unit volume.

    Cut by Kuhn's rule along the sum of the three, all its pieces are alike and nearly regular. It is turned so that
    some faces of the pieces are level: a flat top stays flat.
    """
    steps = (1 - 2 * np.eye(3)) * 0.5**(2 / 3)
    level, along = np.array([1, 1, 0]) / np.sqrt(2), np.array([0, 0, 1.0])
    return steps @ np.stack([along, np.cross(level, along), level], axis=1)


def mesh_solid(signed_mm, lower_mm, upper_mm, step_mm):
    """Tetrahedra of the solid inside a box: (nodes_mm (n, 3), tetrahedra (m, 4)).

    A node stands for ``step_mm`` ** 3. The lattice has a level of nodes at the box's upper z.
    """
    lower, upper = np.asarray(lower_mm, float) - step_mm, np.asarray(upper_mm, float) + step_mm
    axes, origin = step_mm * _lattice_axes(), np.append((lower + upper)[:2] / 2, upper[2] - step_mm)
    corners = np.stack(np.meshgrid(*zip(lower, upper), indexing="ij"), -1).reshape(-1, 3)
    index = (corners - origin) @ np.linalg.inv(axes)
    first = np.floor(index.min(axis=0)).astype(int)
    shape = np.ceil(index.max(axis=0)).astype(int) - first + 1
    points = (np.indices(shape).reshape(3, -1).T + first) @ axes + origin
    kept = ((points >= lower) & (points <= upper)).all(axis=1)
    kept[kept] = signed_mm(points[kept]) <= REACH * step_mm
    pieces = _pieces_of_kept(kept.reshape(shape))
    pieces = _largest_part(pieces, len(points))
    pieces, used = _renumbered(pieces, len(points))
    return _snapped(points[used], pieces, signed_mm, step_mm)


def _pieces_of_kept(kept):
    """Tetrahedra (m, 4), numbers into the lattice, with all four corners kept."""
    strides = np.array([kept.shape[1] * kept.shape[2], kept.shape[2], 1])
    corner = np.flatnonzero(kept.ravel())
    corner = corner[(np.stack(np.unravel_index(corner, kept.shape), 1) < np.array(kept.shape) - 1).all(axis=1)]
    pieces = (corner[:, None, None] + _kuhn_pieces() @ strides).reshape(-1, 4)
    return pieces[kept.ravel()[pieces].all(axis=1)]


def _largest_part(pieces, n):
    """Without crumbs: the tetrahedra that hang together by faces with most others."""
    faces = np.concatenate([np.delete(pieces, corner, axis=1) for corner in range(4)])
    low, middle, high = np.sort(faces, axis=1).astype(np.int64).T
    owner = np.tile(np.arange(len(pieces)), 4)
    key = (low * n + middle) * n + high
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order][1:] == key[order][:-1])
    pair = owner[order[same]], owner[order[same + 1]]
    graph = sparse.coo_matrix((np.ones(len(same), bool), pair), shape=(len(pieces),) * 2)
    part = sparse.csgraph.connected_components(graph, directed=False)[1]
    return pieces[part == np.bincount(part).argmax()]


def _renumbered(pieces, n):
    """Nodes numbered without gaps: (pieces, numbers of the nodes in use)."""
    used = np.unique(pieces)
    number = np.empty(n, np.int64)
    number[used] = np.arange(len(used))
    return number[pieces], used


def _snapped(nodes, pieces, signed_mm, step_mm):
    """Moves surface nodes onto the surface, less far where a tetrahedron would become flat."""
    least = FLATTEST * step_mm**3 / 6
    on_surface = np.unique(surface_triangles(pieces))
    move = np.zeros_like(nodes)
    move[on_surface] = _way_to_surface(nodes[on_surface], signed_mm, SNAP * step_mm)
    for _ in range(8):
        flat = volumes_mm3(nodes + move, pieces) < least
        if not flat.any():
            break
        move[np.unique(pieces[flat])] *= 0.6
    return nodes + move, pieces.astype(np.int32)


def _way_to_surface(points, signed_mm, longest_mm):
    """Steps (n, 3) mm down the gradient of the distance, none longer than ``longest_mm``."""
    way = np.zeros_like(points)
    for _ in range(2):
        here = points + way
        value, tiny = signed_mm(here), 1e-3
        slope = np.stack([(signed_mm(here + tiny * axis) - value) / tiny for axis in np.eye(3)], axis=1)
        way -= value[:, None] * slope / np.maximum((slope**2).sum(axis=1, keepdims=True), 0.25)
    length = np.linalg.norm(way, axis=1, keepdims=True)
    return way * np.minimum(1, longest_mm / np.maximum(length, 1e-9))
