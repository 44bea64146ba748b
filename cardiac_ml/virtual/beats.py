"""Heartbeats for tasks 1 and 2 from the virtual hearts, in the layout of the four Kaggle files.

Every heart has a handful of beat shapes: its own sinus beat, an atrial premature one that finds part of the
conduction system not yet recovered, ventricular foci, fusions of the sinus front with a focal one, a paced beat, and
the sinus beat with an infarct. ``rhythm`` strings them into records with P waves, breathing and noise, and cuts rows.
"""
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from joblib import delayed

from cardiac_ml.files import DataError
from cardiac_ml.leads import LEAD_MATRIX, LEADS
from cardiac_ml.virtual import patterns, rhythm
from cardiac_ml.virtual.membrane import action_potential_table
from cardiac_ml.virtual.parallel import in_order
from cardiac_ml.virtual.patient import draw_patient, electrodes_mv, simulate_beats
from cardiac_ml.virtual.points import lv_place
from cardiac_ml.virtual.torso import move_electrodes

CLASSES = "NSVFQ"
SHARES = np.array([90589, 2779, 7236, 803, 8039]) / 109446   # of Kaggle's rows
TEST_SHARE = 0.25            # of the hearts
PACED_EVERY = 8              # one heart in eight has a pacemaker
INFARCT_SHARE = 0.72         # of the hearts of the PTB pair, as of its rows
UNCLASSIFIABLE_SHARE = 0.02  # of the beats in class Q
LASTS_MS = 600               # of a beat's shape
T_SHARES = (0.6, 1.2)        # differences in recovery, of the heart's own


def simulate_heartbeats(hearts=64, seed=0, train=12000, test=3000, ptb=5000, workers=None, progress=True):
    """The four files: name -> (rows (n, 188) float32, table with one line a row).

    ``mitbih_train`` and ``mitbih_test`` come from different hearts; for a split that mixes them, as Kaggle's does, join
    the two and split the rows at random. Columns of the tables: patient (number of the heart), rr_before_ms,
    rr_after_ms, kind (what the beat is) and rhythm. The same seed gives the same bytes with any number of ``workers``.
    """
    held_out = max(int(round(TEST_SHARE * hearts)), 1)
    if hearts < 2 or min(train, test, ptb) < 20:
        raise DataError(f"{hearts} hearts for {train} + {test} + {ptb} rows: two hearts and 20 rows are the least.")
    rng = np.random.default_rng([seed, 1])
    sides = {"mitbih_train": range(hearts - held_out), "mitbih_test": range(hearts - held_out, hearts)}
    counts = np.concatenate([plan_counts(rows, len(side), rng) for rows, side in zip((train, test), sides.values())])
    infarcted = plan_infarcts(hearts, rng)
    ptb_counts = plan_ptb(ptb, infarcted)
    jobs = [delayed(_one_heart)(seed, heart, counts[heart], ptb_counts[heart], bool(infarcted[heart]))
            for heart in range(hearts)]
    action_potential_table()      # computed and cached once, before the workers start
    done = list(in_order(jobs, workers, progress, "virtual heartbeats"))
    mitbih, pair = [both[0] for both in done], [both[1] for both in done]
    files = {name: _file([mitbih[heart] for heart in side], seed) for name, side in sides.items()}
    for name, with_infarct in (("ptbdb_normal", False), ("ptbdb_abnormal", True)):
        files[name] = _file([part for part, ill in zip(pair, infarcted) if ill == with_infarct], seed)
    return files


def _file(parts, seed):
    """Rows of several hearts in one order as Kaggle's: shuffled, then class by class."""
    rows = np.concatenate([rows for rows, _ in parts])
    table = pd.concat([table for _, table in parts], ignore_index=True)
    order = np.random.default_rng([seed, 2]).permutation(len(rows))
    order = order[np.argsort(rows[order, -1], kind="stable")]
    return rows[order], table.iloc[order].reset_index(drop=True)


# ---- how many beats of what ----

def plan_counts(rows, hearts, rng):
    """Beats of each class from each heart: (hearts, 5), Kaggle's shares of ``rows``.

    As in the real records, most S, V, F and nearly all Q beats come from few hearts: those of Q are paced.
    """
    wanted = np.maximum(np.round(SHARES * rows).astype(int), 1)
    wanted[0] += rows - wanted.sum()
    willing = np.stack([rng.uniform(0.6, 1.4, hearts), *rng.gamma([[0.4], [0.6], [0.3]], size=(3, hearts)),
                        np.zeros(hearts)], axis=1) + 1e-9
    paced = np.arange(hearts) % PACED_EVERY == PACED_EVERY // 2 if hearts > PACED_EVERY // 2 else np.arange(hearts) == 0
    willing[:, 4] = np.where(paced, 1, UNCLASSIFIABLE_SHARE * paced.sum() / hearts)
    counts = np.stack([_shared_out(total, share) for total, share in zip(wanted, willing.T, strict=True)], axis=1)
    return counts


