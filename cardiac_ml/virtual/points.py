"""Where the 75 recording points lie, and how to name any other place in the wall by an angle, a height and a depth.

Names and order are those of the published points file: 17 segments of the American Heart Association on the left
endocardium (Cerqueira et al., Circulation 105:539, 2002), 13 places on the right endocardium, 12 and 8 places on the
epicardium opposite, the same 20 in mid-wall, and 5 in the middle of the septum.
"""
from dataclasses import dataclass

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.virtual.anatomy import RV_LENGTH, Heart, Shape, rv_axis

FREE_LEFT = (1, 4, 5, 6, 7, 10, 11, 12, 13, 15, 16, 17)  # segments whose outside is the epicardium
FREE_RIGHT = (1, 2, 3, 6, 7, 8, 11, 12)
POINT_NAMES = (  # the order of the points file, and of the columns of every voltage recording
    *(f"AHA{i:02}" for i in range(1, 18)), *(f"RV{i:02}" for i in range(1, 14)),
    *(f"EPI_AHA{i:02}" for i in FREE_LEFT), *(f"EPI_RV{i:02}" for i in FREE_RIGHT),
    *(f"MID_AHA{i:02}" for i in FREE_LEFT), *(f"MID_RV{i:02}" for i in FREE_RIGHT),
    *(f"SEPTM_AHA{left:02}_RV{right:02}" for left, right in ((2, 5), (3, 4), (8, 10), (9, 9), (14, 13))),
)

ENDO, MID, EPI = 0.3, 0.5, 0.7      # depth of the points in the wall
CLOSE_MM = 0.6                      # the mesh follows the smooth shape only so well
BASAL, MIDDLE, APICAL = 0.90, 0.67, 0.37
LV_PLACES = [(angle, BASAL) for angle in (114, 166, -113, -60, -3, 79)] + [
    (angle, MIDDLE) for angle in (106, 171, -103, -57, -2, 73)] + [(angle, APICAL) for angle in (105, -138, -52, 41)]
# Right ventricle: angles around its own axis; "septal": around the left one's axis, on the right side of the septum.
RV_PLACES = [(150, BASAL), (-144, BASAL), (-100, BASAL), ("septal", -125, BASAL), ("septal", 172, BASAL),
             (160, MIDDLE), (-145, MIDDLE), (-102, MIDDLE), ("septal", -122, MIDDLE), ("septal", 175, MIDDLE),
             (-172, 0.42), (-107, 0.40), ("septal", -143, APICAL)]
SEPTUM = ((2, 5), (3, 4), (8, 10), (9, 9), (14, 13))       # left segment, right place


def _direction(angle_deg):
    return np.array([np.cos(np.radians(angle_deg)), -np.sin(np.radians(angle_deg))])


def _radius_at(shape, z_mm, radius, length):
    """Radius of an ellipsoid of revolution at a height; 0 below its end."""
    return radius * np.sqrt(max(0.0, 1 - ((z_mm - shape.lv_length_mm) / length)**2))


def lv_place(shape: Shape, angle_deg, height, depth):
    """(3,) mm in the left wall: angles turn with the septum; below the cavity's end, on the long axis."""
    z = height * shape.base_mm
    inner = _radius_at(shape, z, shape.lv_radius_mm, shape.lv_length_mm - shape.wall_mm)
    if inner == 0:
        return np.array([0, 0, shape.wall_mm * (1 - depth)])
    outer = _radius_at(shape, z, shape.outer_radius_mm, shape.lv_length_mm)
    turned = angle_deg + shape.rv_angle_deg - Shape.rv_angle_deg
    return np.append((inner + depth * (outer - inner)) * _direction(turned), z)


def rv_place(shape: Shape, angle_deg, height, depth):
    """(3,) mm in the right free wall, at an angle around the right ventricle's axis."""
    z = height * shape.base_mm
    length, wall = RV_LENGTH * shape.lv_length_mm, shape.rv_wall_mm
    inner = _radius_at(shape, z, shape.rv_radius_mm, length)
    outer = _radius_at(shape, z, shape.rv_radius_mm + wall, length + wall)
    turned = angle_deg + shape.rv_angle_deg - Shape.rv_angle_deg
    return np.append(rv_axis(shape, z) + (inner + depth * (outer - inner)) * _direction(turned), z)


def recording_points(shape: Shape):
    """(75, 3) mm, in the order of POINT_NAMES."""
    def left(segment, depth):
        place = (0, 0.05) if segment == 17 else LV_PLACES[segment - 1]
        return lv_place(shape, *place, depth)

    def right(number, depth):
        place = RV_PLACES[number - 1]
        return lv_place(shape, *place[1:], 1 - depth) if place[0] == "septal" else rv_place(shape, *place, depth)

    def outer(depth):
        return [left(k, depth) for k in FREE_LEFT] + [right(k, depth) for k in FREE_RIGHT]

    points = [left(k, ENDO) for k in range(1, 18)] + [right(k, ENDO) for k in range(1, 14)] + outer(EPI) + outer(MID)
    return np.array(points + [(left(a, ENDO) + right(b, ENDO)) / 2 for a, b in SEPTUM])


@dataclass(frozen=True)
class Places:
    """Points in a mesh: the tetrahedron of each, and the share of its corners."""
    points_mm: np.ndarray     # (p, 3)
    corners: np.ndarray       # (p, 4) node numbers
    share: np.ndarray         # (p, 4) sums to 1


def find_places(heart: Heart, points_mm) -> Places:
    """Which tetrahedron holds each point; a point more than CLOSE_MM outside the muscle is an error."""
    places, inside_mm = _closest(heart, points_mm)
    gap = np.linalg.norm(inside_mm - places.points_mm, axis=1)
    if gap.max() > CLOSE_MM:
        place = ", ".join(f"{x:.1f}" for x in places.points_mm[gap.argmax()])
        raise DataError(f"The place ({place}) mm lies outside the muscle of this heart. Choose one inside the wall; "
                        "points.lv_place and points.rv_place find some.")
    return places


def pulled_in(heart: Heart, points_mm):
    """The points (p, 3) themselves, where they lie in the muscle; elsewhere a place of the muscle close to them."""
    places, inside_mm = _closest(heart, points_mm)
    outside = np.linalg.norm(inside_mm - places.points_mm, axis=1) > CLOSE_MM
    return np.where(outside[:, None], inside_mm, places.points_mm)


def _closest(heart, points_mm):
    """The tetrahedra that hold the points, or come close to it, and where in them: (Places, (p, 3) mm)."""
    points = np.atleast_2d(np.asarray(points_mm, float))
    near = heart.middles.query(points, k=min(64, len(heart.tetrahedra)))[1]      # (p, 64)
    corners = heart.tetrahedra[near]                                             # (p, 64, 4)
    first, *others = np.moveaxis(heart.nodes_mm[corners], 2, 0)
    edges = np.stack([other - first for other in others], axis=-1)               # (p, 64, 3, 3)
    share = np.linalg.solve(edges, (points[:, None] - first)[..., None])[..., 0]
    share = np.concatenate([1 - share.sum(axis=-1, keepdims=True), share], axis=-1)
    best = share.min(axis=-1).argmax(axis=1)
    pick = np.arange(len(points)), best
    inside = np.maximum(share[pick], 0)
    inside /= inside.sum(axis=1, keepdims=True)
    return Places(points, corners[pick], inside), np.einsum("pc,pci->pi", inside, heart.nodes_mm[corners[pick]])
