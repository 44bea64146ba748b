"""The networks, their blocks, their losses and their augmentations."""
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cardiac_ml import metrics, training
from cardiac_ml.activation import upstroke_ms
from cardiac_ml.files import DataError
from cardiac_ml.leads import from_independent
from cardiac_ml.models import (DIPOLE, EIGHT, ActionPotentialNet, ActivationNet, Augment, AugmentBeats, BatchNorm1d,
                               Conv1d, CrossEntropy, HeartbeatNet, KnownEcgs, ResidualBlock, SqueezeExcite, Template,
                               VoltageNet, calibrate_spread, class_weights, laplace_loss, masked_l1, parts_loss,
                               read_at, times_and_spreads)
from cardiac_ml.training import load, predict, save

fit = partial(training.fit, device="cpu", precision="float32")
NO_CHANGE = dict(shift_ms=0, gain=0, lead_gain=0, mix=0, noise_mv=0, drop=0, slower=0, turn=0, cells=0)  # of an Augment


# ---- blocks ----

@pytest.mark.parametrize("stride", [1, 2])
def test_channels_next_to_each_other_give_the_same_numbers(stride):
    x = torch.randn(4, 3, 50)
    for options in (dict(), dict(groups=3), dict(dilation=2)):
        mine, plain = (kind(3, 6, 7, stride, 3, **options) for kind in (Conv1d, nn.Conv1d))
        mine.load_state_dict(plain.state_dict())
        torch.testing.assert_close(mine(x), plain(x))
    norm, plain_norm = BatchNorm1d(6), nn.BatchNorm1d(6)
    torch.testing.assert_close(norm(mine(x)), plain_norm(plain(x)))
    torch.testing.assert_close(norm.state_dict(), plain_norm.state_dict())


@pytest.mark.parametrize("length", [12, 13])
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_keep_or_halve_time(stride, length):
    block = ResidualBlock(4, 6, stride, squeeze=True).eval()
    assert block(torch.randn(2, 4, length)).shape == (2, 6, -(-length // stride))


def test_squeeze_excite_weighs_whole_channels():
    x = torch.rand(2, 8, 20) + 0.1
    ratio = SqueezeExcite(8)(x) / x
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))
    assert ((ratio > 0) & (ratio < 1)).all()


# ---- heartbeats ----

def small(classes=3, seed=0, **config):
    torch.manual_seed(seed)
    return HeartbeatNet(classes, width=8, depths=(1, 1), **config).eval()


def beats(rows=90, classes=3, seed=0):
    """Rows that look like the Kaggle files: an R peak first, a bump whose height is the class, then padding."""
    rng = np.random.default_rng(seed)
    label = np.arange(rows) % classes
    time = np.arange(187)
    shape = np.exp(-time / 3) + (0.2 + 0.25 * label[:, None]) * np.exp(-((time - 40) / 9) ** 2) + 0.1
    signal = (shape + 0.03 * rng.normal(size=shape.shape)).clip(0.01, 1).astype(np.float32)
    signal[time > rng.integers(90, 187, rows)[:, None]] = 0
    return SimpleNamespace(beats=signal, label=label)


def test_one_row_of_scores_a_beat_whatever_the_others():
    model, rows = small(5), torch.from_numpy(beats(6).beats)
    assert model(rows).shape == (6, 5) and model(rows[:2, :64]).shape == (2, 5)
    torch.testing.assert_close(model(rows)[2:3], model(rows[2:3]), atol=1e-5, rtol=1e-5)
    with pytest.raises(DataError, match=r"\(4, 1, 187\)"):
        model(torch.zeros(4, 1, 187))


def test_it_sees_beat_slope_and_end():
    beat = torch.tensor([[0.5, 0.7, 0.0, 0.2, 0.0, 0.0]])
    signal, slope, inside = HeartbeatNet.channels(beat)[0]
    torch.testing.assert_close(inside, torch.tensor([1.0, 1, 1, 1, 0, 0]))  # a zero within the beat is signal
    torch.testing.assert_close(signal, torch.tensor([0.0, 0.4, -1, -0.6, 0, 0]))
    torch.testing.assert_close(slope, torch.tensor([0.0, 1, -3.5, 1, 0, 0]))


