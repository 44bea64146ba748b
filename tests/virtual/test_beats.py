"""Heartbeat rows against the rules of the real files, and the records they are cut from against physiology."""
import numpy as np
import pytest

from cardiac_ml.files import DataError
from cardiac_ml.leads import to_leads
from cardiac_ml.virtual import rhythm
from cardiac_ml.virtual.beats import (SHARES, aberrant, fused, heart_shapes, infarct, plan_counts, plan_ptb, sequence,
                                      simulate_heartbeats)
from cardiac_ml.virtual.patient import draw_patient, electrodes_mv, simulate_beats
from cardiac_ml.virtual.patterns import normal

FILES = ("mitbih_train", "mitbih_test", "ptbdb_normal", "ptbdb_abnormal")
SMALL = dict(hearts=3, train=400, test=200, ptb=150, progress=False)


@pytest.fixture(scope="module")
def files():
    return simulate_heartbeats(**SMALL, workers=1)


@pytest.fixture(scope="module")
def patient():
    return draw_patient(0, 1, step_mm=3.0)


# ---- the files ----

def test_rows_are_scaled_padded_and_labelled_as_kaggles(files):
    assert tuple(files) == FILES
    for name, (rows, table) in files.items():
        beats, label = rows[:, :187], rows[:, 187]
        assert rows.dtype == np.float32 and rows.shape == (len(table), 188) and np.isfinite(rows).all()
        assert beats.min() == 0
        np.testing.assert_allclose(beats.max(axis=1)[_whole(beats)], 1)
        allowed = {"ptbdb_normal": [0], "ptbdb_abnormal": [1]}.get(name, [0, 1, 2, 3, 4])
        assert sorted(set(label)) == allowed and (np.diff(label) >= 0).all()   # class by class, as in the real files


def _whole(beats):
    return beats[:, -1] == 0   # the others are cut, and their maximum may lie behind the cut


def test_class_shares_are_those_of_the_real_files(files):
    for name, total in (("mitbih_train", 400), ("mitbih_test", 200)):
        counts = np.bincount(files[name][0][:, 187].astype(int))
        assert counts.sum() == total
        np.testing.assert_allclose(counts, SHARES * total, atol=1.5)
    assert len(files["ptbdb_abnormal"][0]) / 150 == pytest.approx(0.72, abs=0.01)


def test_no_heart_is_in_both_mitbih_files_nor_in_both_ptb_files(files):
    for a, b in (FILES[:2], FILES[2:]):
        assert not set(files[a][1].patient) & set(files[b][1].patient)
    assert set().union(*(files[name][1].patient for name in FILES[:2])) == set(range(3))
    assert [files[name][1].patient.nunique() for name in FILES[2:]] == [4, 5]   # three for each heart, half of them ill


def test_table_agrees_with_the_rows(files):
    rows, table = files["mitbih_train"]
    length = 187 - (rows[:, 186::-1] != 0).argmax(axis=1)
    whole = length < 187
    expected = table.rr_after_ms * 0.12   # the row goes on for a fifth of the interval after that
    assert (length[whole] >= expected[whole] - 2).all() and (length[whole] <= expected[whole] * 1.75).all()
    assert (table.rr_before_ms >= 280).all() and (table.kind[rows[:, 187] == 4].isin(
        ["paced", "paced fusion", "unclassifiable"])).all()
    label = rows[:, 187]
    sinus = (table.rhythm == "sinus").to_numpy()
    early = [table.rr_before_ms[(label == c) & sinus].median() for c in (0, 1, 2)]
    assert early[1] < 0.9 * early[0] and early[2] < 0.9 * early[0]   # S and V come too early


def test_same_seed_same_bytes_with_any_number_of_workers(files):
    again = simulate_heartbeats(**SMALL, workers=2)
    other = simulate_heartbeats(**{**SMALL, "train": 60, "test": 30, "ptb": 30}, seed=1, workers=1)
    for name in FILES:
        assert again[name][0].tobytes() == files[name][0].tobytes()
        assert again[name][1].equals(files[name][1])
        assert not np.array_equal(other[name][0][:5], files[name][0][:5])


def test_two_hearts_are_enough_and_fewer_are_an_error():
    files = simulate_heartbeats(hearts=2, train=30, test=30, ptb=20, workers=1, progress=False)
    assert [len(files[name][0]) for name in FILES] == [30, 30, 6, 14]
    for wrong in (dict(hearts=1), dict(hearts=0), dict(patients=1), dict(train=0), dict(ptb=-5)):
        with pytest.raises(DataError, match="are the least"):
            simulate_heartbeats(**{**SMALL, **wrong})


# ---- the plan ----

