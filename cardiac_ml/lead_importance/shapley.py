"""Which leads matter? Exact Shapley values of a game whose players are leads (or groups of leads).

A game gives every set of players (a coalition) a value, more being better: an array ``value`` of shape (..., 2**n),
where bit k of the position says whether player k takes part. ``value[..., 0]`` is what is known without any lead,
``value[..., -1]`` with all. The Shapley value of a player is what it adds when players come in one by one, averaged over all orders of
arrival (L. S. Shapley, A value for n-person games, 1953). All sums are exact: eight leads make 256 sets, twelve 4096.

The functions are linear in ``value``: values of the mean are means of the values, record by record.
"""
from contextlib import suppress
from math import comb, factorial

import numpy as np

from cardiac_ml.files import DataError


def number_of_players(value):
    """n, from the 2**n sets."""
    sets = np.shape(value)[-1] if np.ndim(value) else 0
    if sets < 2 or sets & (sets - 1):
        raise DataError(f"A game of n players has 2**n sets along its last axis; found shape {np.shape(value)}.")
    return sets.bit_length() - 1


def coalitions(players):
    """(2**n, n) True where the player takes part in the set of that position."""
    return (np.arange(2 ** players)[:, None] >> np.arange(players)) & 1 == 1


def position(chosen):
    """Where a set stands: the players' numbers -> its place along the last axis of ``value``."""
    return sum(1 << int(player) for player in set(chosen))


def shapley(value):
    """Exact Shapley values: (..., 2**n) -> (..., n). They add up to ``value[..., -1] - value[..., 0]``."""
    value, n = np.asarray(value, dtype=float), number_of_players(value)
    inside = coalitions(n)
    size = inside.sum(axis=1)
    orders = np.array([factorial(k) * factorial(n - k - 1) / factorial(n) for k in range(n)])
    weight = np.empty((2 ** n, n))  # of each set in each player's value: with it, or without it
    for player in range(n):
        weight[:, player] = np.where(inside[:, player], orders[size - 1], -orders[np.minimum(size, n - 1)])
    return value @ weight


def interactions(value):
    """What two players add together beyond what each adds alone, averaged likewise: (..., 2**n) -> (..., n, n).

    Positive: they complement each other. Negative: one stands in for the other. The diagonal is 0. (The Shapley
    interaction index: M. Grabisch and M. Roubens, International Journal of Game Theory 28:547, 1999.)
    """
    value, n = np.asarray(value, dtype=float), number_of_players(value)
    result = np.zeros((*value.shape[:-1], n, n))
    inside = coalitions(n)
    for a in range(n):
        for b in range(a + 1, n):
            without = np.flatnonzero(~inside[:, a] & ~inside[:, b])
            size = inside[without].sum(axis=1)
            weight = np.array([1 / ((n - 1) * comb(n - 2, k)) for k in size])
            both, first, second = (value[..., without | bits] for bits in (1 << a | 1 << b, 1 << a, 1 << b))
            result[..., a, b] = result[..., b, a] = (both - first - second + value[..., without]) @ weight
    return result


def grouped(value, groups):
    """The game whose players are groups of players: ``groups`` holds lists of numbers, each player in one of them."""
    n = number_of_players(value)
    flat = sorted(player for group in groups for player in group)
    if flat != list(range(n)):
        raise DataError(f"Each of the {n} players belongs to one group; these groups hold {flat}.")
    chosen = coalitions(len(groups)) @ np.array([position(group) for group in groups])
    return np.asarray(value)[..., chosen]


def best_sets(value):
    """The best set of every size: a list of (players' numbers, value), for 0 .. n players. ``value`` is (2**n,)."""
    value, n = np.asarray(value, dtype=float), number_of_players(value)
    if not np.isfinite(value).all():
        unknown = np.count_nonzero(~np.isfinite(value))
        raise DataError(f"The value of {unknown} sets is NaN or infinite; the best cannot be told.")
    inside = coalitions(n)
    best = []
    for size in range(n + 1):
        sets = np.flatnonzero(inside.sum(axis=1) == size)
        winner = sets[value[sets].argmax()]
        best.append((np.flatnonzero(inside[winner]).tolist(), float(value[winner])))
    return best


