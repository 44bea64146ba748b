"""Chest X-rays from files: one picture read right, or a folder of them with their boxes."""
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from cardiac_ml.files import DataError, cached_arrays
from cardiac_ml.xray import phantom
from cardiac_ml.xray.dicom import is_dicom, read_dicom
from cardiac_ml.xray.picture import (MOST_PIXELS, SIDES, SIZE, Frame, Picture, cardiothoracic_ratio, from_array,
                                     put_in_frame)

REAL_SIZE = 224  # pixels of the frame for real pictures, whose borders are finer than the phantom's; more is no better
FORMATS = ("PNG", "JPEG", "TIFF")  # of the 43 that Pillow opens: one of the others starts a program


def read_picture(path: str | Path) -> Picture:
    """Read a DICOM, PNG, JPEG or TIFF file. ``.doubts`` and ``.notes`` tell what is odd but readable; else an error."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give the path of a chest X-ray (DICOM, PNG, JPEG, TIFF).")
    return read_dicom(path) if is_dicom(path) else _read_image(path)


def _read_image(path: Path) -> Picture:
    """PNG, JPEG or TIFF, whatever the file is called."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            if image.format != "PNG":
                image = ImageOps.exif_transpose(image)  # a photographed light box may be stored on its side
            if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
                image = image.convert("RGB")
            if image.mode in ("1", "LA", "La"):
                image = image.convert("L")
            pixels = np.asarray(image)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no picture that can be read. Expected DICOM, PNG, JPEG or TIFF.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large ({error}); expected at most {MOST_PIXELS:,}. Make it smaller.") from error
    except Exception as error:  # Pillow has many ways to stumble over a broken file
        raise DataError(f"{path} is damaged or cut short ({error}). Copy or export it again.") from error
    return from_array(pixels, path.name)


@dataclass(frozen=True)
class ChestXrays:
    """Chest X-rays in the model's frame with the sides of heart and thorax.

    pictures (n, 1, size, size) float32 in 0..1; sides (n, 6) float32, fractions of the frame, in the order of SIDES;
    table: one row a picture (image, height, width, mm_per_pixel); source: what it is and where it came from.
    ``ds[3]`` is one pair (so that torch's DataLoader takes it), ``ds[index_array]`` a smaller dataset.
    """

    pictures: np.ndarray
    sides: np.ndarray
    table: pd.DataFrame
    source: str

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index):
        if isinstance(index, (int, np.integer)):
            return self.pictures[index], self.sides[index]
        return ChestXrays(self.pictures[index], self.sides[index], self.table.iloc[index].reset_index(drop=True),
                          self.source)

    @property
    def targets(self) -> np.ndarray:
        """(n, 7) float32: the six sides and a 1 that says 'this is a frontal chest'."""
        return np.concatenate([self.sides, np.ones((len(self), 1), np.float32)], 1)

    def frame(self, index: int) -> Frame:
        return Frame(int(self.table.height[index]), int(self.table.width[index]))

    def to_pixels(self, sides: np.ndarray) -> np.ndarray:
        """Fractions of the frame (n, 4 or 6) -> pixels of each file."""
        return np.stack([self.frame(i).to_pixels(row) for i, row in enumerate(sides)])

    def __repr__(self):
        ctr = cardiothoracic_ratio(self.sides)
        return (f"ChestXrays: {len(self)} chest X-rays in frames of {self.pictures.shape[-1]} pixels\n"
                f"  source: {self.source}\n"
                f"  cardiothoracic ratio: {ctr.mean():.2f} +- {ctr.std():.2f} ({(ctr > 0.5).mean():.0%} above 0.5)")


