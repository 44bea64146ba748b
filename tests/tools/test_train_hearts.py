import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cardiac_ml import models, training
from cardiac_ml.leads import from_independent
from cardiac_ml.virtual.patient import Beats
from tools import train_hearts


@pytest.fixture(scope="module")
def heart():
    return train_hearts.simulate_heart(3, cases=4)  # of twice the usual spread


@pytest.fixture
def folder(heart, tmp_path, monkeypatch):
    """Four files of one heart, one of them kept for validation."""
    monkeypatch.setattr(train_hearts, "HEARTS_A_FILE", 1)
    monkeypatch.setattr(train_hearts, "VALID_FILES", 1)
    monkeypatch.setattr(train_hearts, "FIRST_FILES", 2)
    monkeypatch.setattr(train_hearts, "simulate_heart", lambda number: heart)
    train_hearts.simulate(tmp_path, 4)
    return tmp_path


def test_a_wide_heart_is_heard_in_two_bodies(heart):
    ecg_mv, voltage_mv = heart
    assert ecg_mv.shape == (4, train_hearts.HEARD, 8, 500) and voltage_mv.shape == (4, 75, 500)
    assert np.isfinite(ecg_mv).all() and np.isfinite(voltage_mv).all()
    assert len({round(float(one.std()), 6) for one in ecg_mv[0]}) == train_hearts.HEARD
    again, _ = train_hearts.simulate_heart(3, cases=4)
    assert np.array_equal(ecg_mv, again)


def test_hearts_are_made_once_and_not_by_two_at_a_time(folder, capsys):
    assert sorted(path.name for path in folder.iterdir()) == [f"hearts_{k:04d}.npz" for k in range(4)]
    capsys.readouterr()
    train_hearts.simulate(folder, 4)
    assert capsys.readouterr().out == ""
    (folder / "hearts_0002.npz").unlink()
    (folder / "hearts_0002.claim").write_text(str(os.getpid()))  # a process that lives
    train_hearts.simulate(folder, 4)
    assert not (folder / "hearts_0002.npz").exists()
    (folder / "hearts_0002.claim").write_text("999999999")  # one that was killed
    train_hearts.simulate(folder, 4)
    assert (folder / "hearts_0002.npz").exists() and not (folder / "hearts_0002.claim").exists()


def test_the_pool_gives_fresh_beats_with_their_own_answers(folder):
    parts_of = lambda mv: np.stack([train_hearts.upstroke_ms(mv)] + [np.full((len(mv), 75), 7, np.float32)] * 2, axis=1)
    pool = train_hearts.Pool(folder, parts_of)
    assert len(pool.ecg) == 12, "one of four files is for validation"
    (folder / "hearts_0000.npz").rename(folder / "late")  # not there yet: no other file takes its place
    assert len(train_hearts.Pool(folder, parts_of).ecg) == 12
    ecg_mv, parts = pool(torch.zeros(6, 12, 500), None, torch.Generator().manual_seed(0))
    unknown = torch.isnan(parts[:, 1:]).flatten(1)
    assert torch.equal(unknown.all(1), unknown.any(1)) and 0 < unknown.all(1).sum() < 6, "of some, times alone"
    assert ecg_mv.shape == (6, 12, 500) and torch.isfinite(ecg_mv).all() and ecg_mv.std() > 0
    assert torch.allclose(ecg_mv[:, 0] + ecg_mv[:, 2], ecg_mv[:, 1], atol=1e-4), "I + III = II"
    for times in parts[:, 0].numpy():
        beats = [np.asarray(beat[0], float) for beat in pool.target]
        off = [np.nanmax(np.abs(np.polyval(line_through(beat, times), beat) - times)) for beat in beats]
        assert min(off) < 0.01, "it is one of the beats, stretched and moved as a whole"


def line_through(x, y):
    known = np.isfinite(x) & np.isfinite(y)
    return np.polyfit(x[known], y[known], 1)


def test_a_body_between_bodies_hears_something_between_and_only_some_hear_other_cells():
    ecg_mv = torch.arange(2.0)[None, :, None, None].expand(200, 2, 8, 5)
    any_cells = torch.arange(200)[:, None] < 100
    heard = train_hearts.other_body(ecg_mv, any_cells, torch.Generator().manual_seed(0))[:, 0, 0]
    alone = (heard[:100, None] == torch.arange(2.0)).any(1)
    assert 35 < alone.sum() < 65 and set(heard[:100][alone].tolist()) == {0, 1}
    assert not heard[100:].any(), "only the body with the cells of the voltages"


