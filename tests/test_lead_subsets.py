"""One network for all sets of leads: does it find the lead that was planted?"""
import numpy as np
import pytest
import torch

from cardiac_ml import importance, lead_subsets
from cardiac_ml.files import DataError
from cardiac_ml.training import probabilities


@pytest.fixture(scope="module")
def planted():
    """ECGs of three leads whose class shows in lead 1 only, and a network that was trained on random sets."""
    rng = np.random.default_rng(0)
    ecg, label = rng.normal(0, 0.1, (400, 3, 40)).astype(np.float32), rng.integers(0, 2, 400)
    ecg[:, 1, 12:20] += np.where(label, 0.4, -0.4)[:, None].astype(np.float32)
    fitted = lead_subsets.subset_recipe(ecg[:300], label[:300], classes=2, epochs=12, width=8, progress=False)
    return fitted.model, ecg, label


def test_the_planted_lead_gets_it_all(planted):
    model, ecg, label = planted
    chances = probabilities(lead_subsets.answers_of_sets(model, ecg[300:]).reshape(-1, 2)).reshape(8, 100, 2)
    worth = importance.log_likelihood(label[300:], chances).T
    values = importance.shapley(worth).mean(axis=0)
    assert values[1] > 0.5 and np.abs(values[[0, 2]]).max() < 0.1 * values[1]
    assert values.sum() == pytest.approx((worth[:, -1] - worth[:, 0]).mean(), abs=1e-9)
    assert worth[:, 0].mean() == pytest.approx(np.log(0.5), abs=0.1), "without leads it can only guess"


def test_a_network_of_one_set_agrees(planted):
    model, ecg, label = planted
    for stay, position in (([1], 2), ([0, 2], 5)):
        alone = lead_subsets.subset_recipe(ecg[:300], label[:300], classes=2, stay=stay, epochs=12, width=8, progress=False)
        both = [importance.auroc_of_sets(label[300:] == 1, lead_subsets.answers_of_sets(net, ecg[300:], position)[:, :, 1])[0]
                for net in (model, alone.model)]
        assert both[0] == pytest.approx(both[1], abs=0.15)


def test_numbers_with_missing_ones():
    rng = np.random.default_rng(1)
    ecg = rng.normal(0, 0.1, (300, 2, 40)).astype(np.float32)
    size = rng.uniform(0.5, 2, 300).astype(np.float32)
    ecg[:, 0] += size[:, None] * np.sin(np.arange(40) / 6).astype(np.float32)
    target = np.stack([100 * size, 50 - 10 * size], axis=1)
    target[::7, 1] = np.nan
    model = lead_subsets.subset_recipe(ecg, target, epochs=25, width=8, progress=False).model
    none, first, second, both = lead_subsets.answers_of_sets(model, ecg)
    errors = [np.nanmean(np.abs(answer - target)) for answer in (none, first, second, both)]
    assert errors[1] < 0.3 * errors[0] and errors[3] < 0.3 * errors[0] and errors[2] > 0.7 * errors[0]


def test_hidden_leads_are_uniform_in_number():
    ecg = torch.ones(4000, 5, 3)
    hidden, target = lead_subsets.HideLeads()(ecg, torch.arange(4000), torch.Generator().manual_seed(0))
    left = torch.isfinite(hidden[:, :, 0]).sum(dim=1)
    assert torch.bincount(left, minlength=6).float() / 4000 == pytest.approx([1 / 6] * 6, abs=0.03)
    assert torch.isfinite(hidden[:, :, 0]).float().mean(dim=0) == pytest.approx([0.5] * 5, abs=0.04)
    assert torch.equal(torch.isnan(hidden).any(dim=2), torch.isnan(hidden).all(dim=2)) and len(target) == 4000
    kept, _ = lead_subsets.HideLeads(stay=[1, 3])(ecg, None)
    assert torch.isfinite(kept[:, :, 0]).all(dim=0).tolist() == [False, True, False, True, False]


def test_noise_is_of_the_given_size_and_drawn_anew():
    ecg = np.zeros((200, 4, 50), np.float32)
    made = lead_subsets.noisy(ecg, 0.5)
    assert made.std() == pytest.approx(0.5 * np.sqrt(2), rel=0.05) and made.dtype == np.float32
    assert made.mean(axis=2).std() == pytest.approx(0.5, rel=0.1)
    hide, generator = lead_subsets.HideLeads(range(4), noise_mv=0.5), torch.Generator().manual_seed(0)
    first, second = (hide(torch.from_numpy(ecg), None, generator)[0] for _ in range(2))
    assert first.std() == pytest.approx(0.5 * np.sqrt(2), rel=0.05) and not torch.equal(first, second)


def test_what_is_hidden_cannot_be_seen(planted):
    model, ecg, _ = planted
    other = ecg[:5].copy()
    other[:, 1] = 100.0
    assert np.array_equal(*(lead_subsets.answers_of_sets(model, x, [0, 1, 4, 5]) for x in (ecg[:5], other)))


def test_shortened_is_the_mean_of_neighbours():
    signal = np.arange(10.0)
    assert lead_subsets.shortened(signal[None], 4).tolist() == [[1.5, 5.5]]


def test_leads_of_another_number(planted):
    with pytest.raises(DataError, match="knows 3 leads"):
        lead_subsets.answers_of_sets(planted[0], np.zeros((2, 8, 40), np.float32))
