"""Virtual hearts: shape, mesh, conduction, torso, signals. What they look like together: test_virtual_dataset.py."""
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import diags
from scipy.sparse.linalg import cg

from cardiac_ml.heart3d import mesh as heart_room
from cardiac_ml.activation import upstroke_ms
from cardiac_ml.files import DataError
from cardiac_ml.activation import apd90_ms
from cardiac_ml.heart3d.points import check_points, read_points
from cardiac_ml.virtual import compiled, conduction, signals, torso
from cardiac_ml.virtual.anatomy import Shape, build_heart, draw_shape, muscle
from cardiac_ml.heart3d.mesh import reference_heart
from cardiac_ml.virtual.mesh import mesh_solid, surface_triangles, volumes_mm3
from cardiac_ml.virtual.points import find_places, recording_points
from cardiac_ml.virtual.torso import lead_field, stiffness


@pytest.fixture(scope="module")
def heart():
    return build_heart()


def box(points):
    """Distance to a box of 24 x 20 x 16 mm around (0, 0, 8)."""
    return (np.abs(points - [0, 0, 8]) - [12, 10, 8]).max(axis=1)


@pytest.fixture(scope="module")
def block():
    return mesh_solid(box, (-12, -10, 0), (12, 10, 16), 1.5)


# ---- mesh ----

def closed_and_simple(tetrahedra):
    """Every edge of the surface has two triangles, and the surface is that of a ball (Euler: 2)."""
    triangles = surface_triangles(tetrahedra)
    edges = np.sort(np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    return (count == 2).all() and len(np.unique(triangles)) - len(edges) + len(triangles) == 2


def test_a_meshed_ball_is_a_ball():
    nodes, tetrahedra = mesh_solid(lambda p: np.linalg.norm(p, axis=1) - 12, (-12,) * 3, (12,) * 3, 2.0)
    assert volumes_mm3(nodes, tetrahedra).sum() == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
    assert np.abs(np.linalg.norm(nodes[np.unique(surface_triangles(tetrahedra))], axis=1) - 12).mean() < 0.15
    assert closed_and_simple(tetrahedra)


def test_surface_triangles_look_outwards():
    nodes, tetrahedra = mesh_solid(lambda p: np.linalg.norm(p, axis=1) - 12, (-12,) * 3, (12,) * 3, 2.0)
    a, b, c = np.moveaxis(nodes[surface_triangles(tetrahedra)], 1, 0)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a + b + c) > 0).all()


@pytest.mark.parametrize("number", range(4))
def test_drawn_hearts_are_sound_meshes(number):
    shape = draw_shape(np.random.default_rng(number))
    drawn = build_heart(shape)
    volume = volumes_mm3(drawn.nodes_mm, drawn.tetrahedra)
    assert volume.min() > 0.1 and 75e3 < volume.sum() < 160e3
    assert closed_and_simple(drawn.tetrahedra)
    surface = drawn.nodes_mm[np.unique(surface_triangles(drawn.tetrahedra))]
    assert np.abs(muscle(shape, surface)).mean() < 0.2
    find_places(drawn, recording_points(shape))


def test_fibres_turn_through_the_wall(heart):
    assert np.linalg.norm(heart.fibre, axis=1) == pytest.approx(1)
    assert np.abs(np.einsum("ni,ni->n", heart.fibre, heart.through)).max() < 1e-6
    helix = np.degrees(np.arcsin(heart.fibre[:, 2] / np.sqrt(1 - heart.through[:, 2]**2).clip(0.05)))
    middle = heart.is_left & (np.abs(heart.height - 0.6) < 0.2)
    for depth, angle in ((0.05, 54), (0.5, 0), (0.95, -54)):
        assert helix[middle & (np.abs(heart.depth - depth) < 0.05)].mean() == pytest.approx(angle, abs=8)


