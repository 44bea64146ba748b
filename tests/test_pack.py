"""Packs are whole or not there: after a change of the files, a crash, a full disk, and with two processes at once."""
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from tiny_intracardiac import made_activation, made_batches, made_intracardiac_files, made_pair

from cardiac_ml import intracardiac, pack
from cardiac_ml.files import DataError

ROOT = Path(__file__).parent.parent
GRAMMAR = "{role}_hearts_dd_0p2_volunteer.v1_pattern.0"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture()
def folder(tmp_path):
    made_intracardiac_files(tmp_path / "files", hearts=("v1", "v2"))
    return tmp_path / "files"


def load(folder):
    return intracardiac.load(folder, progress=False)


def here(folder):
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def started(code, *arguments):
    code = f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n{code}"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


# ---- packed once, and again when the files change ----

def test_the_second_load_reads_no_pair(folder, monkeypatch):
    first = load(folder)
    monkeypatch.setattr(pack, "read_pairs", lambda pairs: pytest.fail("read the files again"))
    second = load(folder)
    assert isinstance(second.voltage_mv, np.memmap) and np.array_equal(first.voltage_mv, second.voltage_mv)
    assert first.table.equals(second.table) and first.source == second.source


@pytest.mark.parametrize("change", ["touched", "added", "removed", "documented"])
def test_a_pack_older_than_its_files_is_made_again(folder, own_cache, change):
    before, one = load(folder), next(folder.rglob("VmData*v1_pattern.0.npy"))
    old = here(own_cache)
    if change == "touched":
        np.save(one, np.load(one) - 1)
        os.utime(one, ns=(0, time.time_ns() + 10**9))
    elif change == "added":
        made_pair(folder / "data_hearts_dd_0p2", GRAMMAR.replace("v1", "v7"), made_activation(7, 0))
    elif change == "removed":
        one.unlink()
    else:
        (folder / "documentation").mkdir()
        (folder / "documentation" / "cases.csv").write_text(f"file,kind\n{before.table['file'][0]},scar\n")
    after = load(folder)
    assert len(after) == len(before) + {"added": 1, "removed": -1}.get(change, 0)
    assert not np.array_equal(before.voltage_mv, after.voltage_mv) or change == "documented"
    assert len(here(own_cache)) == 1 and here(own_cache) != old, "the older pack is gone"
    assert ("scar (1)" in repr(after)) == (change == "documented")


@pytest.mark.parametrize("file", ["voltage.npy", "table.csv", "card.json", "activation.npy"])
def test_a_damaged_pack_is_made_again(folder, own_cache, file):
    before = load(folder)
    path = next(own_cache.iterdir()) / file
    expected = np.array(before.voltage_mv)
    path.unlink()
    path.write_bytes(b"")
    after = load(folder)
    assert np.array_equal(after.voltage_mv, expected) and len(here(own_cache)) == 1 and path.stat().st_size


