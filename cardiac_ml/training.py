# Copied out of the kit, this file needs files.py beside it.
"""Train a network on arrays, let it predict, keep it in a file: ``fit``, ``predict``, ``save`` and ``load``.

    model, history = fit(model, (inputs, targets), (valid_inputs, valid_targets), epochs=10)
    history.plot(x="epoch", y=["train_loss", "valid_loss"])
    scores = predict(model, test_inputs)

Any ``nn.Module`` will do, of this kit or your own. What the network eats (scaling included) is the network's business.
"""
import atexit
import copy
import datetime
import json
import math
import os
import time
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

try:
    from cardiac_ml.files import DataError, atomic_write, fingerprint
except ImportError:  # copied
    from files import DataError, atomic_write, fingerprint

FORMAT = 2  # of checkpoints and saved networks
LARGEST_BYTES = 500_000_000  # of a saved network
MOST_THREADS = 16  # beyond that, the small layers of these networks only wait for one another


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why and where. The network holds its last good weights."""


class Fit(NamedTuple):
    """``model`` is ready to predict. ``history`` has a row an epoch; ``history.attrs`` says what was kept, and why."""
    model: nn.Module
    history: pd.DataFrame


def fit(model, train, valid=None, *, loss=functional.cross_entropy, score=None, maximize=True, epochs=10, batch_size=64,
        lr=3e-3, weight_decay=0.01, ema_decay=0.999, max_grad_norm=1.0, sample_weight=None, augment=None, seed=0,
        device=None, precision="auto", checkpoint=None):
    """Train ``model`` on arrays ``train = (inputs, targets)`` and keep the weights that do best on ``valid``.

    loss           function (output, target) -> a number to make small, of tensors
    score          function (truth, output) -> a number, of numpy arrays, that chooses the best epoch (default: the
                   loss); ``maximize=False`` where less is better
    lr             at the top of a one-cycle schedule, which ends near zero
    ema_decay      of the running average of the weights, which is what is validated and kept
    sample_weight  (rows,) how often each row is drawn, relative to the others (default: each once an epoch)
    augment        function (inputs, targets, generator) -> (inputs, targets), of tensors, called for each minibatch
    device         "cpu", "cuda" or "mps"; default: an NVIDIA GPU if there is one, else the CPU
    precision      "float32", "bfloat16", or "auto": the second where the hardware is made for it, and gets it right
    checkpoint     a file, written after each epoch; where it exists, training goes on from it to the same result

    Interrupting it (the stop button) returns the best network so far. The same seed, device and number of threads give
    the same weights; another number of threads gives slightly others. Under ``torchrun`` each process trains on its
    share of every minibatch (DistributedDataParallel): gradients are averaged, batch normalisation is not, so the
    result is like that of one process, not equal to it.
    """
    if not isinstance(model, nn.Module) or not callable(loss):
        raise DataError(f"fit trains a torch.nn.Module, such as MapNet(), with a function as its loss; here they are a "
                        f"{type(model).__name__} and {loss}.")
    for name, value in dict(epochs=epochs, batch_size=batch_size, lr=lr).items():
        if not value > 0 or name != "lr" and value != int(value):
            raise DataError(f"{name} is {value}; it must be {'a' if name == 'lr' else 'a whole'} number larger than 0.")
    device = pick_device(device)
    model.to(device)
    precision = pick_precision(precision, device, model)
    rank, ranks = _join_processes(device)
    inputs, targets = _tensors(model, "train", train, device)
    held_out = _tensors(model, "valid", valid, device) if valid is not None else None
    if loss is functional.cross_entropy:
        _check_labels(predict(model, train[0][:1]).shape[1], train[1], valid and valid[1])
    batches = math.ceil(len(inputs) / batch_size)
    parallel = DistributedDataParallel(model) if ranks > 1 else model
    averaged = AveragedModel(model, multi_avg_fn=_running_average(ema_decay), use_buffers=True).eval()
    optimizer = torch.optim.AdamW(_parameter_groups(model, weight_decay), lr=lr, fused=device.type in ("cuda", "cpu"))
    schedule = OneCycleLR(optimizer, lr, max(11, epochs * batches), pct_start=0.2, cycle_momentum=False)
    rows, best, start = [], None, copy.deepcopy(model.state_dict())  # best: (score, epoch, weights)
    if checkpoint is not None:
        checkpoint = Checkpoint(checkpoint, model, train, valid, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
                                weight_decay=weight_decay, ema_decay=ema_decay, max_grad_norm=max_grad_norm)
        rows, best = checkpoint.read(device, model, averaged, optimizer, schedule)
    ended = "all epochs"
    bar = tqdm(total=epochs * batches, initial=len(rows) * batches, unit="step", **dict(disable=True) if rank else {})
    own_chance = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with cpu_threads(), own_chance, _explained(batch_size), bar:
        try:
            for epoch in range(len(rows) + 1, epochs + 1):
                started, losses = time.perf_counter(), []
                order = _order(len(inputs), sample_weight, 100_003 * seed + epoch)
                torch.manual_seed(100_003 * seed + 7919 * rank + epoch)  # of dropout
                generator = torch.Generator(device).manual_seed(100_003 * seed + 7919 * rank + epoch)
                _train_mode(model)
                for chosen in order.tensor_split(batches):
                    chosen = chosen[rank::ranks].to(device)
                    x, y = inputs[chosen], targets[chosen]
                    if augment is not None:
                        x, y = augment(x, y, generator)
                    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                        output = parallel(x)
                    step_loss = loss(output.float(), y)
                    optimizer.zero_grad()
                    step_loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm or math.inf)
                    optimizer.step()
                    schedule.step()
                    averaged.update_parameters(model)
                    losses.append(step_loss.detach())
                    if len(losses) in (1, batches):  # to look at every number would make a GPU wait
                        _check_finite(losses, epoch, targets, model, best[2] if best else start)
                    bar.update()
                row = dict(epoch=epoch, train_loss=float(torch.stack(losses).mean()), valid_loss=np.nan, score=np.nan)
                if held_out is not None:
                    row |= _validate(averaged.module, held_out, valid[1], loss, score, 4 * batch_size, precision)
                rows.append(row | dict(lr=schedule.get_last_lr()[0], seconds=time.perf_counter() - started))
                sign = 1 if maximize and score else -1
                if math.isfinite(row["score"]) and (best is None or sign * row["score"] > sign * best[0]):
                    best = row["score"], epoch, copy.deepcopy(averaged.module.state_dict())
                if checkpoint is not None and rank == 0:
                    checkpoint.write(rows, best, model, averaged, optimizer, schedule)
                bar.set_description(f"epoch {epoch}/{epochs}")
                bar.set_postfix(train_loss=f"{row['train_loss']:.4g}", score=f"{row['score']:.4g}")
        except KeyboardInterrupt:
            ended = "interrupted"
    model.load_state_dict(best[2] if best else averaged.module.state_dict() if rows else start)
    history = pd.DataFrame(rows, columns=["epoch", "train_loss", "valid_loss", "score", "lr", "seconds"])
    name = getattr(score, "__name__", "score").replace("_", " ") if score else "loss"
    history.attrs = dict(score=name, best_epoch=best[1] if best else len(rows), ended=ended)
    finite = all(torch.isfinite(value).all() for value in model.state_dict().values())
    if rows and not (finite and (best or held_out is None)):
        raise TrainingStopped("In no epoch were all weights, and all outputs on the validation rows, finite numbers: "
                              f"nothing to keep. Try a smaller lr than {lr:g}, or look for extreme inputs and targets.")
    return Fit(model.eval(), history)


def predict(model, inputs, batch_size=256, device=None):
    """The network's output for numpy ``inputs`` (rows, ...), computed in batches: a float32 array (rows, ...)."""
    if len(inputs) == 0:
        raise DataError("There is nothing to predict: the inputs have no rows.")
    if hasattr(inputs, "table"):
        raise DataError(f"predict takes an array, data.ecg_mv or data.beats, not all of a {type(inputs).__name__}.")
    inputs = getattr(model, "check_input", np.asarray)(inputs)  # of ECGs in mV, say: is something wrong with them?
    device = torch.device(device) if device is not None else next((p.device for p in model.parameters()), "cpu")
    was_training, parts = model.training, []
    model.to(device).eval()
    try:
        with cpu_threads(), torch.inference_mode(), _explained(batch_size, model, inputs):
            for start in range(0, len(inputs), batch_size):
                rows = np.array(inputs[start:start + batch_size], dtype=np.float32)
                parts.append(model(torch.from_numpy(rows).to(device)).float().cpu())
                if len(parts[-1]) != len(rows):
                    raise ValueError(f"answered {len(rows)} rows with an output of shape {tuple(parts[-1].shape)}")
    finally:
        model.train(was_training)
    return torch.cat(parts).numpy()


