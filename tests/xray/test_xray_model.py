"""The heart finder: its scores, its loss, training on virtual chests, and what it says about odd pictures."""
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cardiac_ml.xray import images as xray, finding as xray_finding, model as xray_model, scores as xray_scores, training as xray_training
from cardiac_ml.files import DataError
from cardiac_ml.xray import phantom

SIZE = 64


@pytest.fixture(scope="module")
def chests():
    return xray.load_xrays(size=SIZE, virtual_chests=120, seed=1)


@pytest.fixture(scope="module")
def trained(chests):
    """A narrow network on small pictures: seconds, not minutes."""
    torch.set_num_threads(1)
    gentle = xray_training.Strength(zoom=0.12, stretch=0.12, shift=0.05, spoilt=0.25)
    return xray_training.train_heart_finder(
        chests[np.arange(96)], epochs=25, width=12, batch_size=8, learning_rate=4e-3, strength=gentle, progress=False,
        side_views=xray_training.virtual_side_views(12, SIZE))


# -------------------------------------------------------------------------------------------------------------- scores

def test_iou_of_known_boxes():
    box = np.array([[0, 0, 2, 2]] * 4, float)
    other = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 4, 4], [0, 0, 4, 4]], float)
    np.testing.assert_allclose(xray_scores.iou(box, other), [1, 1 / 3, 0, 1 / 4])
    np.testing.assert_allclose(xray_scores.generalised_iou(box, other), [1, 1 / 3, -0.5, 1 / 4])
    in_torch = xray_model.generalised_iou(torch.tensor(box), torch.tensor(other))
    np.testing.assert_allclose(in_torch, xray_scores.generalised_iou(box, other), atol=1e-9)


def test_scores_in_pixels_millimetres_and_ratio():
    true = np.array([[10, 10, 30, 30, 0, 50], [10, 10, 30, 30, 0, 50]], float)
    found = true + [[2, 0, 0, 0, 0, 0], [0, 0, 0, -4, 0, 0]]
    row = xray_scores.score_sides(found, true, [0.5, np.nan])
    assert row["heart_x0_px"] == 1 and row["heart_y1_px"] == 2
    assert row["heart_x0_mm"] == 1 and row["heart_y1_mm"] == 0  # only the first picture's scale is known
    assert row["ctr_error"] == pytest.approx(0.02) and row["enlarged_agreement"] == 1
    assert "heart_x0_mm" not in xray_scores.score_sides(found, true)


def test_place_of_a_sharp_distribution_is_its_peak():
    logits = torch.full((1, 6, 20), -30.0)
    logits[0, :, 7] = 30
    mean, spread = xray_model.mean_place(logits)
    np.testing.assert_allclose(mean, 7.5 / 20, atol=1e-6)
    assert spread.max() < 1e-3


def test_loss_falls_with_the_error_and_ignores_sides_of_no_chest():
    sides = torch.tensor([[0.3, 0.3, 0.7, 0.6, 0.1, 0.9, 1.0]])
    place = (torch.arange(20) + 0.5) / 20

    def at(shift):
        return torch.cat([-((place - sides[:, :6, None] - shift) / 0.03) ** 2 / 2, torch.full((1, 1, 20), 3.0)], 1)

    losses = [float(xray_model.sides_loss(at(shift), sides)) for shift in (0.0, 0.03, 0.1)]
    assert losses[0] < losses[1] < losses[2]
    nothing = sides.clone()
    nothing[:, 6] = 0
    assert float(xray_model.sides_loss(at(0.1), nothing)) == float(xray_model.sides_loss(at(0.0), nothing))


# ------------------------------------------------------------------------------------------------------ virtual chests

