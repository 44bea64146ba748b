"""Run the benchmarks one after the other and write what they measured, as a table with the machine, to BENCHMARKS.md.

    python -m tools.benchmarks.run_all [--long] [--out BENCHMARKS.md]

``--long`` adds the comparison with the reference networks (12 minutes). Run it on a machine that does nothing else.
"""
import argparse
import platform
import subprocess
import sys
from pathlib import Path

import torch

import joblib

from cardiac_ml.files import ROOT, atomic_write

SHORT = {"Loading heartbeats": ["loading_heartbeats"], "Packing intracardiac files": ["packing"],
         "Simulation": ["simulation"], "Training throughput": ["training_throughput"],
         "Prediction": ["prediction"]}
LONG = {"Against the reference network, task 3": ["reference_networks", "--task", "3", "--seconds", "80"],
        "Against the reference network, task 4": ["reference_networks", "--task", "4", "--seconds", "240"]}


def machine():
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (f"{platform.system()} {platform.machine()}, {joblib.cpu_count(only_physical_cores=True)} cores, {device}, "
            f"Python {platform.python_version()}, torch {torch.__version__}")


def output_of(command):
    """What a benchmark printed, without its progress; an error where it failed."""
    done = subprocess.run([sys.executable, "-m", f"tools.benchmarks.{command[0]}", *command[1:]], text=True,
                          stdout=subprocess.PIPE, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed, see above.")
    return done.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "BENCHMARKS.md")
    options = parser.parse_args()
    call = f"python -m tools.benchmarks.run_all{' --long' * options.long}"
    lines = [f"# Benchmarks\n\nMade by `{call}` on {machine()}.\n",
             "| benchmark | measured | command |", "| --- | --- | --- |"]
    for title, command in (SHORT | (LONG if options.long else {})).items():
        print(f"{title} ...", flush=True)
        text = output_of(command)
        print(text, flush=True)
        lines += [f"| {title} | {' '.join(line.split())} | `python -m tools.benchmarks.{' '.join(command)}` |"
                  for line in text.splitlines() if line.strip()]
    with atomic_write(options.out, "w") as file:
        file.write("\n".join(lines) + "\n")
    print(f"Written to {options.out}")


if __name__ == "__main__":
    main()
