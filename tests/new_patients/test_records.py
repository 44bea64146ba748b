import argparse
import re
import sys

import numpy as np
import pandas as pd
import pytest
from tiny import made_heartbeat_files, made_record, message

from cardiac_ml.heartbeats import DS1, concatenate, load_mitbih, split_by_patient
from cardiac_ml.new_patients.records import (Record, add_commands, beat_intervals, find_records, interval_features,
                                             kaggle_beat, load_records, read_record, rebuild_heartbeats, record_beats)

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb's use of pandas


@pytest.fixture
def folder(tmp_path):
    """Raw records of two training patients, one test patient and one with paced beats."""
    pytest.importorskip("wfdb", reason="reading raw records needs wfdb")
    for seed, name in enumerate(("101", "106", "100", "102")):
        made_record(tmp_path / "records", name, seed=seed)
    return tmp_path / "records"


def without_files(symbols, at, samples=4000):
    signal = np.random.default_rng(0).integers(900, 1200, (samples, 2))
    return Record(101, signal, ["MLII", "V1"], np.array([200.0, 200.0]), np.array([1024, 1024]), np.array(at),
                  np.array(list(symbols)))


# Beats

def test_a_beat_runs_a_fifth_into_the_interval_after_and_is_scaled_before_it_is_cut():
    beat = kaggle_beat(np.arange(1000), 100, 250, 354)  # 100 .. 250 + int(20.8)
    assert np.array_equal(beat[:57], np.linspace(0, 1, 57, dtype=np.float32)) and not beat[57:].any()
    long = kaggle_beat(np.arange(1000), 0, 900, 901)
    assert len(beat) == len(long) == 187 and beat.dtype == np.float32
    assert long[186] == np.float32(186 * 3 / 897) and long.max() < 1


def test_a_flat_beat_is_left_out_and_said():
    record = without_files("NNNN", [300, 600, 900, 1200])
    record.signal[590:1000] = 1024
    with pytest.warns(UserWarning, match="Record 101: the signal is flat at sample 600"):
        rows, table = record_beats(record)
    assert len(rows) == len(table) == 2 and np.isfinite(rows).all()


def test_other_annotations_end_a_beat_but_are_none():
    rows, table = record_beats(without_files("+N~VN", [10, 300, 500, 700, 1000]))
    assert list(table["symbol"]) == ["N", "V"] and list(table["sample"]) == [300, 700], "the last one drops out"
    assert list(rows[:, 187]) == [0, 2]
    assert np.flatnonzero(rows[0, :187])[-1] < (200 + 40) / 3 + 1, "cut at the annotation at 500"


def test_intervals_are_between_beats_only_and_their_local_mean_forgets_and_does_not_look_ahead():
    table = beat_intervals(without_files("+N~VN", [10, 300, 500, 660, 1020]))
    assert list(table.index) == [1, 3, 4] and table["rr_patient_ms"].eq(1000).all()
    assert np.array_equal(table["rr_before_ms"], [np.nan, 1000, 1000], equal_nan=True)
    assert np.array_equal(table["rr_after_ms"], [1000, 1000, np.nan], equal_nan=True)
    local_ms = beat_intervals(without_files("N" * 17, 100 + np.cumsum([360] * 5 + [180] * 12)))["rr_local_ms"]
    assert list(local_ms[1:6]) == [1000] * 4 + [(4 * 1000 + 500) / 5] and local_ms.iloc[-1] == 500


def test_interval_features_are_zero_for_a_regular_beat_and_for_an_unknown_one():
    table = pd.DataFrame({"patient": 1, "rr_before_ms": [np.nan, 800, 400, 800, 0],
                          "rr_after_ms": [800, 800, 800, np.nan, 1], "rr_local_ms": 800.0, "rr_patient_ms": 800.0})
    features = interval_features(table)
    assert features.shape == (5, 6) and features.dtype == np.float32 and np.isfinite(features).all()
    assert not features[[0, 1, 3]].any()
    assert features[2] == pytest.approx(np.log([0.5, 1, 0.5, 0.5, 1, 1]), abs=1e-6)
    few = interval_features(table[["patient", "rr_before_ms", "rr_after_ms"]].iloc[1:3])  # of virtual beats
    assert few[:, 0] == pytest.approx(np.log([800 / 600, 400 / 600]), abs=1e-6)
    assert not interval_features(table[["patient"]]).any() and interval_features(table[["patient"]]).shape == (5, 6)


# Records

def test_records_are_listed_in_order_and_those_that_are_not_there_named(folder, tmp_path):
    assert find_records(folder) == ["100", "101", "102", "106"] and find_records(folder, [106, 100]) == ["106", "100"]
    assert "no header (.hea) of the records 999" in message(find_records, folder, [101, 999])
    assert "physionet.org" in message(find_records, tmp_path / "absent")
    assert "has no records (no .hea files)" in message(find_records, tmp_path)


