"""Shapley values by their definition, by planted leads, and by an independent library."""
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tiny import message

from cardiac_ml.lead_importance import shapley as importance


def game(players, seed=0, rows=()):
    return np.random.default_rng(seed).normal(size=(*rows, 2 ** players))


def by_all_orders(value, players):
    """The definition itself."""
    orders = np.array(list(permutations(range(players))))
    present = np.cumsum(np.insert(1 << orders, 0, 0, axis=1), axis=1)  # as one player after the other comes
    added = np.diff(value[present], axis=1)
    return [added[orders == player].mean() for player in range(players)]


@pytest.mark.parametrize("players", [1, 2, 3, 5, 6])
def test_exact_values_are_the_mean_over_all_orders(players):
    value = game(players, seed=players)
    assert importance.shapley(value) == pytest.approx(by_all_orders(value, players), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10 ** 6))
def test_values_add_up_to_that_of_all_together(players, seed):
    value = game(players, seed, rows=(3,))
    assert np.abs(importance.shapley(value).sum(axis=-1) - (value[:, -1] - value[:, 0])).max() < 1e-9


def test_planted_leads_their_interaction_and_the_best_sets():
    inside = importance.coalitions(8)
    value = 2.0 * inside[:, 3] - 0.5 * inside[:, 6] + 3.0 * (inside[:, 1] & inside[:, 4])
    assert importance.shapley(value) == pytest.approx([0, 1.5, 0, 2, 1.5, 0, -0.5, 0])
    expected = np.zeros((8, 8))
    expected[[1, 4], [4, 1]] = 3
    assert importance.interactions(value) == pytest.approx(expected, abs=1e-12)
    best = importance.best_sets(value)
    assert len(best) == 9 and (best[0], best[1], best[3]) == (([], 0.0), ([3], 2.0), ([1, 3, 4], 5.0))


def test_interactions_by_their_definition():
    value = game(5, 7)
    for a, b in combinations(range(5), 2):
        gain = 0.0
        for order in permutations([*({*range(5)} - {a, b}), (a, b)]):  # the pair comes together: what does it add?
            before = importance.position(order[:order.index((a, b))])
            gain += value[before | 1 << a | 1 << b] - value[before | 1 << a] - value[before | 1 << b] + value[before]
        assert importance.interactions(value)[a, b] == pytest.approx(gain / 24, abs=1e-12)


@pytest.mark.parametrize("players", [4, 8])
def test_equal_to_an_independent_library(players):
    shapiq = pytest.importorskip("shapiq")
    value = game(players, 3)
    value[0] = 0.0

    class Table(shapiq.Game):
        def value_function(self, coalitions):
            return value[np.asarray(coalitions, int) @ (1 << np.arange(players))]

    exact = shapiq.ExactComputer(n_players=players, game=Table(n_players=players, normalize=False, verbose=False))
    single, double = exact("SV"), exact("SII", order=2)
    assert importance.shapley(value) == pytest.approx([single[(k,)] for k in range(players)], abs=1e-9)
    ours, pairs = importance.interactions(value), list(combinations(range(players), 2))
    assert [ours[pair] for pair in pairs] == pytest.approx([double[pair] for pair in pairs], abs=1e-9)


def test_random_orders_come_closer_the_more_there_are():
    value = game(8, 5)
    exact = importance.shapley(value)
    added = importance.sampled(value, 20000)
    assert added.sum(axis=1) == pytest.approx(np.full(20000, value[-1] - value[0]))
    few, many = (np.abs(added[:count].mean(axis=0) - exact).max() for count in (100, 20000))
    assert many < few and many < 5 * added.std() / np.sqrt(20000)


def test_groups_play_as_one():
    value = game(6, 2)
    played = importance.grouped(value, [[0, 1], [2], [3, 4, 5]])
    assert played.shape == (8,) and played[[1, 4, 7]].tolist() == value[[0b000011, 0b111000, -1]].tolist()
    assert importance.shapley(played).sum() == pytest.approx(value[-1] - value[0])


