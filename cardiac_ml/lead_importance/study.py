"""Which leads matter for which diagnosis, inside the hospital that a network learned from and in another one.

One multi-label network for all 256 sets of the eight independent leads is trained on records of one hospital and asked
about patients that it has not seen, of that hospital and of another. The value of a set of leads is its AUROC; the
values of the leads are exact Shapley values of that, their intervals are over patients.
"""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch.nn.functional import binary_cross_entropy_with_logits

from cardiac_ml import metrics, training
from cardiac_ml.files import DataError, atomic_write
from cardiac_ml.lead_importance import shapley
from cardiac_ml.lead_importance.subsets import LeadSubsetNet, OverSubsets, RandomSubsets, answers_of_coalitions
from cardiac_ml.lead_importance.twelve_leads import TARGETS
from cardiac_ml.leads import INDEPENDENT

FEWEST = 10  # records with a diagnosis, in each of the parts, so that it can be asked about
BATCH, STEPS = 64, 800  # records in a step, and the fewest steps of a training
SETS_IN_USE = {"12 leads": "I II V1 V2 V3 V4 V5 V6", "6 limb leads": "I II", "4: I, II, III, V2": "I II V2",
               "3: I, II, V2": "I II V2", "2: I, II": "I II", "1: I": "I"}  # III, aVR, aVL, aVF follow from I and II
ALONE = {"6 limb leads": (0, 1), "1: I": (0,)}  # sets that also get a network of their own, as a check


def position_of(names):
    return shapley.position(INDEPENDENT.index(name) for name in names.split())


def usable_targets(parts, wanted=None):
    """Diagnoses with enough records with and without them in each of the parts: arrays of names by record."""
    unknown = [name for name in wanted or () if name not in TARGETS]
    if unknown:
        raise DataError(f"There is no target {unknown[0]!r}. The table of targets has: {', '.join(TARGETS)}.")
    counts = {name: [int(sum(name in has for has in part)) for part in parts] for name in wanted or TARGETS}
    good = [name for name, have in counts.items()
            if all(FEWEST <= count <= len(part) - FEWEST for count, part in zip(have, parts))]
    if not good:
        best = max(counts, key=lambda name: min(counts[name]))
        raise DataError(f"No target has {FEWEST} records with and without it in each part (training, inside test, "
                        f"outside test). The most frequent, {best}, has {counts[best]}. Take more records.")
    return good


def train(ecg_mv, labels, rows, *, only=None, epochs=12, seed=0):
    """A network for all sets of leads (``only``: for one), chosen on validation patients: rows (train, valid)."""
    torch.manual_seed(seed)
    net = LeadSubsetNet(8, labels.shape[1], width=12, dropout=0.2, strides=(4, 2, 2, 1), steps=1)
    net.fit_scaling(ecg_mv[rows[0]])
    pairs = [(ecg_mv[part], labels[part]) for part in rows]
    return training.fit(RandomSubsets(net, only=only), *pairs, loss=OverSubsets(binary_cross_entropy_with_logits),
                        epochs=epochs, batch_size=BATCH, lr=4e-3, weight_decay=0.05, ema_decay=0.995,
                        seed=seed).model.net


def judge(site, target, positive, logit, patients):
    """One target at one place: a dictionary of values, sets and scores. positive (records,), logit (256, records)."""
    value, low, high = shapley.auroc_values(positive, logit, patients)
    area, influence = shapley.auroc_influence(positive, logit)
    chance = expit(logit[-1].astype(float))
    half = float(shapley.half_width(influence[-1:].T, patients)[0])
    others = {"AUPRC": metrics.auprc, "Brier score": metrics.brier, "calibration error": metrics.calibration_error}
    scores = {"AUROC": (area[-1], area[-1] - half, min(area[-1] + half, 1.0))}
    scores |= metrics.bootstrap(others, positive.astype(int), chance, groups=patients, draws=100)
    sampled = shapley.sampled(area, 200).mean(axis=0)
    return dict(site=site, target=target, records=len(positive), positive=int(positive.sum()),
                patients=len(set(patients)), value=value.tolist(), low=low.tolist(), high=high.tolist(),
                area=area.tolist(), interactions=shapley.interactions(area).tolist(),
                best=[[[INDEPENDENT[k] for k in players], one] for players, one in shapley.best_sets(area)],
                in_use={name: float(area[position_of(names)]) for name, names in SETS_IN_USE.items()},
                scores={name: [float(number) for number in one] for name, one in scores.items()},
                sampling_error=float(np.abs(sampled - value).max()))


