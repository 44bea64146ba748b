"""Kill the starter or the download at random moments: does every later start recover, and end as an undisturbed one?

    python -m tools.kill_tests starter [--kills 60] [--seed 0]
    python -m tools.kill_tests download [--kills 60] [--seed 0]

The tests of both do the same with few kills. Needs no network: a small wheel, and a server of its own.
"""
import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def end_after(seconds, command, sign, alone, **options):
    """Start a program and send it (``alone``, or with all it started) a signal after a while. Its status."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, **options)
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        (os.kill if alone else os.killpg)(process.pid, sign)
        return process.wait()


def starter(folder, kills, starts=1, seed=0):
    """Kill ``start.py setup`` so many times; after each, ``starts`` at once must succeed. Returns what went wrong."""
    from tests.test_start import BASE, new_clone
    rng, wrong, longest = random.Random(seed), [], 1.0
    for number in range(kills):
        kit = Path(folder) / f"kit_{number}"
        variables = os.environ | new_clone(kit)
        command = [BASE, "start.py", "setup"]
        sign = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
        after = rng.uniform(0, longest)
        end_after(after, command, sign, rng.random() < 0.5, cwd=kit, env=variables)
        began = time.monotonic()
        running = [subprocess.Popen(command, cwd=kit, env=variables, text=True, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT) for _ in range(starts)]
        told = [process.communicate()[0] for process in running]
        longest = max(longest, time.monotonic() - began) if starts == 1 else 6.0
        python = kit / ".venv" / "bin" / "python"
        works = subprocess.run([python, "-c", "import smallpackage, cardiac_ml, pip"], cwd=folder).returncode == 0
        if not works or any(process.returncode for process in running):
            wrong.append(f"{sign.name} after {after:.2f} s: " + "\n".join(told))
        print(f"{number + 1} of {kills} kills, {len(wrong)} without recovery", flush=True)
    return wrong


def download(folder, kills, seed=0):
    """Kill one download of two parts again and again until it is done; then it must be what the server has."""
    from tests.test_download import SCRIPT, Server, archive, pair, serving, settings, unpacked
    rng, wrong, killed, number = random.Random(seed), [], 0, 0
    while killed < kills:
        number += 1
        target = Path(folder) / f"data_{number}"
        with serving(Server()) as server:
            for part in (2, 3):
                server.add(part, archive(pair(f"part_{part}", 1) + pair("both", part), size=400_000), pause=0.3)
            variables = settings(server, target, parts="2 3", pairs=4)
            for _ in range(rng.randint(1, 6)):
                sign = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
                end_after(rng.uniform(0, 1.2), ["bash", str(SCRIPT)], sign, rng.random() < 0.5, env=variables)
                killed += 1
            done = subprocess.run(["bash", str(SCRIPT)], env=variables, capture_output=True, text=True)
            if done.returncode == 0 and server.holds(target) and len(unpacked(target)) == 8:
                continue
            wrong.append(f"folder {number}: " + done.stdout + done.stderr)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("starter", "download"))
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = globals()[options.which](folder, options.kills, seed=options.seed)
    print(*wrong, f"{len(wrong)} of {options.kills} kills were not recovered from.", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
