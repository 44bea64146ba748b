"""Chest X-rays: read the file right, put it in a square frame, know where each pixel went; pictures with boxes.

A picture here is (height, width) float32, 0..1, bright where the body is dense, as radiologists show it. A box is
x0 y0 x1 y1 in pixels of the file, counted at pixel edges: x0 = 0 is the left edge of the first column.
"""
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.files import DataError, cache_folder, atomic_write
from cardiac_ml.xray.dicom import is_dicom, read_dicom

SIDES = ("heart_x0", "heart_y0", "heart_x1", "heart_y1", "thorax_x0", "thorax_x1")
SIZE = 160  # pixels of the model's square frame: hearts are large, 1 pixel is about 2 mm
REAL_SIZE = 224  # of the frame for real pictures, whose borders are finer than the phantom's; more is no better
COLOUR = 0.03  # mean difference of the colour channels, above which a picture is not a grey one saved as colour
SMALLEST = 64  # pixels: below this no border of a heart can be told


@dataclass(frozen=True)
class Picture:
    """One X-ray as read: pixels (height, width) float32 in 0..1, bright = dense."""

    pixels: np.ndarray
    mm_per_pixel: float = float("nan")  # NaN: the file does not say
    name: str = "picture"
    doubts: tuple[str, ...] = ()  # reasons to think that this is no frontal chest X-ray
    notes: tuple[str, ...] = ()  # what was odd in the file, and how it was read all the same

    def __repr__(self):
        height, width = self.pixels.shape
        scale = "unknown scale" if np.isnan(self.mm_per_pixel) else f"{self.mm_per_pixel:.3f} mm a pixel"
        return f"Picture({', '.join([self.name, f'{width} x {height} pixels', scale, *self.doubts, *self.notes])})"


# ---------------------------------------------------------------------------------------------------- reading

def read_picture(path: str | Path) -> Picture:
    """Read a DICOM, PNG, JPEG or TIFF file. ``.doubts`` and ``.notes`` tell what is odd but readable; else an error."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give the path of a chest X-ray (DICOM, PNG, JPEG, TIFF).")
    return checked(read_dicom(path) if is_dicom(path) else _read_image(path))


def from_array(pixels: np.ndarray, name: str = "array", mm_per_pixel: float = float("nan")) -> Picture:
    """A picture from numbers: (height, width), or (height, width, 3) where colour is told in ``.doubts``."""
    pixels = np.asarray(pixels)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise DataError(f"{name}: the array has shape {pixels.shape}; expected (height, width), or (height, width, 3).")
    if not np.isfinite(pixels.astype(float)).all():
        raise DataError(f"{name}: some pixels are not finite numbers. Say what they should be before going on.")
    doubts = ()
    if pixels.ndim == 3:
        pixels = pixels[..., :3].astype(np.float32)
        spread = float(np.ptp(pixels, axis=2).mean()) / max(float(pixels.max()), 1e-6)
        doubts = ("in colour: an X-ray is grey",) if spread > COLOUR else ()
        pixels = pixels.mean(axis=2)
    return checked(Picture(pixels.astype(np.float32), mm_per_pixel, name, doubts))


def checked(picture: Picture) -> Picture:
    """The picture stretched to 0..1; an error where it is too small or shows nothing."""
    pixels = picture.pixels
    if min(pixels.shape) < SMALLEST:
        raise DataError(f"{picture.name}: {pixels.shape[1]} x {pixels.shape[0]} pixels, expected at least {SMALLEST} "
                        "on each side. Use the full picture, not its thumbnail.")
    low, high = float(pixels.min()), float(pixels.max())
    if not high > low:
        raise DataError(f"{picture.name}: every pixel is {low:g}: there is nothing to see. Export the picture again.")
    return replace(picture, pixels=((pixels - low) / (high - low)).astype(np.float32))


def _read_image(path: Path) -> Picture:
    """PNG, JPEG or TIFF through Pillow, which matplotlib brings along."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                image = ImageOps.exif_transpose(image)  # a photographed light box may be stored on its side
            if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
                image = image.convert("RGB")
            if image.mode in ("1", "LA", "La"):
                image = image.convert("L")
            pixels = np.asarray(image)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no picture that can be read. Expected DICOM, PNG, JPEG or TIFF.") from error
    except OSError as error:
        raise DataError(f"{path} is damaged or cut short ({error}). Copy or export it again.") from error
    return from_array(pixels, path.name)


# ------------------------------------------------------------------------------------------------- the model's frame

@dataclass(frozen=True)
class Frame:
    """Where a picture of height x width pixels lies in the square frame: centred and padded, never squashed."""

    height: int
    width: int

    @property
    def side(self) -> int:
        return max(self.height, self.width)

    @property
    def corner(self) -> tuple[int, int]:
        """Columns left of the picture, rows above it."""
        return (self.side - self.width) // 2, (self.side - self.height) // 2

    def _offset(self, count: int) -> np.ndarray:
        left, top = self.corner
        return np.array([left, top, left, top, left, left], float)[:count]

    def to_frame(self, sides) -> np.ndarray:
        """Pixels of the file (..., 4 or 6) -> fractions of the frame."""
        sides = np.asarray(sides, float)
        return (sides + self._offset(sides.shape[-1])) / self.side

    def to_pixels(self, sides) -> np.ndarray:
        """Fractions of the frame (..., 4 or 6) -> pixels of the file: the inverse of ``to_frame``."""
        sides = np.asarray(sides, float)
        return sides * self.side - self._offset(sides.shape[-1])


