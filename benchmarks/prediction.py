"""How long one answer takes on this machine, for each task, and what batches gain over one ECG at a time.

    python benchmarks/prediction.py          about half a minute

The networks have their first weights: time does not depend on what they have learned.
"""
import time

import numpy as np
import torch

from cardiac_ml import heart_models, heart_recipes, leads, recipes

REPEATS = 20


def best_seconds(function, *arguments, repeats=REPEATS):
    function(*arguments)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times), float(np.median(times))


def networks():
    """Task -> (function of a batch of inputs, inputs (256, ...))."""
    rng = np.random.default_rng(0)
    beats = rng.random((256, 187), dtype=np.float32)
    ecg = leads.from_independent(rng.normal(0, 0.3, (256, 8, 500)).astype(np.float32))
    one, five = recipes.heartbeat_network(2), recipes.heartbeat_network(5)
    maps, voltages = heart_models.ActivationNet(), heart_models.VoltageNet()
    return {"1": (lambda x: recipes.heartbeat_probabilities(one, x), beats),
            "2": (lambda x: recipes.heartbeat_probabilities(five, x), beats),
            "3": (lambda x: heart_recipes.predict_activation(maps, x), ecg),
            "4": (lambda x: heart_recipes.predict_voltage(voltages, x), ecg)}


def main():
    print(f"{torch.get_num_threads()} threads; bar for one ECG: 20 ms")
    for task, (answer, inputs) in networks().items():
        _, one = best_seconds(answer, inputs[:1])
        many, _ = best_seconds(answer, inputs, repeats=3)
        each = many / len(inputs)
        print(f"task {task}: one at a time {1000 * one:6.1f} ms, in a batch of {len(inputs)} {1000 * each:6.2f} ms "
              f"each, {one / each:.1f} times faster")


if __name__ == "__main__":
    main()
