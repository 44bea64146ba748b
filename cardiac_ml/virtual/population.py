"""Who the virtual patients are: every quantity that differs from one to the next, how it is spread, and why.

The middle makes a normal beat whose R, S and T are those of real people in each of the twelve leads. Sites, pose,
electrodes and recovery were fitted to that together (Gauss-Newton over the medians of 19 real recordings), within what
the sources allow. The spread covers adults of both sexes. ``width`` scales all spreads at once: 0 is the average
patient again and again, 2 makes hearts that no clinic sees.

>>> rng = np.random.default_rng(0)
>>> sorted(draw("speeds", rng))
['across', 'along', 'layer', 'through']
>>> draw("speeds", rng, width=0) == middle("speeds")
True
"""
from typing import NamedTuple

import numpy as np

from cardiac_ml.files import DataError

WIDEST = 2.0        # widths
FARTHEST = 2.0      # spreads: nobody is farther from the middle in a "normal" or a "factor"


class Quantity(NamedTuple):
    """One row of the table. ``spread``: a standard deviation; of a "uniform" one, half the range."""
    middle: float | np.ndarray
    spread: float
    law: str            # normal: middle + spread * z; factor: middle * exp(spread * z); uniform
    source: str


SIZES = "magnetic resonance reference values of adults, both sexes (Kawel-Boehm et al., J Cardiovasc Magn Reson 2020)"
SPEED = "plane waves in human and canine ventricles (Durrer et al. 1970; Taggart et al. 2000), ratios after fibres"
FITTED = "fitted to the medians of real ECGs, within what the anatomy allows"
# x to the patient's left, y to the back, z up, mm. Rows: RA LA LL RL V1..V6.
ELECTRODES_MM = np.array([(-170, 0, 200), (170, 0, 200), (100, -10, -280), (-100, -10, -280), (-49, -147, 45),
                          (42, -153, 27), (74, -143, -3), (100, -125, -16), (142, -77, 0), (160, -18, 7)], float)