def test_gradients_reach_every_weight():
    model = small(squeeze=True).train()
    model(torch.from_numpy(beats(4).beats)).square().sum().backward()
    assert all(weights.grad is not None and weights.grad.abs().sum() > 0 for weights in model.parameters())


def test_it_learns_what_can_be_learned():
    data, test = beats(180), beats(60, seed=2)
    loss = CrossEntropy(class_weights(data.label, 0.25), smoothing=0.02)
    model = fit(small(), (data.beats, data.label), loss=loss, epochs=12, batch_size=16, lr=0.02, ema_decay=0.9,
                augment=AugmentBeats()).model
    assert metrics.accuracy(test.label, predict(model, test.beats)) > 0.9


def lengths(rows):
    return (rows.flip(1) != 0).float().cumsum(1).gt(0).sum(1)


def test_augmented_beats_stay_beats():
    before, label = map(torch.from_numpy, vars(beats(300)).values())
    after, labels = AugmentBeats()(before, label, torch.Generator().manual_seed(0))
    assert torch.equal(labels, label)
    assert after.shape == before.shape and after.dtype == torch.float32 and after.min() >= 0 and after.max() < 1.5
    assert 0.005 < (after - before).abs().mean() < 0.15
    ratio = lengths(after) / lengths(before)
    assert 0.75 < ratio.min() and ratio.max() < 1.25 and ratio.std() > 0.01
    inside = torch.arange(187) < lengths(after)[:, None]
    assert (after[inside] > 0).all() and (after[~inside] == 0).all(), "padding stays padding"


