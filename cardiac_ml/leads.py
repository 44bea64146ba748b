"""Ten electrodes to twelve leads: one matrix product, for numpy arrays and torch tensors alike.

An electrode measures a potential; a lead is a difference of potentials, so a 12-lead ECG is a linear map of ten
electrodes. Only eight leads are independent: III, aVR, aVL and aVF follow from I and II.
"""
import numpy as np

try:
    from cardiac_ml.files import DataError
except ImportError:  # copied out of the kit
    DataError = ValueError

ELECTRODES = ("RA", "LA", "LL", "RL", "V1", "V2", "V3", "V4", "V5", "V6")  # columns of a pECG file; RL: ground
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
PAPER = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))  # as a printed ECG shows them


def _lead_matrix() -> np.ndarray:
    """(12, 10): each row is one lead as a combination of the electrodes, in the orders of LEADS and ELECTRODES."""
    ra, la, ll, _, *chest = np.eye(len(ELECTRODES))
    wilson = (ra + la + ll) / 3  # the mean of the limbs: the zero that the chest leads are measured against
    limb = [la - ra, ll - ra, ll - la]
    augmented = [ra - (la + ll) / 2, la - (ra + ll) / 2, ll - (ra + la) / 2]
    return np.array(limb + augmented + [v - wilson for v in chest], dtype=np.float32)


def _derived_matrix() -> np.ndarray:
    """(12, 8): every lead as a combination of the eight independent ones."""
    one, two, *chest = np.eye(len(INDEPENDENT))
    return np.array([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *chest], dtype=np.float32)


LEAD_MATRIX = _lead_matrix()  # (12, 10)
DERIVED_MATRIX = _derived_matrix()  # (12, 8)


def _product(matrix, signals, what):
    rows = matrix.shape[1]
    if len(signals.shape) < 2 or signals.shape[-2] != rows:
        turned = len(signals.shape) > 1 and signals.shape[-1] == rows
        hint = " It looks transposed: swap its last two axes (do not reshape)." if turned else ""
        raise DataError(f"expected {what} of shape (..., {rows}, time), found {tuple(signals.shape)}.{hint}")
    if hasattr(signals, "new_tensor"):  # a torch tensor: stay on its device, in its precision
        signals = signals if signals.is_floating_point() else signals.double()
        return signals.new_tensor(matrix) @ signals
    kind = signals.dtype if signals.dtype.kind == "f" else np.float64
    return np.matmul(matrix.astype(kind, copy=False), signals)


def to_leads(electrodes_mv):
    """The twelve leads (..., 12, time) of ten electrode potentials (..., 10, time), in the order of LEADS."""
    return _product(LEAD_MATRIX, electrodes_mv, "electrodes RA LA LL RL V1..V6")


def from_independent(independent_mv):
    """All twelve leads (..., 12, time) from I, II, V1..V6 (..., 8, time)."""
    return _product(DERIVED_MATRIX, independent_mv, "leads I II V1..V6")


def independent(ecg_mv):
    """The eight leads that carry everything, (..., 8, time), out of (..., 12, time)."""
    return ecg_mv[..., [LEADS.index(name) for name in INDEPENDENT], :]


def check_ecg(ecg_mv, samples: int | None = 500) -> np.ndarray:
    """The ECG as float32 (..., 12, samples) once it is sure to be one in millivolts; else a DataError that says why.

    For ECGs from outside, before a network sees them: shape, missing values, unit, flat leads, order of leads.
    """
    ecg_mv = np.asarray(ecg_mv)
    check_shape(ecg_mv.shape, samples)
    if ecg_mv.dtype.kind not in "fiu":
        raise DataError(f"expected numbers in millivolts, found an array of {ecg_mv.dtype}.")
    ecg_mv = ecg_mv.astype(np.float32, copy=False)
    cases = ecg_mv.reshape(-1, 12, ecg_mv.shape[-1])
    _check_values(cases)
    _check_order(cases)
    return ecg_mv


def check_shape(shape, samples):
    """Raise unless ``shape`` is that of ECGs, (12, samples) or (cases, 12, samples); None is any number of samples."""
    rows, columns = shape[-2:] if len(shape) > 1 else (0, 0)
    if rows == 12 and samples in (None, columns) and 0 not in shape:
        return
    hints = (
        (columns == 12, "It looks transposed: swap the last two axes with ecg_mv.swapaxes(-1, -2); do not reshape."),
        (10 in (rows, columns), "Ten channels are electrodes: leads.to_leads(electrodes_mv) makes leads of them."),
        (rows == 8, "Eight leads I II V1..V6 become twelve with leads.from_independent."),
        (rows == 12, f"Cut or resample it to {samples} samples, 1 ms each."),
        (True, "Give one row a lead, one column a millisecond."))
    wanted = f"(12, {samples or 'time'}) or (cases, 12, {samples or 'time'})"
    raise DataError(f"expected an ECG of shape {wanted} in mV, found {tuple(shape)}. "
                    + next(hint for fits, hint in hints if fits))


def _check_values(cases):
    """cases (n, 12, time): finite, in millivolts, no lead flat."""
    for name, bad in zip(LEADS, ~np.isfinite(cases).all(axis=(0, 2))):
        if bad:
            raise DataError(f"lead {name} holds NaN or infinity. Repair or leave out that recording: "
                            "a missing value must not become a voltage.")
    swing = np.ptp(cases, axis=2)  # (n, 12) mV
    largest = swing.max(axis=1)
    if (largest > 100).any():
        raise DataError(f"the leads swing over {largest.max():.0f} mV; a heartbeat makes 0.5 to 5 mV. "
                        "This looks like microvolts: divide by 1000.")
    if len(flat := np.argwhere(swing == 0)):
        case, lead = flat[0]
        raise DataError(f"lead {LEADS[lead]} of case {case} is flat ({len(flat)} flat leads in all): an electrode that "
                        "was off? Leave the recording out, or predict with a model trained on dropped leads.")
    if (largest < 0.02).any():
        raise DataError(f"the leads swing over {largest.min():.2g} mV only; a heartbeat makes 0.5 to 5 mV. "
                        "This looks like volts: multiply by 1000.")


def _check_order(cases):
    """Einthoven's triangle, II = I + III, holds in any recording; leads in another order break it."""
    one, two, three = (cases[:, lead] - cases[:, lead].mean(axis=1, keepdims=True) for lead in range(3))
    off = np.sqrt(((one + three - two) ** 2).mean(axis=1))
    size = np.sqrt((one ** 2 + two ** 2 + three ** 2).mean(axis=1))
    if (off > 0.5 * size).any():
        raise DataError(f"II is not I + III in case {int(np.argmax(off / size))}: these rows are not the leads "
                        f"{' '.join(LEADS)} in this order. Sort the rows by lead name.")
