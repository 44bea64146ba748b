"""What the report measures, on ECGs whose answers are known; and the report itself, on few beats."""
import numpy as np
import pandas as pd
import pytest

from cardiac_ml.leads import LEADS, to_leads
from cardiac_ml.virtual import patterns
from cardiac_ml.virtual.patient import electrodes_mv, make_patient, simulate_beats
from tools import ecg_measures as measures, real_leads, virtual_figures, virtual_report


def _ecg(waves, lasts=400):
    """One case (1, 12, time) from lead -> list of (middle ms, width ms, mV)."""
    ecg = np.zeros((1, 12, lasts))
    time = np.arange(lasts)
    for name, bumps in waves.items():
        ecg[0, LEADS.index(name)] = sum(mv * np.exp(-((time - at) / width) ** 2 / 2) for at, width, mv in bumps)
    return ecg


@pytest.mark.parametrize("width", [8, 16])
def test_qrs_duration_grows_with_the_qrs_and_leaves_out_the_t_wave(width):
    ecg = _ecg({"II": [(70, width, 1.0), (320, 30, 0.3)]}, 500)
    first, last = measures.qrs_limits_ms(ecg)
    assert 70 - 4.2 * width < first[0] < 70 - 2 * width and 70 + 2 * width < last[0] < 70 + 4.2 * width
    assert measures.qrs_ms(ecg)[0] == last[0] - first[0]


def test_r_s_axis_and_t_are_read_off_rightly():
    ecg = _ecg({"I": [(60, 8, 1.0), (300, 30, -0.2)], "aVF": [(60, 8, np.sqrt(3) / 2), (300, 30, 0.3)],
                "V1": [(45, 6, 0.2), (70, 6, -0.8)], "V6": [(50, 6, -0.4), (75, 6, 0.9)]}, 500)
    at = {name: k for k, name in enumerate(LEADS)}
    assert measures.frontal_axis_deg(ecg)[0] == pytest.approx(45, abs=1)
    r, s = measures.r_and_s_mv(ecg)
    assert r[0, at["V1"]] == pytest.approx(0.2, abs=0.02) and s[0, at["V1"]] == pytest.approx(0.8, abs=0.02)
    assert r[0, at["V6"]] == pytest.approx(0.9, abs=0.02) and s[0, at["V6"]] == pytest.approx(0.4, abs=0.02)
    t = measures.t_wave_mv(ecg)[0]
    assert t[at["I"]] == pytest.approx(-0.2, abs=0.01) and t[at["aVF"]] == pytest.approx(0.3, abs=0.01)
    late = measures.late_qrs_mv(ecg)[0]
    assert late[at["V1"]] < 0 < late[at["V6"]]


def test_qt_and_the_angle_between_qrs_and_t():
    """T along the QRS in all leads, then against it."""
    waves = dict.fromkeys(measures.DOWER_LEADS, [(60, 8, 1.0), (300, 30, 0.3)])
    along, against = _ecg(waves, 500), _ecg({name: [qrs, (300, 30, -0.3)] for name, (qrs, _) in waves.items()}, 500)
    assert measures.qrs_t_angle_deg(along)[0] < 5 and measures.qrs_t_angle_deg(against)[0] > 175
    first = measures.qrs_limits_ms(along)[0][0]
    for ecg in (along, against):
        assert measures.qt_ms(ecg)[0] == pytest.approx(360 - first, abs=6)    # T's middle and two widths


def test_medians_outside_the_real_range_are_named():
    real = np.array([real_leads.REAL_MV[wave][1] for wave in "RST"])
    waves = {lead: [(50, 4, r), (70, 4, -s), (300, 30, t)] for lead, r, s, t in zip(LEADS, *real)}
    ecg = np.repeat(_ecg(waves, 500), 3, axis=0)
    assert real_leads.beside_real(ecg).inside.all()
    ecg[:, LEADS.index("V2"), 200:] *= -1
    wrong = real_leads.beside_real(ecg)
    assert wrong[~wrong.inside][["wave", "lead"]].values.tolist() == [["T", "V2"]]


