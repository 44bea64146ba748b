"""What did the network look at? Hide a part of the signal and see how much less sure it becomes."""
import numpy as np

from cardiac_ml.training import predict, probabilities


def occlusion(model, signals, label, width=9, step=3):
    """Importance of each sample for the class ``label``: (rows, samples) or (rows, channels, samples) -> same shape.

    A window of ``width`` samples is replaced by a straight line between its ends; the importance is how much the
    log-odds of the class fall, averaged over the windows that hide the sample. Negative: it spoke against the class.
    """
    signals, label = np.asarray(signals, dtype=np.float32), np.asarray(label)
    samples = signals.shape[-1]
    starts = range(0, max(1, samples - width + 1), step)
    full = _log_odds(predict(model, signals), label)
    total, count = np.zeros(signals.shape), np.zeros(samples)
    for start in starts:
        part = slice(start, start + width)
        fall = full - _log_odds(predict(model, bridged(signals, part)), label)
        total[..., part] += fall.reshape(-1, *[1] * (signals.ndim - 1))
        count[part] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)


def bridged(signals, part):
    """The signals with the samples of ``part`` on a straight line; padding (zeros to the end) stays padding."""
    hidden, window = signals.copy(), signals[..., part]
    line = np.linspace(0, 1, window.shape[-1], dtype=np.float32)
    straight = window[..., :1] + (window[..., -1:] - window[..., :1]) * line
    hidden[..., part] = np.where(window == 0, 0, straight)
    return hidden


def _log_odds(scores, label):
    chance = np.clip(probabilities(scores)[np.arange(len(label)), label], 1e-9, 1 - 1e-9)
    return np.log(chance / (1 - chance))
