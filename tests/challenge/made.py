"""Truths and damage that the tests of the challenge share."""
import numpy as np
from hypothesis import strategies

from cardiac_ml.challenge import scoring, submission


def made_truth(task, cases=60, groups=6):
    rng = np.random.default_rng(task)
    ids = np.array([f"case {i}" for i in range(cases)])
    labels = {1: lambda: rng.integers(0, 2, cases), 2: lambda: rng.integers(0, 5, cases),
              3: lambda: rng.uniform(10, 120, (cases, 75)).astype(np.float32),
              4: lambda: made_voltages(rng, cases)}
    heart = np.arange(cases) % groups
    return scoring.Truth(task, ids, labels[task](), np.char.add("v", heart.astype(str)), heart < 2)


def made_voltages(rng, cases):
    since = np.arange(500) - rng.uniform(20, 120, (cases, 75, 1))
    return np.where((since > 0) & (since < 250), 20, -85).astype(np.float32)


def perfect(truth):
    return np.eye(len(submission.TASKS[truth.task].columns), dtype=np.float32)[truth.label] if truth.task <= 2 \
        else truth.label


def damaged(content, data):
    content = bytearray(content)
    for _ in range(data.draw(strategies.integers(1, 6))):
        content[data.draw(strategies.integers(0, len(content) - 1))] = data.draw(strategies.integers(0, 255))
    end = data.draw(strategies.integers(0, len(content))) if data.draw(strategies.booleans()) else len(content)
    return bytes(content[:end])
