"""The pictures of the validation report."""
import io

import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml.plots import twelve_leads
from cardiac_ml.files import atomic_write
from cardiac_ml.leads import LEADS
from tools import ecg_measures as measures
from tools.real_leads import PUBLISHED_LEAD_STD_MV

SHOWN = ("normal", "LBBB", "RBBB", "RVOT", "paced", "scar", "slow", "fusion")
CHEST = range(6, 12)


def draw_all(folder, population, infinite, wedge, both, mesh):
    """Every figure as a PNG in ``folder``."""
    save(kinds(population), folder / "by_kind.png")
    save(chest_leads(population), folder / "r_wave_growth.png")
    save(t_waves(population), folder / "t_waves.png")
    save(lead_spread(infinite), folder / "leads_beside_published.png")
    save(monodomain(both), folder / "monodomain.png")
    save(convergence(wedge, mesh), folder / "convergence.png")
    for kind in SHOWN:
        if len(rows := population.of(kind)):
            title = f"{kind}, heart {population.table.heart[rows[0]]}"
            save(twelve_leads(population.ecg_mv[rows[0]], title=title), folder / f"twelve_leads_{kind}.png")


def save(figure, path):
    """Whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    plt.close(figure)
    with atomic_write(path) as file:
        file.write(picture.getvalue())


def kinds(population):
    """QRS, latest activation and action potential durations by kind of beat: median, 80 % (bar) and all (line)."""
    names = [kind for kind in population.table.kind.value_counts().index if len(population.of(kind)) > 1]
    values = {"QRS, ms": measures.qrs_ms(population.ecg_mv),
              "latest activation, ms": np.nanmax(population.activation_ms, axis=1),
              "action potential duration, ms": np.nanmedian(population.apd_ms, axis=1)}
    figure, axes = plt.subplots(1, 3, figsize=(12, 0.35 * len(names) + 1.2), sharey=True, layout="constrained")
    for ax, (label, value) in zip(axes, values.items()):
        percentiles = np.array([np.nanpercentile(value[population.of(kind)], (0, 10, 50, 90, 100)) for kind in names])
        ax.hlines(range(len(names)), percentiles[:, 0], percentiles[:, 4], "grey", lw=1)
        ax.hlines(range(len(names)), percentiles[:, 1], percentiles[:, 3], "tab:blue", lw=7)
        ax.plot(percentiles[:, 2], range(len(names)), "k|", ms=12)
        ax.set(xlabel=label, yticks=range(len(names)), yticklabels=names)
        ax.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    return figure


def chest_leads(population):
    """R grows and S shrinks from V1 to V5 in normal beats."""
    r, s = measures.r_and_s_mv(population.ecg_mv[population.of("normal")])
    figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for wave, colour, name in ((r, "tab:red", "R"), (-s, "tab:blue", "S")):
        low, middle, high = np.percentile(wave[:, CHEST], (10, 50, 90), axis=0)
        ax.fill_between(range(6), low, high, color=colour, alpha=0.2)
        ax.plot(range(6), middle, color=colour, marker="o", label=f"{name}: median, 80 % of the beats")
    ax.axhline(0, color="grey", lw=0.8)
    ax.set(xticks=range(6), xticklabels=[LEADS[k] for k in CHEST], ylabel="mV", title="Normal beats: R-wave growth")
    ax.legend(frameon=False)
    return figure


def t_waves(population):
    """The T wave of normal beats goes with the QRS; where the left bundle is blocked it goes against it."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for ax, kind in zip(axes, ("normal", "LBBB")):
        ecg = population.ecg_mv[population.of(kind)]
        net, t = measures.net_qrs_mv(ecg), measures.t_wave_mv(ecg)
        for name in ("I", "II", "aVR", "V1", "V5", "V6"):
            ax.plot(net[:, LEADS.index(name)], t[:, LEADS.index(name)], ".", alpha=0.7, label=name)
        ax.axhline(0, color="grey", lw=0.8)
        ax.axvline(0, color="grey", lw=0.8)
        ax.set(xlabel="mean of the QRS, mV", title=kind)
    axes[0].set_ylabel("T wave, mV")
    axes[1].legend(frameon=False)
    return figure


def lead_spread(infinite):
    """Standard deviation of each lead in the infinite medium, after one common gain."""
    found = infinite.ecg_mv.std(axis=(0, 2))
    gain = np.exp(np.mean(np.log(PUBLISHED_LEAD_STD_MV / found)))
    figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    place = np.arange(12)
    ax.bar(place - 0.2, PUBLISHED_LEAD_STD_MV, 0.4, label="published simulations")
    ax.bar(place + 0.2, gain * found, 0.4, label="virtual hearts, infinite medium, one gain")
    ax.set(xticks=place, xticklabels=LEADS, ylabel="standard deviation, mV")
    ax.legend(frameon=False)
    return figure


def monodomain(both):
    """Activation of the wedge's outer faces solved both ways, and the electrograms."""
    shape, mono, eikonal = both.wedge.shape, both.wave.activation_ms, both.eikonal_ms
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.5), layout="constrained")
    step = both.wedge.step_mm
    for row, (depth, name) in enumerate(((0, "endocardium"), (-1, "epicardium"))):
        maps = [values.reshape(shape)[:, :, depth].T for values in (mono, eikonal)]
        levels = np.arange(0, mono.max() + 2, 2)
        extent = (0, step * (shape[0] - 1), 0, step * (shape[1] - 1))
        axes[row, 0].contourf(maps[0], levels, extent=extent, cmap="viridis")
        axes[row, 0].contour(maps[0], levels, extent=extent, colors="white", linewidths=1)
        axes[row, 0].contour(maps[1], levels, extent=extent, colors="black", linewidths=1, linestyles="dashed")
        axes[row, 0].set(title=f"{name}: every 2 ms, eikonal dashed", aspect="equal", xlabel="mm", ylabel="mm")
    axes[0, 1].plot(mono[::7], eikonal[::7], ",", alpha=0.5)
    axes[0, 1].plot([0, mono.max()], [0, mono.max()], "k", lw=0.8)
    axes[0, 1].set(xlabel="monodomain, ms", ylabel="eikonal, ms", title=f"mean error {both.mean_error_ms:.2f} ms")
    for ax, full, quick, r in zip((axes[0, 2], axes[1, 1], axes[1, 2]), both.wave.electrogram, both.eikonal_electrogram,
                                  both.correlations):
        ax.plot(full, label="monodomain")
        ax.plot(quick, "--", label="eikonal")
        ax.set(title=f"electrogram, correlation {r:.3f}", xlabel="ms", yticks=[])
    axes[0, 2].legend(frameon=False)
    return figure


def convergence(wedge, mesh):
    """Errors against step: the eikonal model of a wedge, and coarser meshes of a heart."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    for ax, table, quality, title in ((axes[0], wedge, "lowest_correlation", "wedge: eikonal against monodomain"),
                                      (axes[1], mesh, "qrs_correlation", "heart: coarse against fine mesh")):
        ax.plot(table.step_mm, table.activation_error_ms, "o-", color="tab:blue")
        ax.set(xlabel="step, mm", title=title, ylim=(0, None))
        ax.set_ylabel("mean activation error, ms", color="tab:blue")
        other = ax.twinx()
        other.plot(table.step_mm, table[quality], "s--", color="tab:red")
        other.set_ylabel("correlation of the ECG", color="tab:red")
        other.set_ylim(top=1)
    return figure
