"""Change a batch of chest X-rays and their boxes together: other crops, other detectors, other hospitals.

Pictures are (n, 1, size, size) tensors in 0..1; sides are (n, 6): heart x0 y0 x1 y1, thorax x0 x1, as fractions of the
frame. All functions take a ``torch.Generator``, so that a seed makes the same pictures again.
"""
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

LARGE_SIDE = 0.99  # a side that leaves the frame is clamped here and to 1 - this


def uniform(low: float, high: float, shape, generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def whole_numbers(low: int, high: int, count: int, generator) -> list[int]:
    return torch.randint(low, high, (count,), generator=generator, device=generator.device).tolist()


def chance(probability: float, count: int, generator) -> torch.Tensor:
    """(count, 1, 1, 1) bool, each True with this probability."""
    return uniform(0, 1, (count, 1, 1, 1), generator) < probability


# ---------------------------------------------------------------------------------------------------- geometry

def draw_affine(count: int, strength: "Strength", generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A random zoom, stretch, rotation, shear and shift: matrix (n, 2, 2), shift (n, 2), in fractions of the frame.

    A point p moves to ``matrix @ (p - 0.5) + 0.5 + shift``.
    """
    zoom = torch.exp(uniform(-1, 1, (count,), generator) * strength.zoom)
    stretch = torch.exp(uniform(-0.5, 0.5, (count,), generator) * strength.stretch)
    angle = uniform(-1, 1, (count,), generator) * strength.rotation_degrees * torch.pi / 180
    shear = uniform(-1, 1, (count,), generator) * strength.shear
    cosine, sine = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([cosine, -sine, sine, cosine], -1).view(-1, 2, 2)
    scale = torch.stack([zoom * stretch, shear, torch.zeros_like(zoom), zoom / stretch], -1).view(-1, 2, 2)
    return turn @ scale, uniform(-1, 1, (count, 2), generator) * strength.shift


def move_ellipses(boxes: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Boxes (n, 4) after an affine change, exact for the ellipse inscribed in each box.

    Turning the four corners and boxing them again would make every turned heart larger: a heart is round, it has no
    corners. The half-width of a turned ellipse with half-axes a, b is sqrt((m00 a)^2 + (m01 b)^2).
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    moved = torch.einsum("nij,nj->ni", matrix, centre - 0.5) + 0.5 + shift
    extent = torch.sqrt(torch.einsum("nij,nj->ni", matrix**2, half**2))
    return torch.cat([moved - extent, moved + extent], 1)


def move_sides(sides: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """All six sides (n, 6) after an affine change.

    Only the x-range of the thorax is known: it is taken as round too, as high as wide, its widest place at the
    height of the heart's lower half, where chests are widest.
    """
    heart = move_ellipses(sides[:, :4], matrix, shift)
    half = (sides[:, 5] - sides[:, 4]) / 2
    level = 0.25 * sides[:, 1] + 0.75 * sides[:, 3]
    chest = torch.stack([sides[:, 4], level - half, sides[:, 5], level + half], 1)
    return torch.cat([heart, move_ellipses(chest, matrix, shift)[:, [0, 2]]], 1)


def keep_heart_inside(sides: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor, margin: float = 0.03):
    """The shift, corrected where the heart would leave the frame (a half-seen heart has no right answer)."""
    box = move_ellipses(sides[:, :4], matrix, shift)
    return shift + (margin - box[:, :2]).clamp(min=0) + (1 - margin - box[:, 2:]).clamp(max=0)


def move_pictures(pictures: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor, border: str) -> torch.Tensor:
    """Resample pictures (n, 1, size, size) with the affine change; ``border`` is "zeros", "border" or "reflection"."""
    back = torch.linalg.inv(matrix)
    offset = -torch.einsum("nij,nj->ni", back, 2 * shift)  # grid_sample counts from -1 to 1: twice a fraction
    grid = F.affine_grid(torch.cat([back, offset[:, :, None]], 2), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode=border, align_corners=False)


def mirror_sides(sides: torch.Tensor) -> torch.Tensor:
    """The sides (n, 6) of a picture seen in a mirror: left and right change places."""
    x0, y0, x1, y1, thorax_x0, thorax_x1 = sides.unbind(1)
    return torch.stack([1 - x1, y0, 1 - x0, y1, 1 - thorax_x1, 1 - thorax_x0], 1)


# -------------------------------------------------------------------------------------------------------- tone

def running_mean(pictures: torch.Tensor, radius: int, axis: int) -> torch.Tensor:
    """Mean of 2 radius + 1 pixels along an axis (-1 or -2), the border repeated; fast for any radius."""
    size = pictures.shape[axis]
    first, last = pictures.narrow(axis, 0, 1), pictures.narrow(axis, size - 1, 1)
    shape = [-1, -1, -1, -1]
    shape[axis] = radius + 1
    total = torch.cat([first.expand(shape), pictures, last.expand(shape)], axis).cumsum(axis)
    width = 2 * radius + 1
    return (total.narrow(axis, width, size) - total.narrow(axis, 0, size)) / width


def blur(pictures: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over a square of (2 radius + 1) pixels, twice: close to a Gaussian."""
    for _ in range(2):
        pictures = running_mean(running_mean(pictures, radius, -1), radius, -2)
    return pictures


def to_unit(pictures: torch.Tensor) -> torch.Tensor:
    """Stretch each picture to 0..1."""
    low, high = pictures.amin((1, 2, 3), keepdim=True), pictures.amax((1, 2, 3), keepdim=True)
    return (pictures - low) / (high - low).clamp(min=1e-6)


def equalise(pictures: torch.Tensor, levels: int = 4096) -> torch.Tensor:
    """Histogram equalisation: each pixel becomes its rank among the pixels of its picture, 0..1.

    Any tone curve that keeps the order of the greys is undone by this, so pictures of two detectors look alike.
    """
    level = (to_unit(pictures) * (levels - 1)).round().long().flatten(1)
    count = torch.zeros(len(pictures), levels, device=pictures.device)
    count.scatter_add_(1, level, torch.ones(level.shape, device=pictures.device))
    rank = (count.cumsum(1) - count / 2) / level.shape[1]  # the middle of those alike
    return rank.gather(1, level).view_as(pictures)


def local_contrast(pictures: torch.Tensor, radius: int) -> torch.Tensor:
    """Each pixel against its surroundings, in their standard deviations, squeezed to -1..1."""
    detail = pictures - blur(pictures, radius)
    return torch.tanh(detail / (blur(detail**2, radius).sqrt() + 0.01) / 2)


def change_tone(pictures: torch.Tensor, generator) -> torch.Tensor:
    """Another tube, another detector, another film: gamma, S-curve, shading, detail boost, equalisation."""
    count = len(pictures)
    one = (count, 1, 1, 1)
    pictures = to_unit(pictures) ** torch.exp(uniform(-0.8, 0.8, one, generator))
    steep, middle = uniform(2, 9, one, generator), uniform(0.3, 0.7, one, generator)
    pictures = torch.where(chance(0.4, count, generator), to_unit(torch.sigmoid(steep * (pictures - middle))), pictures)
    pictures = torch.where(chance(0.25, count, generator), equalise(pictures), pictures)
    wide = blur(pictures, max(2, pictures.shape[-1] // 8))
    keep = torch.where(chance(0.5, count, generator), uniform(0.1, 1.2, one, generator), 1.0)
    boost = torch.where(chance(0.5, count, generator), uniform(0.8, 2.2, one, generator), 1.0)
    return shade(keep * wide + boost * (pictures - wide), generator)


def shade(pictures: torch.Tensor, generator) -> torch.Tensor:
    """A smooth brightness field added (heel effect, scatter), on half of the pictures."""
    count, size = len(pictures), pictures.shape[-1]
    field = F.interpolate(uniform(-0.3, 0.3, (count, 1, 3, 3), generator), size=(size, size), mode="bilinear",
                          align_corners=True)
    return torch.where(chance(0.5, count, generator), pictures + field, pictures)


def change_sharpness(pictures: torch.Tensor, generator) -> torch.Tensor:
    """Blur some pictures, sharpen some, and add grain to most."""
    count, one = len(pictures), (len(pictures), 1, 1, 1)
    detail = pictures - blur(pictures, 1)
    pictures = pictures + detail * uniform(-1, 1.5, one, generator) * chance(0.6, count, generator)
    grain = torch.randn(pictures.shape, generator=generator, device=generator.device)
    grain = torch.where(chance(0.5, count, generator), grain, 2 * F.avg_pool2d(grain, 3, 1, 1))
    contrast = pictures.std((1, 2, 3), keepdim=True)  # so that flat pictures do not drown in it
    return pictures + grain * contrast * uniform(0, 0.2, one, generator)


# ------------------------------------------------------------------------------------------------- what is in the way

def draw_rectangles(pictures: torch.Tensor, sides: torch.Tensor, generator) -> torch.Tensor:
    """Collimator edges outside the thorax, and small bright or dark markers anywhere."""
    count, size = len(pictures), pictures.shape[-1]
    place = (torch.arange(size, device=pictures.device) + 0.5) / size
    x, y = place.view(1, 1, 1, -1), place.view(1, 1, -1, 1)
    value = torch.where(chance(0.7, count, generator), pictures.amin((1, 2, 3), keepdim=True),
                        pictures.amax((1, 2, 3), keepdim=True))
    edge = uniform(0, 0.9, (4, count, 1, 1, 1), generator)
    room = torch.stack([sides[:, 4], sides[:, 1] * 0.4, 1 - sides[:, 5], (1 - sides[:, 3]) * 0.6]).view(4, -1, 1, 1, 1)
    left, top, right, bottom = edge * room.clamp(min=0)
    outside = (x < left) | (y < top) | (x > 1 - right) | (y > 1 - bottom)
    pictures = torch.where(outside & chance(0.25, count, generator), value, pictures)
    for _ in range(2):
        centre = uniform(0, 1, (2, count, 1, 1, 1), generator)
        half = uniform(0.01, 0.05, (2, count, 1, 1, 1), generator)
        marker = ((x - centre[0]).abs() < half[0]) & ((y - centre[1]).abs() < half[1])
        bright = uniform(-0.2, 1.3, (count, 1, 1, 1), generator)
        pictures = torch.where(marker & chance(0.3, count, generator), bright, pictures)
    return pictures


# ------------------------------------------------------------------------------------------- what is no chest X-ray

def make_negatives(pictures: torch.Tensor, generator) -> torch.Tensor:
    """Pictures that are no upright frontal chest: inverted, on the side, upside down, torn, no chest at all."""
    count, size = len(pictures), pictures.shape[-1]
    kind = whole_numbers(0, 7, count, generator)
    made = [_negative(picture, which, size, generator) for picture, which in zip(pictures, kind)]
    return torch.stack(made)


def _negative(picture: torch.Tensor, kind: int, size: int, generator) -> torch.Tensor:
    if kind <= 1:
        return picture.amax() - picture  # the most common accident
    if kind == 2:
        return torch.rot90(picture, whole_numbers(1, 4, 1, generator)[0], (1, 2))
    if kind == 3:  # the tiles of a chest, in disorder
        tiles = picture.unfold(1, size // 4, size // 4).unfold(2, size // 4, size // 4).reshape(16, size // 4, -1)
        tiles = tiles[torch.randperm(16, generator=generator, device=generator.device)].view(4, 4, size // 4, -1)
        return F.interpolate(tiles.permute(0, 2, 1, 3).reshape(1, 1, size // 4 * 4, -1), size=(size, size))[0]
    if kind == 4:  # a corner, far too large: shoulder, arm, belly
        x, y = whole_numbers(0, 2, 2, generator)
        part = slice(0, size // 3), slice(size - size // 3, size)
        return F.interpolate(picture[None, :, part[y], part[x]], size=(size, size), mode="bilinear")[0]
    return cloud(size, generator)


def cloud(size: int, generator) -> torch.Tensor:
    """(1, size, size) smooth noise, more or less of fine detail, some straight-edged shapes: any photograph."""
    picture = torch.zeros(1, 1, size, size, device=generator.device)
    steepness = float(uniform(0.4, 1.0, (1,), generator))
    for octave in range(1, 8):
        noise = torch.randn((1, 1, 2**octave, 2**octave), generator=generator, device=generator.device)
        picture += steepness**octave * F.interpolate(noise, size=(size, size), mode="bicubic")
    for _ in range(whole_numbers(0, 6, 1, generator)[0]):
        x0, y0, x1, y1 = whole_numbers(0, size, 4, generator)
        picture[:, :, min(y0, y1):max(y0, y1), min(x0, x1):max(x0, x1)] += uniform(-2, 2, (1,), generator)
    return to_unit(picture)[0]


# ---------------------------------------------------------------------------------------------------------- all of it

@dataclass(frozen=True)
class Strength:
    """How far pictures are changed: zoom and stretch as logarithms, shift as a fraction of the frame."""

    zoom: float = 0.25
    stretch: float = 0.25
    rotation_degrees: float = 8.0
    shear: float = 0.06
    shift: float = 0.10
    mirrored: float = 0.5  # share of pictures that are mirrored: a network that may not lean on "left" looks for edges
    tone: float = 0.9  # share of pictures with another tone curve
    negatives: float = 0.12  # share of pictures replaced by something that is no upright chest


def augment(pictures: torch.Tensor, targets: torch.Tensor, generator, strength: Strength = Strength()):
    """Changed pictures (n, 1, size, size) and targets (n, 7): the six sides and 1 for a chest, 0 for anything else."""
    count, sides, chest = len(pictures), targets[:, :6], targets[:, 6:]
    matrix, shift = draw_affine(count, strength, generator)
    shift = keep_heart_inside(sides, matrix, shift)
    border = ("zeros", "zeros", "border", "reflection")[whole_numbers(0, 4, 1, generator)[0]]
    pictures = move_pictures(pictures, matrix, shift, border)
    sides = move_sides(sides, matrix, shift).clamp(1 - LARGE_SIDE, LARGE_SIDE)
    turned = chance(strength.mirrored, count, generator)
    pictures = torch.where(turned, pictures.flip(-1), pictures)
    sides = torch.where(turned[:, 0, 0], mirror_sides(sides), sides)
    pictures = draw_rectangles(pictures, sides, generator)
    pictures = torch.where(chance(strength.tone, count, generator), change_tone(pictures, generator), pictures)
    pictures = change_sharpness(pictures, generator)
    negative = uniform(0, 1, (count, 1), generator) < strength.negatives
    if negative.any():
        which = negative[:, 0]
        pictures[which] = make_negatives(pictures[which], generator)
    return pictures, torch.cat([sides, chest * ~negative], 1)


def augmented(chests, seed: int = 0, **strength):
    """A set of ChestXrays, every picture and its box changed together, once (training draws anew for each batch)."""
    pictures, targets = augment(torch.tensor(chests.pictures), torch.tensor(chests.targets),
                                torch.Generator().manual_seed(seed), Strength(**{"negatives": 0.0, **strength}))
    return replace(chests, pictures=pictures.numpy(), sides=targets[:, :6].numpy())
