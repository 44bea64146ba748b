import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from tiny import made_scores

from cardiac_ml import metrics
from cardiac_ml.activation import apd90_ms
from cardiac_ml.files import DataError


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 5]), st.booleans())
def test_scores_agree_with_scikit_learn(seed, classes, ties):
    truth, probability = made_scores(seed, classes=classes, ties=ties)
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
    truth, probability = made_scores(1, classes=2)
    assert metrics.brier(truth, probability) == pytest.approx(reference.brier_score_loss(truth, probability[:, 1]))
    assert metrics.brier(np.array([0, 2]), np.eye(3)[[0, 1]]) == pytest.approx(1.0)  # one right (0), one wrong (2)


def test_calibration_error_is_zero_for_honest_probabilities_and_large_for_boasting():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.5, 1, 50_000)
    probability = np.column_stack([stated, 1 - stated])
    honest = (rng.random(50_000) > stated).astype(int)
    assert metrics.calibration_error(honest, probability) < 0.01
    assert metrics.calibration_error(rng.integers(0, 2, 50_000), probability) == pytest.approx(0.25, abs=0.01)


def test_an_absent_class_is_left_out_one_never_called_counts_and_a_lone_class_has_no_auroc():
    truth, prediction = np.array([0, 0, 1, 1]), np.eye(3)[[0, 2, 1, 1]]
    assert metrics.balanced_accuracy(truth, prediction) == pytest.approx(0.75)
    assert metrics.macro_f1(truth, prediction) == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(metrics.OF_CLASS["sensitivity"](metrics.confusion(truth, prediction))[2])
    assert np.isnan(metrics.auroc(np.zeros(4, int), prediction))
    truth, all_normal = np.repeat(np.arange(5), [828, 25, 66, 7, 74]), np.eye(5)[np.zeros(1000, int)]
    assert metrics.accuracy(truth, all_normal) == 0.828
    assert metrics.macro_f1(truth, all_normal) == pytest.approx(0.181, abs=5e-4)


def test_the_threshold_reaches_the_sensitivity_and_no_higher_one_does():
    truth, probability = made_scores(4, classes=2)
    score, hit = probability[:, 1], truth == 1
    threshold = metrics.threshold_for(hit, score, 0.9)
    assert np.mean(score[hit] > threshold) < 0.9 <= np.mean(score[hit] >= threshold)
    with pytest.raises(DataError, match="no row is a hit"):
        metrics.threshold_for(truth > 1, score)


def test_the_dictionary_names_each_class():
    truth, probability = made_scores(5, classes=3)
    scores = metrics.classification(("N", "S", "V"))
    table = metrics.by_class(truth, probability, ("N", "S", "V"))
    assert scores["sensitivity S"](truth, probability) == table[1]["sensitivity"]
    assert scores["predictive value V"](truth, probability) == table[2]["predictive value"]
    assert sum(line["rows"] for line in table) == len(truth)


# ---- maps and voltages ----

def traces(onset_ms, apd_ms=250.0, length=500):
    """Voltages of a simple shape with known upstroke and duration: (...,) -> (..., length)."""
    since = np.arange(length) - np.asarray(onset_ms, dtype=float)[..., None]
    upstroke = np.clip(since / 4 + 0.5, 0, 1)  # a ramp of 4 ms that crosses 0 mV exactly at the onset
    return (-80 + 160 * upstroke) * (since < apd_ms) - 80 * (since >= apd_ms)


@pytest.fixture
def maps():
    return np.random.default_rng(0).uniform(10, 120, (6, 75))


def test_apd90_of_a_known_trace():
    assert apd90_ms(traces(np.full((3, 2), 40.0), apd_ms=250)) == pytest.approx(250, abs=1)
    assert np.isnan(apd90_ms(traces(np.full((1, 1), 400.0)))).all()  # still up at the end


def test_a_perfect_map_scores_perfectly_a_shift_costs_its_size_and_missing_labels_are_counted(maps):
    assert metrics.mae_ms(maps, maps) == 0 and metrics.map_correlation(maps, maps) == pytest.approx(1)
    for score in (metrics.mae_ms, metrics.rmse_ms, metrics.p95_ms):
        assert score(maps, maps + 3) == pytest.approx(3)
    assert metrics.map_correlation(maps, maps + 3) == pytest.approx(1)
    known = np.where(np.arange(450).reshape(6, 75) < 10, np.nan, maps)
    assert metrics.mae_ms(known, maps + 2) == pytest.approx(2)
    assert metrics.map_correlation(known, maps + 2) == pytest.approx(1)
    assert metrics.missing(known, maps + 2) == 10


