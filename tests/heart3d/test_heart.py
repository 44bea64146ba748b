"""Mesh and points on disk, surface, inside, interpolation, segments, pictures and films."""
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import small_heart
from PIL import Image, ImageSequence
from scipy.interpolate import RBFInterpolator
from tiny import message

from cardiac_ml.heart3d import mesh as heart, pictures as heart_pictures, raster as heart_raster
from cardiac_ml.heart3d.points import read_points, write_points
from cardiac_ml.virtual.points import POINT_NAMES


@pytest.fixture(scope="module")
def mesh():
    return small_heart.wall()


@pytest.fixture(scope="module")
def points():
    return small_heart.points()


@pytest.fixture(scope="module")
def places(points):
    return points[["x", "y", "z"]].to_numpy()


@pytest.fixture
def files(mesh, points, tmp_path):
    """A folder with the two files of a heart."""
    heart.write_mesh(tmp_path / "heart_mesh.vtk", mesh)
    write_points(tmp_path / "points.csv", points)
    return tmp_path


# --------------------------------------------------------------------------------------------------------------- files

def test_mesh_and_points_come_back_as_written(files, mesh, points):
    read, table = heart.default_heart(files)
    assert np.allclose(read.points_mm, mesh.points_mm, atol=1e-5) and (read.tetrahedra == mesh.tetrahedra).all()
    assert table.equals(points)  # every digit
    lines = (files / "points.csv").read_text().splitlines()
    assert lines[0] == '"Points:0","Points:1","Points:2","Name"' and lines[1].endswith(",'AHA01'") and len(lines) == 76


def test_values_for_paraview_stand_in_the_file(mesh, tmp_path):
    values = np.arange(len(mesh.points_mm)) / 3
    path = heart.write_mesh(tmp_path / "a.vtk", mesh, {"activation_ms": values, "error_ms": -values})
    text = path.read_text()
    assert text.count(f"POINT_DATA {len(values)}") == 1 and text.count("LOOKUP_TABLE default") == 2
    stored = text.split("SCALARS activation_ms double 1\nLOOKUP_TABLE default\n")[1].split("SCALARS")[0].split()
    assert np.allclose(np.array(stored, dtype=float), values, rtol=1e-6)
    assert (heart.read_mesh(path).tetrahedra == mesh.tetrahedra).all()  # the values do not disturb reading


def test_reference_files_are_read_as_they_are(real_data):
    mesh, points = heart.default_heart(real_data / "llnl_geometry")
    assert mesh.points_mm.shape == (8033, 3) and mesh.tetrahedra.shape == (26854, 4)
    assert np.abs(mesh.volumes_mm3).sum() / 1000 == pytest.approx(109, abs=1) and mesh.volumes_mm3.min() > 0
    assert len(heart.surface(mesh)) == 14204
    assert points.name.tolist() == list(POINT_NAMES)
    assert points.loc[16, ["x", "y", "z"]].tolist() == [69.66474, 32.63017, 6.308933]
    assert heart.interpolation_matrix(points[["x", "y", "z"]], mesh.points_mm).shape == (8033, 75)


def changed(old, new):
    return lambda text: text.replace(old, new, 1)


def third_x(new):
    """The first coordinate of the third point is another one."""
    return lambda text: text.replace(text.split("\n")[3].split(",")[0], new, 1)


MESH_DAMAGE = [
    (lambda text: text.split("CELL_TYPES")[0][:-900], "cut off"), (lambda text: text[:9_000], "POINTS.*promises"),
    (lambda text: text[:-40], "CELL_TYPES.*cut off"), (changed("\n10\n10\n", "\n10\n5\n"), "triangles"),
    (lambda text: text.split("\nCELLS")[0] + "\nCELLS 0 0\nCELL_TYPES 0\n", "no cells.*expected tetrahedra"),
    (changed("\n4 ", "\n4 x"), "CELLS.*x"), (changed("\n4 0 ", "\n4 9000 "), "9000, but"),
    (changed("\n4 ", "\n3 "), "four corners"), (changed("double\n", "double\nnan "), "promises"),
    (changed("ASCII", "BINARY"), "ASCII"), (lambda text: "\x80\xff" * 100, "plain text"),
    (changed("UNSTRUCTURED_GRID", "POLYDATA"), "UNSTRUCTURED_GRID"), (lambda text: "", "begins with"),
]
POINT_DAMAGE = [
    (lambda text: text[:text.rindex("\n", 0, -1) + 1], "74 points.*SEPTM_AHA14_RV13"),
    (changed("'AHA02'", "'AHA01'"), "doubled: AHA01; missing: AHA02"),
    (changed("'RV07'", "'RV77'"), "missing: RV07; unknown: RV77"),
    (lambda text: "\n".join(text.splitlines()[:1] + text.splitlines()[:0:-1]), "order"),
    (third_x("nan"), "AHA03 have NaN"), (third_x("x"), "three numbers"),
    (lambda text: "\n".join(text.splitlines()[1:]), "expected .*Points:0"), (lambda text: "", "columns"),
]


