"""How fast virtual hearts are made: cases a minute, the memory of one process, and against the plain way.

    python -m tools.benchmarks.simulation [--hearts 4] [--cases 60]          about 1 minute on 2 cores

The plain way computes the ECG of a beat as a sum over all cells, each with its own action potential; the kit first adds
up cells that activate together and last equally long. Both give the same ECG (checked).
"""
import argparse
import subprocess
import sys
import time

import numpy as np
from cardiac_ml.virtual import patterns, signals
from cardiac_ml.virtual.dataset import simulate_intracardiac
from cardiac_ml.virtual.membrane import LAYERS, table_time
from cardiac_ml.virtual.patient import draw_patient, lead_weights, simulate_beats


def cases_a_minute(hearts, cases, workers):
    start = time.perf_counter()
    made = sum(len(table) for _, _, table in simulate_intracardiac(hearts, cases, workers=workers, progress=False))
    return 60 * made / (time.perf_counter() - start)


def peak_mb(cases):
    """Largest memory of a process that makes one heart; None where the system does not tell."""
    code = (f"from cardiac_ml.virtual.dataset import simulate_heart; simulate_heart(0, 2, {cases}); import resource; "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    return None if done.returncode else int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10)


def plain_ecg(weights, activation_ms, apd_ms, layer, bcl, g_kr):
    """Electrodes (10, 500): a sum over cells, one after the other, of weight times action potential."""
    table, clock = signals.action_potentials(), np.arange(signals.SAMPLES)
    ecg = np.zeros((len(weights), signals.SAMPLES))
    for cell in np.flatnonzero(np.isfinite(activation_ms)):
        name = LAYERS[layer[cell]]
        rest = table.rest(name, bcl, g_kr)
        since = table_time(clock - activation_ms[cell], table.apd(name, bcl, g_kr), apd_ms[cell])
        voltage = np.interp(since, table.time_ms, table.voltage(name, bcl, g_kr), left=rest, right=rest)
        ecg += weights[:, cell, None] * (voltage - rest)
    return ecg


def ecg_seconds():
    """Seconds of one ECG: the plain way, the kit's way."""
    patient = draw_patient(0, 1)
    beats = simulate_beats(patient, [patterns.normal(patient.heart, np.random.default_rng(0))], onset_ms=5.0)
    arguments = (lead_weights(patient, beats, 0), beats.activation_ms[0], beats.apd_ms[0], patient.layer, 1000, 1.0)
    signals.ecg_of(*arguments)  # compiles
    start = time.perf_counter()
    plain = plain_ecg(*arguments)
    middle = time.perf_counter()
    for _ in range(10):
        ours = signals.ecg_of(*arguments)
    end = time.perf_counter()
    assert np.corrcoef(plain.ravel(), ours.ravel())[0, 1] > 0.99
    return middle - start, (end - middle) / 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearts", type=int, default=4)
    parser.add_argument("--cases", type=int, default=60)
    options = parser.parse_args()
    cases_a_minute(1, 2, None)  # compiles, starts the workers
    one, all_cores = (cases_a_minute(options.hearts, options.cases, workers) for workers in (1, None))
    print(f"cases a minute: one process {one:.0f}, all cores {all_cores:.0f} (bar: 900)")
    if (peak := peak_mb(options.cases)) is not None:
        print(f"memory: at most {peak:.0f} MB in a process that makes a heart with {options.cases} cases (bar: 1000)")
    plain, ours = ecg_seconds()
    print(f"one ECG of a heart: sum over cells {plain:.2f} s, binned {ours:.4f} s, {plain / ours:.0f} times faster")


if __name__ == "__main__":
    main()
