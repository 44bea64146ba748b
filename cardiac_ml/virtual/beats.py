"""Heartbeats for tasks 1 and 2 from the virtual hearts, in the layout of the four Kaggle files.

A heart of the MIT-BIH pair has a handful of beat shapes: its own sinus beat, an atrial premature one that finds part
of the conduction system not yet recovered, ventricular foci, fusions of the sinus front with a focal one, a paced beat.
A patient of the PTB pair has one shape, the sinus beat with an infarct or without, so that there can be many patients.
``rhythm`` strings the shapes into records with P waves, breathing and noise, and cuts rows.
"""
from dataclasses import asdict, replace
from itertools import zip_longest

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
PTB_PATIENTS = 3             # for each heart of the MIT-BIH pair; every second one has an infarct
INFARCT_SHARE = 0.72         # of the rows of the PTB pair, as of Kaggle's
STEP_MM = 3.0                # of the mesh: coarse and quick; QRS in lead II correlates 0.98 with that at 2 mm
UNCLASSIFIABLE_SHARE = 0.02  # of the beats in class Q
LASTS_MS = 600               # of a beat's shape
T_SHARES = (0.6, 1.2)        # differences in recovery, of the heart's own
PTB_HIGH_PASS_HZ = 0.05      # ST segments are kept
CORE_MM = (8, 20)            # radius of an infarct's core: 2 to 12 % of the left ventricle
BORDER_MM = 9.0              # the injured muscle around it fades over this
STAGES = {                   # of an infarct: share of the height of action potentials that is lost, ms they last longer
    "acute": ((0.3, 0.6), (-80, -20)),
    "evolved": ((0.0, 0.2), (40, 120)),
    "old": ((0.0, 0.0), (0, 60))}


def simulate_heartbeats(hearts=64, seed=0, train=12000, test=3000, ptb=5000, workers=None, progress=True,
                        patients=None, infarct_share=INFARCT_SHARE):
    """The four files: name -> (rows (n, 188) float32, table with one line a row).

    ``mitbih_train`` and ``mitbih_test`` come from different hearts; for a split that mixes them, as Kaggle's does, join
    the two and split the rows at random. The PTB pair has as many ``patients`` (default: three times the ``hearts``);
    ``infarct_share`` of its rows are of ill ones (None: as many rows of every patient). Columns of the tables: patient
    (number of the heart), rr_before_ms, rr_after_ms, kind (what the beat is) and rhythm. The same seed gives the same
    bytes with any number of ``workers``.
    """
    held_out = max(int(round(TEST_SHARE * hearts)), 1)
    patients = PTB_PATIENTS * hearts if patients is None else patients
    if min(hearts, patients) < 2 or min(train, test, ptb) < 20:
        raise DataError(f"{hearts} hearts and {patients} patients for {train} + {test} + {ptb} rows: two of each and "
                        "20 rows are the least.")
    rng = np.random.default_rng([seed, 1])
    sides = {"mitbih_train": range(hearts - held_out), "mitbih_test": range(hearts - held_out, hearts)}
    counts = np.concatenate([plan_counts(rows, len(side), rng) for rows, side in zip((train, test), sides.values())])
    infarcted = rng.permutation(patients) % 2 == 0
    plans = zip_longest(counts, zip(plan_ptb(ptb, infarcted, infarct_share), infarcted))   # None: not in this pair
    jobs = [delayed(_one_heart)(seed, heart, *plan) for heart, plan in enumerate(plans)]
    action_potential_table()      # computed and cached once, before the workers start
    mitbih, pair = zip(*in_order(jobs, workers, progress, "virtual heartbeats"))
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


def plan_ptb(rows, infarcted, infarct_share=INFARCT_SHARE):
    """Rows from each heart (hearts,), in Kaggle's proportion of normal to infarct, or (None) as many from each."""
    ill = int(round(rows * (infarcted.mean() if infarct_share is None else infarct_share)))
    return _shared_out(ill, infarcted.astype(float)) + _shared_out(rows - ill, 1.0 - infarcted)


def sequence(counts, rng):
    """An order of beats such as "NNVNSNQQQ" with these counts (5,): paced beats in a row, the others at random."""
    others = np.array(list("".join(kind * n for kind, n in zip("NSVF", counts))))
    rng.shuffle(others)
    cut = rng.integers(len(others) + 1)
    return "".join(others[:cut]) + "Q" * counts[4] + "".join(others[cut:])


# ---- one heart ----

