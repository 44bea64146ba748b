"""Real data in one line, from stand-ins of Kaggle and PhysioNet on this machine."""
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from download import stand_in
from tiny import made_heartbeat_files, made_record, message

from cardiac_ml import download as downloads
from cardiac_ml import heartbeats, lead_importance, new_patients
from cardiac_ml.__main__ import main
from cardiac_ml.download import physionet
from cardiac_ml.formats import heartbeat_files

ROOT = Path(heartbeats.__file__).parents[1]


# ---- Kaggle ----

@pytest.fixture
def kaggle(monkeypatch, tmp_path, own_cache):
    """kagglehub with files of 40 lines, which count as whole."""
    made_heartbeat_files(tmp_path / "kaggle")
    monkeypatch.setattr(heartbeat_files, "PUBLISHED_ROWS", dict.fromkeys(heartbeat_files.PUBLISHED_ROWS, 40))
    module = stand_in.kagglehub(tmp_path / "kaggle", broken_off=1)
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return module


def test_heartbeats_come_in_two_goes_and_end_where_the_loader_looks(data_home, kaggle, capsys):
    said = message(heartbeats.download)
    assert "the line went dead" in said and "goes on where it was" in said and "archive.zip" in said
    shown = capsys.readouterr().out
    assert "0.6 GB into" in shown and "Open Data Commons" in shown and str(data_home / "ecg_dataset") in shown
    assert heartbeats.download() == data_home / "ecg_dataset"
    assert sorted(path.name for path in (data_home / "ecg_dataset").iterdir()) == sorted(
        f"{name}.csv" for name in heartbeat_files.PUBLISHED_ROWS)
    assert "Kaggle's heartbeat files" in heartbeats.load_ptb().source and len(heartbeats.load_mitbih()[0]) == 40
    assert main(["download", "heartbeats"]) == 0 and len(kaggle.calls) == 2  # they are there: nothing is fetched
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_a_cut_file_is_found_out(data_home, kaggle, tmp_path):
    made_heartbeat_files(tmp_path / "kaggle", rows=30)
    message(heartbeats.download)
    assert "30 lines, expected 40" in message(heartbeats.download)


def test_what_is_mounted_is_copied(data_home, monkeypatch, tmp_path, kaggle):
    monkeypatch.setitem(sys.modules, "kagglehub", stand_in.kagglehub(tmp_path / "kaggle", mounted=True))
    heartbeats.download(tmp_path / "mine")
    assert len(heartbeats.load_ptb(tmp_path / "mine")) == 80 and len(list((tmp_path / "kaggle").iterdir())) == 4


def test_kaggles_own_input_is_found(data_home, monkeypatch, tmp_path, own_cache):
    assert heartbeat_files.find_folder() is None
    assert all(place.parts[:3] == ("/", "kaggle", "input") for place in heartbeat_files.KAGGLE_INPUTS)
    made_heartbeat_files(tmp_path / "input" / "heartbeat")
    monkeypatch.setattr(heartbeat_files, "KAGGLE_INPUTS", [tmp_path / "absent", tmp_path / "input" / "heartbeat"])
    assert str(tmp_path / "input") in heartbeats.load_ptb().source
    made_heartbeat_files(data_home / "ecg_dataset")  # one's own come first
    assert str(data_home) in heartbeats.load_ptb().source


@pytest.mark.parametrize("package, call", [("kagglehub", heartbeats.download), ("wfdb", new_patients.download)])
def test_without_the_package_it_says_how_to_get_it(data_home, monkeypatch, package, call, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install {package}" in message(call)
    assert "licence" in capsys.readouterr().out


# ---- PhysioNet ----

@pytest.fixture
def mitdb(monkeypatch, tmp_path):
    """A server with two records, and files that the kit does not read."""
    folder = tmp_path / "server" / "mitdb" / "1.0.0"
    folder.mkdir(parents=True)
    for seed, name in enumerate(("100", "101")):
        made_record(folder, name, seed=seed)
    (folder / "ANNOTATORS").write_text("atr")
    (folder / "x_mitdb").mkdir()
    (folder / "x_mitdb" / "x_108.hea").write_text("x_108 2 360")
    stand_in.publish(folder)
    with stand_in.physionet(monkeypatch, tmp_path / "server") as server:
        yield server


def test_records_come_checked_and_only_what_is_read(data_home, mitdb, capsys):
    folder = new_patients.download()
    assert folder == data_home / "mitdb" and "Attribution" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"SHA256SUMS.txt", *(
        f"{name}.{kind}" for name in ("100", "101") for kind in ("hea", "dat", "atr"))}
    from cardiac_ml.new_patients.records import load_records
    assert load_records(folder).table["patient"].nunique() == 2
    mitdb.asked.clear()
    assert main(["download", "mit-bih"]) == 0 and not mitdb.asked  # all there: nothing is fetched