def test_a_record_is_read_as_it_was_written(tmp_path):
    pytest.importorskip("wfdb")
    made = made_record(tmp_path, "101")
    record = read_record(tmp_path, 101)
    assert np.array_equal(record.signal, made["signal"]) and np.array_equal(record.at, made["at"])
    assert "".join(record.symbol) == "+NNANVNNFNQN~NN" and record.leads == ["MLII", "V1"] and record.name == 101


@pytest.mark.parametrize("suffix, what", [(".dat", "signal"), (".atr", "annotations"), (".hea", "header")])
def test_a_record_that_lacks_a_file_is_named(folder, suffix, what):
    (folder / f"106{suffix}").write_bytes(b"")
    said = message(read_record, folder, 106)
    assert f"Record 106 has no {what}" in said and "is empty" in said
    (folder / f"106{suffix}").unlink()
    assert f"106{suffix} is missing" in message(read_record, folder, 106)


@pytest.mark.parametrize("suffix, damage, words", [
    (".dat", lambda raw: raw[:600] + bytes([raw[600] ^ 1]) + raw[601:],
     "106.dat does not match its header: the checksum of lead .* the header says"),
    (".dat", lambda raw: raw[:3000], "Record 106"), (".hea", lambda raw: b"nothing of use\n", "Record 106"),
    (".hea", lambda raw: raw.replace(b" 360 ", b" 250 "), "says 250 Hz, expected 360"),
])
def test_damaged_records_are_named(folder, suffix, damage, words):
    path = folder / f"106{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    assert re.search(words, message(load_records, folder))


@pytest.mark.parametrize("at, symbols, words", [
    ([100, 200], "+~", "106.atr has 2 annotations and none is a beat"),
    ([100, 200_000], "NN", "after the end of the signal")])
def test_annotations_without_a_beat_or_outside_the_signal_are_named(folder, at, symbols, words):
    pytest.importorskip("wfdb").wrann("106", "atr", np.array(at), list(symbols), write_dir=str(folder))
    assert words in message(read_record, folder, 106)


def test_without_wfdb_the_command_to_install_it_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wfdb", None)
    assert "pip install wfdb" in message(load_records, folder)


# Beats in context

def test_windows_are_the_signal_around_the_r_peak_and_repeat_the_edge_of_the_record(tmp_path):
    pytest.importorskip("wfdb")
    made = made_record(tmp_path, "101")
    ds = load_records(tmp_path, before_ms=100, after_ms=200, channels=2)
    assert ds.window_mv.shape == (len(ds), 2, 108) and ds.window_mv.dtype == np.float32
    start = ds.table["sample"][3] - 36
    assert ds.window_mv[3] == pytest.approx((made["signal"][start:start + 108].T - 1024) / 200, abs=1e-6)
    assert ds.window_time_ms[36] == 0 and ds.window_time_ms[0] == -100
    assert np.abs(ds.window_mv[:, 0].argmax(axis=1) - 36).max() <= 3, "the R peak is where its time is zero"
    wide = load_records(tmp_path, before_ms=3000, after_ms=10).window_mv
    assert (wide[0, 0, :20] == wide[0, 0, 0]).all() and np.isfinite(wide).all()
    assert "channels is 3, but record 101 has 2: move its files" in message(load_records, tmp_path, channels=3)
    assert "Widen the window" in message(load_records, tmp_path, before_ms=0, after_ms=0)


def test_context_carries_beats_intervals_patient_and_leads(folder):
    ds = load_records(folder, [106, 100], channels=2)
    assert ds.classes == ("N", "S", "V", "F", "Q") and list(np.bincount(ds.label)) == [16, 2, 2, 2, 2]
    assert {"patient", "rr_before_ms", "rr_after_ms", "rr_local_ms", "symbol", "sample", "lead_1"} <= set(ds.table)
    assert list(ds.table["patient"].unique()) == [106, 100] and list(ds.table["file"].unique()) == ["106", "100"]
    assert ds.beats.shape == (24, 187) and interval_features(ds.table).shape == (24, 6)
    part = ds[ds.label == 1]
    assert part.window_mv.shape[0] == 2 and part.before_ms == ds.before_ms
    assert "2 MIT-BIH records" in repr(part) and "2 channels of 324 samples, 360 Hz, from -300 ms" in repr(part)
    assert np.array_equal(concatenate(part, part).window_mv, np.concatenate([part.window_mv] * 2))


