"""Reading X-rays, the model's frame, boxes.csv, and pictures changed together with their boxes."""
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cardiac_ml.files import DataError
from cardiac_ml.xray import augment, images, picture


def gradient(height=100, width=120, top=255):
    """(height, width) bright towards the lower right."""
    return np.add.outer(np.arange(height), np.arange(width)) * top // (height + width - 2)


def write_dicom(path, stored, *, bits=12, photometric="MONOCHROME2", syntax=None, **tags):
    """A small DICOM file with these stored numbers; pixel data may be given as bytes through PixelData."""
    pytest.importorskip("pydicom", reason="DICOM files need pydicom: pip install 'cardiac-ml[xray]'")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.Modality = meta.MediaStorageSOPClassUID, "DX"
    header.Rows, header.Columns, header.SamplesPerPixel = *np.shape(stored)[:2], 1
    header.BitsAllocated, header.BitsStored, header.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    header.PixelRepresentation, header.PhotometricInterpretation = 0, photometric
    header.PixelData = np.asarray(stored, np.uint8 if bits <= 8 else "<u2").tobytes()
    for name, value in tags.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    return path


def read_dicom(folder, stored=gradient(), **tags):
    return images.read_picture(write_dicom(folder / "a.dcm", stored, **tags))


# ---- DICOM ----

@pytest.mark.parametrize("bits", [8, 12, 16])
def test_dicom_of_any_depth_and_photometry_is_stretched_to_one(tmp_path, bits):
    stored = gradient(top=2**bits - 1)
    seen, turned = (read_dicom(tmp_path, stored, bits=bits, photometric=f"MONOCHROME{kind}") for kind in (2, 1))
    np.testing.assert_allclose(seen.pixels, stored / stored.max(), atol=1e-6)
    np.testing.assert_allclose(turned.pixels, 1 - seen.pixels, atol=1e-6)
    assert seen.pixels.dtype == np.float32 and not seen.doubts


def test_rescale_comes_before_the_window(tmp_path):
    """Window 100 .. 300 in units of 2 * stored - 100: greys change between the stored 100 and 200 alone."""
    stored = gradient(top=400)
    seen = read_dicom(tmp_path, stored, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=200, WindowWidth=200).pixels
    np.testing.assert_allclose(seen, np.clip((2 * stored - 200) / 200, 0, 1), atol=0.011)
    assert seen[stored < 99].max() == 0 and seen[stored > 201].min() == 1
    nothing = read_dicom(tmp_path, WindowCenter=9000, WindowWidth=10)
    assert np.ptp(nothing.pixels) == 1 and "window" in nothing.notes[0]


def test_voi_table_is_applied(tmp_path):
    table = pytest.importorskip("pydicom").dataset.Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], [int(65535 * (i / 255) ** 2) for i in range(256)]
    table["LUTData"].VR = table["LUTDescriptor"].VR = "US"
    seen = read_dicom(tmp_path, gradient(top=255), VOILUTSequence=[table])
    np.testing.assert_allclose(seen.pixels, (gradient(top=255) / 255) ** 2, atol=1e-4)


def test_high_bits_and_padding_are_no_picture(tmp_path):
    stored = gradient(top=2000)
    stored[:20] = 4095  # outside the collimator
    overlay = stored.copy()
    overlay[50, 50] |= 1 << 14
    seen = read_dicom(tmp_path, overlay, PixelPaddingValue=4095)
    assert seen.pixels[:20].max() == 0
    rest = stored[20:].astype(float)
    np.testing.assert_allclose(seen.pixels[20:], (rest - rest.min()) / np.ptp(rest), atol=1e-6)


def test_what_the_header_says(tmp_path):
    assert read_dicom(tmp_path, PixelSpacing=[0.2, 0.2]).mm_per_pixel == pytest.approx(0.2)
    magnified = dict(ImagerPixelSpacing=[0.3, 0.3], EstimatedRadiographicMagnificationFactor=1.2)
    assert read_dicom(tmp_path, **magnified).mm_per_pixel == pytest.approx(0.25)
    assert np.isnan(read_dicom(tmp_path).mm_per_pixel)
    assert len(read_dicom(tmp_path, ViewPosition="LL", Modality="CT", BodyPartExamined="HAND").doubts) == 3
    assert not read_dicom(tmp_path, ViewPosition="PA", BodyPartExamined="CHEST").doubts


