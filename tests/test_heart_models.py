import types

import numpy as np
import pytest
import torch

from cardiac_ml import heart_recipes, saved_models
from cardiac_ml.files import DataError
from cardiac_ml.heart_metrics import mae_ms, mae_mv
from cardiac_ml.heart_models import ActivationNet, Augment, VoltageNet, laplace_loss, shifted
from cardiac_ml.leads import from_independent


def made_hearts(cases=48, seed=0):
    """A little heart: one hidden time moves the ECG, the map and the voltages together."""
    rng = np.random.default_rng(seed)
    onset, spread = rng.uniform(60, 140, (cases, 1)), rng.uniform(-1, 1, (cases, 1))
    time = np.arange(500)
    eight = np.stack([(lead - 3.5 + spread) * np.exp(-((time - onset - 3 * lead) / 12) ** 2) for lead in range(8)], axis=1)
    activation = onset + spread * np.linspace(-20, 20, 75)
    since = time - activation[..., None]
    voltage = -85 + 105 * ((since > 0) & (since < 240))
    ecg = from_independent(eight.astype(np.float32) + rng.normal(0, 0.01, eight.shape).astype(np.float32))
    return types.SimpleNamespace(ecg_mv=ecg, activation_ms=activation.astype(np.float32),
                                 voltage_mv=voltage.astype(np.float32),
                                 split=types.SimpleNamespace(train=np.arange(0, 32), valid=np.arange(32, 40),
                                                             test=np.arange(40, 48)))


@pytest.fixture(scope="module")
def hearts():
    return made_hearts()


@pytest.fixture(scope="module")
def activation_fit(hearts):
    return heart_recipes.activation_recipe(hearts, hearts.split, epochs=25, batch_size=8, network=dict(width=16),
                                           progress=False)


def test_shapes_and_the_mean_map_before_training(hearts):
    model = ActivationNet(width=16).fit_scaling(hearts.ecg_mv, hearts.activation_ms).eval()
    time_ms, spread_ms = heart_recipes.predict_activation(model, hearts.ecg_mv[:3])
    assert time_ms.shape == spread_ms.shape == (3, 75) and (spread_ms > 0).all()
    model = VoltageNet(widths=(16, 16, 16, 16)).fit_scaling(hearts.ecg_mv, hearts.voltage_mv)
    assert heart_recipes.predict_voltage(model, hearts.ecg_mv[0]).shape == (1, 75, 500)


def test_it_learns_the_maps(hearts, activation_fit):
    test = hearts.split.test
    time_ms, _ = heart_recipes.predict_activation(activation_fit.model, hearts.ecg_mv[test])
    mean_map = hearts.activation_ms[hearts.split.train].mean(axis=0)
    truth = hearts.activation_ms[test]
    assert mae_ms(truth, time_ms) < 0.4 * mae_ms(truth, np.tile(mean_map, (len(test), 1)))


def test_absolute_time_is_kept(hearts, activation_fit):
    """The ECG moved by 8 ms moves the whole map by about 8 ms: no averaging over time has lost the clock."""
    ecg = torch.as_tensor(hearts.ecg_mv[hearts.split.test])
    later = shifted(ecg, torch.full((len(ecg),), 8)).numpy()
    before, after = (heart_recipes.predict_activation(activation_fit.model, e)[0] for e in (ecg.numpy(), later))
    assert np.mean(after - before) == pytest.approx(8, abs=3)


def test_the_spread_is_calibrated_on_the_validation_cases(hearts, activation_fit):
    valid = hearts.split.valid
    time_ms, spread_ms = heart_recipes.predict_activation(activation_fit.model, hearts.ecg_mv[valid])
    covered = np.abs(time_ms - hearts.activation_ms[valid]) <= np.log(10) * spread_ms
    assert covered.mean() == pytest.approx(0.9, abs=0.02)


def test_it_learns_voltages(hearts):
    fit = heart_recipes.voltage_recipe(hearts, hearts.split, epochs=40, batch_size=8, progress=False, learning_rate=1e-2,
                                       network=dict(widths=(16, 24, 24, 32)))
    test = hearts.split.test
    truth, mean = hearts.voltage_mv[test], hearts.voltage_mv[hearts.split.train].mean(axis=0)
    assert mae_mv(truth, heart_recipes.predict_voltage(fit.model, hearts.ecg_mv[test])) < 0.6 * mae_mv(truth, [mean] * 8)