def test_an_answer_that_says_nothing_is_not_left_out(maps):
    """Else a hand-in with one case, or one point, would learn of it alone."""
    onset = np.linspace(30, 90, 8).reshape(2, 4)
    truth = traces(onset)
    guess = truth.copy()
    guess[0, 1:] = -80  # three points that never fire
    assert metrics.upstroke_error_ms(truth, guess) == pytest.approx((500 - onset[0, 1:]).sum() / 8, abs=1)
    flat = np.where(np.arange(4)[:, None] < 3, 50.0, maps[:4])
    assert metrics.map_correlation(maps[:4], flat) == pytest.approx(0.25)


def test_earliest_site_distance(maps):
    points = np.random.default_rng(1).uniform(0, 90, (75, 3))
    truth, guess = maps[:1], maps[:1].copy()
    assert metrics.earliest_site_mm(truth, guess, points) == 0
    guess[0, 5] = -1
    expected = np.linalg.norm(points[truth.argmin()] - points[5])
    assert metrics.earliest_site_mm(truth, guess, points) == pytest.approx(expected)


def test_voltage_scores_see_their_own_kind_of_error():
    onset = np.random.default_rng(2).uniform(20, 120, (4, 75))
    truth = traces(onset)
    late, long = traces(onset + 2), traces(onset, apd_ms=270)
    assert metrics.upstroke_error_ms(truth, late) == pytest.approx(2)
    assert metrics.upstroke_error_ms(truth, long) == pytest.approx(0, abs=1e-6)
    assert metrics.apd90_error_ms(truth, long) == pytest.approx(20, abs=1)
    assert metrics.plateau_error_mv(truth, late) == 0
    assert metrics.r2(truth, truth) == 1
    assert metrics.r2(truth, np.full_like(truth, truth.mean())) == pytest.approx(0, abs=1e-9)
    assert metrics.mae_mv(truth, truth + 5) == pytest.approx(5) == metrics.rmse_mv(truth, truth + 5)


def test_coverage_of_a_laplace_spread():
    error = np.random.default_rng(3).laplace(scale=4, size=(200, 75))
    assert metrics.coverage(np.zeros_like(error), error, np.full_like(error, 4.0)) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("prediction, words", [
    (np.zeros((1, 75)), r"\(3, 75\) and prediction \(1, 75\)"), (np.zeros(75), r"prediction \(75,\)"),
    (np.zeros((3, 2, 75)), r"prediction \(3, 2, 75\)"), (np.zeros((0, 75)), r"\(0, 75\)"),
    (np.full((3, 75), np.nan), "NaN, infinity"), (np.full((3, 75), -np.inf), "NaN, infinity"),
])
def test_nothing_is_broadcast_and_nothing_missing_is_scored(prediction, words):
    maps, voltages = np.zeros((3, 75)), np.zeros((3, 75, 500))
    for truth, scores in ((maps, metrics.ACTIVATION), (voltages, metrics.VOLTAGE)):
        for score in scores.values():
            with pytest.raises(DataError, match=words if truth is maps else "prediction"):
                score(truth, prediction)
    with pytest.raises(DataError, match=r"\(75, 75\)"):
        metrics.mae_ms(np.zeros(75), np.zeros((75, 75)))
    with pytest.raises(DataError, match=r"\(75,\)"):
        metrics.coverage(maps, maps, np.ones(75))
    with pytest.raises(DataError, match="1 groups for 3 cases"):
        metrics.by_group(metrics.mae_ms, maps, maps, ["a"])


@pytest.mark.parametrize("truth", [[0, 1, 2], [0, -1, 1], [0, 0.5, 1], [0, np.nan, 1], ["N", "V", "N"]])
@pytest.mark.parametrize("prediction", [np.eye(2)[[0, 1, 1]], np.array([0.1, 0.9, 0.8])])
def test_the_truth_of_classes_is_class_numbers(truth, prediction):
    for name, score in metrics.classification("NV").items():
        if truth != [0, 1, 2] or prediction.ndim == 2 or name in ("AUROC", "AUPRC", "Brier", "calibration error"):
            with pytest.raises(DataError, match="class numbers"):
                score(truth, prediction)


@pytest.mark.parametrize("score, prediction, words", [
    *((score, [[3.0, -2], [0, 1], [0, 1]], "probabilities between 0 and 1, found -2 to 3")
      for score in (metrics.brier, metrics.calibration_error)),
    (metrics.accuracy, [[1], [1], [1]], "one column"), (metrics.accuracy, [0, 1, -1], "holds -1"),
    (metrics.accuracy, [0.2, 0.7], "of the same cases"), (metrics.auroc, [0, 1, 0], "look like class numbers")])
