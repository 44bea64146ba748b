"""The check: each broken set-up gets a FAIL and a remedy, and a whole one does not."""
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from packaging.specifiers import SpecifierSet
from tiny import flip_a_bit, made_heartbeat_files
from tiny_intracardiac import made_batches, made_intracardiac_files

from cardiac_ml import files, heartbeats, training
from cardiac_ml.__main__ import main
from cardiac_ml.check import __main__ as check
from cardiac_ml.check import kit, machine
from cardiac_ml.check.kit import networks
from cardiac_ml.formats import heartbeat_files, intracardiac_files

ROOT = Path(files.__file__).parents[1]


def failed(name):
    """The only row of that name, which must be a FAIL with a remedy."""
    row, = [row for row in kit.rows() if row.name == name]
    assert row.state == machine.FAIL and row.remedy, row
    return row


@pytest.fixture
def quick(monkeypatch):
    """Only the rows about files."""
    monkeypatch.setattr(kit, "self_test", lambda: machine.row("self-test", "left out"))
    monkeypatch.setattr(kit, "networks", lambda: machine.row("networks", "left out"))


# ---- before anything is installed ----

GROUPS = {"": [("numpy", ">=1.26,<3"), ("torch", ">=2.4,<3")], "notebooks": [("nbformat", ">=5.10,<6")],
          "xray": [("pydicom", ">=3.0,<4")]}


@pytest.mark.parametrize("there, state, words", [
    ({"numpy": "2.4.6", "torch": "2.13.0+cpu", "nbformat": "5.11", "pydicom": "3.0.2"}, "ok", "4 within"),
    ({"numpy": "2.4.6", "nbformat": "5.11", "pydicom": "3.0.2"}, "FAIL", "missing: torch"),
    ({"numpy": "1.25.9", "torch": "2.13.0", "nbformat": "5.11"}, "FAIL", "numpy 1.25.9 (needs >=1.26,<3)"),
    ({"numpy": "3.0.0rc1", "torch": "2.13.0", "nbformat": "5.11"}, "FAIL", "numpy 3.0.0rc1"),
    ({"numpy": "2.4.6", "torch": "2.13.0"}, "FAIL", "missing: nbformat"),
    ({"numpy": "2.4.6", "torch": "2.13.0", "nbformat": "5.11"}, "note", "pydicom (xray)"),
])
def test_packages(there, state, words):
    row = machine.packages(GROUPS, there.get)
    assert row.state == state and words in row.found and bool(row.remedy) == (state != "ok")


@pytest.mark.parametrize("version", ["1.26", "1.25.9", "2.13.0+cpu", "3", "2.4.0", "2.10.1"])
@pytest.mark.parametrize("bounds", [">=1.26,<3", ">=2.4", "==2.13.0", ">=2.4.1,<2.10.1"])
def test_ranges_mean_what_pip_takes_them_for(version, bounds):
    assert machine.within(version, bounds) == SpecifierSet(bounds).contains(version)


COLAB = (  # of its published package list (googlecolab/backend-info, early 2026)
    "joblib==1.5.3 matplotlib==3.10.0 numba==0.60.0 numpy==2.0.2 pandas==2.2.2 pillow==11.3.0 scikit-learn==1.6.1 "
    "scipy==1.16.3 torch==2.10.0+cu128 tqdm==4.67.3 ipykernel==6.17.1 ipywidgets==7.7.1 jupytext==1.19.1 "
    "nbclient==0.10.4 nbconvert==7.17.0 nbformat==5.10.4")


def test_colabs_own_packages_lie_in_the_ranges():
    row = machine.packages(find=dict(package.split("==") for package in COLAB.split()).get)
    assert row.state == "note" and "16 within" in row.found, row


def test_python_and_memory():
    pythons = ((3, 12, 1), 64), ((3, 8, 1), 64), ((3, 14, 0), 64), ((3, 12, 1), 32)
    assert [machine.python(*version_and_bits).state for version_and_bits in pythons] == ["ok", "FAIL", "FAIL", "FAIL"]
    assert [machine.memory(lambda: gb).state for gb in ((16, 8), (16, 0.5), None)] == ["ok", "FAIL", "ok"]


@pytest.mark.parametrize("made, words", [
    ([], "none yet"), (["pyvenv.cfg"], "is broken"), (["mine.txt"], "is broken"),
    (["pyvenv.cfg", "bin/python", "cardiac_ml_unfinished.txt"], "is broken"),
    (["pyvenv.cfg", "bin/python"], "another Python")])