def put_in_frame(pixels: np.ndarray, size: int = SIZE) -> tuple[np.ndarray, Frame]:
    """Pad (height, width) to a square with black and resample it, averaging, to (size, size)."""
    from PIL import Image

    frame = Frame(*pixels.shape)
    square = np.full((frame.side, frame.side), float(pixels.min()), np.float32)
    left, top = frame.corner
    square[top:top + frame.height, left:left + frame.width] = pixels
    small = Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR)  # Pillow averages when it shrinks
    return np.asarray(small, np.float32), frame


# ------------------------------------------------------------------------------------------------------- a dataset

@dataclass(frozen=True)
class CardiacDataset:
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
        return CardiacDataset(self.pictures[index], self.sides[index], self.table.iloc[index].reset_index(drop=True),
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

    def augmented(self, seed: int = 0, **strength) -> "CardiacDataset":
        """Every picture and its box changed together, once (training draws anew for each batch)."""
        import torch

        from cardiac_ml.xray.augment import Strength, augment

        settings = Strength(**{"spoilt": 0.0, **strength})
        pictures, targets = augment(torch.tensor(self.pictures), torch.tensor(self.targets),
                                    torch.Generator().manual_seed(seed), settings)
        return replace(self, pictures=pictures.numpy(), sides=targets[:, :6].numpy())

    def __repr__(self):
        ctr = cardiothoracic_ratio(self.sides)
        return (f"CardiacDataset: {len(self)} chest X-rays in frames of {self.pictures.shape[-1]} pixels\n"
                f"  source: {self.source}\n"
                f"  cardiothoracic ratio: {ctr.mean():.2f} +- {ctr.std():.2f} ({(ctr > 0.5).mean():.0%} above 0.5)")


def cardiothoracic_ratio(sides: np.ndarray) -> np.ndarray:
    """Width of the heart over width of the thorax, (..., 6) -> (...): above 0.5 a heart is called enlarged."""
    sides = np.asarray(sides)
    return (sides[..., 2] - sides[..., 0]) / (sides[..., 5] - sides[..., 4])


def read_boxes(folder: str | Path) -> pd.DataFrame:
    """Read and check ``boxes.csv``: image, six sides in pixels, and mm_per_pixel where known; adds the file's path."""
    path = Path(folder) / "boxes.csv"
    if not path.is_file():
        raise DataError(f"{path} is missing. Expected a table with the columns image, {', '.join(SIDES)} (pixels).")
    table = pd.read_csv(path)
    absent = [name for name in ("image", *SIDES) if name not in table]
    if absent or table.empty:
        raise DataError(f"{path} has {len(table)} rows and no column {', '.join(absent) or '(all there)'}. "
                        f"Expected at least one row and image, {', '.join(SIDES)}.")
    numbers = table[list(SIDES)].apply(pd.to_numeric, errors="coerce")
    _no_bad_rows(path, table, ~np.isfinite(numbers).all(axis=1), "a side that is no number")
    _no_bad_rows(path, table, table.image.duplicated(), "an image named twice")
    turned = (numbers.heart_x0 >= numbers.heart_x1) | (numbers.heart_y0 >= numbers.heart_y1)
    _no_bad_rows(path, table, turned | (numbers.thorax_x0 >= numbers.thorax_x1), "x0 >= x1 or y0 >= y1",
                 "Sides are left, top, right, bottom.")
    places = [_find(Path(folder), str(name)) for name in table.image]
    _no_bad_rows(path, table, np.array([place is None for place in places]), "no image file",
                 f"Put the pictures in {Path(folder) / 'images'} or take the rows out.")
    table[list(SIDES)] = numbers
    return table.assign(file=[str(place) for place in places])


def _find(folder: Path, name: str) -> Path | None:
    return next((place / name for place in (folder / "images", folder) if (place / name).is_file()), None)


def _no_bad_rows(path: Path, table: pd.DataFrame, bad, what: str, next_step: str = "Correct or remove them.") -> None:
    if np.any(bad):
        rows = [f"{table.image[i]} (line {i + 2})" for i in np.flatnonzero(bad)[:5]]
        raise DataError(f"{path}: {int(np.sum(bad))} of {len(table)} rows with {what}: {', '.join(rows)}. {next_step}")


def load_xrays(folder: str | Path | None = None, *, size: int = SIZE, virtual_chests: int = 240, seed: int = 0):
    """The X-rays of a folder (``boxes.csv`` and pictures), or made ones where no folder is given -> CardiacDataset."""
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
    return CardiacDataset(np.stack([image for image, _ in framed])[:, None], np.float32(sides), table,
                          f"{len(table)} real chest X-rays from {folder}")


def _virtual(count: int, size: int, seed: int) -> CardiacDataset:
    """Virtual chests, made once and then read from the cache."""
    from cardiac_ml.xray import phantom

    path = cache_folder() / "virtual_chests" / f"version{phantom.VERSION}_{count}_of_{size}_pixels_seed_{seed}.npz"
    columns = [*SIDES, "mm_per_pixel"]
    if not path.exists():
        pictures, table = phantom.make_radiographs(count, size=size, seed=seed)
        with atomic_write(path) as file:
            np.savez(file, pictures=pictures.astype(np.float16), rows=table[columns].to_numpy(float))
    with np.load(path, allow_pickle=False) as saved:
        pictures, table = saved["pictures"].astype(np.float32), pd.DataFrame(saved["rows"], columns=columns)
    table.insert(0, "image", [f"virtual_{number:04d}" for number in range(count)])
    print(f"{count} virtual chest X-rays (a 3-D phantom). For real ones give a folder with boxes.csv and pictures.")
    sides, table = np.float32(table[list(SIDES)] / size), table.assign(height=size, width=size)
    return CardiacDataset(pictures[:, None], sides, table,
                          f"{count} virtual chest X-rays, projected from a 3-D phantom")
