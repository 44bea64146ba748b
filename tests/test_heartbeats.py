import gzip
import sys
import threading
import types
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from tiny import flip_a_bit, made_heartbeat_files, made_rows, message, unwritable

from cardiac_ml import files, heartbeats
from cardiac_ml.formats import heartbeat_files
from cardiac_ml.heartbeats import (DS1, DS2, PACED, Heartbeats, concatenate, load_mitbih, load_ptb, simulate,
                                   split_by_patient, split_random)
from cardiac_ml.virtual import kept


@pytest.fixture
def folder(tmp_path):
    made_heartbeat_files(tmp_path / "ecg_dataset")
    return tmp_path / "ecg_dataset"


@pytest.fixture
def no_real_data(tmp_path, monkeypatch, own_cache):
    """A place without real files, a cache of its own, and a quick simulator that counts its calls."""
    monkeypatch.setattr("cardiac_ml.files.ROOT", tmp_path / "root")
    monkeypatch.chdir(tmp_path)

    def simulate_heartbeats(hearts=64, seed=0, workers=None, **rows):
        simulator.calls.append(hearts)
        table = pd.DataFrame({"patient": np.arange(20) % hearts, "rr_before_ms": 800.0})
        return {name: (made_rows(20, labels, seed), table) for name, labels in heartbeat_files.CLASSES_IN.items()}

    simulator = types.SimpleNamespace(simulate_heartbeats=simulate_heartbeats, calls=[])
    monkeypatch.setitem(sys.modules, "cardiac_ml.virtual.beats", simulator)
    monkeypatch.setattr("cardiac_ml.virtual.beats", simulator, raising=False)
    return simulator


# Loading

def test_pairs_are_loaded_as_they_were_written(tmp_path):
    made = made_heartbeat_files(tmp_path)
    train, test = load_mitbih(tmp_path)
    assert np.array_equal(train.beats, made["mitbih_train"][:, :187]) and train.beats.flags.c_contiguous
    assert np.array_equal(test.label, made["mitbih_test"][:, 187]) and test.label.dtype == np.int64
    assert train.beats.dtype == np.float32 and train.rate_hz == 120 and train.classes == ("N", "S", "V", "F", "Q")
    ptb = load_ptb(tmp_path)
    assert np.array_equal(ptb.beats, np.vstack([made["ptbdb_normal"], made["ptbdb_abnormal"]])[:, :187])
    assert list(np.bincount(ptb.label)) == [40, 40] and ptb.classes == ("normal", "abnormal")
    assert list(ptb.table.iloc[40]) == ["ptbdb_abnormal", 0] and "patient" not in ptb.table


