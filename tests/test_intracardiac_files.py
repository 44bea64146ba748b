"""The intracardiac files: found in any layout, refused with a clear word when something is wrong, and written."""
import io
import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_intracardiac import load, made_activation, made_batches, made_intracardiac_files, made_pair

from cardiac_ml import intracardiac
from cardiac_ml.formats import intracardiac_files
from cardiac_ml.activation import upstroke_ms
from cardiac_ml.files import DataError
from cardiac_ml.formats.intracardiac_files import PUBLISHED_HEARTS, PUBLISHED_PAIRS, PUBLISHED_TOTAL, parse_name
from cardiac_ml.virtual.writing import write_pairs

PLACE, NAME = "data_hearts_dd_0p2", "{role}_hearts_dd_0p2_volunteer.v1_pattern.0"
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture()
def folder(tmp_path):
    made_intracardiac_files(tmp_path / "intracardiac_dataset")
    return tmp_path / "intracardiac_dataset"


def refused(folder, *words):
    with pytest.raises(DataError) as error:
        load(folder)
    for word in words:
        assert str(word) in str(error.value), error.value


# ---- names and pairs ----

def test_the_published_folders_add_up():
    assert len(PUBLISHED_PAIRS) == 17 and sum(PUBLISHED_PAIRS.values()) == PUBLISHED_TOTAL == 16117
    assert len(PUBLISHED_HEARTS) == 15 and "v3" not in PUBLISHED_HEARTS


@pytest.mark.parametrize("design, rest, fields", [
    ("hearts_dd_0p2", "volunteer.v1_pattern.0", dict(volunteer="v1", pattern="0")),
    ("hearts_dd_0p2_geo_act_1_bcl_gkr_I", "bcl.1000.gkr.050.pattern.11.volunteer.v9",
     dict(bcl="1000", gkr="050", pattern="11", volunteer="v9")),
    ("hearts_dd_0p2_geo_inn_act_3_bcl", "volunteer.v14.innerindex.74.bcl.1000",
     dict(bcl="1000", innerindex="74", volunteer="v14")),
    ("hearts_dd_0p2_geo_inn", "innerindex.3_volunteer.v2.scar_size.big",
     dict(innerindex="3", volunteer="v2", scar_size="big"))])
def test_names_are_read_in_any_order_of_fields(design, rest, fields):
    for place in ("", "some/folder/"):
        assert parse_name(f"{place}VmData_{design}_{rest}.npy") == ("VmData", design, fields)


@pytest.mark.parametrize("name", ["VmData_a_volunteer.v1 (1)", "VmData_a_pattern.3", "VmData", "VmData_hearts",
                                  "VmData_a_volunteer.v1.volunteer.v2", "pECGData_a_volunteer.v1.pattern.",
                                  "VmData_a_volunteer.v1.bcl.slow", "VmData_a_volunteer.v1.bcl.600.5",
                                  "VmData_a_volunteer.v1.pattern." + 20 * "9", "strange\udcff/VmData_a_volunteer.v1"])
def test_a_name_that_cannot_be_read_is_an_error(tmp_path, name):
    made_pair(tmp_path / PLACE, NAME, made_activation(1, 0))
    (tmp_path / f"{name}.npy").parent.mkdir(exist_ok=True)
    (tmp_path / f"{name}.npy").write_bytes(b"")
    refused(tmp_path, f"{name}.npy", "key.value", "Rename")


def test_every_case_is_loaded_as_it_was_made(folder):
    dataset = load(folder)
    assert len(dataset) == 28 and list(dict.fromkeys(dataset.hearts)) == ["v1", "v2", "v4", "v10"]
    assert dataset.ecg_mv.shape == (28, 12, 500) and dataset.ecg_mv.dtype == np.float32
    for row, case in dataset.table.iterrows():
        electrodes = np.load(folder / case["file"])
        voltage = np.load(folder / case["file"].replace("pECGData", "VmData"))
        assert np.array_equal(dataset.electrodes_mv[row], electrodes.T.astype(np.float32))
        assert np.array_equal(dataset.voltage_mv[row], voltage.T.astype(np.float32))
        assert np.array_equal(dataset.activation_ms[row], upstroke_ms(voltage.T))
        assert np.allclose(dataset.ecg_mv[row, 0], electrodes[:, 1] - electrodes[:, 0], atol=1e-4)