def _one_heart(seed, heart, counts, ptb):
    """Rows and table of one heart for each pair: counts of beats (5,) for one, (rows, infarcted) for the other."""
    patient, rng = draw_patient(seed, heart + 1, STEP_MM), np.random.default_rng([seed, 3, heart])
    mitbih = None if counts is None else _holter_rows(heart, patient, counts, rng)
    return mitbih, None if ptb is None else _clinic_rows(heart, patient, *ptb, rng)


def _clinic_rows(heart, patient, rows, infarcted, rng):
    """Rows and table of a patient with one kind of beat."""
    parameters = replace(rhythm.draw_parameters(rng), fibrillates=False, high_pass_hz=PTB_HIGH_PASS_HZ)
    shapes, labels = [clinic_shape(patient, infarcted, rng)] * rows, [int(infarcted)] * rows
    return _rows(heart, "N" * rows, shapes, labels, parameters, rng, rhythm.cut_windows)


def _holter_rows(heart, patient, counts, rng):
    """Rows and table of a record with these beats (5,)."""
    shapes, parameters = heart_shapes(_with_t_wave(patient, rng), rng), rhythm.draw_parameters(rng)
    kinds = sequence(counts, rng)
    pacemaker = counts[4] > 0.1 * counts.sum()
    chosen = [pick_shape(kind, shapes, pacemaker, rng) for kind in kinds]
    return _rows(heart, kinds, chosen, [CLASSES.index(kind) for kind in kinds], parameters, rng)


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

def heart_shapes(patient, rng):
    """All beat shapes of a heart by class, from one call of the simulator: dict of lists of ``rhythm.Shape``."""
    heart = patient.heart
    conduction = rng.choice([patterns.normal, patterns.lbbb, patterns.rbbb, patterns.slow], p=[0.82, 0.06, 0.08, 0.04])
    base, paced = conduction(heart, rng), patterns.paced(heart, rng)
    foci = [patterns.outflow(heart, rng) if rng.random() < 0.25 else focus(heart, rng) for _ in range(2)]
    plan = [("N", base), ("S", aberrant(base, rng)), ("V", foci[0]), ("V", foci[1])]
    plan += [("F", fused(base, foci[0], ahead, "fusion")) for ahead in (25, 12, 40)]
    plan += [("Q", paced), ("Q", fused(base, paced, 30, "paced fusion"))]
    solved = simulate_beats(patient, [beat for _, beat in plan])
    body = move_electrodes(rng, patient.torso, "holter")
    leads = recorded_leads(rng)
    shapes = {"aberrancy": rng.uniform(0.2, 1)}   # how many of the atrial premature beats are aberrant
    for k, (kind, _) in enumerate(plan):
        shapes.setdefault(kind, []).append(beat_shape(patient, body, leads, solved, k))
    return shapes


def clinic_shape(patient, infarcted, rng):
    """The sinus beat of a patient of the PTB pair in lead II, electrodes where they belong."""
    beat = patterns.normal(patient.heart, rng)
    solved = simulate_beats(patient, [infarct(patient.heart, beat, rng) if infarcted else beat])
    leads = LEAD_MATRIX[[LEADS.index("II"), LEADS.index("I")]]
    return beat_shape(patient, move_electrodes(rng, patient.torso, "clinic"), leads, solved, 0)


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
    """The beat of a heart with an infarct: dead muscle (Q waves, lost R), injured cells (ST), late recovery (T).

    Injured cells rest at a higher voltage, so that less of the action potential is left. In an acute infarct all cells
    are injured, conduct at half speed and recover early. Later the core is dead, and the muscle around recovers late.
    """
    stage = rng.choice(list(STAGES), p=[0.3, 0.4, 0.3])
    wall = rng.choice([-90, 90, 0], p=[0.45, 0.4, 0.15])   # inferior, anterior, lateral
    centre = lv_place(heart.shape, wall + 15 * rng.normal(), rng.uniform(0.3, 0.65), rng.uniform(0, 0.4))
    core, injury, later_ms = (rng.uniform(*limits) for limits in (CORE_MM, *STAGES[stage]))
    away = np.linalg.norm(heart.nodes_mm - centre, axis=1)
    near = heart.is_left * np.exp(-(np.maximum(away - core, 0) / BORDER_MM)**2 / 2)
    if stage == "acute":
        beat = replace(base, slowness=(base.slowness * (1 + near)).astype(np.float32))
    else:
        beat = patterns.with_scar(heart, base, centre, core / 0.6)
    return replace(beat, kind=f"{stage} infarct", amplitude=1 - injury * near, apd_shift_ms=later_ms * near)


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
