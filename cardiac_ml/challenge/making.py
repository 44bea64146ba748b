"""A challenge of one's own: new virtual hearts, a public part to learn from, a private part to score with.

    python -m cardiac_ml make-challenge OUT

Participants get ``OUT/public``; ``OUT/private`` holds the answers and the secret that makes them. The secret is 128
random bits. Everything that is drawn has a key of its own, hashed from it: the hearts to learn from, the hearts to test
on, names, order and choice. So whoever should find out one key from the public part still has none of the answers.
Public tables hold only what the real ones hold; all files carry one date.
"""
import hashlib
import os
import secrets
import shutil
import time
from pathlib import Path

import numpy as np

from cardiac_ml import leads
from cardiac_ml.activation import upstroke_ms
from cardiac_ml.challenge import baselines, scoring, submission
from cardiac_ml.challenge.cases import Cases
from cardiac_ml.challenge.rules import readme
from cardiac_ml.files import DataError, atomic_write, new_folder
from cardiac_ml.formats import croissant
from cardiac_ml.formats.heartbeat_files import write_folder
from cardiac_ml.virtual import beats, dataset
from cardiac_ml.virtual.writing import write_pairs

SAME_DATE = 1_577_836_800  # 2020-01-01: the age of a file tells nothing
LEAST_SECRET = 2 ** 100    # what is smaller can be tried out, some day
TABLE = ["heart", "pattern", "innerindex", "bcl", "gkr", "kind"]  # what the files of the real set tell
BEATS_TABLE = ["patient", "kind"]
BEATS_EACH = {1: 100, 2: 250}  # rows of a patient
FEWEST = 20                # rows of the files that a task does not need


def make_challenge(out, seed=None, tasks=(1, 2, 3, 4), train_hearts=24, test_hearts=12, cases=60, deadline=None,
                   extra_hearts=True, workers=None, progress=True):
    """Simulate a challenge into ``out/public`` and ``out/private``; returns the two folders.

    ``train_hearts`` and ``test_hearts`` are hearts in tasks 3 and 4, patients in tasks 1 and 2; half of those to test
    on are kept for the end. The folder appears when all of it is written.
    """
    out, secret = Path(out).expanduser(), secrets.randbits(128) if seed is None else seed
    _check(secret, tasks, train_hearts, test_hearts, cases)
    for left in out.parent.glob(f".{out.name}.*.part"):
        if time.time() - left.stat().st_mtime > 24 * 3600:  # of a run that was killed outright
            shutil.rmtree(left, ignore_errors=True)
    with new_folder(out) as folder:
        public, private = folder / "public", folder / "private"
        public.mkdir()
        private.mkdir(mode=0o700)
        (private / "secret.txt").write_text(f"{secret}\n")
        (private / ".gitignore").write_text("*\n")
        size = dict(train=train_hearts, test=test_hearts, workers=workers, progress=progress)
        files = {}
        for task in sorted(set(tasks) & {1, 2}):
            files |= _make_beats(public, private, task, secret, **size)
        if files:
            write_folder(public / "ecg_dataset", files, "virtual heartbeats of a challenge, to learn from")
        if hearts := sorted(set(tasks) & {3, 4}):
            _make_hearts(public, private, hearts, secret, cases, **size)
        (public / "README.md").write_text(readme(tasks, train_hearts, test_hearts, deadline, extra_hearts))
        said = "Virtual hearts to learn from, and others without answers to be tested on."
        croissant.write(public, "challenge", said, time.strftime("%Y-%m-%d", time.gmtime(SAME_DATE)))
        for path in [*public.rglob("*"), public]:
            os.utime(path, (SAME_DATE, SAME_DATE))
    return out / "public", out / "private"


def _check(secret, tasks, train_hearts, test_hearts, cases):
    if secret < LEAST_SECRET:
        raise DataError(f"The seed {secret} can be guessed, and who knows it has every answer. Leave --seed out: 128 "
                        "random bits are drawn and kept in private/secret.txt. Such a number makes the same again.")
    if not set(tasks) <= set(submission.TASKS) or not tasks:
        raise DataError(f"There is no task {sorted(set(tasks) - set(submission.TASKS))}; choose of 1, 2, 3, 4.")
    if min(train_hearts, test_hearts) < 2 or cases < 1:
        raise DataError(f"{train_hearts} hearts to learn from, {test_hearts} to test on, {cases} cases each: two "
                        "hearts on each side and one case are the least.")
    if 1 in tasks and test_hearts < 4:
        raise DataError("task 1 has healthy and ill patients in both halves of its test, so it needs 4 test hearts, "
                        f"not {test_hearts}.")


