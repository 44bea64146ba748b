"""The network that comes with the kit, on chests and on what is none; conventions; ``predict xray``."""
import argparse
import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cardiac_ml.files import DataError
from cardiac_ml.xray import command, finding, images, model, picture, scores, training
from cardiac_ml.xray.convention import learn_convention

SIZE = 224


@pytest.fixture(scope="module")
def trained():
    return finding.pretrained()


@pytest.fixture(scope="module")
def chests():
    return images.load_xrays(size=SIZE, virtual_chests=8, seed=3)


@pytest.fixture(scope="module")
def found(trained, chests):
    return finding.predict_sides(trained, chests.pictures)


# ---- the network ----

def test_it_finds_hearts_that_it_never_saw_better_than_the_mean_box(chests, found):
    mean = np.repeat(chests.sides.mean(0)[None], len(chests), 0)  # with the answers known
    assert scores.iou(found.sides, chests.sides).mean() > scores.iou(mean, chests.sides).mean()
    assert scores.ratio_error(found.sides, chests.sides).mean() < 0.06


def test_its_card_says_what_it_is(trained):
    assert {"half of the cardiothoracic ratio dataset"} <= {trained.card["data"].split(", ")[1].split(" of N.")[0]}
    assert "Where it fails" in trained.card["about"] and trained.card["scores"]["iou on the training pictures"] > 0.88
    assert "/" not in trained.card["data"]


def test_inverted_pictures_are_read_as_their_negative(trained, chests, found):
    turned = finding.predict_sides(trained, 1 - chests.pictures)
    both = turned.inverted & ~found.inverted
    assert both.mean() >= 0.75
    np.testing.assert_allclose(turned.sides[both], found.sides[both], atol=1e-3)


def test_confidence_tells_chests_from_other_pictures(trained, found):
    rng = np.random.default_rng(0)
    stripes = np.tile(np.sin(np.arange(SIZE) / 12) * 0.5 + 0.5, (SIZE, 1))
    others = np.stack([rng.random((SIZE, SIZE)), stripes, np.eye(SIZE), stripes.T])[:, None]
    lateral = finding.predict_sides(trained, training.virtual_lateral_views(4, SIZE, seed=9)).confidence
    strange = finding.predict_sides(trained, others).confidence
    assert np.median(found.confidence) > 0.6 and strange.max() < 0.3 and np.median(lateral) < 0.3


def test_find_heart_on_a_file_of_its_own_size(tmp_path, trained, chests, found):
    """16 bits, twice as large and wider than the frame: the box comes back in pixels of the file."""
    wide = np.kron(np.pad(chests.pictures[0, 0], ((0, 0), (8, 8))), np.ones((2, 2)))
    Image.fromarray((wide * 65535).astype(np.uint16)).save(tmp_path / "mine.png")
    one = finding.find_heart(tmp_path / "mine.png")
    expected = (found.sides[0] * SIZE + [8, 0, 8, 0, 8, 8]) * 2
    assert scores.iou(one.heart_box[None], expected[None])[0] > 0.85
    assert "ratio" in repr(one) and np.isnan(one.heart_width_mm) and 0 <= one.confidence <= 1
    assert len(one.show().patches) == 1


def test_find_heart_says_what_is_wrong(trained):
    one = finding.find_heart(np.random.default_rng(0).random((80, 80, 3)), trained)
    assert one.confidence < 0.1 and any("colour" in text for text in one.warnings)
    assert any("low confidence" in text for text in one.warnings) and "careful" in repr(one)
    assert 0 <= one.heart_box.min() and one.heart_box.max() <= 80


def test_saliency_and_occlusion_point_at_the_heart(trained, chests):
    axes = finding.show_where_it_looked(chests.pictures[0, 0], trained).axes
    x0, y0, x1, y1 = np.round(chests.sides[0, :4] * SIZE + [-12, -12, 12, 12]).astype(int)
    for ax in axes[1:]:
        seen = ax.images[1].get_array()
        assert seen[y0:y1, x0:x1].mean() > 1.2 * seen.mean()


