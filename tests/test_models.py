"""The heartbeat network and its blocks, saved models, saliency."""
import json
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from cardiac_ml import saved_models
from cardiac_ml.files import DataError
from cardiac_ml.models import HeartbeatNet, ResidualBlock, SqueezeExcite, convolution, lift
from cardiac_ml.saliency import bridged, occlusion
from cardiac_ml.training import predict


def small(classes=3, **config):
    torch.manual_seed(0)
    return HeartbeatNet(classes, width=8, depths=(1, 1), **config).eval()


def rows(count=6, samples=187, seed=0):
    beats = np.random.default_rng(seed).uniform(0.1, 1, (count, samples)).astype(np.float32)
    for row, beat in enumerate(beats):
        beat[samples - 10 * row:] = 0
    return beats


# ---- blocks ----

def test_a_convolution_of_height_one_is_a_convolution_along_time():
    flat = nn.Conv1d(3, 5, 7, stride=2, padding=3, bias=False)
    high = convolution(3, 5, 7, 2)
    high.weight.data = flat.weight.data.unsqueeze(2)
    x = torch.randn(4, 3, 50)
    torch.testing.assert_close(high(lift(x)).squeeze(2), flat(x))


@pytest.mark.parametrize("length", [12, 13])
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_keep_or_halve_time_whatever_the_shape_of_their_input(stride, length):
    block = ResidualBlock(4, 6, stride, squeeze=True).eval()
    x = torch.randn(2, 4, length)
    assert block(x).shape == (2, 6, -(-length // stride))
    torch.testing.assert_close(block(lift(x)).squeeze(2), block(x))


def test_squeeze_excite_weighs_whole_channels():
    x = torch.rand(2, 8, 1, 20) + 0.1
    ratio = SqueezeExcite(8)(x) / x
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))
    assert ((ratio > 0) & (ratio < 1)).all()


# ---- the network ----

def test_one_row_of_scores_a_beat():
    model = small(5)
    assert model(torch.from_numpy(rows())).shape == (6, 5)
    assert model(torch.from_numpy(rows(2, samples=64))).shape == (2, 5)


def test_it_sees_beat_slope_and_end():
    beat = torch.tensor([[0.5, 0.7, 0.0, 0.2, 0.0, 0.0]])
    signal, slope, inside = HeartbeatNet.channels(beat)[0]
    torch.testing.assert_close(inside, torch.tensor([1.0, 1, 1, 1, 0, 0]))  # a zero within the beat is signal
    torch.testing.assert_close(signal, torch.tensor([0.0, 0.4, -1, -0.6, 0, 0]))
    torch.testing.assert_close(slope, torch.tensor([0.0, 1, -3.5, 1, 0, 0]))


def test_rows_do_not_influence_one_another_when_predicting():
    model, beats = small(), torch.from_numpy(rows())
    torch.testing.assert_close(model(beats)[2:3], model(beats[2:3]), atol=1e-5, rtol=1e-5)


def test_a_batch_of_the_wrong_shape_is_named():
    with pytest.raises(DataError, match=r"\(4, 1, 187\)"):
        small()(torch.zeros(4, 1, 187))


def test_gradients_reach_every_weight():
    model = small(squeeze=True).train()
    model(torch.from_numpy(rows(4))).square().sum().backward()
    assert all(weights.grad is not None and weights.grad.abs().sum() > 0 for weights in model.parameters())


# ---- saved models ----

def test_a_saved_model_answers_the_same_and_knows_where_it_comes_from(tmp_path):
    model = small(dropout=0.4)
    saved_models.save(tmp_path / "m.npz", model, data="120 virtual beats", scores={"macro-F1": np.float32(0.5)}, seed=3)
    again = saved_models.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(predict(again, rows()), predict(model, rows()))
    assert again.card["data"] == "120 virtual beats" and again.card["scores"] == {"macro-F1": 0.5}
    assert again.card["seed"] == 3 and again.card["config"] == model.config
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


def rewritten(path, **changes):
    """The same file with another card."""
    card, weights = saved_models.read(path)
    np.savez(path, **weights, **{saved_models.CARD: np.array(json.dumps(card | changes))})


