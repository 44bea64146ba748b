"""How many heartbeats a second does ``fit`` train on, against an ordinary PyTorch loop? Same network, same machine.

    python tools/benchmarks/training_throughput.py            about 1 minute on 2 cores

The ordinary way is what tutorials show: 1-D layers in float32, a DataLoader, AdamW. It starts from the same weights and
gives the same answers (checked). The two take turns, and the ratio is that of their best rounds. ``--same-precision``
keeps ``fit`` in float32 too: what remains is the gain of the memory layout and of having the data on the device.
"""
import argparse
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from cardiac_ml.devices import usable_cores
from cardiac_ml.models import HeartbeatNet, SqueezeExcite
from cardiac_ml.recipes import heartbeat_network
from cardiac_ml.training import fit


class OrdinaryBlock(nn.Module):
    """``ResidualBlock``, written with 1-D layers."""

    def __init__(self, block):
        super().__init__()
        self.first, self.first_norm = flat(block.first), nn.BatchNorm1d(block.first.out_channels)
        self.second, self.second_norm = flat(block.second), nn.BatchNorm1d(block.second.out_channels)
        self.gate = block.squeeze.gate if isinstance(block.squeeze, SqueezeExcite) else None
        self.around = nn.Identity() if isinstance(block.around, nn.Identity) else nn.Sequential(
            nn.AvgPool1d(2, ceil_mode=True) if block.first.stride[1] == 2 else nn.Identity(),
            flat(block.around[1]), nn.BatchNorm1d(block.first.out_channels))

    def forward(self, x):
        y = functional.silu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        y = y if self.gate is None else y * self.gate(y.mean(2))[:, :, None]
        return functional.silu(y + self.around(x))


class OrdinaryNet(nn.Module):
    """``HeartbeatNet``, written with 1-D layers."""

    def __init__(self, network):
        super().__init__()
        stem, norm, _, *blocks = network.body
        self.body = nn.Sequential(flat(stem), nn.BatchNorm1d(norm.num_features), nn.SiLU(), *map(OrdinaryBlock, blocks))
        self.head = network.head

    def forward(self, beats):
        features = self.body(HeartbeatNet.channels(beats))
        return self.head(torch.cat([features.mean(2), features.amax(2)], dim=1))


def flat(layer):
    """The 1-D convolution with the weights of one of height 1."""
    twin = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel_size[1], layer.stride[1], layer.padding[1],
                     bias=False)
    twin.weight.data = layer.weight.data.squeeze(2).clone()
    return twin


def ordinary_seconds(beats, label, batch_size):
    network = OrdinaryNet(heartbeat_network(5)).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    loader = DataLoader(TensorDataset(torch.from_numpy(beats), torch.from_numpy(label)), batch_size, shuffle=True)
    start = time.perf_counter()
    for inputs, target in loader:
        loss = functional.cross_entropy(network(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


def fit_seconds(beats, label, batch_size, precision):
    network = heartbeat_network(5)
    start = time.perf_counter()
    fit(network, (beats, label), epochs=1, batch_size=batch_size, device="cpu", precision=precision, progress=False)
    return time.perf_counter() - start


def check_same_answers(beats):
    network = heartbeat_network(5).eval()
    with torch.no_grad():
        one, other = (net(torch.from_numpy(beats)) for net in (network, OrdinaryNet(network).eval()))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--same-precision", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    beats, label = rng.random((options.rows, 187), dtype=np.float32), rng.integers(0, 5, options.rows)
    check_same_answers(beats[:64])
    torch.set_num_threads(usable_cores())  # the ordinary loop gets the good number of threads too
    precision = "float32" if options.same_precision else "auto"
    fit_seconds(beats[:512], label[:512], options.batch_size, precision)  # the first call compiles kernels
    times = np.array([(ordinary_seconds(beats, label, options.batch_size),
                       fit_seconds(beats, label, options.batch_size, precision)) for _ in range(options.rounds)])
    ordinary, ours = options.rows / times.min(axis=0)
    print(f"{torch.get_num_threads()} threads, rows a second: ordinary loop {ordinary:.0f}, fit {ours:.0f}, "
          f"ratio {ours / ordinary:.2f} (single rounds: {', '.join(f'{a / b:.2f}' for a, b in times)})")


if __name__ == "__main__":
    main()
