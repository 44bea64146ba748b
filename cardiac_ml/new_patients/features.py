"""Features of a heartbeat that mean the same in every patient: each beat is compared with the patient's other beats.

The yardsticks (usual interval, usual shape) come from the whole record, never from its labels. That is fair for a new
patient, whose recording is there before anybody reads it, but no use for a beat that comes alone. Where the R peaks are
is taken from the annotations, as in the literature.
"""
import numpy as np
import pandas as pd

from cardiac_ml.files import DataError

BEFORE_MS, AFTER_MS = 400.0, 600.0  # signal around the R peak that the features look at
QRS_MS, WIDE_MS, P_MS, T_MS = (-80, 120), (-150, 200), (-280, -60), (120, 450)
SHIFT_MS = 30  # the annotated R peaks lie up to that far from where the shapes agree best
USUAL = 0.15  # a usual interval differs at most so much from the median of those around it
ALIKE = 0.95  # beats of one kind have shapes that correlate at least so well
OTHER = 0.8  # another kind of beat correlates at most so well with the usual one


def beat_features(ds) -> pd.DataFrame:
    """Features of ``RecordBeats``, a row for each beat in the order of ``ds``, NaN where one is unknown.

    ``ds`` must hold whole records: what is usual for a patient is measured here.
    """
    if ds.before_ms < BEFORE_MS or ds.window_time_ms[-1] < AFTER_MS - 10:
        raise DataError(f"The windows run from {-ds.before_ms:g} to {ds.window_time_ms[-1]:.0f} ms; load_records(..., "
                        f"before_ms={BEFORE_MS:g}, after_ms={AFTER_MS:g}) makes those that the features need.")
    parts = []
    for rows in ds.table.groupby("record", sort=False).indices.values():
        table = ds.table.iloc[rows].reset_index(drop=True)
        parts.append(record_features(ds.window_mv[rows], ds.window_time_ms, table).set_index(rows))
    return pd.concat(parts).sort_index().astype(np.float32)


