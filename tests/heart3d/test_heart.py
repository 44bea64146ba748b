"""Mesh and points on disk, surface, inside, interpolation, segments, pictures and films."""
import matplotlib.pyplot as plt
import numpy as np
import pytest
import small_heart
from PIL import Image
from scipy.interpolate import RBFInterpolator

from cardiac_ml.heart3d import mesh as heart, pictures as heart_pictures, raster as heart_raster
from cardiac_ml.files import DataError
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


def changed(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))
    return path


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


def rewritten(change):
    """Damage a file by a function of its text."""
    return lambda path: path.write_text(change(path.read_text()))


def first_number(text, new):
    """The text with the first coordinate of its third point replaced."""
    return text.replace(text.split("\n")[3].split(",")[0], new, 1)


MESH_DAMAGE = {
    "cut off in the cells": (rewritten(lambda text: text.split("CELL_TYPES")[0][:-900]), "cut off"),
    "cut off in the points": (rewritten(lambda text: text[:9_000]), "POINTS.*promises"),
    "cut off at the types": (rewritten(lambda text: text[:-40]), "CELL_TYPES.*cut off"),
    "another shape": (rewritten(lambda text: text.replace("\n10\n10\n", "\n10\n5\n", 1)), "triangles"),
    "no tetrahedra": (rewritten(lambda text: text.split("\nCELLS")[0] + "\nCELLS 0 0\nCELL_TYPES 0\n"),
                      "no cells.*expected tetrahedra"),
    "a word": (lambda path: changed(path, "\n4 ", "\n4 x"), "CELLS.*x"),
    "a corner that is not there": (lambda path: changed(path, "\n4 0 ", "\n4 9000 "), "9000, but"),
    "a broken cell": (lambda path: changed(path, "\n4 ", "\n3 "), "four corners"),
    "NaN": (lambda path: changed(path, "double\n", "double\nnan "), "promises"),
    "binary": (lambda path: changed(path, "ASCII", "BINARY"), "ASCII"),
    "bytes": (lambda path: path.write_bytes(b"\x80\xff" * 100), "plain text"),
    "another grid": (lambda path: changed(path, "UNSTRUCTURED_GRID", "POLYDATA"), "UNSTRUCTURED_GRID"),
    "empty": (lambda path: path.write_text(""), "begins with"),
    "missing": (lambda path: path.unlink(), "simulate geometry"),
}


@pytest.mark.parametrize("damage", MESH_DAMAGE)
def test_a_damaged_mesh_is_refused_with_the_reason(files, damage):
    path = files / "heart_mesh.vtk"
    break_it, words = MESH_DAMAGE[damage]
    break_it(path)
    with pytest.raises(DataError, match=f"(?s){path.name}.*({words})"):
        heart.read_mesh(path)


POINT_DAMAGE = {
    "74 points": (rewritten(lambda text: text[:text.rindex("\n", 0, -1) + 1]), "74 points.*SEPTM_AHA14_RV13"),
    "doubled name": (lambda path: changed(path, "'AHA02'", "'AHA01'"), "doubled: AHA01; missing: AHA02"),
    "unknown name": (lambda path: changed(path, "'RV07'", "'RV77'"), "missing: RV07; unknown: RV77"),
    "other order": (rewritten(lambda text: "\n".join(text.splitlines()[:1] + text.splitlines()[:0:-1])), "order"),
    "NaN": (rewritten(lambda text: first_number(text, "nan")), "AHA03 have NaN"),
    "a word": (rewritten(lambda text: first_number(text, "x")), "three numbers"),
    "no header": (rewritten(lambda text: "\n".join(text.splitlines()[1:])), "expected .*Points:0"),
    "empty": (lambda path: path.write_text(""), "columns"),
}


@pytest.mark.parametrize("damage", POINT_DAMAGE)
def test_damaged_points_are_refused_with_the_reason(files, damage):
    break_it, words = POINT_DAMAGE[damage]
    break_it(files / "points.csv")
    with pytest.raises(DataError, match=f"(?s)points.csv.*({words})"):
        read_points(files / "points.csv")


def test_points_of_another_heart_or_unit_are_refused(files, points):
    write_points(files / "points.csv", points.assign(x=points.x / 1000, y=points.y / 1000, z=points.z / 1000))
    with pytest.raises(DataError, match="75 of 75 recording points lie outside .*AHA01.* mm"):
        heart.default_heart(files)