@pytest.mark.parametrize("wrong, complaint", [
    (dict(wall_mm=25.0), "thicker than the cavity"), (dict(base_share=-0.1), "below the apex"),
    (dict(rv_wall_mm=40.0), "right wall"), (dict(wall_mm=-1.0), "thinnest"), (dict(lv_length_mm=40.0), "long axis"),
    (dict(rv_offset_mm=2.0), "inside the left"), (dict(rv_offset_mm=90.0), "hardly touch"),
    (dict(lv_radius_mm=float("nan")), "must be a number")])
def test_impossible_anatomy(wrong, complaint):
    with pytest.raises(DataError, match=complaint):
        Shape(**wrong)


def test_a_mesh_too_coarse_for_the_wall():
    with pytest.raises(DataError, match="step_mm"):
        build_heart(step_mm=6.0)


# ---- recording points ----

def test_the_exported_heart_has_the_reference_layout():
    mesh, points = reference_heart()
    check_points(points)
    heart_room.check_inside(mesh, points)
    assert mesh.volumes_mm3.min() > 0 and 7000 < len(mesh.points_mm) < 10000
    assert mesh.points_mm.min(axis=0) == pytest.approx([0, 0, 0], abs=1e-3)
    where = points.set_index("name")[["x", "y", "z"]]
    assert where.loc["AHA17", "z"] < 10 < 60 < where.loc["AHA05", "z"] < 75
    assert where.x.idxmax() == "EPI_AHA05" and where.loc["AHA01", "y"] < where.loc["AHA04", "y"] - 40
    right = [name for name in where.index if name.startswith("EPI_RV")]
    assert where.loc[right, "x"].max() < where.loc["AHA17", "x"]


def test_the_points_lie_where_the_published_ones_do(real_data):
    published = read_points(real_data / "llnl_geometry" / "points.csv")[["x", "y", "z"]].to_numpy()
    own = recording_points(Shape())
    shift = (published - own).mean(axis=0)
    assert np.linalg.norm(published - own - shift, axis=1).mean() < 6


def test_places_give_back_their_points(heart):
    points = recording_points(heart.shape)
    places = find_places(heart, points)
    assert np.einsum("pc,pci->pi", places.share, heart.nodes_mm[places.corners]) == pytest.approx(points, abs=0.6)
    with pytest.raises(DataError, match="outside the muscle"):
        find_places(heart, [[0.0, 0.0, 60.0]])


# ---- conduction ----

def solve(nodes, tetrahedra, tensor, sources, slowness=None):
    paths = conduction.make_paths(nodes, tetrahedra, tensor)
    start = np.full((len(nodes), len(sources)), conduction.NEVER_MS)
    for k, source in enumerate(sources):
        near = np.linalg.norm(nodes - source, axis=1) < 4
        away = nodes[near] - source
        start[near, k] = np.sqrt(np.einsum("ni,nij,nj->n", away, tensor[near], away))
    return conduction.first_arrivals(paths, start, np.ones_like(start) if slowness is None else slowness)


def test_fronts_run_at_the_given_speeds(block):
    nodes, tetrahedra = block
    fibre, through = np.tile([0.6, 0.8, 0], (len(nodes), 1)), np.tile([0.0, 0, 1], (len(nodes), 1))
    tensor = conduction.slowness_tensor(fibre, through, np.tile([0.6, 0.4, 0.3], (len(nodes), 1)))
    sources = np.array([[0.0, 0, 8], [-10, -8, 2]])
    found = solve(nodes, tetrahedra, tensor, sources)
    for k, source in enumerate(sources):
        away = nodes - source
        exact = np.sqrt(np.einsum("ni,nij,nj->n", away, tensor, away))
        assert np.abs(found[:, k] - exact).mean() < 0.03 * exact.max()
        assert (found[:, k] > exact - 0.05).all()     # no way is shorter than the straight one


