"""Heartbeats of new patients (task 2): learn from raw MIT-BIH records, and score whole records never seen.

    python -m tools.results --task 2 --split patients --records FOLDER [--test-records FOLDER]

Each beat is compared with its own patient's other beats (``beat_features``). Trees tell the classes; others, by time
and P wave only, tell early beats from normal ones. What the training patients lack is made of their own beats
(``synthetic``). Of a tested patient no label is used, but the whole unlabelled record is, and the annotated R peaks.
"""
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from cardiac_ml.files import DataError
from cardiac_ml.heartbeats import DS1, DS2, MITBIH_CLASSES, PACED
from cardiac_ml.new_patients.features import AFTER_MS, BEFORE_MS, TIMING, beat_features, three_beats
from cardiac_ml.new_patients.records import RecordBeats, find_records, load_records
from cardiac_ml.new_patients.synthetic import (EARLY, FUSION, NORMAL, VENTRICULAR, noisy_records,
                                               retimed_records, synthetic_fusions)

CLASSES = MITBIH_CLASSES[:4]  # class Q, paced or unclassifiable, is neither learned nor scored
FOLDS = 7
SAME_PERSON = {202: 201}  # two records of one man; the usual split has one on each side
MOST, MOST_MADE = 150, 40  # beats of one class of one record to learn from: more of the same teach little
BOOSTED = dict(learning_rate=0.18, l2_regularization=5.0, max_features=0.3, max_bins=64, early_stopping=False)
CLASS_TREES = dict(max_iter=36, max_leaf_nodes=8, min_samples_leaf=25)
TIMING_TREES = dict(max_iter=33, max_leaf_nodes=6, min_samples_leaf=40)
CLASS_FOREST = dict(n_estimators=60, min_samples_leaf=3, max_features=0.3)
TIMING_FOREST = dict(n_estimators=30, min_samples_leaf=10, max_features=0.3)
FUSION_BURDEN = 0.1  # share of ventricular beats in a record from which on fusion beats are believed in full
EARLY_ODDS = 0.1  # of an atrial premature beat where the atria fibrillate


class BeatTable(NamedTuple):
    """Features of all beats of some records: those of class Q are in it, for the record's sake, but never scored."""
    features: np.ndarray  # (rows, features) float32, 0 where unknown
    timing: np.ndarray  # (rows, fewer features): those of them that time and P wave give
    label: np.ndarray  # (rows,) position in MITBIH_CLASSES
    patient: np.ndarray  # (rows,)
    record: np.ndarray  # (rows,) a patient's own record, or one made of it
    fibrillation: np.ndarray  # (rows,) 0 to 1, whether the rhythm around looks like it
    inputs: np.ndarray  # (rows, 6 * SAMPLES + timing features): three beats and their times, for a network

    def rows(self, chosen) -> "BeatTable":
        return BeatTable(*(array[chosen] for array in self))


def joined_tables(*tables: BeatTable) -> BeatTable:
    return BeatTable(*(np.concatenate(arrays) for arrays in zip(*tables)))


# ---- records ----

def training_names(folder: str | Path) -> list[str]:
    """The records of a folder that may be learned from: neither paced ones nor test patients of the usual split."""
    names = find_records(folder)
    kept = _without(names, PACED + DS2)
    if not kept:
        raise DataError(f"{folder} has only paced records or test patients of the usual split ({', '.join(names)}). "
                        f"To learn from, it needs others, such as the records of DS1: {', '.join(map(str, DS1))}.")
    return kept


def test_names(folder: str | Path, trained: Sequence[str]) -> list[str]:
    """The records of a folder to test on; of a folder that holds both halves of the usual split, the test patients."""
    names = find_records(folder)
    kept = _without(names, PACED + DS1) if _without(names, DS2) != names else _without(names, PACED)
    if both := sorted(set(kept) & set(trained)):
        raise DataError(f"Records {', '.join(both)} are in the test folder {folder} and were trained on too: that "
                        "would not be a score on new patients. Give a folder of other records with --test-records.")
    if not kept:
        raise DataError(f"{folder} has no record to test on, only {', '.join(names)}: paced ones are left out.")
    return kept


def _without(names: Sequence[str], left_out: Sequence) -> list[str]:
    return [name for name in names if name not in map(str, left_out)]


