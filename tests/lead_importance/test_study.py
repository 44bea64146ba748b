"""From folders in both real layouts to a page about their leads; what is bad is left out, and said."""
import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import message

from cardiac_ml.lead_importance import command, records, report, study
from cardiac_ml.lead_importance.subsets import answers_of_coalitions
from cardiac_ml.leads import INDEPENDENT
from cardiac_ml.training import load
from tools.twelve_lead_copies import made_ecg, write_chapman, write_ptbxl, write_record

pytest.importorskip("wfdb")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """280 records in the layout of Chapman-Shaoxing-Ningbo and 90 in that of PTB-XL, prepared."""
    folder = tmp_path_factory.mktemp("hospitals")
    write_chapman(folder / "chapman", 280, progress=False)
    write_ptbxl(folder / "ptb-xl", 90, seed=1, progress=False)
    return [records.prepare(folder / name, workers=1, progress=False) for name in ("chapman", "ptb-xl")]


@pytest.fixture(scope="module")
def studied(hospitals, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "FEWEST", 5)
        return study.run(*hospitals, out, targets=["left bundle branch block", "sinus bradycardia"], epochs=10), out


def test_the_planted_lead_is_found_inside_and_outside(studied):
    summary, _ = studied
    for one in summary["results"]:
        assert sum(one["value"]) == pytest.approx(one["area"][-1] - one["area"][0], abs=1e-9)
        assert one["area"][0] == 0.5, "without leads everyone gets the same score"
        if one["target"] == "left bundle branch block":
            assert np.argmax(one["value"]) == INDEPENDENT.index("V1")
            assert one["low"][2] > 0.2 > max(np.delete(one["value"], 2))
            assert one["best"][1][0] == ["V1"] and one["scores"]["AUROC"][0] > 0.9
        assert all(0 <= low <= score <= high <= 1 for score, low, high in one["scores"].values())
        assert one["sampling_error"] < 0.1
    assert {one["site"] for one in summary["results"]} == {"inside", "outside"}
    assert len(summary["checks"]) == 4 and all(0 <= one["alone"] <= 1 for one in summary["checks"])


def test_what_is_written(studied, hospitals):
    summary, out = studied
    page = report.write(summary, out / "report.html").read_text()
    assert page.count("<img") == 2 * 3 and "http" not in page and "V1" in page and "LOWT" in page and "39732003" in page
    assert "carries to the other place" in page and "hardly" not in page
    values = pd.read_csv(out / "values.csv")
    assert len(values) == 2 * 2 * 8 and (values.low <= values.value).all() and (values.value <= values.high).all()
    assert json.loads((out / "results.json").read_text())["targets"] == summary["targets"]
    net = load(out / "network.npz")
    assert net.card["targets"] == summary["targets"]
    assert answers_of_coalitions(net, hospitals[1].ecg_mv([0, 3])).shape == (256, 2, 2)


def test_tables_of_a_hospital(hospitals):
    chapman, ptbxl = hospitals
    assert (len(chapman), len(ptbxl)) == (280, 90)
    assert chapman.unmapped == {"39732003": 280} and ptbxl.unmapped["LOWT"] == 90
    assert set(chapman.table.targets.str[0]) == set(ptbxl.table.targets.str[0])
    for hospital in hospitals:
        parts = [set(hospital.table.patient.iloc[rows]) for rows in hospital.split()]
        assert len(set.union(*parts)) == sum(map(len, parts)), "nobody is in two parts"
        assert sum(map(len, hospital.split())) == len(hospital)
    assert set(ptbxl.table.fold.iloc[ptbxl.split().test]) == {10}
    assert ptbxl.ecg_mv([1]).shape == (1, 8, 1000) and 0.05 < ptbxl.ecg_mv().std() < 1


