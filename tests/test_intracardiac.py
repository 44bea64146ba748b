"""The intracardiac dataset: labels, subsets, the data card, virtual hearts where no file is, and the published size."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_intracardiac import load, made_activation, made_batches, made_intracardiac_files, made_pair, made_signals

from cardiac_ml import intracardiac
from cardiac_ml.activation import upstroke_ms
from cardiac_ml.files import DataError
from cardiac_ml.virtual import dataset

ROOT = Path(__file__).parent.parent
PLACE, NAME = "data_hearts_dd_0p2", "{role}_hearts_dd_0p2_volunteer.v1_pattern.0"
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture()
def folder(tmp_path):
    made_intracardiac_files(tmp_path / "intracardiac_dataset")
    return tmp_path / "intracardiac_dataset"


# ---- activation ----

def test_activation_is_where_the_voltage_crosses_zero():
    rising = np.array([-80.0, -60, -20, 20, 30, 30])
    times = upstroke_ms(np.array([rising, rising[::-1], np.full(6, -80), np.r_[-1, 0, 0, 1, 1, 1]]))
    assert np.allclose(times, [2.5, 0, np.nan, 2], equal_nan=True)  # at 0 mV exactly is not yet above


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 100), st.floats(0.01, 1))
def test_interpolation_finds_the_time_that_was_put_in(first_ms, step_ms):
    made_ms = first_ms + step_ms * np.arange(75)
    times = upstroke_ms(made_signals(made_ms)[1].T)  # 30 mV/ms through zero, cut off at 25 mV
    assert np.allclose(times, made_ms, atol=0.05)


def test_any_stack_of_traces_and_any_precision():
    _, voltage = made_signals(made_activation(3, 1))
    many = np.broadcast_to(voltage.T, (700, 75, 500))  # more than one block
    times = upstroke_ms(many)
    assert times.shape == (700, 75) and times.dtype == np.float32
    assert np.array_equal(times[-1], upstroke_ms(voltage.T))
    assert upstroke_ms(voltage.T[4]) == times[0, 4]
    assert upstroke_ms(many[:0]).shape == (0, 75)


# ---- the dataset ----

def test_points_that_never_activate_are_missing_and_counted(tmp_path):
    silent = made_activation(1, 0)
    silent[[3, 8]] = np.nan
    made_pair(tmp_path / PLACE, NAME, silent)
    data = load(tmp_path)
    assert np.isnan(data.activation_ms[0, [3, 8]]).all() and np.isfinite(data.activation_ms).sum() == 73
    assert "2 points in 1 cases never activate" in repr(data)


def test_the_card_says_what_is_there_and_whose_it_is(folder, tmp_path):
    card = repr(load(folder))
    for words in ("28 heartbeats", "4: v1, v2, v4, v10", "focal (4), pattern (24)", "600 (8), 1000 (12), not given (8)",
                  "50 (8)", "28 of 16117 published pairs", "10.6075/J0SN094N"):
        assert words in card, card
    assert "0 heartbeats" in repr(load(folder)[[]])
    made_intracardiac_files(tmp_path / "mine", hearts=("v1", "v99"))
    assert "unknown origin" in load(tmp_path / "mine").source and "v99" in load(tmp_path / "mine").source


@pytest.mark.parametrize("index", [slice(3, 9), [5, 2, 2], 4, [6, 7, 8], []])
def test_a_subset_holds_the_same_cases_everywhere(folder, index):
    data = load(folder)
    subset, rows = data[index], np.atleast_1d(np.arange(28)[index])
    assert len(subset) == len(rows) and subset.table["file"].tolist() == data.table["file"].iloc[rows].tolist()
    for name in ("voltage_mv", "ecg_mv", "activation_ms"):
        assert np.array_equal(getattr(subset, name), getattr(data, name)[rows])
    assert subset.source == data.source


def test_a_mask_one_heart_and_a_part_of_each(folder):
    data = load(folder)
    assert set(data[data.hearts == "v4"].hearts) == set(data["v4"].hearts) == {"v4"}
    with pytest.raises(DataError, match="no heart v9; there are v1, v2, v4, v10"):
        data["v9"]
    for wrong in (dict(hearts=0), dict(cases=-3), dict(folder=8)):
        with pytest.raises(DataError, match=r"the first is a folder, .* counts from 1: load\(hearts=8\)"):
            intracardiac.load(**dict(folder=folder) | wrong)
    few = intracardiac.load(folder, hearts=2, cases=3, progress=False)
    assert set(few.hearts) == {"v1", "v2"} and len(few) == 6


def test_sets_are_joined_and_a_folder_one_level_too_high_is_the_same_data(folder):
    data = load(folder)
    both = intracardiac.concatenate(data[:9], data[9:])
    assert both.table.equals(data.table) and np.array_equal(both.voltage_mv, data.voltage_mv)
    assert load(folder.parent).source == data.source


def test_neighbours_are_a_view_of_the_pack_which_changing_an_array_never_changes(folder):
    data = load(folder)
    assert np.shares_memory(data[np.arange(7, 14)].voltage_mv, data.voltage_mv)
    data.voltage_mv[:] = 0
    assert load(folder).voltage_mv.min() < -80


# ---- virtual hearts where no real file is ----

@pytest.fixture()
def asked(tmp_path, monkeypatch):
    """What a stand-in for the simulator, with the code of ``simulator/dataset.py``, was asked for."""
    asked = []

    def simulate_intracardiac(hearts, cases, seed, **how):
        asked.append((hearts, cases, seed))
        return made_batches([f"h{number}" for number in range(hearts)], cases, seed)

    for name in ("simulator", "nothing here"):
        (tmp_path / name).mkdir()
    (tmp_path / "simulator" / "dataset.py").write_text("version = 1")
    monkeypatch.setattr(dataset, "__file__", str(tmp_path / "simulator" / "dataset.py"))
    monkeypatch.setattr(dataset, "count_cases", lambda hearts, cases, as_published: hearts * cases)
    monkeypatch.setattr(dataset, "simulate_intracardiac", simulate_intracardiac)
    monkeypatch.chdir(tmp_path / "nothing here")
    monkeypatch.setattr("cardiac_ml.files.ROOT", tmp_path / "nothing here")
    return asked


def test_without_real_files_virtual_hearts_are_made_once_and_announced(asked, capsys):
    first, second = (intracardiac.load(hearts=4, cases=3, progress=False) for _ in range(2))
    said = capsys.readouterr().out.splitlines()
    assert asked == [(4, 3, 0)] and np.array_equal(first.voltage_mv, second.voltage_mv)
    assert len(first) == 12 and first.source.startswith("virtual hearts") and "scar_mm" in first.table
    assert len(said) == 2 and "virtual hearts" in said[0] and "download_intracardiac_dataset.sh" in said[0]


def test_other_sizes_seeds_and_simulators_are_other_packs(asked, own_cache):
    code = Path(dataset.__file__)
    for seed, version in ((0, "1"), (1, "1"), (0, "1  # a comment changes nothing")):
        code.write_text(f"version = {version}")
        intracardiac.simulate(3, 2, seed, progress=False)
    assert len(list(own_cache.iterdir())) == 2
    code.write_text("version = 2")
    intracardiac.simulate(3, 2, progress=False)
    assert asked == [(3, 2, 0), (3, 2, 1), (3, 2, 0)]
    assert len(list(own_cache.iterdir())) == 2, "the pack of the older simulator was removed"


def test_real_files_come_before_virtual_ones(asked, folder, monkeypatch):
    monkeypatch.setenv("CARDIAC_ML_DATA", str(folder.parent))
    assert "published" in intracardiac.load(progress=False).source and not asked
    assert "virtual" in intracardiac.simulate(2, 2, seed=7, progress=False).source, "asked for by name"


# ---- size ----

SPARSE = """
import json, resource, sys
import numpy as np, pandas as pd
from pathlib import Path
from cardiac_ml import intracardiac
from cardiac_ml.formats import intracardiac_files