@pytest.mark.parametrize("hearts", [1, 2, 7, 45])
def test_plan_adds_up_and_few_hearts_have_most_ectopic_beats(hearts):
    counts = plan_counts(12000, hearts, np.random.default_rng(3))
    assert (counts >= 0).all() and counts.sum() == 12000
    np.testing.assert_allclose(counts.sum(axis=0), SHARES * 12000, atol=3)
    if hearts == 45:
        top = np.sort(counts, axis=0)[::-1]
        assert top[:6, 4].sum() > 0.9 * top[:, 4].sum() and top[:10, 2].sum() > 0.4 * top[:, 2].sum()
    assert sorted(sequence(counts[0], np.random.default_rng(0))) == sorted(
        "".join(kind * n for kind, n in zip("NSVFQ", counts[0])))


def test_ptb_rows_come_from_the_right_hearts():
    infarcted = np.array([True, False, True, True])
    assert (plan_ptb(100, infarcted) == [24, 28, 24, 24]).all()
    assert (plan_ptb(100, infarcted, None) == 25).all()


# ---- the shapes ----

def test_ventricular_and_paced_beats_are_wide_and_the_sinus_beat_is_narrow(patient):
    rng = np.random.default_rng(0)
    shapes = heart_shapes(patient, rng)
    while shapes["N"][0].name != "normal":
        shapes = heart_shapes(patient, rng)
    assert 60 < shapes["N"][0].qrs_ms < 120
    assert min(shape.qrs_ms for shape in shapes["V"] + shapes["Q"][:1]) > 1.2 * shapes["N"][0].qrs_ms
    narrow, wide = shapes["N"][0].qrs_ms, max(shape.qrs_ms for shape in shapes["V"])
    assert all(narrow * 0.9 <= shape.qrs_ms <= wide * 1.1 for shape in shapes["F"])
    for group in "NSVFQ":
        for shape in shapes[group]:
            assert np.isfinite(shape.leads_mv).all() and 0.1 < np.abs(shape.leads_mv[0]).max() < 10
            assert 0 <= shape.peak_ms < shape.qrs_ms and (shape.leads_mv[:, [0, -1]] == 0).all()


def test_fusion_starts_both_fronts_and_aberration_delays_the_right_side(patient):
    rng = np.random.default_rng(1)
    base, other = normal(patient.heart, rng), normal(patient.heart, rng)
    both = fused(base, other, 15, "fusion")
    assert len(both.sites) == len(base.sites) + len(other.sites)
    assert min(ms for _, ms in both.sites[:len(base.sites)]) == 15
    late = [new - old for (_, new), (_, old) in zip(aberrant(base, rng).sites, base.sites, strict=True)]
    assert max(late) >= 5 and min(late) == 0


def test_infarct_changes_what_it_says(patient):
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(20):
        beat = infarct(patient.heart, normal(patient.heart, rng), rng)
        seen.add(beat.kind)
        assert (beat.amplitude > 0.3).all() and (beat.amplitude <= 1).all()
        assert np.isinf(beat.slowness).any() == (beat.kind != "acute infarct")
        if beat.kind == "acute infarct":
            assert beat.amplitude.min() < 0.8
    assert seen == {"acute infarct", "evolved infarct", "old infarct"}


def test_infarcts_show_in_some_lead_what_a_cardiologist_looks_for(patient):
    """ST moves by more than 0.1 mV in acute ones, T turns round in evolved ones, Q deepens or R is lost in old ones."""
    rng = np.random.default_rng(3)
    base = normal(patient.heart, rng)
    solved = simulate_beats(patient, [base] + [infarct(patient.heart, base, rng) for _ in range(12)])
    ecg = np.stack([to_leads(electrodes_mv(patient, solved, k)) for k in range(13)])
    healthy, *others = ecg - ecg[..., :1]
    st, wave = slice(120, 150), slice(200, 450)
    assert np.abs(healthy[:, st]).mean(axis=1).max() < 0.05
    largest = np.abs(healthy[:, wave]).argmax(axis=1)[:, None]
    upright = np.sign(np.take_along_axis(healthy[:, wave], largest, 1))
    for mv, beat in zip(others, solved.excitations[1:], strict=True):
        shows = {"acute infarct": np.abs(mv[:, st]).mean(axis=1).max(),
                 "evolved infarct": -(mv[:, wave] * upright).min(),
                 "old infarct": np.abs(mv[:, :100] - healthy[:, :100]).max()}
        assert shows[beat.kind] > 0.1, beat.kind


# ---- the record ----

def _parameters(**changed):
    values = dict(rr_ms=800.0, breathing=0.0, breath_ms=4000.0, wander=0.0, fibrillates=False, pr_ms=160.0, p_mv=0.1,
                  p_premature=(0.1, 150.0), early=0.6, paced_rr_ms=900.0, spike_mv=1.0, noise_mv=0.0, drift_mv=0.0,
                  mains_mv=0.0, high_pass_hz=0.01, low_pass_hz=150.0)
    return rhythm.RhythmParameters(**{**values, **changed})