def load_patients(folder: str | Path, names: Sequence[str]) -> RecordBeats:
    """Beats of whole records with both channels around them, as the features need them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The inplace keyword")  # wfdb's use of pandas
        return load_records(folder, names, before_ms=BEFORE_MS, after_ms=AFTER_MS, channels=2)


def beat_table(ds: RecordBeats) -> BeatTable:
    features = beat_features(ds).fillna(0)
    timing = features[[name for name in features if name.startswith(TIMING)]]
    return BeatTable(features.to_numpy(), timing.to_numpy(), ds.label, ds.table["patient"].to_numpy(),
                     ds.table["record"].to_numpy().astype(str), features[TIMING + "fibrillation"].to_numpy(),
                     np.hstack([three_beats(ds), timing]))


def synthetic_table(ds: RecordBeats, seed: int = 0) -> BeatTable:
    """What the patients of ``ds`` lack, made of their own beats: fusion beats, noise, records in other rhythms.

    This uses labels: only for patients to learn from.
    """
    fusions, _ = synthetic_fusions(ds, seed)
    tables = [beat_table(made) for made in (noisy_records(fusions, seed), retimed_records(ds, seed))]
    return joined_tables(*(table.rows(thinned(table.label, table.record, MOST_MADE, seed)) for table in tables))


def folds_of_patients(ds: RecordBeats, seed: int = 0) -> list[np.ndarray]:
    """The patients of each fold, who are tested on together, classes spread evenly; one person is in one fold."""
    scored = ds[ds.label < len(CLASSES)]
    patient = scored.table["patient"].to_numpy()
    person = scored.table["patient"].replace(SAME_PERSON).to_numpy()
    persons = len(np.unique(person))
    if persons < 2:
        raise DataError(f"{ds.source}: beats of one person only. Cross-validation over patients needs two or more.")
    splitter = StratifiedGroupKFold(min(FOLDS, persons), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # a rare class may miss a fold
        return [np.unique(patient[rows]) for _, rows in splitter.split(patient, scored.label, person)]


# ---- learning ----

class Trees(NamedTuple):
    """Two models of scikit-learn, each the mean of boosted trees and of a forest, which err in other places."""
    classes: object  # the four classes, by all features
    timing: object  # N or S, by time and P wave alone


def fit_trees(train: BeatTable, synthetic: BeatTable, seed: int = 0) -> Trees:
    """Trees; synthetic beats of patients who are not in ``train`` are left out.

    Time is learned apart from shape: with few patients, trees learn what their S beats look like, not that they come
    early. Fusion beats and noise teach the first, the retimed records the second.
    """
    synthetic = synthetic.rows(np.isin(synthetic.patient, train.patient))
    noisy = np.isin(synthetic.record, train.record)  # retimed records have names of their own
    noisy, retimed = synthetic.rows(noisy), synthetic.rows(~noisy)
    train = train.rows(thinned(train.label, train.record, seed=seed))
    everything = joined_tables(train, noisy)
    if len(np.unique(everything.label)) < 2:
        found = ", ".join(CLASSES[c] for c in np.unique(everything.label)) or "none"
        raise DataError(f"The training records have beats of too few of the classes N, S, V, F: {found}. Add records.")
    own = train.rows(train.label <= EARLY)
    weight = np.concatenate([row_weights(table.label, table.record) / max(len(table.label), 1)
                             for table in (own, retimed)])  # real and retimed beats count the same
    timing = joined_tables(own, retimed)
    return Trees(_trees(CLASS_TREES, CLASS_FOREST, seed).fit(
                     everything.features, everything.label,
                     sample_weight=row_weights(everything.label, everything.record)),
                 _trees(TIMING_TREES, TIMING_FOREST, seed).fit(
                     timing.timing, timing.label, sample_weight=weight * len(timing.label) / 2))


def _trees(boosted, forest, seed):
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, VotingClassifier
    return VotingClassifier([("boosted", HistGradientBoostingClassifier(**BOOSTED, **boosted, random_state=seed)),
                             ("forest", ExtraTreesClassifier(**forest, random_state=seed))], voting="soft")


def thinned(label: np.ndarray, record: np.ndarray, most: int = MOST, seed: int = 0) -> np.ndarray:
    """Rows to learn from: at most so many of each class of each record, drawn at random; none of class Q."""
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(label < len(CLASSES)))
    table = pd.DataFrame({"label": label[shuffled], "record": record[shuffled]})
    return np.sort(shuffled[table.groupby(["label", "record"]).cumcount().to_numpy() < most])


def row_weights(label: np.ndarray, record: np.ndarray) -> np.ndarray:
    """Weights that make rare classes, and in a class the records with few beats of it, count half way to the same."""
    table = pd.DataFrame({"label": label, "record": record})
    beats = table.groupby(["label", "record"])["label"].transform("size")
    share = 1 / np.sqrt(beats)
    share /= share.groupby(table["label"]).transform("sum")  # of its class, adding up to one
    weight = share * np.sqrt(table.groupby("label")["label"].transform("size"))
    return np.array(weight / weight.mean())


def predict_trees(model: Trees, table: BeatTable) -> np.ndarray:
    """Probabilities of the classes, (rows, 4), of all beats of whole records.

    How likely N and S are together, the trees of all classes say; which of the two, those of time and P wave. Where the
    atria fibrillate, none of their beats is premature: there hardly any is believed.
    """
    probability = np.zeros((len(table.label), len(CLASSES)))
    probability[:, model.classes.classes_] = model.classes.predict_proba(table.features)
    early = model.timing.predict_proba(table.timing)[:, list(model.timing.classes_).index(EARLY)]
    odds = early / (1 - early + 1e-9) * (1 - (1 - EARLY_ODDS) * table.fibrillation)
    early = odds / (1 + odds)
    both = probability[:, NORMAL] + probability[:, EARLY]
    probability[:, NORMAL], probability[:, EARLY] = both * (1 - early), both * early
    return fewer_fusions(probability, table.record)


def fewer_fusions(probability: np.ndarray, record: np.ndarray) -> np.ndarray:
    """Probabilities (rows, 4) in which fusion beats are as rare as they are outside the training beats.

    A fusion beat takes a ventricular focus: the fewer beats of a record look ventricular, the less one is believed.
    """
    burden = pd.Series(probability[:, VENTRICULAR]).groupby(record).transform("mean").to_numpy()
    odds = np.ones_like(probability)
    odds[:, FUSION] = np.clip(burden / FUSION_BURDEN, 0, 1)
    return probability * odds / (probability * odds).sum(axis=1, keepdims=True)