def _shared_out(total, willing):
    """Whole numbers (hearts,) that add up to ``total``, in proportion: the largest remainders are rounded up."""
    exact = total * willing / willing.sum()
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[:total - whole.sum()]] += 1
    return whole


def plan_infarcts(hearts, rng):
    """Which hearts have an infarct: (hearts,) bool, at least one of each."""
    infarcted = np.zeros(hearts, bool)
    infarcted[rng.permutation(hearts)[:int(np.clip(round(INFARCT_SHARE * hearts), 1, hearts - 1))]] = True
    return infarcted


def plan_ptb(rows, infarcted):
    """Rows from each heart (hearts,), in Kaggle's proportion of normal to infarct."""
    ill = int(round(rows * INFARCT_SHARE))
    return _shared_out(ill, infarcted.astype(float)) + _shared_out(rows - ill, 1.0 - infarcted)


def sequence(counts, rng):
    """An order of beats such as "NNVNSNQQQ" with these counts (5,): paced beats in a row, the others at random."""
    others = np.array(list("".join(kind * n for kind, n in zip("NSVF", counts))))
    rng.shuffle(others)
    cut = rng.integers(len(others) + 1)
    return "".join(others[:cut]) + "Q" * counts[4] + "".join(others[cut:])


# ---- one heart ----

def _one_heart(seed, heart, counts, ptb_rows, infarcted):
    """Both parts of one heart's rows, (rows, table) each: for the MIT-BIH pair and for the PTB pair."""
    rng = np.random.default_rng([seed, 3, heart])
    shapes = heart_shapes(_with_t_wave(draw_patient(seed, heart + 1), rng), rng, infarcted)
    parameters = rhythm.draw_parameters(rng)
    kinds = sequence(counts, rng)
    pacemaker = counts[4] > 0.1 * counts.sum()
    chosen = [pick_shape(kind, shapes, pacemaker, rng) for kind in kinds]
    mitbih = _rows(heart, kinds, chosen, [CLASSES.index(kind) for kind in kinds], parameters, rng)
    parameters = replace(rhythm.draw_parameters(rng), fibrillates=False)
    chosen = [shapes["infarct" if infarcted else "healthy"][0]] * ptb_rows
    labels = [int(infarcted)] * ptb_rows
    return mitbih, _rows(heart, "N" * ptb_rows, chosen, labels, parameters, rng, rhythm.cut_windows)


def _rows(heart, kinds, shapes, labels, parameters, rng, cut=rhythm.cut_beats):
    """Record a strip and cut it: rows (n, 188) with the labels last, and their table."""
    if not kinds:
        return np.zeros((0, rhythm.SAMPLES + 1), np.float32), pd.DataFrame()
    more = 2   # the cutting rule looks at the two beats that follow
    kinds, shapes = kinds + kinds[-1] * more, [*shapes, *shapes[-1:] * more]
    times = rhythm.beat_times(kinds, parameters, rng)
    mv, marks = rhythm.strip(kinds, shapes, times, parameters, rng)
    first = marks[0] - parameters.rr_ms * rhythm.RATE_HZ / 1000
    rr = np.round(np.diff(marks, prepend=first) * 1000 / rhythm.RATE_HZ, 1)
    rows = np.column_stack([cut(mv, marks), np.asarray(labels, np.float32)]).astype(np.float32)
    table = pd.DataFrame(dict(patient=heart, rr_before_ms=rr[:-more], rr_after_ms=rr[1:1 - more],
                              kind=[shape.name for shape in shapes[:-more]],
                              rhythm="atrial fibrillation" if parameters.fibrillates else "sinus"))
    return rows, table


def pick_shape(kind, shapes, pacemaker, rng):
    """Which of a heart's shapes a beat of this class has."""
    if kind == "Q" and (not pacemaker or rng.random() < UNCLASSIFIABLE_SHARE / 2):
        return replace(shapes["N"][0], name="unclassifiable")
    if kind == "S" and rng.random() > shapes["aberrancy"]:
        return replace(shapes["N"][0], name="atrial premature")
    often = 0.4 ** np.arange(len(shapes[kind]))   # the first is the most common
    return shapes[kind][rng.choice(len(often), p=often / often.sum())]


def _with_t_wave(patient, rng):
    """The same heart with smaller differences in recovery: T waves from nearly flat to tall, as in a clinic."""
    own, share = patient.repolarisation, rng.uniform(*T_SHARES)
    changed = {name: share * value for name, value in asdict(own).items() if "_minus_" in name}
    return replace(patient, repolarisation=replace(own, **changed))


# ---- the shapes of one heart's beats ----