def probabilities(scores):
    """Softmax of a classifier's scores: (rows, classes) -> (rows, classes)."""
    return softmax(np.asarray(scores, dtype=np.float64), axis=1)


def occlusion(model, signals, label, width=9, step=3):
    """What did a classifier look at? (rows, samples) or (rows, channels, samples) -> importance of the same shape.

    A window of ``width`` samples is replaced by a straight line between its ends; the importance is how much the
    log-odds of the class ``label`` (rows,) fall, averaged over the windows that hide the sample. Negative: it spoke
    against the class.
    """
    signals, label = np.asarray(signals, dtype=np.float32), np.asarray(label)
    samples = signals.shape[-1]
    full = _log_odds(predict(model, signals), label)
    total, count = np.zeros(signals.shape), np.zeros(samples)
    for start in range(0, max(1, samples - width + 1), step):
        part = slice(start, start + width)
        hidden, window = signals.copy(), signals[..., part]
        line = window[..., :1] + (window[..., -1:] - window[..., :1]) * np.linspace(0, 1, window.shape[-1])
        hidden[..., part] = np.where(window == 0, 0, line)  # padding stays padding
        fall = full - _log_odds(predict(model, hidden), label)
        total[..., part] += fall.reshape(-1, *[1] * (signals.ndim - 1))
        count[part] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)


