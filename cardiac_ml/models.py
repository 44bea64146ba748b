# Copied out of the kit, this file needs leads.py beside it.
"""1-D networks, what they learn from (losses) and what they must bear (augmentations).

    HeartbeatNet     tasks 1, 2   (rows, 187)         -> (rows, classes)      scores
    ActivationNet    task 3       (cases, 12, 500) mV -> (cases, 2, 75)       ms: activation time and its spread
    ActionPotentialNet, VoltageNet   task 4   (cases, 12, 500) mV -> (cases, 75, 500) mV: by physics; a black box

Signals are (rows, channels, time) everywhere. A network keeps its arguments in ``config`` and its scaling, fitted on
the training rows, in buffers, so that a saved one eats raw millivolts.
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional

try:
    from cardiac_ml.files import DataError
    from cardiac_ml.leads import INDEPENDENT, LEADS, check_ecg, from_independent
except ImportError:  # copied
    from leads import INDEPENDENT, LEADS, DataError, check_ecg, from_independent

EIGHT = [LEADS.index(name) for name in INDEPENDENT]  # the other four leads follow from these
SAMPLES, POINTS = 500, 75
# What each of the eight sees of a dipole that points to the left, down, to the back (Dower et al., Clin Cardiol 1980).
DIPOLE = torch.tensor([(.632, -.235, .059), (.235, 1.066, -.132), (-.515, .157, -.917), (.044, .164, -1.387),
                       (.882, .098, -1.277), (1.213, .127, -.601), (1.125, .127, -.086), (.831, .076, .230)])


# ---- blocks ----

class Conv1d(nn.Conv1d):
    """nn.Conv1d with the channels next to each other in memory: the same numbers, 1.2 times as fast on a CPU."""

    def forward(self, x):
        if x.device.type != "cpu":
            return super().forward(x)
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # torch has this layout for pictures only
        return functional.conv2d(x, self.weight.unsqueeze(2), self.bias, (1, *self.stride), (0, *self.padding),
                                 (1, *self.dilation), self.groups).squeeze(2)


class BatchNorm1d(nn.BatchNorm2d):
    """nn.BatchNorm1d that keeps this layout."""

    def forward(self, x):
        return super().forward(x.unsqueeze(2)).squeeze(2)


def convolution(inputs, outputs, kernel=7, stride=1):
    """A convolution along time; no bias, since a normalisation follows."""
    return Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class SqueezeExcite(nn.Module):
    """Weigh each channel by what the whole signal shows: (rows, channels, time) -> the same shape."""

    def __init__(self, channels, reduction=8):
        super().__init__()
        hidden = max(4, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(x.mean(2))[:, :, None]


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut: (rows, inputs, time) -> (rows, outputs, time / stride)."""

    def __init__(self, inputs, outputs, stride=1, kernel=7, squeeze=False):
        super().__init__()
        self.first, self.first_norm = convolution(inputs, outputs, kernel, stride), BatchNorm1d(outputs)
        self.second, self.second_norm = convolution(outputs, outputs, kernel), BatchNorm1d(outputs)
        self.squeeze = SqueezeExcite(outputs) if squeeze else nn.Identity()
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.AvgPool1d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
            convolution(inputs, outputs, kernel=1), BatchNorm1d(outputs))

    def forward(self, x):
        y = functional.silu(self.first_norm(self.first(x)))
        y = self.squeeze(self.second_norm(self.second(y)))
        return functional.silu(y + self.shortcut(x))


# ---- tasks 1 and 2 ----