def test_two_sites_give_the_earlier_of_both(block):
    nodes, tetrahedra = block
    tensor = np.tile(4 * np.eye(3), (len(nodes), 1, 1))
    paths = conduction.make_paths(nodes, tetrahedra, tensor)
    start = np.full((len(nodes), 3), conduction.NEVER_MS)
    one, other = (np.linalg.norm(nodes - site, axis=1).argmin() for site in ([-9, 0, 4], [9, 5, 12]))
    start[one, [0, 2]], start[other, [1, 2]] = 0, 3
    times = conduction.first_arrivals(paths, start, np.ones_like(start))
    gain = times[:, :2].min(axis=1) - times[:, 2]  # on the ridge where fronts meet the straight line cuts a corner
    assert gain.min() > -0.05 and gain.mean() < 0.02 and (gain > 0.05).mean() < 0.02


def test_slower_and_dead_muscle(block):
    nodes, tetrahedra = block
    tensor = np.tile(4 * np.eye(3), (len(nodes), 1, 1))
    slowness = np.ones((len(nodes), 3), np.float32)
    slowness[:, 1] = 2
    wall = (np.abs(nodes[:, 0]) < 2.5) & (nodes[:, 1] < 4)          # a dead wall with a way round it
    slowness[wall, 2] = np.inf
    times = solve(nodes, tetrahedra, tensor, [[-10.0, -6, 8]] * 3, slowness)
    far = np.linalg.norm(nodes - [-10, -6, 8], axis=1) > 8
    assert (times[far, 1] > 1.4 * times[far, 0]).all()
    assert np.isnan(times[wall, 2]).all() and np.isfinite(times[~wall, 2]).all()
    behind = (nodes[:, 0] > 6) & (nodes[:, 1] < -6)
    assert (times[behind, 2] > times[behind, 0] + 10).all()


def test_a_case_alone_and_in_company(block):
    nodes, tetrahedra = block
    tensor = np.tile(4 * np.eye(3), (len(nodes), 1, 1))
    sources = np.random.default_rng(0).uniform((-12, -10, 0), (12, 10, 16), (70, 3))
    together = solve(nodes, tetrahedra, tensor, sources)
    assert solve(nodes, tetrahedra, tensor, sources[66:67])[:, 0] == pytest.approx(together[:, 66], abs=0.1)


@pytest.mark.parametrize("speed", [0.0, -0.5, float("nan")])
def test_speeds_must_be_positive(block, speed):
    nodes, tetrahedra = block
    axes = np.tile([1.0, 0, 0], (len(nodes), 1)), np.tile([0.0, 0, 1], (len(nodes), 1))
    with pytest.raises(DataError, match="positive"):
        conduction.slowness_tensor(*axes, np.tile([0.6, 0.4, speed], (len(nodes), 1)))
    paths = conduction.make_paths(nodes, tetrahedra, np.tile(np.eye(3), (len(nodes), 1, 1)))
    with pytest.raises(DataError, match="positive"):
        conduction.first_arrivals(paths, np.zeros((len(nodes), 1)), np.full((len(nodes), 1), speed))


def test_without_a_place_for_machine_code_it_is_translated_again(monkeypatch):
    asked = []

    def njit(**options):
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)
    assert compiled.compiled(len) is len and asked == [True, False]


# ---- torso ----

def test_a_constant_voltage_makes_no_ecg(heart):
    matrix = stiffness(heart, (0.6, 0.4, 0.3))
    for kind in torso.LEAD_FIELDS:
        weights = lead_field(heart, matrix, torso.average_torso(-146), kind)
        assert np.abs(weights.sum(axis=1)).max() < 1e-4 * np.abs(weights).sum(axis=1).max()
    with pytest.raises(DataError, match="Unknown lead field"):
        lead_field(heart, matrix, torso.average_torso(-146), "cube")
    with pytest.raises(DataError, match="sticks out"):
        lead_field(heart, matrix, replace(torso.average_torso(-146), radius_mm=60.0))


def test_a_body_is_never_too_small_for_its_heart(heart):
    body = torso.average_torso(-146)
    assert torso.around(heart, body) is body
    grown = torso.around(heart, replace(body, radius_mm=60.0))
    assert 60 < grown.radius_mm < body.radius_mm
    assert np.isfinite(lead_field(heart, stiffness(heart, (0.6, 0.4, 0.3)), grown)).all()


