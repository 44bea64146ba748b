"""One X-ray as numbers, and the square frame in which the network sees it.

A picture here is (height, width) float32, 0..1, bright where the body is dense, as radiologists show it. A box is
x0 y0 x1 y1 in pixels of the file, counted at pixel edges: x0 = 0 is the left edge of the first column.
"""
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from cardiac_ml.files import DataError

SIDES = ("heart_x0", "heart_y0", "heart_x1", "heart_y1", "thorax_x0", "thorax_x1")
SIZE = 160  # pixels of the model's square frame: hearts are large, 1 pixel is about 2 mm
COLOUR = 0.03  # mean difference of the colour channels, above which a picture is not a grey one saved as colour
SMALLEST, MOST_PIXELS = 64, 40_000_000  # below the first no border of a heart can be told; detectors have 25 million


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


def from_array(pixels: np.ndarray, name: str = "array", mm_per_pixel: float = float("nan")) -> Picture:
    """A picture from numbers: (height, width), or (height, width, 3) where colour is told in ``.doubts``."""
    pixels, doubts = np.asarray(pixels), ()
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise DataError(f"{name}: the array has shape {pixels.shape}; expected (height, width), or (height, width, 3).")
    if pixels.ndim == 3:
        step = max(1, min(pixels.shape[:2]) // 256)
        spread = np.ptp(pixels[::step, ::step, :3].astype(np.float32), axis=2).mean() / max(float(pixels.max()), 1e-6)
        doubts = ("in colour: an X-ray is grey",) if spread > COLOUR else ()
        pixels = pixels[..., :3].mean(axis=2, dtype=np.float32)
    return checked(Picture(pixels.astype(np.float32), mm_per_pixel, name, doubts))


def checked(picture: Picture) -> Picture:
    """The picture stretched to 0..1; an error where it is too small or shows nothing."""
    pixels = picture.pixels
    if not np.isfinite(pixels).all():
        raise DataError(f"{picture.name}: some pixels are not finite numbers. Say what they should be before going on.")
    if min(pixels.shape) < SMALLEST:
        raise DataError(f"{picture.name}: {pixels.shape[1]} x {pixels.shape[0]} pixels, expected at least {SMALLEST} "
                        "on each side. Use the full picture, not its thumbnail.")
    low, high = float(pixels.min()), float(pixels.max())
    if not high > low:
        raise DataError(f"{picture.name}: every pixel is {low:g}: there is nothing to see. Export the picture again.")
    return replace(picture, pixels=((pixels - low) / (high - low)).astype(np.float32))


def cardiothoracic_ratio(sides: np.ndarray) -> np.ndarray:
    """Width of the heart over width of the thorax, (..., 6) -> (...): above 0.5 a heart is called enlarged."""
    sides = np.asarray(sides)
    return (sides[..., 2] - sides[..., 0]) / (sides[..., 5] - sides[..., 4])


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
    frame = Frame(*pixels.shape)
    square = np.full((frame.side, frame.side), float(pixels.min()), np.float32)
    left, top = frame.corner
    square[top:top + frame.height, left:left + frame.width] = pixels
    small = Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR)  # Pillow averages when it shrinks
    return np.array(small, np.float32), frame
