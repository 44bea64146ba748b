import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from cardiac_ml import metrics


def drawn(seed, rows=200, classes=5, ties=False):
    """Truth with every class, and probabilities that know a little."""
    rng = np.random.default_rng(seed)
    share = np.r_[0.6, np.full(classes - 1, 0.4 / (classes - 1))]
    truth = np.r_[np.arange(classes), rng.choice(classes, rows - classes, p=share)]
    score = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[truth]
    probability = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    return truth, np.round(probability, 1) if ties else probability


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 5]), st.booleans())
def test_scores_agree_with_scikit_learn(seed, classes, ties):
    truth, probability = drawn(seed, classes=classes, ties=ties)
    called = probability.argmax(axis=1)
    assert metrics.accuracy(truth, probability) == pytest.approx(reference.accuracy_score(truth, called))
    balanced = reference.balanced_accuracy_score(truth, called)
    assert metrics.balanced_accuracy(truth, probability) == pytest.approx(balanced)
    assert metrics.macro_f1(truth, probability) == pytest.approx(reference.f1_score(truth, called, average="macro"))
    np.testing.assert_array_equal(metrics.confusion(truth, probability), reference.confusion_matrix(truth, called))
    judged = [1] if classes == 2 else range(classes)
    assert metrics.auroc(truth, probability) == pytest.approx(
        np.mean([reference.roc_auc_score(truth == c, probability[:, c]) for c in judged]))
    assert metrics.auprc(truth, probability) == pytest.approx(
        np.mean([reference.average_precision_score(truth == c, probability[:, c]) for c in judged]))


def test_brier_is_the_squared_distance():
    truth, probability = drawn(1, classes=2)
    assert metrics.brier(truth, probability) == pytest.approx(reference.brier_score_loss(truth, probability[:, 1]))
    assert metrics.brier(np.array([0, 2]), np.eye(3)[[0, 1]]) == pytest.approx(1.0)  # one right (0), one wrong (2)


def test_calibration_error_is_zero_for_honest_probabilities_and_large_for_boasting():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.5, 1, 50_000)
    probability = np.column_stack([stated, 1 - stated])
    honest = (rng.random(50_000) > stated).astype(int)
    assert metrics.calibration_error(honest, probability) < 0.01
    assert metrics.calibration_error(rng.integers(0, 2, 50_000), probability) == pytest.approx(0.25, abs=0.01)


def test_an_absent_class_is_left_out_and_a_lone_class_has_no_auroc():
    truth, prediction = np.array([0, 0, 1, 1]), np.eye(3)[[0, 2, 1, 1]]
    assert metrics.balanced_accuracy(truth, prediction) == pytest.approx(0.75)
    assert metrics.macro_f1(truth, prediction) == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(metrics.sensitivities(truth, prediction)[2])
    assert np.isnan(metrics.auroc(np.zeros(4, int), prediction))


def test_all_normal_has_the_accuracy_of_the_common_class_and_a_poor_macro_f1():
    truth = np.repeat(np.arange(5), [828, 25, 66, 7, 74])
    prediction = np.eye(5)[np.zeros(1000, int)]
    assert metrics.accuracy(truth, prediction) == 0.828
    assert metrics.macro_f1(truth, prediction) == pytest.approx(0.181, abs=5e-4)


def test_curves_agree_with_scikit_learn():
    truth, probability = drawn(3, classes=2, ties=True)
    alarm, found, threshold = metrics.roc_curve(truth == 1, probability[:, 1])
    expected = reference.roc_curve(truth, probability[:, 1], drop_intermediate=False)
    for mine, theirs in zip((alarm, found, threshold), expected):
        np.testing.assert_allclose(mine, theirs)


def test_the_threshold_reaches_the_sensitivity_and_no_higher_one_does():
    truth, probability = drawn(4, classes=2)
    score, hit = probability[:, 1], truth == 1
    threshold = metrics.threshold_for(hit, score, 0.9)
    assert np.mean(score[hit] >= threshold) >= 0.9
    assert np.mean(score[hit] > threshold) < 0.9


def test_the_dictionary_names_each_class():
    truth, probability = drawn(5, classes=3)
    scores = metrics.classification(("N", "S", "V"))
    table = metrics.by_class(truth, probability, ("N", "S", "V"))
    assert scores["sensitivity S"](truth, probability) == table[1]["sensitivity"]
    assert scores["predictive value V"](truth, probability) == table[2]["predictive value"]
    assert sum(line["rows"] for line in table) == len(truth)


def test_the_interval_holds_the_score_and_is_repeatable():
    truth, probability = drawn(6)
    low, high = metrics.interval(metrics.accuracy, truth, probability, draws=200)
    assert low < metrics.accuracy(truth, probability) < high
    assert (low, high) == metrics.interval(metrics.accuracy, truth, probability, draws=200)


def test_patients_give_a_wider_interval_than_rows_where_errors_come_by_patient():
    patient = np.repeat(np.arange(20), 50)
    truth = np.zeros(1000, int)
    prediction = np.eye(2)[(patient < 4).astype(int)]  # four patients all wrong, the others all right
    widths = [high - low for low, high in (metrics.interval(metrics.accuracy, truth, prediction, groups, draws=300)
                                           for groups in (None, patient))]
    assert widths[1] > 4 * widths[0]


def test_one_group_is_its_own_interval_and_a_table_has_a_line_a_score():
    truth, probability = drawn(7)
    low, high = metrics.interval(metrics.accuracy, truth, probability, groups=np.full(len(truth), "101"), draws=20)
    assert low == high == metrics.accuracy(truth, probability)
    lines = metrics.with_intervals(metrics.CLASSIFICATION, truth, probability, draws=20)
    assert [line["score"] for line in lines] == list(metrics.CLASSIFICATION)
    assert all(line["low"] <= line["high"] for line in lines)
