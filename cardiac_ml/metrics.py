# Copied out of the kit, this file needs activation.py beside it.
"""Scores: small pure functions of (truth, prediction), named in three dictionaries, and one bootstrap for all of them.

    CLASSIFICATION   tasks 1, 2: class numbers (rows,) against probabilities, scores (rows, classes) or labels (rows,)
    ACTIVATION       task 3: activation maps (cases, 75) in ms; NaN in the truth is left out
    VOLTAGE          task 4: voltages (cases, 75, time) in mV

    bootstrap(ACTIVATION, truth, prediction, groups=hearts)["MAE (ms)"]      ->  Interval(value, low, high)

Shapes are compared first, and a prediction that is not finite is refused: bad data never becomes a score.
"""
from functools import wraps
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats
from sklearn import metrics as sklearn_metrics

try:
    from cardiac_ml.activation import apd90_ms, upstroke_ms
    from cardiac_ml.files import DataError
except ImportError:  # copied
    from activation import apd90_ms, upstroke_ms
    DataError = ValueError

SHARE = (0, 1)


def same_shape(truth, prediction):
    """Both as arrays, once they are sure to belong together."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _refuse(truth.shape != prediction.shape, truth, prediction)
    return truth, prediction


def same_rows(truth, prediction):
    """Class numbers (rows,) and labels (rows,) or scores (rows, classes), once they are sure to belong together."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _refuse(truth.ndim != 1 or prediction.ndim not in (1, 2) or len(prediction) != len(truth), truth, prediction)
    classes = prediction.shape[1] if prediction.ndim == 2 else np.inf
    if classes == 1:
        raise DataError("the prediction has one column: give (rows, 2), or the probability of class 1 as (rows,).")
    if truth.dtype.kind not in "iufb" or (truth != np.floor(truth)).any() or truth.min() < 0 or truth.max() >= classes:
        raise DataError(f"the truth must hold class numbers 0, 1, ... below {classes}, the prediction's columns; found "
                        f"{', '.join(map(str, np.unique(truth)[:8]))}.")
    return truth.astype(int), prediction


def _refuse(other_shape, truth, prediction):
    if other_shape or not len(truth):
        raise DataError(f"truth has shape {truth.shape} and prediction {prediction.shape}: they must be of the same "
                        "cases in the same order (for classes: a label or a row of scores for each).")
    by_row = prediction.reshape(len(prediction), -1)  # summed, so that no mask as large as the voltages is needed
    if prediction.dtype.kind not in "iufb" or not np.isfinite(by_row.sum(axis=1, dtype=float)).all():
        raise DataError("the prediction holds NaN, infinity or no numbers, so it has no score.")


def from_sums(finish, limits=(0, np.inf), check=same_shape, skew=1):
    """A score that follows from sums over rows: ``score.sums`` gives them row by row, so that a bootstrap is quick.

    The function below returns arrays (rows, ...), which are summed over the rows and handed to ``finish``. ``limits``:
    what no score can go beyond, and so no interval. ``skew``: how far out the upper end of that goes (``_ends``).
    """
    def decorate(function):
        @wraps(function)
        def score(truth, prediction):
            return float(finish(*(part.sum(axis=0, dtype=float) for part in score.sums(truth, prediction))))
        score.sums = lambda truth, prediction: function(*check(truth, prediction))
        score.finish, score.limits, score.skew = finish, limits, skew
        return score
    return decorate