@pytest.mark.parametrize("name, read, damage, words", [
    *(("heart_mesh.vtk", heart.read_mesh, *row) for row in MESH_DAMAGE),
    *(("points.csv", read_points, *row) for row in POINT_DAMAGE)])
def test_damaged_files_are_refused_with_the_reason(files, name, read, damage, words):
    text = (files / name).read_text()
    (files / name).write_text(damage(text), encoding="latin-1")  # where bytes from 128 up are no UTF-8
    assert re.search(f"(?s){name}.*({words})", message(read, files / name))


def test_what_does_not_belong_together_is_refused(files, mesh, points):
    write_points(files / "points.csv", points.assign(x=points.x / 1000, y=points.y / 1000, z=points.z / 1000))
    assert re.search("75 of 75 recording points lie outside .*AHA01.* mm", message(heart.default_heart, files))
    path = files / "heart_mesh.vtk"
    path.unlink()
    assert "heart_mesh.vtk is not there. `python -m cardiac_ml simulate geometry`" in message(heart.read_mesh, path)
    assert "864 points" in message(heart.write_mesh, path, mesh, {"activation_ms": np.zeros(75)})
    assert [path.name for path in files.iterdir()] == ["points.csv"]


@pytest.mark.parametrize("nodes, cells, words", [
    (np.zeros((4, 3)), np.zeros((0, 4), dtype=int), "tetrahedra"),
    (np.zeros((4, 3)), np.array([[0, 1, 2]]), "surface alone"),
    (np.zeros((4, 2)), np.array([[0, 1, 2, 3]]), r"\(n, 3\)"),
    (np.full((4, 3), np.nan), np.array([[0, 1, 2, 3]]), "NaN"),
    (np.zeros((4, 3)), np.array([[1, 2, 3, 4]]), "count.*from 0"),
    (np.zeros((4, 3)), np.array([[0.0, 1, 2, 3]]), "whole numbers"),
])
def test_a_mesh_must_make_sense(nodes, cells, words):
    assert re.search(words, message(heart.Mesh, nodes, cells))


# ------------------------------------------------------------------------------------------------------------- geometry

