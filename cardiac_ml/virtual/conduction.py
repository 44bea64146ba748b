"""How activation spreads: the first arrival time of a front that runs faster along the fibres than across them.

The eikonal equation, grad(t)' D grad(t) = 1, says in words: the front's slowness, measured with the local speeds, is
one everywhere. D = sum of v^2 e e' over the three axes of the muscle (fibre, across it in the sheet, through the wall),
v in mm/ms. Between neighbours it becomes Fermat's principle: the time at a node is the least, over all points of the
facing side of every tetrahedron around it, of the time there plus the time of the straight way from there.

Minimising over a triangle whose corners have times t1 t2 t3 gives a quadratic equation: with G the inner products of
the three edges to the node in slowness, and Q its inverse, the new time T solves (T - t)' Q (T - t) = f^2, where f is a
case's own factor on slowness. If the best point lies outside the triangle, one of its sides or corners is best.
(Bornemann and Rasch, Computing and Visualization in Science 9:57, 2006; anisotropy in the heart: Pullan, Tomlinson and
Hunter, SIAM J Applied Mathematics 63:121, 2002.)

Nodes are visited in fixed orders, to and fro, skipping those with no changed neighbour, until nothing changes: no heap,
so up to LANES cases of one heart are solved side by side, sixteen of them in one processor instruction.
"""
from dataclasses import dataclass

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.virtual.compiled import compiled

LANES = 64               # cases solved side by side, at most
VECTOR = 16              # numbers in the widest processor instruction: cases are padded to a multiple
NEVER_MS = 1e4           # no front has come (yet)
TOLERANCE_MS = np.float32(0.01)
ZERO = np.float32(0)     # a plain 0 would make numba compute in double precision, at half the speed


@dataclass(frozen=True)
class Paths:
    """All ways by which a front can reach each node. Rows of one node lie together: row starts are (n + 1,)."""
    edge_start: np.ndarray
    edge_from: np.ndarray       # (edges,) the neighbour
    edge_ms: np.ndarray         # (edges,) time along the edge
    pair_start: np.ndarray
    pair_from: np.ndarray       # (pairs, 2) the side that faces the node in a triangle
    pair_q: np.ndarray          # (pairs, 3) Q11 Q22 Q12
    face_start: np.ndarray
    face_from: np.ndarray       # (faces, 3) the triangle that faces the node in a tetrahedron
    face_q: np.ndarray          # (faces, 6) Q11 Q22 Q33 Q12 Q13 Q23
    orders: np.ndarray          # (orders, n) in which to visit the nodes


def slowness_tensor(fibre, through, speeds):
    """D's inverse at every node: (n, 3, 3) from speeds (n, 3) mm/ms along the fibre, across it, through the wall."""
    if not (np.isfinite(speeds).all() and np.min(speeds) > 0):
        raise DataError(f"A conduction speed of {np.min(speeds)} mm/ms: speeds must be positive.")
    along, across, normal = np.asarray(speeds).T ** -2.0
    tensor = across[:, None, None] * np.eye(3)
    tensor += (along - across)[:, None, None] * fibre[:, :, None] * fibre[:, None, :]
    return tensor + (normal - across)[:, None, None] * through[:, :, None] * through[:, None, :]


def _unique_rows(rows, n):
    """Rows of node numbers, each sorted, without repeats."""
    rows = np.sort(rows, axis=1).astype(np.int64)
    key = rows[:, 0]
    for column in rows.T[1:]:
        key = key * n + column
    return rows[np.unique(key, return_index=True)[1]]


def _by_node(rows, n):
    """Every corner of every row once as the target: (targets sorted, the other corners, row starts)."""
    width = rows.shape[1]
    target = rows.T.ravel()
    others = np.concatenate([np.delete(rows, corner, axis=1) for corner in range(width)])
    order = np.argsort(target, kind="stable")
    return target[order], others[order], np.append(0, np.cumsum(np.bincount(target, minlength=n)))