TABLE = {
    # The heart, mm.
    "shape.size": Quantity(1.0, 0.04, "factor", "of all lengths below at once: tall and short, men and women"),
    "shape.lv_radius_mm": Quantity(24.0, 2.2, "normal", SIZES),
    "shape.lv_length_mm": Quantity(82.0, 5.0, "normal", SIZES),
    "shape.wall_mm": Quantity(8.5, 1.1, "normal", SIZES),
    "shape.rv_radius_mm": Quantity(33.0, 2.5, "normal", SIZES),
    "shape.rv_wall_mm": Quantity(4.0, 0.5, "normal", SIZES),
    "shape.rv_offset_mm": Quantity(29.0, 2.0, "normal", SIZES),
    "shape.rv_angle_deg": Quantity(-146.0, 9.0, "normal", "the published mesh"),
    "shape.fibre_deg": Quantity(60.0, 6.0, "normal", "Streeter et al. 1969"),
    "shape.layer_mm": Quantity(2.5, 0.25, "normal", "reach of the Purkinje network into the wall"),
    # Speeds, mm/ms.
    "speeds.along": Quantity(0.54, 0.06, "factor", SPEED),
    "speeds.across": Quantity(0.68, 0.07, "uniform", SPEED + "; share of along"),
    "speeds.through": Quantity(0.60, 0.08, "uniform", SPEED + "; share of along"),
    "speeds.layer": Quantity(0.88, 0.07, "factor", SPEED + "; the fast layer"),
    # Durations before neighbours even them out, ms: differences across the wall and over the heart.
    "repolarisation.longer_ms": Quantity(6.0, 8.0, "normal", "QT of 413 +- 14 ms at rate 60 (Rautaharju et al. 2013)"),
    "repolarisation.epi_minus_endo_ms": Quantity(0.5, 4.0, "normal", FITTED),
    "repolarisation.base_minus_apex_ms": Quantity(15.0, 3.0, "normal", FITTED),
    "repolarisation.right_minus_left_ms": Quantity(15.5, 3.0, "normal", FITTED),
    "repolarisation.inferior_minus_anterior_ms": Quantity(5.2, 2.0, "normal", FITTED),
    "repolarisation.lateral_minus_septal_ms": Quantity(-5.0, 2.0, "normal", FITTED),
    "repolarisation.coupling_mm": Quantity(7.6, 0.10, "factor", "electrotonic length along the fibre"),
    # The body, mm: x to the patient's left, y to the back, z up.
    "torso.radius_mm": Quantity(161.0, 0.07, "factor", "a chest 27 to 36 cm across"),
    "torso.heart_mm": Quantity(np.array([9.0, -54.0, -33.0]), 10.0, "normal", FITTED + "; heart in the left front"),
    "torso.apex_way": Quantity(np.array([0.68, -0.59, -0.39]), 0.12, "normal", FITTED + "; from base to apex"),
    "torso.right_way": Quantity(np.array([-0.57, -0.82, 0.0]), 0.12, "normal", FITTED + "; left to right ventricle"),
    "torso.electrodes_mm": Quantity(ELECTRODES_MM, 9.0, "normal", "standard places (Kligfield et al. 2007); " + FITTED),
    "torso.conductivity_s_m": Quantity(0.19, 0.2, "factor", "lungs, fat and blood make leads larger or smaller"),
    # A beat.
    "sites.angle_deg": Quantity(0.0, 10.0, "normal", "Durrer et al. 1970: sites differ from heart to heart"),
    "sites.height": Quantity(0.0, 0.05, "normal", "likewise"),
    "sites.ms": Quantity(0.0, 1.5, "normal", "likewise"),
    "block.left": Quantity(0.67, 0.03, "normal", "speed of the left layer, entered backwards; QRS 120 to 180 ms"),
    "block.right": Quantity(0.74, 0.03, "normal", "speed of the right layer; QRS 110 to 170 ms"),
    "scar.radius_mm": Quantity(16.0, 6.0, "uniform", "infarcts of 4 to 45 cm3"),
    "scar.height": Quantity(0.55, 0.30, "uniform", "anywhere in the left ventricle"),
    "scar.depth": Quantity(0.5, 0.5, "uniform", "from inner to outer wall"),
    "outflow.angle_deg": Quantity(105.0, 8.0, "normal", "right ventricular outflow tract: high, in front"),
    "outflow.height": Quantity(0.92, 0.03, "normal", "likewise"),
    "paced.angle_deg": Quantity(-165.0, 12.0, "normal", "a lead in the right ventricle's apex"),
    "paced.height": Quantity(0.36, 0.04, "normal", "likewise"),
    "fusion.ahead_ms": Quantity(5.0, 20.0, "uniform", "of the normal beat behind the focus"),
    "slow.speed": Quantity(0.65, 0.10, "uniform", "much potassium, or drugs"),
    "case.speed": Quantity(1.0, 0.06, "uniform", "from day to day"),
    "clinic.moved_mm": Quantity(np.zeros((10, 3)), 5.0, "normal", "electrodes never sit twice in one place"),
    "holter.moved_mm": Quantity(np.zeros((10, 3)), 40.0, "normal", "limb electrodes on the trunk, where there is room"),
}
CYCLE_LENGTHS_MS = (600, 1000)     # each as often, as in the published set
DEAD_SHARE = 0.6                   # of scars have a core that never activates
G_KR_PERCENT = (0, 50, 100)        # of the rapid delayed rectifier current, each as often
# Early sites of a normal beat: wall, angle (degrees), height, ms. The left septum comes first: it gives V1 its r and
# the lateral leads their q. Places after Durrer et al. 1970.
LEFT_SITES = (("lv", -153, 0.54, 0), ("lv", 115, 0.82, 3.5), ("lv", -70, 0.45, 5), ("lv", -52, 0.53, 13))
RIGHT_SITES = (("septum", -147, 0.54, 11), ("rv", -143, 0.49, 15), ("rv", 146, 0.49, 16.5))


def middle(group) -> dict:
    """The average of a group: name without the group -> value."""
    return {name.split(".")[1]: row.middle for name, row in TABLE.items() if name.startswith(group + ".")}


def draw(rng, group, width=1.0) -> dict:
    """One draw of every quantity of a group, in the table's order."""
    check_width(width)
    return {name.split(".")[1]: _one(rng, row, width) for name, row in TABLE.items() if name.startswith(group + ".")}


def check_width(width):
    if not 0 <= width <= WIDEST:
        raise DataError(f"width is {width}; the spread of the population can be 0 to {WIDEST} times its usual one.")


def _one(rng, row, width):
    size = np.shape(row.middle)
    z = rng.uniform(-1, 1, size) if row.law == "uniform" else np.clip(rng.normal(size=size), -FARTHEST, FARTHEST)
    value = row.middle * np.exp(width * row.spread * z) if row.law == "factor" else row.middle + width * row.spread * z
    return value if np.ndim(value) else float(value)
