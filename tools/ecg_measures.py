"""What a cardiologist reads off a twelve-lead ECG, as numbers: QRS duration, axis, R and S waves, the sign of T.

All functions take ECGs of one beat each, (cases, 12, time) in mV at 1 ms, in the order of ``leads.LEADS``, with little
noise or none.
"""
import numpy as np
from scipy.ndimage import gaussian_filter1d

from cardiac_ml.leads import LEADS

STEEP = 0.05       # QRS is where the leads together change at more than this share of their fastest
QUIET_MS = 20
LONGEST_QRS_MS = 240
AFTER_QRS_MS = 60  # the T wave is looked for from here on
# Inverse Dower matrix (Edenbrandt and Pahlm, J Electrocardiol 21:361, 1988): x left, y down, z back.
DOWER_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6", "I", "II")
DOWER = np.array([[-.172, -.074, .122, .231, .239, .194, .156, -.010],
                  [.057, -.019, -.106, -.022, .041, .048, -.227, .887],
                  [-.229, -.310, -.246, -.063, .055, .108, .022, .102]])


def lead(ecg_mv, name):
    """(cases, time) of one lead."""
    return ecg_mv[:, LEADS.index(name)]


def qrs_limits_ms(ecg_mv):
    """First and last millisecond of each QRS, from how fast all leads together change: (cases,), (cases,).

    It reaches both ways from the fastest moment, until nothing is steep for QUIET_MS.
    """
    smooth = gaussian_filter1d(ecg_mv, 2.0, axis=-1)
    speed = np.sqrt((np.diff(smooth, axis=-1) ** 2).sum(axis=1))[:, :LONGEST_QRS_MS]
    limits = np.array([_run_around(row > STEEP * row.max(), row.argmax()) for row in speed])
    return limits[:, 0], limits[:, 1]


def _run_around(steep, middle):
    """First and last True of the run around ``middle``, gaps up to QUIET_MS included."""
    at = np.flatnonzero(steep)
    breaks = np.flatnonzero(np.diff(at) > QUIET_MS)
    run = np.searchsorted(breaks, np.searchsorted(at, middle), side="left")
    edges = np.concatenate([[-1], breaks, [len(at) - 1]])
    return at[edges[run] + 1], at[edges[run + 1]] + 1


def qrs_ms(ecg_mv):
    """QRS duration: (cases,)."""
    first, last = qrs_limits_ms(ecg_mv)
    return last - first


def _within(ecg_mv, first, last):
    """The ECG, NaN outside each case's limits: (cases, 12, time)."""
    time = np.arange(ecg_mv.shape[-1])
    inside = (time >= first[:, None]) & (time <= last[:, None])
    return np.where(inside[:, None], ecg_mv, np.nan)


def r_and_s_mv(ecg_mv):
    """Height of the R wave and depth of the deepest Q or S of every lead, both positive: (cases, 12) each."""
    first, last = qrs_limits_ms(ecg_mv)
    qrs = _within(ecg_mv - ecg_mv[..., :1], first, last)
    return np.maximum(np.nanmax(qrs, axis=-1), 0), np.maximum(-np.nanmin(qrs, axis=-1), 0)


def late_qrs_mv(ecg_mv, share=0.3):
    """Mean of every lead over the last part of its QRS: (cases, 12). Positive in V1 in right bundle branch block."""
    first, last = qrs_limits_ms(ecg_mv)
    return np.nanmean(_within(ecg_mv - ecg_mv[..., :1], last - share * (last - first), last), axis=-1)


def net_qrs_mv(ecg_mv):
    """Mean of every lead over the QRS: (cases, 12). Its sign says whether the QRS is upright."""
    return np.nanmean(_within(ecg_mv - ecg_mv[..., :1], *qrs_limits_ms(ecg_mv)), axis=-1)


def frontal_axis_deg(ecg_mv):
    """Direction of the QRS in the frontal plane: 0 to the left, 90 down: (cases,) from -180 to 180."""
    net = net_qrs_mv(ecg_mv)
    return np.degrees(np.arctan2(net[:, LEADS.index("aVF")] * 2 / np.sqrt(3), net[:, LEADS.index("I")]))


def t_wave_mv(ecg_mv):
    """The T wave's largest deflection with its sign: (cases, 12)."""
    first, last = qrs_limits_ms(ecg_mv)
    t = _within(ecg_mv - ecg_mv[..., :1], last + AFTER_QRS_MS, np.full(len(ecg_mv), ecg_mv.shape[-1] - 1))
    largest = np.nanargmax(np.abs(t), axis=-1)
    return np.take_along_axis(t, largest[..., None], -1)[..., 0]


def qt_ms(ecg_mv):
    """From the start of the QRS to where the tangent of T's steepest way down meets the zero line: (cases,).

    The median over leads II, V4 and V5; NaN where T has not come down by the end.
    """
    first, last = qrs_limits_ms(ecg_mv)
    smooth = gaussian_filter1d(ecg_mv - ecg_mv[..., :1], 4, axis=-1)
    return np.array([np.median([_t_end(smooth[k, LEADS.index(name)], last[k] + AFTER_QRS_MS) for name in
                                ("II", "V4", "V5")]) - first[k] for k in range(len(ecg_mv))])


def _t_end(lead_mv, start):
    peak = start + np.abs(lead_mv[start:]).argmax()
    size = np.sign(lead_mv[peak]) * lead_mv[peak:]
    if len(size) < QUIET_MS:
        return np.nan
    slope = np.diff(size)
    return peak + slope.argmin() - size[slope.argmin()] / slope.min()


def qrs_t_angle_deg(ecg_mv):
    """Angle in space between the mean QRS and the mean T vector, by the inverse Dower matrix: (cases,)."""
    first, last = qrs_limits_ms(ecg_mv)
    eight = ecg_mv[:, [LEADS.index(name) for name in DOWER_LEADS]]
    xyz = DOWER @ (eight - eight[..., :1])
    size = np.linalg.norm(xyz, axis=1)
    angles = []
    for vector, length, start, end in zip(xyz, size, first, last):
        peak = end + AFTER_QRS_MS + length[end + AFTER_QRS_MS:].argmax()
        qrs, t = vector[:, start:end].mean(axis=1), vector[:, peak - 50:peak + 50].mean(axis=1)
        cosine = qrs @ t / np.linalg.norm(qrs) / np.linalg.norm(t)
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))  # rounded, it may lie beyond 1
    return np.array(angles)
