"""Where activation starts, and what slows it: the rhythms and diseases that the virtual hearts know.

A normal beat starts at the ends of the Purkinje network, on the inner surfaces (Durrer, van Dam, Freud, Janse, Meijler
and Arzbaecher, Circulation 41:899, 1970; breakthrough on the outside after 7 to 25 ms, all done after 63 to 96 ms:
Wyndham, Meeran, Smith, Saxena, Engelman, Levitsky and Rosen, American Journal of Cardiology 43:487, 1979). The network
itself is a layer on the endocardium that conducts faster than muscle. Fronts that enter it backwards gain less from it.
"""
from dataclasses import dataclass, field, replace

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.virtual.anatomy import Heart
from cardiac_ml.virtual.points import lv_place, pulled_in, recording_points, rv_place

LAYER_MM = 2.5       # thickness of the fast layer
DEEP = 0.12          # early sites lie this deep in the left wall, and at RV_DEEP in the thin right one
RV_DEEP = 0.3
INNER_POINTS = 30    # the first recording points lie on the inner surfaces
STRAY_MM = 3.0
# Early sites of a normal beat: ventricle, angle (degrees), height, ms.
LEFT_SITES = (("lv", 115, 0.82, 0), ("lv", -146, 0.58, 0), ("lv", -75, 0.52, 2), ("lv", -45, 0.62, 5))
RIGHT_SITES = (("septum", -146, 0.55, 7), ("rv", -140, 0.50, 9), ("rv", 150, 0.50, 11))


@dataclass(frozen=True)
class Excitation:
    """What one beat needs to know. Factors of 1 change nothing; dead nodes have an infinite slowness."""
    kind: str
    sites: list                           # of (place (3,) mm, ms)
    slowness: np.ndarray                  # (n,) on travel time
    apd_shift_ms: np.ndarray | float = 0.0    # (n,) longer or shorter action potentials
    amplitude: np.ndarray | None = None   # (n,) share of the action potential's height, for injured cells
    note: dict = field(default_factory=dict)


def _place(heart, where, angle, height, depth=DEEP):
    if where == "lv":
        place = lv_place(heart.shape, angle, height, depth)
    elif where == "septum":      # on its right side
        place = lv_place(heart.shape, angle, height, 1 - depth)
    else:
        place = rv_place(heart.shape, angle, height, RV_DEEP)
    return pulled_in(heart, place)[0]      # where the ventricles meet, the right wall may end before the place


def _jittered(heart, rng, sites):
    """Early sites of this beat: places 10 degrees and 0.05 of the height around the given ones, times 1.5 ms."""
    drawn = []
    for where, angle, height, ms in sites:
        height = np.clip(height + 0.05 * rng.normal(), 0.3, 0.92)
        place = _place(heart, where, angle + 10 * rng.normal(), height)
        drawn.append((place, max(0.0, ms + 1.5 * rng.normal()) if ms else 0.0))
    return drawn


def _in_layer(heart, side):
    return (heart.lv_endo_mm if side == "lv" else heart.rv_endo_mm) <= LAYER_MM


def _slowness(heart, left=1.0, right=1.0):
    """(n,) slowness where the fast layers conduct at a share of their normal speed."""
    f = np.ones(len(heart.nodes_mm), np.float32)
    f[_in_layer(heart, "rv")] = 1 / right
    f[_in_layer(heart, "lv")] = 1 / left
    return f


def normal(heart, rng):
    return Excitation("normal", _jittered(heart, rng, LEFT_SITES + RIGHT_SITES), _slowness(heart))


def lbbb(heart, rng):
    """Left bundle branch block: the left network is silent, the left ventricle is reached through the septum."""
    sites = [(place, max(0.0, ms - 7)) for place, ms in _jittered(heart, rng, RIGHT_SITES)]
    return Excitation("LBBB", sites, _slowness(heart, left=0.75 + 0.04 * rng.normal()))


def rbbb(heart, rng):
    """Right bundle branch block: the right ventricle is last, reached through the septum."""
    return Excitation("RBBB", _jittered(heart, rng, LEFT_SITES), _slowness(heart, right=0.8 + 0.04 * rng.normal()))