def test_a_broken_off_download_goes_on(data_home, mitdb):
    mitdb.refused = {"files/mitdb/1.0.0/101.dat"}
    said = message(new_patients.download)
    assert "goes on where it was" in said
    half = data_home / "mitdb" / "100.dat"
    whole = half.read_bytes()
    half.write_bytes(whole[:100])
    mitdb.refused = set()
    assert physionet.lacking(data_home / "mitdb", downloads.SETS["mit-bih"].wanted) == ["101.dat"]
    new_patients.download()
    assert half.read_bytes() == whole and (data_home / "mitdb" / "101.dat").exists()


@pytest.mark.parametrize("damaged, by, words, left", [
    ("100.dat", lambda body: body[:-1] + b"?", "1 files of mitdb came damaged, such as 100.dat", ["101"]),
    ("SHA256SUMS.txt", lambda body: b"<html>Welcome to our hotel</html>", "log in", [])])
def test_what_comes_damaged_is_removed_and_comes_again(data_home, mitdb, damaged, by, words, left):
    mitdb.damage = lambda name, body: by(body) if name.endswith(damaged) else body
    assert words in message(new_patients.download)
    assert [path.stem for path in (data_home / "mitdb").glob("*.dat")] == left
    mitdb.damage = lambda name, body: body
    assert new_patients.download() == data_home / "mitdb"


@pytest.mark.parametrize("name, files, left", [
    ("ptb-xl", ["ptbxl_database.csv", "records100/00000/00001_lr.hea"], ["records500/00000/00001_hr.hea"]),
    ("chapman", ["WFDBRecords/01/010/JS00001.mat", "WFDBRecords/01/010/JS00001.hea"], ["WFDBRecords/01/010/RECORDS"])])
def test_twelve_lead_sets(data_home, monkeypatch, tmp_path, name, files, left):
    folder = tmp_path / "server" / downloads.SETS[name].database / "1.0.0"
    for file in files + left:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    stand_in.publish(folder)
    with stand_in.physionet(monkeypatch, tmp_path / "server"):
        assert lead_importance.download(name) == data_home / name
    assert all((data_home / name / file).read_text() == file for file in files)
    assert not any((data_home / name / file).exists() for file in left)
    assert "'ptb-xl' and 'chapman'" in message(lead_importance.download, "cpsc")


def test_a_full_disk_is_said_before_anything_comes(data_home, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda place: SimpleNamespace(free=1))
    assert "0.1 are needed" in message(new_patients.download)


# ---- the script ----

@pytest.mark.parametrize("status", [0, 1])
def test_the_intracardiac_script_gets_its_folder(data_home, monkeypatch, status, capsys):
    asked = []

    def run(command, env):
        asked.append((command, env["CARDIAC_ML_DOWNLOAD_FOLDER"]))
        return subprocess.CompletedProcess(command, status)
    monkeypatch.setattr(subprocess, "run", run)
    assert main(["download", "intracardiac"]) == status
    script = str(ROOT / "download_intracardiac_dataset.sh")
    assert asked == [(["bash", script], str(data_home / "intracardiac_dataset"))]
    assert "6.2 GB" in capsys.readouterr().out


def test_nothing_is_imported_before_it_is_asked_for():
    code = ("import sys; from cardiac_ml import heartbeats, new_patients, lead_importance; "
            "print({'wfdb', 'kagglehub'} & set(sys.modules))")
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "set()"