def test_predictions_of_classes_that_have_no_score_are_refused(score, prediction, words):
    with pytest.raises(DataError, match=words):
        score([0, 1, 1], prediction)


def test_labels_and_scores_of_one_class_are_taken_for_what_they_are():
    truth, chance = np.array([0, 1, 1, 0]), np.array([0.2, 0.7, 0.4, 0.1])
    assert metrics.accuracy(truth, np.array([0, 1, 0, 0])) == metrics.accuracy(truth, chance) == 0.75
    assert metrics.auroc(truth, chance) == metrics.auroc(truth, np.column_stack([1 - chance, chance])) == 1
    assert metrics.bootstrap({"AUROC": metrics.auroc}, [0, 1, 1], [0.1, 0.9, 0.8])["AUROC"].value == 1


# ---- the bootstrap ----

def made_hearts(groups, seed, cases=8, skewed=False):
    """Errors (rows, 10) of some hearts and the heart of each row: each has its own size, about 4."""
    rng = np.random.default_rng(seed)
    size = 4 * rng.lognormal(0, 0.4, groups) if skewed else rng.normal(4, 1, groups)
    hearts = np.arange(groups).repeat(cases)
    return rng.laplace(0, np.abs(size)[hearts, None], (len(hearts), 10)), hearts


@pytest.mark.parametrize("scores, make", [
    (metrics.ACTIVATION, lambda rng: (rng.uniform(10, 90, (30, 75)), rng.normal(0, 5, (30, 75)))),
    (metrics.VOLTAGE, lambda rng: (traces(rng.uniform(20, 90, (30, 4))), rng.normal(0, 2, (30, 4, 500)))),
])
def test_it_is_what_a_plain_loop_gives(scores, make):
    rng = np.random.default_rng(0)
    truth, error = make(rng)
    prediction, hearts = truth + error, rng.permutation(np.repeat(list("abcdef"), [3, 4, 5, 5, 6, 7]))
    found = metrics.bootstrap(scores, truth, prediction, hearts, draws=100)
    members, weights = metrics._draw(hearts, 100, 0)
    for name, score in scores.items():
        if score is metrics.missing:
            continue
        rows = [np.concatenate([np.tile(members[g], times) for g, times in enumerate(world)]) for world in weights]
        drawn = np.array([score(truth[some], prediction[some]) for some in rows])
        value, on_logarithm = score(truth, prediction), getattr(score, "limits", (0, np.inf)) == (0, np.inf)
        scale = np.log if on_logarithm else np.asarray
        half = stats.t.ppf(0.95, 5) * scale(drawn).std(ddof=1) * np.sqrt(6 / 5)
        low, high = scale(value) - half, scale(value) + half
        further = (1.5 if name.startswith("RMSE") else 1) * half ** 2
        expected = low, (high + further if on_logarithm else min(1, high))
        assert found[name].value == pytest.approx(value)
        assert scale(found[name][1:]) == pytest.approx(expected, rel=1e-6), name


def test_statistics_of_all_rows_are_not_averages_of_groups():
    """R2 of hearts of different level is near 1 although each heart's own is poor: the interval is around the first."""
    rng = np.random.default_rng(0)
    level = np.repeat(np.arange(0.0, 800, 100), 5)[:, None, None]
    truth = level + rng.normal(0, 1, (40, 2, 50))
    interval = metrics.bootstrap({"R2": metrics.r2}, truth, level + 0 * truth, np.repeat(range(8), 5))["R2"]
    assert interval.value > 0.99 and interval.low > 0.9


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("groups", [6, 20])
def test_the_interval_covers_what_it_says(groups, skewed):
    """Each heart errs by its own size; skewed: a few of them err much more than the rest."""
    size = 4 * np.exp(0.08) if skewed else 4.0  # the mean over hearts
    square = 16 * np.exp(0.32) if skewed else 17.0  # of its square
    expected = {"MAE": size, "RMSE": np.sqrt(2 * square)}  # of Laplace errors
    scores, held = {"MAE": metrics.mae_ms, "RMSE": metrics.rmse_ms}, {"MAE": 0, "RMSE": 0}
    for seed in range(1000):
        truth, hearts = made_hearts(groups, seed, skewed=skewed)
        for name, found in metrics.bootstrap(scores, truth, 0 * truth, hearts, draws=200, seed=seed).items():
            held[name] += found.low <= expected[name] <= found.high
    assert all(860 <= times <= 940 for times in held.values()), held  # 87 to 93 %, and what chance does to 1000 worlds