def record_features(window_mv: np.ndarray, time_ms: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    """Features of all beats of one record, in order: windows (beats, channels, samples) and their intervals."""
    usual = usual_beats(table)
    signals = [usual_first(smooth(window_mv[:, channel], time_ms), time_ms, usual)
               for channel in range(window_mv.shape[1])]
    columns = rhythm(table) | lead_features(*signals[0], time_ms) | kinds_features(signals, time_ms)
    alike = correlations(*[joined(signals, time_ms)] * 2)
    return pd.DataFrame(columns | kin_features(alike, columns)).astype(np.float32)


# ---- rhythm ----

def rhythm(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Logarithms of intervals, relative to those around and to the patient's own, and how regular they are."""
    before, after = (np.log(table[name].where(table[name] > 0)) for name in ("rr_before_ms", "rr_after_ms"))
    near, wide, patient = _median(before, 11), _median(before, 61), before.median()
    previous = before.shift(1).rolling(10, min_periods=1)
    jump = (before - before.shift(1)).abs()
    unrest = _median((before - near).abs(), 41) + 0.02
    columns = {
        "before": before - near, "after": after - near, "before_wide": before - wide, "after_wide": after - wide,
        "before_patient": before - patient, "after_patient": after - patient, "before_rank": before.rank(pct=True),
        "after_before": after - before, "before_last": before - before.shift(1), "after_next": after.shift(-1) - after,
        "before_previous": before - previous.median(), "before_shortest": before - previous.min(),
        "two_before": before.shift(1) - near, "two_after": after.shift(-1) - near,
        "both": np.log((np.exp(before) + np.exp(after)) / 2) - near, "near_patient": near - patient,
        "jump": _median(jump, 21), "jump_patient": 0 * near + jump.median(), "interval": before,
        "before_unusual": (before - near) / unrest, "after_unusual": (after - near) / unrest,
        "early_near": (before - near < np.log(0.88)).astype(float).rolling(41, center=True, min_periods=1).mean(),
    }
    return {name: value.to_numpy(float) for name, value in columns.items()}


def _median(series: pd.Series, beats: int) -> pd.Series:
    return series.rolling(beats, center=True, min_periods=1).median()


def usual_beats(table: pd.DataFrame) -> np.ndarray:
    """Which beats neither come early nor are followed by an early one: (beats,) bool; all of them if too few are."""
    near = _median(table["rr_before_ms"], 21)
    usual = np.logical_and.reduce([(table[name] / near - 1).abs() < USUAL for name in ("rr_before_ms", "rr_after_ms")])
    return usual if usual.sum() >= 0.1 * len(usual) else np.ones(len(usual), bool)


# ---- shape ----

def smooth(signal_mv: np.ndarray, time_ms: np.ndarray, width_ms: float = 14.0) -> np.ndarray:
    """Moving average, and each beat's median as its zero: (beats, samples) -> the same shape."""
    width = max(1, round(width_ms / (time_ms[1] - time_ms[0]))) | 1
    centred = signal_mv - np.median(signal_mv, axis=1, keepdims=True)
    padded = np.pad(centred, ((0, 0), (width // 2, width // 2)), "edge")
    total = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
    return ((total[:, width:] - total[:, :-width]) / width).astype(np.float32)


def usual_first(signal_mv: np.ndarray, time_ms: np.ndarray, usual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The beats (beats, samples) moved to where they agree with the patient's usual one, and that one, (samples,)."""
    signal_mv = aligned(signal_mv, time_ms, usual_shape(signal_mv, time_ms, usual))
    return signal_mv, usual_shape(signal_mv, time_ms, usual)


def usual_shape(signal_mv: np.ndarray, time_ms: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Median of the usual beats that look like most of them: (samples,)."""
    candidates, part = signal_mv[usual], inside(time_ms, WIDE_MS)
    sample = candidates[np.linspace(0, len(candidates) - 1, min(400, len(candidates))).astype(int)][:, part]
    middle = sample[(correlations(sample, sample) > 0.9).sum(axis=1).argmax()]
    good = correlations(candidates[:, part], middle[None])[:, 0] > 0.9
    return np.median(candidates[good] if good.any() else candidates, axis=0)


def inside(time_ms: np.ndarray, span_ms: tuple[float, float]) -> np.ndarray:
    return (time_ms >= span_ms[0]) & (time_ms < span_ms[1])


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(rows, samples), (columns, samples) -> (rows, columns); 0 for a flat line."""
    first, second = (x - x.mean(axis=1, keepdims=True) for x in (first, second))
    first, second = (x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6) for x in (first, second))
    return first @ second.T


def aligned(signal_mv: np.ndarray, time_ms: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Move each beat by at most SHIFT_MS to where its QRS agrees best with the template."""
    most = round(SHIFT_MS / (time_ms[1] - time_ms[0]))
    part, shifts = np.flatnonzero(inside(time_ms, WIDE_MS)), np.arange(-most, most + 1)
    agree = np.column_stack([correlations(signal_mv[:, part + s], template[part][None])[:, 0] for s in shifts])
    best = shifts[(agree - 0.002 * np.abs(shifts)).argmax(axis=1)]  # of equal places the nearest
    columns = np.clip(np.arange(signal_mv.shape[1]) + best[:, None], 0, signal_mv.shape[1] - 1)
    return np.take_along_axis(signal_mv, columns, axis=1)


def lead_features(signal_mv: np.ndarray, template: np.ndarray, time_ms: np.ndarray) -> dict[str, np.ndarray]:
    """How P wave, QRS and T wave of one channel differ from the patient's usual ones, and the form of the QRS."""
    height = np.ptp(template[inside(time_ms, QRS_MS)]) + 1e-3
    columns = {}
    for name, span_ms in {"qrs": QRS_MS, "wide": WIDE_MS, "p": P_MS, "t": T_MS}.items():
        part = inside(time_ms, span_ms)
        values = compared(signal_mv[:, part], template[part], height)
        columns |= {f"{name}_{what}": value for what, value in values.items()}
    part = inside(time_ms, WIDE_MS)
    form, usual = qrs_form(signal_mv[:, part]), qrs_form(template[None, part])
    return columns | form | {f"{name}_change": value - usual[name] for name, value in form.items()}


def compared(part: np.ndarray, template: np.ndarray, height: float) -> dict[str, np.ndarray]:
    """Likeness of a part of the beats (beats, samples) to the same part of the usual one, (samples,)."""
    centred, own = part - part.mean(axis=1, keepdims=True), template - template.mean()
    apart = np.sqrt(np.mean((centred - own) ** 2, axis=1)) / height
    return {
        "alike": correlations(part, template[None])[:, 0], "gain": centred @ own / (own @ own + 1e-6),
        "apart": apart, "apart_usual": apart / (np.median(apart) + 1e-6),
        "level": (part.mean(axis=1) - template.mean()) / height,
        "size_change": np.log((np.ptp(part, axis=1) + 0.02) / (np.ptp(template) + 0.02)),
    }


def qrs_form(part: np.ndarray) -> dict[str, np.ndarray]:
    """Width, area and steepness of the QRS complexes (beats, samples), none of them in mV."""
    base = part[:, :10].mean(axis=1, keepdims=True)
    size, slope = np.abs(part - base), np.abs(np.diff(part, axis=1))
    peak, steep = size.max(axis=1) + 1e-3, slope.max(axis=1) + 1e-4
    return {"width": (size > 0.4 * peak[:, None]).mean(axis=1), "busy": (slope > 0.2 * steep[:, None]).mean(axis=1),
            "area": size.mean(axis=1) / peak, "steep": steep / peak,
            "up": (part.max(axis=1) - base[:, 0]) / peak, "peak_at": size.argmax(axis=1) / part.shape[1]}


# ---- kinds of beats of a record ----

MIXTURE = ("other_alike", "nearer", "own_share", "other_share", "mixture_rest", "other_size")


def joined(signals: list, time_ms: np.ndarray) -> np.ndarray:
    """QRS of all channels side by side, each in units of its usual height: (beats, samples)."""
    part = inside(time_ms, WIDE_MS)
    return np.concatenate([signal[:, part][:, ::2] / (np.ptp(template[part]) + 0.05) for signal, template in signals],
                          axis=1)


def kinds_features(signals: list, time_ms: np.ndarray) -> dict[str, np.ndarray]:
    """Each beat as a mixture of the usual shape and the most common other one: a fusion beat has a share of both."""
    beats = joined(signals, time_ms)
    own = joined([(template[None], template) for _, template in signals], time_ms)
    own_alike = correlations(beats, own)[:, 0]
    strange = np.flatnonzero(own_alike < OTHER)
    columns = {"own_alike": own_alike, "strange": np.full(len(beats), len(strange) / len(beats))}
    if len(strange) < 3:  # no other kind to speak of
        return columns | dict.fromkeys(MIXTURE, np.full(len(beats), np.nan))
    sample = beats[strange[np.linspace(0, len(strange) - 1, min(800, len(strange))).astype(int)]]
    alike = correlations(sample, sample) > 0.9
    other = np.median(sample[alike[alike.sum(axis=1).argmax()]], axis=0)[None]
    other_alike = correlations(beats, other)[:, 0]
    return columns | dict(zip(MIXTURE, (other_alike, other_alike - own_alike, *mixture(beats, own, other))))


def mixture(beats: np.ndarray, own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, ...]:
    """Shares of the shapes ``own`` and ``other`` that explain each beat best, the rest, and the size; (beats,) each."""
    centred, pair = (x - x.mean(axis=1, keepdims=True) for x in (beats, np.concatenate([own, other])))
    shares = centred @ np.linalg.pinv(pair)
    size = np.linalg.norm(centred, axis=1) + 1e-6
    rest = np.linalg.norm(centred - shares @ pair, axis=1) / size
    return shares[:, 0], shares[:, 1], rest, size / np.linalg.norm(pair[1])


def kin_features(alike: np.ndarray, columns: dict) -> dict[str, np.ndarray]:
    """What the beats of the same shape in the record have in common: ``alike`` (beats, beats) correlations.

    An extrasystole that comes on time betrays itself by its kin, which come early.
    """
    kin = (alike > ALIKE).astype(np.float32)
    count = kin.sum(axis=1)
    next_one = np.diagonal(alike, 1)
    values = {"common": count / len(kin), "typical": np.median(alike[:, ::7], axis=1),
              "like_last": np.append(np.nan, next_one), "like_next": np.append(next_one, np.nan)}
    for name in ("before", "after", "before_unusual", "p_alike", "p_gain", "width_change", "own_share", "other_share"):
        known = np.nan_to_num(np.clip(columns[name], -5, 5)).astype(np.float32)
        values[f"kin_{name}"] = kin @ known / count
    return values
