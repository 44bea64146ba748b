"""Virtual hearts as a whole: would a cardiologist recognise them, and are they the same every time?"""
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest

from cardiac_ml.activation import upstroke_ms
from cardiac_ml.files import DataError
from cardiac_ml.leads import LEADS, to_leads
from cardiac_ml.virtual import dataset, kept, patterns
from cardiac_ml.virtual.patient import Speeds, draw_patient, electrodes_mv, make_patient, simulate_beats, voltages_mv
from cardiac_ml.virtual.points import POINT_NAMES, find_places, pulled_in, recording_points
from tools import ecg_measures as measures

KINDS = ("normal", "normal", "normal", "LBBB", "RBBB", "RVOT", "ectopic", "scar", "slow", "paced", "fusion", "sites")
HEARTS = 5


def ecgs(patient, beats, numbers):
    """(len(numbers), 12, 500) mV"""
    return to_leads(np.stack([electrodes_mv(patient, beats, number) for number in numbers]).astype(float))


@pytest.fixture(scope="module")
def population():
    """Five hearts, twelve beats each: list of (patient, beats)."""
    made = []
    for number in range(1, HEARTS + 1):
        patient, rng = draw_patient(11, number), np.random.default_rng(number)
        drawn = [patterns.excitation(kind, patient.heart, rng) for kind in KINDS]
        made.append((patient, simulate_beats(patient, drawn)))
    return made


@pytest.fixture(scope="module")
def seen(population):
    """ECGs of all hearts by kind: dict of (cases, 12, 500)."""
    all_leads = np.stack([ecgs(*both, range(len(KINDS))) for both in population])
    return {kind: np.concatenate(all_leads[:, [k for k, other in enumerate(KINDS) if other == kind]])
            for kind in dict.fromkeys(KINDS)}


def column(values, name):
    return values[:, LEADS.index(name)]


# ---- what a cardiologist looks for ----

def test_normal_beats(seen):
    ecg = seen["normal"]
    assert np.mean((measures.qrs_ms(ecg) >= 70) & (measures.qrs_ms(ecg) <= 110)) >= 0.9
    assert 0 < np.median(measures.frontal_axis_deg(ecg)) < 90
    r, s = measures.r_and_s_mv(ecg)
    assert np.median(column(r, "V1") / column(s, "V1")) < 1 < np.median(column(r, "V5") / column(s, "V5").clip(0.01))
    growth = np.median(r, axis=0)[[LEADS.index(f"V{k}") for k in range(1, 6)]]
    assert (np.diff(growth) > 0).all()
    t = measures.t_wave_mv(ecg)
    upright = (column(t, "I") > 0) & (column(t, "II") > 0) & (column(t, "V5") > 0) & (column(t, "aVR") < 0)
    assert upright.mean() >= 0.9


def test_left_bundle_branch_block(seen):
    ecg = seen["LBBB"]
    assert (np.abs(measures.qrs_ms(ecg) - 150) <= 35).all()
    r, s = measures.r_and_s_mv(ecg)
    assert (column(s, "V1") > 4 * column(r, "V1")).all()                       # QS or rS
    assert (column(measures.net_qrs_mv(ecg)[:, :1], "I") > 0).all()
    assert (column(r, "V6") > 2 * column(s, "V6")).all() and np.median(column(measures.t_wave_mv(ecg), "I")) < 0


def test_right_bundle_branch_block(seen):
    ecg = seen["RBBB"]
    assert np.median(np.abs(measures.qrs_ms(ecg) - 140)) <= 30
    late = measures.late_qrs_mv(ecg)
    assert np.mean((column(late, "V1") > 0) & (column(late, "I") < 0)) >= 0.8    # terminal R, and S


def test_outflow_tract_focus(seen):
    ecg = seen["RVOT"]
    net = measures.net_qrs_mv(ecg)
    assert all((column(net, name) > 0).all() for name in ("II", "III", "aVF"))
    assert (column(net, "V1") < 0).all() and np.median(measures.qrs_ms(ecg)) > 120


def test_activation_ends_in_time(population):
    latest = np.array([np.nanmax(beats.point_ms, axis=1) for _, beats in population])
    free = [k for k, kind in enumerate(KINDS) if kind != "scar"]
    assert 130 < latest[:, free].max() < 200
    assert np.median(latest[:, KINDS.index("slow")]) > 1.2 * np.median(latest[:, 0])
    assert np.median(latest[:, KINDS.index("LBBB")]) > 1.4 * np.median(latest[:, 0])


def test_neighbours_activate_together(population):
    for patient, beats in population:
        points = patient.points.points_mm
        near = np.linalg.norm(points[:, None] - points, axis=2) < 6
        apart = np.abs(beats.point_ms[:, :, None] - beats.point_ms[:, None])
        assert np.nanmean(apart[:, near]) < 0.35 * np.nanmean(apart)


