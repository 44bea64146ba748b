"""Virtual chest X-rays: a chest of simple solids, X-rayed by the law of Beer and Lambert.

Patient coordinates in mm: x to the patient's left (right in the picture), y down, z to the back. The beam runs along
z (or along x for a lateral view). Soft solids are sampled along the beam; ribs and vessels, too thin for that, are
strings of small balls whose shadows are added. Everything has a size and a place drawn anew for each patient; the box
of the heart and the width of the thorax are those of the solids themselves, also where diaphragm or spine hide them.
"""
import numpy as np
import pandas as pd

VERSION = 1  # raise it with every change that makes other pictures
SOFT_PER_MM, LUNG_SHARE, BONE_PER_MM = 0.019, 0.23, 0.030  # attenuation at about 100 kV
DEPTH_MM = np.linspace(-125, 125, 44, dtype=np.float32)


def draw_chest(rng: np.random.Generator) -> dict[str, float]:
    """Sizes and places (mm) of one patient, all that makes chests differ."""
    thorax = rng.normal(143, 11)  # half-width of the lungs' outline
    ratio = np.clip(rng.normal(0.53, 0.08), 0.36, 0.80)
    width = 2 * thorax * ratio
    return dict(
        thorax=thorax, depth=thorax * rng.uniform(0.60, 0.74), top=rng.normal(-134, 6),
        body=thorax + rng.uniform(14, 45), diaphragm=rng.normal(86, 12), dome=rng.uniform(30, 55),
        left_lower=rng.normal(10, 6), slant=rng.uniform(-0.12, 0.12),
        heart_width=width, heart_height=width * rng.normal(0.84, 0.08), heart_tilt=np.radians(rng.normal(32, 9)),
        heart_shift=rng.normal(0.17, 0.045) * width, heart_sinks=rng.normal(17, 6), heart_z=rng.normal(-25, 8),
        mediastinum=rng.normal(27, 4), arch=rng.uniform(11, 22), arch_x=rng.uniform(22, 36), trunk=rng.uniform(12, 20),
        trachea=rng.uniform(6, 9), rib_tilt=rng.uniform(0.40, 0.75), rib_radius=rng.uniform(3.2, 4.8),
        bone=rng.uniform(0.7, 1.3), breast=rng.choice([0.0, rng.uniform(15, 45)]), gas=rng.uniform(0, 32),
        vessels=rng.uniform(0.6, 1.6), shoulders=rng.uniform(0.3, 1.0),
    )


# ------------------------------------------------------------------------------------------------------- soft solids

def inside(distance, soft_mm: float = 1.5):
    """1 inside, 0 outside, a soft border between; ``distance`` in mm, positive inside."""
    return 1 / (1 + np.exp(np.clip(-distance / np.float32(soft_mm), -30, 30)))


def ellipsoid(x, y, z, centre, half, tilt: float = 0.0):
    """Distance (about, mm) to the surface of an ellipsoid turned by ``tilt`` in the plane of the picture."""
    u, v = x - centre[0], y - centre[1]
    u, v = u * np.cos(tilt) + v * np.sin(tilt), v * np.cos(tilt) - u * np.sin(tilt)
    radius = np.sqrt((u / half[0]) ** 2 + (v / half[1]) ** 2 + ((z - centre[2]) / half[2]) ** 2)
    return (1 - radius) * min(half)


def lungs(chest, x, y, z):
    """Distance to the surface of both lungs, before the heart is put between them."""
    bottom = chest["diaphragm"] + 75
    middle = (chest["top"] + bottom) / 2
    along = np.clip(np.abs(y - middle) / (bottom - middle), 0, 1)
    outline = np.where(y < middle, (1 - along**2.2) ** 0.5, 1 - 0.12 * along)  # an apex, and walls down to the belly
    radius = np.sqrt((x / (chest["thorax"] * outline + 1e-3)) ** 2 + (z / (chest["depth"] * outline + 1e-3)) ** 2)
    wall = (1 - radius) * chest["thorax"] * 0.8
    centre = chest["thorax"] * 0.52
    floor = chest["diaphragm"] + np.where(x > 0, chest["left_lower"], 0) + chest["dome"] * (
        ((np.abs(x) - centre) / (chest["thorax"] * np.where(np.abs(x) < centre, 0.85, 0.52))) ** 2
        + ((z + 20) / chest["depth"]) ** 2 * 0.8)
    return np.minimum(np.minimum(wall, floor - y), np.abs(x - chest["slant"] * 20) - 9)