def _shape(name="normal", height=1.0):
    leads = np.zeros((2, 400))
    leads[0] = height * np.exp(-((np.arange(400) - 30) / 8.0) ** 2 / 2)
    leads[0, [0, -1]] = 0
    return rhythm.Shape(leads, 30.0, 80.0, name)


def test_ventricular_beats_leave_the_sinus_clock_alone_and_atrial_ones_reset_it():
    rng = np.random.default_rng(0)
    rr = np.diff(rhythm.beat_times("NNVNNSNN", _parameters(), rng))
    assert rr[1] < 0.75 * 800 and rr[1] + rr[2] == pytest.approx(1600)   # compensatory pause
    assert rr[4] < 0.75 * 800 and 800 <= rr[5] < 0.6 * 1600             # not compensatory
    assert rr[[0, 3, 6]] == pytest.approx(800)
    paced = np.diff(rhythm.beat_times("QQQQ", _parameters(), rng))
    assert paced == pytest.approx(900, abs=15)
    irregular = np.diff(rhythm.beat_times("N" * 200, _parameters(fibrillates=True), rng))
    assert 0.15 < irregular.std() / irregular.mean() < 0.25 and irregular.min() >= rhythm.SHORTEST_MS


def test_quiet_strip_has_its_beats_where_its_marks_are_and_p_waves_before_them():
    rng = np.random.default_rng(0)
    times = rhythm.beat_times("NNNNN", _parameters(), rng)
    mv, marks = rhythm.strip("NNNNN", [_shape()] * 5, times, _parameters(), rng)
    np.testing.assert_allclose(marks / 0.36, times, atol=12)
    assert (np.abs(mv[np.round(times * 0.36).astype(int)] - 1) < 0.25).all()
    before = [mv[int((t - 220) * 0.36):int((t - 80) * 0.36)].max() for t in times[1:]]
    assert min(before) > 0.05
    without, _ = rhythm.strip("NNNNN", [_shape()] * 5, times, _parameters(p_mv=0.0), rng)
    assert max(without[int((t - 220) * 0.36):int((t - 80) * 0.36)].max() for t in times[1:]) < 0.03


def test_pacemaker_spike_comes_before_the_paced_beat_only():
    parameters, rng = _parameters(p_mv=0.0), np.random.default_rng(0)
    times = rhythm.beat_times("NNQQ", parameters, rng)
    shapes = [_shape()] * 2 + [_shape("paced")] * 2
    with_spike, _ = rhythm.strip("NNQQ", shapes, times, parameters, np.random.default_rng(1))
    without, _ = rhythm.strip("NNQQ", shapes, times, _parameters(p_mv=0.0, spike_mv=0.0), np.random.default_rng(1))
    at = np.flatnonzero(np.abs(with_spike - without) > 0.2) / 0.36
    assert len(at) >= 2 and all(np.abs(t - (times[2:] - 33)).min() < 6 for t in at)


def test_cut_follows_the_published_rule():
    mv = np.sin(np.arange(3000) / 40.0)
    marks = np.array([100, 400, 650, 1600, 1900])
    rows = rhythm.cut_beats(mv, marks)
    assert rows.shape == (3, 187)
    piece = mv[100:400 + 50][::3]   # ends a fifth of 250 after the next mark
    expected = (piece - piece.min()) / (piece.max() - piece.min())
    np.testing.assert_allclose(rows[0, :len(piece)], expected, atol=1e-6)
    assert (rows[0, len(piece):] == 0).all()
    assert rows[1, -1] == 0 and (rows[2, -5:] != 0).all()   # a long interval is cut at 187, not padded


def test_ptb_cut_is_as_long_as_the_heart_is_slow():
    mv = np.sin(np.arange(9000) / 40.0) + 2
    for rr in (250, 300):
        rows = rhythm.cut_windows(mv, np.arange(100, 8000, rr))
        length = 187 - (rows[:, ::-1] != 0).argmax(axis=1)
        assert np.abs(length - 1.2 * rr / 360 * 125).max() <= 2.5


def test_beat_that_nobody_can_name_lies_in_noise():
    rng = np.random.default_rng(0)
    kinds, shapes = "NNNQNNN", [_shape()] * 3 + [_shape("unclassifiable")] + [_shape()] * 3
    times = rhythm.beat_times(kinds.replace("Q", "N"), _parameters(p_mv=0.0), rng)
    mv, marks = rhythm.strip(kinds, shapes, times, _parameters(p_mv=0.0), rng)
    noisy = [np.abs(np.diff(mv[m + 40:m + 120])).mean() for m in marks]
    assert noisy[3] > 10 * max(noisy[1], noisy[5])
