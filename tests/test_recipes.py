"""The recipes of tasks 1 and 2."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cardiac_ml import metrics
from cardiac_ml.recipes import AugmentBeats, heartbeat_network, heartbeat_probabilities, heartbeat_recipe

SMALL = dict(width=8, depths=(1, 1))
FAST = dict(progress=False, device="cpu", batch_size=16, network=SMALL)


def beats(rows=90, classes=3, seed=0):
    """Rows that look like the Kaggle files: an R peak first, a bump whose height is the class, then padding."""
    rng = np.random.default_rng(seed)
    label = np.arange(rows) % classes
    time = np.arange(187)
    shape = np.exp(-time / 3) + (0.2 + 0.25 * label[:, None]) * np.exp(-((time - 40) / 9) ** 2) + 0.1
    signal = (shape + 0.03 * rng.normal(size=shape.shape)).clip(0.01, 1).astype(np.float32)
    signal[time > rng.integers(90, 187, rows)[:, None]] = 0
    return SimpleNamespace(beats=signal, label=label, classes=tuple("NSVFQ"[:classes]))


def test_it_learns_what_can_be_learned():
    fitted = heartbeat_recipe(beats(180), beats(45, seed=1), epochs=12, average=0.9, learning_rate=0.02, **FAST)
    test = beats(60, seed=2)
    assert metrics.accuracy(test.label, heartbeat_probabilities(fitted.model, test.beats)) > 0.9


def test_the_seed_decides():
    answers = [heartbeat_probabilities(heartbeat_recipe(beats(32), epochs=1, seed=seed, **FAST).model, beats(4).beats)
               for seed in (1, 1, 2)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 1e-4


def test_a_trained_body_learns_other_classes_sooner():
    trained = heartbeat_recipe(beats(180), epochs=8, average=0.9, learning_rate=0.02, **FAST).model
    two, test = beats(40, 2, seed=3), beats(60, 2, seed=4)
    right = [metrics.accuracy(test.label, heartbeat_probabilities(
        heartbeat_recipe(two, epochs=4, average=0.9, learning_rate=0.02, trained=start, **FAST).model, test.beats))
        for start in (trained, None)]
    assert right[0] > max(0.9, right[1] - 0.05)


def test_one_beat_is_enough_to_ask_about():
    assert heartbeat_probabilities(heartbeat_network(3), beats(3).beats[0]).shape == (1, 3)


@pytest.fixture
def augmented():
    data = beats(300)
    before = torch.from_numpy(data.beats)
    after, labels = AugmentBeats()(before, torch.from_numpy(data.label), torch.Generator().manual_seed(0))
    assert (labels.numpy() == data.label).all()
    return before, after


def lengths(rows):
    return (rows.flip(1) != 0).float().cumsum(1).gt(0).sum(1)


def test_augmented_beats_stay_beats(augmented):
    before, after = augmented
    assert after.shape == before.shape and after.dtype == torch.float32 and after.min() >= 0 and after.max() < 1.5
    assert 0.005 < (after - before).abs().mean() < 0.15
    ratio = lengths(after) / lengths(before)
    assert 0.75 < ratio.min() and ratio.max() < 1.25 and ratio.std() > 0.01


def test_padding_stays_padding(augmented):
    _, after = augmented
    inside = torch.arange(187) < lengths(after)[:, None]
    assert (after[inside] > 0).all() and (after[~inside] == 0).all()


def test_no_change_asked_for_is_no_change():
    before = torch.from_numpy(beats(20).beats)
    after, _ = AugmentBeats(stretch=0, bend=0, wander=0, noise=0)(before, None)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_augmentation_repeats_with_its_generator():
    before = torch.from_numpy(beats(20).beats)
    draws = [AugmentBeats()(before, None, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    torch.testing.assert_close(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
