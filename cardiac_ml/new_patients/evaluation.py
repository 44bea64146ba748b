"""The report on new patients: ``python -m cardiac_ml results --task 2 --split patients --records FOLDER``.

Without test records it is a cross-validation over the whole records of the folder; with them it learns from the folder
and scores the test records.
"""
import sys
import time

import numpy as np
import pandas as pd

from cardiac_ml import metrics
from cardiac_ml.new_patients import classifier as patients
from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.new_patients.classifier import CLASSES

NETWORK = "plain network, Kaggle's rows"
TREES = "beats compared with the patient's own, made fusion beats, boosted trees"


def main(options):
    """Make the report, print it, and write it to ``options.out`` if that is given."""
    if options.records is None:
        raise DataError("--split patients needs --records FOLDER: raw MIT-BIH records (.hea, .dat, .atr).")
    if options.seeds < 1:
        raise DataError(f"--seeds is {options.seeds}, expected 1 or more.")
    text = report(options.records, options.test_records, range(options.seeds))
    print(text)
    if options.out is not None:
        with atomic_write(options.out, "w") as file:
            file.write(text)


def report(folder, test_folder=None, seeds=range(3), network_seeds=range(1)) -> str:
    """Scores of the plain network and of the trees on new patients, as Markdown."""
    names = patients.training_names(folder)
    others = [] if test_folder is None else patients.test_names(test_folder, names)
    ds = patients.load_patients(folder, names)
    test = patients.load_patients(test_folder, others) if others else ds
    table = patients.beat_table(ds)
    test_table = patients.beat_table(test) if others else table
    scored = np.flatnonzero(test.label < len(CLASSES))
    truth, patient = test.label[scored], test_table.patient[scored]
    if not len(truth):
        raise DataError(f"{test.source} has no beat of the classes {', '.join(CLASSES)}: there is nothing to score.")

    def trees(seed):
        synthetic = patients.synthetic_table(ds, seed)

        def predict(kept, held_out):
            model = patients.fit_trees(table.rows(kept), synthetic, seed)
            return patients.predict_trees(model, test_table.rows(held_out))
        return predict

    def network(seed):
        return lambda kept, held_out: patients.plain_network(ds[kept], test[held_out], seed)

    def answers(method, seed):
        predict = method(seed)
        whole = (predict(np.arange(len(ds)), np.arange(len(test))) if others
                 else patients.cross_validated(ds, predict, seed))
        print(f"seed {seed}: macro-F1 {metrics.macro_f1(truth, whole[scored]):.3f}", file=sys.stderr, flush=True)
        return whole[scored]

    found = {}
    for title, method, runs in ((NETWORK, network, network_seeds), (TREES, trees, seeds)):
        start = time.perf_counter()
        found[title] = [answers(method, seed) for seed in runs], (time.perf_counter() - start) / len(runs)
    how = (f"Learned from {len(names)} records, tested on {len(others)} others: {', '.join(others)}." if others else
           f"Cross-validation over {len(names)} whole records, predictions of all folds pooled: {', '.join(names)}.")
    return as_markdown(how, truth, patient, found)


def as_markdown(how, truth, patient, found) -> str:
    """The report: ``found`` is model -> (probabilities of each seed, seconds a seed)."""
    lines = ["# New patients: MIT-BIH, classes N, S, V, F", "", how,
             "Paced records and beats of class Q are left out. R peaks are those of the annotations. A tested "
             "patient's record is used whole, without its labels.", "", concentration(truth, patient), "",
             "| model | macro-F1 | seeds | 90 % interval over patients | accuracy | seconds a seed |",
             "|" + " --- |" * 6]
    for title, (answers, seconds) in found.items():
        low, high = pooled_interval(truth, patient, answers)
        f1, right = (_mean_and_spread(score, truth, answers) for score in (metrics.macro_f1, metrics.accuracy))
        lines.append(f"| {title} | {f1} | {len(answers)} | {low:.3f} to {high:.3f} | {right} | {seconds:.0f} |")
    for title, (answers, _) in found.items():
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", *class_lines(truth, answers)]
    return "\n".join(lines) + "\n"


def concentration(truth, patient) -> str:
    """How much of each class comes from one patient: the fewer patients, the less the score of a class says."""
    parts = []
    for number, name in enumerate(CLASSES):
        beats = pd.Series(patient[truth == number]).value_counts()
        parts.append(f"{name} {beats.sum()} beats" + (
            f" of {len(beats)} patients ({100 * beats.iloc[0] / beats.sum():.0f} % of record {beats.index[0]})"
            if len(beats) else ""))
    return "Beats: " + "; ".join(parts) + "."


def pooled_interval(truth, patient, answers):
    """Bootstrap over patients of macro-F1, the predictions of all seeds together."""
    return metrics.interval(metrics.macro_f1, np.tile(truth, len(answers)), np.concatenate(answers),
                            np.tile(patient, len(answers)), draws=300)


def class_lines(truth, answers) -> list[str]:
    """Sensitivity, predictive value and F1 of each class (mean over seeds), and the confusion matrix (mean counts)."""
    table = np.mean([metrics.confusion(truth, answer) for answer in answers], axis=0)
    scores = [np.mean([score(truth, answer) for answer in answers], axis=0)
              for score in (metrics.sensitivities, metrics.predictive_values, metrics.f1_scores)]
    lines = [["class", "sensitivity", "predictive value", "F1", *(f"called {name}" for name in CLASSES)],
             ["---"] * (4 + len(CLASSES))]
    for row, name in enumerate(CLASSES):
        shown = ["none" if np.isnan(score[row]) else f"{score[row]:.3f}" for score in scores]
        lines.append([name, *shown, *(f"{count:.0f}" for count in table[row])])
    return ["| " + " | ".join(line) + " |" for line in lines]


def _mean_and_spread(score, truth, answers) -> str:
    scores = [score(truth, answer) for answer in answers]
    return f"{np.mean(scores):.3f}" + (f" ± {np.std(scores):.3f}" if len(scores) > 1 else "")