def test_two_folders_have_two_packs(folder, own_cache, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert np.array_equal(load(folder).voltage_mv, load(tmp_path / "copy").voltage_mv) and len(here(own_cache)) == 2


def test_any_number_of_threads_makes_the_same_pack(folder, own_cache):
    files = {}
    for workers in (1, 5):
        intracardiac.load(folder, workers=workers, progress=False)
        place = next(own_cache.iterdir())
        files[workers] = {name: (place / name).read_bytes() for name in here(place)}
        shutil.rmtree(place)
    assert files[1] == files[5]


def test_the_arrays_are_plain_npy_files_however_they_grew(tmp_path):
    batches = list(made_batches(hearts=[f"v{n}" for n in range(12)], cases=1))
    place = intracardiac.write_pack(batches, tmp_path / "intracardiac_x", "made")
    voltage = np.load(place / "voltage.npy")
    assert voltage.shape == (12, 75, 500) and voltage.dtype == np.float32
    assert np.array_equal(voltage, np.concatenate([batch[1] for batch in batches]).swapaxes(1, 2))
    assert intracardiac.open_pack(place).table["heart"].tolist() == [f"v{n}" for n in range(12)]


def test_batches_of_the_wrong_shape_or_with_nan_are_refused(tmp_path):
    electrodes, voltage, table = next(made_batches())
    turned = voltage.swapaxes(1, 2)
    for batch, words in [((electrodes, turned, table), r"voltage of shape \(4, 75, 500\).*\(4, 500, 75\)"),
                         ((electrodes[:3], voltage, table), r"table of 4 rows has electrodes of shape \(3"),
                         ((electrodes * np.nan, voltage, table), "NaN or infinity in its electrodes")]:
        with pytest.raises(DataError, match=words):
            intracardiac.write_pack([batch], tmp_path / "cache" / "intracardiac_x", "made")
    with pytest.raises(DataError, match="no case to pack"):
        intracardiac.write_pack([], tmp_path / "cache" / "intracardiac_x", "made")
    assert here(tmp_path / "cache") == []


# ---- killed, interrupted, two at once ----

HALF = """
import time
from tiny_intracardiac import made_batches
from cardiac_ml import intracardiac
def slow():
    yield from made_batches()
    print("half", flush=True)
    time.sleep(60)
intracardiac.write_pack(slow(), sys.argv[1], "made")
"""


@pytest.mark.skipif(os.name != "posix", reason="only there can a process be asked whether it lives")
def test_what_a_killed_process_left_is_ignored_and_removed(folder, own_cache):
    process = started(HALF, own_cache / "intracardiac_x")
    assert process.stdout.readline() == "half\n", process.stderr.read()
    (left,) = here(own_cache)
    assert left.startswith(".intracardiac_x.") and (own_cache / left / "voltage.npy").stat().st_size > 0
    pack.clean(own_cache)
    assert here(own_cache) == [left], "its process still lives"
    process.kill()
    process.communicate()
    load(folder)
    assert left not in here(own_cache) and len(here(own_cache)) == 1


def test_what_another_machine_left_is_removed_after_a_day(own_cache):
    old, new = (own_cache / f".intracardiac_x.another-host.{process}.abcd.part" for process in (1, 2))
    for place in (old, new):
        place.mkdir(parents=True)
    os.utime(old, (0, time.time() - 2 * pack.ABANDONED_S))
    pack.clean(own_cache)
    assert here(own_cache) == [new.name]


def test_an_interrupted_pack_leaves_nothing(folder, own_cache, monkeypatch):
    monkeypatch.setattr(pack, "PAIRS_A_BLOCK", 1)
    calls, read = [], pack.read_pairs

    def interrupted(pairs):
        calls.append(pairs)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return read(pairs)

    monkeypatch.setattr(pack, "read_pairs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(folder)
    assert here(own_cache) == []
    assert len(load(folder)) == 14


def test_the_slower_of_two_takes_the_pack_of_the_faster(tmp_path):
    place = tmp_path / "cache" / "intracardiac_x"

    def overtaken():
        yield from made_batches()
        intracardiac.write_pack(made_batches(), place, "the faster")

    intracardiac.write_pack(overtaken(), place, "the slower")
    assert intracardiac.open_pack(place).source == "the faster" and here(place.parent) == [place.name]


TWO = """
import hashlib, pathlib, time
from cardiac_ml import intracardiac, pack
read = pack.read_pairs
pack.PAIRS_A_BLOCK = 1
def slowly(pairs):
    time.sleep(0.02)
    return read(pairs)
pack.read_pairs = slowly
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.001)
dataset = intracardiac.load(sys.argv[1], progress=False, workers=1)
print(len(dataset), hashlib.sha256(dataset.voltage_mv.tobytes()).hexdigest())
"""


def test_two_processes_may_pack_at_once(folder, own_cache, tmp_path):
    processes = [started(TWO, folder, tmp_path / "go") for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    (tmp_path / "go").touch()
    answers = [process.communicate(timeout=60) for process in processes]
    assert all(process.returncode == 0 for process in processes), answers
    assert answers[0][0] == answers[1][0] and answers[0][0].startswith("14 ")
    assert len(here(own_cache)) == 1


# ---- the disk ----

def test_too_small_a_disk_is_noticed_before_any_work(folder, own_cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 10**9, 1000))
    monkeypatch.setattr(pack, "read_pairs", lambda pairs: pytest.fail("began all the same"))
    with pytest.raises(OSError, match=r"Could not write the pack.*needs 0.00 GB.*0.00 GB free.*CARDIAC_ML_CACHE"):
        load(folder)
    assert here(own_cache) == []


FULL = """
import resource
from cardiac_ml import intracardiac
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))  # bytes a file may have: the disk fills half-way
try:
    intracardiac.load(sys.argv[1], progress=False)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files stands for the full disk")
def test_a_disk_that_fills_half_way_is_said_and_leaves_nothing(folder, own_cache):
    said, errors = started(FULL, folder).communicate(timeout=60)
    for words in ("Could not write the pack", "Free some space", "CARDIAC_ML_CACHE"):
        assert words in said, (said, errors)
    assert here(own_cache) == []
    assert len(load(folder)) == 14, "with room it works"


def test_a_cache_that_cannot_be_written_is_said(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="Could not write the pack.*file.*CARDIAC_ML_CACHE.*Nothing was lost"):
        load(folder)