@pytest.mark.parametrize("tags, words", [
    (dict(PixelSpacing=[0.2, 0.4]), "square"),
    (dict(NumberOfFrames=3), "3 frames"),
    (dict(photometric="PALETTE COLOR"), "colour"),
    (dict(PixelData=b"\0\1" * 50), "do not fit"),
    (dict(Rows=60_000, Columns=60_000), "60000 x 60000 pixels.*at most 40,000,000"),
    (dict(syntax="1.2.840.10008.1.2.4.90", PixelData=b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\4\0\0\0\xff\x4f\0\0"),
     "(?s)JPEG 2000.*pylibjpeg"),
])
def test_dicom_that_cannot_be_read_as_one_grey_picture(tmp_path, tags, words):
    with pytest.raises(DataError, match=words):
        read_dicom(tmp_path, **tags)


def test_broken_dicom_missing_file_and_missing_pydicom(tmp_path, monkeypatch):
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 40)
    with pytest.raises(DataError):
        images.read_picture(tmp_path / "a.dcm")
    with pytest.raises(DataError, match="no such file"):
        images.read_picture(tmp_path / "b.dcm")
    path = write_dicom(tmp_path / "a.dcm", gradient())
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(DataError, match=r"cardiac-ml\[xray\]"):
        images.read_picture(path)


# ---- other pictures ----

def test_grey_pictures_of_8_and_16_bits_and_in_colour(tmp_path):
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535)):
        pixels = gradient(top=top).astype(dtype)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        np.testing.assert_allclose(images.read_picture(tmp_path / "a.png").pixels, pixels / pixels.max(), atol=1e-6)
    grey = np.repeat(gradient()[..., None], 3, 2).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.jpg")
    assert not images.read_picture(tmp_path / "grey.jpg").doubts
    grey[..., 0] = 255 - grey[..., 0]  # a photograph
    Image.fromarray(grey).save(tmp_path / "colour.png")
    assert "colour" in images.read_picture(tmp_path / "colour.png").doubts[0]


@pytest.mark.parametrize("content", [b"hello", b"", b"P5 9 9 255\n" + 81 * b"0",
                                     b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n"])
def test_files_that_are_no_picture(tmp_path, content, monkeypatch):
    """Neither PostScript, for which Pillow would start a program, nor the other formats that it knows."""
    monkeypatch.setattr("subprocess.Popen", lambda *args, **more: pytest.fail(f"started {args}"))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="no picture"):
        images.read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("side", [6_400, 9_600, 14_000])  # above the limit, where Pillow warns, and where it refuses
def test_too_many_pixels_are_refused_before_they_take_memory(tmp_path, side, monkeypatch):
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match="too large.*at most 40,000,000"):
        images.read_picture(tmp_path / "a.png")


def test_cut_short_constant_and_tiny_pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg", "a.tif"):
        Image.fromarray(rng.integers(0, 255, (200, 200), np.uint8)).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:len(whole) // 2])
        with pytest.raises(DataError, match="damaged|no picture"):
            images.read_picture(tmp_path / name)
    for pixels, words in ((np.full((100, 100), 7), "every pixel"), (gradient(30, 100), "at least 64"),
                          (np.full((100, 100), np.nan), "finite"), (np.zeros((2, 3, 4, 5)), "shape")):
        with pytest.raises(DataError, match=words):
            picture.from_array(pixels)


# ---- the frame ----

@given(height=st.integers(64, 4000), width=st.integers(64, 4000),
       sides=st.lists(st.floats(0, 4000), min_size=6, max_size=6))
def test_frame_and_back_is_exact(height, width, sides):
    frame = picture.Frame(height, width)
    np.testing.assert_allclose(frame.to_pixels(frame.to_frame(sides)), sides, atol=1e-8)