def test_virtual_chests_repeat_and_differ(chests):
    first, table = phantom.make_radiographs(3, size=48, seed=5, workers=1)
    again, _ = phantom.make_radiographs(2, size=48, seed=5, workers=2)
    assert np.array_equal(first[:2], again) and not np.allclose(first[0], first[1])
    assert first.min() >= 0 and first.max() <= 1 and set(xray.SIDES) <= set(table)
    ratio = xray.cardiothoracic_ratio(chests.sides)
    assert 0.3 < ratio.min() < 0.5 < ratio.max() < 0.85 and 0.4 < ratio.mean() < 0.6
    again = xray.load_xrays(size=SIZE, virtual_chests=120, seed=1)  # from the cache now
    assert "virtual" in chests.source and np.array_equal(again.pictures, chests.pictures)


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
    picture, row = phantom.radiograph(chest, 96, np.random.default_rng(1))
    middle = int((row["heart_y0"] + row["heart_y1"]) / 2)
    heart = picture[middle, int((row["heart_x0"] + row["heart_x1"]) / 2)]
    lung = picture[middle, int((row["thorax_x0"] + row["heart_x0"]) / 2)]
    assert heart > lung + 0.1


# ------------------------------------------------------------------------------------------------- training and finding

def test_the_network_beats_the_mean_box_by_far(chests, trained):
    new = chests[np.arange(96, 120)]
    found = xray_finding.predict_sides(trained, new.pictures)
    baseline = np.repeat(xray_scores.mean_box(chests.sides[:96])[None], len(new), 0)
    network, mean = (xray_scores.iou(sides, new.sides).mean() for sides in (found.sides, baseline))
    assert network > 0.8 > mean + 0.1
    assert xray_scores.ratio_error(found.sides, new.sides).mean() < 0.05


def test_inverted_pictures_are_read_as_their_negative(chests, trained):
    plain = xray_finding.predict_sides(trained, chests.pictures[96:120])
    turned = xray_finding.predict_sides(trained, 1 - chests.pictures[96:120])
    assert plain.inverted.mean() < 0.15 and turned.inverted.mean() > 0.85
    both = turned.inverted & ~plain.inverted
    np.testing.assert_allclose(turned.sides[both], plain.sides[both], atol=1e-3)


def test_confidence_tells_chests_from_other_pictures(chests, trained):
    rng = np.random.default_rng(0)
    stripes = np.tile(np.sin(np.arange(SIZE) / 4), (SIZE, 1)) * 0.5 + 0.5
    others = np.stack([rng.random((SIZE, SIZE)), stripes, np.eye(SIZE), stripes.T])[:, None]
    chest = xray_finding.predict_sides(trained, chests.pictures[96:120]).confidence
    lateral = xray_finding.predict_sides(trained, xray_training.virtual_side_views(12, SIZE, seed=9)).confidence
    strange = xray_finding.predict_sides(trained, others).confidence
    assert np.median(chest) > 0.7 and np.mean(strange) < 0.3 and strange.max() < np.median(chest)
    assert np.median(lateral) < 0.5


def test_find_heart_on_files_of_their_own_size(tmp_path, chests, trained):
    """Pictures four times as large and a little wider than the frame: the box comes back in pixels of the file."""
    overlap = []
    for number in range(100, 106):
        wide = np.kron(np.pad(chests.pictures[number, 0], ((0, 0), (2, 2))), np.ones((4, 4)))
        Image.fromarray((wide * 255).astype(np.uint8)).save(tmp_path / "mine.png")
        finding = xray_finding.find_heart(tmp_path / "mine.png", trained)
        expected = (chests.sides[number] * SIZE + [2, 0, 2, 0, 2, 2]) * 4
        overlap.append(xray_scores.iou(finding.heart_box[None], expected[None])[0])
    assert np.mean(overlap) > 0.7
    assert "ratio" in repr(finding) and np.isnan(finding.heart_width_mm) and 0 <= finding.confidence <= 1
    assert len(finding.show().patches) == 1