def key(secret, purpose):
    """128 bits for one purpose; they tell nothing about the secret or another key."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {secret}".encode()).digest()[:16], "big")


def _make_hearts(public, private, tasks, secret, cases, train, test, workers, progress):
    """Tasks 3 and 4: the hearts to test on are others."""
    def simulated(hearts, purpose, cases):
        print(f"Tasks 3 and 4: {hearts} {purpose}", flush=True)
        return dataset.simulate_intracardiac(hearts, cases, key(secret, purpose), workers=workers, progress=progress)

    rng, learn, asked, hearts = np.random.default_rng(key(secret, "choice of tasks 3 and 4")), [], [], []

    def training():
        for *signals, table in simulated(train, "hearts to learn from", cases):
            learn.append(signals)
            yield *signals, table[TABLE]

    write_pairs(training(), public / "intracardiac_dataset", "virtual hearts of a challenge")
    for *signals, table in simulated(test, "hearts to test on", cases + cases // 4):
        some = rng.permutation(len(table))[:cases]  # nobody can count what is left
        asked.append([signal[some] for signal in signals])
        hearts += table["heart"].tolist()[:len(some)]
    order = rng.permutation(len(hearts))
    heart, ids = np.array(hearts)[order], _names(secret, 3, len(hearts))
    final = np.isin(heart, rng.permutation(np.unique(heart))[::2])
    (ecg_mv, voltage_mv), (ecg_asked, voltage_asked) = _signals(learn), _signals(asked)
    for task in tasks:
        answer = upstroke_ms if task == 3 else (lambda mv: mv)
        truth = scoring.Truth(task, ids, answer(voltage_asked)[order], heart, final)
        _write_test(public, private, truth, ecg_asked[order], ecg_mv, answer(voltage_mv))


def _signals(batches):
    """(cases, 12, 500) and (cases, 75, 500) mV of batches as the simulator makes them."""
    electrodes, voltage = (np.concatenate(part).swapaxes(1, 2).astype(np.float32, order="C") for part in zip(*batches))
    return leads.to_leads(electrodes), voltage


def _make_beats(public, private, task, secret, train, test, workers, progress):
    """Task 1 or 2: the patients to test on are others, and those of the two tasks have nothing in common.

    Returns the files to learn from.
    """
    def simulated(patients, purpose, infarct_share=beats.INFARCT_SHARE):
        print(f"Task {task}: {patients} {purpose}", flush=True)
        rows = BEATS_EACH[task] * patients
        size = (dict(hearts=2, patients=patients, train=FEWEST, test=FEWEST, ptb=rows, infarct_share=infarct_share)
                if task == 1 else
                dict(hearts=patients, patients=2, train=rows - rows // 4, test=rows // 4, ptb=FEWEST))
        made = beats.simulate_heartbeats(seed=key(secret, f"task {task}, {purpose}"), workers=workers,
                                         progress=progress, **size)
        return {name: (rows, _public(table, 1 + (task - 1) * patients)) for name, (rows, table) in made.items()
                if name.startswith(("mitbih", "ptbdb")[task == 1])}

    learn = simulated(train, "patients to learn from")
    # As many rows of each patient: were more left out of the ill ones', the gaps in their records would tell them.
    rows, person = _joined(simulated(test + test // 2, "patients to draw the test from", infarct_share=None))
    label, rng = rows[:, 187].astype(np.int64), np.random.default_rng(key(secret, f"choice of task {task}"))
    final, week = draw_patients(person, label, test, rng)
    order = rng.permutation(np.flatnonzero(np.isin(person, [*final, *week]) & thinned(person, rng)))
    truth = scoring.Truth(task, _names(secret, task, len(order)), label[order], person[order],
                          np.isin(person[order], final))
    known = _joined(learn)[0]
    _write_test(public, private, truth, rows[order, :187], known[:, :187], known[:, 187].astype(np.int64))
    return learn


def _joined(files):
    """(rows (n, 188), their patients (n,) text) of several files."""
    return tuple(np.concatenate(part) for part in zip(*(
        (rows, table["patient"].to_numpy(dtype=str)) for rows, table in files.values())))


def _public(table, first):
    """What the public may know of each beat; patients are numbered from ``first`` on."""
    return table.reindex(columns=BEATS_TABLE).assign(patient=table["patient"].to_numpy() + first)


def draw_patients(person, label, count, rng):
    """Two halves of ``count`` patients drawn at random, again while a half lacks a class: how many of each is open."""
    for _ in range(200):
        drawn = rng.permutation(np.unique(person))[:count]
        halves = drawn[::2], drawn[1::2]
        if all(set(label) == set(label[np.isin(person, half)]) for half in halves):
            break
    return halves


def thinned(person, rng):
    """Which rows stay, (rows,) bool: of each patient another share, so that their number tells nothing."""
    patients, number = np.unique(person, return_inverse=True)
    return rng.random(len(person)) < rng.uniform(0.6, 1, len(patients))[number]


def _names(secret, task, count):
    """Names of test cases, hashed: unlike numbers of a generator they tell nothing about what was drawn beside them."""
    return np.array([f"case-{key(secret, f'name {number} of task {task}'):032x}"[:17] for number in range(count)])


def _write_test(public, private, truth, asked, inputs, answer):
    """All files of a task's test: what is asked, a template, the truth, and the baselines learnt from the training."""
    test = Cases(truth.task, truth.ids, asked.astype(np.float32))
    with atomic_write(public / f"test_task_{truth.task}.npz") as file:
        np.savez_compressed(file, ids=test.ids, inputs=test.inputs)
    submission.write_template(public / f"template_task_{truth.task}.npz", truth.task, test.ids)
    scoring.write_truth(private / f"truth_task_{truth.task}.npz", truth)
    baselines.write(private / "baselines", truth.task, inputs, answer, test)
