"""The table of the population, the mode with the published files' quirks, and the second world."""
from types import SimpleNamespace

import joblib
import numpy as np
import pytest

from cardiac_ml.activation import apd90_ms, upstroke_ms
from cardiac_ml.files import DataError
from cardiac_ml.formats.point_order import recover_point_order
from cardiac_ml.leads import to_leads
from cardiac_ml.virtual import anatomy, dataset, elsewhere, patient, population, published, signals, torso
from cardiac_ml.virtual.points import POINT_NAMES, recording_points
from tools import ecg_measures as measures, real_leads

PUBLISHED_STD_MV = real_leads.PUBLISHED_LEAD_STD_MV


# ---- the table ----

def test_every_quantity_has_a_law_and_a_source_and_reaches_a_patient():
    assert {row.law for row in population.TABLE.values()} == {"normal", "factor", "uniform"}
    assert all(row.source and row.spread > 0 for row in population.TABLE.values())
    rng = np.random.default_rng(0)
    for draw, fields in ((anatomy.draw_shape, "shape"), (signals.draw_repolarisation, "repolarisation"),
                         (patient.draw_speeds, "speeds")):
        one, other = vars(draw(rng)), vars(draw(rng))
        assert all(one[name] != other[name] for name in population.middle(fields) if name != "size")


@pytest.mark.parametrize("group", ["shape", "speeds", "repolarisation", "torso", "sites", "scar", "clinic"])
def test_draws_stay_within_their_spread_and_none_is_the_middle(group):
    rng = np.random.default_rng(1)
    drawn = [population.draw(rng, group) for _ in range(300)]
    for name, middle in population.middle(group).items():
        row = population.TABLE[f"{group}.{name}"]
        values = np.array([one[name] for one in drawn])
        away = np.log(values / middle) if row.law == "factor" else values - np.asarray(middle)
        assert np.abs(away).max() <= row.spread * (1 if row.law == "uniform" else population.FARTHEST) + 1e-9
        assert away.std() == pytest.approx(row.spread * (0.577 if row.law == "uniform" else 0.96), rel=0.15)
        assert np.array_equal(population.draw(rng, group, width=0)[name], middle)
    assert np.abs(np.diff([one[name] for one in drawn], axis=0)).max() > 0


def test_a_body_of_width_zero_is_the_average_one():
    drawn, average = torso.draw_torso(np.random.default_rng(0), -146, width=0), torso.average_torso(-146)
    assert all(np.allclose(a, b) for a, b in zip(vars(drawn).values(), vars(average).values(), strict=True))


@pytest.mark.parametrize("width", [-0.1, 2.5, float("nan")])
def test_impossible_widths(width):
    with pytest.raises(DataError, match="width is .* 0 to 2"):
        dataset.simulate_intracardiac(width=width)


def test_the_widest_hearts_can_be_simulated():
    electrodes, voltage, table = next(dataset.simulate_intracardiac(1, 14, width=2.0, workers=1, progress=False))
    assert np.isfinite(electrodes).all() and np.isfinite(voltage).all() and len(table) == 14


def test_normal_beats_look_like_those_of_real_people():
    ecg = []
    for number in range(1, 13):
        heart = patient.draw_patient(1, number, step_mm=2.5)
        cases = [dataset.draw_case(heart, 1, number, k, "normal", k, None) for k in range(2)]
        solved = patient.simulate_beats(heart, [beat for beat, *_ in cases], g_kr=0.5)
        ecg += [to_leads(patient.electrodes_mv(heart, solved, k)) for k in range(2)]
    ecg = np.stack(ecg).astype(float)
    table = real_leads.beside_real(ecg)
    assert table.inside.sum() >= 31, table[~table.inside]        # of 36, with 12 hearts only
    t, (r, _) = measures.t_wave_mv(ecg), measures.r_and_s_mv(ecg)
    assert 0.2 <= np.median(t[:, 1] / r[:, 1]) <= 0.55 and (t[:, 6] > 0).mean() < 0.6
    assert 77 <= measures.qrs_ms(ecg).mean() <= 95 and measures.qrs_t_angle_deg(ecg).mean() < 70


# ---- as published ----

@pytest.fixture(scope="module")
def batch():
    return next(dataset.simulate_intracardiac(1, 20, seed=2, as_published=True, workers=1, progress=False))


def test_files_as_published_have_the_known_quirks(batch):
    electrodes, voltage, table = batch
    assert len(table) == 95 == dataset.count_cases(1, 20, as_published=True)
    mv = np.swapaxes(voltage, 1, 2)
    start, lasts = upstroke_ms(mv), apd90_ms(mv)
    focal = table.innerindex.notna().to_numpy()
    assert (np.nanmin(start[focal], axis=1) == 0).all() and (table.onset_ms == 0).all()
    assert set(mv[:, :, 0][mv[:, :, 0] > 0]) == {50.0} and (mv[focal, :, 0] == 50).any(axis=1).all()
    assert -93.1 < mv.min() < -90 and 46 < np.median(mv.max(axis=2)) <= 50 and np.median(mv[:, :, 0]) < -84
    assert np.median(np.nanmax(lasts, axis=1) - np.nanmin(lasts, axis=1)) == pytest.approx(10, abs=3)
    assert 300 < np.nanmedian(lasts) < 350 and set(table.gkr) <= {0, 50} and set(table.bcl) == {600, 1000}
    leads = to_leads(np.swapaxes(electrodes, 1, 2).astype(float))
    assert (np.abs(np.log(leads.std(axis=(0, 2)) / PUBLISHED_STD_MV)) < np.log(2)).all()