def test_compressed_files_read_the_same(folder, tmp_path):
    whole, _ = load_mitbih(folder)
    packed, zipped = tmp_path / "packed", tmp_path / "zipped"
    packed.mkdir(), zipped.mkdir()
    with zipfile.ZipFile(zipped / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.glob("*.csv"):
            archive.write(path, f"heartbeat/{path.name}")
            (packed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    for place in (packed, zipped, zipped / "archive.zip"):
        assert np.array_equal(load_mitbih(place)[0].beats, whole.beats)
        assert len(load_ptb(place)) == 80
    assert [path.suffix for path in zipped.iterdir()] == [".zip"], "nothing was unpacked"


def test_files_are_found_in_the_working_folder_and_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(folder) in load_ptb().source
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("CARDIAC_ML_DATA", str(tmp_path))
    assert str(folder) in load_ptb().source


def test_the_source_says_whose_files_they_are_and_that_they_are_read_whole(folder, monkeypatch, capsys):
    assert "40 of the published 4046 rows of ptbdb_normal.csv" in load_ptb(folder).source
    monkeypatch.setattr(heartbeat_files, "PUBLISHED_ROWS", {"ptbdb_normal": 40, "ptbdb_abnormal": 40})
    assert load_ptb(folder, hearts=4).source == f"Kaggle's heartbeat files, as found in {folder}"
    assert "hearts=4 is for virtual heartbeats" in capsys.readouterr().out


def test_subsets_and_joined_sets_are_datasets(folder):
    train, test = load_mitbih(folder)
    part = train[np.array([5, 2])]
    assert len(part) == 2 and list(part.table["row"]) == [5, 2] and list(part.table.index) == [0, 1]
    assert np.array_equal(part.beats, train.beats[[5, 2]]) and list(part.label) == list(train.label[[5, 2]])
    assert len(train[train.label == 1]) == 8 and len(train[3]) == 1 and len(train[:0]) == 0
    assert train.time_ms[3] == pytest.approx(25.0)
    both = concatenate(train, test)
    assert len(both) == 80 and both.table["file"].iloc[-1] == "mitbih_test"
    assert np.array_equal(both.beats[40:], test.beats)
    assert "different classes" in message(concatenate, train, load_ptb(folder))


def test_the_card_says_what_is_there_and_how_long_it_is_without_padding(folder):
    train, _ = load_mitbih(folder)
    card = repr(train)
    assert "40 beats of 187 samples, 120 Hz" in card and "V 8 (20.0 %)" in card and str(folder) in card
    assert "patients  not known" in card and "0 beats" in repr(train[:0])
    train.beats[:] = 0
    train.beats[:, [0, 50]] = train.beats[0, 90] = 1
    assert f"length    {51 * 1000 / 120:.0f} ms (median)" in repr(train)


# Patients

def test_records_beside_the_files_give_patients_and_those_of_other_files_are_refused(tmp_path):
    made_heartbeat_files(tmp_path, records=True)
    train, test = load_mitbih(tmp_path)
    assert list(train.table.columns) == ["file", "row", "patient", "record", "sample"]
    assert list(test.table["patient"][:3]) == [101, 106, 100] and test.table["sample"][0] == 16000
    assert "patients  5" in repr(test) and "patient" not in load_ptb(tmp_path).table
    records = (tmp_path / "records.csv").read_text()
    beats = pd.DataFrame({"file": "mitbih_train", "row": range(39)}).to_csv()
    for name, content, words in (("records", records.strip().rpartition("\n")[0], "has 79 rows, expected 80"),
                                 ("records", records.replace("record", "number"), "has no column record"),
                                 ("beats", beats, "has 39 rows for mitbih_train.csv, expected 40"),
                                 ("beats", "", "is not a table")):
        (tmp_path / f"{name}.csv").write_text(content)
        assert f"{name}.csv {words}" in message(load_mitbih, tmp_path)


def labelled(label, patient=None) -> Heartbeats:
    label = np.asarray(label)
    table = pd.DataFrame({"row": np.arange(len(label))} | ({} if patient is None else {"patient": patient}))
    return Heartbeats(np.zeros((len(label), 187), np.float32), label, ("N", "S", "V", "F", "Q"), table, "made")


def test_random_split_keeps_the_share_of_each_class():
    label = np.repeat([0, 1, 2, 3], [1000, 50, 5, 1])
    train, valid, test = split_random(labelled(label), 0.1, 0.2, seed=3)
    assert list(np.bincount(label[test])) == [200, 10, 1] and list(np.bincount(label[valid])) == [100, 5, 1]
    assert 1055 in train
    assert np.array_equal(np.sort(np.concatenate([train, valid, test])), np.arange(1056))
    assert np.array_equal(test, split_random(label, 0.1, 0.2, seed=3).test)
    assert not np.array_equal(test, split_random(label, 0.1, 0.2, seed=4).test)
    assert len(split_random(label, valid=0.1, test=0).test) == 0
    assert "between 0 and 1" in message(split_random, label, 0.1, 1.0)


def test_split_of_mitbih_patients_is_the_usual_one():
    patient = np.repeat(DS1 + DS2 + PACED, 2)
    train, valid, test = split_by_patient(labelled(np.zeros(96, int), patient))
    assert set(patient[train]) | set(patient[valid]) == set(DS1) and set(patient[test]) == set(DS2) and len(valid) > 1
    assert len(DS1) == len(DS2) == 22 and not set(DS1 + DS2) & set(PACED) and len(set(DS1 + DS2 + PACED)) == 48
    train, valid, test = split_by_patient(pd.DataFrame({"patient": patient}), test=[100, 103], valid=())
    assert set(patient[test]) == {100, 103} and len(set(patient[train])) == 46 and not len(valid)


def test_split_of_virtual_patients_is_random_and_whole():
    patient = np.arange(200) % 20
    parts = split_by_patient(labelled(np.zeros(200, int), patient), test=0.25, valid=0.1, seed=1)
    people = [set(patient[part]) for part in parts]
    assert [len(side) for side in people] == [13, 2, 5] and len(set.union(*people)) == 20
    assert sum(map(len, parts)) == 200
    other = split_by_patient(pd.DataFrame({"patient": patient}), test=0.25, seed=2)
    assert not np.array_equal(parts.test, other.test)


def test_the_test_rows_are_whole_patients_where_they_are_known_and_the_same_every_time():
    patients = np.random.default_rng(0).integers(0, 12, 400)
    known = labelled(np.arange(400) % 2, patients)
    train, valid, test = heartbeats.split(known)
    assert not set(patients[train]) & set(patients[test]) and len(train) + len(valid) + len(test) == 400
    assert (heartbeats.split(known).test == test).all()
    assert len(heartbeats.split(labelled(known.label)).test) == pytest.approx(80, abs=2)


def test_two_files_become_three_sets_of_different_patients(capsys):
    ten, usual = np.arange(100) % 10, np.repeat(DS1 + DS2, 2)
    for one, two in ((ten, ten + 10), (usual, usual)):
        sets = heartbeats.held_out_patients(*(labelled(np.zeros(len(side), int), side) for side in (one, two)))
        people = [set(part.table["patient"]) for part in sets]
        assert all(people) and not people[0] & people[1] and not people[2] & (people[0] | people[1])
    sets = heartbeats.held_out_patients(labelled(np.zeros(50, int)), labelled(np.zeros(9, int)))
    assert list(map(len, sets)) == [42, 8, 9] and "same patients" in capsys.readouterr().out


def test_patient_splits_refuse_what_they_cannot_do():
    assert "These are 2 sets of beats: split one of them" in message(heartbeats.split, (labelled([0]), labelled([0])))
    assert "rebuild-heartbeats" in message(split_by_patient, labelled([0, 1]))
    only_ds1 = labelled(np.zeros(4, int), np.array([101, 106, 101, 106]))
    assert "One side of the split is empty: the patients here are 101, 106" in message(split_by_patient, only_ds1)
    assert "both in valid and in test" in message(split_by_patient, only_ds1, [101], [101])
    assert "a share between 0 and 1, found 3" in message(split_by_patient, labelled(np.zeros(4, int), np.arange(4)), 3)


# Virtual beats

def test_half_a_pair_is_not_replaced_by_virtual_beats(folder, no_real_data):
    (folder / "ptbdb_normal.csv").unlink()
    assert "has no ptbdb_normal.csv" in message(load_ptb) and not no_real_data.calls


def test_virtual_beats_stand_in_and_say_so(no_real_data, capsys, own_cache):
    (own_cache / ".virtual_heartbeats_64_0.12345678.part").mkdir(parents=True)  # what a killed maker leaves
    train, test = load_mitbih()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "virtual" in said and "ecg_dataset" in said
    assert "virtual" in train.source and list(train.table["patient"][:5]) == [0, 1, 2, 3, 4]
    assert train.table["rr_before_ms"].eq(800).all() and len(load_ptb()) == 40
    assert no_real_data.calls == [64], "simulated once for all"
    load_mitbih(hearts=2)
    assert no_real_data.calls == [64, 2]


def test_virtual_beats_are_made_once_more_when_the_simulator_changes(no_real_data, monkeypatch):
    first = simulate()
    assert simulate() == first and len(no_real_data.calls) == 1
    files._unchanged.clear()  # as in a new process
    flip_a_bit(first / "mitbih_train.csv")
    assert simulate() == first and len(no_real_data.calls) == 2
    no_real_data.calls.pop()
    monkeypatch.setattr(kept, "code_fingerprint", lambda *_: "other")
    assert simulate() != first and len(no_real_data.calls) == 2 and not first.exists(), "the old ones are swept"


def test_virtual_files_are_written_where_wanted_but_not_over_others(no_real_data, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        assert simulate(hearts=3, seed=5, out=tmp_path / name, workers=1) == tmp_path / name
        train, _ = load_mitbih(tmp_path / name)
        assert train.source.startswith("virtual heartbeats, simulated") and train.table["patient"].nunique() == 3
        assert np.array_equal(train.beats, made_rows(20, (0, 1, 2, 3, 4), 5)[:, :187])
    assert "holds data, which is never overwritten" in message(simulate, out=tmp_path / "new")
    assert no_real_data.calls == [3, 3]


def test_two_makers_of_virtual_beats_end_with_one_whole_folder(no_real_data, own_cache):
    both_simulated = threading.Barrier(2)
    simulate = no_real_data.simulate_heartbeats
    no_real_data.simulate_heartbeats = lambda *given, **more: (simulate(*given, **more), both_simulated.wait(20))[0]
    with ThreadPoolExecutor(2) as pool:
        assert [len(data) for data in pool.map(lambda _: load_ptb(), range(2))] == [40, 40]
    assert len(no_real_data.calls) == 2
    names = [path.name.partition("_6")[0] for path in sorted(own_cache.iterdir())]
    assert names == ["heartbeats", "virtual_heartbeats"] and not kept._aside


@pytest.mark.parametrize("full", [True, False])
def test_without_room_virtual_beats_last_as_long_as_the_program(no_real_data, own_cache, monkeypatch, full):
    if full:
        unwritable(monkeypatch, own_cache)
    else:
        own_cache.write_text("no folder can be made here")
    monkeypatch.setattr(kept, "_aside", {})
    with pytest.warns(UserWarning, match="Could not write.*CARDIAC_ML_CACHE moves the cache.*made anew"):
        train, _ = load_mitbih()
    with warnings.catch_warnings(action="ignore"):
        assert "virtual" in train.source and "virtual" in load_ptb().source
    assert no_real_data.calls == [64], "simulated once"
    assert not full or not list(own_cache.iterdir()), "nothing half-made is left"
    with pytest.raises(OSError, match="Could not write"):
        simulate(out=own_cache / "out")