def test_find_heart_says_what_is_wrong(chests, trained):
    colour = np.random.default_rng(0).random((80, 80, 3))
    finding = xray_finding.find_heart(colour, trained)
    assert finding.confidence < 0.1 and any("colour" in text for text in finding.warnings)
    assert any("low confidence" in text for text in finding.warnings) and "careful" in repr(finding)
    assert 0 <= finding.heart_box.min() and finding.heart_box.max() <= 80


def test_saliency_and_occlusion_point_at_the_heart(chests, trained):
    picture, sides = chests.pictures[110], chests.sides[110] * SIZE
    covered = np.kron(xray_finding.occlusion(trained, picture, patch=12, step=4), np.ones((4, 4)))
    for seen in (xray_finding.saliency(trained, picture), covered):
        offset = (SIZE - len(seen)) // 2
        x0, y0, x1, y1 = (np.round(sides[:4]) + [-5, -5, 5, 5]).astype(int) - offset
        inside = seen[max(y0, 0):y1, max(x0, 0):x1]
        assert inside.mean() > 1.2 * seen.mean()


def test_a_saved_network_gives_the_same_answer(tmp_path, chests, trained):
    xray_finding.save_model(trained, tmp_path / "finder.pt")
    again = xray_finding.load_model(tmp_path / "finder.pt")
    assert again.size == SIZE
    pair = [xray_finding.predict_sides(model, chests.pictures[:4]).sides for model in (trained, again)]
    np.testing.assert_allclose(pair[0], pair[1], atol=1e-6)
    both = xray_model.Ensemble([trained, again]).eval()
    np.testing.assert_allclose(xray_finding.predict_sides(both, chests.pictures[:4]).sides, pair[0], atol=1e-5)
    xray_finding.save_model(both, tmp_path / "both.pt")
    assert len(xray_finding.load_model(tmp_path / "both.pt").members) == 2
    (tmp_path / "other.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no heart finder"):
        xray_finding.load_model(tmp_path / "other.pt")
    with pytest.raises(DataError, match="no such file"):
        xray_finding.load_model(tmp_path / "absent.pt")


def test_both_heads_speak_the_same_language():
    picture = torch.rand(2, 1, SIZE, SIZE)
    for head in (xray_model.SideHead, xray_model.PooledHead):
        output = xray_model.HeartFinder(8, SIZE, head)(picture)
        assert output.shape[:2] == (2, 7) and torch.isfinite(output).all()


# ---------------------------------------------------------------------------------------------------- cross-validation

@pytest.fixture
def folder(tmp_path, chests, monkeypatch):
    """A folder of twelve pictures, and a start from few virtual chests."""
    monkeypatch.setattr(xray_training, "virtual_start", partial(xray_training.virtual_start, chests=6, epochs=1))
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(12):
        name = f"{number}.png"
        Image.fromarray((chests.pictures[number, 0] * 255).astype(np.uint8)).save(tmp_path / "images" / name)
        rows.append([name, *chests.sides[number] * SIZE, 2.0])
    pd.DataFrame(rows, columns=["image", *xray.SIDES, "mm_per_pixel"]).to_csv(tmp_path / "boxes.csv", index=False)
    return tmp_path


def test_cross_validation_of_a_folder(folder, capsys):
    table = xray_training.cross_validate(folder, folds=2, size=SIZE, epochs=1, width=8, members=1)
    assert list(table.index) == ["fold 1", "fold 2", "mean of folds", "mean box"]
    assert table.loc["mean box", "heart_x0_mm"] == pytest.approx(2 * table.loc["mean box", "heart_x0_px"])
    assert "mean box" in capsys.readouterr().out and table["iou"].between(0, 1).all()


