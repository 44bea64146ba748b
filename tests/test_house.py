"""The shape of the package: which file may import which. Arrows point down, and annexes never import each other."""
import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cardiac_ml"
FLOORS = [  # from the ground up; a room may import rooms of lower floors, and those of its own floor without a circle
    {"files", "leads", "activation", "trained"},
    {"formats"},
    {"virtual", "download"},
    {"heartbeats", "intracardiac"},
    {"models", "training", "plots", "metrics"},
    {"heart3d"},
    {"xray", "new_patients", "lead_importance", "challenge", "exercises"},
    {"__main__", "predict", "check"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ANNEXES = {"formats", "virtual", "download", "heart3d", *FLOORS[6], "predict", "check"}
NEVER = {("heartbeats", "intracardiac"), ("intracardiac", "heartbeats")}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def imports_of(path):
    """The full names of what a file imports, at its head or inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path):
    names = [name.split(".") for name in imports_of(path)]
    return {name[1] for name in names if name[0] == "cardiac_ml" and len(name) > 1 and name[1] in FLOOR}


def test_every_room_has_its_floor():
    there = {room_of(path) for path in modules()}
    assert there <= set(FLOOR), f"new rooms need a floor: {there - set(FLOOR)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_arrows_point_down(path):
    room = room_of(path)
    for other in rooms_imported(path) - {room}:
        assert FLOOR[other] <= FLOOR[room], f"{room} imports {other}, which lies above it"
        assert not (room in ANNEXES and other in ANNEXES and FLOOR[other] == FLOOR[room]), f"{room} imports {other}"
        assert (room, other) not in NEVER
    assert not any(name.split(".")[0] in ("tools", "tests") for name in imports_of(path))


def test_there_are_no_circles():
    known = {".".join(("cardiac_ml", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in modules()}
    graph = {name: {other for imported in imports_of(path) for other in (imported, imported.rpartition(".")[0])
                    if other in known and other != name} for name, path in known.items()}
    assert list(TopologicalSorter(graph).static_order())


def test_the_core_stays_small():
    core = sorted(path for path in PACKAGE.glob("*.py") if path.name != "__init__.py")
    assert len(core) <= 10, [path.name for path in core]
