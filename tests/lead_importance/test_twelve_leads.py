"""Real twelve-lead records, and made ones with everything wrong that files can have."""
import numpy as np
import pytest
from tiny import message

from cardiac_ml import leads
from cardiac_ml.lead_importance.twelve_leads import _samples, comments_of, in_order, read_record, resampled
from tools.twelve_lead_copies import write_record

wfdb = pytest.importorskip("wfdb")
TIME_S = np.arange(1000) / 500


@pytest.fixture
def twelve():
    """(12, 1000) mV at 500 Hz, with leads that follow from the eight as they must."""
    rng = np.random.default_rng(0)
    return leads.from_independent(
        np.stack([np.sin(2 * np.pi * (rng.uniform(1, 8) * TIME_S + rng.random())) for _ in range(8)]))


def write(folder, name, signal, names=leads.LEADS, rate=500, unit="mV",
          comments=("Dx: 164909002", "Age: 61", "Sex: F")):
    wfdb.wrsamp(name, fs=rate, units=[unit] * len(names), sig_name=list(names), p_signal=np.asarray(signal, float).T,
                fmt=["16"] * len(names), write_dir=str(folder), comments=list(comments))


def read(folder, name="a", **options):
    return read_record(folder / f"{name}.hea", **options)


def test_order_unit_and_rate_do_not_matter(twelve, tmp_path):
    write(tmp_path, "a", twelve)
    mixed = np.random.default_rng(1).permutation(12)
    write(tmp_path, "b", 1000 * twelve[mixed], [leads.LEADS[k].upper() for k in mixed], unit="uV")
    slow = resampled(twelve, 500, 250)
    write(tmp_path, "c", slow, rate=250, comments=["Sex: Unknown", "Age: NaN", "Dx: 426783006, 59118001", "Patient: 7"])
    (first, header), (second, _), (third, other) = (read(tmp_path, name) for name in "abc")
    assert first.shape == (12, 1000) and first.dtype == np.float32 and header.fs == 500
    assert np.abs(first - twelve).max() < 2e-3 and np.abs(second - twelve).max() < 2e-3
    assert np.abs(resampled(third, 250, 500) - twelve)[:, 20:-20].max() < 0.02
    assert comments_of(header.comments) == dict(codes=("164909002",), age=61, sex="F")
    told = comments_of(other.comments)
    assert np.isnan(told["age"]) and told["codes"] == ("426783006", "59118001") and told["patient"] == "7"
    assert read(tmp_path, seconds=1)[0].shape == (12, 500)


@pytest.mark.parametrize("mat", (False, True))
def test_samples_are_those_that_wfdb_reads(twelve, tmp_path, mat):
    write_record(tmp_path / "a", twelve, 500, mat=mat)
    file = tmp_path / ("a.mat" if mat else "a.dat")
    file.write_bytes(file.read_bytes()[:-24] + b"\x00\x80" + file.read_bytes()[-22:])  # stands for a lost sample
    header = wfdb.rdheader(str(tmp_path / "a"))
    assert np.array_equal(_samples(tmp_path / "a.hea", header, 1000), wfdb.rdrecord(str(tmp_path / "a")).p_signal,
                          equal_nan=True)
    assert "lead I has missing samples" in message(read, tmp_path)


@pytest.mark.parametrize("kept", ["I II", "III aVF", "aVR aVL", "II aVL aVF"])
def test_missing_limb_leads_follow_from_two(twelve, kept):
    names = [*kept.split(), *leads.LEADS[6:]]
    rows = twelve[[leads.LEADS.index(name) for name in names]]
    assert in_order(rows, names) == pytest.approx(twelve, abs=1e-5)


@pytest.mark.parametrize("names, complaint", [
    ("I II V1 V2 V3 V4 V5", "lacks V6"), ("I V1 V2 V3 V4 V5 V6", "lacks two limb leads"),
    ("MLII V5", "lacks V1, V2, V3, V4, V6, two limb leads"), ("I II ii V1 V2 V3 V4 V5", "lead II more than once"),
    ("I III II aVR aVL aVF V1 V2 V3 V4 V5 V6", "contradict each other")])
def test_leads_that_cannot_be_put_in_order(twelve, names, complaint):
    assert complaint in message(in_order, twelve[:len(names.split())], names.split())


def test_another_unit(twelve, tmp_path):
    write(tmp_path, "a", twelve, unit="mmHg")
    assert "unit 'mmHg'" in message(read, tmp_path)


def test_real_records(real_data):
    for path in sorted((real_data / "cinc2021_sample").glob("*.hea"))[::4]:
        ecg_mv, header = read_record(path)
        assert ecg_mv.shape == (12, 5000) and comments_of(header.comments)["codes"]
        assert leads.from_independent(leads.independent(ecg_mv)) == pytest.approx(ecg_mv, abs=0.02)
        assert 0.02 < ecg_mv.std() < 2, "millivolts"
