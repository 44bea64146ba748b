"""Ten electrodes to twelve leads, and an ECG from outside that is checked before a network sees it."""
import numpy as np
import pytest

from cardiac_ml import leads
from cardiac_ml.files import DataError


@pytest.fixture()
def ecg_mv():
    """Three cases of (12, 500): what ten random electrodes give."""
    return leads.to_leads(np.random.default_rng(0).normal(size=(3, 10, 500)).astype(np.float32))


def refused(ecg_mv, words, **options):
    with pytest.raises(DataError) as error:
        leads.check_ecg(ecg_mv, **options)
    for word in words:
        assert word in str(error.value), error.value


def test_the_leads_are_the_textbook_differences():
    electrodes = np.random.default_rng(1).normal(size=(4, 10, 7))
    ra, la, ll, _, v1, *_, v6 = electrodes.swapaxes(0, 1)
    ecg = dict(zip(leads.LEADS, leads.to_leads(electrodes).swapaxes(0, 1)))
    assert np.allclose(ecg["I"], la - ra) and np.allclose(ecg["II"], ll - ra) and np.allclose(ecg["III"], ll - la)
    assert np.allclose(ecg["aVR"], 1.5 * (ra - (ra + la + ll) / 3), atol=1e-6)  # 1.5 times its Wilson lead
    assert np.allclose(ecg["aVL"], 1.5 * (la - (ra + la + ll) / 3), atol=1e-6)
    assert np.allclose(ecg["aVF"], 1.5 * (ll - (ra + la + ll) / 3), atol=1e-6)
    assert np.allclose(ecg["V1"], v1 - (ra + la + ll) / 3, atol=1e-6)
    assert np.allclose(ecg["V6"], v6 - (ra + la + ll) / 3, atol=1e-6)


def test_a_common_potential_and_the_ground_electrode_do_not_show():
    electrodes = np.random.default_rng(2).normal(size=(10, 50))
    moved = electrodes + 3.0
    moved[leads.ELECTRODES.index("RL")] += 7
    assert np.allclose(leads.to_leads(moved), leads.to_leads(electrodes), atol=1e-5)


def test_eight_leads_carry_all_twelve(ecg_mv):
    assert np.linalg.matrix_rank(leads.LEAD_MATRIX) == len(leads.INDEPENDENT) == 8
    assert np.allclose(leads.from_independent(leads.independent(ecg_mv)), ecg_mv, atol=1e-5)


def test_the_printed_order_shows_every_lead_once():
    assert sorted(sum(leads.PAPER, ())) == sorted(leads.LEADS)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_precision_and_torch_agree_with_numpy(kind):
    torch = pytest.importorskip("torch")
    electrodes = np.random.default_rng(3).normal(size=(2, 3, 10, 40)).astype(kind)
    ecg = leads.to_leads(electrodes)
    assert ecg.dtype == kind and ecg.shape == (2, 3, 12, 40)
    assert np.allclose(leads.to_leads(torch.from_numpy(electrodes)).numpy(), ecg, atol=1e-5)


def test_counts_from_a_converter_are_not_rounded():
    counts = np.arange(10 * 4, dtype=np.int16).reshape(10, 4) % 7
    expected = leads.LEAD_MATRIX.astype(float) @ counts
    assert np.allclose(leads.to_leads(counts), expected)
    torch = pytest.importorskip("torch")
    assert np.allclose(leads.to_leads(torch.from_numpy(counts)).numpy(), expected)


def test_electrodes_of_another_shape_are_refused():
    with pytest.raises(DataError, match=r"\(500, 10\).*transposed"):
        leads.to_leads(np.zeros((500, 10)))
    with pytest.raises(DataError, match=r"RA LA LL RL.*\(9, 500\)"):
        leads.to_leads(np.zeros((9, 500)))


def test_a_sound_ecg_passes_as_float32(ecg_mv):
    checked = leads.check_ecg(ecg_mv.astype(np.float64))
    assert checked.dtype == np.float32 and np.allclose(checked, ecg_mv)
    assert leads.check_ecg(ecg_mv[0]).shape == (12, 500)
    assert leads.check_ecg(ecg_mv[..., :300], samples=None).shape == (3, 12, 300)


def test_wrong_shapes_say_what_to_do(ecg_mv):
    refused(ecg_mv.swapaxes(1, 2), ["(3, 500, 12)", "transposed", "do not reshape"])
    refused(np.zeros((10, 500)), ["(10, 500)", "to_leads"])
    refused(np.zeros((2, 8, 500)), ["(2, 8, 500)", "from_independent"])
    refused(ecg_mv[..., :400], ["(3, 12, 400)", "resample", "500"])
    refused(ecg_mv[:0], ["(0, 12, 500)"])
    refused(np.zeros(500), ["(500,)", "(12, 500)"])
    refused(np.full((12, 500), "0.1"), ["millivolts", "<U3"])


def test_wrong_units_are_named(ecg_mv):
    refused(ecg_mv * 1000, ["microvolts", "divide by 1000"])
    refused(ecg_mv / 1000, ["volts", "multiply by 1000"])


def test_missing_and_flat_leads_are_named(ecg_mv):
    holed, flat = ecg_mv.copy(), ecg_mv.copy()
    holed[1, 7, 100] = np.nan
    refused(holed, ["lead V2", "NaN"])
    flat[2, 4] = 0
    refused(flat, ["lead aVL", "case 2", "flat"])


def test_leads_in_another_order_are_noticed(ecg_mv):
    refused(ecg_mv[:, [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]], ["II is not I + III", "case", "Sort the rows"])
    refused(ecg_mv[:, ::-1], ["II is not I + III"])
    refused(-ecg_mv[:, [1, 0, *range(2, 12)]], ["II is not I + III"])