def heart_shapes(patient, rng, infarcted):
    """All beat shapes of a heart by class, from one call of the simulator: dict of lists of ``rhythm.Shape``."""
    heart = patient.heart
    conduction = rng.choice([patterns.normal, patterns.lbbb, patterns.rbbb, patterns.slow], p=[0.82, 0.06, 0.08, 0.04])
    base, healthy, paced = conduction(heart, rng), patterns.normal(heart, rng), patterns.paced(heart, rng)
    foci = [patterns.outflow(heart, rng) if rng.random() < 0.25 else focus(heart, rng) for _ in range(2)]
    plan = [("N", base), ("S", aberrant(base, rng)), ("V", foci[0]), ("V", foci[1])]
    plan += [("F", fused(base, foci[0], ahead, "fusion")) for ahead in (25, 12, 40)]
    plan += [("Q", paced), ("Q", fused(base, paced, 30, "paced fusion"))]
    plan += [("infarct", infarct(heart, healthy, rng)) if infarcted else ("healthy", healthy)]
    solved = simulate_beats(patient, [beat for _, beat in plan])
    body = move_electrodes(rng, patient.torso, "holter")
    leads = recorded_leads(rng)
    shapes = {"aberrancy": rng.uniform(0.2, 1)}   # how many of the atrial premature beats are aberrant
    for k, (kind, _) in enumerate(plan):
        shapes.setdefault(kind, []).append(beat_shape(patient, body, leads, solved, k))
    return shapes


def focus(heart, rng):
    """Somewhere near an inner surface, where most ventricular foci lie."""
    inner = np.flatnonzero(np.minimum(heart.lv_endo_mm, heart.rv_endo_mm) < 4)
    return patterns.focal(heart, heart.nodes_mm[rng.choice(inner)], "ventricular premature")


def aberrant(base, rng):
    """An atrial premature beat that finds the right bundle not quite recovered: its late sites come later still."""
    late = rng.uniform(5, 30)
    sites = [(place, ms + (late if ms > 3 else 0)) for place, ms in base.sites]
    return replace(base, kind="aberrant atrial premature", sites=sites)


def fused(base, other, ahead_ms, kind):
    """Both fronts in one beat; the ``other`` starts ``ahead_ms`` before the first site of the ``base``."""
    sites = [(place, ms + max(ahead_ms, 0)) for place, ms in base.sites]
    return replace(base, kind=kind, sites=sites + [(place, ms + max(-ahead_ms, 0)) for place, ms in other.sites])


def infarct(heart, base, rng):
    """The beat of a heart with an infarct: dead muscle (Q waves), injured cells around it (ST), late recovery (T)."""
    angle = rng.choice([100, -90, 0], p=[0.45, 0.35, 0.2]) + 20 * rng.normal()   # anterior, inferior, lateral
    centre = lv_place(heart.shape, angle, rng.uniform(0.3, 0.75), rng.uniform(0, 0.5))
    radius, stage = rng.uniform(9, 26), rng.choice(["acute", "evolved", "old"], p=[0.3, 0.45, 0.25])
    near = np.exp(-(np.linalg.norm(heart.nodes_mm - centre, axis=1) / (1.2 * radius))**2 / 2)
    injury = {"acute": rng.uniform(0.25, 0.6), "evolved": rng.uniform(0, 0.2), "old": 0.0}[stage]
    later = {"acute": rng.uniform(-80, 15), "evolved": rng.uniform(40, 150), "old": rng.uniform(-5, 50)}[stage]
    beat = base if stage == "acute" else patterns.with_scar(heart, base, centre, radius, dead=True)
    return replace(beat, kind=f"{stage} infarct", amplitude=1 - injury * near, apd_shift_ms=later * near)


def recorded_leads(rng):
    """Combinations (2, 10) of electrodes: the recorded lead, and one across it that breathing mixes in.

    Mostly lead II with lead I; in some records a chest lead, V5, with lead II.
    """
    leads = dict(zip(LEADS, LEAD_MATRIX, strict=True))
    return np.stack([leads["V5"], leads["II"]] if rng.random() < 0.1 else [leads["II"], leads["I"]])


def beat_shape(patient, body, leads, solved, number):
    """The beat as the two leads see it."""
    mv = leads @ electrodes_mv(patient, solved, number, body, samples=LASTS_MS)
    mv = mv - mv[:, :1]
    mv *= np.clip((LASTS_MS - 1 - np.arange(LASTS_MS)) / 50, 0, 1)   # what lasts longer ends with the trace
    qrs_ms = float(np.nanquantile(solved.activation_ms[number], 0.99)) + 8
    qrs = mv[0, :int(qrs_ms)]
    peak = qrs.argmax() if qrs.max() > 0.6 * np.abs(qrs).max() else np.abs(qrs).argmax()
    return rhythm.Shape(mv, float(peak), qrs_ms, solved.excitations[number].kind)