def ratio(part, whole):
    """part / whole, NaN where the whole is 0; also of arrays."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(whole) > 0, np.divide(part, whole), np.nan)


# ---- classes ----

def labels_of(prediction):
    """(rows,) the called classes: of scores (rows, classes) the largest, of chances of class 1 those above 0.5."""
    prediction = np.asarray(prediction)
    if prediction.ndim == 2:
        return prediction.argmax(axis=1)
    if prediction.dtype.kind == "f" and (prediction != np.round(prediction)).any():
        return (prediction > 0.5).astype(int)
    if prediction.min() < 0:
        raise DataError(f"labels are class numbers 0, 1, ...; the prediction holds {prediction.min()}.")
    return prediction.astype(int)


def scores_of(prediction):
    """(rows, classes): scores as they are; (rows,) is taken for the probability of class 1. Labels are refused."""
    prediction = np.asarray(prediction)
    if prediction.ndim != 1 or prediction.dtype.kind not in "iufb":
        return prediction
    if np.isin(prediction, np.arange(20)).all():
        raise DataError("this score needs a probability for each class, (rows, classes), or (rows,) that of class 1; "
                        "these look like class numbers.")
    return np.column_stack([1 - prediction, prediction])


def same_scores(truth, prediction):
    """As ``same_rows``, with a score for each class: (rows,), (rows, classes)."""
    return same_rows(truth, scores_of(prediction))


def probabilities_of(prediction):
    """(rows, classes) probabilities; scores that are none are refused."""
    if prediction.min() < -1e-6 or prediction.max() > 1 + 1e-6:
        raise DataError(f"this score needs probabilities between 0 and 1, found {prediction.min():.3g} to "
                        f"{prediction.max():.3g}: training.probabilities(scores) makes them.")
    return prediction


def confusion(truth, prediction):
    """Rows of true class i that were called class j: (classes, classes)."""
    return _pairs(*same_rows(truth, prediction))[0].sum(axis=0, dtype=int)


def _pairs(truth, prediction):
    """(rows, classes, classes): 1 at (true, called)."""
    called = labels_of(prediction)
    classes = prediction.shape[1] if prediction.ndim == 2 else max(truth.max(), called.max()) + 1
    table = np.zeros((len(truth), classes, classes), np.float32)
    table[np.arange(len(truth)), truth, called] = 1
    return (table,)


def _diagonal(table):
    return np.diagonal(table, axis1=-2, axis2=-1)


def _f1(table):
    there = table.sum(axis=-1)
    return np.where(there > 0, ratio(2 * _diagonal(table), table.sum(axis=-2) + there), np.nan)


OF_CLASS = {  # of tables (..., true, called): (..., classes)
    "sensitivity": lambda table: ratio(_diagonal(table), table.sum(axis=-1)),
    "predictive value": lambda table: ratio(_diagonal(table), table.sum(axis=-2)), "F1": _f1}


def _mean(values):
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def f1_scores(truth, prediction):
    """Harmonic mean of sensitivity and predictive value of each class: (classes,), NaN for a class without rows."""
    return _f1(confusion(truth, prediction))


@from_sums(lambda table: ratio(_diagonal(table).sum(axis=-1), table.sum(axis=(-2, -1))), SHARE, same_rows)
def accuracy(truth, prediction):
    """Share of the rows that are right. Where one class is common, calling everything that class looks good here."""
    return _pairs(truth, prediction)


@from_sums(lambda table: _mean(OF_CLASS["sensitivity"](table)), SHARE, same_rows)
def balanced_accuracy(truth, prediction):
    """Mean sensitivity of the classes: each counts the same, however rare."""
    return _pairs(truth, prediction)


@from_sums(lambda table: _mean(_f1(table)), SHARE, same_rows)
def macro_f1(truth, prediction):
    """Mean F1 of the classes that have rows."""
    return _pairs(truth, prediction)


def auroc(truth, prediction):
    """Chance that a row of a class gets a higher probability for it than another row; mean over classes.

    With two classes it is that of class 1. NaN where only one class occurs.
    """
    return _one_against_rest(truth, prediction, _area)


def auprc(truth, prediction):
    """Mean predictive value over all thresholds (average precision); mean over classes, class 1 of two."""
    return _one_against_rest(truth, prediction, sklearn_metrics.average_precision_score)


def _area(hit, score):
    """By ranks, ties count half: as scikit-learn's roc_auc_score, ten times as fast."""
    hits = hit.sum()
    return (stats.rankdata(score)[hit].sum() - hits * (hits + 1) / 2) / (hits * (len(hit) - hits))