@pytest.mark.parametrize("groups", [6, 20])
def test_the_interval_of_a_share_covers_what_it_says(groups):
    """Patients are healthy or not, and each is recognised in its own share of the beats, most of them in nearly all."""
    def found_in(patients, rng):
        sick = rng.permutation(np.arange(patients) % 3 > 0).astype(int).repeat(50)
        share = special.expit(rng.normal(2, 1, patients)).repeat(50)
        return sick, np.eye(2)[np.where(rng.random(len(share)) < share, sick, 1 - sick)]
    expected, held = metrics.balanced_accuracy(*found_in(6000, np.random.default_rng(1))), 0
    for seed in range(600):
        truth, called = found_in(groups, np.random.default_rng([groups, seed]))
        found = metrics.bootstrap({"": metrics.balanced_accuracy}, truth, called, np.arange(groups).repeat(50),
                                  draws=200)[""]
        held += found.low <= expected <= found.high
    assert 0.855 <= held / 600 <= 0.945, held / 600  # 87 to 93 %, and what chance does to 600 worlds


@pytest.mark.parametrize("groups", [6, 20])
def test_equal_predictions_are_rarely_called_different_and_unequal_ones_are(groups):
    """Of two equally good predictions each is better at other hearts."""
    equal, unequal = [], []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        error, hearts = made_hearts(groups, seed, cases=6, skewed=True)
        truth = rng.uniform(20, 90, error.shape)
        one, other = (truth + error * rng.choice([-1, 1], error.shape) * rng.lognormal(0, 0.3, groups)[hearts, None]
                      for _ in range(2))
        equal.append(metrics.compare(metrics.mae_ms, truth, one, other, hearts, draws=100, seed=seed).p)
        if seed < 100:
            worse = truth + 2.5 * (other - truth)
            unequal.append(metrics.compare(metrics.mae_ms, truth, one, worse, hearts, draws=100).p)
    assert np.mean(np.array(equal) < 0.05) <= 0.06 and np.mean(np.array(unequal) < 0.05) > 0.9


def test_patients_give_a_wider_interval_than_rows_and_one_patient_gives_none():
    patient = np.repeat(np.arange(20), 50)
    truth, prediction = np.zeros(1000, int), np.eye(2)[(patient < 4).astype(int)]  # four of them all wrong
    rows, people, again, alone = (metrics.bootstrap({"": metrics.accuracy}, truth, prediction, groups)[""]
                                  for groups in (None, patient, patient, np.zeros(1000)))
    assert people.high - people.low > 4 * (rows.high - rows.low) and rows.low < 0.8 < rows.high
    assert people == again, "repeatable"
    assert alone.value == 0.8 and np.isnan(alone.low)
    with pytest.raises(DataError, match="3 groups for 1000 cases"):
        metrics.bootstrap(metrics.CLASSIFICATION, truth, prediction, [1, 2, 3])
    maps = np.zeros((4, 75))
    assert np.isnan(metrics.compare(metrics.mae_ms, maps, maps + 1, maps + 9, list("aaaa")).p)
    assert metrics.compare(metrics.mae_ms, maps, maps + 1, maps + 1, list("aabb")).p == 1


def test_a_table_has_a_row_a_score():
    table = metrics.bootstrap_table(metrics.classification("NSVFQ"), *made_scores(7), np.arange(200) // 10)
    assert list(table.columns) == ["score", "from", "to"] and {"macro-F1", "sensitivity S"} <= set(table.index)
    assert (table["from"] <= table["score"]).all() and (table["score"] <= table["to"]).all() and table["to"].max() <= 1
    maps = metrics.bootstrap_table(metrics.ACTIVATION, np.ones((4, 75)), np.ones((4, 75)), list("aabb"))
    assert "labels left out" not in maps.index


def test_scores_by_group():
    truth, hearts = np.zeros((6, 75)), np.repeat(["v1", "v2", "v3"], 2)
    guess = truth + np.where(hearts == "v2", 9, 1)[:, None]
    assert metrics.by_group(metrics.mae_ms, truth, guess, hearts) == pytest.approx({"v1": 1, "v2": 9, "v3": 1})


def test_error_profile_finds_the_upstroke():
    truth = traces(np.random.default_rng(0).uniform(70, 90, (5, 10)))
    since, error = metrics.error_profile(truth, np.roll(truth, 3, axis=2))
    near = np.abs(since) < 50
    assert abs(since[near][error[near].argmax()] - 1) <= 2 and error[since == 100] == 0
