"""What Codabench's unpacker refuses in a competition bundle.

After docs.codabench.org (Yaml-Structure, version 2) and github.com/codalab/codabench (src/apps/competitions/unpackers/
v2.py and the serializers of src/apps/api): its own words are none of them here.
"""
import io
import json
import zipfile
from datetime import datetime

REQUIRED = {"competition": "version title image terms pages phases tasks leaderboards", "pages": "title file",
            "phases": "name start tasks", "tasks": "index name scoring_program", "leaderboards": "title key columns",
            "columns": "title key index"}
OPTIONAL = {"competition": "description docker_image registration_auto_approve", "pages": "",
            "phases": "index end description max_submissions max_submissions_per_day public_data starting_kit "
                      "accepts_only_result_submissions auto_migrate_to_this_phase execution_time_limit",
            "tasks": "description reference_data input_data", "leaderboards": "submission_rule hidden",
            "columns": "sorting precision hidden"}
TYPES = {"index": int, "version": int, "precision": int, "max_submissions": int, "max_submissions_per_day": int,
         "tasks": list, "columns": list, "pages": list, "phases": list, "leaderboards": list, "hidden": bool,
         "accepts_only_result_submissions": bool, "auto_migrate_to_this_phase": bool, "registration_auto_approve": bool}
FILES = "image", "terms", "file", "public_data", "starting_kit", "scoring_program", "reference_data", "input_data"
RULES = "Add", "Add_And_Delete", "Add_And_Delete_Multiple", "Force_Last", "Force_Latest_Multiple", "Force_Best"


def faults(path, change=lambda said: None):
    """Everything that is wrong with a bundle, in words; ``change`` spoils what it says before it is read."""
    with zipfile.ZipFile(path) as bundle:
        said = json.loads(bundle.read("competition.yaml"))
        change(said)
        contents = {name: bundle.read(name) for name in bundle.namelist()}
    found = list(_entries("competition", said, contents))
    for part in ("pages", "phases", "tasks", "leaderboards"):
        found += [fault for entry in said.get(part, []) for fault in _entries(part, entry, contents)]
    if found:
        return found
    return [*_phases(said), *_leaderboards(said), *_programs(said, contents)]


def _entries(kind, entry, contents):
    required, optional = REQUIRED[kind].split(), OPTIONAL[kind].split()
    yield from (f"{kind} lacks {name}" for name in required if entry.get(name) in (None, "", []))
    yield from (f"{kind} has the unknown {name}" for name in entry if name not in required + optional)
    yield from (f"{kind}: {name} is {type(value).__name__}" for name, value in entry.items()
                if type(value) is not TYPES.get(name, str))
    yield from (f"{kind}: no content in {entry[name]}" for name in FILES if name in entry
                and not contents.get(entry[name]))
    for column in entry.get("columns", []):
        yield from _entries("columns", column, contents)


def _phases(said):
    tasks = [task["index"] for task in said["tasks"]]
    if len(set(tasks)) < len(tasks):
        yield "two tasks have one index"
    phases = sorted(said["phases"], key=lambda phase: phase.get("index", 0))
    yield from (f"phase {phase['name']} names task {task}" for phase in phases for task in phase["tasks"]
                if task not in tasks)
    if phases[0].get("auto_migrate_to_this_phase"):
        yield "nothing can migrate to the first phase"
    for one, other in zip(phases, phases[1:]):
        if "end" not in one or datetime.fromisoformat(other["start"]) < datetime.fromisoformat(one["end"]):
            yield f"phase {other['name']} starts before {one['name']} ends"


def _leaderboards(said):
    for board in said["leaderboards"]:
        if board.get("submission_rule", "Add") not in RULES:
            yield f"no rule {board['submission_rule']}"
        for name in ("key", "index"):
            if len({column[name] for column in board["columns"]}) < len(board["columns"]):
                yield f"two columns have one {name}"
        yield from (f"no sorting {column['sorting']}" for column in board["columns"]
                    if column.get("sorting", "asc") not in ("asc", "desc"))


def _programs(said, contents):
    for task in said["tasks"]:
        with zipfile.ZipFile(io.BytesIO(contents[task["scoring_program"]])) as program:
            if not program.read("metadata.yaml").decode().startswith("command: "):
                yield "metadata.yaml gives no command"
