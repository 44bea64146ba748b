from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from tiny import made_record, message

from cardiac_ml import metrics
from cardiac_ml.heartbeats import Heartbeats
from cardiac_ml.new_patients import classifier as patients
from cardiac_ml.new_patients import evaluation
from cardiac_ml.new_patients.features import (SAMPLES, TIMING, beat_features, fibrillation, interval_groups,
                                              mixture_features, qrs_form, regular_beats, rhythm, three_beats)
from cardiac_ml.new_patients.network import fit_network, predict_network
from cardiac_ml.new_patients.records import load_records
from cardiac_ml.new_patients.synthetic import (NOISE, RHYTHMS, mixed, noisy_records, retimed_records, rhythm_of,
                                               synthetic_fusions)
from tools.results import main

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb's use of pandas
SYMBOLS = "+" + "NNNNNVNNANNF" * 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Raw records of three training patients, two test patients and one with paced beats."""
    pytest.importorskip("wfdb", reason="reading raw records needs wfdb")
    place = tmp_path_factory.mktemp("records")
    for seed, name in enumerate(("101", "106", "108", "100", "103", "102")):
        made_record(place, name, SYMBOLS, seed=seed)
    return place


@pytest.fixture(scope="module")
def beats(folder):
    return patients.load_patients(folder, ["101", "106", "108"])


@pytest.fixture
def few_trees(monkeypatch):
    monkeypatch.setitem(patients.BOOSTED, "max_bins", 16)
    for boosted in (patients.CLASS_TREES, patients.TIMING_TREES):
        monkeypatch.setitem(boosted, "max_iter", 4)
    for forest in (patients.CLASS_FOREST, patients.TIMING_FOREST):
        monkeypatch.setitem(forest, "n_estimators", 4)


@pytest.fixture
def one_process():
    """Jobs in this process, where a test has changed what they call."""
    with joblib.parallel_config(backend="sequential"):
        yield


def copied(folder, to, *names):
    to.mkdir()
    for name in names:
        for suffix in (".hea", ".dat", ".atr"):
            (to / (name + suffix)).write_bytes((folder / (name + suffix)).read_bytes())
    return to


def intervals(before_ms):
    after_ms = np.append(before_ms[1:], np.nan)
    return pd.DataFrame({"rr_before_ms": np.asarray(before_ms, float), "rr_after_ms": after_ms})


# Features

def test_rhythm_is_relative_to_the_patients_own():
    slow, fast = (rhythm(intervals(np.r_[[1000] * 20, 600, 1400, [1000] * 20] * scale), np.ones(42, bool))
                  for scale in (1, 0.5))
    for name in ("before_near", "after_before", "before_rest", "before_score", "both", "in_groups"):
        assert np.allclose(slow[name], fast[name], equal_nan=True), name
    assert slow["before_near"][20] == pytest.approx(np.log(0.6)) and slow["before_near"][5] == 0
    assert slow["after_near"][20] == pytest.approx(np.log(1.4)) and np.isnan(slow["after_near"][-1])


def test_early_beats_are_early_where_most_beats_are():
    """Compared with the median, the pause looks late and nothing early; compared with the long intervals, it shows."""
    found = rhythm(intervals([700, 700, 700, 1400] * 30), np.ones(120, bool))
    early, rested = 61, 63
    assert found["before_near"][early] == 0 and found["before_rest"][early] == pytest.approx(np.log(0.5))
    assert found["before_rest"][rested] == 0 and found["below_long"][early] == pytest.approx(np.log(0.5), abs=1e-6)
    assert found["short_share"][early] == pytest.approx(0.75, abs=0.02)


def test_intervals_in_two_groups_are_told_from_irregular_ones():
    random = np.random.default_rng(0)
    irregular = np.log(random.uniform(500, 1000, 200))
    two = np.log(np.where(random.random(200) < 0.5, 500, 1000)) + random.normal(0, 0.03, 200)
    clear = [np.median(interval_groups(x, x)["groups_clear"]) for x in (two, irregular)]
    assert clear[0] > 2 * clear[1]


def test_fibrillation_is_irregular_without_a_p_wave():
    """Neither is premature beats in pairs or threes, nor sinus rhythm that breathes."""
    random, time = np.random.default_rng(0), np.arange(200)
    other = 700 * np.exp(random.normal(0, 0.02, 200))
    rhythms = {"fibrillation": random.uniform(450, 1100, 200), "bigeminy": np.where(time % 2, 500, 1000) + other - 700,
               "trigeminy": np.where(time % 3, 900, 500) + other - 700, "sinus": other * np.exp(0.1 * np.sin(time / 3))}
    found = {name: np.median(fibrillation(pd.Series(np.log(ms)), np.full(200, 0.1))) for name, ms in rhythms.items()}
    assert found == {"fibrillation": 1, "bigeminy": 0, "trigeminy": 0, "sinus": 0}
    assert not fibrillation(pd.Series(np.log(rhythms["fibrillation"])), np.full(200, 0.9)).any(), "P waves, all alike"


def test_early_beats_and_those_before_them_are_not_regular():
    regular = regular_beats(intervals([1000] * 20 + [600, 1400] + [1000] * 20))
    assert not regular[[19, 20, 21]].any() and regular[:19].all()
    assert regular_beats(intervals([100, 900] * 20)).all(), "where hardly any beat is regular all have to do"


def test_every_beat_has_features_and_units_do_not_matter(beats):
    table = beat_features(beats)
    assert len(table) == len(beats) and table.dtypes.eq(np.float32).all() and table.columns.is_unique
    assert np.isfinite(table.drop(index=np.flatnonzero(table.isna().any(axis=1)))).all(axis=None)
    assert table.isna().to_numpy().mean() < 0.3
    twice = beat_features(replace(beats, window_mv=2 * beats.window_mv))
    assert np.allclose(table["dominant_correlation"], twice["dominant_correlation"], atol=0.02)
    assert np.allclose(table["width"], twice["width"], atol=0.05)


def test_labels_of_a_patient_do_not_reach_the_features(beats):
    other = replace(beats, label=np.zeros_like(beats.label), table=beats.table.assign(symbol="N"))
    assert beat_features(beats).equals(beat_features(other))


def test_one_patient_does_not_change_the_features_of_another(beats):
    alone = beats[beats.table["patient"].to_numpy() == 106]
    together = beat_features(beats)[beats.table["patient"].to_numpy() == 106].reset_index(drop=True)
    assert beat_features(alone).reset_index(drop=True).equals(together)


def test_a_fusion_beat_has_a_share_of_both_kinds():
    time_ms = np.arange(-400, 600, 1000 / 360)
    own = np.exp(-(time_ms / 15) ** 2)
    other = np.exp(-((time_ms - 30) / 60) ** 2) - np.exp(-((time_ms + 60) / 30) ** 2)
    signal = np.concatenate([[own] * 30, [other] * 10, [(own + other) / 2]])
    found = mixture_features([(signal, own)], time_ms)
    assert found["dominant_share"][[0, 30, 40]] == pytest.approx([1, 0, 0.5], abs=0.01)
    assert found["second_share"][[0, 30, 40]] == pytest.approx([0, 1, 0.5], abs=0.01)
    assert found["mixture_rest"][40] < 0.01 and found["unlike_share"][0] == pytest.approx(10 / 41, abs=0.03)
    plain = mixture_features([(signal[:30], own)], time_ms)
    assert np.isnan(plain["second_share"]).all() and (plain["unlike_share"] == 0).all()


def test_a_wide_complex_is_wider():
    time_ms = np.arange(-150, 200, 1000 / 360)
    form = qrs_form(np.array([np.exp(-(time_ms / width) ** 2) for width in (12, 50)]))
    assert form["width"][1] > 3 * form["width"][0] and form["steep"][0] > form["steep"][1]


def test_too_narrow_windows_are_refused(folder):
    narrow = load_records(folder, ["101"])
    assert "before_ms=400" in message(beat_features, narrow)


# Fusion beats and weights

def test_synthetic_fusion_beats_lie_between_the_two(beats):
    time_ms = np.arange(-400, 600, 1000 / 360)
    normal, other = np.zeros((50, 2, len(time_ms))), np.zeros((50, 2, len(time_ms)))
    normal[:, :, time_ms < -200] = 0.2  # its P wave
    other[:, :, np.abs(time_ms) < 60] = 1
    made = mixed(normal, other, time_ms, np.random.default_rng(0))
    assert np.array_equal(made[:, :, time_ms < -200], normal[:, :, time_ms < -200].astype(np.float32))
    middle = made[:, 0, np.abs(time_ms) < 20]
    assert 0.25 <= middle.min() < 0.35 and 0.65 < middle.max() <= 0.75
    fusions, rows = synthetic_fusions(beats, seed=1)
    assert (fusions.label[rows] == patients.FUSION).all() and len(rows) == 3 * (len(beats) // 3 // 25)
    assert set(fusions.table["patient"].iloc[rows]) == {101, 106, 108}
    assert np.array_equal(np.delete(fusions.window_mv, rows, 0), np.delete(beats.window_mv, rows, 0))


def test_no_fusion_beats_without_ventricular_ones(beats):
    assert len(synthetic_fusions(beats[beats.label != patients.VENTRICULAR])[1]) == 0


def test_noise_comes_in_bursts_of_every_channel(beats):
    made = noisy_records(beats, seed=2)
    assert np.array_equal(made.window_mv, noisy_records(beats, seed=2).window_mv) and made.label is beats.label
    for rows in beats.table.groupby("record").indices.values():
        noise = (made.window_mv - beats.window_mv)[rows].std(axis=2) / np.ptp(beats.window_mv[rows], axis=2)
        assert (noise.max(axis=0) > 3 * noise.min(axis=0)).all() and 0 < noise.min() and noise.max() < 4 * NOISE


def test_synthetic_beats_of_test_patients_are_not_learned_from(beats, few_trees, monkeypatch):
    seen = []
    monkeypatch.setattr(patients, "row_weights",
                        lambda label, record: seen.extend(name.split()[0] for name in record) or label + 1.0)
    table = patients.beat_table(beats)
    patients.fit_trees(table.rows(table.patient != 106), patients.synthetic_table(beats))
    assert set(seen) == {"101", "108"}


# Records in another rhythm

def test_each_rhythm_is_what_its_name_says():
    for seed in range(5):
        made = {kind: rhythm_of(kind, 400, np.random.default_rng(seed)) for kind in RHYTHMS}
        share = {kind: early.mean() for kind, (_, early) in made.items()}
        assert share["mostly early"] > 0.6 and 0.3 < share["bigeminy"] < 0.6 and 0 < share["single"] < 0.1
        assert not sum(share[kind] for kind in ("fibrillation", "flutter", "sinus arrhythmia", "pauses"))
        for kind in ("mostly early", "bigeminy"):
            interval_ms, early = made[kind]
            assert np.median(interval_ms[early]) < 0.85 * np.median(interval_ms[~early])
        jump = {kind: np.median(np.abs(np.diff(np.log(made[kind][0])))) for kind in made}
        assert jump["fibrillation"] > 2 * jump["pauses"] and min(ms.min() for ms, _ in made.values()) > 250


def test_retimed_records_keep_the_qrs_and_change_the_p_wave(beats):
    time_ms = beats.window_time_ms
    wave = np.exp(-(time_ms / 10) ** 2) + 0.2 * np.exp(-((time_ms + 150) / 20) ** 2)
    source = replace(beats, window_mv=np.broadcast_to(wave.astype(np.float32), beats.window_mv.shape).copy())
    made = retimed_records(source, seed=3, kinds=("bigeminy", "fibrillation"), beats=80)
    assert len(made) == 3 * 2 * 80 and set(made.table["record"]) >= {"101 bigeminy", "108 fibrillation"}
    regular = (made.table["kind"] == "bigeminy").to_numpy()
    early = made.label == patients.EARLY
    assert np.abs(made.window_mv[:, 0, time_ms == 0] - 1).max() < 0.3, "the R peak is where its time is zero"
    p = made.window_mv[:, 0, np.abs(time_ms + 150).argmin()]
    assert np.median(p[regular & ~early]) == pytest.approx(0.2, abs=0.03)
    assert not early[~regular].any() and np.median(p[~regular]) < 0.1
    assert np.array_equal(made.window_mv, retimed_records(source, 3, ("bigeminy", "fibrillation"), 80).window_mv)
    again = retimed_records(source, seed=4, kinds=("bigeminy",), beats=80)
    assert not np.array_equal(again.table["rr_after_ms"], made.table["rr_after_ms"][regular])


def test_weights_raise_rare_classes_and_rare_patients():
    label, patient = np.repeat([0, 1, 1], [100, 4, 1]), np.repeat([1, 1, 2], [100, 4, 1])
    weight = patients.row_weights(label, patient)
    assert weight[label == 0].sum() / weight[label == 1].sum() == pytest.approx(np.sqrt(100 / 5))
    assert weight[-1] / weight[-2] == pytest.approx(2) and weight.mean() == pytest.approx(1)


def test_thinning_keeps_at_most_so_many_of_a_class_and_patient_and_no_q():
    label, patient = np.repeat([0, 1, 4], [50, 5, 9]), np.arange(64) % 2
    rows = patients.thinned(label, patient, most=10)
    assert np.bincount(label[rows]).tolist() == [20, 5] and (np.diff(rows) > 0).all()


class Fixed:
    """Trees that answer what they are told."""

    def __init__(self, answer):
        self.answer, self.classes_ = np.array(answer, float), np.arange(len(answer[0]))

    def predict_proba(self, features):
        return self.answer


def table_of(label, record, fibrillation=0):
    rows = len(label)
    return patients.BeatTable(*[np.zeros((rows, 1))] * 2, label, record, record, np.full(rows, fibrillation),
                              np.zeros((rows, 480)))


def test_fusion_beats_are_believed_where_ventricular_ones_are():
    classes = Fixed([[0.4, 0, 0.0, 0.6]] * 3 + [[0.4, 0, 0, 0.6], [0, 0, 1, 0], [0, 0, 1, 0]])
    answer = patients.predict_trees(patients.Trees(classes, Fixed([[1, 0]] * 6)),
                                    table_of(np.zeros(6), np.repeat([1, 2], 3)))
    assert (answer[:3, patients.FUSION] == 0).all() and answer[3, patients.FUSION] == pytest.approx(0.6)


def test_time_says_which_of_normal_and_early():
    model = patients.Trees(Fixed([[0.8, 0, 0.2, 0]] * 2), Fixed([[0.25, 0.75], [1, 0]]))
    answer = patients.predict_trees(model, table_of(np.zeros(2), np.array([1, 1])))
    assert answer == pytest.approx(np.array([[0.2, 0.6, 0.2, 0], [0.8, 0, 0.2, 0]]))
    answer = patients.predict_trees(model, table_of(np.zeros(2), np.array([1, 1]), fibrillation=1))
    odds = 3 * patients.EARLY_ODDS
    assert answer[0, patients.EARLY] == pytest.approx(0.8 * odds / (1 + odds)), "no atrial beat is premature there"


# Who is learned from, who is tested

def test_training_leaves_out_test_patients_and_paced_records(folder):
    assert patients.training_names(folder) == ["101", "106", "108"]
    assert patients.test_names(folder, ["101", "106", "108"]) == ["100", "103"], "one folder of both halves will do"


def test_impossible_choices_are_refused(folder, tmp_path):
    paced = copied(folder, tmp_path / "paced", "102", "100")
    assert "only paced records or test patients" in message(patients.training_names, paced)
    assert "trained on too" in message(patients.test_names, copied(folder, tmp_path / "same", "101", "106"), ["101"])
    assert "no record to test on" in message(patients.test_names, copied(folder, tmp_path / "p", "102"), ["101"])
    (tmp_path / "empty").mkdir()
    assert "has no records" in message(patients.training_names, tmp_path / "empty")
    (copied(folder, tmp_path / "cut", "101") / "101.atr").unlink()
    assert "101.atr is missing" in message(patients.load_patients, tmp_path / "cut", ["101"])


def test_a_record_of_one_channel_is_named(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    made = made_record(tmp_path, "101")
    wfdb.wrsamp("101", fs=360, units=["mV"], sig_name=["MLII"], d_signal=made["signal"][:, :1], fmt=["212"],
                adc_gain=[200], baseline=[1024], write_dir=str(tmp_path))
    assert "record 101 has 1: move its files" in message(
        patients.load_patients, tmp_path, ["101"])


def test_one_patient_or_one_class_is_too_little(beats, few_trees):
    alone = beats[beats.table["patient"].to_numpy() == 106]
    assert "one person only" in message(patients.folds_of_patients, alone)
    table = patients.beat_table(beats)
    only_n = table.rows(table.label == 0)
    assert "too few of the classes" in message(patients.fit_trees, only_n, table.rows(slice(0)))


def test_folds_hold_out_every_patient_once_and_a_person_whole():
    patient = np.repeat([201, 202, 203, 205, 207, 208], 20)
    table = pd.DataFrame({"patient": patient})
    ds = Heartbeats(np.zeros((120, 187)), np.tile([0, 1], 60), tuple("NSVFQ"), table, "made")
    folds = [set(fold) for fold in patients.folds_of_patients(ds)]
    assert sum(map(len, folds)) == 6 == len(set.union(*folds)), "no patient twice, none left out"
    assert {201, 202} in folds, "two records of one man"


def test_every_beat_is_answered_by_a_model_of_other_patients(beats, one_process):
    table = patients.beat_table(beats)

    def predict(trained_on, held_out):
        assert set(held_out.patient) <= {101, 106, 108} - trained_on
        return np.tile([0.0, 0, 0, 1], (len(held_out.label), 1))
    folds = [patients.folds_of_patients(beats, seed) for seed in range(2)]
    assert all(sorted(np.concatenate(parts)) == [101, 106, 108] for parts in folds)
    found = evaluation.held_out_answers(lambda train, synthetic, seed: set(train.patient), predict, table, [None] * 2,
                                        (table, table.rows(slice(50))), folds)
    assert [[answer.shape for answer in answers] for answers in found] == [[(len(beats), 4), (50, 4)]] * 2
    assert all((answer[:, 3] == 1).all() for answers in found for answer in answers)


# The network

def test_the_network_sees_the_beats_on_both_sides(beats):
    seen = three_beats(beats).reshape(len(beats), 3, 2, -1)
    assert np.array_equal(seen[5, 0], seen[4, 1]) and np.array_equal(seen[5, 2], seen[6, 1])
    assert np.allclose(three_beats(replace(beats, window_mv=3 * beats.window_mv)), three_beats(beats), atol=0.2)


def test_the_network_learns_that_early_beats_come_early(beats):
    table = patients.beat_table(beats)
    train, test = (table.rows(rows & (table.label < 2)) for rows in (table.patient != 108, table.patient == 108))
    early = [name for name in beat_features(beats) if name.startswith(TIMING)].index(TIMING + "before_near")
    for part in (train, test):
        part.inputs[:] = 0  # nothing else to see
        part.inputs[:, 6 * SAMPLES + early] = np.where(part.label == 1, -0.5, 0)
    synthetic = train.rows(slice(0))
    answer = predict_network(fit_network(train, synthetic, epochs=60), test)
    assert answer.sum(axis=1) == pytest.approx(np.ones(len(answer)))
    assert metrics.balanced_accuracy(test.label, answer) > 0.9


# The report

def test_the_report_counts_what_the_answers_say():
    truth, patient = np.array([0, 0, 1, 2]), np.array([1, 1, 2, 2])
    answer = np.eye(4)[[0, 1, 1, 2]]
    stress = table_of(np.array([1, 1, 0]), np.array(["1 bigeminy", "1 bigeminy", "2 pauses"]))
    test = table_of(truth, patient)
    text = evaluation.as_markdown("How.", test, stress, {"model": ([answer] * 2, [np.eye(4)[[1, 0, 0]]] * 2, 3.2)})
    assert f"| model | {metrics.macro_f1(truth, answer):.3f} ± 0.000 | 2 |" in text and "| 3 |" in text
    assert "| N | 0.500 (" in text and ") | 0.667 (" in text and "| 1 | 1 | 0 | 0 |" in text
    assert "| F | none | none | none | 0 | 0 | 0 | 0 |" in text
    assert "N 2 beats of 1 patients (100 % of record 1)" in text and "F 0 beats;" not in text
    assert "| bigeminy | 0.500 | none |" in text and "| pauses | none | 1.000 |" in text


def test_intervals_of_a_class_are_over_patients():
    truth, patient = np.tile([0, 1], 40), np.repeat(np.arange(8), 10)
    answer = np.eye(4)[np.where(patient < 4, truth, 0)]  # of four patients no early beat is found
    line = evaluation.class_lines(table_of(truth, patient), [answer])[3]
    low, high = map(float, line.split("(")[1].split(")")[0].split(" to "))
    assert line.startswith("| S | 0.500") and low < 0.3 and high > 0.7
    found = metrics.f1_scores(truth, answer)
    assert metrics.of_class("F1", 1)(truth, answer) == pytest.approx(found[1])


def test_the_command_cross_validates_and_tests(folder, tmp_path, capsys, few_trees, one_process, monkeypatch):
    monkeypatch.setattr(evaluation, "fit_network", lambda train, synthetic, seed: None)
    monkeypatch.setattr(evaluation, "predict_network", lambda model, table: np.eye(4)[np.zeros(len(table.label), int)])
    call = ["--task", "2", "--split", "patients", "--seeds", "1", "--records", str(folder)]
    main([*call, "--out", str(tmp_path / "r.md")])
    shown = capsys.readouterr().out
    assert "Cross-validation over 3 whole records" in shown and (tmp_path / "r.md").read_text() in shown
    main([*call, "--test-records", str(folder)])
    assert "Learned from 3 records, tested on 2 others: 100, 103." in capsys.readouterr().out


@pytest.mark.parametrize("call, words", [
    (["--task", "2"], "needs --records"), (["--task", "3"], "is for --task 2"), ([], "is for --task 2"),
    (["--task", "2", "--records", "absent"], "is not a folder"),
    (["--task", "2", "--records", ".", "--seeds", "0"], "1 or more"),
])
def test_a_wrong_call_says_what_to_do(call, words):
    assert words in message(main, ["--split", "patients", *call])


# Real records

def test_fusion_beats_of_a_real_patient_are_found_without_having_seen_one(real_data):
    """Nearly all fusion beats are of record 208: those made for other patients must teach what they look like."""
    pytest.importorskip("wfdb")
    folder = real_data / "mitbih_records"
    assert len(patients.training_names(folder)) == 22
    learned = patients.load_patients(folder, ["106", "119", "201", "223"])
    tested = patients.load_patients(folder, ["116", "208"])
    model = patients.fit_trees(patients.beat_table(learned), patients.synthetic_table(learned))
    answer = patients.predict_trees(model, patients.beat_table(tested))
    scored = tested.label < len(patients.CLASSES)
    found = metrics.OF_CLASS["sensitivity"](metrics.confusion(tested.label[scored], answer[scored]))
    assert found[patients.NORMAL] > 0.85 and found[patients.VENTRICULAR] > 0.85 and found[patients.FUSION] > 0.4