def test_durations_are_those_of_human_ventricles(population):
    patient, beats = population[0]
    slow_rhythm, fast_rhythm, blocked = (
        simulate_beats(patient, beats.excitations[:1], bcl=bcl, g_kr=g_kr).apd_ms.mean()
        for bcl, g_kr in ((1000, 1.0), (600, 1.0), (1000, 0.0)))
    assert 230 < fast_rhythm < slow_rhythm < 340 < blocked < 420
    assert 5 < np.nanstd(beats.apd_ms[0]) < 40


# ---- scars ----

def test_a_dead_core_never_activates(population):
    patient, beats = population[0]
    point = list(POINT_NAMES).index("AHA12")
    beat = patterns.with_scar(patient.heart, beats.excitations[0], patient.points.points_mm[point], 22)
    solved = simulate_beats(patient, [beats.excitations[0], beat])
    assert np.isfinite(solved.point_ms[0]).all() and np.isnan(solved.point_ms[1, point])
    voltage = voltages_mv(patient, solved, 1)
    assert np.isfinite(voltage).all() and voltage[point].max() < -80
    assert np.isnan(upstroke_ms(voltage)).sum() == np.isnan(solved.point_ms[1]).sum() < 20
    healthy, ill = ecgs(patient, solved, [0, 1])
    assert np.isfinite(ill).all() and np.abs(healthy - ill).max() > 0.1
    plateau = slice(160, 190)      # dead muscle carries no current: no shift where all living cells are excited
    assert np.abs(ill[:, plateau]).mean() < 0.12 * np.abs(ill).max()


def test_injured_cells_shift_the_st_segment(population):
    patient, beats = population[0]
    away = np.linalg.norm(patient.heart.nodes_mm - patient.points.points_mm[12], axis=1)
    injured = replace(beats.excitations[0], amplitude=1 - 0.4 * np.exp(-(away / 20)**2))
    shifted, healthy = ecgs(patient, simulate_beats(patient, [injured, beats.excitations[0]]), [0, 1])
    assert np.abs(shifted - healthy)[:, 150:200].mean() > 0.05


def test_a_focus_in_dead_muscle_is_an_error(population):
    patient, _ = population[0]
    focus = patterns.point_focus(patient.heart, 5)
    with pytest.raises(DataError, match="never starts"):
        simulate_beats(patient, [patterns.with_scar(patient.heart, focus, focus.sites[0][0], 20)])


# ---- the dataset ----

@pytest.fixture(scope="module")
def small():
    return list(dataset.simulate_intracardiac(2, 5, seed=3, workers=1, progress=False))


def test_batches_have_the_layout_of_the_real_files(small):
    for number, (electrodes, voltage, table) in enumerate(small, start=1):
        assert electrodes.shape == (5, 500, 10) and voltage.shape == (5, 500, 75) and len(table) == 5
        assert electrodes.dtype == voltage.dtype == np.float32
        assert np.isfinite(electrodes).all() and np.isfinite(voltage).all()
        first = 3 * (number - 1)  # a heart goes on where the one before it ended
        assert set(table.heart) == {f"v{number}"}
        assert table.pattern.tolist() == [first, first, first + 1, first + 1, first + 2]
        assert table.innerindex.isna().all() and set(table.gkr) <= {0, 50, 100}
        assert table.bcl.tolist() == [600, 1000, 600, 1000, 600]
        assert table.kind.tolist() == [dataset.ORDER[k] for k in table.pattern]


def test_every_pattern_comes_twice(small):
    for _, voltage, table in small:
        start = upstroke_ms(voltage.transpose(0, 2, 1))
        start = start - np.nanmin(start, axis=1, keepdims=True)
        twins, others = (np.nanmean(np.abs(start[a] - start[b])) for a, b in (([0, 2], [1, 3]), ([0, 1], [2, 3])))
        assert twins < 5 < others, "twins differ in speed, cycle length and noise only"


def test_patterns_of_early_sites_are_the_same_in_all_hearts(population):
    def nearest(patient, number):
        sites = patterns.early_sites(patient.heart, np.random.default_rng(5), number).sites
        points = recording_points(patient.heart.shape)
        return [np.linalg.norm(points - place, axis=1).argsort()[:4].tolist() for place, _ in sites]

    first, *others = ([nearest(patient, number) for number in range(6)] for patient, _ in population)
    assert len({str(sites) for sites in first}) == 6
    for other in others:
        shared = [bool(set(a) & set(b)) for mine, yours in zip(first, other) for a, b in zip(mine, yours, strict=True)]
        assert np.mean(shared) > 0.9


@pytest.mark.parametrize("how", [dict(backend="threading"), dict(backend="loky"), dict(backend="sequential")])
def test_same_bytes_with_any_workers(small, how):
    with joblib.parallel_config(**how):
        again = list(dataset.simulate_intracardiac(2, 5, seed=3, workers=2, progress=False))
    for (electrodes, voltage, table), (electrodes_again, voltage_again, table_again) in zip(small, again, strict=True):
        assert electrodes.tobytes() == electrodes_again.tobytes() and voltage.tobytes() == voltage_again.tobytes()
        assert table.equals(table_again)