def test_strange_cells_jump_when_ours_do_and_last_as_long_as_they_are_told():
    rng, level = np.random.default_rng(0), 12  # 300 ms
    drawn = [np.fft.irfft(train_hearts.strange_cells(rng)[:, level], train_hearts.signals.LONG) for _ in range(40)]
    drawn = np.roll(drawn, 20, axis=2)  # (cells, layers, ms since 20 before the upstroke)
    first = (drawn > drawn[:, :, 30:60].mean(axis=2, keepdims=True) / 2).argmax(axis=2) - 20
    last = (drawn > 40).cumsum(axis=2).argmax(axis=2) - 20
    assert np.abs(first).max() <= 1 and 280 < last.min() < 300 < last.max() < 320
    steepness = np.diff(drawn, axis=2).max(axis=2) / drawn.max(axis=2)
    alike = np.ptp(drawn, axis=1).max(axis=1) < 1e-3
    assert steepness.max() > 4 * steepness.min() and 10 < alike.sum() < 30
    notch = drawn[:, 0, 24:60].max(axis=1) / drawn[:, 0, 80]
    assert (notch < 1.05).any() and (notch > 1.2).any()


def test_a_muscle_that_conducts_alike_everywhere_sounds_different():
    patient = train_hearts.make_patient(step_mm=3.5)
    as_fibres, alike = (train_hearts.as_conductor(patient, share) for share in (1.0, 0.0))
    assert abs(as_fibres.stiffness - patient.stiffness).max() < 1e-6
    assert len(set(alike.speeds.muscle)) == 1 and abs(alike.stiffness - patient.stiffness).max() > 0.1


def test_a_patchy_muscle_still_makes_no_current_where_voltages_are_equal():
    patient = train_hearts.make_patient(step_mm=3.5)
    drawn = [train_hearts.patchy(np.random.default_rng(seed), patient) for seed in range(8)]
    assert {one is patient for one in drawn} == {True, False}, "every second one"
    changed = next(one for one in drawn if one is not patient)
    assert abs(changed.stiffness - patient.stiffness).max() > 0.1
    assert np.abs(changed.stiffness.sum(axis=1)).max() < 1e-3


def test_a_right_wall_that_is_heard_more_leaves_the_left_as_it_is():
    patient = train_hearts.make_patient(step_mm=3.5)
    drawn = [train_hearts.other_right(np.random.default_rng(seed), patient) for seed in range(8)]
    changed = next(one for one in drawn if one is not patient)
    assert {one is patient for one in drawn} == {True, False}, "every second one"
    off = np.abs((changed.stiffness - patient.stiffness).diagonal())
    far = patient.heart.is_left & (patient.heart.rv_endo_mm > 20)
    assert off[~patient.heart.is_left].max() > 0.1 and not off[far].any()
    assert (changed.stiffness.diagonal() > 0).all()


def test_a_beat_between_kinds_starts_somewhere_and_one_ventricle_may_be_late():
    heart = train_hearts.make_patient(step_mm=3.5).heart
    beats = [train_hearts.between(heart, np.random.default_rng(seed), 1.0) for seed in range(60)]
    first = [min(ms for _, ms in beat.sites) for beat in beats]
    assert all(np.isfinite(first)) and np.ptp(first) > 10
    assert all((beat.slowness > 0).all() for beat in beats) and len({len(beat.sites) for beat in beats}) > 4
    scars = [beat for beat in beats if beat.kind == "scar"]
    assert 2 < len(scars) < 25
    alive = [min(beat.slowness[np.linalg.norm(heart.nodes_mm - place, axis=1).argmin()] for place, _ in beat.sites)
             for beat in scars]
    assert np.isfinite(alive).all(), "not all early sites of a beat lie in dead muscle"
    places = train_hearts.inner_places(heart, np.random.default_rng(0), 40)
    nodes = [np.linalg.norm(heart.nodes_mm - place, axis=1).argmin() for place in places]
    assert (np.minimum(heart.lv_endo_mm, heart.rv_endo_mm)[nodes] <= heart.shape.layer_mm).all()


def test_cells_that_activate_late_may_recover_sooner():
    solved = Beats([], np.full(2, 1000), np.ones(2), activation_ms=np.array([[0.0, 50, 100, np.nan]] * 2),
                   apd_ms=np.full((2, 4), 300.0), point_ms=np.array([[50.0]] * 2),
                   point_apd_ms=np.array([[280.0]] * 2))
    changed = train_hearts.in_step(solved, np.array([0.0, 0.5]))
    assert changed.apd_ms.tolist() == [[300] * 4, [325, 300, 275, 300]]
    assert changed.point_apd_ms.tolist() == [[280], [280]]