@pytest.mark.parametrize("height, width", [(300, 200), (211, 300), (160, 160), (640, 517)])
def test_a_white_box_lands_where_its_sides_say(height, width):
    """A rectangle drawn in the file, found again in the frame: padding, not squashing, and no half-pixel slip."""
    pixels = np.zeros((height, width), np.float32)
    box = np.array([60, 40, 140, 130])
    pixels[box[1]:box[3], box[0]:box[2]] = 1
    framed, frame = picture.put_in_frame(pixels, 160)
    expected = frame.to_frame(box) * 160
    for axis, (low, high) in ((0, expected[[0, 2]]), (1, expected[[1, 3]])):
        mass = framed.sum(axis)
        assert mass.sum() / mass.max() == pytest.approx(high - low, abs=0.6)
        assert (mass * (np.arange(160) + 0.5)).sum() / mass.sum() == pytest.approx((low + high) / 2, abs=0.05)
        assert framed.max(axis).max() == pytest.approx(1, abs=1e-4)


# ---- boxes.csv ----

@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(gradient(200, 240).astype(np.uint8)).save(tmp_path / "images" / name)
    pd.DataFrame([["a.png", 80, 60, 160, 150, 20, 220], ["b.png", 70, 50, 150, 140, 25, 215]],
                 columns=["image", *picture.SIDES]).to_csv(tmp_path / "boxes.csv", index=False)
    return tmp_path


def test_a_folder_of_pictures_and_boxes(folder):
    dataset = images.load_xrays(folder, size=96)
    assert dataset.pictures.shape == (2, 1, 96, 96) and dataset.targets.shape == (2, 7)
    np.testing.assert_allclose(dataset.to_pixels(dataset.sides)[0], [80, 60, 160, 150, 20, 220], atol=1e-4)
    assert picture.cardiothoracic_ratio(dataset.sides)[0] == pytest.approx(0.4, abs=1e-6)
    assert len(dataset[np.array([1])]) == 1 and dataset[1][1].shape == (6,) and "ratio" in repr(dataset)
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=2)))
    assert batch[0].shape == (2, 1, 96, 96)


@pytest.mark.parametrize("column, value, words", [
    ("heart_x1", 300, "outside"), ("heart_y0", -3, "outside"), ("thorax_x1", 241, "outside"),
    ("heart_x0", 170, "x0 >= x1"), ("thorax_x0", 230, "x0 >= x1"), ("heart_y1", "tall", "no number"),
    ("image", "absent.png", "no image file"), ("image", "b.png", "twice"),
])
def test_wrong_boxes_name_the_row(folder, column, value, words):
    table = pd.read_csv(folder / "boxes.csv").astype(object)
    table.loc[0, column] = value
    table.to_csv(folder / "boxes.csv", index=False)
    with pytest.raises(DataError, match=words) as error:
        images.load_xrays(folder)
    assert "(line 2)" in str(error.value) or words == "twice"


def test_missing_table_or_column(folder):
    pd.read_csv(folder / "boxes.csv").drop(columns="heart_y1").to_csv(folder / "boxes.csv", index=False)
    with pytest.raises(DataError, match="heart_y1"):
        images.load_xrays(folder)
    for content in (b"", b"\x89PNG\r\n\x1a\n\0\xff\xfe" * 9, b"a,b\n1,2,3,4\n\"", b"image\n", b"\0\n" * 50):
        (folder / "boxes.csv").write_bytes(content)
        with pytest.raises(DataError, match="boxes.csv .*Expected a table with a row a picture and the columns image"):
            images.read_boxes(folder / "boxes.csv")
    (folder / "boxes.csv").unlink()
    with pytest.raises(DataError, match="boxes.csv is missing"):
        images.load_xrays(folder)


# ---- picture and box changed together ----

