"""1-D networks from a few shared blocks, and the heartbeat classifier of tasks 1 and 2.

A signal (rows, channels, time) goes through the blocks as a picture of height 1, (rows, channels, 1, time), with the
channels next to each other in memory: the same numbers as 1-D convolutions, up to three times faster on a CPU.
"""
import torch
from torch import nn
from torch.nn import functional

from cardiac_ml.files import DataError


def lift(x):
    """(rows, channels, time) -> (rows, channels, 1, time), channels next to each other in memory where that pays."""
    x = x.unsqueeze(2)
    return x if x.device.type == "mps" else x.contiguous(memory_format=torch.channels_last)


def convolution(inputs, outputs, kernel=7, stride=1):
    """A convolution along time; no bias, since a normalisation follows."""
    return nn.Conv2d(inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), bias=False)


def mean_over_time(x):
    """(rows, channels, 1, time) -> (rows, channels). The gradient of a sum needs no memory, that of ``mean`` does."""
    return x.sum((2, 3)) / x.shape[3]


class SqueezeExcite(nn.Module):
    """Weigh each channel by what the whole signal shows: (rows, channels, 1, time) -> the same shape."""

    def __init__(self, channels, smaller=8):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(channels, max(4, channels // smaller)), nn.ReLU(),
                                  nn.Linear(max(4, channels // smaller), channels), nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(mean_over_time(x))[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two convolutions and a way around them; ``stride`` 2 halves the time axis.

    Takes (rows, channels, 1, time), or (rows, channels, time) and then answers in that shape.
    """

    def __init__(self, inputs, outputs, stride=1, kernel=7, squeeze=False):
        super().__init__()
        self.first, self.first_norm = convolution(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs)
        self.second, self.second_norm = convolution(outputs, outputs, kernel), nn.BatchNorm2d(outputs)
        self.squeeze = SqueezeExcite(outputs) if squeeze else nn.Identity()
        same = stride == 1 and inputs == outputs
        self.around = nn.Identity() if same else nn.Sequential(
            nn.AvgPool2d((1, stride), ceil_mode=True) if stride > 1 else nn.Identity(),
            convolution(inputs, outputs, kernel=1), nn.BatchNorm2d(outputs))

    def forward(self, x):
        if x.ndim == 3:
            return self(lift(x)).squeeze(2)
        y = functional.silu(self.first_norm(self.first(x)))
        y = self.squeeze(self.second_norm(self.second(y)))
        return functional.silu(y + self.around(x))


class HeartbeatNet(nn.Module):
    """Heartbeats (rows, 187) in 0..1, zero-padded -> scores (rows, classes); their softmax is the probability.

    It sees three channels: the beat, its slope, and where the beat ends and the padding begins (a short row is an early
    next beat). Groups of residual blocks follow, each at half the time resolution of the one before.
    """

    def __init__(self, classes=5, width=64, depths=(2, 2, 2), kernel=7, squeeze=True, dropout=0.2):
        super().__init__()
        self.config = dict(classes=classes, width=width, depths=list(depths), kernel=kernel, squeeze=squeeze,
                           dropout=dropout)
        layers = [convolution(3, width, 9, stride=2), nn.BatchNorm2d(width), nn.SiLU()]
        before = width
        for group, depth in enumerate(depths):
            after = width * (group + 2) // 2
            for block in range(depth):
                layers.append(ResidualBlock(before, after, 1 + (block == 0), kernel, squeeze))
                before = after
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * before, classes))

    def forward(self, beats):
        features = self.body(lift(self.channels(beats)))
        pooled = torch.cat([mean_over_time(features), features.amax((2, 3))], dim=1)
        return self.head(pooled).float()

    @staticmethod
    def channels(beats):
        """(rows, samples) -> (rows, 3, samples): beat, slope (about as large as the beat), 1 where there is signal."""
        if beats.ndim != 2:
            raise DataError(f"Heartbeats come as (rows, samples); these have the shape {tuple(beats.shape)}.")
        slope = functional.pad(beats[:, 1:] - beats[:, :-1], (1, 0))
        inside = (beats.flip(1) != 0).to(beats.dtype).cumsum(1).flip(1).clamp(max=1)
        return torch.stack([2 * beats - inside, 5 * slope * inside, inside], dim=1)


def transfer(trained, model):
    """Copy into ``model`` each weight of ``trained`` that has its name and shape: a trained body under a new head.

    >>> model = transfer(trained, HeartbeatNet(classes=2))  # doctest: +SKIP
    """
    mine, theirs = model.state_dict(), trained.state_dict()
    common = {name: value for name, value in theirs.items() if name in mine and mine[name].shape == value.shape}
    if not any(name.endswith("weight") for name in common):
        raise DataError(f"{type(trained).__name__} and {type(model).__name__} have no weights in common. Make the new "
                        f"network with the configuration of the trained one: {getattr(trained, 'config', 'unknown')}.")
    model.load_state_dict(mine | common)
    return model
