"""The cell against what is known of human ventricular muscle, and the table's file against accidents."""
import numpy as np
import pytest

from cardiac_ml.files import DataError, cache_folder
from cardiac_ml.activation import apd90_ms, upstroke_ms
from cardiac_ml.virtual import membrane
from cardiac_ml.virtual.membrane import CYCLE_LENGTHS_MS, G_KR_FACTORS, LAYERS, action_potential_table, table_time


@pytest.fixture(scope="module")
def table():
    return action_potential_table()


def test_rest_and_peak_are_those_of_propagating_human_ventricle(table):
    assert table.rest_mv.min() > -86 and table.rest_mv.max() < -84.5
    peak = table.voltage_mv.max(axis=-1)
    assert peak.min() > 22 and peak.max() < 31
    assert table.voltage_mv.min() > -86   # no undershoot in this model
    np.testing.assert_allclose(table.voltage_mv[..., 0], table.rest_mv, atol=1e-4)


def test_time_zero_is_the_upstroke_and_the_upstroke_is_fast(table):
    zero = np.argmin(np.abs(table.time_ms))
    np.testing.assert_allclose(table.voltage_mv[..., zero], 0, atol=0.5)
    steepest = np.diff(table.voltage_mv, axis=-1).max(axis=-1) / 0.1   # mV/ms
    assert steepest.min() > 100 and steepest.max() < 400
    assert (np.diff(table.time_ms) > 0).all() and table.time_ms[0] == -10


def test_apd_follows_layer_rate_and_g_kr(table):
    apd = table.apd90_ms
    endo, mid, epi = apd
    assert np.abs(endo - epi).max() < 10 and (mid - epi).min() > 50
    assert (np.diff(apd, axis=-1) < -10).all()              # more I_Kr, shorter
    assert (apd[:, 1] - apd[:, 0] > 3).all()                # slower heart, longer
    assert table.apd("epi") == pytest.approx(306, abs=8)    # published for 1 Hz: 306 (epi), 394 (M)
    assert table.apd("M") == pytest.approx(394, abs=12)


def test_table_values_agree_with_its_traces(table):
    for place in np.ndindex(table.apd90_ms.shape):
        assert apd90_ms(table.voltage_mv[place][None])[0] * 0.1 == pytest.approx(table.apd90_ms[place], abs=0.2)
    assert table.apd("M", 600, 0.5) == table.apd90_ms[1, 0, 1]
    assert (table.voltage("M", 600, 0.5) == table.voltage_mv[1, 0, 1]).all()


@pytest.mark.parametrize("local", [220.0, 304.0, 390.0])
def test_bent_time_gives_the_local_apd_and_leaves_the_upstroke(table, local):
    since = np.arange(-50, 600, 0.5)
    read_at = table_time(since, table.apd("epi"), local)
    voltage = np.interp(read_at, table.time_ms, table.voltage("epi"))
    assert apd90_ms(voltage[None])[0] * 0.5 == pytest.approx(local, abs=0.6)
    assert (read_at[since <= 40] == since[since <= 40]).all() and (np.diff(read_at) > 0).all()


def test_a_cell_left_alone_rests():
    cell = membrane.AT_REST.copy()
    fixed = membrane.voltage_table(0.1, False), membrane.rectifier_table(), membrane.cell_constants("epi")
    for _ in range(20000):
        membrane.advance(cell, 0.0, 0.1, *fixed)
    assert -87 < cell[membrane.V] < -84 and np.isfinite(cell).all()
    assert ((cell[1:14] >= 0) & (cell[1:14] <= 1)).all()


def test_gates_are_probabilities_with_continuous_curves():
    v = membrane.LOWEST_MV + 0.1 * np.arange(membrane.TABLE_ROWS)
    for endocardial in (True, False):
        target, tau = membrane.gate_curves(v, endocardial)
        assert (target >= 0).all() and (target <= 1).all() and (tau > 0).all() and np.isfinite(tau).all()
        assert np.abs(np.diff(target)).max() < 0.01
        assert np.abs(np.diff(np.log(tau)))[:, np.abs(v[1:] + 40) > 0.2].max() < 0.05   # h, j switch formula at -40 mV


def test_all_voltage_curves_are_finite_at_15_mv_where_calcium_current_is_0_over_0():
    table = membrane.voltage_table(0.02, True)
    assert np.isfinite(table).all()
    row = int(round((15 - membrane.LOWEST_MV) / 0.1))
    np.testing.assert_allclose(table[row, 26:], (table[row - 1, 26:] + table[row + 1, 26:]) / 2, rtol=1e-4)


def test_a_finer_cable_changes_little():
    coarse, fine = (membrane.pace("epi", 600, 1.0, beats=3, cable_beats=1, step_mm=h) for h in (0.25, 0.19))
    assert apd90_ms(coarse[None])[0] * 0.1 == pytest.approx(apd90_ms(fine[None])[0] * 0.1, abs=1)
    assert upstroke_ms(coarse) * 0.1 == pytest.approx(upstroke_ms(fine) * 0.1, abs=0.4)
    assert coarse.max() == pytest.approx(fine.max(), abs=1)


def test_cut_or_foreign_cache_file_is_replaced(table, monkeypatch, own_cache):
    monkeypatch.setattr(membrane, "compute_table", lambda: table)
    action_potential_table()
    path, = (cache_folder() / "virtual").glob("action_potentials_*.npz")
    whole = path.read_bytes()
    for bad in (whole[:1000], b"", b"not a table", whole[:5000] + bytes(500) + whole[5500:]):
        path.write_bytes(bad)
        np.testing.assert_array_equal(action_potential_table().voltage_mv, table.voltage_mv)
        np.testing.assert_array_equal(action_potential_table().apd90_ms, table.apd90_ms)
    assert [p.name for p in path.parent.iterdir()] == [path.name]   # nothing half-written stays


def test_a_cache_that_cannot_be_written_is_said_and_the_table_is_there(table, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("no folder can be made here")
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(membrane, "compute_table", lambda: table)
    with pytest.warns(UserWarning, match="made again next time. Could not write"):
        assert action_potential_table().voltage_mv is table.voltage_mv


def test_second_call_reads_the_file(table, monkeypatch):
    monkeypatch.setattr(membrane, "compute_table", lambda: pytest.fail("computed again"))
    np.testing.assert_array_equal(action_potential_table().voltage_mv, table.voltage_mv)


def test_what_the_table_does_not_have_is_an_error(table):
    for wrong in (("mid", 1000, 1.0), ("epi", 800, 1.0), ("epi", 1000, 0.7)):
        with pytest.raises(DataError, match="table has"):
            table.voltage(*wrong)
    with pytest.raises(DataError, match="no layer"):
        membrane.pace("atrium", 1000, 1.0)
    with pytest.raises(DataError, match="too close"):
        membrane.pace("epi", 1000, 1.0, step_mm=0.05)
    assert len(LAYERS) * len(CYCLE_LENGTHS_MS) * len(G_KR_FACTORS) == table.rest_mv.size
