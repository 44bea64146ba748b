"""fit and predict: what they promise, and what they say when something is wrong."""
import json
import os
import signal
import subprocess
import sys
import warnings
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from cardiac_ml import metrics, training
from cardiac_ml.files import ROOT, DataError
from cardiac_ml.models import CrossEntropy, HeartbeatNet, class_weights, laplace_loss, transfer
from cardiac_ml.training import TrainingStopped, load, predict, probabilities, save

fit = partial(training.fit, precision="float32", device="cpu")
QUICK = dict(batch_size=16, lr=0.02, ema_decay=0.9)  # for networks and data as small as these


def beats(rows=120, classes=3, seed=0):
    """Rows of noise with a bump whose width is the class."""
    rng = np.random.default_rng(seed)
    label = np.arange(rows) % classes
    signal_ = rng.uniform(0.1, 0.4, (rows, 64)).astype(np.float32)
    for row, c in enumerate(label):
        place = rng.integers(5, 30)
        signal_[row, place:place + 2 + 8 * c] += 0.6
    return signal_, label


def small(classes=3, seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return HeartbeatNet(classes, width=8, depths=(1, 1), dropout=dropout)


class Line(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.layer(x)


def noting(what):
    """(an augmentation that changes nothing, the list of ``what(inputs, targets, generator)`` at each of its calls)"""
    noted = []

    def augment(inputs, targets, generator):
        noted.append(what(inputs, targets, generator))
        return inputs, targets
    return augment, noted


def best_of(fitted):
    return fitted.history.set_index("epoch")["score"][fitted.history.attrs["best_epoch"]]


def weights_of(model):
    return torch.cat([value.double().flatten() for value in model.state_dict().values()])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# ---- what it promises ----

def test_it_learns_without_a_warning_and_keeps_the_best_epoch():
    train, valid = beats(seed=0), beats(60, seed=1)
    with warnings.catch_warnings(action="error"):
        fitted = fit(small(), train, valid, score=metrics.macro_f1, epochs=6, **QUICK)
    assert max(fitted.history["score"]) == best_of(fitted) > 0.95
    assert metrics.macro_f1(valid[1], predict(fitted.model, valid[0])) == best_of(fitted)
    assert fitted.history.attrs["score"] == "macro f1" and len(fitted.history) == 6


def test_the_same_seed_gives_the_same_weights_another_seed_or_average_others():
    runs = [dict(seed=3), dict(seed=3), dict(seed=4), dict(seed=3, ema_decay=0)]
    first, again, *others = (weights_of(fit(small(dropout=0.3), beats(), epochs=2, **run).model)
                             for run in runs)
    assert torch.equal(first, again)
    assert not any(torch.equal(first, other) for other in others)


def test_random_numbers_and_threads_of_the_caller_are_left_alone():
    model, threads = small(), torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(model, beats(), epochs=1)
    assert torch.equal(torch.rand(1), expected) and torch.get_num_threads() == threads


@pytest.mark.parametrize("scores, maximize, best", [([0.5, 0.2, 0.3], True, 1), ([0.5, 0.2, 0.3], False, 2),
                                                    ([float("nan"), 0.2, float("nan")], True, 2)])
def test_the_best_epoch_is_that_of_the_largest_or_smallest_score(scores, maximize, best):
    left = iter(scores)
    fitted = fit(small(), beats(), beats(30), score=lambda t, o: next(left), maximize=maximize, epochs=3)
    assert fitted.history.attrs["best_epoch"] == best and best_of(fitted) == scores[best - 1]


# ---- regression, sequences, missing targets, two outputs a target, augmentation ----

def test_regression_with_missing_targets():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = (x @ np.array([[1, 0], [2, -1], [0, 3]])).astype(np.float32)
    y[rng.random(y.shape) < 0.3] = np.nan

    def known_only(output, target):
        known = torch.isfinite(target)
        return ((output - torch.where(known, target, 0)).square() * known).sum() / known.sum()
    model = fit(Line(3, 2), (x, y), (x[:50], y[:50]), loss=known_only, epochs=30, lr=0.1, ema_decay=0.9,
                weight_decay=0).model
    np.testing.assert_allclose(model.layer.weight.detach(), [[1, 2, 0], [0, -1, 3]], atol=0.05)


def test_a_stated_spread_finds_the_noise():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 1)).astype(np.float32)
    y = (x[:, 0] + 0.3 * rng.normal(size=2000)).astype(np.float32)

    def likelihood(output, target):
        return (output[:, 1] + (target - output[:, 0]).square() / (2 * torch.exp(2 * output[:, 1]))).mean()
    model = fit(Line(1, 2), (x, y), loss=likelihood, epochs=20, lr=0.05, ema_decay=0.9).model
    assert np.exp(predict(model, x)[:, 1].mean()) == pytest.approx(0.3, abs=0.05)