def test_other_worlds_change_what_they_should():
    generator = torch.Generator().manual_seed(1)
    ecg_mv, time_ms = torch.ones(60, 12, 500), torch.full((60, 75), 60.0)
    ecg_mv[::2, :, 200:] = 3
    changed = train_hearts.other_recovery(ecg_mv, time_ms, generator)
    assert (changed[..., :80] == 1).all(), "nothing changes before the T wave"
    off = (changed != ecg_mv)[:, 0, 199]
    ratio = (changed / ecg_mv)[:, 0, 400]
    assert 5 < (~off).sum() < 25 and ratio.min() < -0.3 and ratio.max() > 1.8, "some as they are, some turned over"
    ecg_mv = torch.ones(40, 12, 500)
    louder, target = train_hearts.other_recording(ecg_mv, time_ms, generator)
    assert target is time_ms and 0.4 < louder.min() < 0.8 < 1.3 < louder.max() < 2.3


def test_training_goes_on_where_it_was_and_keeps_half_precision(folder, heart, monkeypatch, tmp_path):
    monkeypatch.setattr(train_hearts, "EPOCH_ROWS", 64)
    monkeypatch.setattr(train_hearts, "SIZE", dict(shapes=2, maps=4, hidden=8, timing=dict(width=8, maps=4, hidden=8)))
    monkeypatch.setattr(train_hearts, "scores", lambda *_: {"new: error (ms)": 1.0})
    out = tmp_path / "out"
    train_hearts.train(folder, out, epochs=1)
    net, timing = training.load(out / "task_4.npz"), training.load(out / "task_3.npz")
    assert net.card["scores"] == {"new: error (ms)": 1.0} and "virtual hearts" in net.card["data"]
    assert len(net.card["validation"]) == 1 and all(p.dtype == torch.float32 for p in net.parameters())
    ecg_mv = from_independent(heart[0][:2, 0])
    assert training.predict(net, ecg_mv).shape == (2, 75, 500)
    assert np.array_equal(training.predict(timing, ecg_mv), training.predict(net.timing, ecg_mv)), "one network"
    train_hearts.train(folder, out, epochs=1)  # from the finished checkpoint: nothing is left to train
    again = training.load(out / "task_4.npz")
    assert all(torch.equal(one, two) for one, two in zip(net.state_dict().values(), again.state_dict().values()))
    kept = []
    monkeypatch.setattr(train_hearts.training, "fit",
                        lambda net, *_, checkpoint, **__: kept.append(checkpoint) or (net, history))
    history = train_hearts.pd.DataFrame({"seconds": [120.0], "score": [1.0]})
    train_hearts.train(folder, tmp_path / "more", 1, start=out / "task_4.npz")
    more = training.load(tmp_path / "more" / "task_4.npz")
    assert (folder / "train_0.ckpt").exists() and kept == [folder / "train_1.ckpt"], "not what is finished already"
    assert more.card["minutes"] == net.card["minutes"] + 2, "a call that trains on adds its minutes"
    assert more.card["epochs"] == 2 and more.card["validation"] == [*net.card["validation"], 1.0]
    assert all(torch.equal(one, more.state_dict()[name]) for name, one in again.state_dict().items()
               if "known" not in name and name != "timing.spread_factor")


@pytest.mark.parametrize("part, count", [
    (models.ActivationNet(width=8, maps=4, hidden=8), 2),
    (models.ActionPotentialNet(shapes=2, maps=4, timing=dict(width=8, maps=4, hidden=8)), 3)])
def test_a_card_has_scores_on_seen_hearts_on_new_ones_and_elsewhere(part, count, heart, monkeypatch):
    ecg_mv, voltage_mv = from_independent(heart[0][:, 0]), heart[1]
    for name, ms in (("simulate", 20), ("elsewhere", 40)):
        other = SimpleNamespace(ecg_mv=ecg_mv, voltage_mv=np.roll(voltage_mv, ms, axis=2))
        monkeypatch.setattr(train_hearts.intracardiac, name, lambda other=other: other)
    found = train_hearts.scores(part, ecg_mv, voltage_mv)
    assert [name.split(":")[0] for name in found] == ["seen"] * count + ["new"] * count + ["elsewhere"] * count
    assert len(set(found.values())) > count, "each from its own hearts"


def test_the_trained_networks_of_the_kit_are_one(heart):
    """Tasks 3 and 4 agree: the times are those at which the drawn voltages cross zero."""
    drawing, timing = training.pretrained("task_4"), training.pretrained("task_3")
    ecg_mv = from_independent(heart[0][:, 0])
    output = training.predict(timing, ecg_mv)
    assert np.array_equal(output, training.predict(drawing.timing, ecg_mv))
    off = train_hearts.upstroke_ms(training.predict(drawing, ecg_mv)) - output[:, 0]
    assert np.isfinite(off).mean() > 0.9 and np.nanmean(np.abs(off)) < 1