def _log_odds(scores, label):
    chance = np.clip(probabilities(scores)[np.arange(len(label)), label], 1e-9, 1 - 1e-9)
    return np.log(chance / (1 - chance))


# ---- inside fit ----

def _tensors(model, name, pair, device):
    """(inputs, targets) as tensors, once they are sure to fit: numbers as float32, class numbers as int64."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise DataError(f"{name} is a pair of arrays: fit(model, (inputs, targets)), not fit(model, inputs, targets).")
    inputs, targets = pair
    if np.ndim(targets) == 0:
        raise DataError(f"{name} is a single case; even one needs its axis of rows: (x[:1], y[:1]), not (x[0], y[0]).")
    if len(inputs) != len(targets):
        raise DataError(f"{name} has {len(inputs)} inputs and {len(targets)} targets; each input needs its target.")
    if len(inputs) == 0:
        raise DataError(f"{name} has no rows. Check its split{', or do without: valid=None' * (name == 'valid')}.")
    for start in range(0, len(inputs), 4096):  # in pieces: it may be a memory map larger than the memory
        part = np.asarray(inputs[start:start + 4096])
        good = np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if not good.all():
            raise DataError(f"{name} inputs: row {start + int(good.argmin())} holds NaN or infinity. Fill in or leave "
                            "out such rows before training.")
    try:
        inputs = np.ascontiguousarray(getattr(model, "check_input", np.asarray)(inputs))
        predict(model, inputs[:1], device=device)
    except DataError as error:
        swapped = f" {name} is inputs {np.shape(inputs)} and targets {np.shape(targets)}: did you mean them swapped?"
        raise DataError(f"{error}{swapped * (np.ndim(targets) > np.ndim(inputs))}") from error
    targets = np.ascontiguousarray(targets)
    if targets.dtype.kind == "f" and np.isnan(targets).all():
        raise DataError(f"all {targets.size} {name} targets are NaN: there is nothing to learn from.")
    kind = torch.int64 if targets.dtype.kind in "iub" else torch.float32
    return torch.as_tensor(inputs).to(device, torch.float32), torch.as_tensor(targets).to(device, kind)


def _check_labels(classes, train_labels, valid_labels):
    """Labels are whole numbers from 0 to classes - 1; warns of classes that are in one split only."""
    present = []
    for name, labels in (("train", train_labels), ("valid", valid_labels)):
        if labels is None:
            return
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise DataError(f"{name} targets are {labels.dtype} of shape {labels.shape}; the default loss expects "
                            "class numbers (rows,). For maps give fit a loss: models.masked_l1, say.")
        present.append(set(np.unique(labels).tolist()))
        if wrong := sorted(present[-1] - set(range(classes))):
            raise DataError(f"{name} targets hold the class {wrong[0]}, but the network has {classes} outputs, for "
                            f"classes counted from 0. Correct them, or make it with classes={max(present[-1]) + 1}.")
    if unseen := sorted(present[1] - present[0]):
        warnings.warn(f"Classes {unseen} are in valid but not in train: the network cannot learn them. A stratified "
                      "split has every class on both sides.", stacklevel=3)
    if unjudged := sorted(present[0] - present[1]):
        warnings.warn(f"Classes {unjudged} are not in valid: the score does not judge them.", stacklevel=3)


def _parameter_groups(model, weight_decay):
    """Matrices decay, vectors (biases, normalisations) do not; frozen weights take no part."""
    free = [weights for weights in model.parameters() if weights.requires_grad]
    if not free:
        raise DataError(f"Nothing to train: all weights of {type(model).__name__} are frozen.")
    return [dict(params=[w for w in free if w.ndim > 1], weight_decay=weight_decay),
            dict(params=[w for w in free if w.ndim <= 1], weight_decay=0.0)]


def _running_average(decay):
    """An exponential average that forgets faster in the beginning, when there is little worth keeping."""
    def update(averaged, current, updates):
        updates = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + updates) / (10 + updates)))(averaged, current, updates)
    return update


def _order(rows, sample_weight, seed):
    """Row numbers in the order of one epoch; with ``sample_weight`` some come more than once and some not at all."""
    generator = torch.Generator().manual_seed(seed)
    if sample_weight is None:
        return torch.randperm(rows, generator=generator)
    weight = torch.as_tensor(np.asarray(sample_weight), dtype=torch.float64)
    if weight.shape != (rows,):
        raise DataError(f"sample_weight has shape {tuple(weight.shape)}, expected ({rows},): one number a row.")
    return torch.multinomial(weight, rows, replacement=True, generator=generator)


def _train_mode(model):
    """Training mode, except for parts whose weights are all frozen: their normalisations must stay as they are."""
    model.train()
    for part in model.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()


def _check_finite(losses, epoch, targets, model, weights):
    """Stop where a loss is not finite, with good weights in the network, and say why it is not."""
    good = torch.isfinite(torch.stack(losses))
    if good.all():
        return
    model.load_state_dict(weights)
    missing = int(torch.isnan(targets).sum()) if targets.is_floating_point() else 0
    if missing:
        raise TrainingStopped(f"The loss is NaN because {missing} of {targets.numel()} targets are NaN (unknown). Use "
                              "a loss that leaves them out, such as cardiac_ml.models.masked_l1 or laplace_loss.")
    raise TrainingStopped(f"The loss became NaN or infinite at minibatch {int(good.int().argmin()) + 1} of epoch "
                          f"{epoch}. The network holds its best weights so far, or its first. Look for extreme values "
                          "in inputs and targets, try a smaller lr, or precision='float32'.")


def _validate(model, held_out, truth, loss, score, batch_size, precision):
    """Loss and score on the validation rows; NaN where an output is not finite, so that such an epoch is not kept."""
    outputs, losses = [], []
    with torch.no_grad(), torch.autocast(held_out[0].device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        for inputs, targets in zip(*(tensor.split(batch_size) for tensor in held_out)):
            outputs.append(model(inputs).float())
            losses.append(loss(outputs[-1], targets) * len(inputs))
    output, value = torch.cat(outputs), float(torch.stack(losses).sum()) / len(held_out[0])
    result = dict(valid_loss=value, score=math.nan)
    if torch.isfinite(output).all():
        result["score"] = float(score(np.asarray(truth), output.cpu().numpy())) if score else value
        if math.isnan(result["score"]) and (missing := int(torch.isnan(held_out[1]).sum())):
            raise TrainingStopped(f"The score is NaN because {missing} of {held_out[1].numel()} valid targets are NaN "
                                  "(unknown). Use a score, or a loss, that leaves them out.")
    if distributed.is_available() and distributed.is_initialized():  # all processes keep the same epoch
        values = [result]
        distributed.broadcast_object_list(values)
        result = values[0]
    return result


class Checkpoint:
    """A file with the state of one training after an epoch; refuses to go on with another training."""

    def __init__(self, path, model, train, valid, **settings):
        sample = [array[::max(1, len(array) // 1000)] for pair in (train, valid) if pair is not None for array in pair]
        shapes = {f"network {name}": list(value.shape) for name, value in model.state_dict().items()}
        self.path = Path(path)
        self.training = dict(format=FORMAT, data=fingerprint(*map(np.asarray, sample)), **settings, **shapes)

    def write(self, rows, best, *parts):
        state = dict(training=json.dumps(self.training), rows=json.dumps(rows), best=best)
        with atomic_write(self.path) as file:
            torch.save(state | {"parts": [part.state_dict() for part in parts]}, file)

    def read(self, device, *parts):
        """(rows, best) where a file of this training is there, with the parts as they were; else ([], None)."""
        if not self.path.exists():
            return [], None
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch.load compares no checksums
                if wrong := archive.testzip():
                    raise zipfile.BadZipFile(wrong)
            state = torch.load(self.path, map_location=device, weights_only=True)
            found, rows = json.loads(state["training"]), json.loads(state["rows"])
        except Exception as error:
            raise DataError(f"{self.path} is not a checkpoint that fit wrote, or it is damaged: "
                            f"{type(error).__name__}. Delete it or name another file.") from error
        if differences := _differences(found, json.loads(json.dumps(self.training))):
            raise DataError(f"{self.path} is the checkpoint of another training: {'; '.join(differences[:5])}. Name "
                            "another file, or delete this one to start afresh.")
        for part, values in zip(parts, state["parts"]):
            part.load_state_dict(values)
        return rows, state["best"]


def _differences(found, wanted, words="{name} was {}, is {}"):
    """What differs between two dictionaries, in words."""
    return [words.format(found.get(name, "absent"), wanted.get(name, "absent"), name=name)
            for name in {**wanted, **found} if found.get(name) != wanted.get(name)]


# ---- where to compute ----

def pick_device(device=None):
    """``device`` if given, else this process's NVIDIA GPU, else the CPU (ask for Apple's "mps": its numbers differ)."""
    own = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    return torch.device(own if device is None else device)


def pick_precision(precision, device, model=None):
    """"float32" or "bfloat16"; "auto": the second where the hardware multiplies in it (else it is ten times slower).

    Not for a ``model`` with a convolution that torch gets wrong in it, as 2.13 does on CPUs for kernels of 8 and 16.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise DataError(f"precision is {precision!r}; it can be 'auto', 'float32' or 'bfloat16'")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = any(getattr(torch.cpu, test, bool)() for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)  # knows of ONEDNN_MAX_CPU_ISA
    if not (device.type == "cpu" and native and known()):
        return "float32"
    return "bfloat16" if model is None or all(map(_convolves_right, model.modules())) else "float32"


