"""Scores of classifiers (tasks 1 and 2), each a small pure function of numpy arrays.

``truth`` holds class numbers (rows,), ``prediction`` a number for every class (rows, classes): probabilities, or any
scores for those that only look at the largest. A class without rows in ``truth`` is left out of averages over classes.
"""
import numpy as np

# ---- counts ----

def confusion(truth, prediction):
    """Rows of true class i that were called class j: (classes, classes)."""
    classes = prediction.shape[1]
    pairs = np.asarray(truth) * classes + prediction.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def sensitivities(truth, prediction):
    """Share of each class that was found (recall): (classes,), NaN for a class without rows."""
    table = confusion(truth, prediction)
    return _ratio(table.diagonal(), table.sum(axis=1))


def predictive_values(truth, prediction):
    """Share of the calls of each class that were right (precision): (classes,), NaN for a class never called."""
    table = confusion(truth, prediction)
    return _ratio(table.diagonal(), table.sum(axis=0))


def f1_scores(truth, prediction):
    """Harmonic mean of the two for each class: (classes,), NaN for a class without rows."""
    table = confusion(truth, prediction)
    f1 = _ratio(2 * table.diagonal(), table.sum(axis=0) + table.sum(axis=1))
    return np.where(table.sum(axis=1) > 0, f1, np.nan)


def _ratio(part, whole):
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


# ---- one number for all rows ----

def accuracy(truth, prediction):
    """Share of the rows that are right. Where one class is common, calling everything that class looks good here."""
    return float(np.mean(prediction.argmax(axis=1) == truth))


def balanced_accuracy(truth, prediction):
    """Mean sensitivity of the classes: each counts the same, however rare."""
    return _mean(sensitivities(truth, prediction))


def macro_f1(truth, prediction):
    """Mean F1 of the classes."""
    return _mean(f1_scores(truth, prediction))


def auroc(truth, prediction):
    """Chance that a row of a class gets a higher probability for it than another row; mean over classes.

    With two classes it is that of class 1. NaN where only one class occurs.
    """
    return _mean([_auroc(truth == c, prediction[:, c]) for c in _judged(truth, prediction)])


def auprc(truth, prediction):
    """Mean predictive value over all thresholds (average precision); mean over classes, class 1 of two."""
    return _mean([_auprc(truth == c, prediction[:, c]) for c in _judged(truth, prediction)])


def brier(truth, probability):
    """Mean squared difference between probabilities and what happened (0 best); two classes: that of class 1."""
    squares = np.square(probability - np.eye(probability.shape[1])[truth]).sum(axis=1)
    return float(squares.mean() / (2 if probability.shape[1] == 2 else 1))


def calibration_error(truth, probability, bins=15):
    """Mean distance between the stated probability of the called class and how often the call was right."""
    stated, right, count = reliability(truth, probability, bins)
    return float(np.sum(np.abs(stated - right) * count) / count.sum())


def _judged(truth, prediction):
    present = np.bincount(truth, minlength=prediction.shape[1]) > 0
    if present.sum() < 2:
        return []
    return [1] if prediction.shape[1] == 2 else np.flatnonzero(present)