def _one_against_rest(truth, prediction, score):
    truth, prediction = same_scores(truth, prediction)
    there = np.flatnonzero(np.bincount(truth, minlength=prediction.shape[1]))
    judged = ([1] if prediction.shape[1] == 2 else there) if len(there) > 1 else []
    return float(_mean(np.array([score(truth == c, prediction[:, c]) for c in judged])))


@from_sums(lambda squares, rows: ratio(squares, rows), SHARE, same_scores)
def brier(truth, prediction):
    """Mean squared difference between probabilities and what happened (0 best); two classes: that of class 1."""
    probability = probabilities_of(prediction)
    squares = np.square(probability - np.eye(probability.shape[1])[truth]).sum(axis=1)
    return squares / (2 if probability.shape[1] == 2 else 1), np.ones(len(truth))


def calibration_error(truth, prediction, bins=15):
    """Mean distance, bin by bin, between the stated probability of the called class and how often it was right."""
    truth, prediction = same_scores(truth, prediction)
    probability = probabilities_of(prediction)
    stated, right = probability.max(axis=1), probability.argmax(axis=1) == truth
    place = np.minimum((stated * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, stated - right)).sum() / len(truth))


auroc.limits = auprc.limits = calibration_error.limits = SHARE
CLASSIFICATION = {"accuracy": accuracy, "balanced accuracy": balanced_accuracy, "macro-F1": macro_f1, "AUROC": auroc,
                  "AUPRC": auprc, "Brier": brier, "calibration error": calibration_error}


def of_class(measure, number):
    """The sensitivity, predictive value or F1 of one class, as a score."""
    return from_sums(lambda table: OF_CLASS[measure](table)[..., number], SHARE, same_rows)(_pairs)


def classification(classes):
    """Name -> score: those of ``CLASSIFICATION``, and sensitivity and predictive value of each class by its name."""
    return CLASSIFICATION | {f"{measure} {name}": of_class(measure, number)
                             for measure in ("sensitivity", "predictive value") for number, name in enumerate(classes)}


def by_class(truth, prediction, classes):
    """A line for each class, for a pandas table: sensitivity, predictive value, F1 and how many rows it has."""
    table = confusion(truth, prediction)
    values = zip(*(measure(table).tolist() for measure in OF_CLASS.values()), table.sum(axis=1).tolist())
    return [dict(zip(("class", *OF_CLASS, "rows"), (name, *line))) for name, line in zip(classes, values)]


def threshold_for(hit, score, sensitivity=0.95):
    """The highest threshold at which at least that share of the hits reach it (score >= threshold).

    Choose it on validation rows: on the test rows it would be peeking.
    """
    if not np.any(hit):
        raise DataError("no row is a hit, so no threshold finds any: choose it on rows that hold some.")
    _, found, threshold = sklearn_metrics.roc_curve(hit, score, drop_intermediate=False)
    return float(threshold[np.argmax(found >= sensitivity)])


# ---- activation maps: (cases, 75) ms ----

def _known(measure, truth, prediction):
    """Sums over the points of each case that activate: (cases,) of ``measure`` of the error, (cases,) of 1."""
    known = np.isfinite(truth)
    error = np.where(known, prediction - truth, 0)
    return measure(error).reshape(len(truth), -1).sum(axis=1), known.reshape(len(truth), -1).sum(axis=1)


@from_sums(lambda error, points: ratio(error, points))
def mae_ms(truth, prediction):
    """Mean absolute error over all points that activate."""
    return _known(np.abs, truth, prediction)


@from_sums(lambda squares, points: np.sqrt(ratio(squares, points)), skew=1.5)
def rmse_ms(truth, prediction):
    """Root mean square error: large misses weigh more."""
    return _known(np.square, truth, prediction)


def p95_ms(truth, prediction):
    """95 % of the points are closer to the truth than this."""
    truth, prediction = same_shape(truth, prediction)
    error = np.abs(prediction - truth)[np.isfinite(truth)]
    return float(np.percentile(error, 95)) if len(error) else float("nan")