@torch.no_grad()
def _convolves_right(layer):
    if not isinstance(layer, nn.Conv1d):
        return True
    shape = 2, layer.in_channels, layer.dilation[0] * layer.kernel_size[0] + 100
    signal = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    right = layer(signal)
    with torch.autocast("cpu", torch.bfloat16):
        return bool((layer(signal) - right).norm() < 0.1 * right.norm())


@contextmanager
def cpu_threads():
    """Inside it torch computes with one thread a physical core (``OMP_NUM_THREADS`` if set); more can be slower."""
    before, wished = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    cores = min(joblib.cpu_count(only_physical_cores=True), MOST_THREADS) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(int(wished) if wished.isdigit() and int(wished) else max(1, cores))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _join_processes(device):
    """(number of this process, how many there are) after meeting those that torchrun started; (0, 1) for one alone."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)
    return distributed.get_rank(), distributed.get_world_size()


@contextmanager
def _explained(batch_size, model=None, inputs=None):
    """An error that says what to do: the GPU's memory is too small, or ``model`` cannot take such ``inputs``."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DataError(f"The GPU ran out of memory with batch_size={batch_size}. Try batch_size={batch_size // 2 or 1}"
                        f", device='cpu', or close what else uses it. ({str(error).splitlines()[0]})") from error
    except (RuntimeError, ValueError, IndexError) as error:
        if model is None or isinstance(error, DataError):
            raise
        raise DataError(f"{type(model).__name__} cannot take inputs of shape {np.shape(inputs)}: {error}. Their first "
                        "axis must be the rows; a single case becomes one row with case[None].") from error


