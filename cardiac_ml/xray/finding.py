"""Use a trained heart finder: one picture, many pictures, and where on the picture it looked."""
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from cardiac_ml import training
from cardiac_ml.xray.augment import mirror_sides, move_pictures
from cardiac_ml.xray.convention import BUILT_IN, Convention, learn_convention
from cardiac_ml.xray.images import read_boxes, read_picture
from cardiac_ml.xray.model import HeartFinder, mean_place
from cardiac_ml.xray.picture import SIDES, Picture, cardiothoracic_ratio, from_array, put_in_frame

ZOOMS = (0.92, 1.0, 1.08)  # a picture is looked at in these sizes, and in a mirror; the mean is better than any one
SURE = 0.5  # below this confidence the finding says so
DOUBTFUL = 0.1  # confidence is multiplied by this where the file itself speaks against a frontal chest
SHARP, VAGUE = 1.5, 4.0  # spread of the sides over the usual one: fine up to the first, worth nothing from the second


class Predicted(NamedTuple):
    """Sides (n, 6) and their spread (n, 6), fractions of the frame; inverted (n,) bool.

    confidence (n,) 0..1: the chance that this is a frontal chest, less where the sides of the heart are vague.
    """
    sides: np.ndarray
    spread: np.ndarray
    inverted: np.ndarray
    confidence: np.ndarray


def _seen_once(model: HeartFinder, pictures: torch.Tensor, zoom: float = 1.0, mirrored: bool = False):
    """Sides, spread and chest logit of pictures (n, 1, size, size) seen at a zoom or mirrored, in their own frame."""
    matrix = torch.eye(2, device=pictures.device).repeat(len(pictures), 1, 1) * zoom
    nothing = torch.zeros(len(pictures), 2, device=pictures.device)
    seen = pictures if zoom == 1 else move_pictures(pictures, matrix, nothing, "zeros")
    output = model(seen.flip(-1) if mirrored else seen)
    mean, spread = mean_place(output[:, :6])
    if mirrored:
        mean, spread = mirror_sides(mean), spread[:, [2, 1, 0, 3, 5, 4]]
    return (mean - 0.5) / zoom + 0.5, spread / zoom, output[:, 6, 0]


@torch.no_grad()
def predict_sides(model: HeartFinder, pictures: np.ndarray, batch_size: int = 64) -> Predicted:
    """Pictures (n, 1, size, size) in 0..1 -> Predicted. An inverted picture is read as its negative, and marked."""
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for first in range(0, len(pictures), batch_size):
        batch = torch.tensor(pictures[first:first + batch_size], dtype=torch.float32, device=device)
        plain, negative = _seen_once(model, batch)[2], _seen_once(model, 1 - batch)[2]
        inverted = (negative > plain) & (negative > 0)
        batch = torch.where(inverted[:, None, None, None], 1 - batch, batch)
        looks = [_seen_once(model, batch, zoom, mirror) for zoom in ZOOMS for mirror in (False, True)]
        sides, spread, chest = (torch.stack(values).mean(0) for values in zip(*looks))
        spread = spread + torch.stack([look[0] for look in looks]).std(0, correction=0)  # disagreement is doubt too
        vague = ((spread[:, :4].mean(1) / model.usual_spread - SHARP) / (VAGUE - SHARP)).clamp(0, 1)
        parts.append([value.cpu().numpy() for value in (sides, spread, inverted, torch.sigmoid(chest) * (1 - vague))])
    return Predicted(*(np.concatenate(values) for values in zip(*parts)))


@dataclass(frozen=True)
class Finding:
    """What was found on one picture; sides in pixels of the file."""

    picture: Picture
    heart_box: np.ndarray  # x0 y0 x1 y1
    thorax: np.ndarray  # x0 x1
    confidence: float
    warnings: tuple[str, ...] = ()
    convention: Convention = BUILT_IN

    @property
    def sides(self) -> np.ndarray:
        """(6,) in the order of SIDES."""
        return np.concatenate([self.heart_box, self.thorax])

    @property
    def ratio(self) -> float:
        return float(cardiothoracic_ratio(self.sides))

    @property
    def heart_width_mm(self) -> float:
        """NaN where the file does not say how large a pixel is."""
        return float(self.heart_box[2] - self.heart_box[0]) * self.picture.mm_per_pixel

    def __repr__(self):
        box = ", ".join(f"{side:.0f}" for side in self.heart_box)
        width = "" if np.isnan(self.heart_width_mm) else f", heart {self.heart_width_mm:.0f} mm wide"
        lines = [f"{self.picture.name}: heart at ({box}) px, cardiothoracic ratio {self.ratio:.2f}{width}, "
                 f"confidence {self.confidence:.2f}"]
        return "\n".join(lines + [f"  careful: {warning}" for warning in self.warnings])

    def show(self, ax=None):
        """Draw the picture with the heart's box and the thorax; returns the axes."""
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(5, 5))[1] if ax is None else ax
        draw_sides(ax, self.sides, pixels=self.picture.pixels)
        ax.set_title(f"ratio {self.ratio:.2f}, confidence {self.confidence:.2f}", fontsize=9)
        return ax