def test_sequences_out_and_an_augmentation_that_moves_inputs_and_targets():
    x = np.random.default_rng(0).normal(size=(200, 2, 30)).astype(np.float32)
    steps, model = [], nn.Conv1d(2, 1, 1)

    def shifted(inputs, targets, generator):
        steps.append(int(torch.randint(1, 5, (1,), generator=generator)))
        return inputs.roll(steps[-1], 2), targets.roll(steps[-1], 2)
    fitted = fit(model, (x, x[:, :1] - x[:, 1:]), loss=nn.functional.mse_loss, augment=shifted, epochs=40, lr=0.1,
                 ema_decay=0.9, weight_decay=0)
    np.testing.assert_allclose(model.weight.detach()[0, :, 0], [1, -1], atol=0.05)
    assert len(steps) == 40 * 4 and len(set(steps)) > 1 and predict(fitted.model, x).shape == (200, 1, 30)


def test_augmentations_draw_the_same_for_the_same_seed_and_other_numbers_each_epoch():
    augment, drawn = noting(lambda x, y, generator: float(torch.rand(1, generator=generator)))
    for _ in range(2):
        fit(small(), beats(30), epochs=2, batch_size=30, augment=augment, seed=1)
    assert drawn[:2] == drawn[2:] and drawn[0] != drawn[1]


def test_class_weights_even_out_the_classes_and_are_one_on_average():
    labels = np.repeat([0, 1, 2], [90, 9, 1])
    weights = class_weights(labels)
    np.testing.assert_allclose(weights[labels].mean(), 1, rtol=1e-6)
    np.testing.assert_allclose(weights * [90, 9, 1], 100 / 3, rtol=1e-5)
    half = class_weights(labels, 0.5)
    np.testing.assert_allclose(half[2] / half[0], np.sqrt(90), rtol=1e-5)
    assert np.isfinite(class_weights(np.array([0, 0, 2]))).all()  # class 1 has no rows


def test_sample_weight_draws_rare_rows_more_often():
    labels, inputs = np.repeat([0, 1], [180, 20]), np.random.default_rng(0).random((200, 64)).astype(np.float32)
    augment, drawn = noting(lambda x, y, generator: y.tolist())
    fit(small(2), (inputs, labels), epochs=4, sample_weight=class_weights(labels)[labels], augment=augment)
    assert len(sum(drawn, [])) == 800 and np.mean(sum(drawn, [])) == pytest.approx(0.5, abs=0.08)


def test_no_minibatch_is_left_with_a_single_row():
    augment, sizes = noting(lambda x, y, generator: len(x))
    fit(small(), beats(65), epochs=1, batch_size=16, augment=augment)
    assert sizes == [13] * 5


# ---- checkpoints, interruptions ----

class Stop(Exception):
    pass


def stop():
    raise Stop


def stopping_at(step, stop=stop):
    """An augmentation that stops at its call number ``step``."""
    calls = count(1)

    def augment(inputs, targets, generator):
        if next(calls) == step:
            stop()
        return inputs + 0.01 * torch.rand(inputs.shape, generator=generator), targets
    return augment


