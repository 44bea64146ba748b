"""How long one answer takes on this machine, for each task, and what batches gain over one ECG at a time.

    python -m tools.benchmarks.prediction          about half a minute

The networks have their first weights: time does not depend on what they have learned.
"""
import time

import numpy as np
import torch

from cardiac_ml import leads, models
from cardiac_ml.lead_importance import shapley, subsets
from cardiac_ml.training import predict

REPEATS = 20


def median_seconds(function, inputs, repeats=REPEATS):
    function(inputs)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(inputs)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def networks():
    """Task -> (function of a batch of inputs, inputs (256, ...))."""
    rng = np.random.default_rng(0)
    beats = rng.random((256, 187), dtype=np.float32)
    ecg = leads.from_independent(rng.normal(0, 0.3, (256, 8, 500)).astype(np.float32))
    nets = {"1": models.HeartbeatNet(2), "2": models.HeartbeatNet(5), "3": models.ActivationNet(),
            "4 (drawn)": models.ActionPotentialNet(), "4 (U-Net)": models.VoltageNet()}
    return {task: (lambda x, net=net: predict(net, x), beats if task in "12" else ecg) for task, net in nets.items()}


def main():
    print(f"{torch.get_num_threads()} threads; bar for one ECG: 20 ms")
    for task, (answer, inputs) in networks().items():
        one, many = median_seconds(answer, inputs[:1]), median_seconds(answer, inputs, repeats=5)
        each = many / len(inputs)
        print(f"task {task}: one at a time {1000 * one:6.1f} ms, in a batch of {len(inputs)} {1000 * each:6.2f} ms "
              f"each, {one / each:.1f} times faster")
    model = subsets.LeadSubsetNet(leads=8, outputs=4)
    ecg = np.random.default_rng(1).normal(size=(1000, 8, 125)).astype(np.float32)
    start = time.perf_counter()
    shapley.shapley(subsets.answers_of_coalitions(model, ecg).T)
    print(f"which leads matter: exact values from 256 sets of leads, 1000 ECGs, in {time.perf_counter() - start:.1f} s "
          "(bar: 60)")


if __name__ == "__main__":
    main()
