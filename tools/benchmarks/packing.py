"""How much faster is a packed reload than reading the pairs one by one?

    python -m tools.benchmarks.packing [--pairs 3000]

Makes that many pairs in the published layout in a temporary folder (340 kB each: 1 GB, and half as much for the pack;
some 20 s; removed in the end). Then times, in one run and with the files in the system's cache: np.load and conversion
of each pair, the first load (which packs), and the second (which maps the pack). Each ends with the twelve leads of all
cases, whose one matrix product is also timed beside a plain copy of as many bytes. Packing works in two threads and
writes half a gigabyte, so it needs two free processors and a free disk to show what it can.
"""
import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cardiac_ml import intracardiac  # noqa: E402
from cardiac_ml.activation import upstroke_ms  # noqa: E402
from cardiac_ml.formats.intracardiac_files import find_pairs  # noqa: E402
from cardiac_ml.leads import LEAD_MATRIX, to_leads  # noqa: E402

ROUNDS = 5  # the least is taken: what other processes add is no property of this code


def make_pairs(folder: Path, pairs: int) -> None:
    """Voltages that step up at a time of their own in every column, and electrodes that are sums of them."""
    random = np.random.default_rng(0)
    weights = random.normal(0, 0.01, (75, 10))
    folder /= "data_hearts_dd_0p2_geo_act_1_bcl"
    folder.mkdir(parents=True)
    for pair in range(pairs):
        since = np.arange(500)[:, None] - random.uniform(0, 150, 75)
        voltage = np.clip(30 * since, -85, 25)
        name = f"hearts_dd_0p2_geo_act_1_bcl_bcl.600.pattern.{pair // 15}.volunteer.v{pair % 15 + 1}.npy"
        np.save(folder / f"VmData_{name}", voltage)
        np.save(folder / f"pECGData_{name}", (voltage + 85) @ weights)


def one_by_one(folder: Path) -> None:
    _, pairs, _ = find_pairs(folder)
    ecg = np.empty((len(pairs), 12, 500), np.float32)
    voltage = np.empty((len(pairs), 75, 500), np.float32)
    activation = np.empty((len(pairs), 75), np.float32)
    for case, (of_electrodes, of_voltage) in enumerate(pairs):
        ecg[case] = LEAD_MATRIX @ np.load(of_electrodes).T
        voltage[case] = np.load(of_voltage).T
        activation[case] = upstroke_ms(voltage[case])


def packed(folder: Path) -> None:
    intracardiac.load(folder, progress=False).ecg_mv


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measure(work: Path, pairs: int) -> dict[str, float]:
    """Least seconds of each way; every round packs into a cache of its own."""
    data, times = work / "pairs", {"one by one": [], "first load, packs": [], "second load": []}
    make_pairs(data, pairs)
    for attempt in range(ROUNDS):
        os.environ["CARDIAC_ML_CACHE"] = str(work / f"cache {attempt}")
        times["one by one"].append(seconds(one_by_one, data))
        times["first load, packs"].append(seconds(packed, data))
        times["second load"].append(seconds(packed, data))
        shutil.rmtree(work / f"cache {attempt}")
    return {name: min(values) for name, values in times.items()}


def leads_and_copy(pairs: int) -> tuple[float, float]:
    """Least seconds of the twelve leads of all cases, and of copying the bytes that takes: ten rows in, twelve out."""
    electrodes = np.random.default_rng(0).normal(size=(pairs, 10, 500)).astype(np.float32)
    eleven = np.ones((pairs, 11, 500), np.float32)
    return tuple(min(seconds(function, array) for _ in range(5)) for function, array in
                 ((to_leads, electrodes), (np.copy, eleven)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3000)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as work:
        times = measure(Path(work), pairs)
    for name, value in times.items():
        print(f"{name:<20} {value:7.3f} s for {pairs} pairs")
    print(f"second load: {times['one by one'] / times['second load']:.0f} times faster than one by one (bar: 20)")
    leads, copy = leads_and_copy(pairs)
    print(f"twelve leads of {pairs} cases: {leads:.3f} s; copying as many bytes: {copy:.3f} s")
    print(f"packing: {times['first load, packs'] / times['one by one']:.2f} of one reading one by one (bar: 1)")


if __name__ == "__main__":
    main()