def test_augmentation_repeats_with_its_generator_and_can_do_nothing():
    before = torch.from_numpy(beats(20).beats)
    first, again, other = (AugmentBeats()(before, None, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    torch.testing.assert_close(first, again)
    assert not torch.equal(first, other)
    after, _ = AugmentBeats(stretch=0, bend=0, wander=0, noise=0)(before, None)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


# ---- maps and voltages ----

@pytest.fixture(scope="module")
def hearts():
    """A little heart, 48 cases: one hidden time moves the ECG, the map and the voltages together."""
    rng = np.random.default_rng(0)
    onset, spread = rng.uniform(60, 140, (48, 1)), rng.uniform(-1, 1, (48, 1))
    time = np.arange(500)
    eight = np.stack([(lead - 3.5 + spread) * np.exp(-((time - onset - 3 * lead) / 12) ** 2)
                      for lead in range(8)], axis=1)
    activation = onset + spread * np.linspace(-20, 20, 75)
    since = time - activation[..., None]
    ecg = from_independent(eight.astype(np.float32) + rng.normal(0, 0.01, eight.shape).astype(np.float32))
    return SimpleNamespace(ecg_mv=ecg, activation_ms=activation.astype(np.float32),
                           voltage_mv=(-85 + 105 * ((since > 0) & (since < 240))).astype(np.float32))


TRAIN, VALID, TEST = slice(0, 32), slice(32, 40), slice(40, 48)


def test_it_learns_the_maps_keeps_absolute_time_and_calibrates_its_spread_on_the_validation_cases(hearts):
    torch.manual_seed(0)
    net = ActivationNet(width=16).fit_scaling(hearts.ecg_mv[TRAIN], hearts.activation_ms[TRAIN])
    train, valid = ((hearts.ecg_mv[rows], hearts.activation_ms[rows]) for rows in (TRAIN, VALID))
    fit(net, train, valid, loss=laplace_loss, score=lambda t, o: metrics.mae_ms(t, o[:, 0]), maximize=False, epochs=25,
        batch_size=8, augment=Augment(), weight_decay=0.05)
    calibrate_spread(net, predict(net, valid[0]), valid[1])
    time_ms, spread_ms = times_and_spreads(predict(net, hearts.ecg_mv[TEST]))
    assert time_ms.shape == spread_ms.shape == (8, 75) and (spread_ms > 0).all()
    truth, mean_map = hearts.activation_ms[TEST], hearts.activation_ms[TRAIN].mean(axis=0)
    assert metrics.mae_ms(truth, time_ms) < 0.4 * metrics.mae_ms(truth, np.tile(mean_map, (8, 1)))
    later = read_at(torch.as_tensor(hearts.ecg_mv[TEST]), torch.arange(500.0).expand(8, 1, 500) - 8).numpy()
    assert np.mean(predict(net, later)[:, 0] - time_ms) == pytest.approx(8, abs=3)
    covered = metrics.coverage(valid[1], *times_and_spreads(predict(net, valid[0])))
    assert covered == pytest.approx(0.9, abs=0.02)


def test_what_cannot_be_learned_calibrated_or_read_is_named(hearts):
    unknown = np.where(np.arange(75) == 7, np.nan, hearts.activation_ms)
    with pytest.raises(DataError, match=r"points \[7\] have no known activation"):
        ActivationNet(width=8).fit_scaling(hearts.ecg_mv, unknown)
    with pytest.raises(DataError, match="nothing to calibrate"):
        calibrate_spread(ActivationNet(width=8), np.ones((48, 2, 75)), hearts.activation_ms * np.nan)
    with pytest.raises(DataError, match=r"expected \(cases, 2, 75\).*found \(4, 75\)"):
        times_and_spreads(np.zeros((4, 75)))


def test_it_learns_voltages(hearts):
    torch.manual_seed(0)
    model = VoltageNet(widths=(16, 24, 24, 32)).fit_scaling(hearts.ecg_mv[TRAIN], hearts.voltage_mv[TRAIN])
    train, valid = ((hearts.ecg_mv[rows], hearts.voltage_mv[rows]) for rows in (TRAIN, VALID))
    fit(model, train, valid, loss=nn.functional.l1_loss, score=metrics.mae_mv, maximize=False, epochs=20, batch_size=8,
        lr=1e-2, augment=Augment())
    truth, mean = hearts.voltage_mv[TEST], hearts.voltage_mv[TRAIN].mean(axis=0)
    predicted = predict(model, hearts.ecg_mv[TEST])
    assert predicted.shape == (8, 75, 500)
    assert metrics.mae_mv(truth, predicted) < 0.6 * metrics.mae_mv(truth, np.tile(mean, (8, 1, 1)))


def test_it_draws_what_it_was_given():
    """Traces that are moved and stretched copies of one shape come back from their times and durations alone."""
    rng = np.random.default_rng(0)
    time_ms, duration_ms = rng.uniform(20, 90, (12, 75)), rng.uniform(250, 330, (12, 75))
    since = np.arange(500) - time_ms[..., None]
    stretched = np.where(since < 40, since, 40 + (since - 40) * 260 / (duration_ms[..., None] - 40))
    shape = lambda s: -85 + 105 / (1 + np.exp(-s / 1.5)) - 105 / (1 + np.exp(-(s - 290) / 12))
    voltage_mv = shape(stretched).astype(np.float32)
    net = ActionPotentialNet(shapes=2, timing=dict(width=8))
    net.fit_scaling(rng.normal(size=(12, 12, 500)).astype(np.float32), voltage_mv, time_ms, duration_ms)
    drawn = net.draw(torch.as_tensor(time_ms), torch.as_tensor(duration_ms), torch.zeros(12, 2, 75)).numpy()
    assert np.abs(drawn - voltage_mv).mean() < 1.0


@pytest.fixture(scope="module")
def drawing(hearts):
    """An untrained ActionPotentialNet that knows the shapes of the little heart, and the parts of its voltages."""
    torch.manual_seed(0)
    duration_ms = np.full((48, 75), 240.0)
    net = ActionPotentialNet(shapes=2, timing=dict(width=16))
    net.fit_scaling(hearts.ecg_mv[TRAIN], hearts.voltage_mv[TRAIN], hearts.activation_ms[TRAIN], duration_ms[TRAIN])
    return net, net.parts_of(hearts.voltage_mv, hearts.activation_ms, duration_ms)


def test_voltages_come_back_from_their_parts(hearts, drawing):
    net, parts = drawing
    duration_ms = net.usual_duration_ms * torch.as_tensor(parts[:, 1] / 100).exp()
    drawn = net.draw(torch.as_tensor(parts[:, 0]), duration_ms, torch.as_tensor(parts[:, 2:])).numpy()
    assert np.abs(drawn - hearts.voltage_mv).mean() < 1.0
    unknown = net.parts_of(hearts.voltage_mv[:2], np.where(np.arange(75) == 7, np.nan, hearts.activation_ms[:2]),
                           np.full((2, 75), 240.0))
    assert np.isnan(unknown[:, [0, *range(2, 4)], 7]).all() and np.isfinite(np.delete(unknown, 7, axis=2)).all()


def test_the_loss_of_parts_is_least_at_the_truth_and_leaves_out_what_is_unknown(drawing):
    target = torch.as_tensor(drawing[1][:4])
    right = torch.cat([target[:, :1], torch.ones_like(target[:, :1]), target[:, 1:]], dim=1)
    for place in range(2, right.shape[1]):
        wrong = right.clone()
        wrong[:, place] += 1
        assert parts_loss(wrong, target) == pytest.approx(float(parts_loss(right, target)) + 0.2, abs=1e-4)
    target[0, 2:, :9] = torch.nan
    output = right.clone().requires_grad_()
    parts_loss(output, target).backward()
    assert torch.isfinite(output.grad).all() and (output.grad[0, 3:, :9] == 0).all()
    voltage = torch.zeros(2, 75, 500)
    assert parts_loss(voltage + 3, voltage) == pytest.approx(3)


def test_the_drawing_network_learns_parts_and_agrees_with_itself(hearts, drawing):
    net, parts = drawing
    fit(net, (hearts.ecg_mv[TRAIN], parts[TRAIN]), (hearts.ecg_mv[VALID], hearts.voltage_mv[VALID]), loss=parts_loss,
        score=metrics.mae_mv, maximize=False, epochs=12, batch_size=8, augment=Augment())
    truth, mean = hearts.voltage_mv[TEST], hearts.voltage_mv[TRAIN].mean(axis=0)
    drawn = predict(net, hearts.ecg_mv[TEST])
    assert drawn.shape == (8, 75, 500)
    assert metrics.mae_mv(truth, drawn) < 0.5 * metrics.mae_mv(truth, np.tile(mean, (8, 1, 1)))
    stated, _ = times_and_spreads(predict(net.timing, hearts.ecg_mv[TEST]))
    assert metrics.mae_ms(upstroke_ms(drawn), stated) < 1, "tasks 3 and 4 agree by construction"


@pytest.mark.parametrize("loss, shape, words", [
    (laplace_loss, (4, 75), "times and spreads"), (laplace_loss, (4, 2, 74), "(4, 75)"),
    (masked_l1, (4, 1), "answers (4, 1), the targets are (4, 75)"), (masked_l1, (4, 2, 75), "(4, 2, 75)")])
def test_a_loss_does_not_stretch_an_answer_of_another_shape(loss, shape, words):
    with pytest.raises(DataError, match=re.escape(words)):
        loss(torch.ones(shape), torch.ones(4, 75))


@pytest.mark.parametrize("loss", [laplace_loss, lambda output, target: masked_l1(output[:, 0], target)])
def test_missing_labels_have_no_gradient(loss):
    output = (torch.randn(2, 2, 75).abs() + 1).requires_grad_()
    target = torch.full((2, 75), 50.0)
    target[:, :10] = float("nan")
    value = loss(output, target)
    value.backward()
    assert torch.isfinite(value) and (output.grad[..., :10] == 0).all() and (output.grad[:, 0, 10:] != 0).all()


def test_augmentation_moves_the_answer_with_the_signal_and_keeps_the_leads_consistent(hearts):
    ecg = torch.as_tensor(hearts.ecg_mv[:6])
    only_shift = Augment(**NO_CHANGE | dict(shift_ms=10))
    moved, times = only_shift(ecg, torch.zeros(6, 75), torch.Generator().manual_seed(3))
    assert len(set(times[:, 0].tolist())) > 1 and (times == times[:, :1]).all()
    for case, shift in zip(range(6), times[:, 0].long().tolist()):
        a, b = (moved[case, :, max(shift, 0):500 + min(shift, 0)], ecg[case, :, max(-shift, 0):500 - max(shift, 0)])
        assert torch.allclose(a, b, atol=1e-4)
    _, voltage = only_shift(ecg, torch.as_tensor(hearts.voltage_mv[:6]), torch.Generator().manual_seed(3))
    assert torch.equal(voltage, read_at(torch.as_tensor(hearts.voltage_mv[:6]), torch.arange(500) - times[:, :1, None]))
    same, _ = Augment(**NO_CHANGE)(ecg, times, torch.Generator().manual_seed(3))
    assert torch.allclose(same, ecg, atol=1e-5)
    ecg, _ = Augment()(ecg, torch.zeros(6, 75), torch.Generator().manual_seed(0))
    assert torch.allclose(ecg[:, 2], ecg[:, 1] - ecg[:, 0], atol=1e-5)  # III = II - I


def test_in_a_slower_heart_the_wave_and_its_label_come_later_by_the_same_share():
    slower = Augment(**NO_CHANGE | dict(slower=0.3))
    when = torch.tensor([[60.0], [100.0]]).expand(2, 75)
    wave = torch.exp(-((torch.arange(500) - when[:, :1]) / 20) ** 2)[:, None].expand(2, 12, 500)
    ecg, times = slower(from_independent(wave[:, EIGHT]), when, torch.Generator().manual_seed(0))
    _, voltage = slower(ecg, wave[:, :1].expand(2, 75, 500), torch.Generator().manual_seed(0))
    assert (times - when).abs().min() > 2
    for found in (ecg[:, 0], voltage[:, 0]):
        assert torch.allclose(found.argmax(1).float(), times[:, 0], atol=0.6)
    parts = torch.stack([when, torch.full_like(when, 5.0), torch.ones_like(when)], dim=1)
    _, moved = slower(ecg, parts, torch.Generator().manual_seed(0))
    assert torch.equal(moved[:, 0], times) and torch.equal(moved[:, 2], parts[:, 2])
    assert torch.allclose(moved[:, 1], 5 + 100 * (times / when).log(), atol=1e-3), "durations grow with the times"


def test_a_heart_that_lies_turned_keeps_the_size_of_its_dipole():
    ecg = from_independent(DIPOLE @ torch.randn(4, 3, 500, generator=torch.Generator().manual_seed(0)))
    turn = Augment(**NO_CHANGE | dict(turn=0.5))
    turned, _ = turn(ecg, torch.zeros(4, 75), torch.Generator().manual_seed(1))
    before, after = (torch.linalg.pinv(DIPOLE) @ some[:, EIGHT] for some in (ecg, turned))
    assert torch.allclose(before.norm(dim=1), after.norm(dim=1), atol=1e-3) and (before - after).abs().max() > 0.1


def test_other_cells_change_what_follows_the_upstroke_and_not_when_it_comes():
    """A front through many cells, and through cells whose plateau has sunk: the filter finds one from the other."""
    since = torch.arange(500.0) - 100
    voltage = torch.sigmoid(since) * (1 + 0.8 * torch.exp(-since.clamp(min=0) / 10))  # a notch of 10 ms
    ecg = from_independent((voltage - voltage[0]).expand(64, 8, 500))
    cells = Augment(**NO_CHANGE | dict(cells=0.5))
    changed, times = cells(ecg, torch.zeros(64, 75), torch.Generator().manual_seed(0))
    assert torch.equal(times, torch.zeros(64, 75))
    assert torch.allclose(changed[..., :85], ecg[..., :85], atol=1e-2), "nothing comes before the upstroke"
    last, slope = changed[:, 1, 400], changed[:, 1].diff(dim=1).argmax(dim=1)
    assert last.min() < 0.75 and last.max() > 1.3 and (slope.float() - 100).abs().max() <= 2
    assert (changed - ecg).flatten(1).abs().amax(dim=1).min() < 1e-4, "some rows stay as they are"
    same, _ = cells(ecg, torch.zeros(64, 75, 500), torch.Generator().manual_seed(0))
    assert torch.allclose(same, ecg, atol=1e-5), "where voltages are the answer, cells stay as they are"
    parts = torch.zeros(64, 3, 75)
    parts[::2, 1:] = torch.nan
    some, _ = cells(ecg, parts, torch.Generator().manual_seed(0))
    assert torch.equal(some[::2], changed[::2]) and torch.allclose(some[1::2], ecg[1::2], atol=1e-5), "only times known"


@pytest.mark.parametrize("net", [ActivationNet(width=8), VoltageNet(widths=(8, 8, 8, 8)), HeartbeatNet(3, 8, (1, 1)),
                                 ActionPotentialNet(timing=dict(width=8)), KnownEcgs(4)])
def test_each_network_is_saved_loaded_and_exported(net, hearts, tmp_path):
    rows = beats(8).beats if isinstance(net, HeartbeatNet) else hearts.ecg_mv[:8]
    save(tmp_path / "net.npz", net)
    np.testing.assert_allclose(predict(load(tmp_path / "net.npz"), rows), predict(net, rows), atol=1e-4)
    several = {0: torch.export.Dim("rows", min=1, max=1 << 20)}
    program = torch.export.export(net.eval(), (torch.as_tensor(rows[:2]),), dynamic_shapes=(several,)).module()
    torch.testing.assert_close(program(torch.as_tensor(rows[3:])), net(torch.as_tensor(rows[3:])), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change, words", [
    (lambda e: e.swapaxes(1, 2), "transposed"), (lambda e: e * 1000, "microvolts"), (lambda e: e * np.nan, "NaN"),
    (lambda e: e[..., :499], "500"), (lambda e: np.where(np.arange(12)[:, None] == 8, 0, e), "flat"),
    (lambda e: e[:, ::-1], "II is not I"), (lambda e: e[:, :8], "Eight leads"),
])
def test_a_wrong_ecg_is_refused_with_the_reason_before_training_and_prediction(hearts, change, words):
    net, wrong = ActivationNet(width=8), change(hearts.ecg_mv[:4])
    with pytest.raises(DataError, match=words):
        predict(net, wrong)
    with pytest.raises(DataError, match=words.replace("NaN", "row 0 holds NaN")):
        fit(net, (wrong, hearts.activation_ms[:4]), loss=laplace_loss, epochs=1)


def test_what_is_unlike_the_known_ecgs(hearts):
    known = KnownEcgs(6).fit(hearts.ecg_mv[TRAIN])
    unlike = lambda ecg_mv: predict(known, np.float32(ecg_mv))
    new, rng = hearts.ecg_mv[TEST], np.random.default_rng(0)
    assert (unlike(hearts.ecg_mv[TRAIN]) <= 1).mean() > 0.9 and unlike(new).max() < 2 < unlike(10 * new).min()
    wider = lambda ecg_mv: known.widening(torch.from_numpy(np.float32(ecg_mv))).numpy()
    assert np.median(wider(hearts.ecg_mv[TRAIN])) == pytest.approx(1, rel=1e-3)
    assert wider(new[..., ::-1].copy()).min() > np.median(wider(new))
    assert wider(10 * new) == pytest.approx(wider(new), rel=1e-3)
    assert unlike(new[..., ::-1]).min() > 2 and unlike(from_independent(rng.normal(0, 0.5, (4, 8, 500)))).min() > 2


def test_template_lines_up_upstrokes(hearts):
    template = Template().fit(hearts.voltage_mv, hearts.activation_ms)
    assert metrics.mae_mv(hearts.voltage_mv, template.predict(hearts.activation_ms)) < 1.5
    assert template.shape_mv[0] == pytest.approx(-85, abs=1) and template.shape_mv[120] == pytest.approx(20, abs=1)
