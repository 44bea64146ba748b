"""How many heartbeats a second does ``fit`` train on, against an ordinary PyTorch loop? Same network, same machine.

    python -m tools.benchmarks.training_throughput            about 1 minute on 2 cores

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

from cardiac_ml.models import BatchNorm1d, Conv1d, HeartbeatNet
from cardiac_ml.training import cpu_threads, fit


def heartbeat_network():
    torch.manual_seed(0)
    return HeartbeatNet(5)


def ordinary(network):
    """The same network in torch's own 1-D layers, with the same weights."""
    for name, layer in network.named_children():
        if isinstance(layer, Conv1d):
            plain = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
                              bias=layer.bias is not None)
        elif isinstance(layer, BatchNorm1d):
            plain = nn.BatchNorm1d(layer.num_features)
        else:
            ordinary(layer)
            continue
        plain.load_state_dict(layer.state_dict())
        setattr(network, name, plain)
    return network


def ordinary_seconds(beats, label, batch_size):
    network = ordinary(heartbeat_network()).train()
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
    network = heartbeat_network()
    start = time.perf_counter()
    fit(network, (beats, label), epochs=1, batch_size=batch_size, device="cpu", precision=precision)
    return time.perf_counter() - start


def check_same_answers(beats):
    network = heartbeat_network().eval()
    with torch.no_grad():
        one, other = (net(torch.from_numpy(beats)) for net in (network, ordinary(heartbeat_network()).eval()))
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
    with cpu_threads():  # the ordinary loop gets the good number of threads too
        measure(options, beats, label)


def measure(options, beats, label):
    precision = "float32" if options.same_precision else "auto"
    fit_seconds(beats[:512], label[:512], options.batch_size, precision)  # the first call compiles kernels
    times = np.array([(ordinary_seconds(beats, label, options.batch_size),
                       fit_seconds(beats, label, options.batch_size, precision)) for _ in range(options.rounds)])
    ordinary, ours = options.rows / times.min(axis=0)
    print(f"{torch.get_num_threads()} threads, rows a second: ordinary loop {ordinary:.0f}, fit {ours:.0f}, "
          f"ratio {ours / ordinary:.2f} (single rounds: {', '.join(f'{a / b:.2f}' for a, b in times)})")


if __name__ == "__main__":
    main()