@pytest.mark.parametrize("step", [9, 13])  # 4 steps an epoch
def test_a_broken_run_ends_like_an_unbroken_one_and_a_finished_one_is_not_trained_again(tmp_path, step):
    options = dict(train=beats(64), valid=beats(30, seed=1), epochs=4, batch_size=16, score=metrics.accuracy, seed=2)
    whole = fit(small(dropout=0.3), augment=stopping_at(0), **options)
    options |= dict(checkpoint=tmp_path / "c.pt")
    with pytest.raises(Stop):
        fit(small(dropout=0.3), augment=stopping_at(step), **options)
    resumed = fit(small(seed=9, dropout=0.3), augment=stopping_at(0), **options)
    assert whole.history["train_loss"].equals(resumed.history["train_loss"]) and len(resumed.history) == 4
    again = fit(small(seed=7, dropout=0.3), augment=stopping_at(1), **options)
    assert torch.equal(weights_of(whole.model), weights_of(resumed.model))
    assert torch.equal(weights_of(whole.model), weights_of(again.model))
    assert list(tmp_path.iterdir()) == [tmp_path / "c.pt"]


@pytest.mark.parametrize("change, named", [(dict(model=small(4)), "head"), (dict(epochs=3), "epochs was 2, is 3"),
                                           (dict(train=beats(60)), "data"), (dict(seed=1), "seed")])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change, named):
    base = dict(model=small(), train=beats(), epochs=2, seed=0)
    fit(**base, checkpoint=tmp_path / "c.pt")
    before = (tmp_path / "c.pt").read_bytes()
    with pytest.raises(DataError, match=named):
        fit(**(base | change), checkpoint=tmp_path / "c.pt")
    assert (tmp_path / "c.pt").read_bytes() == before


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:len(b) // 2], lambda b: b"not a checkpoint",
                                    lambda b: b[:len(b) // 2] + bytes([b[len(b) // 2] ^ 4]) + b[len(b) // 2 + 1:]])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    fit(small(), beats(), epochs=1, checkpoint=tmp_path / "c.pt")
    (tmp_path / "c.pt").write_bytes(damage((tmp_path / "c.pt").read_bytes()))
    with pytest.raises(DataError, match="c.pt is not a checkpoint"):
        fit(small(), beats(), epochs=1, checkpoint=tmp_path / "c.pt")


def test_no_pickled_code_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)
    torch.save({"training": Evil()}, tmp_path / "c.pt")
    with pytest.raises(DataError):
        fit(small(), beats(), epochs=1, checkpoint=tmp_path / "c.pt")
    np.savez(tmp_path / "m.npz", **{"card.json": "{}", "weights": np.array([Evil()], object)})
    with pytest.raises(DataError, match="allow_pickle=False"):
        load(tmp_path / "m.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_killed_at_any_moment_a_training_ends_as_an_undisturbed_one(tmp_path):
    from tools.kill_tests import checkpoints
    assert checkpoints(tmp_path, kills=6) == []


def test_interrupting_returns_the_best_so_far():
    train, valid = beats(64), beats(30, seed=1)
    press_stop = stopping_at(11, lambda: signal.raise_signal(signal.SIGINT))
    fitted = fit(small(), train, valid, score=metrics.accuracy, augment=press_stop, epochs=9, batch_size=16)
    assert fitted.history.attrs["ended"] == "interrupted" and len(fitted.history) == 2
    assert metrics.accuracy(valid[1], predict(fitted.model, valid[0])) == best_of(fitted)


def test_a_trained_body_under_a_new_head():
    trained = fit(small(3), beats(), epochs=2).model
    model = transfer(trained, small(2, seed=7))
    body = weights_of(model.body)
    assert torch.equal(body, weights_of(trained.body)) and model.head[1].out_features == 2
    x, y = beats(60, 2)
    model.body.requires_grad_(False)
    frozen = fit(model, (x, y), epochs=3, **QUICK).model
    assert torch.equal(weights_of(frozen.body), body), "a frozen body keeps its weights and its normalisation"
    model.body.requires_grad_(True)
    fit(model, (x, y), epochs=5, **QUICK)
    assert not torch.equal(weights_of(model.body), body)
    assert metrics.accuracy(y, predict(model, x)) > 0.9
    with pytest.raises(DataError, match="no weights in common"):
        transfer(trained, HeartbeatNet(width=16))


# ---- bad input ----

def test_classes_missing_from_a_split_are_named():
    x, y = beats(60)
    with pytest.warns(UserWarning, match=r"\[2\] are in valid but not in train"):
        fit(small(), (x[y < 2], y[y < 2]), (x, y), epochs=1)
    with pytest.warns(UserWarning, match=r"\[1, 2\] are not in valid"):
        fitted = fit(small(), (x, y), (x[y == 0], y[y == 0]), score=metrics.macro_f1, epochs=1)
    assert np.isfinite(fitted.history["score"]).all()


X, Y = beats(30)


@pytest.mark.parametrize("arguments, words", [
    (dict(train=(X, np.where(Y == 0, 3, Y))), "class 3, but the network has 3 outputs"),
    (dict(train=(X, Y - 1)), "class -1.*counted from 0"),
    (dict(train=(X, Y.astype(float))), "float64.*give fit a loss"),
    (dict(train=(X[:0], Y[:0])), "train has no rows"),
    (dict(loss="l1"), "a function as its loss; here they are a .* and l1"),
    (dict(valid=(X[:0], Y[:0])), "valid has no rows.*valid=None"),
    (dict(train=(X, Y[:29])), "30 inputs and 29 targets"),
    (dict(valid=(X[0], Y[0])), r"valid is a single case.*\(x\[:1\], y\[:1\]\)"),
    (dict(train=(np.where(np.arange(30)[:, None] == 7, np.nan, X), Y)), "train inputs: row 7"),
    (dict(train=X, valid=Y), "train is a pair of arrays"),
    (dict(train=(Y, X)), r"train is inputs \(30,\) and targets \(30, .*swapped"),
    (dict(sample_weight=[1, 2, 3]), r"sample_weight has shape \(3,\), expected \(30,\)"),
    *((dict([(name, -1)]), f"{name} is -1") for name in ("lr", "epochs", "batch_size")),
    *((dict([(name, 2.5)]), f"{name} is 2.5; it must be a whole number") for name in ("epochs", "batch_size")),
])
def test_what_fit_cannot_use_is_named(arguments, words):
    with pytest.raises(DataError, match=words):
        fit(small(), **dict(train=(X, Y), epochs=1) | arguments)
    with pytest.raises(DataError, match="trains a torch.nn.Module, such as MapNet.*a type and"):
        fit(nn.Linear, (X, Y))


def test_one_row_is_enough_and_without_validation_the_last_weights_are_kept():
    x, y = beats(1)
    fitted = fit(small(), (x, y), epochs=2)
    assert np.isfinite(predict(fitted.model, x)).all()
    assert fitted.history["score"].isna().all() and fitted.history.attrs["best_epoch"] == 2


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_rows_give_finite_answers(value):
    x, y = np.full((30, 64), value, dtype=np.float32), np.arange(30) % 3
    fitted = fit(small(), (x, y), (x, y), epochs=2)
    assert np.isfinite(predict(fitted.model, x)).all() and np.isfinite(fitted.history["valid_loss"]).all()


@pytest.mark.parametrize("step, place", [(1, "minibatch 1 of epoch 1"), (10, "minibatch 2 of epoch 3")])
def test_a_loss_of_nan_stops_names_the_place_and_keeps_good_weights(step, place):
    calls = []

    def loss(output, target):
        calls.append(output.requires_grad)
        return nn.functional.cross_entropy(output, target) * (float("nan") if sum(calls) == step else 1)
    model, (x, y) = small(), beats(64)
    with pytest.raises(TrainingStopped, match=place):
        fit(model, (x, y), (x, y), loss=loss, epochs=4, batch_size=16)
    assert torch.isfinite(weights_of(model)).all() and np.isfinite(predict(model, x)).all()


def test_targets_of_nan_name_the_masked_loss():
    x, y = np.random.default_rng(0).normal(size=(2, 40, 3)).astype(np.float32)
    y[::4, 1] = np.nan
    with pytest.raises(TrainingStopped, match="10 of 120 targets are NaN .*masked_l1"):
        fit(Line(3, 3), (x, y), loss=nn.functional.l1_loss, epochs=2)
    for name in ("train", "valid"):
        with pytest.raises(DataError, match=f"all 120 {name} targets are NaN"):
            fit(Line(3, 3), **{"train": (x, x), "valid": (x, x), name: (x, y * np.nan)}, loss=laplace_loss)
    with pytest.raises(TrainingStopped, match="score is NaN because 10 of 120 valid targets are NaN"):
        fit(Line(3, 3), (x, x), (x, y), loss=nn.functional.l1_loss, epochs=2)


def test_a_network_whose_outputs_are_not_finite_is_never_returned():
    x, y = beats(64)
    with pytest.raises(TrainingStopped, match="smaller lr"):
        fit(small(), (x, y), (x, y), score=lambda t, o: 1.0, epochs=2, lr=1e30,
            loss=lambda o, t: o.clamp(-1, 1).sum() * 0 + 1 + 1e-9 * o.nan_to_num().sum())
    with pytest.raises(TrainingStopped, match="all weights"):  # without validation: the last step broke it
        fit(Line(64, 3), (x[:2], y[:2]), epochs=1, lr=1e38, weight_decay=1e38)


def test_a_full_gpu_says_which_batch_size_to_try():
    class Full(HeartbeatNet):
        def forward(self, x):
            if self.training:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return super().forward(x)
    with pytest.raises(DataError, match=r"batch_size=48\. Try batch_size=24"):
        fit(Full(3, width=8, depths=(1,)), beats(), epochs=1, batch_size=48)


def test_predict_is_the_same_in_any_batches_and_leaves_the_model_as_it_was():
    model, (x, _) = small(dropout=0.5).train(), beats(50)
    np.testing.assert_allclose(predict(model, x, batch_size=7), predict(model, x), atol=1e-5)
    assert model.training and predict(model, x).dtype == np.float32
    with pytest.raises(DataError, match="takes an array, data.ecg_mv or data.beats, not all of a Heartbeats"):
        predict(model, type("Heartbeats", (list,), dict(table=None))(x))
    with pytest.raises(DataError, match="nothing to predict"):
        predict(model, x[:0])
    for net in (nn.Linear(x.shape[1], 3), nn.Conv1d(1, 1, 3)):
        with pytest.raises(DataError, match=r"cannot take inputs of shape \(\d+,\).*a single case .* case\[None\]"):
            predict(net, x[0])


def test_probabilities_add_up_even_for_huge_scores():
    p = probabilities([[1000, 0, -1000], [0, 0, 0]])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(p[0], [1, 0, 0], atol=1e-9)


def test_cross_entropy_takes_classes_or_mixtures():
    scores, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    mixed = nn.functional.one_hot(labels, 3).float()
    for loss in (CrossEntropy(), CrossEntropy([1.0, 2.0, 3.0]), CrossEntropy(smoothing=0.1)):
        assert loss(scores, labels) == pytest.approx(float(loss(scores, mixed)), rel=1e-5)


# ---- the machine ----

def test_bfloat16_trains_as_well_where_the_processor_is_made_for_it():
    if training.pick_precision("auto", torch.device("cpu")) != "bfloat16":
        pytest.skip("this processor does not multiply in bfloat16")
    train, valid = beats(), beats(60, seed=1)
    fitted = training.fit(small(), train, valid, score=metrics.accuracy, epochs=6, **QUICK, device="cpu")
    assert best_of(fitted) > 0.95


class WrongInBfloat16(nn.Conv1d):
    """As torch 2.13 computes kernels of 8 on CPUs that multiply in bfloat16."""

    def forward(self, x):
        return -super().forward(x) if torch.is_autocast_enabled("cpu") else super().forward(x)


def test_a_network_is_validated_as_it_predicts_where_bfloat16_goes_wrong():
    """With all its outputs of the other sign, training would fit what ``predict`` never gives."""
    train, valid = beats(), beats(60, seed=1)
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), WrongInBfloat16(1, 8, 7), nn.ReLU(), nn.AdaptiveMaxPool1d(4),
                        nn.Flatten(), nn.Linear(32, 3))
    fitted = training.fit(net, train, valid, score=metrics.accuracy, epochs=3, **QUICK, device="cpu")
    assert best_of(fitted) == metrics.accuracy(valid[1], predict(fitted.model, valid[0]))
    assert training.pick_precision("auto", torch.device("cpu"), net) == "float32"


