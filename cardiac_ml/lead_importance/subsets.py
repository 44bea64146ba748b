"""One network that answers for every set of leads, so that leads can be weighed against each other exactly.

Training one network for each of the 256 sets of eight leads would take a day. Instead, one network learns for random
sets: first how many leads there are is drawn, each number equally often, then which. It reads each lead on its own and
then combines the features of those that are there, and is told which these are. Reading is the slow part, so while it
trains it reads an ECG once and learns from many sets of its leads; afterwards it answers for all of them, one by one.

    net = LeadSubsetNet(leads=8, outputs=4).fit_scaling(ecg_mv)
    fit(RandomSubsets(net), (ecg_mv, label), loss=OverSubsets(CrossEntropy()), augment=AddNoise(0.1))
    answers_of_coalitions(net, ecg_mv)  # (256, cases, 4)
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cardiac_ml.files import DataError
from cardiac_ml.lead_importance.shapley import coalitions
from cardiac_ml.training import cpu_threads


class LeadSubsetNet(nn.Module):
    """(cases, leads, time) mV -> (cases, outputs). A lead that is NaN anywhere counts as hidden.

    strides   of the reader's convolutions: (2, 2, 1) for one beat at 250 Hz, (4, 2, 2, 1) for ten seconds at 100 Hz
    steps     places in time that are told apart, whatever the length of the ECG; 1: the mean and the maximum over time,
              for recordings in which it does not matter when a beat comes
    """

    def __init__(self, leads=8, outputs=2, width=16, hidden=128, dropout=0.3, strides=(2, 2, 1), steps=16):
        super().__init__()
        self.config = dict(leads=leads, outputs=outputs, width=width, hidden=hidden, dropout=dropout,
                           strides=list(strides), steps=steps)

        def layer(before, after, kernel, stride):
            """A convolution of each lead by itself."""
            return nn.Sequential(nn.Conv1d(leads * before, leads * after, kernel, stride, kernel // 2, groups=leads,
                                        bias=False), nn.BatchNorm1d(leads * after), nn.SiLU())

        self.reader = nn.Sequential(layer(1, width, 9, strides[0]), *(layer(width, width, 7, n) for n in strides[1:]))
        self.last = nn.Sequential(nn.Dropout(dropout),
                                  nn.Conv1d(leads * width, leads * hidden, max(steps, 2), groups=leads, bias=False))
        self.present = nn.Linear(leads, hidden)
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), nn.Dropout(dropout / 2), nn.Linear(hidden, hidden),
                                  nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs))
        self.register_buffer("lead_scale_mv", torch.ones(leads, 1))
        self.register_buffer("output_mean", torch.zeros(outputs))
        self.register_buffer("output_scale", torch.ones(outputs))

    def features(self, ecg_mv):
        """What each lead shows by itself: (cases, leads, time) -> (cases, leads, hidden)."""
        x, steps = self.reader(ecg_mv / self.lead_scale_mv), self.config["steps"]
        x = functional.adaptive_avg_pool1d(x, steps) if steps > 1 else torch.stack([x.mean(2), x.amax(2)], dim=2)
        return self.last(x).view(len(x), self.config["leads"], -1)

    def combine(self, features, mask):
        """Answers for sets of leads: (cases, leads, hidden), 0 or 1 (cases, sets, leads) -> (cases, sets, outputs)."""
        return self.output_mean + self.output_scale * self.head(mask @ features + self.present(mask))

    def forward(self, ecg_mv):
        there = torch.isfinite(ecg_mv).all(dim=2)
        features = self.features(torch.where(there[:, :, None], ecg_mv, 0))
        return self.combine(features, there[:, None].to(features.dtype))[:, 0]

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, target=None):
        """Sizes of the leads; of numbers to be predicted (cases, outputs) their means and spreads too."""
        self.lead_scale_mv.copy_(torch.as_tensor(np.std(ecg_mv, axis=(0, 2)) + 1e-6)[:, None])
        if target is not None:
            self.output_mean.copy_(torch.as_tensor(np.nanmean(target, axis=0)))
            self.output_scale.copy_(torch.as_tensor(np.nanstd(target, axis=0) + 1e-6))
        return self


class RandomSubsets(nn.Module):
    """What ``fit`` trains: ``net`` answering for ``draws`` random sets of leads of each case.

    (cases, leads, time) mV, complete -> (cases, draws, outputs). ``only``: numbers of leads, for a network of one set.
    """

    def __init__(self, net, draws=16, only=None):
        super().__init__()
        self.net, self.draws, self.only = net, draws, only

    def draw_masks(self, cases, device=None):
        """(cases, draws, leads) 0 or 1: first how many leads, each number equally often, then which."""
        leads = self.net.config["leads"]
        if self.only is not None:
            return torch.eye(leads, device=device)[list(self.only)].sum(dim=0).expand(cases, 1, leads)
        count = torch.randint(leads + 1, (cases, self.draws, 1), device=device)
        rank = torch.rand(cases, self.draws, leads, device=device).argsort(dim=2).argsort(dim=2)
        return (rank < count).float()

    def forward(self, ecg_mv):
        return self.net.combine(self.net.features(ecg_mv), self.draw_masks(len(ecg_mv), ecg_mv.device))


class OverSubsets:
    """A loss for answers (cases, sets, outputs): each set is judged by the target of its case."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, output, target):
        return self.loss(output.flatten(0, 1), target.repeat_interleave(output.shape[1], dim=0))