@from_sums(lambda correlation, cases: ratio(correlation, cases), (-1, 1))
def map_correlation(truth, prediction):
    """Pearson correlation of each map with its prediction, averaged over cases: is the pattern right?"""
    known = np.isfinite(truth)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    t, p = (np.where(known, a, 0) for a in (truth, prediction))
    t, p = (np.where(known, a - a.sum(axis=1, keepdims=True) / count, 0) for a in (t, p))
    norm = np.sqrt((t ** 2).sum(axis=1) * (p ** 2).sum(axis=1))
    return np.nan_to_num(ratio((t * p).sum(axis=1), norm)), (t ** 2).sum(axis=1) > 0  # that of a flat prediction is 0


def earliest_site_mm(truth, prediction, points_mm):
    """Distance between the true and the predicted earliest point, averaged over cases that have one."""
    truth, prediction = same_shape(truth, prediction)
    some = np.isfinite(truth).any(axis=1)
    first, guess = np.nanargmin(truth[some], axis=1), prediction[some].argmin(axis=1)
    return float(np.linalg.norm(points_mm[first] - points_mm[guess], axis=1).mean())


def missing(truth, prediction):
    """How many labels are NaN, and so left out."""
    return int(np.isnan(same_shape(truth, prediction)[0]).sum())


ACTIVATION = {"MAE (ms)": mae_ms, "RMSE (ms)": rmse_ms, "95th percentile (ms)": p95_ms,
              "map correlation": map_correlation, "labels left out": missing}


def coverage(truth, prediction, spread, level=0.9):
    """Share of the labels inside the central interval of a Laplace distribution with this mean absolute error."""
    truth, prediction = same_shape(truth, prediction)
    inside = np.abs(truth - prediction) <= -np.log(1 - level) * same_shape(truth, spread)[1]
    return float(inside[np.isfinite(truth)].mean())


# ---- voltages: (cases, 75, time) mV ----

def _by_case(function, truth, prediction):
    """function of each case, stacked: the difference of two large arrays is never held as a whole."""
    return np.array([function(t.astype(np.float64), p) for t, p in zip(truth, prediction)])


@from_sums(lambda error, cases: ratio(error, cases))
def mae_mv(truth, prediction):
    """Mean absolute error over points and time."""
    return _by_case(lambda t, p: np.abs(p - t).mean(), truth, prediction), np.ones(len(truth))


@from_sums(lambda squares, cases: np.sqrt(ratio(squares, cases)), skew=1.5)
def rmse_mv(truth, prediction):
    """Root mean square error over points and time."""
    return _by_case(lambda t, p: np.square(p - t).mean(), truth, prediction), np.ones(len(truth))


@from_sums(lambda squares, mean, square, cases: 1 - ratio(squares / cases, square / cases - (mean / cases) ** 2),
           (-np.inf, 1))
def r2(truth, prediction):
    """Share of the variance explained; 0 is what a constant reaches."""
    parts = _by_case(lambda t, p: (np.square(p - t).mean(), t.mean(), np.square(t).mean()), truth, prediction)
    return *parts.T, np.ones(len(truth))


@from_sums(lambda error, points: ratio(error, points))
def upstroke_error_ms(truth, prediction):
    """Mean absolute error of the activation times read off the traces; one that never fires does so at their end."""
    return _known(np.abs, upstroke_ms(truth), np.nan_to_num(upstroke_ms(prediction), nan=prediction.shape[-1]))


@from_sums(lambda error, points: ratio(error, points))
def apd90_error_ms(truth, prediction):
    """Mean absolute error of the action potential duration, where both traces show its end."""
    return _known(np.abs, apd90_ms(truth) - apd90_ms(prediction), 0)


@from_sums(lambda error, samples: ratio(error, samples))
def plateau_error_mv(truth, prediction, start_ms=20, stop_ms=150):
    """Mean absolute error from 20 to 150 ms after each point's true upstroke: upstroke timing has no part in it."""
    since = np.arange(truth.shape[-1]) - upstroke_ms(truth)[..., None]
    plateau = (since >= start_ms) & (since < stop_ms)
    error = np.where(plateau, np.abs(prediction - truth), 0)
    return error.sum(axis=(1, 2), dtype=float), plateau.sum(axis=(1, 2))


