"""Tasks 3 and 4 against the published network for the problem, at the same wall time on the same machine.

    python -m tools.benchmarks.reference_networks --task 3 --seconds 80

The reference is a one-dimensional SqueezeNet 1.1 (Iandola et al. 2016, as used by Landajuela et al. 2022), written here
from its description: each lead divided by its own range, mean squared error, Adam with a rate of 1e-3, batches of 32,
random shifts as augmentation. For task 4 its first convolution and its pools keep all 500 samples (stride 1). Both
sides get the same hearts, threads and time; the error is that of the last state on hearts neither has seen.
"""
import argparse
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cardiac_ml import intracardiac, metrics
from cardiac_ml.models import shifted
from cardiac_ml.training import cpu_threads, predict
from tools.results import train_activation, train_drawn


class Fire(nn.Module):
    """Squeeze the channels, then expand them by two convolutions side by side."""

    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv1d(inputs, squeeze, 1)
        self.near, self.wide = nn.Conv1d(squeeze, expand, 1), nn.Conv1d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = functional.relu(self.squeeze(x))
        return functional.relu(torch.cat([self.near(x), self.wide(x)], dim=1))


def squeezenet(stride):
    """(rows, 12, 500) -> (rows, 75) with stride 2, (rows, 75, 500) with stride 1."""
    def pool():
        return nn.MaxPool1d(3, stride, padding=1)
    last = [nn.AdaptiveAvgPool1d(1), nn.Conv1d(75, 75, 1), nn.Flatten()] if stride == 2 else [nn.Conv1d(75, 75, 1)]
    return nn.Sequential(
        nn.Conv1d(12, 64, 3, stride, padding=1), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256),
        Fire(512, 64, 256), nn.Dropout(0.5), nn.Conv1d(512, 75, 1), *last)


def by_range(ecg_mv):
    """Each lead of each case divided by its own range."""
    return ecg_mv / np.maximum(np.ptp(ecg_mv, axis=2, keepdims=True), 1e-6)


def train_reference(task, inputs, targets, seconds, seed=0):
    torch.manual_seed(seed)
    model = squeezenet(stride=2 if task == 3 else 1)
    inputs, targets = torch.as_tensor(by_range(inputs)), torch.as_tensor(np.nan_to_num(targets), dtype=torch.float32)
    middle, scale = targets.mean(), targets.std()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        rows = torch.randint(len(inputs), (32,))
        shift = torch.randint(-10, 11, (32,))
        y = targets[rows] + shift[:, None] if task == 3 else shifted(targets[rows], shift)
        optimizer.zero_grad()
        functional.mse_loss(model(shifted(inputs[rows], shift)), (y - middle) / scale).backward()
        optimizer.step()
        steps += 1
    return model.eval(), float(middle), float(scale), steps


@torch.inference_mode()
def predict_reference(trained, inputs):
    model, middle, scale, _ = trained
    parts = [model(torch.as_tensor(part)) for part in np.array_split(by_range(inputs), -(-len(inputs) // 64))]
    return torch.cat(parts).numpy() * scale + middle


def epochs_within(train, parts, seconds):
    """How many epochs fit in the time, measured on one epoch."""
    start = time.perf_counter()
    train(*parts, 1, 0)
    return max(1, int(seconds / (time.perf_counter() - start)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", type=int, choices=(3, 4), required=True)
    parser.add_argument("--seconds", type=float, default=80)
    parser.add_argument("--hearts", type=int, default=30)
    options = parser.parse_args()
    data = intracardiac.load(hearts=options.hearts)
    split = intracardiac.split_by_heart(data)
    ecg, target = data.ecg_mv, data.activation_ms if options.task == 3 else data.voltage_mv
    mae, train = (metrics.mae_ms, train_activation) if options.task == 3 else (metrics.mae_mv, train_drawn)
    parts = data[split.train], data[split.valid]
    epochs = epochs_within(train, parts, options.seconds)
    start = time.perf_counter()
    model = train(*parts, epochs, 0)
    seconds = time.perf_counter() - start
    ours = predict(model, ecg[split.test])
    ours = ours[:, 0] if options.task == 3 else ours
    with cpu_threads():
        trained = train_reference(options.task, ecg[split.train], target[split.train], seconds)
        theirs = predict_reference(trained, ecg[split.test])
    ours, theirs = mae(target[split.test], ours), mae(target[split.test], theirs)
    unit = "ms" if options.task == 3 else "mV"
    print(f"task {options.task}, {options.hearts} hearts, {seconds:.0f} s each, {torch.get_num_threads()} threads")
    print(f"this kit   MAE {ours:6.2f} {unit}   ({epochs} epochs)")
    print(f"reference  MAE {theirs:6.2f} {unit}   ({trained[3]} steps)")
    print(f"ratio      {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
