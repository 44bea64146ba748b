"""The average virtual heart as a mesh with its recording points, for pictures: a coarser cut than simulations use."""
import numpy as np
import pandas as pd

from cardiac_ml.heart3d.mesh import Mesh
from cardiac_ml.points import POINT_NAMES
from cardiac_ml.virtual.anatomy import Shape, build_heart
from cardiac_ml.virtual.points import find_places, recording_points

STEP_MM = 2.72    # about 8000 nodes, as many as the published mesh has


def reference_heart(shape=Shape(), step_mm=STEP_MM) -> tuple[Mesh, pd.DataFrame]:
    """The mesh and the 75 points (columns x, y, z in mm and name), moved so that all coordinates start at 0."""
    heart = build_heart(shape, step_mm)
    points = recording_points(shape)
    find_places(heart, points)        # all of them inside, or an error
    corner = heart.nodes_mm.min(axis=0)
    table = pd.DataFrame(np.round(points - corner, 4), columns=["x", "y", "z"]).assign(name=POINT_NAMES)
    return Mesh(np.round(heart.nodes_mm - corner, 4), heart.tetrahedra), table