class HeartbeatNet(nn.Module):
    """Heartbeats (rows, 187) in 0..1, zero-padded -> scores (rows, classes); their softmax is the probability.

    It sees three channels: the beat, its slope, and where the beat ends and the padding begins (a short row is an early
    next beat). Groups of residual blocks follow, each at half the time resolution of the one before.
    """

    def __init__(self, classes=5, width=64, depths=(2, 2, 2), kernel=7, squeeze=True, dropout=0.2):
        super().__init__()
        self.config = dict(classes=classes, width=width, depths=list(depths), kernel=kernel, squeeze=squeeze,
                           dropout=dropout)
        layers = [convolution(3, width, 9, stride=2), BatchNorm1d(width), nn.SiLU()]
        before = width
        for group, depth in enumerate(depths):
            after = width * (group + 2) // 2
            for block in range(depth):
                layers.append(ResidualBlock(before, after, 1 + (block == 0), kernel, squeeze))
                before = after
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * before, classes))

    def forward(self, beats):
        features = self.body(self.channels(beats))
        return self.head(torch.cat([features.mean(2), features.amax(2)], dim=1)).float()

    @staticmethod
    def channels(beats):
        """(rows, samples) -> (rows, 3, samples): beat, slope (about as large as the beat), 1 where there is signal."""
        if beats.ndim != 2:
            raise DataError(f"Heartbeats come as (rows, samples); these have the shape {tuple(beats.shape)}.")
        slope = functional.pad(beats[:, 1:] - beats[:, :-1], (1, 0))
        inside = (beats.flip(1) != 0).to(beats.dtype).cumsum(1).flip(1).clamp(max=1)
        return torch.stack([2 * beats - inside, 5 * slope * inside, inside], dim=1)


def transfer(trained, model):
    """Copy into ``model`` each weight of ``trained`` that has its name and shape: a trained body under a new head."""
    mine, theirs = model.state_dict(), trained.state_dict()
    common = {name: value for name, value in theirs.items() if name in mine and mine[name].shape == value.shape}
    if not any(name.endswith("weight") for name in common):
        raise DataError(f"{type(trained).__name__} and {type(model).__name__} have no weights in common. Make the new "
                        f"network with the configuration of the trained one: {getattr(trained, 'config', 'unknown')}.")
    model.load_state_dict(mine | common)
    return model


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


def class_weights(label, power=1.0, classes=0):
    """(classes,) 1 on average over the rows; ``power`` 1 gives every class the same say, 0 every row."""
    counts = np.bincount(label, minlength=classes)
    weights = np.where(counts > 0, 1 / np.maximum(counts, 1), 0) ** power
    return (weights / np.average(weights, weights=counts)).astype(np.float32)


class AugmentBeats:
    """Harmless changes of heartbeats (rows, 187) in 0..1, drawn anew for every minibatch: call it as ``fit`` does.

    A beat a little longer or shorter, a bent amplitude scale, a slowly wandering baseline, noise. The padding stays
    zero: where the signal ends is a part of what the row says.
    """

    def __init__(self, stretch=0.05, bend=0.2, wander=0.03, noise=0.01):
        self.stretch, self.bend, self.wander, self.noise = stretch, bend, wander, noise

    def __call__(self, beats, label, generator=None):
        rows, samples = beats.shape
        normal = lambda *shape: torch.randn(shape, generator=generator, device=beats.device)
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
        return (beats + self.noise * normal(rows, samples)).clamp(min=1e-3) * inside, label


# ---- task 3 ----

class EcgNet(nn.Module):
    """A network of 12-lead ECGs; ``fit`` and ``predict`` call ``check_input`` before it sees anything."""
    check_input = staticmethod(check_ecg)


