"""Tasks 3 and 4 from data to score: the recipes that notebooks and the table of results share."""
import numpy as np
import pandas as pd
import torch

from cardiac_ml import heart_metrics
from cardiac_ml.heart_models import ActivationNet, Augment, VoltageNet, laplace_loss
from cardiac_ml.leads import check_ecg
from cardiac_ml.training import fit, predict


def activation_recipe(data, split, *, epochs=60, seed=0, network=None, **options):
    """Train an ActivationNet on the training cases, choose and calibrate it on the validation cases.

    ``data`` is an Intracardiac set, ``split`` its Split; returns what ``fit`` returns. ``network`` holds arguments of the
    network, other options go to ``fit``.
    """
    torch.manual_seed(seed)
    ecg_mv, train, valid = data.ecg_mv, split.train, split.valid
    model = ActivationNet(**(network or {})).fit_scaling(ecg_mv[train], data.activation_ms[train])

    def mae_ms(truth, output):
        return heart_metrics.mae_ms(truth, output[:, 0])

    settings = dict(loss=laplace_loss, score=mae_ms, maximize=False, epochs=epochs, batch_size=32, learning_rate=3e-3,
                    weight_decay=0.05, augment=Augment(), seed=seed) | options
    result = fit(model, (ecg_mv[train], data.activation_ms[train]), (ecg_mv[valid], data.activation_ms[valid]), **settings)
    calibrate(result.model, ecg_mv[valid], data.activation_ms[valid])
    return result


def calibrate(model, ecg_mv, activation_ms, level=0.9):
    """Stretch the stated spreads by one factor, so that ``level`` of these labels lie within their interval."""
    time_ms, spread_ms = predict_activation(model, ecg_mv)
    half_widths = np.abs(time_ms - activation_ms) / (-np.log(1 - level) * spread_ms)
    model.spread_factor.mul_(float(np.nanquantile(half_widths, level)))


def predict_activation(model, ecg_mv):
    """Activation times and their stated spread, (cases, 75) ms each, from (cases, 12, 500) or one (12, 500) in mV."""
    output = predict(model, _cases(ecg_mv))
    return output[:, 0], output[:, 1]


def voltage_recipe(data, split, *, epochs=40, seed=0, network=None, **options):
    """Train a VoltageNet; the mean absolute error is both what it learns and what chooses the best epoch."""
    torch.manual_seed(seed)
    ecg_mv, train, valid = data.ecg_mv, split.train, split.valid
    model = VoltageNet(**(network or {})).fit_scaling(ecg_mv[train], data.voltage_mv[train])
    settings = dict(loss=torch.nn.functional.l1_loss, score=heart_metrics.mae_mv, maximize=False, epochs=epochs,
                    batch_size=16, learning_rate=3e-3, weight_decay=0.05, augment=Augment(), seed=seed) | options
    return fit(model, (ecg_mv[train], data.voltage_mv[train]), (ecg_mv[valid], data.voltage_mv[valid]), **settings)


def predict_voltage(model, ecg_mv):
    """Voltages (cases, 75, 500) in mV from (cases, 12, 500) or one (12, 500) in mV."""
    return predict(model, _cases(ecg_mv))


def _cases(ecg_mv):
    ecg_mv = np.asarray(ecg_mv)
    return check_ecg(ecg_mv[None] if ecg_mv.ndim == 2 else ecg_mv)


class Template:
    """The simplest model of a voltage: one average action potential, moved to where each point activates."""

    def __init__(self, before_ms=20, after_ms=500):
        self.since_ms = np.arange(-before_ms, after_ms)

    def fit(self, voltage_mv, activation_ms):
        """Average the traces (cases, 75, time) after lining up their upstrokes, each sample over the traces that have it."""
        length = voltage_mv.shape[-1]
        total, count = np.zeros(len(self.since_ms)), np.zeros(len(self.since_ms))
        for traces, onsets in zip(voltage_mv, activation_ms):
            for trace, onset in zip(traces[np.isfinite(onsets)], onsets[np.isfinite(onsets)]):
                at = self.since_ms + onset
                seen = (at >= 0) & (at <= length - 1)
                total[seen] += np.interp(at[seen], np.arange(length), trace)
                count[seen] += 1
        self.shape_mv = np.interp(self.since_ms, self.since_ms[count > 0], (total / np.maximum(count, 1))[count > 0])
        return self

    def predict(self, activation_ms, length=500):
        """The template at each activation time: (cases, 75) ms -> (cases, 75, length) mV."""
        since = np.arange(length) - np.asarray(activation_ms)[..., None]
        return np.interp(since, self.since_ms, self.shape_mv).astype(np.float32)


def error_profile(truth_mv, predicted_mv, before_ms=60, after_ms=350):
    """Mean absolute error by the time since each trace's true upstroke: times (n,), errors (n,)."""
    since = np.round(np.arange(truth_mv.shape[-1]) - heart_metrics.upstroke_ms(truth_mv)[..., None])
    inside = (since >= -before_ms) & (since < after_ms)  # False where the upstroke is NaN
    place = (since[inside] + before_ms).astype(int)
    error = np.abs(predicted_mv - truth_mv)[inside]
    total = np.bincount(place, error, minlength=before_ms + after_ms)
    return np.arange(-before_ms, after_ms), total / np.maximum(np.bincount(place, minlength=before_ms + after_ms), 1)


def score_table(metrics, truth, prediction, hearts, draws=1000, seed=0):
    """Every metric over all cases, with a 90 % interval over hearts."""
    rng, rows = np.random.default_rng(seed), {}
    for name, metric in metrics.items():
        values = heart_metrics.redrawn_hearts(metric, truth, prediction, hearts, draws, rng)
        rows[name] = [metric(truth, prediction), *np.nanquantile(values, [0.05, 0.95])]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["score", "from", "to"]).round(3)
    return table.drop(index=[name for name in table.index if name == "labels left out"])
