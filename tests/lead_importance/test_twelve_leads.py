"""Real twelve-lead records, and made ones with everything wrong that files can have."""
import numpy as np
import pytest

from cardiac_ml import leads
from cardiac_ml.files import DataError
from cardiac_ml.lead_importance.twelve_leads import in_order, load_twelve_leads, resampled

wfdb = pytest.importorskip("wfdb")
TIME_S = np.arange(1000) / 500


@pytest.fixture
def twelve():
    """(12, 1000) mV at 500 Hz, with leads that follow from the eight as they must."""
    rng = np.random.default_rng(0)
    waves = [np.sin(2 * np.pi * (rng.uniform(1, 8) * TIME_S + rng.random())) for _ in range(8)]
    return leads.from_independent(np.stack(waves))


def write(folder, name, signal, names=leads.LEADS, rate=500, unit="mV", comments=("Dx: 164909002", "Age: 61", "Sex: F")):
    wfdb.wrsamp(name, fs=rate, units=[unit] * len(names), sig_name=list(names), p_signal=np.asarray(signal, float).T,
                fmt=["16"] * len(names), write_dir=str(folder), comments=list(comments))


def test_order_unit_and_rate_do_not_matter(twelve, tmp_path):
    write(tmp_path, "a", twelve)
    mixed = np.random.default_rng(1).permutation(12)
    write(tmp_path, "b", 1000 * twelve[mixed], [leads.LEADS[k].upper() for k in mixed], unit="uV")
    slow = resampled(twelve, 500, 250)
    write(tmp_path, "c", slow, rate=250, comments=["Sex: Unknown", "Age: NaN", "Dx: 426783006, 59118001"])
    ecgs = load_twelve_leads(tmp_path, seconds=2)
    assert ecgs.ecg_mv.shape == (3, 12, 1000) and ecgs.ecg_mv.dtype == np.float32 and len(ecgs) == 3
    assert np.abs(ecgs.ecg_mv[0] - twelve).max() < 2e-3 and np.abs(ecgs.ecg_mv[1] - twelve).max() < 2e-3
    assert np.abs(ecgs.ecg_mv[2] - twelve)[:, 20:-20].max() < 0.02
    assert ecgs.table.record.tolist() == ["a", "b", "c"] and ecgs.table.seconds.tolist() == [2, 2, 2]
    assert ecgs.table.age[0] == 61 and np.isnan(ecgs.table.age[2]) and ecgs.table.diagnoses[2] == ("426783006", "59118001")
    assert ecgs.has("left bundle branch block").tolist() == [True, True, False]
    assert ecgs.has("right bundle branch block").tolist() == [False, False, True] == ecgs.has("59118001").tolist()


def test_missing_limb_leads_follow_from_two(twelve):
    for kept in (("I", "II"), ("III", "aVF"), ("aVR", "aVL"), ("II", "aVL", "aVF")):
        names = [*kept, *leads.LEADS[6:]]
        rows = twelve[[leads.LEADS.index(name) for name in names]]
        assert in_order(rows, names) == pytest.approx(twelve, abs=1e-5)


def test_lengths(twelve, tmp_path):
    write(tmp_path, "short", twelve[:, :400])
    write(tmp_path, "long", twelve)
    ecgs = load_twelve_leads(tmp_path, ["short", "long"], seconds=1)
    assert not ecgs.ecg_mv[0, :, 400:].any() and ecgs.ecg_mv[1, :, 400:].any() and ecgs.table.seconds.tolist() == [0.8, 2]


@pytest.mark.parametrize("names, complaint", [
    (("I", "II", "V1", "V2", "V3", "V4", "V5"), "lacks V6"), (("I", *leads.LEADS[6:]), "lacks two limb leads"),
    (("MLII", "V5"), "lacks V1, V2, V3, V4, V6, two limb leads")])
def test_too_few_leads(names, complaint, tmp_path):
    write(tmp_path, "few", np.random.default_rng(0).normal(size=(len(names), 500)), names)
    with pytest.raises(DataError, match=complaint):
        load_twelve_leads(tmp_path)


def test_what_cannot_be_read(twelve, tmp_path):
    with pytest.raises(DataError, match="holds no WFDB records"):
        load_twelve_leads(tmp_path)
    write(tmp_path, "a", twelve)
    with pytest.raises(DataError, match="no record b"):
        load_twelve_leads(tmp_path, ["b"])
    with pytest.raises(DataError, match="Unknown diagnosis 'hiccups'"):
        load_twelve_leads(tmp_path).has("hiccups")
    whole = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "a.dat").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(DataError, match="a.hea could not be read"):
        load_twelve_leads(tmp_path)
    (tmp_path / "a.dat").unlink()
    with pytest.raises(DataError, match="beside it"):
        load_twelve_leads(tmp_path)
    write(tmp_path, "a", twelve, unit="mmHg")
    with pytest.raises(DataError, match="unit 'mmHg'"):
        load_twelve_leads(tmp_path)
    with pytest.raises(DataError, match="lead II more than once"):
        in_order(twelve[:8], ["I", "II", "ii", "V1", "V2", "V3", "V4", "V5"])
    with pytest.raises(DataError, match="contradict each other"):
        in_order(twelve, [*"I III II aVR aVL aVF".split(), *leads.LEADS[6:]])
    broken = twelve.copy()
    broken[7, 30:40] = np.nan
    with pytest.raises(DataError, match="lead V2 has missing samples"):
        in_order(broken, leads.LEADS)


def test_real_records(real_data):
    ecgs = load_twelve_leads(real_data / "cinc2021_sample")
    assert len(ecgs) == 30 and ecgs.ecg_mv.shape == (30, 12, 5000) and (ecgs.table.diagnoses.str.len() > 0).all()
    assert leads.from_independent(leads.independent(ecgs.ecg_mv)) == pytest.approx(ecgs.ecg_mv, abs=0.02)
    assert 0.05 < np.median(ecgs.ecg_mv.std(axis=2)) < 0.5, "millivolts"
    assert load_twelve_leads(real_data / "cinc2021_sample", rate_hz=100).ecg_mv.shape == (30, 12, 1000)
