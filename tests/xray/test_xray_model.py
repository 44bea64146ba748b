"""The heart finder: its scores, its loss, virtual chests to train on, training, folds of a folder."""
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cardiac_ml import training as core
from cardiac_ml.files import DataError
from cardiac_ml.xray import finding, images, model, phantom, picture, scores, training

SIZE = 64
TINY = dict(epochs=1, width=8)


@pytest.fixture(scope="module")
def chests():
    return images.load_xrays(size=SIZE, virtual_chests=40, seed=1)


# ---- scores and loss ----

def test_iou_of_known_boxes():
    box = np.array([[0, 0, 2, 2]] * 4, float)
    other = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 4, 4], [0, 0, 4, 4]], float)
    np.testing.assert_allclose(scores.iou(box, other), [1, 1 / 3, 0, 1 / 4])
    in_torch = model.generalised_iou(torch.tensor(box), torch.tensor(other))
    np.testing.assert_allclose(in_torch, [1, 1 / 3, -0.5, 1 / 4], atol=1e-9)


def test_scores_in_pixels_millimetres_and_ratio():
    true = np.array([[10, 10, 30, 30, 0, 50], [10, 10, 30, 30, 0, 50]], float)
    found = true + [[2, 0, 0, 0, 0, 0], [0, 0, 0, -4, 0, 0]]
    row = scores.score_sides(found, true, [0.5, np.nan])
    assert row["heart_x0_px"] == 1 and row["heart_y1_px"] == 2
    assert row["heart_x0_mm"] == 1 and row["heart_y1_mm"] == 0  # only the first picture's scale is known
    assert row["ctr_error"] == pytest.approx(0.02) and row["enlarged_agreement"] == 1
    assert "heart_x0_mm" not in scores.score_sides(found, true)


def test_loss_falls_with_the_error_and_ignores_sides_of_no_chest():
    sides = torch.tensor([[0.3, 0.3, 0.7, 0.6, 0.1, 0.9, 1.0]])
    place = (torch.arange(20) + 0.5) / 20

    def at(shift):
        return torch.cat([-((place - sides[:, :6, None] - shift) / 0.03) ** 2 / 2, torch.full((1, 1, 20), 3.0)], 1)

    mean, spread = model.mean_place(at(0)[:, :6])
    assert torch.allclose(mean, sides[:, :6], atol=0.01) and 0.02 < spread.min() and spread.max() < 0.04
    losses = [float(model.sides_loss(at(shift), sides)) for shift in (0.0, 0.03, 0.1)]
    assert losses[0] < losses[1] < losses[2]
    nothing = sides.clone()
    nothing[:, 6] = 0
    assert float(model.sides_loss(at(0.1), nothing)) == float(model.sides_loss(at(0.0), nothing))


# ---- virtual chests ----

def test_virtual_chests_repeat_and_differ(chests):
    first, table = phantom.make_radiographs(3, size=48, seed=5, workers=1)
    again, _ = phantom.make_radiographs(2, size=48, seed=5, workers=2)
    assert np.array_equal(first[:2], again) and not np.allclose(first[0], first[1])
    assert first.min() >= 0 and first.max() <= 1 and set(picture.SIDES) <= set(table)
    ratio = picture.cardiothoracic_ratio(chests.sides)
    assert 0.3 < ratio.min() < 0.5 < ratio.max() < 0.85 and 0.4 < ratio.mean() < 0.6
    again = images.load_xrays(size=SIZE, virtual_chests=40, seed=1)  # from the cache now
    assert "virtual" in chests.source and np.array_equal(again.pictures, chests.pictures)


@pytest.mark.parametrize("damage", [
    lambda b: b"", lambda b: b[:9000], lambda b: b[:9000] + bytes([b[9000] ^ 1]) + b[9001:]])
def test_damaged_virtual_chests_are_made_again(tmp_path, monkeypatch, capsys, damage):
    monkeypatch.setenv("CARDIAC_ML_CACHE", str(tmp_path))
    first = images.load_xrays(size=48, virtual_chests=2)
    kept, = tmp_path.rglob("*.npz")
    kept.write_bytes(damage(kept.read_bytes()))
    assert np.array_equal(images.load_xrays(size=48, virtual_chests=2).pictures, first.pictures)
    assert "is damaged" in capsys.readouterr().out