@pytest.mark.parametrize("nodes, cells, words", [
    (np.zeros((4, 3)), np.zeros((0, 4), dtype=int), "tetrahedra"),
    (np.zeros((4, 3)), np.array([[0, 1, 2]]), "surface alone"),
    (np.zeros((4, 2)), np.array([[0, 1, 2, 3]]), r"\(n, 3\)"),
    (np.full((4, 3), np.nan), np.array([[0, 1, 2, 3]]), "NaN"),
    (np.zeros((4, 3)), np.array([[1, 2, 3, 4]]), "count.*from 0"),
    (np.zeros((4, 3)), np.array([[0.0, 1, 2, 3]]), "whole numbers"),
])
def test_a_mesh_must_make_sense(nodes, cells, words):
    with pytest.raises(DataError, match=words):
        heart.Mesh(nodes, cells)


def test_values_of_another_mesh_are_not_written(mesh, tmp_path):
    with pytest.raises(DataError, match="864 points"):
        heart.write_mesh(tmp_path / "a.vtk", mesh, {"activation_ms": np.zeros(75)})
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------- geometry

def test_the_surface_is_closed_and_points_outwards(mesh):
    triangles = heart.surface(mesh)
    edges = np.sort(np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    a, b, c = (mesh.points_mm[triangles[:, k]] for k in range(3))
    enclosed = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6  # the divergence theorem
    assert enclosed == pytest.approx(np.abs(mesh.volumes_mm3).sum(), rel=1e-9)


def test_cells_numbered_the_other_way_round_have_the_same_surface(mesh, places):
    mirrored = heart.Mesh(mesh.points_mm, mesh.tetrahedra[:, [1, 0, 2, 3]])
    a, b = (np.sort(heart.surface(one), axis=1) for one in (mesh, mirrored))
    assert set(map(tuple, a)) == set(map(tuple, b)) and heart.inside(mirrored, places).all()


def test_an_installed_package_makes_the_heart_that_a_clone_reads(monkeypatch, tmp_path):
    kept = heart.default_heart()
    monkeypatch.setattr(heart, "ROOT", tmp_path)  # no geometry/ there
    made = heart.default_heart()
    assert np.allclose(made[0].points_mm, kept[0].points_mm, atol=1e-3) and made[1].equals(kept[1])
    assert (made[0].tetrahedra == kept[0].tetrahedra).all()


def test_overlapping_cells_have_no_surface(mesh):
    with pytest.raises(DataError, match="more than two"):
        heart.surface(heart.Mesh(mesh.points_mm, np.vstack([mesh.tetrahedra, mesh.tetrahedra])))


def test_inside_agrees_with_barycentric_coordinates(mesh, places):
    rng = np.random.default_rng(0)
    some = rng.uniform(mesh.points_mm.min(axis=0), mesh.points_mm.max(axis=0), (60, 3))
    corner = mesh.points_mm[mesh.tetrahedra]
    sides = (corner[:, 1:] - corner[:, :1]).transpose(0, 2, 1)
    share = np.stack([np.linalg.solve(sides, (p - corner[:, 0])[..., None])[..., 0] for p in some])
    expected = ((share >= 0).all(axis=2) & (share.sum(axis=2) <= 1)).any(axis=1)
    assert 5 < expected.sum() < 55 and (heart.inside(mesh, some, 1e-9) == expected).all()
    assert heart.inside(mesh, places).all() and not heart.inside(mesh, places + 500).any()


# -------------------------------------------------------------------------------------------------------- interpolation

def test_linear_rbf_is_exact_at_the_points_and_agrees_with_scipy(mesh, places):
    values = np.random.default_rng(0).normal(60, 30, 75)
    assert np.allclose(heart.interpolate(places, places, values), values, atol=1e-3)
    expected = RBFInterpolator(places, values, kernel="linear")(mesh.points_mm)
    assert np.allclose(heart.interpolation_matrix(places, mesh.points_mm) @ values, expected, atol=1e-3)
    assert heart.interpolation_matrix(places, mesh.points_mm).dtype == np.float32


def test_a_smooth_map_comes_back_nearly(mesh, places):
    matrix = heart.interpolation_matrix(places, mesh.points_mm)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-4)  # a constant stays constant
    off = [np.abs(matrix @ small_heart.activation(places, source) - small_heart.activation(mesh.points_mm, source))
           for source in mesh.points_mm[::40]]
    assert np.mean(off) < 10