def test_the_order_of_the_columns_is_recovered(batch):
    _, voltage, table = batch

    data = SimpleNamespace(table=table, activation_ms=upstroke_ms(np.swapaxes(voltage, 1, 2)))
    found = recover_point_order(data)
    order = published.column_order(2, 1)
    assert np.array_equal(order[found.columns["v1"]], np.arange(75))
    row = found.report.iloc[0]
    assert row.sure and row.moved > 60
    assert not np.array_equal(order, published.column_order(2, 2))


def test_hearts_are_named_as_published():
    assert [published.heart_name(k) for k in (1, 2, 3, 15)] == ["v1", "v2", "v4", "v16"]


# ---- elsewhere ----

@pytest.fixture(scope="module")
def world():
    return list(elsewhere.simulate(2, 8, seed=1, workers=1, progress=False))


def test_elsewhere_has_the_same_layout(world):
    for number, (electrodes, voltage, table) in enumerate(world, start=1):
        assert electrodes.shape == (8, 500, 10) and voltage.shape == (8, 500, 75)
        assert electrodes.dtype == voltage.dtype == np.float32
        assert np.isfinite(electrodes).all() and np.isfinite(voltage).all()
        assert set(table.heart) == {f"e{number}"}
        assert set(table.kind) == {"normal", "LBBB", "RBBB", "scar", "sites", "focal"}
        focal = (table.kind == "focal").to_numpy()
        assert (table.innerindex.notna() == focal).all() and (table.pattern.isna() == focal).all()
        start = upstroke_ms(np.swapaxes(voltage, 1, 2))
        assert (np.nanargmin(start[focal], axis=1) == table.innerindex[focal].to_numpy(int)).all()


def test_beats_elsewhere_look_like_hearts(world):
    electrodes, voltage, table = (np.concatenate([part[k] for part in world]) for k in range(3))
    ecg, kind = to_leads(np.swapaxes(electrodes, 1, 2).astype(float)), table[:, list(world[0][2]).index("kind")]
    last = measures.qrs_ms(ecg)
    assert (np.abs(last[kind == "normal"] - 85) < 25).all() and (last[kind == "LBBB"] > 110).all()
    r, s = measures.r_and_s_mv(ecg[kind == "normal"])
    assert (r[:, 1] > s[:, 1]).all() and (s[:, 6] > r[:, 6]).all() and (r[:, 10] > s[:, 10]).all()
    assert (last[kind == "RBBB"] > 110).all() and 0.2 < ecg.max() < 6
    lasts = np.nanmedian(apd90_ms(np.swapaxes(voltage, 1, 2)))
    assert 230 < lasts < 360


def test_elsewhere_is_outside_the_first_world():
    own = elsewhere.draw_world(np.random.default_rng(0))
    reach = np.exp(population.FARTHEST * population.TABLE["speeds.layer"].spread)
    low, high = patient.Speeds().layer / reach, patient.Speeds().layer * reach
    fast = own.is_fast.any(axis=0)[own.links].all(axis=1)
    way = np.linalg.norm(np.diff(own.nodes_mm[own.links[fast]], axis=1)[:, 0], axis=1)
    speed = way / own.links_ms[fast]
    assert speed.max() < low or speed.min() > high
    points = recording_points(anatomy.Shape())
    gap = np.linalg.norm(own.points_mm - points - (own.points_mm - points).mean(axis=0), axis=1)
    assert 2 < np.median(gap) < 12 and len(own.points_mm) == len(POINT_NAMES)
    assert own.shape.muscle(own.points_mm).mean() > 0.9


def test_a_dead_scar_elsewhere_never_activates():
    own = elsewhere.draw_world(np.random.default_rng(3))
    factor = np.where(np.linalg.norm(own.nodes_mm - own.points_mm[10], axis=1) < 9, np.inf, 1.0)
    site = int(np.linalg.norm(own.nodes_mm - own.points_mm[0], axis=1).argmin())
    arrival = elsewhere._arrival(own, [(site, 0.0)], factor)
    assert np.isinf(arrival[np.isinf(factor)]).all() and np.isfinite(arrival[np.isfinite(factor)]).all()
    mv = elsewhere._at_points(own, arrival, np.full(len(arrival), 300.0))
    assert mv[:, 10].max() < -80 and mv[:, 0].max() > 0


@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_elsewhere_gives_the_same_bytes_with_any_workers(world, backend):
    with joblib.parallel_config(backend=backend):
        again = list(elsewhere.simulate(2, 8, seed=1, workers=2, progress=False))
    assert all(a[k].tobytes() == b[k].tobytes() for a, b in zip(world, again, strict=True) for k in (0, 1))
    assert all(a[2].equals(b[2]) for a, b in zip(world, again))


def test_no_hearts_elsewhere():
    with pytest.raises(DataError, match="at least one"):
        elsewhere.simulate(hearts=0)
