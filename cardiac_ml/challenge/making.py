"""A challenge of one's own: new virtual hearts, a public part to learn from, a private part to score with.

    python -m cardiac_ml make-challenge OUT --seed 2024

Participants get ``OUT/public``: training data in the usual layout, and for the test cases only what a model may see,
in ``test_task_N.npz`` (``ids`` and ``inputs``). Keep ``OUT/private`` and the seed to yourself: they are the answers.
Test cases are of hearts without a single training case; their names and their order are drawn at random, and all public
files carry the same date, so that nothing about them tells the answer.
"""
import os
from pathlib import Path

import numpy as np

from cardiac_ml import intracardiac, leads
from cardiac_ml.challenge import scoring
from cardiac_ml.activation import activation_times
from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.heartbeats import write_folder
from cardiac_ml.virtual import beats, dataset

SAME_DATE = 1_577_836_800  # 2020-01-01: the age of a file tells nothing
PTB_TEST_SHARE = 0.25


def make_challenge(out, seed, hearts=24, test_hearts=6, cases=60, workers=None):
    """Simulate a challenge into ``out/public`` and ``out/private``; returns the two folders."""
    out = Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} holds other data, which is never overwritten. Choose a new folder.")
    if not 0 < test_hearts < hearts:
        raise DataError(f"{test_hearts} test hearts of {hearts}: at least one heart must be left to learn from.")
    public, private = out / "public", out / "private"
    private.mkdir(parents=True)
    public.mkdir()
    rng = np.random.default_rng([seed, hearts, cases])
    _make_hearts(public, private, seed, hearts, test_hearts, cases, workers, rng)
    _make_heartbeats(public, private, seed, rng)
    for path in [*public.rglob("*"), public]:
        os.utime(path, (SAME_DATE, SAME_DATE))
    return public, private


def _make_hearts(public, private, seed, hearts, test_hearts, cases, workers, rng):
    """Tasks 3 and 4: whole hearts are held out."""
    held_out = set(rng.choice(hearts, test_hearts, replace=False).tolist())
    kept_back = []

    def training():
        simulated = dataset.simulate_intracardiac(hearts, cases, seed=seed, workers=workers)
        for number, batch in enumerate(simulated):
            if number in held_out:
                kept_back.append(batch)
            else:
                yield *batch[:2], batch[2].drop(columns="seed")  # who knows the seed can make the answers

    intracardiac.write_pairs(training(), public / "intracardiac_dataset")
    electrodes, voltage = (np.concatenate([batch[i] for batch in kept_back]) for i in (0, 1))
    heart = np.concatenate([batch[2]["heart"].to_numpy(dtype=str) for batch in kept_back])
    ecg_mv = leads.to_leads(electrodes.swapaxes(1, 2).astype(np.float32))
    voltage_mv = np.ascontiguousarray(voltage.swapaxes(1, 2), dtype=np.float32)
    order, ids = rng.permutation(len(heart)), _names(rng, len(heart))
    for task, label in ((3, activation_times(voltage_mv)[0]), (4, voltage_mv)):
        _write_test(public, private, task, ids, ecg_mv[order], label[order], heart[order])


def _make_heartbeats(public, private, seed, rng):
    """Tasks 1 and 2: whole patients are held out, in the PTB pair by drawing them here."""
    files = beats.simulate_heartbeats(seed=seed)
    ptb = [files.pop(name) for name in ("ptbdb_normal", "ptbdb_abnormal")]
    people = sorted({person for _, table in ptb for person in table["patient"]})
    held_out = set(rng.choice(people, max(1, round(PTB_TEST_SHARE * len(people))), replace=False).tolist())
    test_rows, test_people = [], []
    for name, (rows, table) in zip(("ptbdb_normal", "ptbdb_abnormal"), ptb):
        tested = table["patient"].isin(held_out).to_numpy()
        files[name] = rows[~tested], table[~tested]
        test_rows.append(rows[tested])
        test_people.append(table["patient"].to_numpy()[tested])
    tests = {1: (np.concatenate(test_rows), np.concatenate(test_people))}
    rows, table = files.pop("mitbih_test")
    tests[2] = rows, table["patient"].to_numpy()
    write_folder(public / "ecg_dataset", files, "virtual heartbeats of a challenge, training patients only")
    for task, (rows, people) in tests.items():
        order = rng.permutation(len(rows))
        _write_test(public, private, task, _names(rng, len(rows)), rows[order, :187],
                    rows[order, 187].astype(np.int64), people[order])


def _names(rng, count):
    """Names of test cases that say nothing: ``case-`` and eight random hexadecimal digits, all different."""
    return np.array([f"case-{number:08x}" for number in rng.choice(16 ** 8, size=count, replace=False)])


def _write_test(public, private, task, ids, inputs, label, group):
    with atomic_write(public / f"test_task_{task}.npz") as file:
        np.savez_compressed(file, ids=ids, inputs=inputs.astype(np.float32))
    scoring.write_truth(private / f"truth_task_{task}.npz", scoring.Truth(task, ids, label, group.astype(str)))