def test_missing_values_are_left_out_case_by_case(mesh, places):
    values = np.random.default_rng(1).normal(60, 30, (4, 75))
    values[0, 3], values[2, [3, 70]] = np.nan, np.nan
    result = heart.interpolate(places, mesh.points_mm, values)
    assert np.isfinite(result).all()
    for row, known in ((0, np.arange(75) != 3), (1, np.full(75, True)), (2, ~np.isin(np.arange(75), [3, 70]))):
        expected = heart.interpolate(places[known], mesh.points_mm, values[row, known])
        assert np.allclose(result[row], expected, atol=1e-9)


@pytest.mark.parametrize("values, words", [
    (np.zeros(74), r"\(74,\) for 75"), (np.full(75, np.nan), "Only 0 of 75"), (np.full(75, np.inf), "infinite"),
])
def test_values_that_fit_no_map_are_refused(mesh, places, values, words):
    with pytest.raises(DataError, match=words):
        heart.interpolate(places, mesh.points_mm, values)


def test_points_in_one_place_are_refused(mesh, places):
    with pytest.raises(DataError, match="coincide"):
        heart.interpolation_matrix(places[[0, 0, 1]], mesh.points_mm)


def test_the_wave_keeps_its_front_and_the_traces_of_the_points(mesh, places):
    voltage = small_heart.voltages(small_heart.activation(places))
    times = np.arange(0, 300)
    at_points = heart.wave(places, places, voltage, times).T
    assert np.abs(at_points - voltage[:, :300]).max() < 0.5
    at_nodes = heart.wave(places, mesh.points_mm, voltage, times).T
    plain = (heart.interpolation_matrix(places, mesh.points_mm) @ voltage)[:, :300]
    rise = [np.diff(trace, axis=1).max(axis=1) for trace in (at_nodes, plain, voltage)]
    assert np.median(rise[0]) > 0.9 * np.median(rise[2]) and np.median(rise[1]) < 0.6 * np.median(rise[2])
    with pytest.raises(DataError, match="75"):
        heart.wave(places, mesh.points_mm, voltage.T, times)


def test_segments_are_means_over_their_points():
    values = np.arange(75.0)
    means = heart_pictures.segment_means(values, POINT_NAMES)
    member = [i for i, name in enumerate(POINT_NAMES) if "AHA07" in name]
    assert means.shape == (17,) and means[6] == pytest.approx(np.mean(member))
    with pytest.raises(DataError, match="all 17 segments"):
        heart_pictures.segment_means(values, POINT_NAMES[:70])


def test_segments_average_their_points_without_the_missing(points):
    values = np.zeros(75)
    values[points.name.isin(["AHA08", "SEPTM_AHA08_RV10"])] = 10, 20
    values[points.name == "AHA01"] = np.nan
    values[points.name == "RV01"] = 1e6  # belongs to no segment
    means = heart_pictures.segment_means(values, points.name)
    assert means[7] == 15 and means.sum() == 15
    assert heart_pictures.segment_means(np.stack([values, values + 1]), points.name)[1, 16] == 1
    with pytest.raises(DataError, match="17 segments"):
        heart_pictures.segment_means(values[:30], points.name[:30].str.replace("17", "16"))


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


def test_isochrones_lie_where_the_value_is_a_multiple(mesh, points, places):
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
    voltage = small_heart.voltages(start)
    figures = {
        "maps": heart_pictures.maps(mesh, points, {"a": start, "b": start + 9}, views=["left", (30, 60)], pixels=120),
        "comparison": heart_pictures.comparison(mesh, points, start, start + 4, pixels=120),
        "segments": heart_pictures.bulls_eye(start, points.name),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png", dpi=60)
        plt.close(figure)
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int)
        assert (np.ptp(pixels, axis=2) > 60).mean() > 0.03, name  # it is not blank


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
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
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
    with pytest.raises(DataError, match=words):
        call(mesh, points)