def heart(chest, x, y, z):
    """Distance to the surface of the heart: the left ventricle, tilted, and the right heart beside it."""
    width, height = chest["heart_width"], chest["heart_height"]
    bottom = chest["diaphragm"] + chest["left_lower"] / 2 + chest["heart_sinks"]
    middle, centre = bottom - height / 2, chest["heart_shift"]
    left = ellipsoid(x, y, z, (centre + 0.10 * width, middle + 0.05 * height, chest["heart_z"]),
                     (0.44 * width, 0.40 * height, 45), chest["heart_tilt"])
    right = ellipsoid(x, y, z, (centre - 0.20 * width, middle + 0.04 * height, chest["heart_z"] - 8),
                      (0.30 * width, 0.42 * height, 40))
    base = ellipsoid(x, y, z, (centre - 0.02 * width, middle - 0.16 * height, chest["heart_z"]),
                     (0.30 * width, 0.34 * height, 40))
    return np.maximum(np.maximum(left, right), base), bottom - height


def great_vessels(chest, x, y, z, top: float):
    """Distance to the surface of mediastinum, aortic arch, pulmonary trunk: no heart, but they hide its upper edge."""
    column = chest["mediastinum"] - np.sqrt((x - chest["slant"] * 20) ** 2 + (z / 2.2) ** 2)
    column = np.minimum(column, 75 - y)
    arch = ellipsoid(x, y, z, (chest["arch_x"] - 8, top - 32, 0), (chest["arch"] + 8, chest["arch"] + 4, 30))
    trunk = ellipsoid(x, y, z, (0.26 * chest["heart_width"], top + 4, -10),
                      (chest["trunk"] + 6, chest["trunk"] + 5, 20))
    aorta = 14 - np.sqrt((x - 18) ** 2 + (z - 45) ** 2)
    return np.maximum(np.maximum(column, arch), np.maximum(trunk, aorta))


def body(chest, x, y, z):
    """Distance to the skin: neck, shoulders, chest, waist."""
    neck = 1 / (1 + np.exp((y - chest["top"] - 8) / 9))
    half = chest["body"] * (1 - 0.06 * np.clip((y - 40) / 120, 0, 1)) * (1 - 0.62 * neck) + (
        chest["shoulders"] * 60 * np.exp(-((y - chest["top"] - 35) / 38) ** 2))
    deep = chest["depth"] + 24 - 30 * neck
    return (1 - np.sqrt((x / half) ** 2 + (z / deep) ** 2)) * deep


def thickness_mm(chest, x, y, view: str):
    """Millimetres of water-like tissue (rows, columns) along the beam, heart's and lungs' shadows among them."""
    beam = DEPTH_MM if view == "frontal" else np.linspace(-190, 190, 66, dtype=np.float32)
    first, second, depth = x[None, :, None], y[:, None, None], beam[None, None, :]
    x3, y3, z3 = (first, second, depth) if view == "frontal" else (depth, second, first)
    beating, top = heart(chest, x3, y3, z3)
    solid = inside(beating)
    lung = inside(lungs(chest, x3, y3, z3)) * (1 - np.maximum(solid, inside(great_vessels(chest, x3, y3, z3, top))))
    skin = inside(body(chest, x3, y3, z3), 3)
    airway = inside(chest["trachea"] - np.sqrt((x3 - 3) ** 2 + (z3 - 8) ** 2)) * (y3 < top - 25)
    gas = inside(ellipsoid(x3, y3, z3, (0.5 * chest["thorax"], chest["diaphragm"] + chest["left_lower"] + 28, -20),
                           (chest["gas"] + 1, 0.5 * chest["gas"] + 1, 25)))
    tissue = skin * (1 - (1 - LUNG_SHARE) * lung) * (1 - np.maximum(airway, gas))
    return tissue.sum(-1) * (beam[1] - beam[0]), solid.max(-1), inside(lungs(chest, x3, y3, z3)).max(-1)


