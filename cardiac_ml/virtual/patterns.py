"""Where activation starts, and what slows it: the rhythms and diseases that the virtual hearts know.

A normal beat starts at the ends of the Purkinje network, on the inner surfaces (Durrer, van Dam, Freud, Janse, Meijler
and Arzbaecher, Circulation 41:899, 1970; breakthrough on the outside after 7 to 25 ms, all done after 63 to 96 ms:
Wyndham, Meeran, Smith, Saxena, Engelman, Levitsky and Rosen, American Journal of Cardiology 43:487, 1979). The network
itself is a layer on the endocardium that conducts faster than muscle. Fronts that enter it backwards gain less from it.
"""
from dataclasses import dataclass, replace

import numpy as np

from cardiac_ml.files import DataError
from cardiac_ml.virtual import population
from cardiac_ml.virtual.anatomy import Heart
from cardiac_ml.virtual.points import lv_place, pulled_in, recording_points, rv_place
from cardiac_ml.virtual.population import LEFT_SITES, RIGHT_SITES

DEEP = 0.12          # early sites lie this deep in the left wall, and at RV_DEEP in the thin right one
RV_DEEP = 0.3
INNER_POINTS = 30    # the first recording points lie on the inner surfaces
STRAY_MM = 3.0


@dataclass(frozen=True)
class Excitation:
    """What one beat needs to know. Factors of 1 change nothing; dead nodes have an infinite slowness."""
    kind: str
    sites: list                           # of (place (3,) mm, ms)
    slowness: np.ndarray                  # (n,) on travel time
    apd_shift_ms: np.ndarray | float = 0.0    # (n,) longer or shorter action potentials, before coupling
    amplitude: np.ndarray | None = None   # (n,) share of the action potential's height, for injured cells


def _place(heart, where, angle, height, depth=DEEP):
    if where == "lv":
        place = lv_place(heart.shape, angle, height, depth)
    elif where == "septum":      # on its right side
        place = lv_place(heart.shape, angle, height, 1 - depth)
    else:
        place = rv_place(heart.shape, angle, height, RV_DEEP)
    return pulled_in(heart, place)[0]      # where the ventricles meet, the right wall may end before the place


def _jittered(heart, rng, sites, width):
    """Early sites of this beat: (place, ms) around the given ones; the first of all stays the first."""
    drawn = []
    for where, angle, height, ms in sites:
        moved = population.draw(rng, "sites", width)
        place = _place(heart, where, angle + moved["angle_deg"], np.clip(height + moved["height"], 0.3, 0.92))
        drawn.append((place, max(0.0, ms + moved["ms"]) if ms else 0.0))
    return drawn


def _in_layer(heart, side):
    return (heart.lv_endo_mm if side == "lv" else heart.rv_endo_mm) <= heart.shape.layer_mm


def _slowness(heart, left=1.0, right=1.0):
    """(n,) slowness where the fast layers conduct at a share of their normal speed."""
    f = np.ones(len(heart.nodes_mm), np.float32)
    f[_in_layer(heart, "rv")] = 1 / right
    f[_in_layer(heart, "lv")] = 1 / left
    return f


def normal(heart, rng, width=1.0):
    return Excitation("normal", _jittered(heart, rng, LEFT_SITES + RIGHT_SITES, width), _slowness(heart))


def lbbb(heart, rng, width=1.0):
    """Left bundle branch block: the left network is silent, the left ventricle is reached through the septum."""
    sites = _jittered(heart, rng, RIGHT_SITES, width)
    first = min(ms for _, ms in sites)
    share = population.draw(rng, "block", width)["left"]
    return Excitation("LBBB", [(place, ms - first) for place, ms in sites], _slowness(heart, left=share))


def rbbb(heart, rng, width=1.0):
    """Right bundle branch block: the right ventricle is last, reached through the septum."""
    share = population.draw(rng, "block", width)["right"]
    return Excitation("RBBB", _jittered(heart, rng, LEFT_SITES, width), _slowness(heart, right=share))


def focal(heart, place, kind="ectopic", share=0.95):
    """One early site anywhere in the muscle."""
    return Excitation(kind, [(np.asarray(place, float), 0.0)], _slowness(heart, share, share))


def ectopic(heart, rng, width=1.0):
    return focal(heart, heart.nodes_mm[rng.integers(len(heart.nodes_mm))])