def test_environment(monkeypatch, tmp_path, made, words):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "plain"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "plain"))
    monkeypatch.setattr(machine, "version_of", lambda package: None)
    for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name in made:
        path = tmp_path / ".venv" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    row = machine.environment(str(tmp_path))
    assert row.state == "FAIL" and words in row.found and "setup" in row.remedy
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert machine.environment(str(tmp_path)).state == "ok"


def test_disk_and_cache(tmp_path, monkeypatch):
    for free_gb, installed, state in (1, True, "ok"), (0.1, True, "FAIL"), (1, False, "FAIL"):
        row = machine.disk(str(tmp_path / "cache"), lambda _: SimpleNamespace(free=free_gb * 1e9), installed)
        assert row.state == state and ("CARDIAC_ML_CACHE" in row.remedy) == (state == "FAIL")
    for named in "", "~/somewhere", str(tmp_path / "cache"):
        monkeypatch.setenv("CARDIAC_ML_CACHE", named)
        assert Path(machine.cache_folder()) == files.cache_folder()
    (tmp_path / "cache").touch()  # a file in the place of the folder: not even root writes there
    row = machine.disk()
    assert row.state == "FAIL" and "cannot be written" in row.found and "CARDIAC_ML_CACHE" in row.remedy


def test_settings(tmp_path):
    assert machine.settings({"CARDIAC_ML_DATA": str(tmp_path), "OMP_NUM_THREADS": "2"}).state == "ok"
    assert "not a folder" in machine.settings({"CARDIAC_ML_DATA": str(tmp_path / "absent")}).found


@pytest.mark.parametrize("call", [
    "sys.argv[1:] = ['check']; runpy.run_module('cardiac_ml', run_name='__main__')",
    "sys.argv[1:] = ['--json']; runpy.run_module('cardiac_ml.check', run_name='__main__')"])
def test_without_any_package_it_says_which_are_missing(call):
    code = f"import sys, runpy; sys.path.insert(0, '.'); {call}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stderr
    assert "numpy" in done.stdout.partition("missing: ")[2] and "setup" in done.stdout
    assert "json" not in call or "packages" in [row["name"] for row in json.loads(done.stdout)["rows"]]


# ---- data ----