def test_the_box_is_that_of_the_heart_in_the_picture():
    """Take the heart out of one chest: the picture changes inside its box (and the scatter a little outside)."""
    chest = phantom.draw_chest(np.random.default_rng(3))
    x = y = np.linspace(-180, 180, 120, dtype=np.float32)
    with_heart, heart, _ = phantom.thickness_mm(chest, x, y, "frontal")
    without, _, _ = phantom.thickness_mm({**chest, "heart_width": 2.0, "heart_height": 2.0}, x, y, "frontal")
    rows, columns = np.nonzero(np.abs(with_heart - without) > 20)
    x0, y0, x1, y1 = phantom._box(heart)
    assert columns.min() >= x0 - 2 and columns.max() <= x1 + 2 and rows.max() <= y1 + 2
    assert x1 - x0 == pytest.approx(chest["heart_width"] / 3.025, rel=0.25)


def test_denser_is_brighter():
    chest = phantom.draw_chest(np.random.default_rng(0))
    pixels, row = phantom.radiograph(chest, 96, np.random.default_rng(1))
    middle = int((row["heart_y0"] + row["heart_y1"]) / 2)
    heart = pixels[middle, int((row["heart_x0"] + row["heart_x1"]) / 2)]
    lung = pixels[middle, int((row["thorax_x0"] + row["heart_x0"]) / 2)]
    assert heart > lung + 0.1


# ---- training ----

def test_training_learns_and_keeps_what_it_learned(tmp_path, chests):
    lateral = training.virtual_lateral_views(4, SIZE)
    still = training.Strength(zoom=0, stretch=0, rotation_degrees=0, shear=0, shift=0)
    trained = training.train_heart_finder(chests, epochs=6, width=8, batch_size=8, lr=4e-3, strength=still,
                                          lateral_views=lateral)
    before, after = (scores.iou(finding.predict_sides(one, chests.pictures).sides, chests.sides).mean()
                     for one in (model.HeartFinder(8, SIZE), trained))
    assert after > 0.4 > before + 0.2  # from nothing to about the mean box in thirty steps
    again = core.load(core.save(tmp_path / "finder.npz", trained))
    assert again.size == SIZE
    one, other = (finding.predict_sides(each, chests.pictures[:4]) for each in (trained, again))
    assert np.array_equal(one.sides, other.sides) and np.array_equal(one.confidence, other.confidence)


def test_an_ensemble_of_one_network_answers_like_it_and_too_many_are_refused(tmp_path, chests):
    one, three = model.HeartFinder(8, SIZE), model.Ensemble(3, 8, SIZE)
    for member in three.members:
        member.load_state_dict(one.state_dict())
    np.testing.assert_allclose(finding.predict_sides(three, chests.pictures[:4]).sides,
                               finding.predict_sides(one, chests.pictures[:4]).sides, atol=1e-5)
    path = core.save(tmp_path / "three.npz", three)
    assert len(core.load(path).members) == 3
    three.config = three.config | dict(members=100_000)
    with pytest.raises(DataError, match="100000 members, expected 1 to 16"):
        core.load(core.save(path, three))


@pytest.fixture
def folder(tmp_path, chests, monkeypatch):
    """A folder of twelve pictures, and a start from no virtual chests at all."""
    monkeypatch.setattr(training, "virtual_start", lambda size, width, **_: model.HeartFinder(width, size))
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(12):
        name = f"{number}.png"
        Image.fromarray((chests.pictures[number, 0] * 255).astype(np.uint8)).save(tmp_path / "images" / name)
        rows.append([name, *chests.sides[number] * SIZE, 2.0])
    pd.DataFrame(rows, columns=["image", *picture.SIDES, "mm_per_pixel"]).to_csv(tmp_path / "boxes.csv", index=False)
    return tmp_path


def test_members_start_alike_are_asked_together_and_are_not_trained_twice(folder):
    settings = dict(size=SIZE, members=2, checkpoints=folder / "checkpoints", **TINY)
    ensemble = training.train_on_folder(folder, **settings)
    one, other = (member.state_dict()["sides.score.weight"] for member in ensemble.members)
    assert len(ensemble.members) == 2 and ensemble.size == SIZE and not torch.equal(one, other)
    for path in (folder / "checkpoints").glob("member_1_*"):
        path.unlink()  # killed after the first member
    torch.manual_seed(99)
    first = (folder / "checkpoints" / "member_0_trained.ckpt").stat().st_mtime_ns
    again = training.train_on_folder(folder, **settings | dict(start=model.HeartFinder(8, SIZE)))
    assert first == (folder / "checkpoints" / "member_0_trained.ckpt").stat().st_mtime_ns
    assert torch.equal(one, again.members[0].state_dict()["sides.score.weight"])
    row = training.score_folder(ensemble, folder)
    assert 0 <= row["iou"] <= 1 and row["pictures"] == 12 and np.isfinite(row["ctr_error"])