def test_prepared_once_and_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "BLOCK", 8)
    write_chapman(tmp_path / "set", 20, progress=False)
    first = records.prepare(tmp_path / "set", workers=1, progress=False)
    before, path = first.ecg_mv(), first.stored.filename
    read, count = records.read_record, []
    monkeypatch.setattr(records, "read_record", lambda *given: count.append(1) or read(*given))
    assert np.array_equal(records.prepare(tmp_path / "set", workers=1, progress=False).ecg_mv(), before) and not count
    damaged = np.load(path, mmap_mode="r+")
    damaged[9, 2, 50] += 1  # in the second of three blocks
    damaged.flush()
    assert np.array_equal(records.prepare(tmp_path / "set", workers=1, progress=False).ecg_mv(), before)
    assert len(count) == 8, "that block alone was made again"
    listed = path.with_name("block_00000.json")
    listed.write_text(listed.read_text().replace("Male", "Mole").replace("4266", "4267"))
    assert records.prepare(tmp_path / "set", workers=1, progress=False).table.equals(first.table) and len(count) == 16
    whole = Path(path).read_bytes()
    for content in (b"", whole[:50], whole[:len(whole) // 2], whole.replace(b"<i2", b"<u2", 1)):
        Path(path).unlink()
        Path(path).write_bytes(content)
        assert np.array_equal(records.prepare(tmp_path / "set", workers=1, progress=False).ecg_mv(), before)
        assert "is damaged, so it is made again" in capsys.readouterr().out


def test_bad_records_are_left_out_and_said(tmp_path):
    good = made_ecg(np.random.default_rng(0), "426783006")
    flat = np.where(np.arange(12)[:, None] == 8, 0, good)
    given = dict.fromkeys(("good", "slow", "long", "cut", "lost", "bare"), good)
    for name, ecg in (given | dict(flat=flat, clipped=np.clip(good, -0.2, 0.2), short=good[:, :1000])).items():
        write_record(tmp_path / name, ecg, 500, ["Dx: 426783006,1"], mat=True)
    text = (tmp_path / "good.hea").read_text().replace("good", "{}")
    for name, size in (("slow", "12 0.001 5000"), ("long", "12 500 10000000000"), ("bare", "0 500 5000")):
        (tmp_path / f"{name}.hea").write_text(text.replace("{}", name).replace("12 500 5000", size, 1))
    (tmp_path / "cut.mat").write_bytes((tmp_path / "cut.mat").read_bytes()[:20000])
    (tmp_path / "lost.mat").unlink()
    hospital = records.prepare(tmp_path, workers=1, progress=False)
    reasons = hospital.left_out.set_index("record").reason
    assert hospital.table.record.tolist() == ["good"] and hospital.unmapped == {"1": 1}
    for name, words in dict(flat="V3 is flat", clipped="is clipped", short="lasts 2.0 s", slow="0.001 Hz",
                            lost="beside it", long="10000000000 samples", cut="cut.hea could not be read",
                            bare="names no leads").items():
        assert words in reasons[name]
    (tmp_path / "good.hea").unlink()
    assert "None of the 8 records" in message(records.prepare, tmp_path, workers=1, progress=False)


def test_folders_that_are_no_set(tmp_path):
    assert "holds no WFDB records" in message(records.prepare, tmp_path)
    write_ptbxl(tmp_path / "p", 3, progress=False)
    table = tmp_path / "p" / "ptbxl_database.csv"
    text = table.read_text()
    table.write_text(text.replace("strat_fold", "fold"))
    assert "lacks the column strat_fold" in message(records.prepare, tmp_path / "p")
    table.unlink()
    assert "ptbxl_database.csv" in message(records.prepare, tmp_path / "p")


def test_targets_that_cannot_be_asked_about():
    part = np.array([{"sinus rhythm"}] * 15 + [set()] * 15, dtype=object)
    assert study.usable_targets([part, part]) == ["sinus rhythm"]
    assert "no target 'hiccups'" in message(study.usable_targets, [part], ["hiccups"])
    assert "Take more records" in message(study.usable_targets, [part[:12]])


def test_virtual_rhythms_from_hearts_to_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "FEWEST", 1)
    parser = argparse.ArgumentParser()
    command.add_commands(parser.add_subparsers())
    options = parser.parse_args(["lead-importance", *"--hearts 4 --epochs 1 --workers 1 --no-check".split(),
                                 "--out", str(tmp_path)])
    options.run(options)
    assert (tmp_path / "report.html").exists() and "32 records of 4 patients" in capsys.readouterr().out


def test_the_real_sample(real_data):
    hospital = records.prepare(real_data / "cinc2021_sample", workers=1, progress=False)
    assert len(hospital) + len(hospital.left_out) == 30 and len(hospital) >= 27
    assert hospital.labels(["sinus tachycardia"]).sum() > 10