def test_another_seed_another_population(small):
    electrodes, _, table = next(dataset.simulate_intracardiac(1, 5, seed=4, workers=1, progress=False))
    assert not np.array_equal(electrodes, small[0][0]) and table.kind.tolist() == small[0][2].kind.tolist()


def test_without_a_torso_leads_spread_as_in_the_published_set():
    batches = dataset.simulate_intracardiac(1, 20, seed=1, lead_field="infinite", workers=1, progress=False)
    electrodes, voltage, _ = next(batches)
    spread = to_leads(electrodes.transpose(0, 2, 1)).std(axis=(0, 2))
    published = np.array([.52, .47, .37, .46, .39, .33, .37, .30, .26, .23, .19, .22])
    ratio = spread / published / np.exp(np.mean(np.log(spread / published)))
    assert (ratio > 0.5).all() and (ratio < 2).all()
    assert voltage.mean() == pytest.approx(-24, abs=5) and voltage.std() == pytest.approx(47.5, abs=4)


def test_the_plan_has_every_kind_and_a_focus_at_each_point():
    assert set(kind for kind, *_ in dataset.plan(2, 60)) == set(patterns.PATTERNS)
    assert len(dataset.plan(2, 60)) == 60 and len(dataset.plan(1, 7)) == 7
    assert [index for *_, index in dataset.plan(7, 60) if index is not None] == list(range(75))
    assert dataset.count_cases(30, 60) == 1950 and dataset.count_cases(120, 15) == 2115
    assert dataset.count_cases(6, 600) == 5 * 600 + 150 + 75, "only one of six, however many cases"


def test_hearts_with_few_cases_share_the_patterns_of_hearts_with_many():
    sizes = (120, 15), (30, 60)
    few, many = ([dataset.plan(number, cases) for number in range(1, hearts + 1)] for hearts, cases in sizes)
    patterns_of = lambda plans: {(kind, pattern) for plan in plans for kind, pattern, index in plan if index is None}
    assert patterns_of(few) == patterns_of(many)
    assert [kind for kind, *_ in few[1][:4]] != [kind for kind, *_ in few[2][:4]], "not the same ones in each heart"
    points = [number for number, plan in enumerate(few, start=1) if plan[-1][2] is not None]
    assert points == [1, 25, 49, 73, 97], "a focus at each point, in training and in test"


def test_a_site_beside_the_muscle_is_pulled_into_it():
    patient = draw_patient(0, 52)      # here the right wall ends before the place of one outflow focus
    beat, *_ = dataset.draw_case(patient, 0, 52, 58, "RVOT", 29, None)
    (place, _), = beat.sites
    assert np.isfinite(simulate_beats(patient, [beat]).activation_ms).all()
    inside = patient.heart.nodes_mm[100] + 0.1
    assert np.array_equal(pulled_in(patient.heart, inside)[0], inside)
    gap = np.linalg.norm(pulled_in(patient.heart, place + [0, 0, 20])[0] - place)
    assert gap < 30 and len(find_places(patient.heart, place).corners) == 1


def test_a_focus_is_the_first_point_to_activate(population):
    patient, _ = population[1]
    solved = simulate_beats(patient, [patterns.point_focus(patient.heart, index) for index in range(75)], onset_ms=4)
    assert (solved.point_ms.argmin(axis=1) == np.arange(75)).all()
    assert np.diagonal(solved.point_ms) == pytest.approx(4, abs=1e-3)
    voltage = np.stack([voltages_mv(patient, solved, k) for k in range(75)])
    assert (upstroke_ms(voltage).argmin(axis=1) == np.arange(75)).all()


# ---- bad input ----

@pytest.mark.parametrize("call, complaint", [
    (dict(hearts=0), "at least one"), (dict(cases=0), "at least one"), (dict(hearts=-2), "at least one"),
    (dict(lead_field="cylinder"), "Unknown lead field 'cylinder'")])
def test_impossible_datasets(call, complaint):
    with pytest.raises(DataError, match=complaint):
        dataset.simulate_intracardiac(**call)


def test_impossible_beats(population):
    patient, beats = population[0]
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="Unknown pattern 'flutter'.*normal"):
        patterns.excitation("flutter", patient.heart, rng)
    with pytest.raises(DataError, match="outside the muscle"):
        simulate_beats(patient, [patterns.focal(patient.heart, (0, 0, 60))])
    with pytest.raises(DataError, match="positive"):
        simulate_beats(patient, beats.excitations[:1], speed=-1.0)
    with pytest.raises(DataError, match="empty"):
        simulate_beats(patient, [])
    with pytest.raises(DataError, match="No action potential for cycle length 700"):
        simulate_beats(patient, beats.excitations[:1], bcl=700)
    with pytest.raises(DataError, match="positive"):
        make_patient(speeds=Speeds(along=-0.5))


def test_kept_hearts_hang_on_the_simulators_and_on_no_command():
    names = {path.name for path in kept.simulators(Path(kept.__file__).parent)}
    assert {"dataset.py", "elsewhere.py", "beats.py", "membrane.py", "torso.py"} <= names
    assert not names & {"command.py", "kept.py"}