def test_the_table_tells_what_the_names_tell(folder):
    table = load(folder).table
    row = table[table["design"] == "hearts_dd_0p2_geo_act_2_bcl_gkr_I"].iloc[1]
    assert row[["heart", "kind", "pattern", "bcl", "gkr", "act"]].tolist() == ["v1", "pattern", 1, 1000, 50, 2]
    focal = table[table["kind"] == "focal"]
    assert len(focal) == 4 and (focal["innerindex"] == 0).all() and focal["pattern"].isna().all()
    assert table[table["design"] == "hearts_dd_0p2"]["bcl"].isna().all()


def test_the_order_does_not_depend_on_the_file_system(folder):
    before = intracardiac_files.find_pairs(folder)[0]
    shuffled = dict(sorted(intracardiac_files.list_files(folder).items(), key=lambda item: hash(item[0])))
    after, pairs, _ = intracardiac_files.find_pairs(folder, shuffled)
    pd.testing.assert_frame_equal(before, after)
    assert [electrodes.relative_to(folder).as_posix() for electrodes, _ in pairs] == after["file"].tolist()


def test_files_moved_to_other_folders_still_make_pairs(folder):
    before = load(folder)
    for path in [*folder.glob("data_*/*.npy")]:
        place = folder / "all" / path.name.partition("_")[0]
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    (folder / "all" / "._VmData_hearts_dd_0p2_volunteer.v1_pattern.0.npy").write_bytes(b"what an Apple archive adds")
    after = load(folder)
    assert np.array_equal(before.voltage_mv, after.voltage_mv)
    assert after.table.drop(columns="file").equals(before.table.drop(columns="file"))


def test_an_unknown_field_is_kept_as_a_column(tmp_path):
    for size in ("07", "11"):
        made_pair(tmp_path / PLACE, f"{{role}}_hearts_dd_0p2_volunteer.v1_pattern.0.scar_size.{size}.tissue.stiff",
                  made_activation(1, 0))
    made_pair(tmp_path / PLACE, NAME, made_activation(1, 1))
    for dataset in (load(tmp_path), load(tmp_path)):  # once packed, once from the pack
        assert dataset.table["scar_size"].tolist() == [pd.NA, 7, 11]
        assert dataset.table["tissue"].tolist()[1:] == ["stiff", "stiff"]


def test_half_pairs_are_left_out_and_counted(folder):
    (folder / PLACE / "pECGData_hearts_dd_0p2_volunteer.v1_pattern.0.npy").unlink()
    (folder / PLACE / "VmData_hearts_dd_0p2_volunteer.v10_pattern.1.npy").unlink()
    for dataset in (load(folder), load(folder)):
        assert len(dataset) == 26 and len(dataset.unpaired) == 2
        assert dataset.unpaired[0] == f"{PLACE}/VmData_hearts_dd_0p2_volunteer.v1_pattern.0.npy"
        assert "2 files without their other half" in repr(dataset) and "pattern.0.npy" in repr(dataset)


def test_two_files_of_one_case_are_an_error_that_names_both(folder):
    first = "VmData_hearts_dd_0p2_volunteer.v1_pattern.0.npy"
    second = "VmData_hearts_dd_0p2_pattern.0_volunteer.v1.npy"  # the same fields in another order
    (folder / "again").mkdir()
    (folder / "again" / second).write_bytes((folder / PLACE / first).read_bytes())
    refused(folder, "two VmData files of one case", f"{PLACE}/{first}", f"again/{second}", "remove one")


def test_a_folder_without_pairs_says_how_to_get_them(tmp_path, monkeypatch):
    refused(tmp_path, "no pair", tmp_path, "download_intracardiac_dataset.sh")
    (tmp_path / "test_task_3.npz").write_bytes(b"")
    refused(tmp_path / "test_task_3.npz", "is a file", "Give the folder")
    refused(tmp_path / "absent", "absent", "does not exist", "intracardiac_dataset")
    (tmp_path / "intracardiac_dataset").mkdir()
    monkeypatch.chdir(tmp_path)
    refused(None, "no pair", "Finish the download")  # an unfinished download is not replaced by virtual hearts