class ActivationNet(EcgNet):
    """(cases, 12, 500) mV -> (cases, 2, 75) ms: activation time and the spread (mean absolute error) it expects.

    The time axis is halved five times; all of the 16 steps left, in order, go to the head: an activation time is a time
    on the clock of the recording, which an average over time (as image classifiers end with) would throw away. The head
    speaks in ``maps`` principal components of the training maps around their mean: neighbours activate together.
    """

    def __init__(self, width=48, maps=48, hidden=256, dropout=0.0):
        super().__init__()
        self.config = dict(width=width, maps=maps, hidden=hidden, dropout=dropout)
        widths = [width, width, 2 * width, 2 * width, 4 * width]
        self.body = nn.Sequential(
            convolution(8, width, 11, stride=2), BatchNorm1d(width), nn.SiLU(),
            *(ResidualBlock(a, b, stride=2) for a, b in zip(widths[:-1], widths[1:])),
            convolution(widths[-1], 64, 1), BatchNorm1d(64), nn.SiLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(64 * 16, hidden), nn.SiLU(),
                                  nn.Dropout(dropout), nn.Linear(hidden, maps + POINTS))
        self.register_buffer("lead_scale_mv", torch.ones(8, 1))
        self.register_buffer("mean_map_ms", torch.full((POINTS,), 70.0))
        self.register_buffer("main_maps_ms", torch.zeros(maps, POINTS))
        self.register_buffer("spread_factor", torch.ones(()))
        self.known = KnownEcgs()

    def forward(self, ecg_mv):
        output = self.answer(self.features(ecg_mv))
        if self.training:
            return output
        wider = self.known.widening(ecg_mv)[:, None]  # the less an ECG is like those of the training, the less sure
        return torch.stack([output[:, 0], output[:, 1] * wider], dim=1)

    def features(self, ecg_mv):
        """What is seen in the ECG: (cases, 12, 500) mV -> (cases, 64, 16)."""
        return self.body(ecg_mv[:, EIGHT] / self.lead_scale_mv)

    def answer(self, features):
        weights, spread = self.head(features).float().split([self.config["maps"], POINTS], dim=1)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round 100 ms to a whole half
            time_ms = self.mean_map_ms + weights @ self.main_maps_ms
        spread_ms = 0.5 + 5 * functional.softplus(spread)
        return torch.stack([time_ms, spread_ms * self.spread_factor], dim=1)

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, activation_ms):
        """Lead sizes, mean map and main variations from the training cases: (cases, 12, 500), (cases, 75)."""
        known = np.isfinite(activation_ms)
        if not known.any(axis=0).all():
            raise DataError(f"recording points {np.flatnonzero(~known.any(axis=0)).tolist()[:5]} have no known "
                            "activation time in any training case: nothing to learn them from. Train on more cases.")
        self.lead_scale_mv.copy_(lead_sizes(ecg_mv))
        self.known.fit(ecg_mv)
        mean = np.nanmean(activation_ms, axis=0)
        maps = principal_components(np.where(known, activation_ms - mean, 0), self.config["maps"])
        self.mean_map_ms.copy_(torch.as_tensor(mean))
        self.main_maps_ms[:len(maps)] = torch.as_tensor(maps)
        return self


def principal_components(rows, most):
    """Of rows (n, values) around their mean: (``most`` or fewer, values), each as large as it usually is."""
    _, size, shapes = np.linalg.svd(rows, full_matrices=False)
    return shapes[:most] * size[:most, None] / np.sqrt(len(rows))


def lead_sizes(ecg_mv):
    """(8, 1) standard deviation of each independent lead over cases (cases, 12, 500) and time."""
    return torch.as_tensor(np.asarray(ecg_mv)[:, EIGHT].std(axis=(0, 2)) + 1e-6)[:, None]


def laplace_loss(output, target_ms):
    """Negative log-likelihood of the error under a Laplace distribution whose size the network states; NaN left out."""
    if output.shape != (len(target_ms), 2, *target_ms.shape[1:]):
        raise DataError(f"the network answers {tuple(output.shape)} where laplace_loss expects times and spreads for "
                        f"targets {tuple(target_ms.shape)}; masked_l1 is the loss for times only.")
    time_ms, spread_ms = output.unbind(1)
    known = torch.isfinite(target_ms)
    error = (time_ms - torch.where(known, target_ms, 0)).abs()
    return ((error / spread_ms + spread_ms.log()) * known).sum() / known.sum().clamp(min=1)


def masked_l1(output, target):
    """Mean absolute error over the targets that are known; NaN is left out."""
    if output.shape != target.shape:  # it would be compared number by number all the same
        raise DataError(f"the network answers {tuple(output.shape)}, the targets are {tuple(target.shape)}.")
    known = torch.isfinite(target)
    return ((output - torch.where(known, target, 0)).abs() * known).sum() / known.sum().clamp(min=1)


