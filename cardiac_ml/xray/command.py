"""``python -m cardiac_ml predict xray``: the heart on one's own X-ray, or on those of a folder."""
import csv
import math
from argparse import RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np

from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.xray import finding
from cardiac_ml.xray.convention import BUILT_IN
from cardiac_ml.xray.picture import SIDES, put_in_frame

EXAMPLES = """examples:
  python -m cardiac_ml predict xray chest.dcm                     box, ratio, confidence; chest_heart.png
  python -m cardiac_ml predict xray my_folder --out findings      findings/hearts.csv, findings/hearts.png
  python -m cardiac_ml predict xray my_folder --convention 12_of_ours/boxes.csv

Not a medical device."""
NO_PICTURES = (".csv", ".json", ".md", ".txt")
COLUMNS = ("file", *SIDES, "cardiothoracic_ratio", "heart_width_mm", "confidence", "warnings")
THUMBNAIL, MOST_THUMBNAILS = 200, 48  # pixels; pictures on the contact sheet


def add_commands(subparsers) -> None:
    """Add ``xray`` to the subcommands of ``predict``."""
    parser = subparsers.add_parser("xray", help="box around the heart and cardiothoracic ratio of chest X-rays",
                                   epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a DICOM, PNG, JPEG or TIFF file, or a folder of such")
    parser.add_argument("--convention", type=Path, metavar="BOXES.CSV",
                        help="boxes of 5 to 20 pictures, which lie beside it: answer as these were drawn")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for pictures and table (default: here)")
    parser.set_defaults(run=predict_xray)


def predict_xray(options) -> int:
    """Print what was found and write it down; 1 where no picture could be read."""
    convention = BUILT_IN if options.convention is None else finding.convention_of(options.convention)
    if options.source.is_dir():
        return _folder(options.source, options.out, convention)
    found = finding.find_heart(options.source, convention=convention)
    print(found, convention, sep="\n")
    figure, ax = _figure(1, 1, 5)
    found.show(ax)
    print(f"Written to {_save(figure, options.out / f'{options.source.stem}_heart.png')}")
    return 0


def _folder(folder: Path, out: Path, convention) -> int:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() not in NO_PICTURES
                   and not path.name.startswith("."))
    if not paths:
        raise DataError(f"{folder} holds no pictures. Expected DICOM, PNG, JPEG or TIFF files.")
    rows, thumbnails, left_out = [], [], {}
    for path in paths:
        try:
            found = finding.find_heart(path, convention=convention)
        except DataError as error:
            left_out[path.relative_to(folder)] = error
            continue
        print(found, flush=True)
        rows.append(_row(str(path.relative_to(folder)), found))
        thumbnails.append(_thumbnail(found))
    if rows:
        with atomic_write(out / "hearts.csv", "w") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
        sheet = _contact_sheet(thumbnails, out / "hearts.png")
        print(convention, f"Written to {out / 'hearts.csv'} and {sheet}", sep="\n")
    print(f"{len(rows)} of {len(paths)} pictures read.")
    for path, why in left_out.items():
        print(f"left out: {path}: {why}")
    return 0 if rows else 1


def _row(name: str, found: finding.Finding) -> list:
    width = "" if math.isnan(found.heart_width_mm) else round(found.heart_width_mm, 1)
    return [name, *found.sides.round(1), round(found.ratio, 4), width, round(found.confidence, 3),
            "; ".join(found.warnings)]


def _thumbnail(found: finding.Finding):
    """(confidence, picture (size, size), sides, title) small enough to keep thousands of them."""
    small, frame = put_in_frame(found.picture.pixels, THUMBNAIL)
    title = f"{found.picture.name[:24]}\nratio {found.ratio:.2f}, confidence {found.confidence:.2f}"
    return found.confidence, np.uint8(255 * small), frame.to_frame(found.sides) * THUMBNAIL, title


def _contact_sheet(thumbnails, path: Path) -> Path:
    """One picture of all, the least sure first; of many, the least sure."""
    shown = sorted(thumbnails, key=lambda each: each[0])[:MOST_THUMBNAILS]
    columns = min(6, len(shown))
    figure, axes = _figure(math.ceil(len(shown) / columns), columns, 2.2)
    for ax in np.ravel(axes):
        ax.set_axis_off()
    for ax, (_, pixels, sides, title) in zip(np.ravel(axes), shown):
        finding.draw_sides(ax, sides, pixels=pixels)
        ax.set_title(title, fontsize=7)
    return _save(figure, path)


def _figure(rows: int, columns: int, inches: float):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(inches * columns, 1.25 * inches * rows), layout="constrained")
    return figure, figure.subplots(rows, columns)


def _save(figure, path: Path) -> Path:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return path
