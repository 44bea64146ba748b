"""Who trains and who is tested: splits of the intracardiac cases, each a function of the table alone.

All cases of a heart share its anatomy. A network that has seen a heart knows it; only a split by heart tells how well
it would do on a new patient. The other splits are here to compare with: by pattern (known hearts, new activations) and
at random (as most published scores were made), which leaks both.
"""
from typing import NamedTuple

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.intracardiac_files import PUBLISHED_HEARTS, natural

TEST_HEARTS = ("v14", "v15", "v16")  # of the 15 published; chosen by number alone, before any score was known
TEST_SHARE, VALID_SHARE = 3 / 15, 2 / 15  # of any other hearts: the last ones in natural order, v12 and v13 above


class Split(NamedTuple):
    """Row numbers of the table, each array in increasing order."""
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_by_heart(table, test_hearts=None, valid_hearts=None) -> Split:
    """No heart is in two parts: the fair split, and the default. Fixed, so that scores can be compared.

    Tested are TEST_HEARTS of the published hearts, of others the last fifth in natural order. The last 2/15 of those
    that are left choose the model (published: v12, v13). Name your own to test on others.
    """
    hearts = sorted(table["heart"].unique(), key=natural)
    test_hearts = list(_test_hearts(hearts) if test_hearts is None else test_hearts)
    left = [heart for heart in hearts if heart not in test_hearts]
    valid_hearts = left[-_share(VALID_SHARE, hearts):] if valid_hearts is None else list(valid_hearts)
    unknown = sorted({*test_hearts, *valid_hearts} - set(hearts), key=natural)
    if unknown or set(test_hearts) & set(valid_hearts):
        raise DataError(f"cannot split: {f'no heart {unknown}' if unknown else 'a heart is in valid and in test'}. "
                        f"The hearts are {', '.join(hearts)}; test {test_hearts}, valid {valid_hearts}.")
    return _by_group(table["heart"].to_numpy(dtype=str), valid_hearts, test_hearts, "hearts")


def _test_hearts(hearts):
    fixed = [heart for heart in TEST_HEARTS if heart in hearts] if set(hearts) <= set(PUBLISHED_HEARTS) else []
    return fixed or hearts[-_share(TEST_SHARE, hearts):]


def _share(share, things) -> int:
    return max(1, round(len(things) * share))


def split_by_pattern(table, seed=0) -> Split:
    """No activation pattern (or focal site) is in two parts; every heart is in all. Easier than a new heart."""
    focal = table["innerindex"].notna().to_numpy()
    number = table["innerindex"].where(focal, table["pattern"])
    groups = np.array([f"{'site' if inner else 'pattern'} {value}" for inner, value in zip(focal, number)])
    names = sorted(set(groups), key=natural)
    mixed = np.random.default_rng(seed).permutation(names)
    test, valid = (_share(share, names) for share in (TEST_SHARE, VALID_SHARE))
    return _by_group(groups, mixed[test:test + valid], mixed[:test], "patterns")


def split_random(table, seed=0) -> Split:
    """Cases at random. Leaks, and says so: neighbours of every test case are in training."""
    print("split_random leaks: every heart and nearly every pattern is in training and in test, so its score says "
          "nothing about a new patient. Use split_by_heart for that; this one is to compare with published scores.")
    mixed = np.random.default_rng(seed).permutation(len(table))
    test, valid = (_share(share, table) for share in (TEST_SHARE, VALID_SHARE))
    return _checked(Split(*map(np.sort, (mixed[test + valid:], mixed[test:test + valid], mixed[:test]))), "cases")


def _by_group(groups, valid, test, what) -> Split:
    in_valid, in_test = np.isin(groups, list(valid)), np.isin(groups, list(test))
    return _checked(Split(*(np.flatnonzero(part) for part in (~in_valid & ~in_test, in_valid, in_test))), what)


def _checked(split, what) -> Split:
    if empty := [name for name, rows in zip(Split._fields, split) if not len(rows)]:
        raise DataError(f"too few {what} to split: nothing is left for {' and '.join(empty)}. Three {what} at least.")
    return split