def test_missing_labels_have_no_gradient():
    output = torch.randn(2, 2, 75).abs() + 1
    output.requires_grad_()
    target = torch.full((2, 75), 50.0)
    target[:, :10] = float("nan")
    loss = laplace_loss(output, target)
    loss.backward()
    assert torch.isfinite(loss) and (output.grad[..., :10] == 0).all() and (output.grad[:, 0, 10:] != 0).all()


def test_augmentation_moves_the_answer_with_the_signal(hearts):
    ecg = torch.as_tensor(hearts.ecg_mv[:6])
    only_shift = Augment(shift_ms=10, gain=0, lead_gain=0, mix=0, noise_mv=0, drop=0)
    moved, times = only_shift(ecg, torch.zeros(6, 75), torch.Generator().manual_seed(3))
    assert len(set(times[:, 0].tolist())) > 1 and (times == times[:, :1]).all()
    for case, shift in zip(range(6), times[:, 0].long().tolist()):
        a, b = (moved[case, :, max(shift, 0):500 + min(shift, 0)], ecg[case, :, max(-shift, 0):500 - max(shift, 0)])
        assert torch.allclose(a, b, atol=1e-4)
    _, voltage = only_shift(ecg, torch.as_tensor(hearts.voltage_mv[:6]), torch.Generator().manual_seed(3))
    assert torch.equal(voltage, shifted(torch.as_tensor(hearts.voltage_mv[:6]), times[:, 0].long()))


def test_augmentation_keeps_the_leads_consistent(hearts):
    ecg, _ = Augment()(torch.as_tensor(hearts.ecg_mv[:6]), torch.zeros(6, 75), torch.Generator().manual_seed(0))
    assert torch.allclose(ecg[:, 2], ecg[:, 1] - ecg[:, 0], atol=1e-5)  # III = II - I


def test_a_saved_model_answers_the_same(hearts, activation_fit, tmp_path):
    saved_models.save(tmp_path / "task_3.npz", activation_fit.model, data="made", scores={"MAE (ms)": 1.0})
    again = saved_models.load(tmp_path / "task_3.npz")
    for a, b in zip(*(heart_recipes.predict_activation(m, hearts.ecg_mv[:2]) for m in (activation_fit.model, again))):
        assert a == pytest.approx(b, abs=1e-4)


@pytest.mark.parametrize("net", [ActivationNet(width=8), VoltageNet(widths=(8, 8, 8, 8))])
def test_torchscript_export_gives_equal_outputs(net, hearts, tmp_path):
    net.eval()
    ecg = torch.as_tensor(hearts.ecg_mv[:2])
    torch.jit.trace(net, ecg).save(str(tmp_path / "net.pt"))
    other = torch.as_tensor(hearts.ecg_mv[5:7])
    assert torch.allclose(torch.jit.load(str(tmp_path / "net.pt"))(other), net(other), atol=1e-4)


@pytest.mark.parametrize("change, words", [
    (lambda e: e.T, "transposed"), (lambda e: e * 1000, "microvolts"), (lambda e: e * np.nan, "NaN"),
    (lambda e: e[:, :499], "500"), (lambda e: np.where(np.arange(12)[:, None] == 8, 0, e), "flat"),
    (lambda e: e[::-1], "II is not I"), (lambda e: e[:8], "Eight leads"),
])
def test_a_wrong_ecg_is_refused_with_the_reason(hearts, activation_fit, change, words):
    with pytest.raises(DataError, match=words):
        heart_recipes.predict_activation(activation_fit.model, change(hearts.ecg_mv[0]))


def test_template_lines_up_upstrokes(hearts):
    template = heart_recipes.Template().fit(hearts.voltage_mv, hearts.activation_ms)
    assert mae_mv(hearts.voltage_mv, template.predict(hearts.activation_ms)) < 1.5
    assert template.shape_mv[0] == pytest.approx(-85, abs=1) and template.shape_mv[120] == pytest.approx(20, abs=1)


def test_error_profile_finds_the_upstroke(hearts):
    late = np.roll(hearts.voltage_mv, 3, axis=2)
    since, error = heart_recipes.error_profile(hearts.voltage_mv, late)
    assert abs(since[error.argmax()] - 1) <= 2 and error[since == 100] == 0


def test_score_table_holds_every_score_with_its_interval(hearts):
    truth, names = hearts.activation_ms, np.repeat(["v1", "v2", "v3"], 16)
    table = heart_recipes.score_table({"MAE (ms)": mae_ms}, truth, truth + np.where(names == "v3", 4, 1)[:, None], names)
    assert table.loc["MAE (ms)", "score"] == pytest.approx(2) and table.loc["MAE (ms)", "from"] == pytest.approx(1)
    assert table.loc["MAE (ms)", "to"] <= 4
