"""Train any network of this kit, on whatever the machine has: ``fit`` and ``predict``.

    fitted = fit(model, (inputs, labels), (valid_inputs, valid_labels), epochs=10)
    fitted.curve.plot()
    scores = predict(fitted.model, test_inputs)

What the network eats (scaling included) is the network's business; what changes from one training to the next is an
argument of ``fit``. Under ``torchrun`` the same call trains on all devices and gives the same result, sooner.
"""
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional

from cardiac_ml import processes
from cardiac_ml.checkpoints import Checkpoint, data_print, network_print
from cardiac_ml.devices import computing, cpu_threads, pick_device, pick_precision
from cardiac_ml.files import DataError
from cardiac_ml.training_data import check_labels, check_pair, class_weights, row_weights
from cardiac_ml.training_loop import Curve, Fit, Run, TrainingStopped, frozen, one_cycle  # noqa: F401


def fit(model, train, valid=None, *, loss=None, score=None, maximize=True, epochs=10, batch_size=64,
        learning_rate=3e-3, weight_decay=0.01, slower=None, class_weight=None, sampling=None, augment=None,
        average=0.999, clip=1.0, patience=None, seed=0, device=None, precision="auto", checkpoint=None, progress=True):
    """Train ``model`` on arrays ``train = (inputs, targets)`` and keep the weights that do best on ``valid``.

    loss           function (output, target) -> a number to make small; default: cross-entropy of class numbers
    score          function (truth, output) -> a number, of numpy arrays, that chooses the best epoch (default: the
                   loss); ``maximize=False`` where less is better
    learning_rate  at the top of a one-cycle schedule; ``slower={"body": 0.1}`` scales it by name, 0 freezes
    class_weight   for the default loss: "balanced", a power of that such as 0.5, or one number a class
    sampling       how often rows are drawn: the same, or one number a row
    augment        function (inputs, targets, generator) -> (inputs, targets), of tensors, called for each minibatch
    average        decay of the running average of the weights that is validated and kept; 0 for none
    clip           longest gradient; patience: stop after so many epochs without a better score
    precision      "float32", "bfloat16", or "auto": the second where the hardware is made for it
    checkpoint     a file, written after each epoch; where it exists, training goes on from it to the same result

    Returns a ``Fit``: model, curve, and how it ended. Interrupting it (the stop button) returns the best model so far.
    """
    settings = SimpleNamespace(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay, seed=seed,
        slower=slower or {}, average=average, clip=clip, patience=patience, sign=1 if maximize and score else -1)
    device = pick_device(device)
    processes.join(device)
    check_pair("train", train)
    check_pair("valid", valid)
    if loss is None:
        classes = predict(model, train[0][:1], device=device).shape[1]
        check_labels(train[1], None if valid is None else valid[1], classes)
        loss = CrossEntropy(class_weights(train[1], class_weight, classes))
    with (cpu_threads(), _random_numbers_kept(device), _memory_explained("fit", batch_size),
          processes.shared_batch_norm(model), frozen(model, settings.slower)):
        run = Run(model, loss, score, augment, device, pick_precision(precision, device), settings)
        run.load_data(train, valid, row_weights(train[1], sampling))
        if checkpoint is not None:
            checkpoint = Checkpoint(checkpoint, dict(network=network_print(model), data=data_print(train),
                                                     validation=data_print(valid), **vars(settings)))
        return run.train(checkpoint, progress and run.rank == 0)


def predict(model, inputs, batch_size=256, device=None, precision="float32"):
    """The model's output for numpy ``inputs`` (rows, ...), computed in batches: a float32 array (rows, ...)."""
    if len(inputs) == 0:
        raise DataError("There is nothing to predict: the inputs have no rows.")
    device = torch.device(device) if device is not None else next(model.parameters()).device
    was_training, parts = model.training, []
    model.to(device).eval()
    try:
        with (cpu_threads(), torch.inference_mode(), computing(precision, device),
              _memory_explained("predict", batch_size)):
            for start in range(0, len(inputs), batch_size):
                rows = np.array(inputs[start:start + batch_size], dtype=np.float32)
                parts.append(model(torch.from_numpy(rows).to(device)).float().cpu())
    finally:
        model.train(was_training)
    return torch.cat(parts).numpy()


def probabilities(scores):
    """Softmax of a classifier's scores: (rows, classes) -> (rows, classes)."""
    scores = np.asarray(scores, dtype=np.float64)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


class CrossEntropy:
    """Loss of a classifier. Targets are class numbers, or probabilities (rows, classes) where rows were mixed.

    ``class_weight``: one number a class; ``smoothing``: how much of each label is spread over all classes.
    """

    def __init__(self, class_weight=None, smoothing=0.0):
        self.class_weight = None if class_weight is None else torch.as_tensor(class_weight, dtype=torch.float32)
        self.smoothing = smoothing

    def __call__(self, scores, target):
        weight = None if self.class_weight is None else self.class_weight.to(scores.device)
        return functional.cross_entropy(scores, target, weight, reduction="none", label_smoothing=self.smoothing).mean()


def _random_numbers_kept(device):
    """What the caller draws afterwards does not depend on this training."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def _memory_explained(action, batch_size):
    """An error that says what to do, where the GPU's memory is too small."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        advice = f"Try {action}(..., batch_size={batch_size // 2})" if batch_size > 1 else "Try a smaller network"
        raise DataError(f"The GPU ran out of memory with batch_size={batch_size}. {advice}, close other programs and "
                        f"notebooks that use this GPU, or pass device='cpu'. ({str(error).splitlines()[0]})") from error