def test_a_set_up_as_it_should_be(data_home, capsys, monkeypatch):
    made_heartbeat_files(data_home / "ecg_dataset")
    (data_home / "ecg_dataset" / "source.txt").write_text("made for a test")
    made_intracardiac_files(data_home / "intracardiac_dataset", hearts=("h1", "h2"))
    monkeypatch.setattr(machine, "memory_gb", lambda: (8, 4))
    assert main(["check", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {row["name"]: row["found"] for row in report["rows"]}
    assert "4 of 4 files, 160 beats" in found["heartbeats"] and "14 pairs of 2 hearts" in found["intracardiac"]
    assert "AUROC 1.00" in found["self-test"] and report["packages"]["torch"]
    assert not list(data_home.parent.rglob("*.part"))


def test_the_screen_names_what_failed(monkeypatch, capsys):
    rows = [machine.row("disk", "full", "Free some"), machine.row("memory", "enough")]
    monkeypatch.setattr(check, "rows", lambda: iter(rows))
    assert check.main([]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split() == ["FAIL", "disk", "full"] and "-> Free" in shown[2] and shown[-1].endswith("disk.")


def test_a_package_that_does_not_import_is_a_row(monkeypatch):
    monkeypatch.setitem(sys.modules, "cardiac_ml.check.kit", None)
    monkeypatch.delattr("cardiac_ml.check.kit")
    row = list(check.rows())[-1]
    assert row.state == "FAIL" and "do not import" in row.found and "setup" in row.remedy


def cut(path, bytes_off=1000):
    path.write_bytes(path.read_bytes()[:-bytes_off])


def zipped(place):
    place.rename(place.with_name("made"))
    return Path(shutil.make_archive(place / "archive", "zip", place.with_name("made")))


@pytest.mark.parametrize("break_it, words", [
    (lambda place: (place / "mitbih_test.csv").unlink(), "has no mitbih_test.csv"),
    (lambda place: cut(place / "ptbdb_normal.csv"), "ptbdb_normal.csv: its last line has"),
    (lambda place: cut(place / "ptbdb_normal.csv", 24 * 188 + 188), "ptbdb_normal.csv has 39 of Kaggle's 4,046 lines"),
    (lambda place: (place / "mitbih_train.csv").write_text(""), "is empty"),
    (lambda place: cut(zipped(place)), "is not a zip archive"),
    (lambda place: flip_a_bit(zipped(place), 2000), "damaged"),
])
def test_half_a_heartbeat_set(data_home, quick, break_it, words):
    made_heartbeat_files(data_home / "ecg_dataset")
    break_it(data_home / "ecg_dataset")
    row = failed("heartbeats")
    assert words in row.found and "kaggle.com" in row.remedy


@pytest.mark.parametrize("break_it, words", [
    (lambda files: files[0].unlink(), "lack their other half"),
    (lambda files: cut(files[0], 30000), "cut short"),
    (lambda files: files[0].write_bytes(b"\0" * files[0].stat().st_size), "cannot be read"),
    (lambda files: None, "published are 16,117"),
    (lambda files: [path.unlink() for path in files], "no pair of"),
])
def test_half_an_intracardiac_set(data_home, quick, break_it, words):
    made_intracardiac_files(data_home / "intracardiac_dataset", hearts=("v1",))
    break_it(sorted((data_home / "intracardiac_dataset").rglob("*.npy")))
    row = failed("intracardiac")
    assert words in row.found and "download_intracardiac_dataset.sh" in row.remedy


PACK = "intracardiac_virtual-3-4_1"


@pytest.mark.parametrize("break_it, names", [
    (cut, [f"{PACK}/voltage.npy"]), (Path.unlink, [f"{PACK}/checksums.json"]), (flip_a_bit, [f"{PACK}/electrodes.npy"]),
    (lambda path: cut(path, 30), ["one/points.npz"]), (flip_a_bit, ["heartbeats/*.npz"]),
    (lambda path: cut(path, 30), ["one/points.npz", "other/points.npz"])])
def test_half_a_cache(own_cache, data_home, quick, break_it, names):
    intracardiac_files.write_pack(made_batches(), own_cache / PACK, 12, "made here")
    made_heartbeat_files(data_home)
    heartbeats.load_ptb(data_home)
    for name in "one", "other":
        (own_cache / name).mkdir()
        np.savez(own_cache / name / "points.npz", points=np.zeros(9))
    files._unchanged.clear()
    assert kit.cache().state == "ok"
    files._unchanged.clear()
    paths = [next(own_cache.glob(name)) for name in names]
    for path in paths:
        break_it(path)
    row = failed("cache")
    assert f"{len(paths)} of 4 parts" in row.found and "are not whole" in row.found
    assert all(str(path.parent) in row.remedy for path in paths)
    assert row.found.count("points.npz") == sum(path.name == "points.npz" for path in paths)


def test_lines_are_counted_whatever_ends_the_last_one(tmp_path):
    made_heartbeat_files(tmp_path)
    path = tmp_path / "ptbdb_normal.csv"
    text = path.read_text().strip()
    for end, lines in ("\n", 40), ("", 40), ("\n\n", 41), ("\r\n", 40):
        path.write_text(text + end, newline="")
        assert kit.count_lines(heartbeat_files.Source(path), (0,)) == lines


@pytest.mark.parametrize("break_it", [lambda path: path.unlink(), cut, lambda path: flip_a_bit(path, 1_000_000)])
def test_damaged_weights(tmp_path, break_it, monkeypatch, quick):
    shutil.copytree(Path(training.__file__).parent / "trained", tmp_path, dirs_exist_ok=True)
    assert {path.stem for path in tmp_path.glob("*.npz")} == set(kit.SHIPPED), "all are looked at"
    break_it(tmp_path / "xray.npz")
    monkeypatch.setattr(kit, "networks", lambda: networks(tmp_path))
    assert "xray.npz" in failed("networks").found


def test_records_of_a_broken_off_download(data_home, quick):
    (data_home / "mitdb").mkdir()
    sums = [f"{'0' * 64} 100.{kind}\n" for kind in ("hea", "dat", "atr")]
    (data_home / "mitdb" / "SHA256SUMS.txt").write_text("".join(sums))
    (data_home / "mitdb" / "100.hea").write_text("100 2 360")
    row = failed("records")
    assert "lacks 2 files, such as 100.dat" in row.found and "download mit-bih" in row.remedy


def test_an_error_that_nobody_foresaw_is_a_row(monkeypatch, quick):
    monkeypatch.setattr(intracardiac_files, "DATASET", 5)
    assert "TypeError" in failed("intracardiac").found