def test_members_are_fine_tuned_with_milder_changes(folder, monkeypatch):
    calls = []

    def recorded(dataset, *, start, epochs, **settings):
        calls.append((epochs, settings.get("strength", training.Strength()).zoom, start))
        return model.HeartFinder(8, SIZE)

    monkeypatch.setattr(training, "train_heart_finder", recorded)
    first = model.HeartFinder(8, SIZE)
    training.train_members(images.load_xrays(folder, size=SIZE), first, members=2, epochs=20, width=8)
    epochs, zooms, starts = zip(*calls)
    assert epochs == (20, 2, 20, 2) and zooms[1] == zooms[3] < zooms[0] / 2 + 0.01
    assert starts[0] is first and starts[2] is first and starts[1] is not first and starts[3] is not starts[1]


# ---- folds ----

def test_a_killed_cross_validation_goes_on_where_it_was(folder, capsys, monkeypatch):
    settings = dict(folds=2, size=SIZE, members=1, kept=folder / "kept", **TINY)
    train_members, calls = training.train_members, []

    def killed_in_the_second_fold(*args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_members(*args, **more)

    monkeypatch.setattr(training, "train_members", killed_in_the_second_fold)
    with pytest.raises(KeyboardInterrupt):
        training.cross_validate(folder, **settings)
    resumed = training.cross_validate(folder, **settings)
    assert len(calls) == 3 and "fold 1 of 2: IoU" in capsys.readouterr().out
    assert list(resumed.index) == ["fold 1", "fold 2", "mean of folds", "mean box"] and resumed.iou.between(0, 1).all()
    assert resumed.loc["mean box", "heart_x0_mm"] == pytest.approx(2 * resumed.loc["mean box", "heart_x0_px"])
    again = training.cross_validate(folder, **settings)
    assert len(calls) == 3 and capsys.readouterr().out.count("read from an earlier run") == 2
    pd.testing.assert_frame_equal(resumed, again)
    boxes = pd.read_csv(folder / "boxes.csv")
    boxes.loc[0, "heart_x0"] -= 2
    boxes.to_csv(folder / "boxes.csv", index=False)
    training.cross_validate(folder, **settings)
    assert len(calls) == 4  # only the fold that learns from the changed box
    monkeypatch.setattr(training, "code_fingerprint", lambda *paths: "other code")
    training.cross_validate(folder, **settings)
    assert len(calls) == 6


def test_a_wrong_reference_box_is_named(folder, chests, capsys, monkeypatch):
    boxes = pd.read_csv(folder / "boxes.csv")
    boxes.loc[7, ["heart_x0", "heart_y0", "heart_x1", "heart_y1"]] = [0, 0, 3, 3]
    boxes.to_csv(folder / "boxes.csv", index=False)
    right = chests.sides[:12].astype(float)
    monkeypatch.setattr(training, "cross_validated",
                        lambda dataset, folds, seed: (right, right[::-1], training.fold_numbers(12, folds)))
    table = training.cross_validate(folder, folds=3, size=SIZE)
    assert "lowest overlap: 7.png (0.00), " in capsys.readouterr().out
    assert table.loc["mean of folds", "iou"] == pytest.approx(11 / 12, abs=1e-3)


def test_folds_are_equal_and_repeat():
    fold = training.fold_numbers(180, 5, 0)
    assert np.bincount(fold).tolist() == [36] * 5 and np.array_equal(fold, training.fold_numbers(180, 5, 0))


def test_real_pictures_are_read_and_the_mean_box_is_poor(real_data):
    dataset = images.load_xrays(real_data / "chest_xray", size=SIZE)
    baseline = np.repeat(scores.mean_box(dataset.sides)[None], len(dataset), 0)
    assert len(dataset) == 180 and 0.6 < scores.iou(baseline, dataset.sides).mean() < 0.7
