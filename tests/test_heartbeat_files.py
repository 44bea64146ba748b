import gzip
import os
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from tiny import flip_a_bit, made_heartbeat_files, message, unwritable

from cardiac_ml.formats import heartbeat_files
from cardiac_ml.formats.heartbeat_files import Source, parse_rows, write_rows
from cardiac_ml.heartbeats import load_mitbih, load_ptb


@pytest.fixture
def folder(tmp_path):
    made_heartbeat_files(tmp_path / "ecg_dataset")
    return tmp_path / "ecg_dataset"


def change(folder, changed):
    """Rewrite mitbih_train.csv: ``changed`` gets its rows, lists of cells, and returns others."""
    path = folder / "mitbih_train.csv"
    rows = changed([line.split(",") for line in path.read_text().splitlines()])
    path.write_text("\n".join(map(",".join, rows)))


def cell(line, column, text):
    def changed(rows):
        rows[line - 1][column - 1] = text
        return rows
    return changed


def test_real_rows_survive_writing_and_reading(real_data, tmp_path):
    table = pd.read_csv(real_data / "kaggle_rows.csv")
    rows = table.iloc[:, 2:].to_numpy(np.float32)
    write_rows(tmp_path / "mitbih_test.csv", rows)
    assert np.array_equal(parse_rows(Source(tmp_path / "mitbih_test.csv"), (0, 1, 2, 3, 4)), rows)


# The fast copy

def test_the_second_load_does_not_read_the_csv(folder, monkeypatch):
    first, _ = load_mitbih(folder)
    monkeypatch.setattr(heartbeat_files, "parse_rows", lambda *_: pytest.fail("the CSV was read again"))
    again, _ = load_mitbih(folder)
    assert np.array_equal(again.beats, first.beats) and type(again.beats) is np.ndarray


def test_a_changed_file_is_read_again_and_its_old_copy_goes(folder, own_cache):
    load_mitbih(folder)
    (own_cache / "heartbeats" / "my-notes.npz").touch()
    change(folder, cell(3, 10, "0.125"))
    assert load_mitbih(folder)[0].beats[2, 9] == 0.125
    assert len(list((own_cache / "heartbeats").iterdir())) == 3, "two copies and the notes"
    assert sorted(folder.glob("*.np?")) == []
    state = (folder / "mitbih_train.csv").stat()
    change(folder, cell(3, 10, "7.125"))  # the same size, and only its time differs
    os.utime(folder / "mitbih_train.csv", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert "line 3 has 7.125" in message(load_mitbih, folder)


@pytest.mark.parametrize("damage", [
    lambda copy: copy.write_bytes(copy.read_bytes()[:3000]),
    lambda copy: copy.write_bytes(b""),
    lambda copy: np.save(copy.open("wb"), np.zeros((3, 5))),
    lambda copy: np.savez(copy, rows=np.array([{}])),
    flip_a_bit,
])
def test_a_damaged_copy_is_made_again(folder, own_cache, damage):
    first, _ = load_mitbih(folder)
    copy, = own_cache.glob("heartbeats/mitbih_train*.npz")
    damage(copy)
    assert np.array_equal(load_mitbih(folder)[0].beats, first.beats)
    assert np.load(copy)["rows"].shape == (40, 188)


def test_a_full_disk_warns_and_the_data_is_there(folder, own_cache, monkeypatch):
    unwritable(monkeypatch, own_cache.parent)
    with pytest.warns(UserWarning, match="could not be kept.*No space left"):
        train, test = load_mitbih(folder)
    assert len(train) == len(test) == 40


# Bad files

LENGTH = "columns, expected 188 (187 samples, then the class)"


@pytest.mark.parametrize("changed, words", [
    *((cell(7, 12, text), f"line 7 has {text or 'nothing'} in column 12, expected a number in 0..1")
      for text in ("abc", "", "nan", "-inf", "1.01", "-0.5")),
    *((cell(7, 188, text), f"line 7 has class {text} in column 188, expected a whole number 0..4")
      for text in ("5", "-1", "1.5", "nan")),
    (lambda rows: [*rows[:39], [*rows[39][:99], "1.5000e"]], f"line 40 has 100 {LENGTH}. It is cut short. Download"),
    (lambda rows: [rows[0][:100], *rows[1:]], f"line 1 has 100 {LENGTH}"),
    (lambda rows: [*rows[:8], [*rows[8], "0.5"], *rows[9:]], f"line 9 has 189 {LENGTH}"),
    (lambda rows: [row[:-1] for row in rows], f"line 1 has 187 {LENGTH}"),
    (lambda rows: [[*(f"x{n}" for n in range(187)), "label"], *rows],
     "line 1 is a header (x0, x1 ...), but these files have none. Delete that line"),
    (lambda rows: [[str(n) for n in range(188)], *rows],  # pandas may write numbers as names
     "line 1 is a header (0, 1 ...), but these files have none. Delete that line"),
])
def test_a_fault_in_a_line_is_named(folder, own_cache, changed, words):
    change(folder, changed)
    assert f"{folder / 'mitbih_train.csv'}: {words}" in message(load_mitbih, folder)
    assert not list(own_cache.rglob("mitbih_train*.np?"))


@pytest.mark.parametrize("content, words", [
    (b"", "empty"), (b"\n\n", "empty"), (b"0.5;0.5;1\n", "separated by semicolons"), (b"<!doctype html>", "a web page"),
    (b"PK\x03\x04\0\0", "binary"), (bytes(range(256)) * 50, "binary")])
def test_other_kinds_of_files_get_their_own_words(folder, content, words):
    (folder / "mitbih_train.csv").write_bytes(content)
    assert f"mitbih_train.csv: the file is {words}" in message(load_mitbih, folder)


def test_a_file_under_the_name_of_another_is_noticed(folder):
    shutil.copy(folder / "ptbdb_abnormal.csv", folder / "ptbdb_normal.csv")
    said = message(load_ptb, folder)
    assert "line 1 has class 1.000000000000000000e+00 in column 188, expected 0" in said and "right name" in said


def test_a_missing_file_or_folder_says_where_to_get_it(folder, tmp_path):
    (folder / "mitbih_test.csv").unlink()
    said = message(load_mitbih, folder)
    assert "has no mitbih_test.csv" in said and "kaggle.com" in said
    (tmp_path / "other").mkdir()
    assert "has no ptbdb_normal.csv and no ptbdb_abnormal.csv" in message(load_ptb, tmp_path / "other")
    assert "does not exist" in message(load_ptb, tmp_path / "absent")


def test_broken_archives_are_named(folder, tmp_path):
    rows, zipped, place = (folder / "ptbdb_normal.csv").read_bytes(), folder / "ptbdb_normal.csv.gz", tmp_path / "a.zip"
    (folder / "ptbdb_normal.csv").unlink()
    for content in (gzip.compress(rows)[:2000], rows):
        zipped.write_bytes(content)
        assert "ptbdb_normal.csv.gz is damaged or incomplete" in message(load_ptb, folder)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ptbdb_normal.csv", "ptbdb_abnormal.csv"):
            archive.writestr(name, rows)
    content = place.read_bytes()
    place.write_bytes(content[:200] + bytes(100) + content[300:])
    assert "a.zip (ptbdb_normal.csv in it) is damaged" in message(load_ptb, place)
    place.write_bytes(content[:-500])
    assert "a.zip is not a zip archive, or only a part" in message(load_ptb, place)


def test_an_unfinished_archive_beside_whole_files_does_no_harm(folder):
    (folder / "archive.zip").write_bytes(b"PK\3\4 and no more")
    assert len(load_ptb(folder)) == 80
