"""Real twelve-lead records, and made ones with everything wrong that files can have."""
import numpy as np
import pytest

from cardiac_ml import leads
from cardiac_ml.files import DataError
from cardiac_ml.lead_importance.twelve_leads import _samples, comments_of, in_order, read_record, resampled
from tools.twelve_lead_copies import write_record

wfdb = pytest.importorskip("wfdb")
TIME_S = np.arange(1000) / 500


@pytest.fixture
def twelve():
    """(12, 1000) mV at 500 Hz, with leads that follow from the eight as they must."""
    rng = np.random.default_rng(0)
    waves = [np.sin(2 * np.pi * (rng.uniform(1, 8) * TIME_S + rng.random())) for _ in range(8)]
    return leads.from_independent(np.stack(waves))


def write(folder, name, signal, names=leads.LEADS, rate=500, unit="mV", comments=None):
    wfdb.wrsamp(name, fs=rate, units=[unit] * len(names), sig_name=list(names), p_signal=np.asarray(signal, float).T,
                fmt=["16"] * len(names), write_dir=str(folder),
                comments=list(comments or ("Dx: 164909002", "Age: 61", "Sex: F")))


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
    content = bytearray(file.read_bytes())
    content[-24:-22] = b"\x00\x80"  # the number that stands for a lost sample
    file.write_bytes(content)
    header = wfdb.rdheader(str(tmp_path / "a"))
    assert np.array_equal(_samples(tmp_path / "a.hea", header, 1000), wfdb.rdrecord(str(tmp_path / "a")).p_signal,
                          equal_nan=True)
    with pytest.raises(DataError, match="lead I has missing samples"):
        read(tmp_path)


def test_missing_limb_leads_follow_from_two(twelve):
    for kept in (("I", "II"), ("III", "aVF"), ("aVR", "aVL"), ("II", "aVL", "aVF")):
        names = [*kept, *leads.LEADS[6:]]
        rows = twelve[[leads.LEADS.index(name) for name in names]]
        assert in_order(rows, names) == pytest.approx(twelve, abs=1e-5)


@pytest.mark.parametrize("names, complaint", [
    (("I", "II", "V1", "V2", "V3", "V4", "V5"), "lacks V6"), (("I", *leads.LEADS[6:]), "lacks two limb leads"),
    (("MLII", "V5"), "lacks V1, V2, V3, V4, V6, two limb leads")])
def test_too_few_leads(names, complaint, tmp_path):
    write(tmp_path, "a", np.random.default_rng(0).normal(size=(len(names), 500)), names)
    with pytest.raises(DataError, match=complaint):
        read(tmp_path)


def test_what_cannot_be_read(twelve, tmp_path):
    write(tmp_path, "a", twelve)
    whole = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "a.dat").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(DataError, match="a.hea could not be read"):
        read(tmp_path)
    (tmp_path / "a.dat").unlink()
    with pytest.raises(DataError, match="beside it"):
        read(tmp_path)
    write(tmp_path, "a", twelve, unit="mmHg")
    with pytest.raises(DataError, match="unit 'mmHg'"):
        read(tmp_path)
    with pytest.raises(DataError, match="lead II more than once"):
        in_order(twelve[:8], ["I", "II", "ii", "V1", "V2", "V3", "V4", "V5"])
    with pytest.raises(DataError, match="contradict each other"):
        in_order(twelve, [*"I III II aVR aVL aVF".split(), *leads.LEADS[6:]])
    broken = twelve.copy()
    broken[7, 30:40] = np.nan
    with pytest.raises(DataError, match="lead V2 has missing samples"):
        in_order(broken, leads.LEADS)


def test_real_records(real_data):
    for path in sorted((real_data / "cinc2021_sample").glob("*.hea"))[::4]:
        ecg_mv, header = read_record(path)
        assert ecg_mv.shape == (12, 5000) and comments_of(header.comments)["codes"]
        assert leads.from_independent(leads.independent(ecg_mv)) == pytest.approx(ecg_mv, abs=0.02)
        assert 0.02 < ecg_mv.std() < 2, "millivolts"