def run(inside, outside, out, *, targets=None, epochs=None, seed=0, check=True):
    """Train on ``inside``, ask about new patients of it and about all of ``outside``; writes network and results.

    Both are ``records.Hospital``. Returns the results, which ``report.write`` makes a page of.
    """
    train_rows, valid_rows, test_rows = inside.split(seed)
    has = [np.array([set(t) for t in hospital.table["targets"]], dtype=object) for hospital in (inside, outside)]
    names = usable_targets([has[0][train_rows], has[0][test_rows], has[1]], targets)
    labels, ecg_mv = inside.labels(names), inside.ecg_mv()
    epochs = epochs or max(12, STEPS * BATCH // len(train_rows))
    net = train(ecg_mv, labels, (train_rows, valid_rows), epochs=epochs, seed=seed)
    out = Path(out)
    training.save(out / "network.npz", net, data=f"{inside.name}, {len(train_rows)} records", targets=names,
                  leads=INDEPENDENT)
    places = [("inside", inside, test_rows), ("outside", outside, np.arange(len(outside)))]
    answers = [answers_of_coalitions(net, hospital.ecg_mv(rows)) for _, hospital, rows in places]
    results = [judge(site, name, hospital.labels(names)[rows, k] > 0, answer[:, :, k],
                     hospital.table["patient"].to_numpy(str)[rows])
               for (site, hospital, rows), answer in zip(places, answers) for k, name in enumerate(names)]
    checks = []
    for label, players in ALONE.items() if check else ():
        own = train(ecg_mv, labels, (train_rows, valid_rows), only=players, epochs=epochs, seed=seed)
        logit = answers_of_coalitions(own, ecg_mv[test_rows], shapley.position(players))[0]
        for k, name in enumerate(names):
            alone = shapley.auroc_of_sets(labels[test_rows, k] > 0, logit[None, :, k])[0]
            checks.append(dict(set=label, target=name, alone=float(alone),
                               shared=results[k]["area"][shapley.position(players)]))
    summary = dict(targets=names, results=results, checks=checks, seed=seed, epochs=epochs,
                   train_records=len(train_rows), hospitals=[describe(inside), describe(outside)],
                   not_asked=sorted(set(targets or TARGETS) - set(names)))
    with atomic_write(out / "results.json", "w") as file:
        json.dump(summary, file)
    with atomic_write(out / "values.csv", "w") as file:
        values_table(results).to_csv(file, index=False)
    return summary


def describe(hospital):
    """What was read, what was left out and why, which codes have no target."""
    reasons = hospital.left_out[["record", "reason"]].to_dict("records") if len(hospital.left_out) else []
    return dict(name=hospital.name, records=len(hospital), patients=int(hospital.table["patient"].nunique()),
                left_out=reasons, unmapped=hospital.unmapped.most_common(20), unmapped_codes=len(hospital.unmapped))


def values_table(results):
    """One row for each target, place and lead: value, from, to."""
    return pd.DataFrame([dict(target=one["target"], place=one["site"], lead=lead, value=value, low=low, high=high)
                         for one in results
                         for lead, value, low, high in zip(INDEPENDENT, one["value"], one["low"], one["high"])])


def auroc_table(results):
    """AUROC of all leads, inside and outside, a row for each target."""
    rows = [dict(target=one["target"], place=one["site"], AUROC=one["scores"]["AUROC"][0]) for one in results]
    return pd.DataFrame(rows).pivot(index="target", columns="place", values="AUROC").round(3)
