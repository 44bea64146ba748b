"""The wedge's numerics against what is known exactly, then the eikonal model against the wedge."""
import numpy as np
import pytest

from cardiac_ml.files import DataError
from tools import monodomain
from tools.monodomain import DIFFUSION, lead_weights, make_wedge, plane_wave_speed, solve


def test_diffusion_conserves_charge_and_never_gains_energy():
    wedge = make_wedge((3, 4, 2), 0.5)
    dense = wedge.stiffness.toarray()
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    np.testing.assert_allclose(dense.sum(axis=1), 0, atol=1e-12)
    assert np.linalg.eigvalsh(dense).min() > -1e-10
    assert wedge.volume_mm3.sum() == pytest.approx(3 * 4 * 2)


def test_differences_are_exact_for_quadratic_fields():
    wedge = make_wedge((3, 3, 2), 0.5, helix_deg=(30, 30))
    x, y, z = wedge.points_mm.T
    inside = (x > 0) & (x < 3) & (y > 0) & (y < 3) & (z > 0) & (z < 2)
    along, across, through = DIFFUSION
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    for field, expected in ((x * x / 2, along * c * c + across * s * s), (x * y, 2 * (along - across) * c * s),
                            (y * y / 2, along * s * s + across * c * c), (z * z / 2, through), (x * z, 0)):
        found = -(wedge.stiffness @ field) / wedge.volume_mm3
        np.testing.assert_allclose(found[inside], expected, atol=1e-10)


def test_speed_converges_with_h_and_grows_with_the_root_of_diffusion():
    speeds = [plane_wave_speed(0.154, h, length_mm=12) for h in (0.4, 0.3, 0.2)]
    assert 0.6 < speeds[0] < speeds[1] < speeds[2] < 0.8
    assert speeds[2] - speeds[1] < 0.05
    half = plane_wave_speed(0.154 / 4, 0.2, length_mm=6)   # the same cable, all lengths halved
    assert half == pytest.approx(plane_wave_speed(0.154, 0.4, length_mm=12) / 2, rel=0.03)


@pytest.mark.parametrize("helix_deg, tolerance", [(0, 0.05), (45, 0.25)])   # the lattice favours its diagonals
def test_front_is_an_ellipse_along_the_fibre(helix_deg, tolerance):
    sheet = make_wedge((12, 12, 0), 0.3, helix_deg=(helix_deg, helix_deg))
    t = solve(sheet, [((6, 6, 0), 1.0, 0)], 30).activation_ms.reshape(sheet.shape[:2])
    np.testing.assert_allclose(t, t[::-1, ::-1], atol=1e-6)
    fibre = np.array([np.cos(np.radians(helix_deg)), np.sin(np.radians(helix_deg))])
    speeds = []
    for way in (fibre, fibre[::-1] * (-1, 1)):   # along, then across
        ring = [tuple(np.rint((6 + length * way) / 0.3).astype(int)) for length in (2.7, 4.8)]
        length = 0.3 * np.linalg.norm(np.subtract(*ring))
        speeds.append(length / (t[ring[1]] - t[ring[0]]))
    expected = [plane_wave_speed(d, 0.3) for d in DIFFUSION[:2]]
    np.testing.assert_allclose(speeds, expected, rtol=tolerance)


def test_electrode_sees_a_front_come_and_go():
    cable = make_wedge((12, 0, 0), 0.3)
    wave = solve(cable, [((0, 0, 0), 1, 0)], 30, [(30, 1, 0), (-20, 1, 0)], probes=[20])
    ahead, behind = wave.electrogram
    assert ahead[5:12].mean() > 0 > behind[5:12].mean()
    np.testing.assert_allclose(lead_weights(cable, [(30, 1, 0)]).sum(), 0, atol=1e-9)
    assert wave.voltage_mv[0, 0] < -84 and wave.voltage_mv[0].max() > 20
    after = int(np.ceil(wave.activation_ms[20]))
    assert wave.voltage_mv[0, after] > 0 > wave.voltage_mv[0, after - 1]


def test_lattice_that_is_too_fine_for_the_coarse_step_gets_a_smaller_one():
    assert monodomain._largest_step(make_wedge((2, 0, 0), 0.5)) == monodomain.COARSE_MS
    fine = make_wedge((3, 0, 0), 0.12)
    assert monodomain._largest_step(fine) < 0.03
    assert np.isfinite(solve(fine, [((0, 0, 0), 1, 0)], 25, probes=[10]).voltage_mv).all()


def test_impossible_wedges_and_sites_are_errors():
    for wrong in ({"step_mm": 0}, {"size_mm": (-1, 3, 3)}, {"diffusion": (0.1, 0, 0.1)}):
        with pytest.raises(DataError, match="positive"):
            make_wedge(**wrong)
    with pytest.raises(DataError, match="outside the muscle"):
        solve(make_wedge((2, 2, 0), 0.5), [((9, 9, 0), 1, 0)])


# ---- the eikonal model against the wedge ----

SITES = (((2, 2, 0), 1, 0), ((8, 6, 0), 1, 5))


@pytest.fixture(scope="module")
def both():
    return monodomain.compare(size_mm=(9, 7, 5), step_mm=0.4, sites=SITES, duration_ms=45,
                              electrodes_mm=((4.5, 3.5, 30), (-20, 3, 3)))


def test_eikonal_times_agree_with_the_monodomain(both):
    assert both.mean_error_ms <= 3
    error = both.eikonal_ms - both.wave.activation_ms
    assert np.abs(error).max() < 6 and np.corrcoef(both.eikonal_ms, both.wave.activation_ms)[0, 1] > 0.97


def test_eikonal_electrograms_agree_with_the_monodomain(both):
    assert both.correlations.min() > 0.9
    gain = np.linalg.norm(both.eikonal_electrogram, axis=1) / np.linalg.norm(both.wave.electrogram, axis=1)
    assert (gain > 0.7).all() and (gain < 1.4).all()


def test_wrong_speeds_are_noticed(both):
    """The agreement is no accident: with speeds 40 % off it is gone."""
    off = monodomain.eikonal_activation(both.wedge, SITES,
                                        np.array(both.speeds_mm_ms) * 0.6)
    assert np.abs(off - both.wave.activation_ms).mean() > 3 * both.mean_error_ms


def test_eikonal_mesh_step_matters_little(both):
    fine = monodomain.eikonal_activation(both.wedge, SITES, both.speeds_mm_ms, 0.6)
    assert np.abs(fine - both.eikonal_ms).mean() < 0.6


def test_wave_that_does_not_arrive_is_an_error():
    with pytest.raises(DataError, match="ask for more"):
        monodomain.compare(size_mm=(9, 3, 2), step_mm=0.5, sites=(((1, 1, 0), 1, 0),), duration_ms=5)
