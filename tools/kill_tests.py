"""Kill what writes files at random moments: does every later start recover, and end as an undisturbed one?

    python -m tools.kill_tests starter [--kills 60] [--seed 0]
    python -m tools.kill_tests download [--kills 60] [--seed 0]
    python -m tools.kill_tests caches [--kills 60] [--seed 0]
    python -m tools.kill_tests checkpoints [--kills 60] [--seed 0]

The tests of all do the same with few kills. Needs no network: a small wheel, and a server of its own.
"""
import argparse
import multiprocessing
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


def caches(folder, kills, seed=0):
    """Kill the writing of packs, pairs, fast copies and virtual chests."""
    import joblib
    from cardiac_ml import files, heartbeats, intracardiac
    from cardiac_ml.virtual.writing import write_pairs
    from cardiac_ml.xray.images import load_xrays
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    import tiny
    import tiny_intracardiac
    tiny_intracardiac.made_intracardiac_files(Path(folder) / "hearts")
    tiny.made_heartbeat_files(Path(folder) / "beats", rows=400)

    def work(place):
        os.environ["CARDIAC_ML_CACHE"] = str(place)
        if not (place / "out").exists():
            write_pairs(tiny_intracardiac.made_batches(), place / "out")
        hearts = [intracardiac.load(path, progress=False) for path in (Path(folder) / "hearts", place / "out")]
        beats = heartbeats.load_mitbih(Path(folder) / "beats")
        with joblib.parallel_config("sequential"):
            chests = load_xrays(virtual_chests=2, size=32)
        arrays = [array for one in hearts for array in (one.ecg_mv, one.voltage_mv, one.activation_ms)]
        return files.fingerprint(*arrays, *(one.beats for one in beats), chests.pictures, chests.sides)
    return killed(work, Path(folder), kills, seed)


def checkpoints(folder, kills, seed=0):
    """Kill one training again and again."""
    import torch
    from cardiac_ml import files, models, training
    from tests.tiny import made_rows
    rows = made_rows(64, (0, 1, 2))
    pair = rows[:, :187], rows[:, 187].astype(int)

    def work(place):
        torch.manual_seed(0)
        place.mkdir(exist_ok=True)
        model, history = training.fit(
            models.HeartbeatNet(3, width=8, depths=[1, 1]), pair, pair, epochs=6, batch_size=16, device="cpu",
            precision="float32", checkpoint=place / "checkpoint.pt")
        return files.fingerprint(*(value.numpy() for value in model.state_dict().values()), *history["train_loss"])
    return killed(work, Path(folder), kills, seed)


def killed(work, folder, kills, seed):
    """Kill ``work(place)``, which writes there and returns a fingerprint, until it comes to an end; what went wrong."""
    fork = multiprocessing.get_context("fork")  # imports, the longest part of such a small piece of work, are done once

    def answer(place, seconds=None):
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=lambda: (silence(), sender.send(work(place))))
        process.start()
        sender.close()
        process.join(seconds)
        if dies := process.is_alive():
            os.kill(process.pid, rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
            process.join()
        return dies, receiver.recv() if receiver.poll() and not process.exitcode else None

    rng, wrong, done, number, began = random.Random(seed), [], 0, 0, time.monotonic()
    expected = answer(folder / "undisturbed")[1]
    longest = time.monotonic() - began
    while done < kills:
        number += 1
        place = folder / f"place_{number}"
        done += sum(answer(place, rng.uniform(0, longest))[0] for _ in range(rng.randint(1, 6)))
        if expected is None or answer(place)[1] != expected:
            wrong.append(f"{place.name} ends otherwise than an undisturbed one")
        print(f"{done} of {kills} kills, in {number} places, {len(wrong)} not recovered from", flush=True)
    return wrong


def silence():
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("starter", "download", "caches", "checkpoints"))
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = globals()[options.which](folder, options.kills, seed=options.seed)
    print(*wrong, f"{len(wrong)} of {options.kills} kills were not recovered from.", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