# ---- bad files ----

def as_bytes(array, save=np.save):
    file = io.BytesIO()
    save(file, array)
    return file.getvalue()


def with_nan(voltage_mv):
    voltage_mv[20:, 5] = np.nan
    return voltage_mv


BAD_VOLTAGES = {  # what the file holds, bytes or an array, and how it is refused
    "empty": (lambda mv: b"", ["an empty file", "download_intracardiac_dataset.sh"]),
    "truncated": (lambda mv: as_bytes(mv)[:-1000], ["truncated", "download_intracardiac_dataset.sh"]),
    "truncated in its header": (lambda mv: as_bytes(mv)[:60], ["truncated"]),
    "10^12 rows": (lambda mv: as_bytes(mv).replace(b"(500, 75), }          ", b"(1000000000000, 75), }"),
                   ["cannot be read"]),
    "pickled array": (lambda mv: mv.astype(object), ["pickle", "never read"]),
    "pickle": (pickle.dumps, ["not a .npy file", "pickles are never read"]),
    "web page": (lambda mv: b"<!DOCTYPE html><title>404</title>" * 9, ["not a .npy file", "<!DOCTYP"]),
    "archive": (lambda mv: as_bytes(mv, np.savez), ["an archive", "expected real numbers"]),
    "74 points": (lambda mv: mv[:, :-1], ["(500, 74)", "expected (500, 75)"]),
    "transposed": (lambda mv: mv.T, ["(75, 500)", "transposed", ".T"]),
    "reshaped": (lambda mv: mv.reshape(-1), ["(37500,)", "expected (500, 75)"]),
    "whole numbers": (lambda mv: mv.astype(int), ["int64", "real numbers"]),
    "half precision": (lambda mv: mv.astype(np.float16), ["float16", "real numbers"]),
    "in volts": (lambda mv: mv / 1000, ["0.025", "Is it in mV"]),
    "in microvolts": (lambda mv: mv * 1000, ["Is it in mV"]),
    "upside down": (lambda mv: -mv, ["with its sign?"]),
    "constant": (lambda mv: 0 * mv - 85, ["stays at -85 .. -85 mV"]),
    "NaN, which is no point that never activates": (with_nan, ["NaN or infinity 480 times", "row 20, column 5"]),
}


@pytest.mark.parametrize("kind", BAD_VOLTAGES)
def test_a_bad_voltage_file_is_named(folder, own_cache, kind):
    damaged, words = BAD_VOLTAGES[kind]
    path = next((folder / "data_hearts_dd_0p2_geo_act_1_bcl").glob("VmData*v4.npy"))
    content = damaged(np.load(path))
    path.write_bytes(content if isinstance(content, bytes) else as_bytes(content))
    refused(folder, path, *words)
    assert not list(own_cache.glob("*")) and not list(own_cache.glob(".*")), "nothing half-made is left"


def test_a_bad_electrode_file_is_named(folder):
    path = folder / PLACE / "pECGData_hearts_dd_0p2_volunteer.v2_pattern.1.npy"
    electrodes = np.load(path)
    for changed, *words in ((electrodes.T, "(10, 500)", "transposed"), (electrodes * 0, "all values are zero"),
                            (electrodes * 1000, "are these microvolts?")):
        np.save(path, changed)
        refused(folder, path, *words)
    for value in (np.nan, np.inf):
        electrodes[17, 3] = value
        np.save(path, electrodes)
        refused(folder, path, "NaN or infinity", "row 17, column 3")


@pytest.mark.parametrize("content", [b"", b'file,kind\n"a,b\n', b"file,kind\n\xff,b\n", b"file,kind\na,b\na,b,c,d\n",
                                     b"file,bcl\n%s/pECGData_hearts_dd_0p2_volunteer.v1_pattern.0.npy,slow\n"
                                     % PLACE.encode()])
def test_a_table_of_cases_that_is_none_is_named(folder, content):
    (folder / "documentation").mkdir()
    (folder / "documentation" / "cases.csv").write_bytes(content)
    refused(folder, "cases.csv is not the table that this kit writes", "or remove that file")