def test_the_surface_is_closed_and_points_outwards_however_cells_are_numbered(mesh, places):
    mirrored = heart.Mesh(mesh.points_mm, mesh.tetrahedra[:, [1, 0, 2, 3]])
    for one in (mesh, mirrored):
        triangles = heart.surface(one)
        edges = np.sort(np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
        a, b, c = mesh.points_mm[triangles].transpose(1, 0, 2)
        enclosed = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6  # the divergence theorem
        assert enclosed == pytest.approx(np.abs(mesh.volumes_mm3).sum(), rel=1e-9)
        assert heart.inside(one, places).all() and not heart.inside(one, places + 500).any()
    a, b = (np.sort(heart.surface(one), axis=1) for one in (mesh, mirrored))
    assert set(map(tuple, a)) == set(map(tuple, b))
    twice = heart.Mesh(mesh.points_mm, np.vstack([mesh.tetrahedra, mesh.tetrahedra]))
    assert "more than two" in message(heart.surface, twice)


def test_an_installed_package_makes_the_heart_that_a_clone_reads(monkeypatch, tmp_path):
    kept = heart.default_heart()
    monkeypatch.setattr(heart, "ROOT", tmp_path)  # no geometry/ there
    made = heart.default_heart()
    assert np.allclose(made[0].points_mm, kept[0].points_mm, atol=1e-3) and made[1].equals(kept[1])
    assert (made[0].tetrahedra == kept[0].tetrahedra).all()


def test_inside_agrees_with_barycentric_coordinates(mesh):
    rng = np.random.default_rng(0)
    some = rng.uniform(mesh.points_mm.min(axis=0), mesh.points_mm.max(axis=0), (60, 3))
    corner = mesh.points_mm[mesh.tetrahedra]
    sides = (corner[:, 1:] - corner[:, :1]).transpose(0, 2, 1)
    share = np.stack([np.linalg.solve(sides, (p - corner[:, 0])[..., None])[..., 0] for p in some])
    expected = ((share >= 0).all(axis=2) & (share.sum(axis=2) <= 1)).any(axis=1)
    assert 5 < expected.sum() < 55 and (heart.inside(mesh, some, 1e-9) == expected).all()


# -------------------------------------------------------------------------------------------------------- interpolation

def test_linear_rbf_is_exact_at_the_points_and_agrees_with_scipy(mesh, places):
    values, matrix = np.random.default_rng(0).normal(60, 30, 75), heart.interpolation_matrix(places, mesh.points_mm)
    assert np.allclose(heart.interpolate(places, places, values), values, atol=1e-3)
    assert np.allclose(matrix @ values, RBFInterpolator(places, values, kernel="linear")(mesh.points_mm), atol=1e-3)
    assert matrix.dtype == np.float32 and np.allclose(matrix.sum(axis=1), 1, atol=1e-4)  # a constant stays constant


def test_missing_values_are_left_out_case_by_case(mesh, places):
    values = np.random.default_rng(1).normal(60, 30, (4, 75))
    values[0, 3], values[2, [3, 70]] = np.nan, np.nan
    result = heart.interpolate(places, mesh.points_mm, values)
    for found, given in zip(result, values):
        known = np.isfinite(given)
        expected = heart.interpolate(places[known], mesh.points_mm, given[known])
        assert np.isfinite(found).all() and np.allclose(found, expected, atol=1e-9)


def test_values_and_points_that_fit_no_map_are_refused(mesh, places):
    for values, words in ((np.zeros(74), "(74,) for 75"), (np.full(75, np.nan), "Only 0 of 75"),
                          (np.full(75, np.inf), "infinite")):
        assert words in message(heart.interpolate, places, mesh.points_mm, values)
    assert "coincide" in message(heart.interpolation_matrix, places[[0, 0, 1]], mesh.points_mm)
    assert "(500, 75) for 75" in message(heart.wave, places, mesh.points_mm, np.zeros((500, 75)), [0])


def test_the_wave_keeps_its_front_and_the_traces_of_the_points(mesh, places):
    voltage = small_heart.voltages(small_heart.activation(places))
    times = np.arange(300)
    at_points = heart.wave(places, places, voltage, times).T
    assert np.abs(at_points - voltage[:, :300]).max() < 0.5
    at_nodes = heart.wave(places, mesh.points_mm, voltage, times).T
    plain = (heart.interpolation_matrix(places, mesh.points_mm) @ voltage)[:, :300]
    kept, blurred, given = (np.median(np.diff(mv, axis=1).max(axis=1)) for mv in (at_nodes, plain, voltage))
    assert kept > 0.9 * given and blurred < 0.6 * given


def test_segments_are_means_over_their_points_without_the_missing(points):
    means = heart_pictures.segment_means(np.arange(75.0), POINT_NAMES)
    assert means.shape == (17,) and means[6] == pytest.approx(np.flatnonzero(points.name.str.contains("AHA07")).mean())
    values = np.zeros(75)
    values[points.name.isin(["AHA08", "SEPTM_AHA08_RV10"])] = 10, 20
    values[points.name == "AHA01"] = np.nan
    values[points.name == "RV01"] = 1e6  # belongs to no segment
    means = heart_pictures.segment_means(np.stack([values, values + 1]), points.name)
    assert means[0, 7] == 15 and means[0].sum() == 15 and means[1, 16] == 1
    assert "all 17 segments" in message(heart_pictures.segment_means, values, POINT_NAMES[:70])
    without = points.name[:30].str.replace("17", "16")
    assert "all 17 segments" in message(heart_pictures.segment_means, values[:30], without)


# ------------------------------------------------------------------------------------------------------------- pictures

def test_the_renderer_shows_the_nearest_triangle():
    near, far = np.array([[0, 0, 1], [4, 0, 1], [0, 4, 1]]), np.array([[0, 0, 0], [8, 0, 0], [0, 8, 0]])
    view = heart_raster.raster(np.vstack([near, far]).astype(float), np.array([[0, 1, 2], [3, 4, 5]]), view=(-90, 90),
                               pixels=80, width_mm=10)  # seen from above: x right, y up
    picture = view.picture(view.values([1.0, 1, 1, 2, 2, 2]))
    column, row = view.flat[0] + [8, -8]  # 1 mm right and up of the common corner
    assert picture[int(row), int(column)] == 1
    column, row = (view.flat[4] + view.flat[5]) / 2 + [-3, 3]
    assert picture[int(row), int(column)] == 2
    assert picture[0, 0] == 0 and view.seen.sum() * (10 / 80) ** 2 == pytest.approx(32, rel=0.05)  # mm2


def test_smoothing_takes_steps_away_and_keeps_the_size(mesh):
    used, triangles = np.unique(heart.surface(mesh), return_inverse=True)
    true, triangles = mesh.points_mm[used], triangles.reshape(-1, 3)
    rough = true + np.random.default_rng(0).uniform(-1, 1, true.shape)
    flat = heart_raster.smoothed(rough, triangles)
    bend = [np.abs(heart_raster.vertex_normals(nodes, triangles) - heart_raster.vertex_normals(true, triangles)).mean()
            for nodes in (rough, flat)]
    assert bend[1] < 0.7 * bend[0]
    assert np.ptp(flat, axis=0) == pytest.approx(np.ptp(true, axis=0), rel=0.06)


def test_isochrones_lie_where_the_value_is_a_multiple(mesh, points):
    surface = heart_pictures.HeartSurface(mesh, points)
    view = heart_raster.raster(surface.nodes_mm, surface.triangles, "left", 400)
    value = small_heart.activation(surface.nodes_mm)
    lines, at_pixels = heart_raster.isochrones(view, value, 10), view.values(value)
    off = np.abs((at_pixels / 10 + 0.5) % 1 - 0.5) * 10
    assert 0.02 < (lines > 0.5).mean() < 0.5
    assert off[lines > 0.9].mean() < 0.6 * off[lines < 0.1].mean()


def test_each_kind_of_picture_is_made(mesh, points, places, tmp_path):
    start = small_heart.activation(places)
    start[5] = np.nan
    figures = {
        "maps": heart_pictures.maps(mesh, points, {"a": start, "b": start + 9}, views=["left", (30, 60)], pixels=120),
        "comparison": heart_pictures.comparison(mesh, points, start, start + 4, pixels=120),
        "segments": heart_pictures.bulls_eye(start, points.name),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / "a.png", dpi=60)
        plt.close(figure)
        pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
        assert (np.ptp(pixels, axis=2) > 60).mean() > 0.03, f"{name} is blank"


def test_early_is_yellow_late_is_blue_and_missing_is_grey(mesh, points, places):
    start = small_heart.activation(places, source_mm=(50, 45, 90))  # from base to apex
    surface = heart_pictures.HeartSurface(mesh, points)
    view, = surface.rasters(["anterior"], 150)
    start[np.argmin(np.abs(places - [50, 10, 40]).sum(axis=1))] = np.nan  # in the middle of what is seen
    picture = heart_pictures.painted_map(view, *surface.spread(start), "plasma_r", heart_pictures.scale([start]))
    rows = np.flatnonzero((picture[..., 3] == 1).any(axis=1))
    colour = [picture[row][picture[row, :, 3] == 1][:, :3].mean(axis=0) for row in rows[[4, -4]]]
    assert colour[0][0] > 0.7 and colour[0][2] < 0.4 and colour[1][2] > colour[1][1] + 0.2
    solid = picture[picture[..., 3] == 1][:, :3]
    missing = (view.values(surface.spread(start)[1]) > 0.5).sum() / heart_pictures.FINE ** 2
    assert missing > 50 and (np.ptp(solid, axis=1) < 0.02).sum() == pytest.approx(missing, rel=0.2)


def test_a_film_has_its_frames_and_moves(mesh, points, places, tmp_path):
    start = small_heart.activation(places)
    path = heart_pictures.gif(tmp_path / "a.gif", mesh, points, {"truth": start, "prediction": start + 5},
                              times_ms=[30, 80, 150], turn=90, pixels=90)
    with Image.open(path) as film:
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
        assert film.info["loop"] == 0 and film.info["duration"] == 50
    assert len(frames) == 3 and all((np.abs(a - b) > 60).any(axis=2).mean() > 0.05 for a, b in zip(frames, frames[1:]))
    assert (frames[0] == 255).all(axis=2).mean() > 0.2  # white stays white
    voltage = small_heart.voltages(start)
    path = heart_pictures.gif(tmp_path / "b.gif", mesh, points, voltage, times_ms=[10, 60], pixels=60)
    assert Image.open(path).n_frames == 2


@pytest.mark.parametrize("call, words", [
    (lambda m, p: heart_pictures.maps(m, p, {"a": np.zeros((75, 500))}), "gif or view.show"),
    (lambda m, p: heart_pictures.maps(m, p, {"a": np.zeros(75)}, views="below"), "Unknown view.*anterior"),
    (lambda m, p: heart_pictures.maps(m, p, {"a": np.full(75, np.nan)}), "missing"),
    (lambda m, p: heart_pictures.maps(m, p.iloc[:74], {"a": np.zeros(74)}), "74 points"),
    (lambda m, p: heart_pictures.gif("no.gif", m, p, {"a": np.zeros(75), "b": np.zeros((75, 9))}), "one kind"),
])
def test_pictures_refuse_what_they_cannot_show(mesh, points, call, words):
    assert re.search(words, message(call, mesh, points))