def ellipse_pictures(sides, size=160):
    """(n, 1, size, size): a bright ellipse filling each heart box."""
    place = (torch.arange(size) + 0.5) / size
    x0, y0, x1, y1 = sides[:, :4].T.reshape(4, -1, 1, 1)
    u = (place[None, None] - (x0 + x1) / 2) / (x1 - x0) * 2
    v = (place[None, :, None] - (y0 + y1) / 2) / (y1 - y0) * 2
    return torch.sigmoid((1 - (u**2 + v**2).sqrt()) * 60)[:, None]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_box_still_touches_the_moved_heart(seed):
    generator = torch.Generator().manual_seed(seed)
    sides = torch.tensor([[0.35, 0.40, 0.75, 0.68, 0.1, 0.9]]).repeat(8, 1)
    strength = augment.Strength(rotation_degrees=25, shear=0.15)
    matrix, shift = augment.draw_affine(8, strength, generator)
    shift = augment.keep_heart_inside(sides, matrix, shift)
    moved = augment.move_pictures(ellipse_pictures(sides), matrix, shift, "zeros")[:, 0]
    expected = augment.move_sides(sides, matrix, shift)[:, :4] * 160
    for moved_picture, box in zip(moved, expected):
        columns, rows = np.flatnonzero(moved_picture.amax(0) > 0.5), np.flatnonzero(moved_picture.amax(1) > 0.5)
        seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(seen, box, atol=1.6)


def test_turning_does_not_inflate_the_box():
    """A round heart keeps its box at any angle; its turned corners would give one 41 % wider at 45 degrees."""
    angle = torch.tensor(torch.pi / 4)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(1, 2, 2)
    box = torch.tensor([[0.3, 0.3, 0.7, 0.7]])
    np.testing.assert_allclose(augment.move_ellipses(box, turn, torch.zeros(1, 2)), box, atol=1e-6)


def test_a_mirrored_picture_and_its_sides_go_together():
    sides = torch.tensor([[0.3, 0.4, 0.6, 0.7, 0.1, 0.8], [0.5, 0.2, 0.9, 0.5, 0.2, 0.95]])
    mirrored = augment.mirror_sides(sides)
    assert torch.allclose(mirrored[0], torch.tensor([0.4, 0.4, 0.7, 0.7, 0.2, 0.9]))
    assert torch.allclose(augment.mirror_sides(mirrored), sides)
    still = dict(zoom=0, stretch=0, rotation_degrees=0, shear=0, shift=0, tone=0, negatives=0)
    for share, expected in ((1.0, mirrored), (0.0, sides)):
        pictures, targets = augment.augment(ellipse_pictures(sides), torch.cat([sides, torch.ones(2, 1)], 1),
                                                 torch.Generator().manual_seed(0),
                                                 augment.Strength(mirrored=share, **still))
        columns = pictures[:, 0, 60:100].mean(1)  # the hearts are where their sides say
        inside = (torch.arange(160) + 0.5) / 160
        for row, (x0, _, x1, *_) in zip(columns, expected):
            heart = (inside > x0 + 0.05) & (inside < x1 - 0.05)
            assert row[heart].mean() > row[~heart].mean() + 0.2


def test_augmentation_repeats_with_its_seed_and_keeps_the_heart_inside():
    sides = torch.tensor([[0.35, 0.40, 0.75, 0.68, 0.1, 0.9, 1.0]]).repeat(16, 1)
    pictures = ellipse_pictures(sides, 64)
    once, again, other = (augment.augment(pictures.clone(), sides, torch.Generator().manual_seed(seed))
                          for seed in (1, 1, 2))
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1]) and not torch.equal(once[0], other[0])
    assert torch.isfinite(once[0]).all() and once[1][:, :6].min() > 0 and once[1][:, :6].max() < 1
    assert 0 < augment.augment(pictures.repeat(8, 1, 1, 1), sides.repeat(8, 1),
                                    torch.Generator().manual_seed(3))[1][:, 6].mean() < 1


def test_equalised_pictures_forget_the_tone_curve():
    seen = torch.rand(2, 1, 60, 60, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(augment.equalise(seen**2), augment.equalise(seen), atol=0.02)
    np.testing.assert_allclose(augment.equalise(1 - seen), 1 - augment.equalise(seen), atol=2e-3)
