"""One network that answers for every set of leads, so that leads can be weighed against each other exactly.

Training one network for each of the 256 sets of eight leads would take a day. Instead, one network learns for random
sets: first how many leads stay is drawn, each number equally often, then which. It reads each lead on its own and then
combines what it has read of those that are there, and is told which these are. Reading is the slow part, so it reads an
ECG once and learns from many sets of its leads; afterwards it answers for all of them, one by one.
"""
import numpy as np
import torch
from torch import nn

from cardiac_ml.devices import cpu_threads
from cardiac_ml.files import DataError
from cardiac_ml.lead_importance.shapley import members
from cardiac_ml.models import lift
from cardiac_ml.training import CrossEntropy, fit

STEPS = 16  # places in time that are told apart, whatever the length of the ECG
SETS = 16  # sets of leads drawn for each ECG, each time it is learned from


class LeadSubsetNet(nn.Module):
    """(cases, leads, time) mV, NaN where a lead is hidden -> (cases, outputs).

    While it trains, it draws SETS sets of leads for each case and answers for all of them: (cases, SETS, outputs).
    ``stay``: the numbers of the leads that always stay, and no others; for a network of one set only.
    """

    def __init__(self, leads=8, outputs=2, width=16, hidden=128, dropout=0.3, stay=None):
        super().__init__()
        self.config = dict(leads=leads, outputs=outputs, width=width, hidden=hidden, dropout=dropout, stay=stay)

        def layer(before, after, kernel, stride=1):
            """A convolution of each lead by itself."""
            return nn.Sequential(nn.Conv2d(leads * before, leads * after, (1, kernel), (1, stride), (0, kernel // 2),
                                           groups=leads, bias=False), nn.BatchNorm2d(leads * after), nn.SiLU())

        self.reader = nn.Sequential(layer(1, width, 9, stride=2), layer(width, width, 7, stride=2), layer(width, width, 7),
                                    nn.AdaptiveAvgPool2d((1, STEPS)), nn.Dropout(dropout),
                                    nn.Conv2d(leads * width, leads * hidden, (1, STEPS), groups=leads, bias=False))
        self.present = nn.Linear(leads, hidden)
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), nn.Dropout(dropout / 2), nn.Linear(hidden, hidden),
                                  nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs))
        self.register_buffer("lead_scale_mv", torch.ones(leads, 1))
        self.register_buffer("output_mean", torch.zeros(outputs))
        self.register_buffer("output_scale", torch.ones(outputs))

    def read(self, ecg_mv):
        """What each lead says: (cases, leads, time) -> (cases, leads, hidden)."""
        x = self.reader(lift(torch.nan_to_num(ecg_mv / self.lead_scale_mv)))
        return x.view(len(x), self.config["leads"], self.config["hidden"])

    def combine(self, said, stays):
        """The answers for sets of leads: (cases, leads, hidden), 0 or 1 (cases, sets, leads) -> (cases, sets, outputs)."""
        return self.output_mean + self.output_scale * self.head(stays @ said + self.present(stays))

    def draw_sets(self, cases, device):
        """(cases, SETS, leads) 0 or 1."""
        leads, stay = self.config["leads"], self.config["stay"]
        if stay is not None:
            return torch.eye(leads, device=device)[list(stay)].sum(dim=0).expand(cases, 1, leads)
        count = torch.randint(leads + 1, (cases, SETS, 1), device=device)
        rank = torch.rand(cases, SETS, leads, device=device).argsort(dim=2).argsort(dim=2)
        return (rank < count).float()

    def forward(self, ecg_mv):
        said = self.read(ecg_mv)
        if self.training:
            return self.combine(said, self.draw_sets(len(said), said.device))
        return self.combine(said, torch.isfinite(ecg_mv[:, None, :, 0]).to(said.dtype))[:, 0]

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, target=None):
        """Sizes of the leads; of numbers to be predicted (cases, outputs) their means and spreads too."""
        self.lead_scale_mv.copy_(torch.as_tensor(ecg_mv.std(axis=(0, 2)) + 1e-6)[:, None])
        if target is not None:
            self.output_mean.copy_(torch.as_tensor(np.nanmean(target, axis=0)))
            self.output_scale.copy_(torch.as_tensor(np.nanstd(target, axis=0) + 1e-6))
        return self


