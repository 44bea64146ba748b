"""The command that writes the geometry of one virtual heart."""
from pathlib import Path

from cardiac_ml.files import ROOT


def add_commands(commands):
    geometry = commands.add_parser("geometry", help="mesh and recording points of one virtual heart")
    geometry.add_argument("--out", type=Path, default=ROOT / "geometry")
    geometry.set_defaults(run=_write_geometry)


def _write_geometry(options):
    from cardiac_ml.heart3d import mesh as heart
    from cardiac_ml.heart3d import points
    mesh, table = heart.reference_heart()
    print(f"Written to {heart.write_mesh(options.out / 'heart_mesh.vtk', mesh)} "
          f"and {points.write_points(options.out / 'points.csv', table)}")
