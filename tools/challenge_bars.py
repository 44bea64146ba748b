"""What a challenge promises, measured: how its scorer bears hostile files and a full class, and what intervals hold.

    python -m tools.challenge_bars fuzz [--files 3000]      damaged and hostile submissions, checked and ranked
    python -m tools.challenge_bars class [--teams 60]       a board of task 4: 720 cases of 12 hearts for each team
    python -m tools.challenge_bars intervals [--worlds 1000]  coverage of intervals, false verdicts of the board

Each prints its numbers beside what they must be, and fails where they are not. The tests do the same with less.
"""
import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np

from cardiac_ml import metrics
from cardiac_ml.challenge import board, page, scoring, submission

FORBIDDEN = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
             "socket.connect", "ctypes.dlopen")


def largest_mb():
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024 ** 2)


# ---- hostile files ----

def made_truth(task, cases=30, groups=6):
    rng = np.random.default_rng(task)
    labels = {1: lambda: rng.integers(0, 2, cases), 2: lambda: rng.integers(0, 5, cases),
              3: lambda: rng.uniform(10, 120, (cases, 75)), 4: lambda: rng.uniform(-85, 30, (cases, 75, 500))}[task]()
    heart = np.arange(cases) % groups
    return scoring.Truth(task, np.array([f"case-{number}" for number in range(cases)]),
                         labels if task <= 2 else labels.astype(np.float32), heart.astype(str), heart < groups // 2)


def hostile_bytes(good, rng):
    """A submission as someone might send it who wants the board to fall over."""
    kind = rng.choice(("bytes", "bytes", "cut", "header", "array", "array", "text"))
    if kind == "bytes":
        return mutated(good, rng, rng.randint(1, 12))
    if kind == "cut":
        return good[:rng.randint(0, len(good))] + rng.randbytes(rng.choice((0, 0, 50)))
    if not good.startswith(b"PK"):
        return good.replace(rng.choice((b",", b"\n", b"0.", b"case-", b'"')), rng.choice((
            b";", b"", b"\x00", b"nan", b"1e400", b"\xff", b"\r", "\U0001f4a9".encode(), b"[" * 1500, b"9" * 3000)))
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = "header.npy" if kind == "header" else rng.choice(sorted(members))
    file = io.BytesIO()
    if kind == "header":
        said = rng.choice(('{"task": 3, "team": "\\ud800"}', "[" * 2000, '{"task": 1e400}', '{"task": true}',
                           '{"task": 3, "team": {}}', '{"task": 3, "data": []}', "{}", "9" * 2000, "\x00"))
        np.save(file, np.array(said))
    else:
        descr = rng.choice(("<f4", "<f8", ">f4", "<f16", "|O", "<U0", "<U1", "<U9", "<U200000000", "<i8", "<c16", "|V9",
                            "<M8[s]", [("a", "<f4")], "|S5", "<f2"))
        shape = rng.choice(((30, 75), (30,), (), (0,), (2 ** 28,), (2 ** 62, 8), (-1,), (30, 75, 500), (1,) * 40,
                            (10 ** 9, 75)))
        head = {"descr": descr, "fortran_order": rng.random() < 0.3, "shape": shape}
        head = rng.choice((repr(head),) * 20 + ("(" * 5000, "-" * 5000 + "1", "{" * 90, "__import__('os')")).encode()
        file.write(b"\x93NUMPY\x02\x00" + len(head).to_bytes(4, "little") + head)
        file.write(rng.choice((members[name][128:], rng.randbytes(4000), bytes(10 ** 6), b"")))
    members[name] = file.getvalue()
    out = io.BytesIO()
    packed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(out, "w", packed) as archive:
        for member, content in members.items():
            archive.writestr(rng.choice((member,) * 40 + ("../" + member, "/etc/" + member)), content)
    return mutated(out.getvalue(), rng, rng.choice((0, 0, 2)))


def mutated(content, rng, count):
    content = bytearray(content)
    for _ in range(count):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def fuzz(folder, files=3000, seed=0):
    rng, truths, forbidden, slowest, watching = random.Random(seed), {}, [], 0.0, []
    goods = []
    for task in submission.TASKS:
        truths[task] = truth = made_truth(task, 30 if task < 4 else 4)
        for suffix in (".npz", ".csv") if task <= 2 else (".npz",):
            goods.append(submission.write_template(folder / f"good{suffix}", task, truth.ids).read_bytes())
            (folder / f"good{suffix}").unlink()

    def hook(event, arguments):
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        wrote = event == "open" and isinstance(arguments[2], int) and arguments[2] & writes
        if watching and (event in FORBIDDEN or wrote):
            forbidden.append((event, str(arguments)[:100]))

    sys.addaudithook(hook)
    start, ranked, place = largest_mb(), 0, folder / "submissions"
    place.mkdir()
    for number in range(files):
        good = rng.choice(goods)
        path = place / f"{number}{'.npz' if good.startswith(b'PK') else '.csv'}"
        path.write_bytes(hostile_bytes(good, rng))
        watching.append(number)
        began = time.process_time()
        entries, refused = board.read_entries(place, truths)
        slowest = max(slowest, time.process_time() - began)
        watching.clear()
        ranked += sum(map(len, entries.values()))
        if sum(map(len, entries.values())) + len(refused) != 1:
            forbidden.append(("lost", number))
        page.as_markdown({}, refused)
        path.unlink()
    grown = largest_mb() - start
    print(f"{files} files: {ranked} ranked, {files - ranked} refused; slowest {slowest:.2f} s (bar 2), memory grew by "
          f"{grown:.0f} MB (bar 200), forbidden events {forbidden[:3] or 'none'}")
    return not forbidden and slowest < 2 and grown < 200


# ---- a full class ----

def full_class(folder, teams=60, cases=720):
    """Six different files of task 4, each handed in under several names."""
    making = multiprocessing.get_context("spawn").Process(target=make_class, args=(folder, teams, cases))
    making.start()  # in a process of its own, so that the memory below is that of ranking alone
    making.join()
    began = time.process_time(), time.monotonic()
    tables, refused = board.make(folder / "submissions", scoring.find_truths(folder))
    page.write(folder / "board", tables, refused)
    took = time.process_time() - began[0]
    print(f"{len(tables[4].rows)} teams, {cases} cases: {took:.1f} s of CPU (bar {teams}), "
          f"{time.monotonic() - began[1]:.0f} s by the clock, {largest_mb():.0f} MB at most (bar 1500)")
    return not refused and took < teams and largest_mb() < 1500


def make_class(folder, teams, cases):
    rng, place = np.random.default_rng(4), folder / "submissions"
    place.mkdir()
    since = (np.arange(500) - rng.uniform(20, 120, (cases, 75, 1))).astype(np.float32)
    label = np.where((since > 0) & (since < 250), 20 - since / 10, -85).astype(np.float32)
    heart = np.arange(cases) % 12
    truth = scoring.Truth(4, np.array([f"case-{number:012x}" for number in rng.permutation(cases)]), label,
                          heart.astype(str), heart < 6)
    scoring.write_truth(folder / "truth_task_4.npz", truth)
    for kind in range(min(6, teams)):
        given = np.roll(label, kind, axis=2)
        given += rng.normal(0, 2 + kind / 2, (cases, 75, 1)).astype(np.float32)
        order, names = rng.permutation(cases), [f"Team {number:03}" for number in range(kind, teams, 6)]
        for name, content in under_names(names, truth.ids[order], given[order]):
            (place / f"{name}.npz").write_bytes(content)


def under_names(names, ids, prediction):
    """(name, bytes) of one submission under several names: packed once, then the name in it is changed."""
    def header(name):
        file = io.BytesIO()
        np.lib.format.write_array(file, np.array(json.dumps({"task": 4, "team": name})))
        return file.getvalue(), zlib.crc32(file.getvalue()).to_bytes(4, "little")

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("header.npy", header(names[0])[0], zipfile.ZIP_STORED)
        for member, array in (("ids", ids), ("prediction", prediction)):
            with archive.open(f"{member}.npy", "w") as stream:
                np.lib.format.write_array(stream, array)
    for name in names:
        content = file.getvalue()
        for old, new in zip(header(names[0]), header(name)):
            content = content.replace(old, new)
        yield name, content


# ---- intervals and verdicts ----

def made_answers(task, groups, teams, rng):
    """(truth, predictions of equal teams, group of each row): groups differ, and each team is better at other groups.

    Task 1: a patient is healthy or not; task 2: each has all classes; task 3: mean errors of hearts, lognormal.
    """
    if task == 3:
        hard = rng.normal(np.log(5), 0.4, (groups, 1))
        return np.zeros((groups, 1)), [np.exp(hard + rng.normal(0, 0.2, hard.shape)) for _ in range(teams)], \
            np.arange(groups)
    who, classes = np.arange(groups).repeat(60), len(submission.TASKS[task].columns)
    label = (rng.permutation(np.arange(groups) % 3 > 0).astype(int)[who] if task == 1 else
             rng.choice(5, len(who), p=(0.6, 0.1, 0.14, 0.06, 0.1)))
    hard, given = rng.normal(2, 0.9, (groups, classes)), []
    for _ in range(teams):
        right = rng.random(len(who)) < 1 / (1 + np.exp(-hard - rng.normal(0, 0.4, hard.shape)))[who, label]
        given.append(np.eye(classes)[np.where(right, label, (label + rng.integers(1, classes, len(who))) % classes)])
    return label, given, who


def intervals(_, worlds=1000):
    """How often the board's intervals hold the score over very many groups, and equal teams are called different."""
    well = True
    for task, groups in ((task, groups) for task in (1, 2, 3) for groups in (6, 12, 20)):
        metric, rng = scoring.metrics_of(task)[scoring.MAIN[task]], np.random.default_rng([task, groups])
        label, [given], _ = made_answers(task, 6000, 1, rng)
        true, held, wrong = metric(label, given), 0, {2: 0, 4: 0}
        for seed in range(worlds):
            label, given, group = made_answers(task, groups, 4, rng)
            found = metrics.bootstrap({"": metric}, label, given[0], group, seed=seed)[""]
            held += found.low <= true <= found.high
            for teams in wrong:
                wrong[teams] += board.different(metric, label, given[:teams], group).any()
        said = ", ".join(f"{count / worlds:.1%} of {teams} equal teams" for teams, count in wrong.items())
        print(f"task {task}, {groups} groups: 90 % intervals hold {held / worlds:.1%} (bar 87 to 93), boards with a "
              f"false 'different': {said} (bar 6)", flush=True)
        well &= 0.87 <= held / worlds <= 0.93 and max(wrong.values()) / worlds <= 0.06
    return well


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_subparsers(dest="which", required=True)
    for name, option, value, run in (("fuzz", "files", 3000, fuzz), ("class", "teams", 60, full_class),
                                     ("intervals", "worlds", 1000, intervals)):
        command = which.add_parser(name)
        command.add_argument(f"--{option}", type=int, default=value)
        command.set_defaults(run=run, size=option)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return int(not options.run(Path(folder), getattr(options, options.size)))


if __name__ == "__main__":
    sys.exit(main())
