"""The inside of ``fit``: one training, epoch by epoch."""
import copy
import json
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cardiac_ml import processes
from cardiac_ml.devices import computing
from cardiac_ml.files import DataError
from cardiac_ml.training_data import to_tensors


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why and at which step. The model holds its last good weights."""


@dataclass
class Curve:
    """What each epoch gave: ``curve.plot()`` draws it, ``curve["score"]`` is one column, ``curve.best`` the kept epoch."""
    score_name: str = "loss"
    epochs: list = field(default_factory=list)  # dictionaries
    best: dict = field(default_factory=dict)

    def __getitem__(self, name):
        return [epoch[name] for epoch in self.epochs]

    def __len__(self):
        return len(self.epochs)

    def plot(self):
        from cardiac_ml.plots import learning_curve
        return learning_curve(self)


@dataclass
class Fit:
    """A trained model (best weights, ready to predict), its learning curve, and how the training ended."""
    model: nn.Module
    curve: Curve
    ended: str  # "all epochs", "early stop" or "interrupted"

    def __repr__(self):
        best, seconds = self.curve.best, sum(self.curve["seconds"])
        kept = f"epoch {best['epoch']}" if best else "the last weights"
        score = f", {self.curve.score_name} {best['score']:.4g}" if best and best["score"] is not None else ""
        return (f"Fit({type(self.model).__name__}, {self.ended}: {len(self.curve)} epochs in {seconds:.0f} s, "
                f"kept {kept}{score})")


def one_cycle(step, steps, warm_up=0.2, start=0.04):
    """Factor of the learning rate: up a line from ``start`` to 1, then down a cosine to nearly 0."""
    top = max(1, round(warm_up * steps))
    if step < top:
        return start + (1 - start) * step / top
    return 0.5 * (1 + math.cos(math.pi * (step - top) / max(1, steps - top)))


class Run:
    """One training: the network, the running average of its weights, the optimizer, and how far it has come."""

    def __init__(self, model, loss, score, augment, device, precision, settings):
        self.loss, self.score, self.augment, self.settings = loss, score, augment, settings
        self.device, self.precision = device, precision
        self.rank, self.size = processes.rank_and_size()
        self.model = model.to(device)
        if device.type != "mps":
            model.to(memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(model).eval()
        self.pairs = [[value for value in network.state_dict().values() if value.is_floating_point()]
                      for network in (self.averaged, model)]
        self.start_weights, self.best_weights = copied(model), {}
        self.optimizer = torch.optim.AdamW(parameter_groups(model, settings), fused=device.type in ("cuda", "cpu"))
        self.epoch = 0
        self.curve = Curve("loss" if score is None else getattr(score, "__name__", "score").replace("_", " "))

    def load_data(self, train, valid, draw):
        """Everything onto the device, once. ``draw``: how often each row comes, or None."""
        self.inputs, self.targets = to_tensors(train, self.device)
        self.valid, self.valid_targets = to_tensors(valid, self.device), None if valid is None else np.asarray(valid[1])
        self.draw = None if draw is None else torch.as_tensor(draw, dtype=torch.float64)
        self.batches = math.ceil(len(self.inputs) / self.settings.batch_size)
        if len(self.inputs) < self.batches * self.size:
            raise DataError(f"{len(self.inputs)} rows in batches of {self.settings.batch_size} leave nothing to do for "
                            f"some of {self.size} processes. Start fewer of them or enlarge batch_size.")

    def train(self, checkpoint, progress):
        """The epochs that are left, then the best weights into the model."""
        from tqdm.auto import tqdm
        last = self.settings.epochs
        if checkpoint is not None and (state := checkpoint.read(self.device)) is not None:
            self.restore(state)
        done = self.epoch * self.batches
        with tqdm(total=last * self.batches, initial=done, disable=not progress, unit="step") as bar:
            try:
                parallel = processes.spread(self.model, self.device)
                while self.epoch < last and not self.out_of_patience():
                    self.one_epoch(parallel, bar)
                    if checkpoint is not None and self.rank == 0:
                        checkpoint.write(self.state())
                ended = "all epochs" if self.epoch == last else "early stop"
            except KeyboardInterrupt:
                ended = "interrupted"
        self.keep(self.best_weights or self.averaged.state_dict())
        return Fit(self.model, self.curve, ended)

    def one_epoch(self, parallel, bar):
        """Every row once, in an order that depends on seed and epoch only; then the validation."""
        started, seed = time.perf_counter(), 100_003 * self.settings.seed + self.epoch
        order = self.order(torch.Generator().manual_seed(seed))
        torch.manual_seed(seed + 7919 * self.rank)  # dropout
        generator = torch.Generator(self.device).manual_seed(seed)
        to_training(self.model)
        bar.set_description(f"epoch {self.epoch + 1}/{self.settings.epochs}")
        losses, unchecked = [], []
        for step, rows in enumerate(order.tensor_split(self.batches), self.epoch * self.batches):
            unchecked.append(self.one_step(parallel, step, rows.to(self.device), generator))
            if self.device.type == "cpu" or len(unchecked) == 20:  # looking at every number would make a GPU wait
                losses += self.checked(unchecked, step)
                unchecked = []
            bar.update()
        losses += self.checked(unchecked, step)
        self.epoch += 1
        self.curve.epochs.append(dict(epoch=self.epoch, train_loss=float(np.mean(losses)), **self.validate(),
                                      learning_rate=self.optimizer.param_groups[0]["lr"],
                                      seconds=time.perf_counter() - started))
        self.compare()
        shown = {"training loss": np.mean(losses)} if self.valid is None else {
            f"validation {self.curve.score_name}": self.curve.epochs[-1]["score"]}
        bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})

    def order(self, generator):
        """Row numbers in the order of one epoch; with ``sampling``, some come more than once and some not at all."""
        if self.draw is None:
            return torch.randperm(len(self.inputs), generator=generator)
        return torch.multinomial(self.draw, len(self.inputs), replacement=True, generator=generator)

    def one_step(self, parallel, step, rows, generator):
        """One minibatch: returns the loss and the size of its gradient, both still on the device."""
        inputs, targets = self.inputs[rows], self.targets[rows]
        if self.augment is not None:
            inputs, targets = self.augment(inputs, targets, generator)
        mine = slice(self.rank, None, self.size)  # all processes augment alike, then each takes its share
        share = len(inputs[mine]) * self.size / len(inputs)
        with computing(self.precision, self.device):
            output = parallel(inputs[mine])
        loss = self.loss(output.float(), targets[mine]) * share
        self.optimizer.zero_grad()
        loss.backward()
        size = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf)
        result = torch.stack([loss.detach(), size])
        if self.device.type != "cpu" or torch.isfinite(result).all():
            self.update(step)
        return result

    def update(self, step):
        """The optimizer's step, and a part of it into the running average (a smaller one the more there were)."""
        factor = one_cycle(step, self.settings.epochs * self.batches)
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * factor
        self.optimizer.step()
        get_ema_multi_avg_fn(min(self.settings.average, (1 + step) / (10 + step)))(*self.pairs, None)

    def checked(self, results, step):
        """The losses of the last steps, up to ``step``, as numbers; stops the training where one is not finite."""
        if not results:
            return []
        values = processes.summed(torch.stack(results)) / self.size
        good = torch.isfinite(values).all(dim=1).tolist()
        if all(good):
            return values[:, 0].tolist()
        step = step - len(good) + 1 + good.index(False)
        self.keep(self.best_weights or self.start_weights)
        kept = f"its best weights, of epoch {self.curve.best['epoch']}" if self.best_weights else "its first weights"
        raise TrainingStopped(
            f"The loss or its gradient became NaN or infinite at step {step + 1} (epoch {step // self.batches + 1}, "
            f"minibatch {step % self.batches + 1} of {self.batches}). The model holds {kept}. Look for extreme values "
            "in inputs and targets, try a smaller learning_rate, or precision='float32'.")

    def validate(self):
        """Loss and score of the averaged weights on the validation rows; without such rows, nothing."""
        if self.valid is None:
            return dict(valid_loss=None, score=None)
        outputs, losses, size = [], [], 4 * self.settings.batch_size
        with torch.no_grad(), computing(self.precision, self.device):
            for inputs, targets in zip(*(tensor.split(size) for tensor in self.valid)):
                outputs.append(self.averaged(inputs).float())
                losses.append(self.loss(outputs[-1], targets) * len(inputs))
        loss = float(torch.stack(losses).sum()) / len(self.valid[0])
        score = loss if self.score is None else float(self.score(self.valid_targets, torch.cat(outputs).cpu().numpy()))
        return processes.from_first(dict(valid_loss=loss, score=score))

    def compare(self):
        """Keep the averaged weights if they are the best so far; without validation the last are."""
        latest, sign = self.curve.epochs[-1], self.settings.sign
        if latest["score"] is None:
            self.curve.best = latest
        elif math.isfinite(latest["score"]) and (
                not self.best_weights or latest["score"] * sign > self.curve.best["score"] * sign):
            self.curve.best, self.best_weights = latest, copied(self.averaged)

    def out_of_patience(self):
        return self.settings.patience is not None and bool(self.best_weights) and (
            self.epoch - self.curve.best["epoch"] >= self.settings.patience)

    def keep(self, weights):
        self.model.load_state_dict(weights)
        self.model.eval()

    def state(self):
        """All that the rest of the training depends on (random numbers depend on seed and epoch only)."""
        return dict(epoch=self.epoch, curve=json.dumps(self.curve.epochs), best=json.dumps(self.curve.best),
                    model=self.model.state_dict(), averaged=self.averaged.state_dict(), best_weights=self.best_weights,
                    optimizer=self.optimizer.state_dict())

    def restore(self, state):
        self.epoch, self.best_weights = state["epoch"], state["best_weights"]
        self.curve.epochs, self.curve.best = json.loads(state["curve"]), json.loads(state["best"])
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def parameter_groups(model, settings):
    """One group of weights for each learning rate; vectors (biases, normalisations) do not decay."""
    groups = {}
    for name, weights in model.named_parameters():
        factor = next((factor for part, factor in settings.slower.items() if name.startswith(part)), 1.0)
        if weights.requires_grad:
            groups.setdefault((factor, weights.ndim > 1), []).append(weights)
    if not groups:
        raise DataError(f"Nothing to train: all weights of {type(model).__name__} are frozen.")
    return [dict(params=weights, top=settings.learning_rate * factor, lr=0.0,
                 weight_decay=settings.weight_decay if decays else 0.0) for (factor, decays), weights in groups.items()]


def to_training(model):
    """Training mode, except for parts whose weights are all frozen: their normalisations must stay as they are."""
    model.train()
    for part in model.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()


@contextmanager
def frozen(model, slower):
    """Inside the block, weights whose learning rate is scaled by 0 take no part."""
    parts = tuple(name for name, factor in slower.items() if factor == 0)
    chosen = [weights for name, weights in model.named_parameters() if weights.requires_grad and name.startswith(parts)]
    try:
        for weights in chosen:
            weights.requires_grad_(False)
        yield
    finally:
        for weights in chosen:
            weights.requires_grad_(True)


def copied(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
