"""Are these hearts right? A report of what can be checked: figures, and a table of numbers beside what they should be.

    python -m tools.virtual_report [--out runs/virtual_hearts] [--hearts 30] [--cases 60] [--seed 0]

R, S and T of normal beats stand beside those of real people, lead by lead. Expected ranges are clinical ones (QRS
duration, R-wave growth, T wave) or the published simulations' (voltage, leads, activation). The monodomain check solves
a wedge of muscle without the eikonal shortcut. About five minutes on two cores.
"""
import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.activation import apd90_ms, upstroke_ms
from cardiac_ml.files import atomic_write
from cardiac_ml.leads import LEADS, to_leads
from cardiac_ml.virtual import patterns
from cardiac_ml.virtual.anatomy import Shape
from cardiac_ml.virtual.dataset import simulate_intracardiac
from cardiac_ml.virtual.patient import electrodes_mv, make_patient, simulate_beats
from cardiac_ml.virtual.points import POINT_NAMES, recording_points
from tools import ecg_measures as measures
from tools.monodomain import compare
from tools.real_leads import PUBLISHED_LEAD_STD_MV, beside_real, sample_beats, waves_mv

PUBLISHED_VM_MEAN_MV = {"AHA": -27.0, "others": -24.0}
PUBLISHED_VM_STD_MV = 47.5
WEDGE_STEPS_MM = (0.4, 0.32, 0.25)
HEART_STEPS_MM = (3.0, 2.5, 2.0, 1.5)
FINEST_MM = 1.0
CONVERGENCE_KINDS = ("normal", "LBBB", "RVOT", "paced")


@dataclass(frozen=True)
class Population:
    """Beats of many hearts, reduced to what the report looks at."""
    table: pd.DataFrame         # a row a case
    ecg_mv: np.ndarray          # (cases, 12, 500)
    activation_ms: np.ndarray   # (cases, 75) since the onset
    apd_ms: np.ndarray          # (cases, 75)
    voltage: dict               # group of points -> (mean, standard deviation), mV
    voltage_range_mv: tuple

    def of(self, kind):
        """Row numbers of one kind of beat."""
        return np.flatnonzero(self.table.kind == kind)


def simulate_population(hearts, cases, seed=0, lead_field="sphere", workers=None, progress=True) -> Population:
    is_aha = np.array([name.startswith("AHA") for name in POINT_NAMES])
    parts, sums = [], []
    for electrodes, voltage, table in simulate_intracardiac(hearts, cases, seed, lead_field, workers, progress):
        v = np.swapaxes(voltage, 1, 2)
        onset = table.onset_ms.to_numpy()[:, None]
        parts.append((table, to_leads(np.swapaxes(electrodes, 1, 2)), upstroke_ms(v) - onset, apd90_ms(v)))
        sums.append([(group.mean(), (group.astype(float) ** 2).mean()) for group in (v[:, is_aha], v[:, ~is_aha])]
                    + [(v.min(), v.max())])
    tables, *arrays = zip(*parts)
    weight = [len(table) for table in tables]
    means = np.average(np.array(sums)[:, :2], axis=0, weights=weight)
    voltage = {name: (mean, np.sqrt(square - mean**2)) for name, (mean, square) in zip(PUBLISHED_VM_MEAN_MV, means)}
    extremes = np.array(sums)[:, 2]
    return Population(pd.concat(tables, ignore_index=True), *(np.concatenate(a) for a in arrays), voltage,
                      (extremes[:, 0].min(), extremes[:, 1].max()))


# ---- the table ----

def check(what, found, low, high):
    """One line of the table: a number and the range it should lie in."""
    return dict(what=what, found=round(float(found), 3), low=low, high=high, as_expected=bool(low <= found <= high))


def share_between(values, low, high):
    """Share of values within a range."""
    values = np.asarray(values)
    return np.mean((values >= low) & (values <= high))


def ecg_checks(population):
    """QRS durations, axis, R-wave growth, shapes of the blocks, T waves."""
    return normal_checks(population) + block_checks(population)


def normal_checks(population):
    ecg, at = population.ecg_mv[population.of("normal")], {name: k for k, name in enumerate(LEADS)}
    slow = (population.table.bcl == 1000).to_numpy()[population.of("normal")]
    lasts, t, (r, s) = measures.qrs_ms(ecg), measures.t_wave_mv(ecg), measures.r_and_s_mv(ecg)
    rows = [check("normal: share with QRS 70-110 ms", share_between(lasts, 70, 110), 0.9, 1),
            check("normal: mean QRS, ms", np.mean(lasts), 77, 93),
            check("normal: median QT at rate 60, ms", np.nanmedian(measures.qt_ms(ecg[slow])), 399, 427),
            check("normal: mean angle between QRS and T, degrees", np.mean(measures.qrs_t_angle_deg(ecg)), 21, 65),
            check("normal: medians of R, S, T within the real 10 to 90 %", beside_real(ecg).inside.sum(), 32, 36),
            check("normal: share with T upright in V1", np.mean(t[:, at["V1"]] > 0), 0, 0.6),
            check("normal: median frontal axis, degrees", np.median(measures.frontal_axis_deg(ecg)), 0, 90),
            check("normal: median R/S in V1", np.median(r[:, at["V1"]] / (s[:, at["V1"]] + 0.01)), 0, 1),
            check("normal: median R/S in V5", np.median(r[:, at["V5"]] / (s[:, at["V5"]] + 0.01)), 1, np.inf)]
    rows += [check(f"normal: share with T upright in {name}", np.mean(t[:, at[name]] > 0), 0.9, 1)
             for name in ("I", "II", "V5")]
    return rows + [check("normal: share with T inverted in aVR", np.mean(t[:, at["aVR"]] < 0), 0.9, 1),
                   check("normal: median T/R in II", np.median(t[:, at["II"]] / r[:, at["II"]]), 0.2, 0.5)]


