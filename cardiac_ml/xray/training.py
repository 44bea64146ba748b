"""Train the heart finder, and measure it on folds of a folder of X-rays."""
import copy
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cardiac_ml import training as core
from cardiac_ml.files import code_fingerprint, fingerprint
from cardiac_ml.xray.augment import Strength, augment
from cardiac_ml.xray.finding import predict_sides
from cardiac_ml.xray.images import REAL_SIZE, ChestXrays, load_xrays
from cardiac_ml.xray.model import Ensemble, HeartFinder, sides_loss
from cardiac_ml.xray.phantom import make_radiographs
from cardiac_ml.xray.picture import SIZE
from cardiac_ml.xray.scores import iou, mean_box, score_sides

RECIPE = dict(width=32, epochs=120)  # for a few hundred real pictures
FINE_TUNE_SHARE = 0.1  # of the epochs, added in small steps and with half the changes: closer to true pictures
FINE_TUNE = dict(lr=5e-4, strength=Strength(zoom=0.12, stretch=0.12, rotation_degrees=4.0, shear=0.03, shift=0.05))
MEMBERS = 3  # each trains for about four minutes on two cores


def train_heart_finder(train: ChestXrays, *, epochs: int = 80, width: int = 24, start: HeartFinder | None = None,
                       strength: Strength = Strength(), lateral_views: np.ndarray | None = None, batch_size: int = 16,
                       lr: float = 2e-3, seed: int = 0, device=None, checkpoint=None) -> HeartFinder:
    """A trained HeartFinder: the weights are their running mean over the last hundred steps.

    ``start`` is a network to go on from (trained on virtual chests, say); ``lateral_views`` (m, 1, size, size) are
    pictures of which it learns that they are no frontal chest.
    """
    torch.manual_seed(seed)
    model = HeartFinder(width, train.pictures.shape[-1]) if start is None else copy.deepcopy(start)
    model, _ = core.fit(model, _with_lateral_views(train, lateral_views), loss=sides_loss,
                        augment=partial(augment, strength=strength), epochs=epochs, batch_size=batch_size, lr=lr,
                        weight_decay=0.02, ema_decay=0.99, max_grad_norm=None, seed=seed, device=device,
                        checkpoint=checkpoint)
    return with_usual_spread(model, train.pictures)


def with_usual_spread(model, pictures: np.ndarray):
    """The network, knowing how wide its answers are on chests like these: what is much wider is no such chest."""
    model.usual_spread.fill_(float(np.median(predict_sides(model, pictures).spread[:, :4].mean(1))))
    return model


def _with_lateral_views(train: ChestXrays, lateral_views) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and targets (n, 7), the lateral views after them with the last target 0."""
    if lateral_views is None:
        return train.pictures, train.targets
    nothing = np.float32([[0.3, 0.3, 0.7, 0.7, 0.1, 0.9, 0.0]] * len(lateral_views))  # sides that nobody asks for
    return np.concatenate([train.pictures, lateral_views]), np.concatenate([train.targets, nothing])


def virtual_start(size: int = SIZE, *, chests: int = 400, epochs: int = 8, seed: int = 0, **training) -> HeartFinder:
    """A network trained on virtual chests alone: what to start from where real pictures with boxes are few."""
    dataset = load_xrays(size=size, virtual_chests=chests, seed=seed)
    return train_heart_finder(dataset, epochs=epochs, seed=seed, **training)


def virtual_lateral_views(count: int = 16, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """(count, 1, size, size) virtual chests seen from the side: what a lateral view is, for training and for checks."""
    return make_radiographs(count, size=size, seed=seed + 1_000_000, view="lateral")[0][:, None]


def train_members(dataset: ChestXrays, start: HeartFinder | None = None, *, members: int = MEMBERS, seed: int = 0,
                  checkpoints=None, **training) -> Ensemble:
    """Networks trained from one start on the same pictures with other random numbers, to be asked together.

    The recipe for a few hundred real pictures: starting from virtual chests, wider than the tutorial's network, and
    at last with milder changes of the pictures (FINE_TUNE, whatever ``training`` says). ``checkpoints`` is a folder in
    which a killed call finds what it had done.
    """
    size = dataset.pictures.shape[-1]
    training = RECIPE | training
    kept = lambda name: checkpoints and Path(checkpoints) / f"{name}.ckpt"  # noqa: E731
    start = start or virtual_start(size, seed=seed, width=training["width"], checkpoint=kept("start"))
    training.setdefault("lateral_views", virtual_lateral_views(size=size))
    fine_tuning = training | FINE_TUNE | dict(epochs=math.ceil(FINE_TUNE_SHARE * training["epochs"]))
    ensemble = Ensemble(members, training["width"], size)
    for number in range(members):
        network = start
        for stage, settings in (("trained", training), ("fine_tuned", fine_tuning)):
            network = train_heart_finder(dataset, start=network, seed=seed + 10 * number,
                                         checkpoint=kept(f"member_{number}_{stage}"), **settings)
        ensemble.members[number] = network
    return with_usual_spread(ensemble.eval(), dataset.pictures)


def train_on_folder(folder, *, size: int = REAL_SIZE, **training) -> Ensemble:
    """``train_members`` on all pictures of a folder."""
    return train_members(load_xrays(folder, size=size), **training)


def score_folder(model, folder) -> dict[str, float]:
    """Scores on the pictures of another folder, another hospital's say, with the mean confidence."""
    dataset = load_xrays(folder, size=model.size)
    found = predict_sides(model, dataset.pictures)
    scores = score_sides(dataset.to_pixels(found.sides), dataset.to_pixels(dataset.sides),
                         dataset.table.mm_per_pixel.to_numpy(float))
    return scores | {"confidence": float(found.confidence.mean()), "inverted": int(found.inverted.sum())}


