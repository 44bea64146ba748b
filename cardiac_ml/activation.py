"""When does a point of the heart activate, and for how long? Both are read off its transmembrane voltage."""
import numpy as np

BLOCK = 256  # cases looked at together: the comparison with zero needs a byte a sample, 10 MB a block


def upstroke_ms(voltage_mv) -> np.ndarray:
    """When each trace (..., time) at 1 ms steps activates: (...) float32 in ms.

    That is where the straight line between its first sample above zero and the one before crosses zero, which undoes
    the rounding up to 1 ms. A trace already above zero at the start is 0; one that never rises above zero never
    activates and gives NaN, not 0 as an argmax alone would.
    """
    return _in_blocks(_crossing, voltage_mv)


def apd90_ms(voltage_mv) -> np.ndarray:
    """Action potential duration: from the upstroke to 90 % recovery, the end interpolated; NaN if not seen to its end.

    The resting voltage is the trace's lowest value, its height the highest: (..., time) -> (...) in ms.
    """
    return _in_blocks(_duration, voltage_mv)


def _in_blocks(function, voltage_mv):
    voltage_mv = np.asanyarray(voltage_mv)
    traces = voltage_mv.reshape(-1, voltage_mv.shape[-1]) if voltage_mv.ndim < 3 else voltage_mv
    found = [function(traces[first:first + BLOCK]) for first in range(0, len(traces), BLOCK)]
    return np.concatenate(found or [np.empty(0)]).astype(np.float32).reshape(voltage_mv.shape[:-1])


def _crossing(traces):
    positive = traces > 0
    first = positive.argmax(axis=-1)
    never = ~np.take_along_axis(positive, first[..., None], axis=-1)[..., 0]
    after = np.take_along_axis(traces, first[..., None], axis=-1)[..., 0].astype(np.float64)
    before = np.take_along_axis(traces, np.maximum(first - 1, 0)[..., None], axis=-1)[..., 0].astype(np.float64)
    rise = np.where((first == 0) | never, 1, after - before)  # at the start there is no sample before: share 0
    return np.where(never, np.nan, first - np.where(first == 0, 0, after / rise))


def _duration(traces):
    traces = np.asarray(traces, dtype=np.float32)
    rest, peak = traces.min(axis=-1), traces.max(axis=-1)
    level = (rest + 0.1 * (peak - rest))[..., None]
    start = _crossing(traces)
    recovered = (traces < level) & (np.arange(traces.shape[-1]) > np.nan_to_num(start, nan=np.inf)[..., None])
    after = recovered.argmax(axis=-1)
    low, high = (np.take_along_axis(traces, i[..., None], -1)[..., 0] for i in (after, np.maximum(after - 1, 0)))
    end = after - np.where(high > low, (level[..., 0] - low) / np.where(high > low, high - low, 1), 0)
    return np.where(recovered.any(axis=-1), end - start, np.nan)
