"""One network that answers for every set of leads, so that leads can be weighed against each other exactly.

Training one network for each of the 256 sets of eight leads would take a day. Instead, leads are hidden at random while
one network learns: first how many are left is drawn, each number equally often, then which. A hidden lead is NaN; the
network puts 0 in its place and is told which leads are there. Afterwards it is asked about all sets, one by one.
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cardiac_ml.files import DataError
from cardiac_ml.importance import members
from cardiac_ml.models import ResidualBlock, convolution, lift
from cardiac_ml.training import CrossEntropy, fit, predict

STEPS = 16  # places in time that the head sees, whatever the length of the ECG


class LeadSubsetNet(nn.Module):
    """(cases, leads, time) mV, NaN where a lead is hidden -> (cases, outputs). Small: it has to answer very often."""

    def __init__(self, leads=8, outputs=2, width=32):
        super().__init__()
        self.config = dict(leads=leads, outputs=outputs, width=width)
        self.stem, self.present = convolution(leads, width, 9, stride=2), nn.Linear(leads, width)
        self.body = nn.Sequential(nn.BatchNorm2d(width), nn.SiLU(), ResidualBlock(width, width, stride=2),
                                  ResidualBlock(width, 2 * width, stride=2), convolution(2 * width, 16, 1), nn.SiLU())
        self.head = nn.Sequential(nn.Linear(16 * STEPS + leads, 64), nn.SiLU(), nn.Linear(64, outputs))
        self.register_buffer("lead_scale_mv", torch.ones(leads, 1))
        self.register_buffer("output_mean", torch.zeros(outputs))
        self.register_buffer("output_scale", torch.ones(outputs))

    def forward(self, ecg_mv):
        present = torch.isfinite(ecg_mv[:, :, 0]).to(ecg_mv.dtype)
        x = self.stem(lift(torch.nan_to_num(ecg_mv / self.lead_scale_mv)))
        x = self.body(x + self.present(present)[:, :, None, None])
        x = functional.adaptive_avg_pool2d(x, (1, STEPS)).flatten(1)
        return self.output_mean + self.output_scale * self.head(torch.cat([x, present], dim=1))

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, target=None):
        """Sizes of the leads; of numbers to be predicted (cases, outputs) their means and spreads too."""
        self.lead_scale_mv.copy_(torch.as_tensor(ecg_mv.std(axis=(0, 2)) + 1e-6)[:, None])
        if target is not None:
            self.output_mean.copy_(torch.as_tensor(np.nanmean(target, axis=0)))
            self.output_scale.copy_(torch.as_tensor(np.nanstd(target, axis=0) + 1e-6))
        return self


class HideLeads:
    """Hides leads of a minibatch: how many stay is uniform from none to all, which ones is chance. Called by ``fit``.

    ``stay``: the numbers of the leads that always stay, and no others; for a network of one set only. ``noise_mv``: what
    ``noisy`` adds to the leads, drawn anew each time.
    """

    def __init__(self, stay=None, noise_mv=0.0):
        self.stay, self.noise_mv = stay, noise_mv

    def __call__(self, ecg_mv, target, generator=None):
        cases, leads, time = ecg_mv.shape
        if self.noise_mv:
            for steps in (time, 1):  # noise at every step, then an offset
                noise = torch.randn(cases, leads, steps, generator=generator, device=ecg_mv.device)
                ecg_mv = ecg_mv + self.noise_mv * noise
        if self.stay is not None:
            stays = torch.zeros(cases, leads, dtype=torch.bool, device=ecg_mv.device)
            stays[:, list(self.stay)] = True
        else:
            count = torch.randint(leads + 1, (cases, 1), generator=generator, device=ecg_mv.device)
            rank = torch.rand(cases, leads, generator=generator, device=ecg_mv.device).argsort(dim=1).argsort(dim=1)
            stays = rank < count
        return ecg_mv.masked_fill(~stays[:, :, None], torch.nan), target


def noisy(ecg_mv, noise_mv, seed=0):
    """ECGs (cases, leads, time) of poor contact: noise at every step, and an offset of each lead, of this size."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=ecg_mv.shape) + rng.normal(size=(*ecg_mv.shape[:2], 1))
    return (ecg_mv + noise_mv * noise).astype(np.float32)


def known_l1(output, target):
    """Mean absolute error over the targets that are known; NaN is left out."""
    known = torch.isfinite(target)
    return ((output - torch.where(known, target, 0)).abs() * known).sum() / known.sum().clamp(min=1)


def subset_recipe(ecg_mv, target, *, classes=None, stay=None, noise_mv=0.0, epochs=40, seed=0, width=32,
                  **options):
    """Train a LeadSubsetNet on ECGs (cases, leads, time) and class numbers, or numbers (cases, outputs) to predict.

    ``classes``: how many there are; None for numbers. ``stay``: train on this one set of leads. ``noise_mv``: learn from
    ECGs as ``noisy`` as that. Returns what ``fit`` does.
    """
    target = np.asarray(target)
    torch.manual_seed(seed)
    model = LeadSubsetNet(ecg_mv.shape[1], classes or target.shape[1], width)
    model.fit_scaling(noisy(ecg_mv, noise_mv, seed), None if classes else target)
    settings = dict(loss=CrossEntropy() if classes else known_l1, epochs=epochs, batch_size=64, learning_rate=4e-3,
                    weight_decay=0.05, average=0.995, augment=HideLeads(stay, noise_mv), seed=seed) | options
    return fit(model, (ecg_mv, target if classes else target.astype(np.float32)), None, **settings)


def answers_of_sets(model, ecg_mv, sets=None, batch_size=1024):
    """The network's answers for each set of leads: (2**leads, cases, outputs), in the order that ``importance`` uses.

    ``sets``: only these positions; then the first axis follows them.
    """
    leads = model.config["leads"]
    if ecg_mv.ndim != 3 or ecg_mv.shape[1] != leads:
        raise DataError(f"The network knows {leads} leads; found ECGs of shape {ecg_mv.shape}, expected "
                        f"(cases, {leads}, time).")
    stays = members(leads) if sets is None else members(leads)[np.atleast_1d(sets)]
    answers = np.empty((len(stays), len(ecg_mv), model.config["outputs"]), np.float32)
    for row, stay in enumerate(stays):
        answers[row] = predict(model, np.where(stay[:, None], ecg_mv, np.float32(np.nan)), batch_size)
    return answers


def shortened(ecg_mv, every=4):
    """Means of ``every`` neighbouring samples: (..., time) -> (..., time // every). A QRS complex survives 4 ms."""
    samples = ecg_mv.shape[-1] // every * every
    return ecg_mv[..., :samples].reshape(*ecg_mv.shape[:-1], -1, every).mean(axis=-1)
