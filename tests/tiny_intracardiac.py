"""A few intracardiac files in the published layout, made by functions, for tests."""
from pathlib import Path

import numpy as np

from cardiac_ml import intracardiac

# folder -> the name of a file in it, with the published set's grammars (fields in another order in the first)
GRAMMARS = {
    "data_hearts_dd_0p2": "{role}_hearts_dd_0p2_volunteer.{heart}_pattern.{number}",
    "data_hearts_dd_0p2_geo_act_1_bcl": "{role}_hearts_dd_0p2_geo_act_1_bcl_bcl.600.pattern.{number}.volunteer.{heart}",
    "data_hearts_dd_0p2_geo_act_2_bcl_gkr_I":
        "{role}_hearts_dd_0p2_geo_act_2_bcl_gkr_I_bcl.1000.gkr.050.pattern.{number}.volunteer.{heart}",
}
FOCAL = ("data_hearts_dd_0p2_geo_inn_act_1_bcl",
         "{role}_hearts_dd_0p2_geo_inn_act_1_bcl_bcl.1000.innerindex.{number}.volunteer.{heart}")


def made_signals(activation_ms, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """((500, 10) electrodes, (500, 75) voltages) in mV as float64: at rest, through zero at activation_ms (75,), back.

    NaN: that point never activates.
    """
    since = np.arange(500)[:, None] - np.asarray(activation_ms, dtype=float)  # (500, 75) ms
    upstroke = np.clip(30 * since, -85, 25)  # 30 mV/ms straight through zero
    voltage = np.where(since > 250, np.maximum(25 - 1.5 * (since - 250), -85), upstroke)
    voltage = np.where(np.isnan(since), -85, voltage)
    weights = np.random.default_rng(seed).normal(0, 0.01, (75, 10))
    return (voltage + 85) @ weights, voltage


def made_activation(heart: int, case: int) -> np.ndarray:
    """(75,) ms: a wave over points on a line, from a place of the case, with the speed of the heart."""
    return 1 + np.abs(np.arange(75) - (case * 37 + heart) % 75) * (1.5 + 0.11 * heart) + 0.37


def made_pair(folder: Path, role_name: str, activation_ms, seed: int = 0) -> tuple[Path, Path]:
    """Write one pair; ``role_name`` holds ``{role}``. Returns the two paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / (role_name.format(role=role) + ".npy") for role in ("pECGData", "VmData"))
    for path, signal in zip(paths, made_signals(activation_ms, seed)):
        np.save(path, signal)
    return paths


def made_intracardiac_files(folder: Path, hearts=("v1", "v2", "v4", "v10"), patterns: int = 2, sites: int = 1) -> int:
    """Write ``patterns`` cases of three designs and ``sites`` focal ones a heart. Returns the number of pairs."""
    pairs = 0
    for heart in hearts:
        number = int(heart.strip("vh"))
        for place, grammar in GRAMMARS.items():
            for pattern in range(patterns):
                name = grammar.format(role="{role}", heart=heart, number=pattern)
                made_pair(folder / place, name, made_activation(number, pattern), seed=1000 * pairs + number)
                pairs += 1
        for site in range(sites):
            name = FOCAL[1].format(role="{role}", heart=heart, number=site)
            made_pair(folder / FOCAL[0], name, 0.5 + 1.7 * np.abs(np.arange(75) - site), seed=number)
            pairs += 1
    return pairs


def made_batches(hearts=("v1", "v2", "v10"), cases: int = 4, seed: int = 0):
    """What a simulator gives for each heart: (n, 500, 10), (n, 500, 75) float32, a table with kind and scar size."""
    import pandas as pd

    random = np.random.default_rng(seed)
    for number, heart in enumerate(hearts):
        signals = [made_signals(made_activation(number, case), seed=number) for case in range(cases)]
        electrodes, voltage = (np.array(part, dtype=np.float32) for part in zip(*signals))
        focal = np.arange(cases) % 2 == 1
        table = pd.DataFrame({"heart": heart, "kind": np.where(focal, "focal", "normal"), "bcl": 600, "gkr": 50})
        table["pattern"] = pd.Series(np.arange(cases)).where(~focal).astype("Int64")
        table["innerindex"] = pd.Series(np.arange(cases)).where(focal).astype("Int64")
        table["scar_mm"] = random.uniform(0, 20, cases)
        yield electrodes, voltage, table


def load(folder):
    return intracardiac.load(folder, progress=False)