def test_the_sample_records_are_measured_as_the_virtual_beats_are(real_data, tmp_path):
    assert real_leads.sample_beats(tmp_path / "none") is None
    found = real_leads.waves_mv(real_leads.sample_beats(real_data / "cinc2021_sample"))
    for wave, values in found.items():
        low, _, high = np.array(real_leads.REAL_MV[wave])
        middle = np.median(values, axis=0)
        assert ((middle >= low) & (middle <= high)).sum() >= 11


def test_average_heart_reads_as_normal_and_its_left_block_as_block():
    patient = make_patient()
    rng = np.random.default_rng(0)
    solved = simulate_beats(patient, [patterns.normal(patient.heart, rng), patterns.lbbb(patient.heart, rng)])
    ecg = np.stack([to_leads(electrodes_mv(patient, solved, k)) for k in range(2)])
    normal, block = measures.qrs_ms(ecg)
    assert 70 <= normal <= 110 and 120 <= block <= 180
    assert 0 < measures.frontal_axis_deg(ecg)[0] < 90
    r, s = measures.r_and_s_mv(ecg)
    assert r[0, LEADS.index("V1")] < s[0, LEADS.index("V1")] and r[0, LEADS.index("V5")] > s[0, LEADS.index("V5")]


def test_a_number_outside_its_range_is_called_so():
    assert virtual_report.check("a", 3.0, 0, 3)["as_expected"]
    assert not virtual_report.check("a", 3.1, 0, 3)["as_expected"]
    assert not virtual_report.check("a", np.nan, 0, 3)["as_expected"]
    assert virtual_report.share_between([1, 2, 3, 4], 2, 3) == 0.5


def test_coarser_meshes_have_larger_errors():
    table = virtual_report.heart_convergence((3.0, 2.0), finest_mm=1.5)
    coarse, fine = table.activation_error_ms
    assert 0 < fine < coarse < 6 and table.qrs_correlation[1] > max(0.97, table.qrs_correlation[0] - 0.01)
    assert table.nodes[1] > 2 * table.nodes[0]


def test_report_has_its_table_and_every_figure(tmp_path, monkeypatch):
    compare = virtual_report.compare
    monkeypatch.setattr(virtual_report, "compare", lambda step_mm: compare(
        (7, 6, 4), step_mm, sites=(((2, 2, 0), 1, 0),), duration_ms=45))
    monkeypatch.setattr(virtual_figures, "SHOWN", ("normal", "LBBB"))
    folder = virtual_report.make_report(tmp_path / "report", hearts=3, cases=14, wedge_steps_mm=(0.5,),
                                    heart_steps_mm=(3.0,), workers=1, progress=False)
    found = {path.name for path in folder.iterdir()}
    assert {"report.md", "report.csv", "by_kind.png", "r_wave_growth.png", "t_waves.png", "leads_beside_published.png",
            "monodomain.png", "convergence.png", "twelve_leads_normal.png", "twelve_leads_LBBB.png"} <= found
    assert not [name for name in found if name.startswith(".")]
    table = pd.read_csv(folder / "report.csv")
    assert table.found.notna().all() and len(table) > 35
    leads = pd.read_csv(folder / "leads.csv")
    assert leads.wave.tolist() == ["R"] * 12 + ["S"] * 12 + ["T"] * 12 and leads.lead.tolist() == list(LEADS) * 3
    text = (folder / "report.md").read_text()
    assert f"{leads.inside.sum()} of 36 medians inside" in text and text.count("**outside**") >= (~leads.inside).sum()
    assert "QRS" in text and text.count("\n| ") > 45 and "42 beats of 3 virtual hearts" in text
    verdicts = table.set_index("what").as_expected
    assert verdicts["monodomain: activation error of the eikonal model, ms"]
    assert verdicts["normal: share with T inverted in aVR"] and verdicts["LBBB: median QRS, ms"]
