import numpy as np
import pytest

from cardiac_ml import heart_metrics as metrics


def traces(onset_ms, apd_ms=250.0, length=500):
    """Voltages of a simple shape with known upstroke and duration: (...,) -> (..., length)."""
    since = np.arange(length) - np.asarray(onset_ms, dtype=float)[..., None]
    upstroke = np.clip(since / 4 + 0.5, 0, 1)  # a ramp of 4 ms that crosses 0 mV exactly at the onset
    return (-80 + 160 * upstroke) * (since < apd_ms) - 80 * (since >= apd_ms)


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    return rng.uniform(10, 120, (6, 75)), rng.permutation(np.repeat(["v1", "v2", "v3"], 2))


def test_upstroke_is_the_interpolated_crossing():
    onset = np.array([[10.0, 10.25, 99.5], [0.25, 33.3, 400.0]])
    assert metrics.upstroke_ms(traces(onset)) == pytest.approx(onset)


def test_a_point_that_never_activates_is_missing_not_early():
    assert np.isnan(metrics.upstroke_ms(np.full((2, 500), -80.0))).all()


def test_apd90_of_a_known_trace():
    assert metrics.apd90_ms(traces(np.full((3, 2), 40.0), apd_ms=250)) == pytest.approx(250, abs=1)
    assert np.isnan(metrics.apd90_ms(traces(np.full((1, 1), 400.0)))).all()  # still up at the end


def test_a_perfect_map_scores_perfectly_and_a_shift_costs_its_size(maps):
    truth, _ = maps
    assert metrics.mae_ms(truth, truth) == 0 and metrics.map_correlation(truth, truth) == pytest.approx(1)
    for score in (metrics.mae_ms, metrics.rmse_ms, metrics.p95_ms):
        assert score(truth, truth + 3) == pytest.approx(3)
    assert metrics.map_correlation(truth, truth + 3) == pytest.approx(1)


def test_missing_labels_are_left_out_and_counted(maps):
    truth = maps[0].copy()
    guess = truth + 2
    truth[0, :10] = np.nan
    assert metrics.mae_ms(truth, guess) == pytest.approx(2)
    assert metrics.map_correlation(truth, guess) == pytest.approx(1)
    assert metrics.missing(truth, guess) == 10


def test_earliest_site_distance(maps):
    truth = maps[0]
    points = np.random.default_rng(1).uniform(0, 90, (75, 3))
    first, other = truth[0].argmin(), 5
    guess = truth[:1].copy()
    assert metrics.earliest_site_mm(truth[:1], guess, points) == 0
    guess[0, other] = -1
    expected = np.linalg.norm(points[first] - points[other])
    assert metrics.earliest_site_mm(truth[:1], guess, points) == pytest.approx(expected)


def test_by_heart_and_the_worst_one(maps):
    truth, hearts = maps
    guess = truth + np.where(hearts == "v2", 9, 1)[:, None]
    assert metrics.by_heart(metrics.mae_ms, truth, guess, hearts) == pytest.approx({"v1": 1, "v2": 9, "v3": 1})
    assert metrics.worst_heart(metrics.mae_ms, truth, guess, hearts) == ("v2", pytest.approx(9))


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
