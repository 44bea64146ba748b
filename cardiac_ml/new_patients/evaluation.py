"""The report on new patients: ``python -m tools.results --task 2 --split patients --records FOLDER``.

Without test records it is a cross-validation over the whole records of the folder; with them it learns from the folder
and scores the test records. Either way the models are also tried on records in other rhythms (``retimed_records``),
made of the patients whom they were not trained on.
"""
import contextlib
import io
import sys
import time

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from cardiac_ml import metrics
from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.new_patients import classifier as patients
from cardiac_ml.new_patients.classifier import CLASSES, EARLY
from cardiac_ml.new_patients.network import fit_network, predict_network
from cardiac_ml.new_patients.synthetic import RHYTHMS, retimed_records

NETWORK, TREES = "1-D network, three beats and their times", "trees, time apart from shape"
STRESS_SEED = 1000  # of the records that the models are tried on: those to learn from have the seeds 0, 1, 2


def main(records, test_records=None, seeds: int = 3, out=None):
    """Make the report, print it, and write it to ``out`` if that is given."""
    if records is None:
        raise DataError("--split patients needs --records FOLDER: raw MIT-BIH records (.hea, .dat, .atr).")
    if seeds < 1:
        raise DataError(f"--seeds is {seeds}, expected 1 or more.")
    text = report(records, test_records, seeds)
    print(text)
    if out is not None:
        with atomic_write(out, "w") as file:
            file.write(text)


def report(folder, test_folder=None, seeds: int = 3) -> str:
    """Scores of the network (one seed) and of the trees on new patients, as Markdown."""
    names = patients.training_names(folder)
    others = [] if test_folder is None else patients.test_names(test_folder, names)
    ds = patients.load_patients(folder, names)
    tested = patients.load_patients(test_folder, others) if others else ds
    if not (tested.label < len(CLASSES)).any():
        raise DataError(f"{tested.source} has no beat of the classes {', '.join(CLASSES)}: there is nothing to score.")
    train, stress, *synthetic = Parallel(n_jobs=-1)(
        [delayed(patients.beat_table)(ds), delayed(patients.beat_table)(retimed_records(tested, STRESS_SEED)),
         *(delayed(patients.synthetic_table)(ds, seed) for seed in range(seeds))])
    test = patients.beat_table(tested) if others else train
    scored, found = test.label < len(CLASSES), {}
    folds = [[np.unique(test.patient)] if others else patients.folds_of_patients(ds, seed) for seed in range(seeds)]
    for title, runs, fit, predict in ((NETWORK, 1, fit_network, predict_network),
                                      (TREES, seeds, patients.fit_trees, patients.predict_trees)):
        start = time.perf_counter()
        answers = held_out_answers(fit, predict, train, synthetic[:runs], (test, stress), folds[:runs])
        for seed, (whole, _) in enumerate(answers):
            score = metrics.macro_f1(test.label[scored], whole[scored])
            print(f"{title}, seed {seed}: macro-F1 {score:.3f}", file=sys.stderr, flush=True)
        found[title] = [[whole[scored] for whole, _ in answers],
                        [made for _, made in answers], (time.perf_counter() - start) / runs]
    how = (f"Learned from {len(names)} records, tested on {len(others)} others: {', '.join(others)}." if others else
           f"Cross-validation over {len(names)} whole records, predictions of all folds pooled: {', '.join(names)}.")
    return as_markdown(how, test.rows(scored), stress, found)


def held_out_answers(fit, predict, train, synthetic, tables, folds) -> list[list[np.ndarray]]:
    """For each seed, probabilities (rows, 4) for each of the tables, its patients by a model that has not seen them.

    ``synthetic`` and ``folds`` have one entry for each seed. Folds are learned side by side, on all processors.
    """
    answers = [[np.zeros((len(table.label), len(CLASSES))) for table in tables] for _ in folds]
    places = [(seed, held_out) for seed, patients_of in enumerate(folds) for held_out in patients_of]
    jobs = (delayed(_fold)(fit, predict, train, synthetic[seed], tables, held_out, seed) for seed, held_out in places)
    for (seed, held_out), parts in zip(places, Parallel(n_jobs=-1)(jobs)):
        for table, answer, part in zip(tables, answers[seed], parts):
            answer[np.isin(table.patient, held_out)] = part
    return answers


