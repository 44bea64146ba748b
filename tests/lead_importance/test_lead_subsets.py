"""One network for all sets of leads: does it find the lead that was planted?"""
import numpy as np
import pytest
import torch
from tiny import message

from cardiac_ml.lead_importance import shapley as importance
from cardiac_ml.lead_importance.subsets import (AddNoise, LeadSubsetNet, OverSubsets, RandomSubsets, add_noise,
                                                answers_of_coalitions, downsample)
from cardiac_ml.models import CrossEntropy, masked_l1
from cardiac_ml.training import fit, load, predict, probabilities, save


def train(ecg, target, loss, only=None, epochs=12, dropout=0.5, scaled=None):
    torch.manual_seed(0)
    net = LeadSubsetNet(ecg.shape[1], 2, width=8, dropout=dropout).fit_scaling(ecg, scaled)
    fit(RandomSubsets(net, only=only), (ecg, target), loss=OverSubsets(loss), epochs=epochs, lr=4e-3,
        weight_decay=0.05, ema_decay=0.995, augment=AddNoise(0.1), precision="float32")
    return net


@pytest.fixture(scope="module")
def planted():
    """ECGs of three leads whose class shows in lead 1 only, and a network that was trained on random sets."""
    rng = np.random.default_rng(0)
    ecg, label = rng.normal(0, 0.1, (400, 3, 40)).astype(np.float32), rng.integers(0, 2, 400)
    ecg[:, 1, 12:20] += np.where(label, 0.4, -0.4)[:, None].astype(np.float32)
    return train(ecg[:300], label[:300], CrossEntropy()), ecg, label


def test_the_planted_lead_gets_it_all(planted):
    model, ecg, label = planted
    chances = probabilities(answers_of_coalitions(model, ecg[300:]).reshape(-1, 2)).reshape(8, 100, 2)
    value = importance.log_likelihood(label[300:], chances).T
    values = importance.shapley(value).mean(axis=0)
    assert values[1] > 0.5 and np.abs(values[[0, 2]]).max() < 0.1 * values[1]
    assert value[:, 0].mean() == pytest.approx(np.log(0.5), abs=0.1), "without leads it can only guess"


@pytest.mark.parametrize("only, position", [([1], 2), ([0, 2], 5)])
def test_a_network_of_one_set_agrees(planted, only, position):
    model, ecg, label = planted
    alone = train(ecg[:300], label[:300], CrossEntropy(), only)
    answers = [answers_of_coalitions(net, ecg[300:], position)[0, :, 1] for net in (model, alone)]
    both = importance.auroc_of_sets(label[300:] == 1, np.stack(answers))
    assert both[0] == pytest.approx(both[1], abs=0.15)


def test_numbers_with_missing_ones():
    rng = np.random.default_rng(1)
    ecg = rng.normal(0, 0.1, (300, 2, 40)).astype(np.float32)
    size = rng.uniform(0.5, 2, 300).astype(np.float32)
    ecg[:, 0] += size[:, None] * np.sin(np.arange(40) / 6).astype(np.float32)
    target = np.stack([100 * size, 50 - 10 * size], axis=1)
    target[::7, 1] = np.nan
    model = train(ecg[:200], target[:200].astype(np.float32), masked_l1, epochs=25, dropout=0.3, scaled=target[:200])
    none, first, second, both = np.nanmean(np.abs(answers_of_coalitions(model, ecg[200:]) - target[200:]), axis=(1, 2))
    assert first < 0.3 * none and both < 0.3 * none and second > 0.7 * none


def test_sets_are_uniform_in_number():
    net = LeadSubsetNet(leads=5)
    mask = RandomSubsets(net).draw_masks(400)
    count = mask.sum(dim=2).flatten().long()
    assert torch.bincount(count, minlength=6) / len(count) == pytest.approx([1 / 6] * 6, abs=0.03)
    assert mask.mean(dim=(0, 1)) == pytest.approx([0.5] * 5, abs=0.04) and set(mask.unique().tolist()) == {0.0, 1.0}
    only = RandomSubsets(net, only=[1, 3]).draw_masks(400)
    assert only.shape == (400, 1, 5) and torch.equal(only[7, 0], torch.tensor([0.0, 1, 0, 1, 0]))


def test_training_answers_for_many_sets_and_the_network_for_one():
    net, ecg = LeadSubsetNet(leads=3, outputs=4, width=8), torch.randn(6, 3, 50)
    assert RandomSubsets(net, draws=5)(ecg).shape == (6, 5, 4) and net(ecg).shape == (6, 4)
    answers, target = torch.randn(6, 3, 4), torch.randn(6, 4)
    each = torch.stack([masked_l1(answers[:, k], target) for k in range(3)])
    assert OverSubsets(masked_l1)(answers, target) == pytest.approx(float(each.mean()), rel=1e-5)


@pytest.mark.parametrize("missing", [slice(None), slice(0, 1), slice(17, 19), slice(39, 40)])
def test_a_lead_with_nan_anywhere_is_hidden_and_cannot_be_seen(planted, missing):
    model, ecg, _ = planted
    for position, mask in enumerate(importance.coalitions(3)):
        hidden, other = ecg[:9].copy(), ecg[:9].copy()
        hidden[:, ~mask, missing], other[:, ~mask] = np.nan, 100.0
        answer = answers_of_coalitions(model, ecg[:9], position)
        assert predict(model, hidden) == pytest.approx(answer[0], abs=1e-5)
        assert np.array_equal(answers_of_coalitions(model, other, position), answer)


def test_saved_and_loaded_it_answers_the_same_and_for_its_leads_only(planted, tmp_path):
    model, ecg, _ = planted
    again = load(save(tmp_path / "leads.npz", model, data="planted"))
    assert again.config == model.config and again.card["data"] == "planted"
    assert np.array_equal(*(answers_of_coalitions(net, ecg[:20]) for net in (model, again)))
    assert "knows 3 leads" in message(answers_of_coalitions, model, np.zeros((2, 8, 40), np.float32))


def test_when_a_beat_comes_does_not_matter_to_one_step():
    net = LeadSubsetNet(leads=2, strides=(4, 2, 2, 1), steps=1).eval()
    ecg = np.zeros((2, 2, 800), np.float32)
    ecg[0, :, 200:230] = ecg[1, :, 520:550] = 1
    first, second = predict(net, ecg)
    assert first == pytest.approx(second, abs=1e-4)


def test_sets_of_twelve_leads():
    net, some = LeadSubsetNet(leads=12, outputs=2, width=4, hidden=8), [0, 700, 4095]
    ecg = np.random.default_rng(0).normal(size=(3, 12, 40)).astype(np.float32)
    answers = answers_of_coalitions(net, ecg)
    assert answers.shape == (4096, 3, 2) and np.isfinite(answers).all()
    assert answers[some] == pytest.approx(answers_of_coalitions(net, ecg, some), abs=1e-6)


def test_noise_is_of_the_given_size_and_drawn_anew():
    ecg, generator = np.zeros((200, 4, 50), np.float32), torch.Generator().manual_seed(0)
    made = add_noise(ecg, 0.5)
    first, second = (AddNoise(0.5)(torch.from_numpy(ecg), None, generator)[0] for _ in range(2))
    assert [made.std(), first.std()] == pytest.approx([0.5 * np.sqrt(2)] * 2, rel=0.05) and made.dtype == np.float32
    assert made.mean(axis=2).std() == pytest.approx(0.5, rel=0.1) and not torch.equal(first, second)


def test_shortened_is_the_mean_of_neighbours():
    assert downsample(np.arange(10.0)[None], 4).tolist() == [[1.5, 5.5]]