def draw_sides(ax, sides, colour="tab:red", pixels=None) -> None:
    """Heart box and thorax lines (counted at pixel edges, as everywhere here) on ``pixels``, or on a picture there."""
    from matplotlib.patches import Rectangle

    if pixels is not None:
        low, high = np.quantile(pixels, (0.005, 0.995))  # a bright marker must not make the chest dark
        ax.imshow(pixels, cmap="gray", vmin=low, vmax=high)
    x0, y0, x1, y1 = np.asarray(sides[:4], float) - 0.5  # imshow counts at pixel centres
    ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.5))
    for x in np.asarray(sides[4:6], float) - 0.5:
        ax.axvline(x, color=colour, linewidth=0.8, linestyle=":")
    ax.set_axis_off()


@cache
def pretrained() -> HeartFinder:
    """The finder that comes with the kit; ``pretrained().card`` says what it learned from, and where it fails."""
    return training.pretrained("xray")


def find_heart(source, model: HeartFinder | None = None, convention: Convention = BUILT_IN) -> Finding:
    """Find the heart on one's own picture: a path (DICOM, PNG, JPEG, TIFF), an array, or a Picture.

    ``model`` is by default the one that comes with the kit; ``convention`` says where the sides are drawn.
    """
    model, picture = model or pretrained(), _as_picture(source)
    framed, frame = put_in_frame(picture.pixels, model.size)
    seen = predict_sides(model, framed[None, None])
    confidence = float(seen.confidence[0]) * (DOUBTFUL if picture.doubts else 1.0)
    warnings = picture.doubts + picture.notes
    warnings += ("looked inverted (bones dark): read as its negative",) if seen.inverted[0] else ()
    warnings += ("low confidence: perhaps no frontal chest X-ray, or no heart to be seen",) if confidence < SURE else ()
    limit = np.array([frame.width, frame.height, frame.width, frame.height, frame.width, frame.width])
    sides = np.clip(convention.apply(frame.to_pixels(seen.sides[0])), 0, limit)
    return Finding(picture, sides[:4], sides[4:], confidence, warnings, convention)


def _as_picture(source) -> Picture:
    if isinstance(source, Picture):
        return source
    return from_array(source) if isinstance(source, np.ndarray) else read_picture(source)


def convention_of(folder, model: HeartFinder | None = None) -> Convention:
    """The convention of a folder's ``boxes.csv`` (or of that file), 5 to 20 pictures."""
    table = read_boxes(folder)
    found = [find_heart(file, model).sides for file in table.file]
    return learn_convention(found, table[list(SIDES)], str(folder))


# ------------------------------------------------------------------------------------------------- where it looked

def saliency(model: HeartFinder, picture: np.ndarray, *, copies: int = 12, noise: float = 0.1, seed: int = 0):
    """(size, size) map in 0..1: how much each pixel of what the network sees moves the four sides of the heart.

    The mean over noisy copies (SmoothGrad) of the gradient's size: one gradient alone is mostly speckle.
    ``picture`` is (size, size) or (1, size, size), in 0..1.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    views = model.views(torch.as_tensor(picture, dtype=torch.float32).reshape(1, 1, *picture.shape[-2:]))
    views = views + noise * torch.randn((copies, *views.shape[1:]), generator=generator)
    views.requires_grad_(True)
    mean_place(model.from_views(views)[:, :4])[0].sum(0).abs().sum().backward()
    size = views.grad.abs().sum(1, keepdim=True).mean(0, keepdim=True)
    size = torch.nn.functional.avg_pool2d(size, 5, 1, 2)[0, 0].numpy()
    return size / max(float(size.max()), 1e-12)


@torch.no_grad()
def occlusion(model: HeartFinder, picture: np.ndarray, *, patch: int | None = None) -> np.ndarray:
    """(size, size) map: how far (pixels of the frame) the heart's sides move when a patch there is blurred away.

    Slower than ``saliency`` and easier to believe: nothing but the picture is changed.
    """
    model.eval()
    picture = torch.as_tensor(picture, dtype=torch.float32).reshape(picture.shape[-2:])
    size, patch = len(picture), patch or len(picture) // 7
    places = [(row, column) for row in range(0, size, patch // 2) for column in range(0, size, patch // 2)]
    moved, count = np.zeros((2, size, size))
    before = _seen_once(model, picture[None, None])[0]
    for row, column in places:
        hole = slice(row, row + patch), slice(column, column + patch)
        covered = picture.clone()
        covered[hole] = covered[hole].mean()
        after = _seen_once(model, covered[None, None])[0]
        moved[hole] += float((after - before)[0, :4].abs().sum()) * size
        count[hole] += 1
    return moved / count


def show_where_it_looked(source, model: HeartFinder | None = None):
    """A figure of one's own picture: the box, and which pixels moved it, by ``saliency`` and by ``occlusion``."""
    import matplotlib.pyplot as plt

    model, finding = model or pretrained(), find_heart(source, model)
    framed, frame = put_in_frame(finding.picture.pixels, model.size)
    sides = frame.to_frame(finding.sides) * model.size
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6))
    for ax, title, seen in zip(axes, ("picture", "saliency", "occlusion"), (None, saliency, occlusion)):
        draw_sides(ax, sides, "white", framed)
        if seen is not None:
            ax.imshow(seen(model, framed), cmap="inferno", alpha=0.6)
        ax.set_title(title)
    return figure