def read_boxes(folder: str | Path) -> pd.DataFrame:
    """Check a folder's ``boxes.csv``: image, six sides in pixels, mm_per_pixel where known; adds each file's path."""
    path = Path(folder) / "boxes.csv" if Path(folder).suffix != ".csv" else Path(folder)
    expected = f"Expected a table with a row a picture and the columns image, {', '.join(SIDES)} (pixels)."
    if not path.is_file():
        raise DataError(f"{path} is missing. {expected}")
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:  # empty, no text, ragged
        raise DataError(f"{path} is no table ({error}). {expected}") from error
    absent = [name for name in ("image", *SIDES) if name not in table]
    if absent or table.empty:
        raise DataError(f"{path} has {len(table)} rows and no column {', '.join(absent) or '(all there)'}. {expected}")
    numbers = table[list(SIDES)].apply(pd.to_numeric, errors="coerce")
    _no_bad_rows(path, table, ~np.isfinite(numbers).all(axis=1), "a side that is no number")
    _no_bad_rows(path, table, table.image.duplicated(), "an image named twice")
    turned = (numbers.heart_x0 >= numbers.heart_x1) | (numbers.heart_y0 >= numbers.heart_y1)
    _no_bad_rows(path, table, turned | (numbers.thorax_x0 >= numbers.thorax_x1), "x0 >= x1 or y0 >= y1",
                 "Sides are left, top, right, bottom.")
    places = [_find(path.parent, str(name)) for name in table.image]
    _no_bad_rows(path, table, np.array([place is None for place in places]), "no image file",
                 f"Put the pictures in {path.parent / 'images'} or take the rows out.")
    table[list(SIDES)] = numbers
    return table.assign(file=[str(place) for place in places])


def _find(folder: Path, name: str) -> Path | None:
    return next((place / name for place in (folder / "images", folder) if (place / name).is_file()), None)


def _no_bad_rows(path: Path, table: pd.DataFrame, bad, what: str, next_step: str = "Correct or remove them.") -> None:
    if np.any(bad):
        rows = [f"{table.image[i]} (line {i + 2})" for i in np.flatnonzero(bad)[:5]]
        raise DataError(f"{path}: {int(np.sum(bad))} of {len(table)} rows with {what}: {', '.join(rows)}. {next_step}")


def load_xrays(folder: str | Path | None = None, *, size: int = SIZE, virtual_chests: int = 240, seed: int = 0):
    """The X-rays of a folder (``boxes.csv`` and pictures), or made ones where no folder is given -> ChestXrays."""
    if folder is None:
        return _virtual(virtual_chests, size, seed)
    table = read_boxes(folder)
    pictures = [read_picture(file) for file in table.file]
    shape = np.array([picture.pixels.shape for picture in pictures])  # (n, 2) height, width
    outside = (table[["heart_x0", "heart_y0"]] < 0).any(axis=1) | (table.heart_x1 > shape[:, 1]) | (
        table.heart_y1 > shape[:, 0]) | (table.thorax_x0 < 0) | (table.thorax_x1 > shape[:, 1])
    _no_bad_rows(Path(folder) / "boxes.csv", table, outside, "a box outside its picture",
                 "Sides are pixels of the file itself, not of a resized copy.")
    framed = [put_in_frame(picture.pixels, size) for picture in pictures]
    sides = [frame.to_frame(row) for (_, frame), row in zip(framed, table[list(SIDES)].to_numpy())]
    if "mm_per_pixel" not in table:
        table["mm_per_pixel"] = [picture.mm_per_pixel for picture in pictures]
    table = table.assign(height=shape[:, 0], width=shape[:, 1])
    return ChestXrays(np.stack([image for image, _ in framed])[:, None], np.float32(sides), table,
                      f"{len(table)} real chest X-rays from {folder}")


def _virtual(count: int, size: int, seed: int) -> ChestXrays:
    """Virtual chests, made once and then read from the cache."""
    columns = [*SIDES, "mm_per_pixel"]

    def make():
        pictures, table = phantom.make_radiographs(count, size=size, seed=seed)
        return dict(pictures=pictures.astype(np.float16), rows=table[columns].to_numpy(float))

    saved = cached_arrays(f"virtual_chests/{count}_of_{size}_pixels_seed_{seed}", f"version{phantom.VERSION}", make)
    pictures, table = saved["pictures"].astype(np.float32), pd.DataFrame(saved["rows"], columns=columns)
    table.insert(0, "image", [f"virtual_{number:04d}" for number in range(count)])
    print(f"{count} virtual chest X-rays (a 3-D phantom). For real ones give a folder with boxes.csv and pictures.")
    sides, table = np.float32(table[list(SIDES)] / size), table.assign(height=size, width=size)
    return ChestXrays(pictures[:, None], sides, table,
                      f"{count} virtual chest X-rays, projected from a 3-D phantom")
