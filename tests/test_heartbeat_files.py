import gzip
import os
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


def lines_of(folder, name="mitbih_train"):
    return (folder / f"{name}.csv").read_text().splitlines()


def with_line(folder, number, text, name="mitbih_train"):
    lines = lines_of(folder, name)
    lines[number - 1] = text
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def with_cell(folder, number, column, text, name="mitbih_train"):
    cells = lines_of(folder, name)[number - 1].split(",")
    cells[column - 1] = text
    with_line(folder, number, ",".join(cells), name)


# Writing

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


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """The folder of the fast copies."""
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "heartbeats"


def test_a_changed_file_is_read_again_and_its_old_copy_goes(folder, copies):
    load_mitbih(folder)
    (copies / "my-notes.npz").touch()
    with_cell(folder, 3, 10, "0.125")
    assert load_mitbih(folder)[0].beats[2, 9] == 0.125
    assert len(list(copies.iterdir())) == 3 and sorted(folder.glob("*.np?")) == [], "two copies and the notes"
    state = (folder / "mitbih_train.csv").stat()
    with_cell(folder, 3, 10, "7.125")  # the same size, and only its time differs
    os.utime(folder / "mitbih_train.csv", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert "line 3 has 7.125" in message(load_mitbih, folder)


@pytest.mark.parametrize("damage", [
    lambda copy: copy.write_bytes(copy.read_bytes()[:3000]),
    lambda copy: copy.write_bytes(b""),
    lambda copy: np.save(copy.open("wb"), np.zeros((3, 5))),
    lambda copy: np.savez(copy, rows=np.array([{}])),
    flip_a_bit,
])
def test_a_damaged_copy_is_made_again(folder, copies, damage):
    first, _ = load_mitbih(folder)
    copy, = copies.glob("mitbih_train*.npz")
    damage(copy)
    assert np.array_equal(load_mitbih(folder)[0].beats, first.beats)
    assert np.load(copy)["rows"].shape == (40, 188)


def test_a_full_disk_warns_and_the_data_is_there(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path / "cache"))
    unwritable(monkeypatch, tmp_path)
    with pytest.warns(UserWarning, match="could not be kept.*No space left"):
        train, test = load_mitbih(folder)
    assert len(train) == len(test) == 40


# Bad files

@pytest.mark.parametrize("column, text, expected", [
    *((12, text, f"line 7 has {text or 'nothing'} in column 12, expected a number in 0..1")
      for text in ("abc", "", "nan", "-inf", "1.01", "-0.5")),
    (188, "5", "line 7 has class 5 in column 188, expected a whole number 0..4"),
    (188, "-1", "line 7 has class -1 in column 188, expected a whole number 0..4"),
    (188, "1.5", "line 7 has class 1.5 in column 188, expected a whole number 0..4"),
    (188, "nan", "line 7 has class nan in column 188, expected a whole number 0..4"),
])
def test_a_bad_cell_is_named(folder, column, text, expected):
    with_cell(folder, 7, column, text)
    said = message(load_mitbih, folder)
    assert f"{folder / 'mitbih_train.csv'}: {expected}" in said and not list(folder.glob("mitbih_train*.np?"))


@pytest.mark.parametrize("content, words", [
    (b"0.5;0.5;1\n", "separated by semicolons"), (b"<!doctype html>", "a web page"), (b"PK\x03\x04\0\0", "binary")])
def test_other_kinds_of_files_get_their_own_words(folder, content, words):
    (folder / "mitbih_train.csv").write_bytes(content)
    assert f"the file is {words}" in message(load_mitbih, folder)


def test_a_truncated_line_is_named(folder):
    text = (folder / "mitbih_test.csv").read_text()
    (folder / "mitbih_test.csv").write_text(text[:-2000])
    said = message(load_mitbih, folder)
    assert "mitbih_test.csv: line 40 has" in said and "cut short" in said and "Download" in said
    cut_cell = ",".join(lines_of(folder)[0].split(",")[:100])
    with_line(folder, 1, cut_cell)
    assert "mitbih_train.csv: line 1 has 100 columns, expected 188" in message(load_mitbih, folder)


def test_other_columns_are_named(folder):
    with_line(folder, 9, lines_of(folder)[8] + ",0.5")
    assert "line 9 has 189 columns, expected 188" in message(load_mitbih, folder)
    lines = [line.rpartition(",")[0] for line in lines_of(folder)]
    (folder / "mitbih_train.csv").write_text("\n".join(lines))
    assert "line 1 has 187 columns, expected 188" in message(load_mitbih, folder)
    (folder / "mitbih_train.csv").write_text("\n".join(line.replace(",", ";") for line in lines))
    assert "separated by semicolons" in message(load_mitbih, folder)


def test_a_header_is_named(folder):
    header = ",".join([f"x{n}" for n in range(187)] + ["label"])
    for line in (header, ",".join(str(n) for n in range(188))):  # pandas may write numbers as names
        lines = lines_of(folder)
        (folder / "mitbih_train.csv").write_text("\n".join([line, *lines]))
        said = message(load_mitbih, folder)
        assert "line 1 is a header" in said and "Delete that line" in said
        (folder / "mitbih_train.csv").write_text("\n".join(lines))


def test_an_empty_file_is_named(folder):
    for content in (b"", b"\n\n"):
        (folder / "ptbdb_normal.csv").write_bytes(content)
        assert "ptbdb_normal.csv: the file is empty" in message(load_ptb, folder)


def test_something_that_is_no_csv_is_refused(folder):
    (folder / "ptbdb_normal.csv").write_bytes(bytes(range(256)) * 50)
    assert "ptbdb_normal.csv: the file is binary" in message(load_ptb, folder)


def test_swapped_files_are_noticed(folder):
    (folder / "ptbdb_normal.csv").rename(folder / "aside.csv")
    (folder / "ptbdb_abnormal.csv").rename(folder / "ptbdb_normal.csv")
    (folder / "aside.csv").rename(folder / "ptbdb_abnormal.csv")
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
    rows = (folder / "ptbdb_normal.csv").read_bytes()
    whole = gzip.compress(rows)
    (folder / "ptbdb_normal.csv").unlink()
    (folder / "ptbdb_normal.csv.gz").write_bytes(whole[:len(whole) // 2])
    assert "ptbdb_normal.csv.gz is damaged or incomplete" in message(load_ptb, folder)
    (folder / "ptbdb_normal.csv.gz").write_bytes(rows)
    assert "ptbdb_normal.csv.gz is damaged or incomplete" in message(load_ptb, folder)
    place = tmp_path / "archive.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ptbdb_normal.csv", "ptbdb_abnormal.csv"):
            archive.writestr(name, rows)
    content = place.read_bytes()
    place.write_bytes(content[:200] + bytes(100) + content[300:])
    assert "archive.zip (ptbdb_normal.csv in it) is damaged" in message(load_ptb, place)
    place.write_bytes(content[:-500])
    assert "archive.zip is not a zip archive, or only a part" in message(load_ptb, place)


def test_an_unfinished_archive_beside_whole_files_does_no_harm(folder):
    (folder / "archive.zip").write_bytes(b"PK\3\4 and no more")
    assert len(load_ptb(folder)) == 80