@compiled
def _gram(nodes, tensor, target, others):
    """Inner products, in slowness, of the edges from each other corner (rows, k) to the target: (rows, k, k) ms2."""
    rows, k = others.shape
    gram = np.empty((rows, k, k))
    edge, slow = np.empty((k, 3)), np.empty((3, 3))
    for r in range(rows):
        slow[:] = tensor[target[r]]
        for a in range(k):
            slow += tensor[others[r, a]]
            edge[a] = nodes[target[r]] - nodes[others[r, a]]
        for a in range(k):
            for b in range(a + 1):
                total = 0.0
                for i in range(3):
                    for j in range(3):
                        total += edge[a, i] * slow[i, j] * edge[b, j]
                gram[r, a, b] = gram[r, b, a] = total / (1 + k)
    return gram


def _inverse_2(g):
    """Q11 Q22 Q12 of 2 x 2 matrices."""
    det = g[:, 0, 0] * g[:, 1, 1] - g[:, 0, 1]**2
    return np.stack([g[:, 1, 1], g[:, 0, 0], -g[:, 0, 1]], axis=1) / det[:, None]


def _inverse_3(g):
    """Q11 Q22 Q33 Q12 Q13 Q23 of symmetric 3 x 3 matrices."""
    a, b, c, d, e, f = g[:, 0, 0], g[:, 1, 1], g[:, 2, 2], g[:, 0, 1], g[:, 0, 2], g[:, 1, 2]
    minors = [b * c - f * f, a * c - e * e, a * b - d * d, e * f - d * c, d * f - e * b, d * e - f * a]
    return np.stack(minors, axis=1) / (a * minors[0] + d * minors[3] + e * minors[4])[:, None]


def make_paths(nodes_mm, tetrahedra, tensor) -> Paths:
    """Everything about a mesh and its speeds that does not depend on where a front starts."""
    n = len(nodes_mm)
    corners = tetrahedra.astype(np.int64)
    triangles = _unique_rows(np.concatenate([np.delete(corners, k, axis=1) for k in range(4)]), n)
    edges = _unique_rows(np.concatenate([np.delete(triangles, k, axis=1) for k in range(3)]), n)
    target, side, edge_start = _by_node(edges, n)
    edge_ms = np.sqrt(_gram(nodes_mm, tensor, target, side)[:, 0, 0])
    edge_from = side[:, 0]
    target, pair_from, pair_start = _by_node(triangles, n)
    pair_q = _inverse_2(_gram(nodes_mm, tensor, target, pair_from))
    target, face_from, face_start = _by_node(corners, n)
    face_q = _inverse_3(_gram(nodes_mm, tensor, target, face_from))
    small, real = np.int32, np.float32
    return Paths(edge_start.astype(small), edge_from.astype(small), edge_ms.astype(real),
                 pair_start.astype(small), pair_from.astype(small), pair_q.astype(real),
                 face_start.astype(small), face_from.astype(small), face_q.astype(real), _orders(nodes_mm))


def _orders(nodes_mm):
    """Nodes sorted along x, along y and along z, to and fro: every direction of travel has its order."""
    forward = [np.argsort(coordinate, kind="stable") for coordinate in nodes_mm.T]
    return np.array([order for f in forward for order in (f, f[::-1])], np.int32)