def sampled(value, orders, seed=0):
    """What each player added in random orders of arrival: (2**n,) -> (orders, n). Their mean estimates ``shapley``.

    This is how it is done where the sets are too many to look at all; the error falls with the root of ``orders``.
    """
    value, n = np.asarray(value, dtype=float), number_of_players(value)
    arrival = np.argsort(np.random.default_rng(seed).random((orders, n)), axis=1)
    present = np.cumsum(1 << arrival, axis=1)
    gains = np.diff(value[np.concatenate([np.zeros((orders, 1), int), present], axis=1)], axis=1)
    added = np.empty((orders, n))
    np.put_along_axis(added, arrival, gains, axis=1)
    return added


# ---- uncertainty ----

def redrawn(patients, draws, seed=0):
    """How often each record counts when patients are drawn with replacement: (draws, records) of whole numbers."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return times[:, owner]


def mean_values(value, patients, draws=500, level=0.9, seed=0):
    """Shapley values of a population, with intervals over patients: (n,) mean, (n,) from, (n,) to.

    ``value`` is (records, 2**n), or (seeds, records, 2**n): then each draw also takes one of the trained networks.
    """
    values = shapley(value)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[1] != len(patients):
        raise DataError(f"value is (records, sets) or (seeds, records, sets) for {len(patients)} records; found "
                        f"{np.shape(value)}.")
    counts = redrawn(patients, draws, seed)
    network = np.random.default_rng([seed, 1]).integers(len(values), size=draws)
    means = np.stack([count @ values[k] / count.sum() for count, k in zip(counts, network)])
    return values.mean(axis=(0, 1)), *_interval(means, level)


def score_values(score, patients, networks=1, draws=200, level=0.9, seed=0):
    """The same for a score that is no mean over records, such as an AUROC: (n,) mean, (n,) from, (n,) to.

    ``score`` is a function (rows, network) -> value (2**n,) of these records, a record drawn twice being there twice,
    in the answers of the network of that number. Draws without a score (no record of the class) are left out.
    """
    everyone = np.arange(len(patients))
    mean = np.mean([shapley(score(everyone, number)) for number in range(networks)], axis=0)
    network = np.random.default_rng([seed, 1]).integers(networks, size=draws)
    drawn = []
    for count, number in zip(redrawn(patients, draws, seed), network):
        with suppress(DataError):
            drawn.append(shapley(score(np.repeat(everyone, count), number)))
    if len(drawn) < draws / 2:
        raise DataError(f"Only {len(drawn)} of {draws} draws of patients have a score: the class has too few patients "
                        "for an interval. Choose a more frequent one, or take more patients.")
    return mean, *_interval(drawn, level)


def _interval(drawn, level):
    return np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)


# ---- scores that can be the value of a set of leads ----

def log_likelihood(label, probability):
    """The value of one record's answer: log of its class's probability. (..., records, classes) -> (..., records)."""
    chosen = np.take_along_axis(probability, np.broadcast_to(label[:, None], probability.shape[:-1] + (1,)), axis=-1)
    return np.log(np.maximum(chosen[..., 0], 1e-12))


def auroc_of_sets(positive, score):
    """Area under the ROC curve of every set: (records,) of True or False, (sets, records) -> (sets,). Ties are half."""
    from scipy.stats import rankdata
    positive = np.asarray(positive, dtype=bool)
    yes, no = positive.sum(), (~positive).sum()
    if not (yes and no):
        raise DataError(f"An AUROC needs records with and without the class; here {yes} have it and {no} have not.")
    ranks = rankdata(score, axis=-1)
    return (ranks[..., positive].sum(axis=-1) - yes * (yes + 1) / 2) / (yes * no)