def _auroc(hit, score):
    """By ranks; ties count half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    hits = hit.sum()
    return (rank[hit].sum() - hits * (hits + 1) / 2) / (hits * (len(hit) - hits))


def _auprc(hit, score):
    sensitivity, value, _ = precision_recall_curve(hit, score)
    return np.sum(np.diff(sensitivity, prepend=0) * value)


def _mean(values):
    values = np.asarray(values, dtype=float)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


CLASSIFICATION = {"accuracy": accuracy, "balanced accuracy": balanced_accuracy, "macro-F1": macro_f1, "AUROC": auroc,
                  "AUPRC": auprc, "Brier": brier, "calibration error": calibration_error}


def classification(classes):
    """Name -> score: those of ``CLASSIFICATION``, and sensitivity and predictive value of each class by its name."""
    def of_class(function, number):
        return lambda truth, prediction: float(function(truth, prediction)[number])
    named = {"sensitivity": sensitivities, "predictive value": predictive_values}
    return CLASSIFICATION | {f"{title} {name}": of_class(function, number)
                             for title, function in named.items() for number, name in enumerate(classes)}


def by_class(truth, prediction, classes):
    """A line for each class, for a pandas table: sensitivity, predictive value, F1 and how many rows it has."""
    columns = zip(classes, sensitivities(truth, prediction), predictive_values(truth, prediction),
                  f1_scores(truth, prediction), np.bincount(truth, minlength=len(classes)))
    return [{"class": name, "sensitivity": float(found), "predictive value": float(right), "F1": float(f1),
             "rows": int(rows)} for name, found, right, f1, rows in columns]


# ---- curves ----

def _cumulated(hit, score):
    """Hits and false alarms at each threshold, from the strictest: (thresholds,) each."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # rows with equal scores come together
    hits = np.cumsum(hit[order])[last]
    return hits, last + 1 - hits, score[order][last]


def roc_curve(hit, score):
    """False alarm rate, sensitivity and threshold, from the strictest: ``hit`` (rows,) bool, ``score`` (rows,)."""
    hits, alarms, threshold = _cumulated(np.asarray(hit, bool), np.asarray(score))
    rates = alarms / max(alarms[-1], 1), hits / max(hits[-1], 1)
    return *(np.insert(rate, 0, 0.0) for rate in rates), np.insert(threshold, 0, np.inf)


def precision_recall_curve(hit, score):
    """Sensitivity, predictive value and threshold, from the strictest."""
    hits, alarms, threshold = _cumulated(np.asarray(hit, bool), np.asarray(score))
    return hits / max(hits[-1], 1), hits / (hits + alarms), threshold


def threshold_for(hit, score, sensitivity=0.95):
    """The highest threshold at which at least that share of the hits reach it (score >= threshold).

    Choose it on validation rows: on the test rows it would be peeking.
    """
    _, found, threshold = roc_curve(hit, score)
    return float(threshold[np.argmax(found >= sensitivity)])


def reliability(truth, probability, bins=10):
    """Rows gathered by the probability of the called class: its mean, share that is right, count; (filled bins,)."""
    stated, right = probability.max(axis=1), probability.argmax(axis=1) == truth
    place = np.clip((stated * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    some = count > 0
    return (np.bincount(place, stated, bins)[some] / count[some], np.bincount(place, right, bins)[some] / count[some],
            count[some])


# ---- how sure is a score ----

def interval(score, truth, prediction, groups=None, draws=500, level=0.9, seed=0):
    """(low, high) of a score by the bootstrap: new sets of rows are drawn from these, again and again.

    Beats of one patient resemble each other: with ``groups`` (rows,) whole patients are drawn instead of rows, and the
    interval says what other patients would give. Without, it only says what other beats of the same patients would.
    """
    rng = np.random.default_rng(seed)
    members = _members(np.arange(len(truth)) if groups is None else np.asarray(groups))
    scores = []
    for _ in range(draws):
        chosen = rng.integers(len(members), size=len(members))
        rows = chosen if groups is None else np.concatenate([members[i] for i in chosen])
        scores.append(score(truth[rows], prediction[rows]))
    if not np.isfinite(scores).any():
        return float("nan"), float("nan")
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _members(groups):
    """The row numbers of each group."""
    _, place, count = np.unique(groups, return_inverse=True, return_counts=True)
    return np.split(np.argsort(place, kind="stable"), np.cumsum(count)[:-1])


def with_intervals(scores, truth, prediction, groups=None, **options):
    """A line for each score of a dictionary, for a pandas table: value, low, high."""
    return [{"score": name, "value": score(truth, prediction)} |
            dict(zip(("low", "high"), interval(score, truth, prediction, groups, **options)))
            for name, score in scores.items()]
