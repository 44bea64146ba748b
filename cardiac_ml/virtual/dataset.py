"""Virtual hearts by the dozen: from a seed to electrodes, voltages and a table of cases."""
import numpy as np
import pandas as pd
from joblib import delayed

from cardiac_ml.files import DataError
from cardiac_ml.virtual import patterns, population, published
from cardiac_ml.virtual.membrane import action_potential_table
from cardiac_ml.virtual.parallel import in_order
from cardiac_ml.virtual.patient import draw_patient, electrodes_mv, simulate_beats, voltages_mv
from cardiac_ml.virtual.points import POINT_NAMES
from cardiac_ml.virtual.population import CYCLE_LENGTHS_MS, G_KR_PERCENT
from cardiac_ml.virtual.torso import LEAD_FIELDS, move_electrodes

# Kinds of the patterns, in this order, again and again.
ORDER = ("normal", "sites", "LBBB", "ectopic", "RBBB", "normal", "scar", "sites", "paced", "RVOT", "normal", "slow",
         "sites", "fusion", "normal", "ectopic", "scar", "sites", "LBBB", "RBBB")
PATTERNS = 30        # in all; a heart with fewer cases than two each goes on where the one before it ended
POINT_HEARTS = 6     # at most every sixth heart, from the first on, has a focus at each recording point,
POINT_CASES = 360    # and at most one in so many cases
FEWEST_CASES = 15    # unless fewer cases than this are asked for
NOISE_MV = 0.004     # standard deviation, at each electrode


def plan(number, cases, as_published=False):
    """The cases of heart ``number`` (from 1): a list of (kind, number of the pattern or None, of a point or None).

    Patterns come twice in a heart, at both cycle lengths, and in many hearts, as in the published set.
    """
    if as_published:
        return published.plan(cases)
    pairs = (cases + 1) // 2
    numbers = [((number - 1) * pairs + k // 2) % max(PATTERNS, pairs) for k in range(cases)]
    planned = [(ORDER[pattern % len(ORDER)], pattern, None) for pattern in numbers]
    if cases >= FEWEST_CASES and (number - 1) % max(POINT_HEARTS, POINT_CASES // cases) == 0:
        return planned[:cases // 4] + [("focal", None, index) for index in range(len(POINT_NAMES))]
    return planned


def count_cases(hearts, cases, as_published=False):
    """How many cases there are in all: a heart with a focus at each recording point has more than ``cases``."""
    return sum(len(plan(number, cases, as_published)) for number in range(1, hearts + 1))


def draw_case(patient, seed, number, k, kind, pattern, index, width=1.0):
    """Everything random about case ``k`` of heart ``number``: (excitation, row of the table, its generator)."""
    rng = np.random.default_rng([seed, number, k + 1])
    if index is not None:
        beat, bcl = patterns.point_focus(patient.heart, index), int(rng.choice(CYCLE_LENGTHS_MS))
    elif kind == "stimulated":
        beat, bcl = patterns.stimulated_points(patient.heart, pattern), CYCLE_LENGTHS_MS[k % 2]
    else:
        drawn = np.random.default_rng([seed, number, pattern, 1])
        beat, bcl = patterns.excitation(kind, patient.heart, drawn, pattern, width), CYCLE_LENGTHS_MS[k % 2]
    row = dict(heart=f"v{number}", pattern=pattern, innerindex=index, bcl=bcl, gkr=int(rng.choice(G_KR_PERCENT)),
               kind=beat.kind, onset_ms=rng.uniform(1, 8), **population.draw(rng, "case", width), seed=seed)
    return beat, row, rng


def simulate_heart(seed, number, cases, lead_field="sphere", width=1.0):
    """All cases of heart v``number``: (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table), float32."""
    patient = draw_patient(seed, number, width=width)
    beats, rows, rngs = zip(*(draw_case(patient, seed, number, k, *case, width)
                              for k, case in enumerate(plan(number, cases))))
    table = pd.DataFrame(rows).astype({"pattern": "Int64", "innerindex": "Int64"})
    solved = simulate_beats(patient, beats, table.bcl, table.gkr / 100, table.onset_ms, table.speed)
    electrodes, voltage = [], []
    for k, rng in enumerate(rngs):
        heard = electrodes_mv(patient, solved, k, move_electrodes(rng, patient.torso, width=width), lead_field)
        electrodes.append(heard.T + NOISE_MV * rng.standard_normal(heard.T.shape, dtype=np.float32))
        voltage.append(voltages_mv(patient, solved, k).T)
    return np.stack(electrodes), np.stack(voltage), table


def simulate_as_published(seed, number, cases, width=1.0):
    """The same with the quirks of the published files: see ``published``."""
    patient = draw_patient(seed, number, width=width)
    beats, rows, rngs = zip(*(draw_case(patient, seed, number, k, *case, width)
                              for k, case in enumerate(plan(number, cases, as_published=True))))
    table = pd.DataFrame(rows).astype({"pattern": "Int64", "innerindex": "Int64"})
    table = table.assign(heart=published.heart_name(number), gkr=table.gkr.clip(upper=50), onset_ms=0.0)
    solved = published.as_published(simulate_beats(patient, beats, table.bcl, table.gkr / 100, 0.0, table.speed))
    electrodes, voltage = [], []
    for k in range(len(beats)):
        electrodes.append(electrodes_mv(patient, solved, k, lead_field="infinite").T)
        mv = published.with_quirks(voltages_mv(patient, solved, k), solved.point_ms[k], solved.point_apd_ms[k])
        voltage.append(mv[published.column_order(seed, number)].T)
    return np.stack(electrodes).astype(np.float32), np.stack(voltage), table


def simulate_intracardiac(hearts=120, cases=15, seed=0, lead_field="sphere", workers=None, progress=True, width=1.0,
                          as_published=False):
    """Yields (electrodes_mv (n, 500, 10), voltage_mv (n, 500, 75), table) of hearts v1, v2, ... in order.

    The same bytes for any number of ``workers`` (None: all processors) and any joblib backend, so that inside ``with
    joblib.parallel_config(backend=...)`` a cluster can take over. ``width``: of the population, see ``population``.
    ``as_published``: with the quirks of the published files, leads as in an infinite body; see ``published``.
    """
    if hearts < 1 or cases < 1:
        raise DataError(f"{hearts} hearts with {cases} cases each: there must be at least one of both.")
    if lead_field not in LEAD_FIELDS:
        raise DataError(f"Unknown lead field {lead_field!r}: choose one of {', '.join(LEAD_FIELDS)}.")
    population.check_width(width)
    call, fixed = (simulate_as_published, (width,)) if as_published else (simulate_heart, (lead_field, width))
    jobs = [delayed(call)(seed, number, cases, *fixed) for number in range(1, hearts + 1)]
    return _simulated(jobs, workers, progress)


def _simulated(jobs, workers, progress):
    action_potential_table()      # computed and cached once, before the workers start
    yield from in_order(jobs, workers, progress)