class PoorContact:
    """Adds to ECGs what bad electrodes add: noise at every step, and an offset of each lead. Called by ``fit``."""

    def __init__(self, noise_mv):
        self.noise_mv = noise_mv

    def __call__(self, ecg_mv, target=None, generator=None):
        for steps in (ecg_mv.shape[2], 1):
            noise = torch.randn(*ecg_mv.shape[:2], steps, generator=generator, device=ecg_mv.device)
            ecg_mv = ecg_mv + self.noise_mv * noise
        return ecg_mv, target


def noisy(ecg_mv, noise_mv, seed=0):
    """ECGs (cases, leads, time) of poor contact, as a numpy array."""
    ecg_mv = torch.from_numpy(np.asarray(ecg_mv, dtype=np.float32))
    return PoorContact(noise_mv)(ecg_mv, generator=torch.Generator().manual_seed(seed))[0].numpy()


def known_l1(output, target):
    """Mean absolute error over the targets that are known; NaN is left out."""
    known = torch.isfinite(target)
    return ((output - torch.where(known, target, 0)).abs() * known).sum() / known.sum().clamp(min=1)


class OverSets:
    """A loss for answers (cases, sets, outputs): each set is judged by the target of its case."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, output, target):
        if output.ndim == 3:
            output, target = output.flatten(0, 1), target.repeat_interleave(output.shape[1], dim=0)
        return self.loss(output, target)


def subset_recipe(ecg_mv, target, *, classes=None, stay=None, noise_mv=0.0, epochs=40, seed=0, width=16, dropout=0.3,
                  **options):
    """Train a LeadSubsetNet on ECGs (cases, leads, time) and class numbers, or numbers (cases, outputs) to predict.

    ``classes``: how many there are; None for numbers. ``stay``: train on this one set of leads. ``noise_mv``: learn from
    ECGs as ``noisy`` as that, the noise drawn anew each time. A few hundred ECGs are soon learned by heart, and then leads
    that mean nothing get values below 0: noise and more ``dropout`` are the cure. Returns what ``fit`` does.
    """
    target = np.asarray(target)
    torch.manual_seed(seed)
    model = LeadSubsetNet(ecg_mv.shape[1], classes or target.shape[1], width, dropout=dropout, stay=stay)
    model.fit_scaling(noisy(ecg_mv, noise_mv, seed), None if classes else target)
    settings = dict(loss=OverSets(CrossEntropy() if classes else known_l1), epochs=epochs, batch_size=64,
                    learning_rate=4e-3, weight_decay=0.05, average=0.995, augment=PoorContact(noise_mv), seed=seed,
                    precision="float32")  # in bfloat16 some CPUs get the gradients of odd widths wrong (torch 2.13)
    return fit(model, (ecg_mv, target if classes else target.astype(np.float32)), None, **settings | options)


def answers_of_sets(model, ecg_mv, sets=None, batch_size=64):
    """The network's answers for each set of leads: (2**leads, cases, outputs), in the order that ``importance`` uses.

    ``sets``: only these positions; then the first axis follows them. Each ECG is read once.
    """
    leads = model.config["leads"]
    if ecg_mv.ndim != 3 or ecg_mv.shape[1] != leads:
        raise DataError(f"The network knows {leads} leads; found ECGs of shape {ecg_mv.shape}, expected "
                        f"(cases, {leads}, time).")
    stays = members(leads) if sets is None else members(leads)[np.atleast_1d(sets)]
    device = model.present.weight.device
    answers = np.empty((len(stays), len(ecg_mv), model.config["outputs"]), np.float32)
    model.eval()
    with cpu_threads(), torch.inference_mode():
        stays = torch.from_numpy(stays).float().to(device)
        for start in range(0, len(ecg_mv), batch_size):
            rows = slice(start, start + batch_size)
            said = model.read(torch.as_tensor(ecg_mv[rows], dtype=torch.float32, device=device))
            for some in range(0, len(stays), 256):
                chosen = stays[some:some + 256].expand(len(said), -1, -1)
                answers[some:some + 256, rows] = model.combine(said, chosen).transpose(0, 1).cpu().numpy()
    return answers


def shortened(ecg_mv, every=4):
    """Means of ``every`` neighbouring samples: (..., time) -> (..., time // every). A QRS complex survives 4 ms."""
    samples = ecg_mv.shape[-1] // every * every
    return ecg_mv[..., :samples].reshape(*ecg_mv.shape[:-1], -1, every).mean(axis=-1)