folder, cases = Path(sys.argv[1]), 16117
folder.mkdir()
for name, shape in intracardiac_files.SHAPES.items():  # holes instead of zeros: 2.8 GB that take no room
    np.lib.format.open_memmap(folder / f"{name}.npy", "w+", "<f4", (cases, *shape))
table = intracardiac_files.tidy(pd.DataFrame({"heart": np.repeat([f"v{n}" for n in range(15)], 1075)[:cases]}))
table.to_csv(folder / "table.csv", index=False)
card = dict(format=intracardiac_files.PACK_FORMAT, source="sparse", unpaired=[], cases=cases,
            columns={name: str(kind) for name, kind in table.dtypes.items()})
(folder / "card.json").write_text(json.dumps(card))
(folder / "checksums.json").write_text("{}")
def peak():
    if (status := Path("/proc/self/status")).exists():  # getrusage would count the process that started this one, too
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
dataset = intracardiac.open_pack(folder)
train, valid, test = intracardiac.split_by_heart(dataset.table)
print(len(dataset), repr(dataset)[:12], dataset.ecg_mv.shape, float(dataset.activation_ms.max()))
print(peak())  # task 3: no voltages
visited = dataset[train[:2000]].voltage_mv
print(float(visited[:, :, ::250].max()))  # every page of an eighth of the voltages: all of them would take 20 s
print(peak())  # an eighth of task 4
"""


@pytest.mark.skipif(os.name != "posix", reason="the peak memory of a process is asked for with the resource module")
def test_the_published_size_fits_into_memory(tmp_path):
    result = subprocess.run([sys.executable, "-c", SPARSE, str(tmp_path / "pack")], cwd=ROOT, text=True,
                            capture_output=True, timeout=600)
    assert result.returncode == 0, result.stderr
    loaded, task_3, _, eighth_of_task_4 = result.stdout.splitlines()
    assert loaded == "16117 Intracardiac (16117, 12, 500) 0.0"
    assert 0.3e9 < float(task_3) < 1.5e9
    assert float(eighth_of_task_4) - float(task_3) < 0.7e9, "2000 cases are 0.3 GB, and one copy of them"
