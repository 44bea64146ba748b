"""Packs are whole or not there: after a change of the files, a crash, a full disk, and with two processes at once."""
import os
import shutil
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_intracardiac import load, made_activation, made_batches, made_intracardiac_files, made_pair

from cardiac_ml import files, intracardiac
from cardiac_ml.files import DataError
from cardiac_ml.formats import intracardiac_files
from cardiac_ml.formats.intracardiac_files import write_pack

ROOT = Path(__file__).parent.parent
GRAMMAR = "{role}_hearts_dd_0p2_volunteer.v1_pattern.0"
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture()
def folder(tmp_path):
    made_intracardiac_files(tmp_path / "files", hearts=("v1", "v2"))
    return tmp_path / "files"


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
    monkeypatch.setattr(intracardiac_files, "read_pair", lambda *pair: pytest.fail("read the files again"))
    second = load(folder)
    assert isinstance(second.voltage_mv, np.memmap) and np.array_equal(first.voltage_mv, second.voltage_mv)
    assert first.table.equals(second.table) and first.source == second.source


def add_a_heart(folder):
    made_pair(folder / "data_hearts_dd_0p2", GRAMMAR.replace("v1", "v7"), made_activation(7, 0))


@pytest.mark.parametrize("change, cases", [("touched", 14), ("added", 15), ("removed", 13), ("documented", 14)])
def test_a_pack_older_than_its_files_is_made_again(folder, own_cache, change, cases):
    before, old, one = load(folder), here(own_cache), next(folder.rglob("VmData*v1_pattern.0.npy"))
    if change == "touched":
        np.save(one, np.load(one) - 1)
        os.utime(one, ns=(0, time.time_ns() + 10**9))
    elif change == "added":
        add_a_heart(folder)
    elif change == "removed":
        one.unlink()
    else:
        (folder / "documentation").mkdir()
        (folder / "documentation" / "cases.csv").write_text(f"file,kind\n{before.table['file'][0]},scar\n")
    after = load(folder)
    assert len(before) == 14 and len(after) == cases
    assert not np.array_equal(before.voltage_mv, after.voltage_mv) or change == "documented"
    assert len(here(own_cache)) == 1 and here(own_cache) != old, "the older pack is gone"
    assert ("scar (1)" in repr(after)) == (change == "documented")


@pytest.mark.parametrize("file", ["voltage.npy", "table.csv", "card.json", "activation.npy", "checksums.json"])
@pytest.mark.parametrize("flipped, share", [(4, 1), (0, 2 / 3)])  # a bit in the middle; the end cut off
def test_a_damaged_pack_is_made_again_and_said(folder, own_cache, file, flipped, share, capsys):
    before = load(folder)
    path, expected = next(own_cache.iterdir()) / file, np.array(before.voltage_mv)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= flipped
    path.unlink()
    path.write_bytes(content[:int(share * len(content))])
    files._unchanged.clear()  # as in a new process
    after = load(folder)
    assert np.array_equal(after.voltage_mv, expected) and len(here(own_cache)) == 1 and path.stat().st_size
    assert after.source == before.source and "is no longer whole" in capsys.readouterr().out


def test_a_pack_cut_while_it_is_in_use_is_said_and_made_again(folder, own_cache):
    data = load(folder)
    expected, path = np.array(data.voltage_mv), next(own_cache.rglob("voltage.npy"))
    os.truncate(path, path.stat().st_size - 10_000)
    with pytest.raises(DataError, match="voltage.npy was cut to .* bytes while it was in use. Load"):
        data[3:5]
    assert np.array_equal(load(folder)[3:5].voltage_mv, expected[3:5])


