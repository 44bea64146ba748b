"""What ``fit`` does with its arrays before the first step: check and weigh them, put them on the device."""
import warnings

import numpy as np
import torch

from cardiac_ml.files import DataError


def check_pair(name, pair):
    """``pair`` is (inputs, targets) with as many rows each, at least one, and inputs without NaN or infinity."""
    if pair is None:
        return
    inputs, targets = pair
    if len(inputs) != len(targets):
        raise DataError(f"{name} has {len(inputs)} inputs and {len(targets)} targets; each input needs its target.")
    if len(inputs) == 0:
        advice = ("Hold out at least one row of each class, or pass valid=None to train without choosing the best "
                  "epoch." if name == "valid" else "Check the split that made it.")
        raise DataError(f"{name} has no rows. {advice}")
    for start in range(0, len(inputs), 4096):  # in pieces: it may be a memory map larger than the memory
        part = np.asarray(inputs[start:start + 4096])
        good = np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if not good.all():
            raise DataError(f"{name} inputs: row {start + int(good.argmin())} holds NaN or infinity. Fill in or leave "
                            "out such rows before training.")


def check_labels(train_labels, valid_labels, classes):
    """Labels are whole numbers from 0 to classes - 1; warns of classes that are in one split only."""
    present = [_classes_in("train", train_labels, classes)]
    if valid_labels is None:
        return
    present.append(_classes_in("valid", valid_labels, classes))
    if unseen := sorted(present[1] - present[0]):
        warnings.warn(f"Classes {unseen} are in valid but not in train: the network cannot learn them. A stratified "
                      "split has every class on both sides.", stacklevel=3)
    if unjudged := sorted(present[0] - present[1]):
        warnings.warn(f"Classes {unjudged} are not in valid: the score does not judge them.", stacklevel=3)


def _classes_in(name, labels, classes):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"{name} targets are {labels.dtype} of shape {labels.shape}; the default loss expects class "
                        "numbers (rows,). For other targets give fit a loss, such as torch.nn.functional.mse_loss.")
    present = set(np.unique(labels).tolist())
    if wrong := sorted(present - set(range(classes))):
        raise DataError(f"{name} targets hold the class {wrong[0]}, but the network has {classes} outputs, for the "
                        f"classes 0 to {classes - 1}. Make it with classes={max(present) + 1}, or correct the labels.")
    return present


def class_weights(labels, balance, classes=0):
    """One number a class, 1 on average over the rows; ``balance`` 1 gives every class the same say, 0 every row.

    ``"balanced"`` means 1; an array is taken as it is; None stays None. ``classes``: how many there are at least.
    """
    if balance is None or np.ndim(balance) == 1:
        return balance if balance is None else np.asarray(balance, dtype=np.float32)
    counts = np.bincount(labels, minlength=classes)
    weights = np.where(counts > 0, 1 / np.maximum(counts, 1), 0) ** (1.0 if balance == "balanced" else float(balance))
    return (weights / np.average(weights, weights=counts)).astype(np.float32)


def row_weights(labels, sampling):
    """How often each row is drawn, relative to the others: from ``class_weights``, or given as one number a row."""
    if sampling is None:
        return None
    if np.ndim(sampling) == 1 and len(sampling) == len(labels):
        return np.asarray(sampling, dtype=np.float64)
    return np.asarray(class_weights(labels, sampling), dtype=np.float64)[labels]


def to_tensors(pair, device):
    """(inputs, targets) as tensors on the device: numbers as float32, class numbers as int64."""
    if pair is None:
        return None
    inputs, targets = (np.ascontiguousarray(array) for array in pair)
    whole = targets.dtype.kind in "iub"
    return (torch.as_tensor(inputs).to(device, torch.float32),
            torch.as_tensor(targets).to(device, torch.int64 if whole else torch.float32))