def block_checks(population):
    """Bundle branch blocks and a focus in the right outflow tract, which looks like LBBB with its axis down."""
    ecg, at = population.ecg_mv, {name: k for k, name in enumerate(LEADS)}
    lasts, net, late, t = (measure(ecg) for measure in (measures.qrs_ms, measures.net_qrs_mv, measures.late_qrs_mv,
                                                        measures.t_wave_mv))
    r, s = measures.r_and_s_mv(ecg)
    left, right, outflow = (population.of(kind) for kind in ("LBBB", "RBBB", "RVOT"))
    upright = net > 0
    return [check("LBBB: median QRS, ms", np.median(lasts[left]), 120, 180),
            check("LBBB: share with QRS 120-180 ms", share_between(lasts[left], 120, 180), 0.9, 1),
            check("LBBB: share with QS or rS in V1", np.mean(r[left, at["V1"]] < 0.5 * s[left, at["V1"]]), 0.9, 1),
            check("LBBB: share upright in I and V6", np.mean(upright[left][:, [0, 11]].all(axis=1)), 0.9, 1),
            check("LBBB: share with T against QRS in V6", np.mean((t > 0)[left, 11] != upright[left, 11]), 0.7, 1),
            check("RBBB: median QRS, ms", np.median(lasts[right]), 110, 170),
            check("RBBB: share with QRS 110-170 ms", share_between(lasts[right], 110, 170), 0.9, 1),
            check("RBBB: share ending upright in V1", np.mean(late[right, at["V1"]] > 0), 0.9, 1),
            check("RVOT: share negative in V1", np.mean(~upright[outflow, at["V1"]]), 0.9, 1),
            check("RVOT: share upright in II, III, aVF", np.mean(upright[outflow][:, [1, 2, 5]].all(axis=1)), 0.9, 1)]


def published_checks(population, infinite):
    """Voltages, activation and leads beside the published simulations."""
    rows = []
    for name, (mean, spread) in population.voltage.items():
        for statistic, found, expected in (("mean", mean, PUBLISHED_VM_MEAN_MV[name]),
                                           ("standard deviation", spread, PUBLISHED_VM_STD_MV)):
            rows.append(check(f"Vm, {name} points: {statistic}, mV", found, expected - 4, expected + 4))
    free = population.activation_ms[(population.table.kind != "scar").to_numpy()]
    rows += [check("Vm: lowest, mV", population.voltage_range_mv[0], -93.1, -80),
             check("Vm: highest, mV", population.voltage_range_mv[1], 20, 49.5),
             check("latest activation without scar, ms", np.nanmax(free), 130, 200),
             check("activation: difference within 6 mm over that of all pairs", neighbour_ratio(population), 0, 0.5)]
    found = infinite.ecg_mv.std(axis=(0, 2))
    gain = np.exp(np.mean(np.log(PUBLISHED_LEAD_STD_MV / found)))
    rows += [check(f"infinite medium: standard deviation of {name} over the published", ratio, 0.5, 2)
             for name, ratio in zip(LEADS, gain * found / PUBLISHED_LEAD_STD_MV, strict=True)]
    return rows


def neighbour_ratio(population):
    """Mean difference of activation between points less than 6 mm apart, relative to that between any two."""
    place = recording_points(Shape())
    a, b = np.triu_indices(len(place), 1)
    near = np.linalg.norm(place[a] - place[b], axis=1) < 6
    difference = np.abs(population.activation_ms[:, a] - population.activation_ms[:, b])
    return np.nanmean(difference[:, near]) / np.nanmean(difference)


def heart_convergence(steps_mm=HEART_STEPS_MM, finest_mm=FINEST_MM):
    """The average heart on coarser meshes against a fine one: a row a step with activation and QRS errors."""
    def solve(step):
        patient = make_patient(step_mm=step)
        beats = [patterns.excitation(kind, patient.heart, np.random.default_rng(1)) for kind in CONVERGENCE_KINDS]
        solved = simulate_beats(patient, beats)
        ecg = np.stack([to_leads(electrodes_mv(patient, solved, k)) for k in range(len(beats))])
        return solved.point_ms, ecg[..., :200].reshape(len(beats), -1), len(patient.heart.nodes_mm)

    points, ecg, _ = solve(finest_mm)
    rows = []
    for step in steps_mm:
        found, trace, nodes = solve(step)
        rows.append(dict(step_mm=step, nodes=nodes, activation_error_ms=np.nanmean(np.abs(found - points)),
                         qrs_correlation=np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(trace, ecg)])))
    return pd.DataFrame(rows)