def outflow(heart, rng, width=1.0):
    """A focus in the right ventricular outflow tract: high, in front."""
    drawn = population.draw(rng, "outflow", width)
    return focal(heart, _place(heart, "rv", drawn["angle_deg"], min(0.96, drawn["height"])), "RVOT")


def paced(heart, rng, width=1.0):
    """A lead in the apex of the right ventricle."""
    drawn = population.draw(rng, "paced", width)
    return focal(heart, _place(heart, "rv", drawn["angle_deg"], drawn["height"]), "paced")


def early_sites(heart, rng, number=0):
    """Two to eight places on the inner surfaces that start at once.

    As in the published set, a pattern is a matter of its ``number``: its places are near the same recording points in
    every heart and every beat, STRAY_MM around them.
    """
    chosen = _pattern(number)
    wanted = recording_points(heart.shape)[chosen] + STRAY_MM * rng.normal(size=(len(chosen), 3))
    inner = heart.nodes_mm[_in_layer(heart, "lv") | _in_layer(heart, "rv")]
    places = inner[np.linalg.norm(inner[:, None] - wanted, axis=-1).argmin(axis=0)]
    return Excitation("sites", [(place, 0.0) for place in places], _slowness(heart, 0.9, 0.9))


def _pattern(number):
    """Which recording points a pattern starts near."""
    drawn = np.random.default_rng(number)
    return drawn.choice(INNER_POINTS, drawn.integers(2, 9), replace=False)


def stimulated_points(heart, number):
    """The same pattern, started at the recording points themselves."""
    places = recording_points(heart.shape)[_pattern(number)]
    return Excitation("sites", [(place, 0.0) for place in places], _slowness(heart, 0.9, 0.9))


def scar(heart, rng, width=1.0):
    """A normal beat around a scar in the left ventricle: a core that conducts badly or not at all, a slow border."""
    beat, drawn = normal(heart, rng, width), population.draw(rng, "scar", width)
    centre = lv_place(heart.shape, rng.uniform(-180, 180), *np.clip((drawn["height"], drawn["depth"]), 0.05, 0.95))
    return with_scar(heart, beat, centre, max(drawn["radius_mm"], 5.0), dead=rng.random() < population.DEAD_SHARE)


def with_scar(heart, beat, centre_mm, radius_mm, dead=True):
    """The same beat in a heart with a scar: core (inner 60 %) dead or at 0.15 of the speed, border at 0.4."""
    away = np.linalg.norm(heart.nodes_mm - centre_mm, axis=1) / radius_mm
    factor = np.select([away < 0.6, away < 1], [np.inf if dead else 1 / 0.15, 1 / 0.4], 1.0)
    return replace(beat, kind="scar", slowness=(beat.slowness * factor).astype(np.float32))


def slow(heart, rng, width=1.0):
    """Slow conduction everywhere, as with much potassium or some drugs."""
    beat = normal(heart, rng, width)
    return Excitation("slow", beat.sites, beat.slowness / population.draw(rng, "slow", width)["speed"])


def fusion(heart, rng, width=1.0):
    """A normal beat and a focus that meet."""
    beat, other = normal(heart, rng, width), ectopic(heart, rng, width)
    ahead = population.draw(rng, "fusion", width)["ahead_ms"]
    own = [(place, ms + max(ahead, 0)) for place, ms in beat.sites]
    return Excitation("fusion", own + [(place, max(-ahead, 0)) for place, _ in other.sites], _slowness(heart, 0.9, 0.9))


PATTERNS = {"normal": normal, "LBBB": lbbb, "RBBB": rbbb, "ectopic": ectopic, "RVOT": outflow, "sites": early_sites,
            "scar": scar, "slow": slow, "paced": paced, "fusion": fusion}


def excitation(kind, heart: Heart, rng, number=0, width=1.0) -> Excitation:
    """A beat of a kind, drawn for this heart; ``number`` says which pattern of early sites."""
    if kind not in PATTERNS:
        raise DataError(f"Unknown pattern {kind!r}: choose one of {', '.join(PATTERNS)}.")
    return early_sites(heart, rng, number) if kind == "sites" else PATTERNS[kind](heart, rng, width)


def point_focus(heart: Heart, index) -> Excitation:
    """A focus at recording point number ``index``."""
    return focal(heart, recording_points(heart.shape)[index], "focal")