# -------------------------------------------------------------------------------------------------------------- folds

def fold_numbers(count: int, folds: int = 5, seed: int = 0) -> np.ndarray:
    """(count,) the fold of each picture: equal shares, drawn with this seed."""
    return np.random.default_rng(seed).permutation(count) % folds


def cross_validated(dataset: ChestXrays, folds: int = 5, seed: int = 0, kept=None, **training):
    """Sides (n, 6, fractions) from networks that have not seen the picture, those of the mean box, and the folds.

    ``kept`` is a folder for the networks of finished folds: where it holds one of the same training, it is read.
    """
    fold = fold_numbers(len(dataset), folds, seed)
    network, baseline = np.empty((2, len(dataset), 6))
    start = None  # one for all folds: it has seen no real picture
    for number in range(folds):
        others, held_out = dataset[fold != number], dataset[fold == number]
        path = kept and Path(kept) / f"{_training_fingerprint(others, seed + number, training)}.npz"
        started = time.perf_counter()
        if path and path.exists():
            model, how = core.load(path), "read from an earlier run"
        else:
            start = start or virtual_start(dataset.pictures.shape[-1], seed=seed, width=(RECIPE | training)["width"])
            model = train_members(others, start, seed=seed + number, **training)
            how = f"after {time.perf_counter() - started:.0f} s"
            if path:
                core.save(path, model, data=others.source)
        network[fold == number] = predict_sides(model, held_out.pictures).sides
        baseline[fold == number] = mean_box(others.sides)
        overlap = iou(network[fold == number], held_out.sides).mean()
        print(f"fold {number + 1} of {folds}: IoU {overlap:.3f}, {how}", flush=True)
    return network, baseline, fold


def _training_fingerprint(dataset: ChestXrays, seed: int, training: dict) -> str:
    """Changes with the pictures, the boxes, the settings, the seed and the code that trains."""
    code = code_fingerprint(Path(__file__).parent, Path(core.__file__))
    return fingerprint(seed, sorted(training.items()), dataset.pictures, dataset.sides, code)


def cross_validate(folder, folds: int = 5, seed: int = 0, *, size: int = REAL_SIZE, **training) -> pd.DataFrame:
    """Train on all folds but one, score on that one, for each fold; prints and returns the table.

    ``kept=FOLDER`` keeps the networks of finished folds there, so that a killed call goes on where it was.

    One row a fold, then the mean over folds and the mean box's. Errors of sides are pixels of the files, and mm where
    the files (or a column mm_per_pixel in boxes.csv) say how large a pixel is.
    """
    dataset = load_xrays(folder, size=size)
    network, baseline, fold = cross_validated(dataset, folds, seed, **training)
    true, scale = dataset.to_pixels(dataset.sides), dataset.table.mm_per_pixel.to_numpy(float)
    found, mean = dataset.to_pixels(network), dataset.to_pixels(baseline)
    rows = [score_sides(found[fold == n], true[fold == n], scale[fold == n]) for n in range(folds)]
    table = pd.DataFrame(rows, index=[f"fold {n + 1}" for n in range(folds)])
    table.loc["mean of folds"] = table.mean()
    table.loc["mean box"] = pd.Series(score_sides(mean, true, scale))
    table["pictures"] = table.pictures.round().astype(int)
    print(f"{dataset.source}; {folds} folds, seed {seed}")
    print(table.round(3).to_string())
    overlap = iou(found, true)
    worst = [f"{dataset.table.image[i]} ({overlap[i]:.2f})" for i in np.argsort(overlap)[:5]]
    print(f"lowest overlap: {', '.join(worst)}. Look at their reference boxes first: some may be wrong.")
    return table