@pytest.mark.parametrize("changes, named", [
    (dict(format=99, kit="7.0"), "format 99 and was saved by version 7.0"),
    (dict(network="Unheard"), r"Unheard, which is not a network.*networks=\[Unheard\]"),
    (dict(config=dict(classes=3, flavour=1), kit="0.0"), "version 0.0 of the kit, which takes other arguments"),
    (dict(config=dict(classes=4, width=8, depths=[1, 1])), r"head.1.weight is \(3, .*\) in the file and \(4, "),
    (dict(config=dict(classes=3, width=8, depths=[1, 1, 1])), "differs from that of this version"),
])
def test_a_model_of_another_version_or_kind_is_refused(tmp_path, changes, named):
    saved_models.save(tmp_path / "m.npz", small())
    rewritten(tmp_path / "m.npz", **changes)
    with pytest.raises(DataError, match=named):
        saved_models.load(tmp_path / "m.npz")


def test_damaged_missing_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "m.npz"
    with pytest.raises(DataError, match="no file"):
        saved_models.load(path)
    saved_models.save(path, small())
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a saved model, or it is damaged"):
            saved_models.load(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(DataError, match="not a saved model"):
        saved_models.load(path)
    with pytest.raises(DataError, match="not a saved model"):
        np.savez(path, **{saved_models.CARD: np.array([object()], dtype=object)})
        saved_models.load(path)


def test_the_file_holds_no_pickles_and_stays_small(tmp_path):
    model = small()
    saved_models.save(tmp_path / "m.npz", model)
    assert all(name.endswith(".npy") for name in zipfile.ZipFile(tmp_path / "m.npz").namelist())
    for name in np.load(tmp_path / "m.npz", allow_pickle=False).files:
        assert np.load(tmp_path / "m.npz", allow_pickle=False)[name].dtype != object


def test_your_own_network_is_saved_and_loaded_by_its_class(tmp_path):
    class Mine(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.config, self.layer = dict(size=size), nn.Linear(size, 1)

        def forward(self, x):
            return self.layer(x)
    model = Mine(4)
    saved_models.save(tmp_path / "m.npz", model)
    again = saved_models.load(tmp_path / "m.npz", networks=[Mine])
    torch.testing.assert_close(again(torch.ones(1, 4)), model(torch.ones(1, 4)))
    with pytest.raises(DataError, match="networks="):
        saved_models.load(tmp_path / "m.npz")
    with pytest.raises(DataError, match="Linear has no config"):
        saved_models.save(tmp_path / "n.npz", nn.Linear(2, 2))


def test_an_exported_program_answers_the_same_for_any_number_of_rows(tmp_path):
    model = small()
    saved_models.export(tmp_path / "m.pt2", model, rows(2))
    program = torch.export.load(tmp_path / "m.pt2").module()
    for count in (1, 2, 6):
        beats = rows(count, seed=count)
        np.testing.assert_allclose(program(torch.from_numpy(beats)).detach(), predict(model, beats), atol=1e-5)


# ---- saliency ----

class LooksAt(nn.Module):
    """Class 1 by the mean of samples 40 to 50, nothing else."""
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        score = 10 * self.weight * x[..., 40:50].mean(-1)
        return torch.stack([-score, score], -1)


def test_occlusion_points_to_what_the_network_looks_at():
    beats = np.full((3, 100), 0.2, dtype=np.float32)
    beats[:, 42:48] = 1
    found = occlusion(LooksAt(), beats, np.array([1, 1, 0]), width=9, step=1)
    assert found.shape == beats.shape
    assert (found[:2, 42:48] > 0.5).all() and np.abs(found[:, :30]).max() == 0 and np.abs(found[:, 60:]).max() == 0
    np.testing.assert_allclose(found[2], -found[0], atol=1e-5)


def test_hiding_a_part_draws_a_straight_line_and_spares_the_padding():
    beat = np.array([[0.1, 0.9, 0.5, 0.3, 0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(bridged(beat, slice(0, 4))[0], [0.1, 0.1 + 0.2 / 3, 0.1 + 0.4 / 3, 0.3, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(bridged(beat, slice(3, 6))[0, 4:], [0, 0])