# ---- a network as a file ----

def save(path, model, *, data="", scores=None, **more):
    """Write a network and its card to ``path`` (.npz): numbers and text only, so that a stranger's file can be opened.

    data: what it was trained on (``repr`` of a dataset); scores: name -> number; more: what JSON can hold.
    """
    kind = type(model)
    card = dict(format=FORMAT, network=f"{kind.__module__}.{kind.__qualname__}", config=getattr(model, "config", None),
                data=str(data), scores={name: float(value) for name, value in (scores or {}).items()},
                saved=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), **more)
    weights = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    if wrong := [name for name, value in weights.items() if not np.isfinite(value).all()]:
        raise DataError(f"{wrong[0]} of this {kind.__name__} holds NaN or infinity. Train it again before saving it.")
    with atomic_write(path) as file:
        np.savez_compressed(file, **weights, **{"card.json": np.array(json.dumps(card))})
    return Path(path)


def load(path, model=None):
    """The network in ``path``, ready for ``predict``; ``model.card`` says what it is.

    One of the kit is made anew. For one of your own give an untrained ``model`` of its kind, which gets the weights.
    """
    card, weights = read_saved(path)
    if model is None:
        from cardiac_ml.trained import untrained  # copied out of the kit, this file loads networks of your own only
        model = untrained(path, card, len(weights))
    else:
        model = copy.deepcopy(model)
    shapes = [{name: tuple(value.shape) for name, value in some.items()} for some in (weights, model.state_dict())]
    if differences := _differences(*shapes, "{name} is {} in the file and {} here"):
        raise DataError(f"{path} holds a {card['network']} that differs from this {type(model).__name__}: "
                        f"{differences[0]}. Make it as it was made ({card['config'] or 'by you'}), or train again.")
    model.load_state_dict({name: torch.from_numpy(value.astype(np.float32) if value.dtype == np.float16 else value)
                           for name, value in weights.items()}, assign=True)
    model.card = card
    return model.eval()