def test_a_killed_cross_validation_goes_on_where_it_was(folder, tmp_path, capsys, monkeypatch):
    settings = dict(folds=2, size=SIZE, epochs=1, width=8, members=2, kept=tmp_path / "kept")
    train_members, calls = xray_training.train_members, []

    def killed_in_the_second_fold(*args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_members(*args, **more)

    monkeypatch.setattr(xray_training, "train_members", killed_in_the_second_fold)
    with pytest.raises(KeyboardInterrupt):
        xray_training.cross_validate(folder, **settings)
    resumed = xray_training.cross_validate(folder, **settings)
    assert len(calls) == 3 and "fold 1 of 2: IoU" in capsys.readouterr().out
    again = xray_training.cross_validate(folder, **settings)
    assert len(calls) == 3 and capsys.readouterr().out.count("read from an earlier run") == 2
    pd.testing.assert_frame_equal(resumed, again)
    boxes = pd.read_csv(folder / "boxes.csv")
    boxes.loc[0, "heart_x0"] -= 2
    boxes.to_csv(folder / "boxes.csv", index=False)
    xray_training.cross_validate(folder, **settings)
    assert len(calls) == 4  # only the fold that learns from the changed box
    monkeypatch.setattr(xray_training, "code_print", lambda: "other code")
    xray_training.cross_validate(folder, **settings)
    assert len(calls) == 6


def test_a_wrong_reference_box_is_named(folder, chests, capsys, monkeypatch):
    boxes = pd.read_csv(folder / "boxes.csv")
    boxes.loc[7, ["heart_x0", "heart_y0", "heart_x1", "heart_y1"]] = [0, 0, 3, 3]
    boxes.to_csv(folder / "boxes.csv", index=False)
    right = chests.sides[:12].astype(float)
    monkeypatch.setattr(xray_training, "cross_validated",
                        lambda dataset, folds, seed: (right, right[::-1], xray_training.fold_numbers(12, folds)))
    table = xray_training.cross_validate(folder, folds=3, size=SIZE)
    assert "lowest overlap: 7.png (0.00), " in capsys.readouterr().out
    assert table.loc["mean of folds", "iou"] == pytest.approx(11 / 12, abs=1e-3)


def test_members_start_alike_and_are_asked_together(folder, chests):
    model = xray_training.train_on_folder(folder, size=SIZE, epochs=1, width=8, members=2, progress=False)
    one, other = (member.state_dict()["sides.score.weight"] for member in model.members)
    assert len(model.members) == 2 and model.size == SIZE and not torch.equal(one, other)
    scores = xray_training.score_folder(model, folder)
    assert 0 <= scores["iou"] <= 1 and scores["pictures"] == 12 and np.isfinite(scores["ctr_error"])


def test_members_settle_with_milder_changes(folder, monkeypatch):
    calls = []

    def recorded(dataset, *, start, epochs, **settings):
        calls.append((epochs, settings.get("strength", xray_training.Strength()).zoom, start))
        return xray_model.HeartFinder(8, SIZE)

    monkeypatch.setattr(xray_training, "train_heart_finder", recorded)
    first = xray_model.HeartFinder(8, SIZE)
    xray_training.train_members(xray.load_xrays(folder, size=SIZE), first, members=2, epochs=20)
    epochs, zooms, starts = zip(*calls)
    assert epochs == (20, 2, 20, 2) and zooms[1] == zooms[3] < zooms[0] / 2 + 0.01
    assert starts[0] is first and starts[2] is first and starts[1] is not first and starts[3] is not starts[1]


def test_folds_are_equal_and_repeat():
    fold = xray_training.fold_numbers(180, 5, 0)
    assert np.bincount(fold).tolist() == [36] * 5 and np.array_equal(fold, xray_training.fold_numbers(180, 5, 0))


def test_real_pictures_are_read_and_the_mean_box_is_poor(real_data):
    dataset = xray.load_xrays(real_data / "chest_xray", size=SIZE)
    baseline = np.repeat(xray_scores.mean_box(dataset.sides)[None], len(dataset), 0)
    assert len(dataset) == 180 and 0.6 < xray_scores.iou(baseline, dataset.sides).mean() < 0.7