def test_bfloat16_is_not_chosen_on_a_processor_that_only_imitates_it():
    code = ("import torch; from cardiac_ml.training import pick_precision; "
            "print(pick_precision('auto', torch.device('cpu')))")
    told = subprocess.run([sys.executable, "-c", code], env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "float32"


def test_two_processes_train_one_network(tmp_path):
    """Plain DistributedDataParallel: both end with the same weights, and learn as one process does."""
    script = tmp_path / "two.py"
    script.write_text("""
import json, torch
from torch import distributed
from test_training import QUICK, beats, fit, small, weights_of
from cardiac_ml import metrics
fitted = fit(small(), beats(70), beats(30, seed=1), score=metrics.accuracy, epochs=5, **QUICK)
norms = [None, None]
distributed.all_gather_object(norms, float(weights_of(fitted.model.head).norm()))
if distributed.get_rank() == 0:
    print(json.dumps([norms, float(fitted.history["score"].max())]))
""")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    norms, score = json.loads(done.stdout.splitlines()[-1])
    assert norms[0] == pytest.approx(norms[1], rel=1e-6) and score > 0.9


# ---- saved networks ----

def test_a_saved_network_answers_the_same_and_knows_where_it_comes_from(tmp_path):
    model, (x, _) = small(dropout=0.4), beats(6)
    save(tmp_path / "m.npz", model, data="120 virtual beats", scores={"macro-F1": np.float32(0.5)}, seed=3)
    again = load(tmp_path / "m.npz")
    np.testing.assert_array_equal(predict(again, x), predict(model, x))
    assert again.card["data"] == "120 virtual beats" and again.card["scores"] == {"macro-F1": 0.5}
    assert again.card["seed"] == 3 and again.card["config"] == model.config
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]
    assert all(np.load(tmp_path / "m.npz")[name].dtype != object for name in np.load(tmp_path / "m.npz").files)