def test_real_pictures(trained, real_data):
    table = images.read_boxes(real_data / "chest_xray").head(6)
    overlap = [scores.iou(finding.find_heart(row.file).sides[None], np.array([row[list(picture.SIDES)]], float))
               for _, row in table.iterrows()]
    assert np.mean(overlap) > 0.85


# ---- conventions ----

def test_a_convention_is_learned_where_it_differs_and_with_its_uncertainty():
    rng = np.random.default_rng(0)
    true = np.array([150, 200, 400, 380, 60, 460]) + rng.normal(0, 15, (400, 6))
    answer = true + rng.normal(0, 6, true.shape)
    theirs = true + np.array([0, -30, 0, 0, 0, 0]) * (true[:, 5:] - true[:, 4:5]) / 400
    theirs[3, :4] = [0, 0, 30, 30]  # a wrong box
    learned = learn_convention(answer[:12], theirs[:12], "theirs")
    assert abs(learned.shift[1] + 30 / 400) < 3 * learned.error[1] and 0 < learned.error[1] < 0.015
    assert set(np.flatnonzero(learned.applied)) == {1}
    before, after = (np.abs(sides[12:] - theirs[12:]).mean(0) for sides in (answer, learned.apply(answer)))
    assert after[1] < before[1] / 3 and np.array_equal(after[[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]])
    assert "upper edge +" in repr(learned) and "(not applied)" in repr(learned)
    with pytest.raises(DataError, match="4 pictures; a convention takes at least 5"):
        learn_convention(answer[:4], theirs[:4], "theirs")


# ---- predict xray ----

@pytest.fixture
def predict(tmp_path, monkeypatch):
    """The command, with a small untrained network; writes to tmp_path / "out"."""
    small = model.HeartFinder(8, 64)
    monkeypatch.setattr(finding, "pretrained", lambda: small)
    parser = argparse.ArgumentParser()
    command.add_commands(parser.add_subparsers())

    def run(*arguments):
        options = parser.parse_args(["xray", *map(str, arguments), "--out", str(tmp_path / "out")])
        return options.run(options)

    return run


@pytest.fixture
def folder(tmp_path, chests):
    pictures = tmp_path / "mine" / "images"
    pictures.mkdir(parents=True)
    for number in range(5):
        Image.fromarray((chests.pictures[number, 0] * 255).astype(np.uint8)).save(pictures / f"{number}.png")
    rows = [[f"{number}.png", *chests.sides[number] * SIZE] for number in range(5)]
    pd.DataFrame(rows, columns=["image", *picture.SIDES]).to_csv(tmp_path / "mine" / "boxes.csv", index=False)
    return tmp_path / "mine"


def test_one_picture_gets_its_picture(tmp_path, predict, folder, capsys):
    assert predict(folder / "images" / "0.png") == 0
    assert Image.open(tmp_path / "out" / "0_heart.png").width > 300
    said = capsys.readouterr().out
    assert "cardiothoracic ratio" in said and "confidence" in said and "without the great vessels" in said


def test_a_folder_gets_a_table_a_contact_sheet_and_a_list_of_what_was_left_out(tmp_path, predict, folder, capsys):
    (folder / "images" / "broken.jpg").write_bytes(b"nothing")
    assert predict(folder, "--convention", folder / "boxes.csv") == 0
    with open(tmp_path / "out" / "hearts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"images/{number}.png" for number in range(5)]
    assert all(0 <= float(row["confidence"]) <= 1 and float(row["cardiothoracic_ratio"]) > 0 for row in rows)
    assert Image.open(tmp_path / "out" / "hearts.png").width > 500
    said = capsys.readouterr().out
    assert "5 of 6 pictures read" in said and "left out: images/broken.jpg: " in said
    assert "5 pictures (outwards is +)" in said
    for path in (folder / "images").glob("*.png"):
        path.unlink()
    assert predict(folder) == 1
    (folder / "images" / "broken.jpg").unlink()
    with pytest.raises(DataError, match="holds no pictures"):
        predict(folder)