def test_the_same_lead_comes_first_where_a_record_has_it(tmp_path):
    pytest.importorskip("wfdb")
    made = made_record(tmp_path, "114", leads=("V5", "MLII"))
    ds = load_records(tmp_path, channels=2, before_ms=0, after_ms=100)
    assert list(ds.table[["lead_1", "lead_2"]].iloc[0]) == ["MLII", "V5"]
    at = ds.table["sample"][0]
    assert ds.window_mv[0, 0, 0] == np.float32((made["signal"][at, 1] - 1024) / 200)
    assert ds.beats[0, 0] == 1, "Kaggle's rows are of the first channel, here V5, upright"


# The rebuild

def test_rebuilt_files_load_as_kaggles_with_patients(folder, tmp_path):
    table = rebuild_heartbeats(folder, tmp_path / "out")
    train, test = load_mitbih(tmp_path / "out")
    assert sorted(train.table["patient"].unique()) == [101, 102, 106] and list(test.table["patient"].unique()) == [100]
    assert len(table) == len(train) + len(test) == 48 and "rebuilt" in train.source
    direct = load_records(folder)
    both = concatenate(test, train)  # records in order: 100, then 101, 102, 106
    assert np.array_equal(both.beats, direct.beats) and np.array_equal(both.label, direct.label)
    assert np.allclose(both.table["rr_before_ms"], direct.table["rr_before_ms"], equal_nan=True)
    kept, _, held_out = split_by_patient(both, valid=0)
    assert sorted(both.table["patient"].iloc[kept].unique()) == [101, 106], "102 is paced"
    assert list(both.table["patient"].iloc[held_out].unique()) == [100]


def test_a_rebuild_does_not_write_over_other_files(folder, tmp_path):
    out = tmp_path / "out"
    made_heartbeat_files(out, rows=5)
    before = (out / "mitbih_train.csv").read_bytes()
    assert "already holds mitbih_test.csv, mitbih_train.csv" in message(rebuild_heartbeats, folder, out)
    assert (out / "mitbih_train.csv").read_bytes() == before
    rebuild_heartbeats(folder, out, overwrite=True)
    assert len(load_mitbih(out)[1]) == 12


def test_the_command_rebuilds_and_says_what_it_wrote(folder, tmp_path, capsys):
    def run(*call):
        parser = argparse.ArgumentParser()
        add_commands(parser.add_subparsers())
        arguments = parser.parse_args(["rebuild-heartbeats", str(folder), *call])
        arguments.run(arguments)
        return capsys.readouterr().out

    assert run(str(tmp_path / "a"), "--test", "106", "101").splitlines() == [
        "mitbih_train.csv: 24 beats of 2 records", "mitbih_test.csv: 24 beats of 2 records"]
    (folder / "100.hea").unlink()
    assert "mitbih_test.csv was not written" in run(str(tmp_path / "b"))
    assert "has no mitbih_test.csv" in message(load_mitbih, tmp_path / "b")


# Real records

@pytest.fixture(scope="module")
def real_beats(real_data):
    pytest.importorskip("wfdb")
    return load_records(real_data / "mitbih_records", before_ms=0, after_ms=10)


def rows_of(ds, record, sample) -> np.ndarray:
    place = {key: row for row, key in enumerate(zip(ds.table["record"], ds.table["sample"]))}
    return np.array([place[key] for key in zip(record, sample)])


def test_every_published_test_row_is_rebuilt_bit_for_bit(real_beats, real_data):
    rows = pd.read_csv(real_data / "kaggle_rows.csv")
    rebuilt = real_beats[rows_of(real_beats, rows["record"], rows["sample"])]
    assert len(rows) > 400 and np.array_equal(rebuilt.label, rows["label"])
    assert np.array_equal(rebuilt.beats, rows.iloc[:, 2:189].to_numpy(np.float32))


def test_every_published_training_row_is_rebuilt_with_its_class(real_beats, real_data):
    with np.load(real_data / "mitbih_train_beats.npz") as stored:
        here = np.isin(stored["record"], real_beats.table["record"].unique())
        record, sample, label = (stored[name][here] for name in ("record", "sample", "label"))
        steps = stored["delta"][here].astype(np.int64)
        beats = (np.cumsum(steps, axis=1) / stored["range"][here][:, None]).astype(np.float32)
    rebuilt = real_beats[rows_of(real_beats, record.tolist(), sample.tolist())]
    assert len(label) > 40000 and np.array_equal(rebuilt.beats, beats) and np.array_equal(rebuilt.label, label)


def test_the_training_patients_have_the_beats_that_the_literature_counts(real_beats):
    ds1 = real_beats[np.isin(real_beats.table["patient"], DS1)]
    assert list(np.bincount(ds1.label)) == [45845, 943, 3788, 415, 8], "51021 beats, less the last of each record"
    early = interval_features(ds1.table)[:, 0]
    assert np.median(early[ds1.label == 1]) < -0.15 < np.median(early[ds1.label == 0]), "S beats come early"