class AddNoise:
    """Adds to ECGs what bad electrodes add: noise at every step, and an offset of each lead. Called by ``fit``."""

    def __init__(self, noise_mv):
        self.noise_mv = noise_mv

    def __call__(self, ecg_mv, target=None, generator=None):
        for steps in (ecg_mv.shape[2], 1):
            noise = torch.randn(*ecg_mv.shape[:2], steps, generator=generator, device=ecg_mv.device)
            ecg_mv = ecg_mv + self.noise_mv * noise
        return ecg_mv, target


def add_noise(ecg_mv, noise_mv, seed=0):
    """ECGs (cases, leads, time) of poor contact, as a numpy array."""
    ecg_mv = torch.from_numpy(np.asarray(ecg_mv, dtype=np.float32))
    return AddNoise(noise_mv)(ecg_mv, generator=torch.Generator().manual_seed(seed))[0].numpy()


def answers_of_coalitions(net, ecg_mv, sets=None, batch_size=64):
    """The network's answers for each set of leads: (2**leads, cases, outputs), in the order that ``shapley`` uses.

    ``sets``: only these positions; then the first axis follows them. Each ECG is read once, and must be complete.
    """
    leads = net.config["leads"]
    if ecg_mv.ndim != 3 or ecg_mv.shape[1] != leads:
        raise DataError(f"The network knows {leads} leads; found ECGs of shape {ecg_mv.shape}, expected "
                        f"(cases, {leads}, time).")
    chosen = coalitions(leads) if sets is None else coalitions(leads)[np.atleast_1d(sets)]
    device = net.present.weight.device
    answers = np.empty((len(chosen), len(ecg_mv), net.config["outputs"]), np.float32)
    net.eval()
    with cpu_threads(), torch.inference_mode():
        masks = torch.from_numpy(chosen).float().to(device)
        for start in range(0, len(ecg_mv), batch_size):
            rows = slice(start, start + batch_size)
            features = net.features(torch.as_tensor(np.asarray(ecg_mv[rows]), dtype=torch.float32, device=device))
            for some in range(0, len(masks), 256):
                mask = masks[some:some + 256].expand(len(features), -1, -1)
                answers[some:some + 256, rows] = net.combine(features, mask).transpose(0, 1).cpu().numpy()
    return answers


def downsample(ecg_mv, every=4):
    """Means of ``every`` neighbouring samples: (..., time) -> (..., time // every). A QRS complex survives 4 ms."""
    samples = ecg_mv.shape[-1] // every * every
    return ecg_mv[..., :samples].reshape(*ecg_mv.shape[:-1], -1, every).mean(axis=-1)