def test_values_of_a_population_are_linear_and_its_interval_is_over_patients():
    value = game(4, 3, rows=(60,))
    patients = np.repeat(np.arange(6), 10)
    mean, low, high = importance.mean_values(value, patients)
    assert mean == pytest.approx(importance.shapley(value.mean(axis=0)))
    assert (low < mean).all() and (mean < high).all()
    same = np.repeat(game(4, 4, rows=(6,)), 10, axis=0)  # ten equal records a patient: they count as one
    once = importance.mean_values(same[::10], np.arange(6))
    assert np.concatenate(importance.mean_values(same, patients)) == pytest.approx(np.concatenate(once))
    seeds = np.stack([value, value + game(4, 9)])
    assert (np.diff(importance.mean_values(seeds, patients)[1:], axis=0) > high - low).any()


def test_intervals_are_as_wide_as_redrawn_patients_say():
    rng = np.random.default_rng(0)
    patients = np.arange(240) // 4
    shift = rng.normal(size=60)[patients]  # records of a patient resemble each other
    label = rng.random(240) < 0.4
    score = rng.normal(size=(8, 240)) + 0.7 * shift + 1.5 * label * importance.coalitions(3)[:, :1]
    draws = []
    for chosen in rng.integers(60, size=(300, 60)):
        rows = (chosen[:, None] * 4 + np.arange(4)).ravel()
        draws.append(importance.shapley(importance.auroc_of_sets(label[rows], score[:, rows])))
    value, low, high = importance.auroc_values(label, score, patients)
    assert value == pytest.approx(importance.shapley(importance.auroc_of_sets(label, score)))
    assert high - low == pytest.approx(2 * 1.67 * np.std(draws, axis=0), rel=0.25)
    assert low[0] > 0.2 and np.abs(value[1:]).max() < 0.15, "player 0 alone tells the class"
    assert np.isnan(importance.auroc_values(label, score, np.zeros(240))[1]).all(), "of one patient nothing is known"


def test_auroc_of_many_sets_at_once():
    rng = np.random.default_rng(0)
    label, score = rng.random(80) < 0.3, rng.integers(0, 9, (16, 80)).astype(float)
    assert importance.auroc_of_sets(label, score) == pytest.approx([roc_auc_score(label, row) for row in score])
    area, influence = importance.auroc_influence(label, score)
    assert influence.sum(axis=1) == pytest.approx(np.zeros(16), abs=1e-12)
    drawn = [[roc_auc_score(label[rows], row[rows]) for row in score[:2]]
             for rows in np.random.default_rng(1).integers(80, size=(400, 80))]
    assert np.sqrt((influence[:2] ** 2).sum(axis=1)) == pytest.approx(np.std(drawn, axis=0), rel=0.15)


def test_log_likelihood_of_the_own_class():
    probability = np.array([[[0.5, 0.5], [0.1, 0.9]], [[1.0, 0.0], [0.3, 0.7]]])
    assert importance.log_likelihood(np.array([0, 1]), probability) == pytest.approx(np.log([[0.5, 0.9], [1, 0.7]]))


def test_what_is_no_game_is_refused():
    for wrong in (np.zeros(3), np.zeros(()), np.zeros(1), np.zeros((4, 6))):
        assert "2**n sets" in message(importance.shapley, wrong)
    assert "1 sets is NaN" in message(importance.best_sets, np.array([0, np.nan, 1, 2]))
    assert "for 5 records" in message(importance.mean_values, game(3, rows=(4,)), np.arange(5))
    assert "one group" in message(importance.grouped, game(6), [[0, 1], [1, 2], [3, 4, 5]])
    assert "needs records with and without" in message(importance.auroc_of_sets, np.zeros(80, bool), np.zeros((16, 80)))