def times_and_spreads(output):
    """What ``predict`` gives of an ActivationNet, (cases, 2, 75), as (times_ms, spreads_ms), (cases, 75) each."""
    if output.ndim != 3 or output.shape[1:] != (2, POINTS):
        raise DataError(f"expected (cases, 2, {POINTS}), times and spreads in ms, found {output.shape}. A network that "
                        "answers (cases, 75) states times only: use its output as it is.")
    return output[:, 0], output[:, 1]


def calibrate_spread(model, output, activation_ms, level=0.9):
    """Stretch the spreads that ``model`` states by one factor, so that ``level`` of these labels lie in their interval.

    output (cases, 2, 75) is what it predicts for validation cases, activation_ms (cases, 75) the truth there.
    """
    time_ms, spread_ms = times_and_spreads(output)
    half_widths = np.abs(time_ms - activation_ms) / (-np.log(1 - level) * spread_ms)
    if not np.isfinite(half_widths).any():
        raise DataError("no activation time of the validation cases is known: nothing to calibrate spreads on.")
    model.spread_factor.mul_(float(np.nanquantile(half_widths, level)))
    return model


class KnownEcgs(EcgNet):
    """How unlike an ECG is those that a network learned from: (cases, 12, 500) mV -> (cases,); one in fifty exceeds 1.

    The larger of two numbers: the share of its energy that the main shapes of the training ECGs, all scaled to one
    size, cannot draw, and how far its size is from theirs, in logarithms; each over what 99 in 100 of them stay below.
    """
    EDGES_MS = (*range(0, 160, 10), *range(160, 501, 34))  # fine for QRS, coarse for T

    def __init__(self, shapes=96):
        super().__init__()
        self.config = dict(shapes=shapes)
        self.register_buffer("main_shapes", torch.zeros(shapes, 8 * (len(self.EDGES_MS) - 1)))
        self.register_buffer("usual_residual", torch.ones(2))  # in the middle, and what 99 in 100 stay below
        self.register_buffer("usual_log_size", torch.tensor((0.0, 1.0)))  # middle, half width

    def forward(self, ecg_mv):
        shape, log_size = self.measures(ecg_mv)
        middle, half = self.usual_log_size
        return torch.maximum(self.residual(shape) / self.usual_residual[1], (log_size - middle).abs() / half)

    def widening(self, ecg_mv):
        """How much wider intervals should be: the root of what is not drawn, 1 in the middle of the training ECGs."""
        return (self.residual(self.measures(ecg_mv)[0]) / self.usual_residual[0]).clamp(0.25, 16).sqrt()

    def residual(self, shape):
        """(cases,) share of the energy that the main shapes cannot draw."""
        return (1 - ((shape @ self.main_shapes.T) ** 2).sum(1)).clamp(min=0)

    def measures(self, ecg_mv):
        """Means over intervals, each weighted as its energy: (cases, 8 x intervals) of length 1, and their log size."""
        eight = ecg_mv[:, EIGHT] - ecg_mv[:, EIGHT, :1]
        parts = eight.split(np.diff(self.EDGES_MS).tolist(), dim=2)
        flat = torch.stack([part.sum(2) / part.shape[2] ** 0.5 for part in parts], dim=2).flatten(1)
        size = flat.norm(dim=1) + 1e-6
        return flat / size[:, None], size.log()

    @torch.no_grad()
    def fit(self, ecg_mv):
        """Learn what is usual from training ECGs: some hundred hearts or more, as the network sees them."""
        some = ecg_mv[::1 + len(ecg_mv) // 3000]  # more would only take memory
        shape, log_size = self.measures(torch.as_tensor(np.asarray(some, np.float32)))
        main = torch.linalg.svd(shape, full_matrices=False)[2][:len(self.main_shapes)]
        self.main_shapes[:len(main)] = main
        self.usual_residual.copy_(self.residual(shape).quantile(torch.tensor([0.5, 0.99])).clamp(min=1e-4))
        low, high = log_size.quantile(torch.tensor([0.005, 0.995]))
        self.usual_log_size.copy_(torch.stack([low + high, high - low]) / 2)
        return self


# ---- task 4 ----

class VoltageNet(EcgNet):
    """(cases, 12, 500) mV -> (cases, 75, 500) mV: a U-Net over time.

    Four neighbouring milliseconds are folded into the channels, so that the network works on 128 steps and still
    answers for each millisecond. On the way down each level halves the time axis and sees twice as far, until 16 steps
    hold the whole beat; there a dense layer lets every moment see every other one. On the way up the details come back.
    """

    def __init__(self, widths=(64, 96, 128, 192), fold=4):
        super().__init__()
        self.config = dict(widths=list(widths), fold=fold)
        self.stem = ResidualBlock(8 * fold, widths[0])
        self.down = nn.ModuleList(ResidualBlock(a, b, stride=2) for a, b in zip(widths[:-1], widths[1:]))
        self.mix = TimeMixer(widths[-1], 512 // fold // 2 ** len(self.down))
        self.up = nn.ModuleList(ResidualBlock(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1]))
        self.last = Conv1d(widths[0], POINTS * fold, 3, padding=1)
        self.register_buffer("lead_scale_mv", torch.ones(8, 1))
        self.register_buffer("mean_trace_mv", torch.full((POINTS, SAMPLES), -27.0))

    def forward(self, ecg_mv):
        fold = self.config["fold"]
        x = functional.pad(ecg_mv[:, EIGHT] / self.lead_scale_mv, (0, 512 - SAMPLES), mode="replicate")
        x = x.unflatten(2, (-1, fold)).transpose(2, 3).flatten(1, 2)  # (rows, 8 x fold, 512 / fold)
        levels = [self.stem(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = self.mix(levels.pop())
        for up in self.up:
            x = up(torch.cat([x.repeat_interleave(2, dim=2), levels.pop()], dim=1))
        y = self.last(x).float().unflatten(1, (POINTS, fold)).transpose(2, 3).flatten(2)
        voltage_mv = self.mean_trace_mv + 50 * y[..., :SAMPLES]
        return voltage_mv if self.training else voltage_mv.clamp(-120, 80)  # no cell of the heart leaves this range

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, voltage_mv):
        """Lead sizes and the mean trace of each point from the training cases."""
        self.lead_scale_mv.copy_(lead_sizes(ecg_mv))
        self.mean_trace_mv.copy_(torch.as_tensor(np.mean(voltage_mv, axis=0)))
        return self


class TimeMixer(nn.Module):
    """Every moment sees every other one: a dense layer along time, added to what was there."""

    def __init__(self, channels, steps):
        super().__init__()
        self.norm, self.time = BatchNorm1d(channels), nn.Linear(steps, steps)
        self.channels = convolution(channels, channels, 1)

    def forward(self, x):
        return x + self.channels(functional.silu(self.time(self.norm(x))))


class ActionPotentialNet(EcgNet):
    """(cases, 12, 500) mV -> (cases, 75, 500) mV by physics: when does each point activate, how long, in what shape?

    A voltage is drawn as an action potential: a mean shape and ``shapes`` variations of it (principal components of the
    training traces, lined up at their upstrokes), stretched to the point's duration and moved to its activation time.
    So upstrokes stay sharp, and ``timing``, an ActivationNet, is the answer of task 3. In training the answer is these
    parts, (cases, 3 + shapes, 75): times and their spreads (ms), durations (100 times the logarithm of their ratio to
    the usual one, about per cent), shapes (mV). ``parts_of`` reads them off voltages, ``parts_loss`` compares:

        fit(net, (ecg_mv, net.parts_of(voltage_mv, activation_ms, duration_ms)), (ecg_mv, voltage_mv), loss=parts_loss)
    """
    STEADY_MS = 40  # this long after the upstroke nothing is stretched
    BEFORE_MS, AFTER_MS, STEP_MS = 20, 600, 0.5  # what a shape spans

    def __init__(self, shapes=8, maps=24, hidden=128, timing=None):
        super().__init__()
        self.config = dict(shapes=shapes, maps=maps, hidden=hidden, timing=timing)
        self.timing = ActivationNet(**(timing or {}))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 16, hidden), nn.SiLU(), nn.Linear(hidden, maps))
        samples = round((self.BEFORE_MS + self.AFTER_MS) / self.STEP_MS)
        self.register_buffer("shapes_mv", torch.zeros(shapes + 1, samples))  # the mean first
        self.register_buffer("usual_duration_ms", torch.tensor(300.0))
        self.register_buffer("mean_map", torch.zeros(POINTS * (shapes + 1)))  # durations, weights of the shapes
        self.register_buffer("main_maps", torch.zeros(maps, POINTS * (shapes + 1)))

    def forward(self, ecg_mv):
        features = self.timing.features(ecg_mv)
        timing, weights = self.timing.answer(features), self.head(features).float()
        with torch.autocast(ecg_mv.device.type, enabled=False):
            others = (self.mean_map + weights @ self.main_maps).unflatten(1, (-1, POINTS))  # (cases, 1 + shapes, 75)
            if self.training:
                return torch.cat([timing, others], dim=1)
            duration_ms = self.usual_duration_ms * (others[:, 0] / 100).clamp(-1, 1).exp()
            return self.draw(timing[:, 0], duration_ms, others[:, 1:])

    def draw(self, time_ms, duration_ms, weights):
        """Action potentials: (cases, 75) ms, (cases, 75) ms, (cases, shapes, 75) -> (cases, 75, 500) mV."""
        if not torch.compiler.is_exporting() and len(time_ms) > 16:  # pieces that fit a CPU's cache are faster
            pieces = zip(time_ms.split(16), duration_ms.split(16), weights.split(16))
            return torch.cat([self.draw(*piece) for piece in pieces])
        curves = self.shapes_mv[0] + weights.transpose(1, 2) @ self.shapes_mv[1:]  # (cases, 75, samples)
        since = torch.arange(SAMPLES, device=time_ms.device) - time_ms[:, :, None]
        rate = (self.usual_duration_ms - self.STEADY_MS) / (duration_ms - self.STEADY_MS).clamp(min=20)
        since = since.clamp(max=self.STEADY_MS) + (since - self.STEADY_MS).clamp(min=0) * rate[:, :, None]
        return read_at(curves, (since + self.BEFORE_MS) / self.STEP_MS)

    @torch.no_grad()
    def fit_scaling(self, ecg_mv, voltage_mv, activation_ms, duration_ms, seed=0):
        """Shapes and main maps of the training cases; activation_ms, duration_ms (APD90): (cases, 75), NaN left out."""
        self.timing.fit_scaling(ecg_mv, activation_ms)
        self.usual_duration_ms.fill_(float(np.nanmedian(duration_ms)))
        known = np.argwhere(np.isfinite(activation_ms) & np.isfinite(duration_ms))
        some = known[np.random.default_rng(seed).permutation(len(known))[:4000]]
        lined_up = self._lined_up(voltage_mv, activation_ms, duration_ms, *some.T)
        mean = lined_up.mean(axis=0)
        main = principal_components(lined_up - mean, self.config["shapes"])
        main /= np.abs(main).mean(axis=1, keepdims=True)  # so that weights are in mV
        self.shapes_mv.copy_(torch.as_tensor(np.vstack([mean, main])))
        others = self.parts_of(voltage_mv, activation_ms, duration_ms)[:, 1:].reshape(len(ecg_mv), -1)
        mean_map = np.nan_to_num(np.nanmean(others, axis=0))
        maps = principal_components(np.nan_to_num(others - mean_map), self.config["maps"])
        self.mean_map.copy_(torch.as_tensor(mean_map))
        self.main_maps[:len(maps)] = torch.as_tensor(maps)
        return self

    def parts_of(self, voltage_mv, activation_ms, duration_ms):
        """What voltages are drawn from: (cases, 2 + shapes, 75), times, durations and shapes; NaN where unknown."""
        mean, *main = self.shapes_mv.cpu().numpy()
        parts = np.full((len(voltage_mv), 2 + len(main), POINTS), np.nan, np.float32)
        parts[:, 0], parts[:, 1] = activation_ms, 100 * np.log(duration_ms / self.usual_duration_ms.item())
        case, point = np.nonzero(np.isfinite(parts[:, :2]).all(axis=1))
        for first in range(0, len(case), 20000):
            some = case[first:first + 20000], point[first:first + 20000]
            lined_up = self._lined_up(voltage_mv, activation_ms, duration_ms, *some)
            parts[some[0], 2:, some[1]] = (lined_up - mean) @ np.linalg.pinv(main)
        return parts

    def _lined_up(self, voltage_mv, activation_ms, duration_ms, case, point):
        """Traces (n, samples) of these cases and points, their upstrokes at 0 and their durations as usual."""
        since = np.arange(-self.BEFORE_MS, self.AFTER_MS, self.STEP_MS)
        rate = (duration_ms[case, point] - self.STEADY_MS) / (self.usual_duration_ms.item() - self.STEADY_MS)
        at = np.minimum(since, self.STEADY_MS) + np.maximum(since - self.STEADY_MS, 0) * rate[:, None]
        at = np.clip(at + activation_ms[case, point][:, None], 0, SAMPLES - 1.001)  # beyond the recording: its ends
        left = at.astype(int)
        traces = np.asarray(voltage_mv[case, point])
        low, high = (np.take_along_axis(traces, place, axis=1) for place in (left, left + 1))
        return low + (high - low) * (at - left)