def test_a_case_copied_under_another_name_is_said(folder):
    for path in (folder / PLACE).glob("*volunteer.v1_pattern.0.npy"):
        shutil.copy(path, str(path).replace("pattern.0", "pattern.7"))
    with pytest.warns(UserWarning, match="1 cases are copies of another .*pattern.7.npy and .*pattern.0.npy"):
        assert len(load(folder)) == 29


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_links_that_lead_nowhere_or_in_a_circle_are_named(folder):
    (folder / "VmData_gone.npy").symlink_to(folder / "nowhere")
    refused(folder, folder / "VmData_gone.npy", "A link that leads nowhere")
    (folder / "VmData_gone.npy").unlink()
    (folder / "circle").symlink_to(folder)
    refused(folder, "circle", "in a circle?")


def test_other_precisions_and_orders_of_storage_are_read(folder):
    path = folder / PLACE / "VmData_hearts_dd_0p2_volunteer.v2_pattern.1.npy"
    voltage = np.load(path)
    for stored in (voltage.astype(np.float32), np.asfortranarray(voltage), voltage.astype(">f8")):
        np.save(path, stored)
        dataset = load(folder)
        row = dataset.table.index[dataset.table["file"].str.endswith("v2_pattern.1.npy")][0]
        assert np.allclose(dataset.voltage_mv[row], voltage.T, atol=1e-4)


# ---- files written, files read again ----

def test_written_pairs_have_the_published_layout(tmp_path):
    out = write_pairs(made_batches(), tmp_path / "out")
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.npy"))
    assert len(files) == 24 and {name.split("/")[0] for name in files} < set(PUBLISHED_PAIRS)
    assert ("data_hearts_dd_0p2_geo_act_1_bcl_gkr/"
            "VmData_hearts_dd_0p2_geo_act_1_bcl_gkr_bcl.600.gkr.050.pattern.2.volunteer.v10.npy") in files
    assert ("data_hearts_dd_0p2_geo_inn_act_1_bcl/"
            "pECGData_hearts_dd_0p2_geo_inn_act_1_bcl_bcl.600.innerindex.3.volunteer.v1.npy") in files
    for name in files:
        signal = np.load(out / name)
        assert signal.dtype == np.float64 and signal.shape == (500, 75 if "VmData" in name else 10)


def test_what_was_written_is_read_again_with_all_its_columns(tmp_path):
    written = load(write_pairs(made_batches(), tmp_path / "out"))
    packed = intracardiac.open_pack(intracardiac_files.write_pack(made_batches(), tmp_path / "p", 12, "made"))
    keys = ["heart", "kind", "pattern", "innerindex", "bcl", "gkr", "scar_mm"]
    written, packed = (data[data.table.sort_values(["heart", "scar_mm"]).index] for data in (written, packed))
    pd.testing.assert_frame_equal(written.table[keys], packed.table[keys])
    assert np.array_equal(written.voltage_mv, packed.voltage_mv)
    assert np.array_equal(written.activation_ms, packed.activation_ms)
    assert "virtual hearts" in written.source


def test_cases_with_equal_names_go_to_the_next_design_and_then_are_refused(tmp_path):
    electrodes, voltage, table = next(made_batches(cases=4))
    out = write_pairs([(electrodes[:3], voltage[:3], table.iloc[[1, 1, 1]])], tmp_path / "out")
    assert {path.name for path in out.glob("data_*")} == {f"data_hearts_dd_0p2_geo_inn_act_{n}_bcl" for n in (1, 2, 3)}
    with pytest.raises(DataError, match="more than three cases of heart v1.*pattern number"):
        write_pairs([(electrodes, voltage, table.iloc[[1, 1, 1, 1]])], tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_a_folder_that_holds_data_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years")
    for place in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(DataError, match=f"{place.name} holds data, which is never overwritten.*new folder"):
            write_pairs(made_batches(), place)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_pairs_half_written_do_not_appear(tmp_path):
    def broken():
        yield from made_batches(hearts=("v1",))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(broken(), tmp_path / "out")
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".out*"))
    with pytest.raises(DataError, match="no case to write"):
        write_pairs([], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Could not write.*choose another folder"):
        write_pairs(made_batches(), tmp_path / "file" / "out")
