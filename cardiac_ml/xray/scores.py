"""How good is a box? Overlap, error of each side, cardiothoracic ratio; plain numpy."""
import numpy as np

from cardiac_ml.xray.picture import SIDES, cardiothoracic_ratio

ENLARGED = 0.5  # a heart wider than this share of the thorax is called enlarged


def iou(predicted, true) -> np.ndarray:
    """Intersection over union of boxes (n, 4 or more: x0 y0 x1 y1 first) -> (n,); 0 where they do not meet."""
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    low, high = np.maximum(predicted[:, :2], true[:, :2]), np.minimum(predicted[:, 2:4], true[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(1)
    area = [np.clip(box[:, 2:4] - box[:, :2], 0, None).prod(1) for box in (predicted, true)]
    return shared / np.maximum(area[0] + area[1] - shared, 1e-12)


def side_errors(predicted, true, mm_per_pixel=np.nan) -> dict[str, float]:
    """Mean absolute error of each side (n, 6) in pixels, and in mm over the pictures whose scale is known."""
    error = np.abs(np.asarray(predicted, float) - np.asarray(true, float))
    scale = np.broadcast_to(np.asarray(mm_per_pixel, float), len(error))
    known = np.isfinite(scale)
    row = {f"{side}_px": float(value) for side, value in zip(SIDES, error.mean(0))}
    if known.any():
        row |= {f"{side}_mm": float(value) for side, value in zip(SIDES, (error * scale[:, None])[known].mean(0))}
    return row


def ratio_error(predicted, true) -> np.ndarray:
    """Absolute error of the cardiothoracic ratio, (n, 6) sides -> (n,)."""
    return np.abs(cardiothoracic_ratio(predicted) - cardiothoracic_ratio(true))


def score_sides(predicted, true, mm_per_pixel=np.nan) -> dict[str, float]:
    """All scores of one set of pictures, as one row of a table; sides in pixels (n, 6)."""
    enlarged = [cardiothoracic_ratio(sides) > ENLARGED for sides in (predicted, true)]
    overlap = iou(predicted, true)
    row = {"pictures": len(overlap), "iou": float(overlap.mean()), "iou_median": float(np.median(overlap)),
           "iou_worst_tenth": float(np.quantile(overlap, 0.1)),
           "ctr_error": float(ratio_error(predicted, true).mean()),
           "enlarged_agreement": float((enlarged[0] == enlarged[1]).mean())}
    return row | side_errors(predicted, true, mm_per_pixel)


def mean_box(sides: np.ndarray) -> np.ndarray:
    """The baseline: the mean of the training sides (n, 6), in fractions of the frame, whatever the picture shows."""
    return np.asarray(sides, float).mean(0)