def parts_loss(output, target):
    """Of an ActionPotentialNet in training: its times and their spreads, and how far durations and shapes are off.

    The target is what ``parts_of`` gives, NaN left out. Where both are voltages, as in validation: mean absolute error.
    """
    if output.shape[-1] == SAMPLES:
        return functional.l1_loss(output, target)
    known = torch.isfinite(target[:, 1:])
    error = (output[:, 2:] - torch.where(known, target[:, 1:], 0)).abs() * known
    return laplace_loss(output[:, :2], target[:, 0]) + 0.2 * error.sum() / known[:, 0].sum().clamp(min=1)


class Template:
    """The simplest model of a voltage: one average action potential, moved to where each point activates."""

    def __init__(self, before_ms=20, after_ms=500):
        self.since_ms = np.arange(-before_ms, after_ms)

    def fit(self, voltage_mv, activation_ms):
        """Average traces (cases, 75, time), lined up at their upstrokes; each sample over the traces that have it."""
        length = voltage_mv.shape[-1]
        total, count = np.zeros(len(self.since_ms)), np.zeros(len(self.since_ms))
        for case, point in np.argwhere(np.isfinite(activation_ms)):
            at = self.since_ms + activation_ms[case, point]
            seen = (at >= 0) & (at <= length - 1)
            total[seen] += np.interp(at[seen], np.arange(length), voltage_mv[case, point])
            count[seen] += 1
        self.shape_mv = np.interp(self.since_ms, self.since_ms[count > 0], (total / np.maximum(count, 1))[count > 0])
        return self

    def predict(self, activation_ms, length=500):
        """The template at each activation time: (cases, 75) ms -> (cases, 75, length) mV."""
        since = np.arange(length) - np.asarray(activation_ms)[..., None]
        return np.interp(since, self.since_ms, self.shape_mv).astype(np.float32)