# -------------------------------------------------------------------------------------------------------- thin solids

def rib_points(chest, rng) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) mm along ribs, collar bones and shoulder blades, and the bone (mm2) that each stands for."""
    points, weights = [], []
    angle = np.linspace(0.12, 0.93 * np.pi, 260)  # 0 = at the spine, pi = at the breast bone
    for number in range(10):
        level = chest["top"] - 8 + number * (chest["diaphragm"] - chest["top"] + 45) / 10
        size = np.clip(0.55 + 0.19 * number, 0, 1.03) if number < 3 else 1.03
        fall = chest["thorax"] * chest["rib_tilt"] * (1 - np.cos(angle)) * 0.62 * min(1, 0.5 + 0.15 * number)
        for side in (-1, 1):
            x = side * chest["thorax"] * size * np.sin(angle) ** 0.75
            y = level + fall + rng.normal(0, 1.5)
            points.append(np.stack([x, y, chest["depth"] * size * np.cos(angle)], 1))
            step = np.linalg.norm(np.diff(points[-1], axis=0, prepend=points[-1][:1]), axis=1)
            weights.append(step * np.where(angle < 2.4, 1.0, 0.4) * 60)  # in front they turn into cartilage
    for side in (-1, 1):
        along = np.linspace(0, 1, 90)
        points.append(np.stack([side * (14 + along * chest["thorax"] * 0.98), chest["top"] + 34 - 22 * along
                                + 7 * np.sin(6 * along) + rng.normal(0, 5), np.full(90, -80.0)], 1))
        weights.append(np.full(90, 110.0))
    return np.concatenate(points), np.concatenate(weights)


def vessel_points(chest, rng) -> tuple[np.ndarray, np.ndarray]:
    """Points along the branching vessels of both lungs, from the hila outwards, and the blood (mm2) of each."""
    points, weights = [], []
    for side in (-1, 1):
        for _ in range(22):
            place = np.array([side * rng.uniform(22, 40), chest["diaphragm"] - rng.uniform(60, 95), rng.normal(0, 15)])
            heading = rng.normal(0, 1, 3) + [side * 1.4, 0.3, 0]
            for step in range(90):
                heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.12, 3)
                place = place + 1.2 * heading
                points.append(place)
                weights.append(34 * chest["vessels"] * np.exp(-step / 45))
    return np.array(points), np.array(weights)


def shadow(points, weights, x, y, radius_mm: float, view: str):
    """Millimetres (rows, columns) of matter in balls strung at points: each spread over a disc of this radius."""
    from scipy.ndimage import gaussian_filter

    across = points[:, 0] if view == "frontal" else points[:, 2]
    pixel = x[1] - x[0]
    edges = [np.append(axis - pixel / 2, axis[-1] + pixel / 2) for axis in (y, x)]
    seen, _, _ = np.histogram2d(points[:, 1], across, bins=edges, weights=weights)
    return gaussian_filter(seen, radius_mm / pixel / 1.5) / pixel**2


def bone_mm(chest, x, y, rng, view: str):
    """Millimetres of bone along the beam: ribs, collar bones, spine with its vertebrae and discs."""
    points, weights = rib_points(chest, rng)
    ribs = shadow(points, weights, x, y, chest["rib_radius"], view)
    ribs = 1.3 * ribs - 0.3 * shadow(points, weights, x, y, 0.5 * chest["rib_radius"], view)  # hard rim, softer core
    centre, half = (chest["slant"] * 10, 17) if view == "frontal" else (chest["depth"] - 8, 15)
    disc = 1 - 0.35 * np.exp(-(((y + 200) % 24 - 12) / 3.5) ** 2)
    spine = inside(half - np.abs(x - centre), 2)[None, :] * disc[:, None] * 12
    return chest["bone"] * (np.clip(ribs, 0, None) + spine)


# ---------------------------------------------------------------------------------------------------------- a picture

def radiograph(chest, size: int, rng: np.random.Generator, view: str = "frontal"):
    """One picture (size, size) float32 in 0..1, and its row: the six sides in pixels, mm_per_pixel."""
    field = rng.uniform(1.18, 1.45) * 2 * chest["thorax"]
    pixel = field / size
    axis = (np.arange(size) + 0.5 - size / 2) * pixel
    x, y = np.float32(axis + rng.normal(0, 7)), np.float32(axis + rng.normal(0, 10))
    soft, beating, lung = thickness_mm(chest, x, y, view)
    vessels = shadow(*vessel_points(chest, rng), x, y, 2.0, view) * (lung > 0.5)
    breast = chest["breast"] * sum(inside(ellipsoid(x[None, :], y[:, None], 0, (side * 78, 45, 0), (62, 55, 60)), 6)
                                   for side in (-1, 1)) * (view == "frontal")
    dense = SOFT_PER_MM * (soft + vessels + breast) + BONE_PER_MM * bone_mm(chest, x, y, rng, view) * (soft > 20)
    row = dict(zip(("heart_x0", "heart_y0", "heart_x1", "heart_y1"), _box(beating)), mm_per_pixel=pixel)
    row["thorax_x0"], _, row["thorax_x1"], _ = _box(lung)
    return _exposed(dense, rng), row


def _box(shape) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 of a soft mask, between pixels where it crosses one half."""
    sides = []
    for profile in (shape.max(0), shape.max(1)):
        here = np.flatnonzero(profile > 0.5)
        first, last = here[0], here[-1]
        before = (profile[first] - 0.5) / (profile[first] - profile[first - 1]) if first else 0.5
        after = (profile[last] - 0.5) / (profile[last] - profile[last + 1]) if last + 1 < len(profile) else 0.5
        sides.append((first + 0.5 - before, last + 0.5 + after))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def _exposed(dense, rng):
    """The picture of an attenuation map: Beer and Lambert, scatter, photons counted, the detector's logarithm."""
    from scipy.ndimage import gaussian_filter

    size = len(dense)
    light = np.exp(-dense)
    light = light + rng.uniform(0.10, 0.35) * gaussian_filter(light, size / 14)
    photons = 10 ** rng.uniform(4.0, 5.0)
    light = rng.poisson(light * photons + 20) / photons
    light = gaussian_filter(light, rng.uniform(0.2, 0.8) * size / 160)
    picture = -np.log(np.clip(light, 1e-5, None))
    low, high = np.quantile(picture, [0.005, 0.998])
    picture = np.clip((picture - low) / (high - low), 0, 1) ** rng.uniform(0.7, 1.5)
    if rng.random() < 0.6:  # the side marker
        row, column = rng.integers(size // 20, size // 8), rng.integers(size // 14, size // 5)
        picture[row:row + size // 24, column:column + size // 36] = 1.0
    return picture.astype(np.float32)


def make_radiographs(count: int, *, size: int = 160, seed: int = 0, view: str = "frontal", workers: int = -1):
    """``count`` pictures (count, size, size) float32 and a table with a row each: image, six sides (px), mm_per_pixel.

    Picture number i depends on seed and i alone, whatever the number of workers.
    """
    from joblib import Parallel, delayed

    made = Parallel(n_jobs=workers)(delayed(_numbered)(seed, number, size, view) for number in range(count))
    table = pd.DataFrame([row for _, row in made])
    table.insert(0, "image", [f"virtual_{number:04d}" for number in range(count)])
    return np.stack([picture for picture, _ in made]), table


def _numbered(seed: int, number: int, size: int, view: str):
    rng = np.random.default_rng([seed, number])
    while True:  # a chest whose heart or lungs leave the picture is drawn again
        picture, row = radiograph(draw_chest(rng), size, rng, view)
        edges = [row[name] for name in ("heart_x0", "heart_y0", "thorax_x0")]
        if view != "frontal" or (min(edges) > 0.6 and max(row["thorax_x1"], row["heart_y1"]) < size - 0.6):
            return picture, row