def focal(heart, place, kind="ectopic", share=0.95, **note):
    """One early site anywhere in the muscle."""
    return Excitation(kind, [(np.asarray(place, float), 0.0)], _slowness(heart, share, share), note=note)


def ectopic(heart, rng):
    return focal(heart, heart.nodes_mm[rng.integers(len(heart.nodes_mm))])


def outflow(heart, rng):
    """A focus in the right ventricular outflow tract: high, in front."""
    place = _place(heart, "rv", 105 + 8 * rng.normal(), min(0.96, 0.92 + 0.03 * rng.normal()))
    return focal(heart, place, "RVOT")


def paced(heart, rng):
    """A lead in the apex of the right ventricle."""
    return focal(heart, _place(heart, "rv", -165 + 12 * rng.normal(), 0.36 + 0.04 * rng.normal()), "paced")


def early_sites(heart, rng, number=0):
    """Two to eight places on the inner surfaces that start at once.

    As in the published set, a pattern is a matter of its ``number``: its places are near the same recording points in
    every heart and every beat, STRAY_MM around them.
    """
    drawn = np.random.default_rng(number)
    chosen = drawn.choice(INNER_POINTS, drawn.integers(2, 9), replace=False)
    wanted = recording_points(heart.shape)[chosen] + STRAY_MM * rng.normal(size=(len(chosen), 3))
    inner = heart.nodes_mm[_in_layer(heart, "lv") | _in_layer(heart, "rv")]
    places = inner[np.linalg.norm(inner[:, None] - wanted, axis=-1).argmin(axis=0)]
    return Excitation("sites", [(place, 0.0) for place in places], _slowness(heart, 0.9, 0.9))


def scar(heart, rng):
    """A normal beat around a scar in the left ventricle: a core that conducts badly or not at all, a slow border."""
    beat = normal(heart, rng)
    centre = lv_place(heart.shape, rng.uniform(-180, 180), rng.uniform(0.25, 0.85), rng.uniform(0, 1))
    return with_scar(heart, beat, centre, rng.uniform(10, 22), dead=rng.random() < 0.6)


def with_scar(heart, beat, centre_mm, radius_mm, dead=True):
    """The same beat in a heart with a scar: core (inner 60 %) dead or at 0.15 of the speed, border at 0.4."""
    away = np.linalg.norm(heart.nodes_mm - centre_mm, axis=1) / radius_mm
    factor = np.select([away < 0.6, away < 1], [np.inf if dead else 1 / 0.15, 1 / 0.4], 1.0)
    return replace(beat, kind="scar", slowness=(beat.slowness * factor).astype(np.float32))


def slow(heart, rng):
    """Slow conduction everywhere, as with much potassium or some drugs."""
    beat = normal(heart, rng)
    return Excitation("slow", beat.sites, beat.slowness / rng.uniform(0.55, 0.75))


def fusion(heart, rng):
    """A normal beat and a focus that meet."""
    beat, other = normal(heart, rng), ectopic(heart, rng)
    ahead = rng.uniform(-15, 25)
    own = [(place, ms + max(ahead, 0)) for place, ms in beat.sites]
    return Excitation("fusion", own + [(place, max(-ahead, 0)) for place, _ in other.sites], _slowness(heart, 0.9, 0.9))


PATTERNS = {"normal": normal, "LBBB": lbbb, "RBBB": rbbb, "ectopic": ectopic, "RVOT": outflow, "sites": early_sites,
            "scar": scar, "slow": slow, "paced": paced, "fusion": fusion}


def excitation(kind, heart: Heart, rng, number=0) -> Excitation:
    """A beat of a kind, drawn for this heart; ``number`` says which pattern of early sites."""
    if kind not in PATTERNS:
        raise DataError(f"Unknown pattern {kind!r}: choose one of {', '.join(PATTERNS)}.")
    return early_sites(heart, rng, number) if kind == "sites" else PATTERNS[kind](heart, rng)


def point_focus(heart: Heart, index) -> Excitation:
    """A focus at recording point number ``index``."""
    return focal(heart, recording_points(heart.shape)[index], "focal")
