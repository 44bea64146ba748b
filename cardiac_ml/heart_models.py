"""The networks of tasks 3 and 4: twelve leads in millivolts in, milliseconds or millivolts at 75 points out.

Both see the whole beat and keep absolute time: an activation time is a time on the clock of the recording, so a network
that averages over time at its end (as image classifiers do) would throw the answer away. Both use the eight independent
leads only, and carry their own scaling, fitted on the training hearts.
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cardiac_ml.leads import INDEPENDENT, LEADS, from_independent
from cardiac_ml.models import ResidualBlock, convolution, lift

EIGHT = [LEADS.index(name) for name in INDEPENDENT]
SAMPLES, POINTS = 500, 75


class ActivationNet(nn.Module):
    """(cases, 12, 500) mV -> (cases, 2, 75) ms: activation time and the spread (mean absolute error) it expects.

    The time axis is halved five times; all of the 16 steps left, in order, go to the head. The head speaks in
    ``maps`` main variations of the training maps (principal components) around their mean, since neighbouring points
    activate together.
    """

    def __init__(self, width=48, maps=48, hidden=256, dropout=0.0):
        super().__init__()
        self.config = dict(width=width, maps=maps, hidden=hidden, dropout=dropout)
        widths = [width, width, 2 * width, 2 * width, 4 * width]
        self.body = nn.Sequential(
            convolution(8, width, 11, stride=2), nn.BatchNorm2d(width), nn.SiLU(),
            *(ResidualBlock(a, b, stride=2) for a, b in zip(widths[:-1], widths[1:])),
            convolution(widths[-1], 64, 1), nn.BatchNorm2d(64), nn.SiLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(64 * 16, hidden), nn.SiLU(),
                                  nn.Dropout(dropout), nn.Linear(hidden, maps + POINTS))
        self.register_buffer("lead_scale_mv", torch.ones(8, 1))
        self.register_buffer("mean_map_ms", torch.full((POINTS,), 70.0))
        self.register_buffer("main_maps_ms", torch.zeros(maps, POINTS))
        self.register_buffer("spread_factor", torch.ones(()))

    def forward(self, ecg_mv):
        features = self.body(lift(ecg_mv[:, EIGHT] / self.lead_scale_mv))
        weights, spread = self.head(features).float().split([self.config["maps"], POINTS], dim=1)
        with torch.autocast(ecg_mv.device.type, enabled=False):  # bfloat16 would round 100 ms to a whole half
            time_ms = self.mean_map_ms + weights @ self.main_maps_ms
        spread_ms = 0.5 + 5 * functional.softplus(spread)
        return torch.stack([time_ms, spread_ms * self.spread_factor], dim=1)

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, activation_ms):
        """Lead sizes, mean map and main variations from the training cases: (cases, 12, 500), (cases, 75)."""
        self.lead_scale_mv.copy_(torch.as_tensor(ecg_mv[:, EIGHT].std(axis=(0, 2)) + 1e-6)[:, None])
        mean = np.nanmean(activation_ms, axis=0)
        centred = np.where(np.isfinite(activation_ms), activation_ms - mean, 0)
        _, size, maps = np.linalg.svd(centred, full_matrices=False)
        count = min(len(size), self.config["maps"])
        self.mean_map_ms.copy_(torch.as_tensor(mean))
        self.main_maps_ms[:count] = torch.as_tensor(maps[:count] * size[:count, None] / np.sqrt(len(centred)))
        return self


def laplace_loss(output, target_ms):
    """Negative log-likelihood of the error under a Laplace distribution whose size the network states; NaN left out."""
    time_ms, spread_ms = output.unbind(1)
    known = torch.isfinite(target_ms)
    error = (time_ms - torch.where(known, target_ms, 0)).abs()
    return ((error / spread_ms + spread_ms.log()) * known).sum() / known.sum().clamp(min=1)


class VoltageNet(nn.Module):
    """(cases, 12, 500) mV -> (cases, 75, 500) mV: a U-Net over time.

    Four neighbouring milliseconds are folded into the channels, so that the network works on 128 steps and still answers
    for each millisecond. On the way down each level halves the time axis and sees twice as far, until 16 steps hold the
    whole beat; there a dense layer lets every moment see every other one. On the way up the details come back.
    """

    def __init__(self, widths=(96, 128, 160, 192), fold=4):
        super().__init__()
        self.config = dict(widths=list(widths), fold=fold)
        self.stem = ResidualBlock(8 * fold, widths[0])
        self.down = nn.ModuleList(ResidualBlock(a, b, stride=2) for a, b in zip(widths[:-1], widths[1:]))
        self.mix = TimeMixer(widths[-1], 512 // fold // 2 ** len(self.down))
        self.up = nn.ModuleList(ResidualBlock(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1]))
        self.last = nn.Conv2d(widths[0], POINTS * fold, (1, 3), padding=(0, 1))
        self.register_buffer("lead_scale_mv", torch.ones(8, 1))
        self.register_buffer("mean_trace_mv", torch.full((POINTS, SAMPLES), -27.0))

    def forward(self, ecg_mv):
        fold = self.config["fold"]
        x = functional.pad(ecg_mv[:, EIGHT] / self.lead_scale_mv, (0, 512 - SAMPLES), mode="replicate")
        x = x.unflatten(2, (-1, fold)).transpose(2, 3).flatten(1, 2)  # (rows, 8 x fold, 512 / fold)
        levels = [self.stem(lift(x))]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = self.mix(levels.pop())
        for up in self.up:
            x = functional.interpolate(x, scale_factor=(1.0, 2.0), mode="nearest")
            x = up(torch.cat([x, levels.pop()], dim=1))
        y = self.last(x).float().squeeze(2).unflatten(1, (POINTS, fold)).transpose(2, 3).flatten(2)
        voltage_mv = self.mean_trace_mv + 50 * y[..., :SAMPLES]
        return voltage_mv if self.training else voltage_mv.clamp(-120, 80)  # no cell of the heart leaves this range

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, voltage_mv):
        """Lead sizes and the mean trace of each point from the training cases."""
        self.lead_scale_mv.copy_(torch.as_tensor(ecg_mv[:, EIGHT].std(axis=(0, 2)) + 1e-6)[:, None])
        self.mean_trace_mv.copy_(torch.as_tensor(np.mean(voltage_mv, axis=0)))
        return self


class TimeMixer(nn.Module):
    """Every moment sees every other one: a dense layer along time, added to what was there."""

    def __init__(self, channels, steps):
        super().__init__()
        self.norm, self.time = nn.BatchNorm2d(channels), nn.Linear(steps, steps)
        self.channels = convolution(channels, channels, 1)

    def forward(self, x):
        return x + self.channels(functional.silu(self.time(self.norm(x))))


# ---- augmentation: harmless changes of a recording, drawn anew for every minibatch ----

class Augment:
    """Changes that a real recording could have: another onset, gain, noise, electrode place, a lead fallen off.

    Called with (ecg_mv (n, 12, 500), target, generator), as ``fit`` does. A later onset moves the answer with the ECG:
    times grow by the shift, voltages move along the time axis.
    """

    def __init__(self, shift_ms=8, gain=0.2, lead_gain=0.05, mix=0.05, noise_mv=0.01, drop=0.05):
        self.shift_ms, self.gain, self.lead_gain = shift_ms, gain, lead_gain
        self.mix, self.noise_mv, self.drop = mix, noise_mv, drop

    def __call__(self, ecg_mv, target, generator=None):
        n, device = len(ecg_mv), ecg_mv.device
        normal = lambda *size: torch.randn(size, generator=generator, device=device)
        uniform = lambda *size: torch.rand(size, generator=generator, device=device)
        shift = (uniform(n) * (2 * self.shift_ms + 1)).long() - self.shift_ms
        ecg_mv = shifted(ecg_mv, shift)
        target = target + shift[:, None] if target.ndim == 2 else shifted(target, shift)
        eight = ecg_mv[:, EIGHT] * (1 + self.gain * normal(n, 1, 1)) * (1 + self.lead_gain * normal(n, 8, 1))
        eight = eight + self.mix * normal(n, 8, 8) @ eight  # a displaced electrode sees a bit of the other leads
        eight = eight * (uniform(n, 8, 1) > self.drop * (uniform(n, 1, 1) < 0.5)) + self.noise_mv * normal(n, 8, SAMPLES)
        return from_independent(eight), target


def shifted(signal, shift):
    """Each case (n, channels, time) moved later by its own number of samples; the ends are held: copied edge values."""
    time = torch.arange(signal.shape[-1], device=signal.device) - shift[:, None]
    index = time.clamp(0, signal.shape[-1] - 1)[:, None, :].expand(signal.shape)
    return signal.gather(2, index)