VOLTAGE = {"MAE (mV)": mae_mv, "RMSE (mV)": rmse_mv, "R2": r2, "upstroke error (ms)": upstroke_error_ms,
           "plateau error (mV)": plateau_error_mv, "APD90 error (ms)": apd90_error_ms}


def error_profile(truth, prediction, before_ms=60, after_ms=350):
    """Mean absolute error by the time since each trace's true upstroke: times (n,) ms, errors (n,) mV."""
    truth, prediction = same_shape(truth, prediction)
    since = np.round(np.arange(truth.shape[-1]) - upstroke_ms(truth)[..., None])
    inside = (since >= -before_ms) & (since < after_ms)  # False where the upstroke is NaN
    place = (since[inside] + before_ms).astype(int)
    total = np.bincount(place, np.abs(prediction - truth)[inside], minlength=before_ms + after_ms)
    return np.arange(-before_ms, after_ms), total / np.maximum(np.bincount(place, minlength=before_ms + after_ms), 1)


# ---- how sure is a score: whole groups (patients, hearts) are drawn again and again ----

class Interval(NamedTuple):
    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """The difference of two scores, its interval, and how likely one as large is where there is none (t test)."""
    value: float
    low: float
    high: float
    p: float


def by_group(score, truth, prediction, groups):
    """The score within each group (heart, patient, kind of beat): a dictionary in order of first appearance."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    groups = _groups_of(groups, truth, prediction)
    return {group: score(truth[groups == group], prediction[groups == group]) for group in dict.fromkeys(groups)}


def bootstrap(scores, truth, prediction, groups=None, draws=400, level=0.9, seed=0):
    """Name -> Interval for a dictionary of scores: what would other patients, or other hearts, have given?

    Cases of one group resemble each other, so whole groups are drawn, with replacement, and each score is computed anew
    from what was drawn (without ``groups`` each row is its own). With few groups the middle of the drawn values is too
    narrow (of six it holds the truth in 80 % instead of 90), so their spread goes into a t interval instead. In
    simulated worlds of 6, 12 and 20 hearts or patients, even or skewed, 90 % intervals hold the true MAE, RMSE and
    balanced accuracy in 87 to 93 %; a macro-F1 whose rare classes lie with few patients, less often.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    members, weights = _draw(_groups_of(groups, truth, prediction), draws, seed)
    result = {}
    for name, score in scores.items():
        value = float(score(truth, prediction))
        ends = value, value  # of a count of labels, which is what it is
        if score is not missing:
            drawn = _drawn(score, truth, prediction, members, weights)
            ends = _ends(score, value, drawn, members, level)
        result[name] = Interval(value, *ends)
    return result


def bootstrap_table(scores, truth, prediction, groups=None, **options):
    """The same as a pandas table: a row a score."""
    table = pd.DataFrame(bootstrap(scores, truth, prediction, groups, **options), index=["score", "from", "to"]).T
    return table.drop(index="labels left out", errors="ignore").round(3)


def compare(score, truth, one, other, groups=None, draws=400, level=0.9, seed=0):
    """Comparison of two predictions of the same cases: the score of ``one`` minus that of ``other``, drawn together."""
    return compare_all(score, truth, [one, other], groups, draws, level, seed)[0, 1]


def compare_all(score, truth, predictions, groups=None, draws=400, level=0.9, seed=0):
    """(i, j) -> Comparison for each pair of predictions of the same cases, all drawn together."""
    truth, predictions = np.asarray(truth), [np.asarray(prediction) for prediction in predictions]
    members, weights = _draw(_groups_of(groups, truth, *predictions), draws, seed)
    scores = [float(score(truth, prediction)) for prediction in predictions]
    drawn = [_drawn(score, truth, prediction, members, weights) for prediction in predictions]
    return {(one, other): _compared(scores[one] - scores[other], drawn[one] - drawn[other], members, level)
            for one, other in combinations(range(len(predictions)), 2)}