# ---- tasks 3 and 4: harmless changes of a recording, drawn anew for every minibatch ----

class Augment:
    """Changes that a recording could have: another onset, gain, noise, electrode place, a lead fallen off; and those of
    another heart: it lies turned in its chest (by about ``turn`` radians), all is slower or faster, and where times
    alone are the answer its ``cells`` have up to that share more or less in notch and plateau (voltages would differ).

    Called with (ecg_mv (n, 12, 500), target, generator), as ``fit`` does. The answer moves with the ECG: times are
    stretched and grow by the shift, voltages move along the time axis, durations (of ``parts_of``) grow.
    """

    def __init__(self, shift_ms=8, gain=0.2, lead_gain=0.05, mix=0.05, noise_mv=0.01, drop=0.05, slower=0.15, turn=0.2,
                 cells=0.5):
        self.shift_ms, self.gain, self.lead_gain, self.mix = shift_ms, gain, lead_gain, mix
        self.noise_mv, self.drop, self.slower, self.turn, self.cells = noise_mv, drop, slower, turn, cells

    def __call__(self, ecg_mv, target, generator=None):
        n, device = len(ecg_mv), ecg_mv.device
        normal = lambda *size: torch.randn(size, generator=generator, device=device)
        uniform = lambda *size: torch.rand(size, generator=generator, device=device)
        shift = (uniform(n, 1) * (2 * self.shift_ms + 1)).floor() - self.shift_ms
        stretch = torch.exp(self.slower * (2 * uniform(n, 1) - 1))
        now = ((torch.arange(SAMPLES, device=device) - shift) / stretch)[:, None]
        eight = read_at(ecg_mv[:, EIGHT], now)
        only_times = torch.full((n, 1, 1), target.ndim == 2, device=device)
        if target.shape[-1] == SAMPLES:
            target = read_at(target, now)
        elif target.ndim == 2:
            target = stretch * target + shift
        else:  # the parts of voltages: times, durations, shapes
            moved = stretch * target[:, 0] + shift, target[:, 1] + 100 * stretch.log()
            target = torch.cat([torch.stack(moved, dim=1), target[:, 2:]], dim=1)
            only_times = torch.isnan(target[:, 1:]).all(dim=2, keepdim=True).all(dim=1, keepdim=True)
        if only_times.any():
            eight = torch.where(only_times, self.other_cells(eight, lambda: uniform(n, 1, 1)), eight)
        eight = eight * (1 + self.gain * normal(n, 1, 1)) * (1 + self.lead_gain * normal(n, 8, 1))
        eight = eight + self.mix * normal(n, 8, 8) @ eight  # a displaced electrode sees a bit of the other leads
        same, dipole = torch.eye(3, device=device)[None], DIPOLE.to(device)
        turned = torch.matrix_exp(torch.linalg.cross(self.turn * normal(n, 1, 3), same)) - same
        eight = eight + dipole @ turned @ torch.linalg.pinv(dipole) @ eight
        fallen_off = uniform(n, 8, 1) <= self.drop * (uniform(n, 1, 1) < 0.5)
        return from_independent(eight * ~fallen_off + self.noise_mv * normal(n, 8, SAMPLES)), target

    def other_cells(self, ecg_mv, uniform):
        """Each cell adds its action potential: another front, notch and plateau for all cells is a filter in time."""
        frequency = torch.arange(513, device=ecg_mv.device) * torch.pi / 512
        change = torch.exp(-(8 * self.cells * uniform() * (uniform() < 0.5) * frequency) ** 2 / 2)  # a broader front
        for shortest, longest in ((3, 20), (20, 120)):  # ms: the notch, the plateau
            decay = torch.exp(-1 / (shortest * (longest / shortest) ** uniform()))
            share = self.cells * (2 * uniform() - 0.9) * (uniform() < 0.6)
            change = change * (1 + share * (1 - decay) / (1 - decay * torch.exp(-1j * frequency)))
        return torch.fft.irfft(torch.fft.rfft(ecg_mv, 1024) * change, 1024)[..., :SAMPLES]


def read_at(signal, time):
    """Signals (n, channels, samples) at times (n, channels or 1, any number): lines between samples, the ends held."""
    left = time.floor().clamp(0, signal.shape[-1] - 2)
    index = left.long().expand(*signal.shape[:2], -1)
    low, high = signal.gather(2, index), signal.gather(2, index + 1)
    return low + (high - low) * (time - left).clamp(0, 1)