@compiled
def _update(i, best, t, f, edge_start, edge_from, edge_ms, pair_start, pair_from, pair_q,
            face_start, face_from, face_q):
    """The least time at node i over all its paths, into best (cases,)."""
    lanes = t.shape[1]
    for k in range(lanes):
        best[k] = t[i, k]
    for e in range(edge_start[i], edge_start[i + 1]):
        a, ms = edge_from[e], edge_ms[e]
        for k in range(lanes):
            best[k] = min(best[k], t[a, k] + f[i, k] * ms)
    for e in range(pair_start[i], pair_start[i + 1]):
        a, b = pair_from[e, 0], pair_from[e, 1]
        q11, q22, q12 = pair_q[e, 0], pair_q[e, 1], pair_q[e, 2]
        total = q11 + q22 + q12 + q12
        det = q11 * q22 - q12 * q12
        for k in range(lanes):
            u = t[b, k] - t[a, k]
            under = total * f[i, k] * f[i, k] - det * u * u
            time = ((q22 + q12) * u + np.sqrt(max(under, ZERO))) / total
            inside = min(q11 * time + q12 * (time - u), q12 * time + q22 * (time - u))
            new = t[a, k] + time
            best[k] = new if (under > ZERO and inside >= ZERO and new < best[k]) else best[k]
    for e in range(face_start[i], face_start[i + 1]):
        a, b, c = face_from[e, 0], face_from[e, 1], face_from[e, 2]
        q11, q22, q33 = face_q[e, 0], face_q[e, 1], face_q[e, 2]
        q12, q13, q23 = face_q[e, 3], face_q[e, 4], face_q[e, 5]
        cross = q12 + q13 + q23
        total = q11 + q22 + q33 + cross + cross
        row_b, row_c = q12 + q22 + q23, q13 + q23 + q33
        for k in range(lanes):
            u, w = t[b, k] - t[a, k], t[c, k] - t[a, k]
            middle = row_b * u + row_c * w
            rest = (q22 * u + q23 * w) * u + (q23 * u + q33 * w) * w - f[i, k] * f[i, k]
            under = middle * middle - total * rest
            time = (middle + np.sqrt(max(under, ZERO))) / total
            x, y, z = time, time - u, time - w
            inside = min(q11 * x + q12 * y + q13 * z, min(q12 * x + q22 * y + q23 * z, q13 * x + q23 * y + q33 * z))
            new = t[a, k] + time
            best[k] = new if (under > ZERO and inside >= ZERO and new < best[k]) else best[k]


@compiled
def _settle(t, f, waiting, orders, edge_start, edge_from, edge_ms, pair_start, pair_from, pair_q,
            face_start, face_from, face_q):
    """Visits nodes to and fro until no time changes, in place. ``waiting`` (n,): 1 where a neighbour changed."""
    lanes = t.shape[1]
    best = np.empty(lanes, np.float32)
    left = waiting.sum()
    sweep = 0
    while left > 0:
        for i in orders[sweep % len(orders)]:
            if not waiting[i]:
                continue
            waiting[i] = 0
            left -= 1
            _update(i, best, t, f, edge_start, edge_from, edge_ms, pair_start, pair_from, pair_q,
                    face_start, face_from, face_q)
            changed = ZERO
            for k in range(lanes):
                changed = max(changed, t[i, k] - best[k])
                t[i, k] = best[k]
            if changed > TOLERANCE_MS:
                for e in range(edge_start[i], edge_start[i + 1]):
                    left += 1 - waiting[edge_from[e]]
                    waiting[edge_from[e]] = 1
        sweep += 1


def first_arrivals(paths: Paths, start_ms, slowness):
    """Activation times (n, cases) ms of fronts that start at (n, cases) ``start_ms``, NEVER_MS where they do not.

    ``slowness`` (n, cases) multiplies the travel time: 2 is half as fast, infinity is dead. NaN where no front comes.
    """
    n, cases = start_ms.shape
    if not np.min(slowness, initial=1) > 0:
        raise DataError(f"A slowness factor of {np.min(slowness)}: speeds must be positive.")
    fields = [getattr(paths, name) for name in Paths.__dataclass_fields__ if name != "orders"]
    arrival = np.empty((n, cases), np.float32)
    for first in range(0, cases, LANES):
        here = slice(first, min(first + LANES, cases))
        width = -(-(here.stop - first) // VECTOR) * VECTOR
        t, f = np.full((n, width), NEVER_MS, np.float32), np.ones((n, width), np.float32)
        t[:, :here.stop - first], f[:, :here.stop - first] = start_ms[:, here], np.minimum(slowness[:, here], 1e6)
        t[f >= 1e6] = NEVER_MS
        waiting = np.zeros(n, np.uint8)
        started = (t < NEVER_MS).any(axis=1)
        waiting[paths.edge_from[np.repeat(started, np.diff(paths.edge_start))]] = 1
        _settle(t, f, waiting, paths.orders, *fields)
        arrival[:, here] = t[:, :here.stop - first]
    arrival[arrival >= NEVER_MS] = np.nan
    return arrival