def test_two_folders_have_two_packs(folder, own_cache, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert np.array_equal(load(folder).voltage_mv, load(tmp_path / "copy").voltage_mv) and len(here(own_cache)) == 2


def test_the_arrays_are_plain_npy_files(tmp_path):
    hearts = [f"v{n}" for n in range(12)]
    batches = list(made_batches(hearts, cases=1))
    place = write_pack(batches, tmp_path / "intracardiac_x", 12, "made")
    voltage = np.load(place / "voltage.npy")
    assert voltage.shape == (12, 75, 500) and voltage.dtype == np.float32
    assert np.array_equal(voltage, np.concatenate([batch[1] for batch in batches]).swapaxes(1, 2))
    assert intracardiac.open_pack(place).table["heart"].tolist() == hearts


def test_batches_of_the_wrong_shape_or_with_nan_are_refused(own_cache):
    electrodes, voltage, table = next(made_batches())
    turned, place = voltage.swapaxes(1, 2), own_cache / "intracardiac_x"
    for batch, cases, words in [
            ((electrodes, turned, table), 4, r"voltage of shape \(4, 75, 500\).*\(4, 500, 75\)"),
            ((electrodes[:3], voltage, table), 4, r"table of 4 rows has electrodes of shape \(3"),
            ((electrodes * np.nan, voltage, table), 4, "NaN or infinity in its electrodes"),
            ((electrodes, voltage, table), 5, "expected 5 cases to pack, found 4")]:
        with pytest.raises(DataError, match=words):
            write_pack([batch], place, cases, "made")
    assert here(own_cache) == []


# ---- killed, interrupted, two at once ----

HALF = """
import time
from tiny_intracardiac import made_batches
from cardiac_ml.formats.intracardiac_files import write_pack
def slow():
    yield from made_batches()
    print("half", flush=True)
    time.sleep(60)
write_pack(slow(), sys.argv[1], 12, "made")
"""


@pytest.mark.skipif(os.name != "posix", reason="only there can a process be asked whether it lives")
def test_what_a_killed_process_left_is_ignored_and_removed_after_a_day(folder, own_cache):
    process = started(HALF, own_cache / "intracardiac_x")
    assert process.stdout.readline() == "half\n", process.stderr.read()
    (left,) = here(own_cache)
    assert left.startswith(".intracardiac_x.") and (own_cache / left / "voltage.npy").stat().st_size > 0
    process.kill()
    process.communicate()
    assert len(load(folder)) == 14 and left in here(own_cache), "it may be another process's work"
    os.utime(own_cache / left, (0, time.time() - 2 * 24 * 3600))
    add_a_heart(folder)
    assert len(load(folder)) == 15 and left not in here(own_cache) and len(here(own_cache)) == 1


def test_what_killed_writers_left_goes_wherever_one_writes_again(tmp_path):
    for name in (".c.pt.abcd1234.part", ".out.abcd1234.part", "mine.part"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".young.abcd1234.part").touch()
    with files.atomic_write(tmp_path / "c.pt"):
        pass
    assert here(tmp_path) == [".young.abcd1234.part", "c.pt", "mine.part"]


def test_an_interrupted_pack_leaves_nothing(folder, own_cache, monkeypatch):
    read, numbers = intracardiac_files.read_pair, count()

    def interrupted(*pair):
        if next(numbers) == 4:
            raise KeyboardInterrupt
        return read(*pair)

    monkeypatch.setattr(intracardiac_files, "read_pair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(folder)
    assert here(own_cache) == []
    assert len(load(folder)) == 14


def test_the_slower_of_two_takes_the_pack_of_the_faster(own_cache):
    def overtaken():
        yield from made_batches()
        write_pack(made_batches(), own_cache / "intracardiac_x", 12, "the faster")

    place = write_pack(overtaken(), own_cache / "intracardiac_x", 12, "the slower")
    assert intracardiac.open_pack(place).source == "the faster" and here(own_cache) == [place.name]


TWO = """
import hashlib, pathlib, time
from cardiac_ml import intracardiac
from cardiac_ml.formats import intracardiac_files
read = intracardiac_files.read_pair
def slowly(*pair):
    time.sleep(0.02)
    return read(*pair)
intracardiac_files.read_pair = slowly
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.001)
dataset = intracardiac.load(sys.argv[1], progress=False)
print(len(dataset), hashlib.sha256(dataset.voltage_mv.tobytes()).hexdigest())
"""


def test_two_processes_may_pack_at_once(folder, own_cache, tmp_path):
    processes = [started(TWO, folder, tmp_path / "go") for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    (tmp_path / "go").touch()
    answers = [process.communicate(timeout=60) for process in processes]
    assert all(process.returncode == 0 for process in processes), answers
    assert answers[0][0] == answers[1][0] and answers[0][0].splitlines()[-1].startswith("14 ")
    assert len(here(own_cache)) == 1


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_killed_at_any_moment_caches_end_as_undisturbed_ones(tmp_path):
    from tools.kill_tests import caches
    assert caches(tmp_path, kills=6) == []


# ---- the disk ----

def test_too_small_a_disk_is_noticed_before_any_work(folder, own_cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    monkeypatch.setattr(intracardiac_files, "read_pair", lambda *pair: pytest.fail("began all the same"))
    with pytest.raises(OSError, match=r"The pack .* needs 0.00 GB.*0.00 GB free.*CARDIAC_ML_CACHE"):
        load(folder)
    assert not own_cache.exists()


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
    for words in ("Could not write", "Free some space", "CARDIAC_ML_CACHE"):
        assert words in said, (said, errors)
    assert here(own_cache) == []
    assert len(load(folder)) == 14, "with room it works"


def test_a_cache_that_cannot_be_written_is_said(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="Could not write .*file.*CARDIAC_ML_CACHE.*what was there before is untouched"):
        load(folder)
