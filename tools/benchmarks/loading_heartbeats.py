"""How fast the heartbeat files are read: against numpy, against pandas alone, and the second time.

    python -m tools.benchmarks.loading_heartbeats [FOLDER] [--rows 109446]

FOLDER holds the MIT-BIH pair; without it files of the same size (``--rows`` beats, 188 columns, 18 decimals: 514 MB)
are made in a temporary folder. Every way runs in a process of its own and is timed without its imports.
"""
import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cardiac_ml.formats.heartbeat_files import write_rows
from cardiac_ml.heartbeats import load_mitbih

NAMES = ("mitbih_train.csv", "mitbih_test.csv")


def with_numpy(folder: Path) -> int:
    return sum(len(np.loadtxt(folder / name, delimiter=",")) for name in NAMES)


def with_pandas(folder: Path) -> int:
    return sum(len(pd.read_csv(folder / name, header=None)) for name in NAMES)


def with_the_kit(folder: Path) -> int:
    return sum(len(part) for part in load_mitbih(folder))


def made_files(folder: Path, rows: int = 109446) -> None:
    """Write beats of whole converter units, as real ones are, with a tail of zeros."""
    random = np.random.default_rng(0)
    beats = random.integers(0, 500, (rows, 187)) / 499
    beats[np.arange(187) > random.integers(60, 187, rows)[:, None]] = 0
    whole = np.column_stack([beats, random.integers(0, 5, rows)]).astype(np.float32)
    for name, part in zip(NAMES, np.split(whole, [rows * 4 // 5])):
        write_rows(folder / name, part)


def measured(way, answers, *arguments) -> None:
    before = peak_mb()
    start = time.perf_counter()
    rows = way(*arguments)
    answers.put((rows, time.perf_counter() - start, peak_mb() - before))


def peak_mb() -> float:
    """Largest memory of this process so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(way, *arguments) -> tuple[int, float, float]:
    """Result, seconds and megabytes of a call. (A new process inherits the peak of its parent, which stays small.)"""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=measured, args=(way, answers, *arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{way.__name__} failed, see above.")
    return answers.get()


def compare(folder: Path) -> None:
    size_mb = sum((folder / name).stat().st_size for name in NAMES) / 1e6
    ways = [("np.loadtxt", with_numpy), ("pd.read_csv", with_pandas), ("load_mitbih, first time", with_the_kit),
            ("load_mitbih, second time", with_the_kit)]
    print(f"{size_mb:.0f} MB of CSV\n{'':26}{'seconds':>8}{'peak MB':>9}{'times np.loadtxt':>18}")
    slowest = None
    for name, way in ways:
        rows, seconds, memory_mb = in_own_process(way, folder)
        slowest = slowest or seconds
        print(f"{name:26}{seconds:8.2f}{memory_mb:9.0f}{slowest / seconds:18.1f}   {rows} rows", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder with the MIT-BIH pair")
    parser.add_argument("--rows", type=int, default=109446)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.folder:  # links, so that a fast copy of earlier days does not count as the first time
            for name in NAMES:
                (folder / name).symlink_to((arguments.folder / name).resolve())
        else:
            in_own_process(made_files, folder, arguments.rows)
        compare(folder)


if __name__ == "__main__":
    main()
