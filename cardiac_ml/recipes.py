"""Tasks 1 and 2 from data to fitted network: the recipes that the notebooks and the table of results share."""
import numpy as np
import torch
from torch.nn import functional

from cardiac_ml import metrics
from cardiac_ml.models import HeartbeatNet, transfer
from cardiac_ml.training import CrossEntropy, fit, predict, probabilities
from cardiac_ml.training_data import class_weights


class AugmentBeats:
    """Harmless changes of heartbeats (rows, 187) in 0..1, drawn anew for every minibatch: call it as ``fit`` does.

    A beat a little longer or shorter, a bent amplitude scale, a slowly wandering baseline, noise. The padding stays
    zero: where the signal ends is a part of what the row says.
    """

    def __init__(self, stretch=0.05, bend=0.2, wander=0.03, noise=0.01):
        self.stretch, self.bend, self.wander, self.noise = stretch, bend, wander, noise

    def __call__(self, beats, labels, generator=None):
        rows, samples = beats.shape

        def normal(*shape):
            return torch.randn(shape, generator=generator, device=beats.device)

        place = torch.arange(samples, device=beats.device) / torch.exp(self.stretch * normal(rows, 1))
        left = place.floor().clamp(max=samples - 1)
        padded = functional.pad(beats, (0, 2))
        low, high = padded.gather(1, left.long()), padded.gather(1, left.long() + 1)
        inside = low > 0
        beats = torch.where(high > 0, low.lerp(high, (place - left).clamp(0, 1)), low)
        beats = beats.clamp(0, 1) ** torch.exp(self.bend * normal(rows, 1))
        time = torch.linspace(0, 1, samples, device=beats.device)
        beats = beats + self.wander * (normal(rows, 1) * time + normal(rows, 1) * torch.sin(
            6.28 * (time * (0.5 + normal(rows, 1).abs()) + normal(rows, 1))))
        return (beats + self.noise * normal(rows, samples)).clamp(min=1e-3) * inside, labels


def heartbeat_recipe(train, valid=None, *, epochs=28, seed=0, trained=None, network=None, **options):
    """Train a heartbeat classifier on ``train`` and keep the epoch that does best on ``valid`` (both ``Heartbeats``).

    Without ``valid`` it learns from all rows and keeps the last weights. ``trained``: a network for other classes whose
    body to start from; ``network``: arguments of ``HeartbeatNet``. Options go to ``fit``; returns its result.
    """
    model = heartbeat_network(len(train.classes), seed, **(network or {}))
    if trained is not None:
        model = transfer(trained, model)
    settings = dict(loss=CrossEntropy(class_weights(train.label, 0.25, len(train.classes)), smoothing=0.02),
                    score=metrics.macro_f1, epochs=epochs, batch_size=128, learning_rate=4e-3, weight_decay=0.05,
                    slower={"body": 0.3} if trained is not None else None, augment=AugmentBeats(), seed=seed) | options
    return fit(model, (train.beats, train.label), None if valid is None else (valid.beats, valid.label), **settings)


def heartbeat_network(classes, seed=0, **network):
    """The network of the recipe with its first weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HeartbeatNet(classes, **network)


def heartbeat_probabilities(model, beats):
    """What the network thinks of beats (rows, 187), or of one (187,): a probability for each class, (rows, classes)."""
    return probabilities(predict(model, np.atleast_2d(beats)))