def _compared(value, drawn, members, level):
    half = _half_width(drawn, members, level)
    if value == 0 or np.isnan(half):  # the same, or a single group: nothing speaks for a difference
        return Comparison(value, value - half, value + half, 1.0 if value == 0 else float("nan"))
    freedom = max(len(members) - 1, 1)
    p = float(2 * stats.t.sf(abs(value) / half * stats.t.ppf((1 + level) / 2, freedom), freedom)) if half else 0.0
    return Comparison(value, value - half, value + half, p)


def _groups_of(groups, truth, *predictions):
    """The group of each case as an array, once there are as many as cases; without groups each case is its own."""
    groups = np.arange(len(truth)) if groups is None else np.asarray(groups)
    for prediction in predictions:
        if len(prediction) != len(truth):
            raise DataError(f"truth has shape {truth.shape} and prediction {prediction.shape}: not of the same cases.")
    if groups.shape != (len(truth),):
        raise DataError(f"{groups.size} groups for {len(truth)} cases: give the heart or patient of each case.")
    return groups


def _draw(groups, draws, seed):
    """The row numbers of each group, and how often each group is drawn: (draws, groups)."""
    _, place, count = np.unique(groups, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(count)[:-1])
    equal = np.full(len(members), 1 / len(members))
    return members, np.random.default_rng(seed).multinomial(len(members), equal, draws)


def _drawn(score, truth, prediction, members, weights):
    """The score in each drawn world: from sums where it has them, else of the rows that were drawn (100 worlds)."""
    if hasattr(score, "sums"):
        order, starts = np.concatenate(members), np.cumsum([0, *map(len, members[:-1])])
        sums = [np.add.reduceat(part[order].astype(float), starts, axis=0) for part in score.sums(truth, prediction)]
        return score.finish(*(np.tensordot(weights, part, axes=1) for part in sums))
    rows = (np.concatenate([np.tile(members[g], times) for g, times in enumerate(world) if times])
            if len(members) < len(truth) else np.repeat(np.concatenate(members), world) for world in weights[:100])
    return np.array([score(truth[some], prediction[some]) for some in rows])


def _ends(score, value, drawn, members, level):
    """(low, high). Errors of hearts are skewed, so those of an error, 0 or larger, are found on its logarithm.

    The worst hearts are the rare ones, so a few hearts tend to show too little error and too little spread at once: the
    upper end is moved out by the square of the half-width, times the score's ``skew`` (simulations chose 1.5 for
    squared errors, 1 else; a test holds it). A share has two ends: its scale is the logit, and half that square moves
    the end off 0 or 1.
    """
    drawn, limits = drawn[np.isfinite(drawn)], getattr(score, "limits", (0, np.inf))
    if limits == SHARE:
        return _ends_of_share(value, drawn, members, level)
    if limits == (0, np.inf) and value > 0 and (drawn > 0).all():
        half = _half_width(np.log(drawn), members, level)
        return float(value * np.exp(-half)), float(value * np.exp(half + getattr(score, "skew", 1) * half ** 2))
    half = _half_width(drawn, members, level)
    return tuple(np.clip([value - half, value + half], *limits).tolist())


def _ends_of_share(value, drawn, members, level):
    half_row = 0.5 / sum(map(len, members))  # added on both sides: a share of 1 has no logit
    scaled, middle = (special.logit((share + half_row) / (1 + 2 * half_row)) for share in (drawn, value))
    if (half := _half_width(scaled, members, level)) == 0:
        return value, value
    down, up = half + half ** 2 / 2 * (value > 0.5), half + half ** 2 / 2 * (value <= 0.5)
    ends = special.expit([middle - down, middle + up]) * (1 + 2 * half_row) - half_row
    return tuple(np.clip(ends, *SHARE).tolist())


def _half_width(drawn, members, level):
    drawn = drawn[np.isfinite(drawn)]
    if len(members) < 2 or len(drawn) < 2:
        return np.nan
    groups = len(members)
    return float(stats.t.ppf((1 + level) / 2, groups - 1) * drawn.std(ddof=1) * np.sqrt(groups / (groups - 1)))
