"""When does a point of the heart activate? Its transmembrane voltage rises through zero: that is the moment."""
import numpy as np

BLOCK = 256  # cases looked at together: the comparison with zero needs a byte a sample, 10 MB a block


def activation_times(voltage_mv) -> tuple[np.ndarray, np.ndarray]:
    """Activation of every trace (..., time) at 1 ms steps: (interpolated ms, whole ms), float32, each of shape (...).

    Whole: the first millisecond with a voltage above zero. Interpolated: where the straight line between that sample
    and the one before crosses zero, which undoes the rounding up to 1 ms. A trace already above zero at the start is 0;
    one that never rises above zero never activates and gives NaN, not 0 as an argmax alone would.
    """
    voltage_mv = np.asanyarray(voltage_mv)
    traces = voltage_mv.reshape(-1, voltage_mv.shape[-1]) if voltage_mv.ndim < 3 else voltage_mv
    found = [_of_block(traces[first:first + BLOCK]) for first in range(0, len(traces), BLOCK)]
    if not found:
        return tuple(np.empty(voltage_mv.shape[:-1], np.float32) for _ in range(2))
    return tuple(np.concatenate(part).reshape(voltage_mv.shape[:-1]) for part in zip(*found))


def _of_block(traces):
    positive = traces > 0
    first = positive.argmax(axis=-1)
    never = ~np.take_along_axis(positive, first[..., None], axis=-1)[..., 0]
    after = np.take_along_axis(traces, first[..., None], axis=-1)[..., 0].astype(np.float64)
    before = np.take_along_axis(traces, np.maximum(first - 1, 0)[..., None], axis=-1)[..., 0].astype(np.float64)
    rise = np.where((first == 0) | never, 1, after - before)  # at the start there is no sample before: share 0
    crossing = first - np.where(first == 0, 0, after / rise)
    return tuple(np.where(never, np.nan, time).astype(np.float32) for time in (crossing, first))