def wedge_convergence(steps_mm=WEDGE_STEPS_MM):
    """Monodomain against eikonal at several lattice steps: (table, the comparison at the last step)."""
    rows = []
    for step in steps_mm:
        both = compare(step_mm=step)
        rows.append(dict(step_mm=step, nodes=len(both.wedge.points_mm), latest_ms=both.wave.activation_ms.max(),
                         activation_error_ms=both.mean_error_ms, lowest_correlation=both.correlations.min(),
                         speeds_mm_ms=" ".join(f"{v:.2f}" for v in both.speeds_mm_ms)))
    return pd.DataFrame(rows), both


# ---- the report ----

def make_report(folder, hearts=30, cases=60, seed=0, wedge_steps_mm=WEDGE_STEPS_MM, heart_steps_mm=HEART_STEPS_MM,
                workers=None, progress=True) -> Path:
    """Figures, ``report.md``, ``report.csv`` and ``leads.csv`` in ``folder``, which is returned."""
    from tools import virtual_figures as figures  # matplotlib is needed for the report only

    folder = Path(folder)
    population = simulate_population(hearts, cases, seed, workers=workers, progress=progress)
    infinite = simulate_population(max(hearts // 3, 1), min(cases, 20), seed, "infinite", workers, progress)
    wedge, both = wedge_convergence(wedge_steps_mm)
    mesh = heart_convergence(heart_steps_mm)
    rows = ecg_checks(population) + published_checks(population, infinite)
    rows += [check("monodomain: activation error of the eikonal model, ms", both.mean_error_ms, 0, 3),
             check("monodomain: lowest correlation of electrograms", both.correlations.min(), 0.9, 1)]
    table = pd.DataFrame(rows)
    leads = lead_table(population)
    figures.draw_all(folder, population, infinite, wedge, both, mesh)
    for name, part in (("report.csv", table), ("leads.csv", leads)):
        with atomic_write(folder / name, "w") as file:
            part.to_csv(file, index=False, lineterminator="\n")
    with atomic_write(folder / "report.md", "w") as file:
        file.write(_as_text(table, leads, wedge, mesh, population))
    return folder


def lead_table(population):
    """Virtual percentiles of R, S and T beside the real ones, and beside the sample records' where they are."""
    table = beside_real(population.ecg_mv[population.of("normal")])
    if (beats := sample_beats()) is not None:
        found = waves_mv(beats)
        table["sample_50"] = np.concatenate([np.median(found[wave], axis=0) for wave in table.wave.unique()]).round(2)
    return table


def _lead_text(leads):
    said = leads.rename(columns=lambda name: name.replace("_", " ") + (" %" if "_" in name else ""))
    return said.drop(columns="inside").assign(verdict=np.where(leads.inside, "inside", "**outside**"))


def _as_text(table, leads, wedge, mesh, population):
    kept = table.assign(expected=[f"{low:g} to {high:g}" for low, high in zip(table.low, table.high)],
                        verdict=np.where(table.as_expected, "as expected", "**outside**"))
    by_kind = pd.DataFrame(dict(kind=population.table.kind, qrs_ms=measures.qrs_ms(population.ecg_mv),
                                latest_ms=np.nanmax(population.activation_ms, axis=1),
                                apd_ms=np.nanmedian(population.apd_ms, axis=1)))
    kinds = by_kind.groupby("kind").agg(["median", "min", "max"]).round(0)
    kinds.columns = [f"{name} {what}" for name, what in kinds.columns]
    sections = {
        f"{len(population.table)} beats of {population.table.heart.nunique()} virtual hearts":
            kept[["what", "found", "expected", "verdict"]],
        f"Normal beats beside real people, mV: {leads.inside.sum()} of {len(leads)} medians inside": _lead_text(leads),
        "By kind of beat: QRS of the ECG, latest activation and duration at the points": kinds.reset_index(),
        "Wedge: monodomain against eikonal": wedge.round(3),
        f"Heart: coarser meshes against {FINEST_MM:g} mm": mesh.round(3)}
    return "\n".join(f"## {title}\n\n{_markdown(part)}\n" for title, part in sections.items())


def _markdown(table):
    lines = [list(table.columns), ["---"] * table.shape[1], *table.map(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / "virtual_hearts")
    for name, default in (("hearts", 30), ("cases", 60), ("seed", 0), ("workers", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    folder = make_report(options.out, options.hearts, options.cases, options.seed, workers=options.workers)
    leads = pd.read_csv(folder / "leads.csv")
    outside = ", ".join(f"{wave} in {lead}" for wave, lead in leads.loc[~leads.inside, ["wave", "lead"]].to_numpy())
    print(f"{leads.inside.sum()} of {len(leads)} medians are inside the real range; outside: {outside or 'none'}. "
          f"Written to {folder}")


if __name__ == "__main__":
    main()