def test_no_current_leaves_the_insulated_sphere():
    body = torso.average_torso(-146)
    moved = replace(body, heart_mm=np.zeros(3))
    around = np.random.default_rng(0).normal(size=(200, 3))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    inner, outer = (torso._in_sphere(r * around, moved) for r in (body.radius_mm - 0.2, body.radius_mm - 0.1))
    ways = body.electrodes_mm / np.linalg.norm(body.electrodes_mm, axis=1, keepdims=True)
    far = (around @ ways.T) < 0.5
    slope = (outer - inner) / 0.1 * body.radius_mm**2
    assert slope[far] == pytest.approx(-1, abs=0.02)    # the same everywhere: what the source gives leaves evenly


def test_stiffness_is_the_integral_of_the_squared_gradient(heart):
    matrix = stiffness(heart, (0.6, 0.6, 0.6))
    way = np.array([1.0, -2.0, 0.5])
    v = heart.nodes_mm @ way
    volume = volumes_mm3(heart.nodes_mm, heart.tetrahedra).sum()
    assert v @ (matrix @ v) == pytest.approx(torso.SIGMA_FIBRE * (way @ way) * volume, rel=1e-3)


# ---- signals ----

@pytest.fixture(scope="module")
def recorded():
    """Times, durations and layers of 300 made-up cells, and their weights for 3 electrodes."""
    rng = np.random.default_rng(0)
    return (rng.uniform(5, 120, 300).astype(np.float32), rng.uniform(230, 380, 300).astype(np.float32),
            rng.integers(0, 3, 300), rng.normal(size=(3, 300)).astype(np.float32))


def test_binned_ecg_is_the_sum_over_cells(recorded):
    start, apd, layer, weights = recorded
    exact = weights @ (signals.voltage_of(start, apd, layer) - signals.voltage_of(np.full(300, np.nan), apd, layer))
    exact = gaussian_filter1d(exact, signals.FRONT_MS, axis=1)
    found = signals.ecg_of(weights, start, apd, layer)
    assert np.sqrt(((found - exact)**2).mean()) < 0.01 * exact.std()


def test_voltages_start_and_last_as_told(recorded):
    start, apd, layer, _ = recorded
    voltage = signals.voltage_of(start, apd, layer, 600, 0.5)
    assert upstroke_ms(voltage) == pytest.approx(start, abs=0.6)      # read off 1 ms samples
    assert apd90_ms(voltage[:, None])[:, 0] == pytest.approx(apd, abs=4)
    silent = signals.voltage_of(np.array([np.nan]), np.array([np.nan]), np.array([1]))
    assert np.ptp(silent) == 0 and -90 < silent[0, 0] < -80


def test_coupling_evens_out_recovery(heart):
    matrix = stiffness(heart, (0.6, 0.4, 0.3)) * np.float32(signals.Repolarisation().coupling_mm**2 / torso.SIGMA_FIBRE)
    share = np.repeat(volumes_mm3(heart.nodes_mm, heart.tetrahedra) / 4, 4)
    volume = np.bincount(heart.tetrahedra.ravel(), share).astype(np.float32)
    wanted = (300 + 40 * heart.depth[:, None] + np.random.default_rng(0).normal(0, 20, (len(volume), 1)))
    even = signals.coupled(matrix, volume, wanted)
    assert even.std() < 0.4 * wanted.std()
    assert (volume @ even) == pytest.approx(volume @ wanted, rel=1e-3)
    smooth = (300 + 40 * heart.depth + 30 * heart.height)[:, None]
    even = signals.coupled(matrix, volume, smooth)[:, 0]
    exact = cg(diags(volume.astype(float)) + matrix.astype(float), volume * smooth[:, 0], rtol=1e-8)[0]
    assert np.abs(even - exact).mean() < 0.3