def _fold(fit, predict, train, synthetic, tables, held_out, seed):
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars of folds side by side
        model = fit(train.rows(~np.isin(train.patient, held_out)), synthetic, seed)
    return [predict(model, table.rows(np.isin(table.patient, held_out))) for table in tables]


# ---- the report as text ----

def as_markdown(how, test, stress, found) -> str:
    """The report: ``found`` is model -> (probabilities of each seed, those on the stress records, seconds a seed)."""
    head = [["model", "macro-F1", "seeds", "90 % interval over patients", "accuracy", "seconds a seed"]]
    for title, (answers, _, seconds) in found.items():
        pooled = intervals({"f1": metrics.macro_f1}, test, answers)["f1"]
        f1, right = (_mean_and_spread(score, test.label, answers) for score in (metrics.macro_f1, metrics.accuracy))
        head.append([title, f1, str(len(answers)), f"{pooled.low:.3f} to {pooled.high:.3f}", right, f"{seconds:.0f}"])
    lines = ["# New patients: MIT-BIH, classes N, S, V, F", "", how,
             "Paced records and beats of class Q are left out. R peaks are those of the annotations. A tested "
             "patient's record is used whole, without its labels.", "", concentration(test), "", *table_lines(head)]
    for title, (answers, _, _) in found.items():
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", *class_lines(test, answers)]
    lines += ["", "## Stress: the same patients in other rhythms", "", "Their own normal beats at other times, with "
              "another P wave where they come early. Share of the beats that were called right.", "",
              *stress_lines(stress, {title: made for title, (_, made, _) in found.items()})]
    return "\n".join(lines) + "\n"


def table_lines(rows) -> list[str]:
    """A Markdown table; the first row is its head."""
    return ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def concentration(test) -> str:
    """How much of each class comes from one patient: the fewer patients, the less the score of a class says."""
    parts = []
    for number, name in enumerate(CLASSES):
        beats = pd.Series(test.patient[test.label == number]).value_counts()
        parts.append(f"{name} {beats.sum()} beats" + (
            f" of {len(beats)} patients ({100 * beats.iloc[0] / beats.sum():.0f} % of record {beats.index[0]})"
            if len(beats) else ""))
    return "Beats: " + "; ".join(parts) + "."


def intervals(scores, test, answers):
    """Bootstrap over patients, the predictions of all seeds together."""
    return metrics.bootstrap(scores, np.tile(test.label, len(answers)), np.concatenate(answers),
                             np.tile(test.patient, len(answers)))


def class_lines(test, answers) -> list[str]:
    """Sensitivity, predictive value, F1 of each class with intervals over patients, and the mean confusion matrix."""
    table = np.mean([metrics.confusion(test.label, answer) for answer in answers], axis=0)
    titles = ("sensitivity", "predictive value", "F1")
    scores = intervals({f"{title} {name}": metrics.of_class(title, number) for title in titles
                        for number, name in enumerate(CLASSES)}, test, answers)
    rows = [["class", *titles, *(f"called {name}" for name in CLASSES)]]
    for name, counts in zip(CLASSES, table):
        found = [scores[f"{title} {name}"] for title in titles]
        shown = ["none" if np.isnan(one.value) else f"{one.value:.3f} ({one.low:.2f} to {one.high:.2f})"
                 for one in found]
        rows.append([name, *shown, *(f"{count:.0f}" for count in counts)])
    return table_lines(rows)


def stress_lines(stress, found) -> list[str]:
    """Of each rhythm, the share of early and of normal beats that each model called right (mean over seeds)."""
    rows = [["rhythm", *(f"{kind} right: {title}" for title in found for kind in ("early", "normal"))]]
    rhythm = np.array([name.split(" ", 1)[1] for name in stress.record])
    for kind in RHYTHMS:
        shown = []
        for answers in found.values():
            right = np.mean([answer.argmax(axis=1) == stress.label for answer in answers], axis=0)
            for early in (True, False):
                part = right[(rhythm == kind) & ((stress.label == EARLY) == early)]
                shown.append(f"{part.mean():.3f}" if len(part) else "none")
        rows.append([kind, *shown])
    return table_lines(rows)


def _mean_and_spread(score, truth, answers) -> str:
    scores = [score(truth, answer) for answer in answers]
    return f"{np.mean(scores):.3f}" + (f" ± {np.std(scores):.3f}" if len(scores) > 1 else "")
