"""The file of the 75 recording points: read, checked, written."""
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.virtual.points import POINT_NAMES


def read_text(path: str | Path) -> str:
    """The text of a file that must be there and must be text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is not there. `python -m cardiac_ml simulate geometry` writes the files of a virtual "
                        "heart.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not plain text. Save it again as legacy VTK in ASCII (in ParaView: Save Data, file "
                        "type ASCII), or the points as CSV.") from None


def read_points(path: str | Path) -> pd.DataFrame:
    """The 75 recording points: columns x, y, z (mm) and name, without the quotes that the file puts around names."""
    path = Path(path)
    lines = [line.split(",") for line in read_text(path).splitlines() if line.strip()]
    header = [word.strip().strip('"') for word in lines[0]] if lines else []
    wanted = ["Points:0", "Points:1", "Points:2", "Name"]
    if not set(wanted) <= set(header):
        raise DataError(f"{path} has the columns {header}; expected {wanted} in its first line.")
    columns = [header.index(name) for name in wanted]
    try:
        rows = [(*(float(line[i].strip(' "')) for i in columns[:3]), line[columns[3]].strip(" \"'"))
                for line in lines[1:]]
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} has a line without three numbers and a name ({error}). Copy the file again.") from None
    table = pd.DataFrame(rows, columns=["x", "y", "z", "name"])
    check_points(table, path)
    return table


def check_points(points: pd.DataFrame, where: str | Path = "The table of recording points") -> None:
    """Raise unless these are the 75 known points, in the known order, each at a finite place of its own."""
    names = points.name.tolist()
    doubled = sorted({name for name in names if names.count(name) > 1})
    missing, unknown = sorted(set(POINT_NAMES) - set(names)), sorted(set(names) - set(POINT_NAMES))
    if doubled or missing or unknown:
        said = [f"{what}: {', '.join(map(str, which[:5]))}{' ...' if len(which) > 5 else ''}" for what, which in
                (("doubled", doubled), ("missing", missing), ("unknown", unknown)) if which]
        raise DataError(f"{where} has {len(names)} points, expected the 75 of cardiac_ml.virtual.points.POINT_NAMES; "
                        f"{'; '.join(said)}.")
    if names != list(POINT_NAMES):
        row = next(i for i, (found, expected) in enumerate(zip(names, POINT_NAMES)) if found != expected)
        raise DataError(f"{where}: row {row} is {names[row]}, expected {POINT_NAMES[row]}. The order matters, it is "
                        "that of the 75 columns of a recording: sort rows as cardiac_ml.virtual.points.POINT_NAMES.")
    places = points[["x", "y", "z"]].to_numpy(dtype=float)
    if not np.isfinite(places).all():
        bad = points.name[~np.isfinite(places).all(axis=1)].tolist()
        raise DataError(f"{where}: {', '.join(bad[:5])} have NaN or infinite coordinates; expected mm.")


def write_points(path: str | Path, points: pd.DataFrame) -> Path:
    """Recording points in the layout of the points file: quoted headings, names in single quotes."""
    check_points(points)
    with atomic_write(path, "w") as file:
        file.write('"Points:0","Points:1","Points:2","Name"\n')
        file.writelines(f"{x!r},{y!r},{z!r},'{name}'\n" for x, y, z, name in
                        zip(*(points[axis].astype(float).tolist() for axis in "xyz"), points.name))
    return Path(path)
