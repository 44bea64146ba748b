"""Where a hospital draws the sides of a heart: the shift of each side between its boxes and the finder's.

Three sides and the ratio mean the same everywhere. The upper edge does not: some end the heart at its valves, others go
up along the great vessels. A few boxes show which.
"""
from dataclasses import dataclass

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.xray.picture import SIDES

FEWEST = 5  # pictures to learn a convention from; more than twenty add little
STANDARD_ERRORS = 3.0  # a shift of fewer is taken for chance
OUTWARDS = np.array([-1, -1, 1, 1, -1, 1])  # towards which each side grows
NAMES = ("right border", "upper edge", "left border", "lower edge", "right chest wall", "left chest wall")


@dataclass(frozen=True)
class Convention:
    """``shift`` (6,) of the sides and its standard ``error`` (6,), both in widths of the thorax."""

    name: str
    shift: np.ndarray
    error: np.ndarray

    @property
    def applied(self) -> np.ndarray:
        """(6,) the shifts that are surely no chance, 0 elsewhere."""
        return np.where(np.abs(self.shift) > STANDARD_ERRORS * self.error, self.shift, 0.0)

    def apply(self, sides) -> np.ndarray:
        """The finder's sides (..., 6) as this hospital would draw them."""
        sides = np.asarray(sides, float)
        return sides + self.applied * (sides[..., 5:6] - sides[..., 4:5])

    def __repr__(self):
        if not self.shift.any():
            return self.name
        lines = [f"{name} {100 * shift:+.1f} +- {100 * error:.1f} % of the thorax's width"
                 f"{'' if used else ' (not applied)'}"
                 for name, shift, error, used in zip(NAMES, self.shift * OUTWARDS, self.error, self.applied)]
        return "\n  ".join([f"{self.name} (outwards is +):", *lines])


BUILT_IN = Convention("convention of the training pictures: the upper edge is that of the heart, without the great "
                      "vessels", np.zeros(6), np.zeros(6))


def learn_convention(found, boxes, name: str) -> Convention:
    """The convention of ``boxes`` (n, 6), given what the finder found on the same pictures (n, 6), both in pixels.

    Medians, since one wrong box among a few is common.
    """
    found, boxes = np.asarray(found, float), np.asarray(boxes, float)
    if len(boxes) < FEWEST or found.shape != boxes.shape or boxes.shape[1:] != (len(SIDES),):
        raise DataError(f"{name}: boxes of {len(boxes)} pictures; a convention takes at least {FEWEST}, all "
                        "six sides of each.")
    shifts = (boxes - found) / (found[:, 5:6] - found[:, 4:5])
    shift = np.median(shifts, axis=0)
    deviation = 1.4826 * np.median(np.abs(shifts - shift), axis=0)  # as of a normal distribution
    return Convention(f"convention of {name}, {len(boxes)} pictures", shift, 1.2533 * deviation / np.sqrt(len(boxes)))