def pretrained(name):
    """A network of the kit, trained for long: ``pretrained("xray")``; its ``card`` says on what, and how good it is."""
    folder = Path(__file__).parent / "trained"
    if not (folder / f"{name}.npz").exists():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.npz"))) or "none"
        raise DataError(f"There is no trained network {name!r} in {folder}. There are: {there}.")
    return load(folder / f"{name}.npz")


def read_saved(path):
    """(card, weights) of a saved network: a dictionary and the arrays by name."""
    if not Path(path).exists():
        raise DataError(f"There is no file {path}. Save a network there first, or give the path of one.")
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > LARGEST_BYTES:
                raise ValueError(f"it claims {size:,} bytes, more than any network of this kit has")
        with np.load(path, allow_pickle=False) as file:
            card = json.loads(str(file["card.json"]))
            weights = {name: file[name] for name in file.files if name != "card.json"}
        if not all(value.dtype.kind in "fiub" and np.isfinite(value).all() for value in weights.values()):
            raise ValueError("it holds weights that are NaN, infinite or no numbers")
        if not isinstance(card, dict) or not {"format", "network", "config"} <= set(card):
            raise ValueError("its card lacks format, network or config")
    except Exception as error:  # numpy, zipfile and zlib have many ways to stumble over a damaged file
        raise DataError(f"{path} is not a saved network, or it is damaged ({error}). Save it again, or copy it again "
                        "from where it came.") from error
    if card["format"] != FORMAT:
        raise DataError(f"{path} has the format {card['format']}; this version of the kit reads format {FORMAT}. Use "
                        "the version that saved it, or train again.")
    return card, weights
