"""Which leads matter? Exact Shapley values of a game whose players are leads (or groups of leads).

A game gives every set of players (a coalition) a value, more being better: an array ``value`` of shape (..., 2**n),
where bit k of the position says whether player k takes part. ``value[..., 0]`` is what is known without any lead,
``value[..., -1]`` with all. The Shapley value of a player is what it adds when players come in one by one, averaged
over all orders of arrival (L. S. Shapley, A value for n-person games, 1953). All sums are exact: eight leads make 256
sets, twelve 4096.

The functions are linear in ``value``: values of the mean are means of the values, record by record.
"""
from math import comb, factorial

import numpy as np
from scipy import stats

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


# ---- uncertainty: what would other patients have given? ----

def half_width(influence, patients, level=0.9):
    """Half the interval of a result to which each record contributes ``influence`` (records, n): (n,), over patients.

    Records of one patient are no independent witnesses, so their influences are added up before they are squared.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return np.full(influence.shape[1], np.nan)  # one patient alone says nothing about others
    sums = np.zeros((len(names), influence.shape[1]))
    np.add.at(sums, owner, influence)
    error = np.sqrt((sums ** 2).sum(axis=0) * len(names) / (len(names) - 1))
    return stats.t.ppf((1 + level) / 2, len(names) - 1) * error


def mean_values(value, patients, level=0.9):
    """Shapley values of a population, with intervals over patients: (n,) mean, (n,) from, (n,) to.

    ``value`` is (records, 2**n), or (networks, records, 2**n): then the interval also holds another training.
    """
    values = shapley(value)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[1] != len(patients):
        raise DataError(f"value is (records, sets) or (networks, records, sets) for {len(patients)} records; found "
                        f"{np.shape(value)}.")
    mean = values.mean(axis=(0, 1))
    half = half_width((values.mean(axis=0) - mean) / len(patients), patients, level)
    if len(values) > 1:
        half = np.hypot(half, stats.norm.ppf((1 + level) / 2) * values.mean(axis=1).std(axis=0, ddof=1))
    return mean, mean - half, mean + half


def auroc_values(positive, score, patients, level=0.9):
    """Shapley values of the AUROC: positive (records,), score (2**n, records) -> (n,) value, (n,) from, (n,) to.

    The interval is DeLong's for patients with several records (N. A. Obuchowski, Biometrics 53:567, 1997): a record's
    influence on the area of each set, passed through the linear map from sets to players.
    """
    area, influence = auroc_influence(positive, score)
    value, half = shapley(area), half_width(shapley(influence.T), patients, level)
    return value, value - half, value + half


# ---- scores that can be the value of a set of leads ----

def log_likelihood(label, probability):
    """The value of one record's answer: log of its class's probability. (..., records, classes) -> (..., records)."""
    chosen = np.take_along_axis(probability, np.broadcast_to(label[:, None], probability.shape[:-1] + (1,)), axis=-1)
    return np.log(np.maximum(chosen[..., 0], 1e-12))


def auroc_of_sets(positive, score):
    """Area under the ROC curve of every set: (records,) of True or False, (sets, records) -> (sets,). Ties are half."""
    return auroc_influence(positive, score)[0]


def auroc_influence(positive, score):
    """The areas (sets,), and how much each record moves them: (sets, records), which add up to 0 for each set.

    A record's share is how often it is on the right side of those of the other kind (E. R. DeLong, D. M. DeLong and
    D. L. Clarke-Pearson, Biometrics 44:837, 1988).
    """
    positive, score = np.asarray(positive, dtype=bool), np.asarray(score)
    yes, no = positive.sum(), (~positive).sum()
    if not (yes and no):
        raise DataError(f"An AUROC needs records with and without the class; here {yes} have it and {no} have not.")
    won = stats.rankdata(score, axis=-1)
    for kind, others, sign in ((positive, no, 1), (~positive, yes, -1)):
        own = won[..., kind] - stats.rankdata(score[..., kind], axis=-1)  # how many of the other kind lie below
        won[..., kind] = own / others if sign > 0 else 1 - own / others
    area = won[..., positive].mean(axis=-1)
    return area, (won - area[..., None]) / np.where(positive, yes, no)