@pytest.mark.parametrize("changes, named", [
    (dict(format=99), "format 99; this version of the kit reads"),
    (dict(network="os.system"), "os.system, which is not a network of this kit"),
    (dict(network="cardiac_ml.models.Augment"), "not a network of this kit"),
    (dict(config=dict(classes=3, flavour=1)), "whose configuration .* this version of the kit does not know"),
    (dict(config=dict(classes=4, width=8, depths=[1, 1])), r"head.1.weight is \(3, .*\) in the file and \(4, "),
    (dict(config=dict(classes=3, width=10**6, depths=[1, 1])), "differs from this HeartbeatNet"),  # it takes no memory
    (dict(config=dict(classes=3, width=8, depths=[10**7])), "more than the [0-9]+ weights of the file"),
    (dict(network="cardiac_ml.absent.Net"), "not a network of this kit"),
])
def test_a_network_of_another_version_or_kind_is_refused(tmp_path, changes, named):
    save(tmp_path / "m.npz", small())
    card, weights = training.read_saved(tmp_path / "m.npz")
    np.savez(tmp_path / "m.npz", **weights, **{"card.json": np.array(json.dumps(card | changes))})
    with pytest.raises(DataError, match=named):
        load(tmp_path / "m.npz")


@pytest.mark.parametrize("arrays, words", [
    (dict(x=np.zeros(3)), "not a saved network"),
    ({"card.json": np.array([object()], dtype=object)}, "not a saved network"),
    ({"card.json": np.array("{}"), "head.1.bias": np.array([0, np.nan])}, "weights that are NaN"),
    ({"card.json": np.array("{}"), "bomb": np.zeros(10**8)}, "claims 800,"),
])
def test_archives_of_other_things_are_named(tmp_path, arrays, words):
    np.savez_compressed(tmp_path / "m.npz", **arrays)
    with pytest.raises(DataError, match=words):
        load(tmp_path / "m.npz")


def test_damaged_and_missing_files_are_named_and_nan_is_not_saved(tmp_path):
    path, model = tmp_path / "m.npz", small()
    with pytest.raises(DataError, match="no file"):
        load(path)
    whole = save(path, model).read_bytes()
    for content in (b"", b"hello", whole[:len(whole) // 2], whole[:3000] + bytes(500) + whole[3500:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a saved network, or it is damaged"):
            load(path)
    model.head[1].bias.data[0] = np.nan
    with pytest.raises(DataError, match="head.1.bias .*NaN"):
        save(path, model)


def test_your_own_network_is_saved_and_loaded_into_an_untrained_one(tmp_path):
    model = Line(4, 1)
    save(tmp_path / "m.npz", model)
    again = load(tmp_path / "m.npz", Line(4, 1))
    torch.testing.assert_close(again(torch.ones(1, 4)), model(torch.ones(1, 4)))
    with pytest.raises(DataError, match=r"give an untrained one: load\(.*, Line\(\)\)"):
        load(tmp_path / "m.npz")
    with pytest.raises(DataError, match="layer.weight is .*1, 4.* in the file and .*1, 5"):
        load(tmp_path / "m.npz", Line(5, 1))


class LooksAt(nn.Module):
    """Class 1 by the mean of samples 40 to 50, nothing else."""
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        score = 10 * self.weight * x[..., 40:50].mean(-1)
        return torch.stack([-score, score], -1)


def test_occlusion_points_to_what_the_network_looks_at():
    signals = np.full((3, 100), 0.2, dtype=np.float32)
    signals[:, 42:48] = 1
    found = training.occlusion(LooksAt(), signals, np.array([1, 1, 0]), width=9, step=1)
    assert found.shape == signals.shape
    assert (found[:2, 42:48] > 0.5).all() and np.abs(found[:, :30]).max() == 0 and np.abs(found[:, 60:]).max() == 0
    np.testing.assert_allclose(found[2], -found[0], atol=1e-5)


def test_hiding_a_part_draws_a_straight_line_and_spares_the_padding():
    beat, seen = np.array([[0.1, 0.9, 0.5, 0.3, 0.0, 0.0]], dtype=np.float32), []

    class Remembers(LooksAt):
        def forward(self, x):
            seen.append(x.numpy().copy())
            return self.weight * torch.zeros(len(x), 2)
    training.occlusion(Remembers(), beat, np.array([1]), width=4, step=2)
    np.testing.assert_allclose(seen[1], [[0.1, 0.1 + 0.2 / 3, 0.1 + 0.4 / 3, 0.3, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(seen[2], [[0.1, 0.9, 0.5, 0.5 * 2 / 3, 0, 0]], atol=1e-6)
