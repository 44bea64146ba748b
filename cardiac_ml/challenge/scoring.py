"""Scores of submissions: every metric with an interval, and a leaderboard that says which differences are real.

The truth of a task is a small file too (``.npz``, no pickles): ids, labels, and the group of each case: its heart or
patient. Cases of one group resemble each other, so intervals come from drawing whole groups, again and again
(bootstrap). The scores are those of the notebooks: ``metrics`` and ``heart_metrics``.
"""
import html
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cardiac_ml import heartbeats, intracardiac, metrics
from cardiac_ml.challenge import submission
from cardiac_ml.files import DataError, atomic_write

MAIN = {1: "balanced accuracy", 2: "macro-F1", 3: "MAE (ms)", 4: "MAE (mV)"}  # ranks the leaderboard
MORE_IS_BETTER = {1: True, 2: True, 3: False, 4: False}
LEVEL = 0.9


class Truth(NamedTuple):
    task: int
    ids: np.ndarray    # (cases,) text
    label: np.ndarray  # (cases,) class numbers, (cases, 75) ms or (cases, 75, 500) mV
    group: np.ndarray  # (cases,) heart or patient


class Score(NamedTuple):
    value: float
    low: float
    high: float


def write_truth(path, truth):
    with atomic_write(path) as file:
        np.savez_compressed(file, **truth._asdict())


def read_truth(path) -> Truth:
    try:
        with np.load(path, allow_pickle=False) as file:
            return Truth(int(file["task"]), *(file[name] for name in Truth._fields[1:]))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not a truth file of a challenge ({error}). Give private/truth_task_N.npz.") from error


def metrics_of(task):
    """The named scores of a task: name -> function(truth, prediction)."""
    if task in (1, 2):
        return metrics.classification(submission.TASKS[task].columns)
    return metrics.ACTIVATION if task == 3 else metrics.VOLTAGE


def score(path, truth, draws=1000, seed=0) -> dict:
    """Every metric of a submission file: name -> Score; DataError lists what is wrong with the file."""
    given = read_checked(path, truth)
    return {name: with_interval(metric, truth, given, draws, seed) for name, metric in metrics_of(truth.task).items()}


def read_checked(path, truth):
    """The predictions of a submission in the order of the truth, once nothing is wrong with them."""
    given = submission.read_submission(path)
    if wrong := submission.problems(given, truth.task, truth.ids):
        raise DataError(f"{Path(path).name}: " + " ".join(wrong))
    return submission.aligned(given, truth.ids)


def with_interval(metric, truth, prediction, draws=1000, seed=0) -> Score:
    """A metric over all cases, and the range it keeps when hearts or patients are drawn again."""
    if metric is metrics.missing:  # a count of labels is what it is
        return Score(*[float(metric(truth.label, prediction))] * 3)
    values = resampled(metric, truth, prediction, draws, seed)
    low_high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if np.isfinite(values).any() else [np.nan] * 2
    return Score(metric(truth.label, prediction), *map(float, low_high))


def resampled(metric, truth, prediction, draws=1000, seed=0):
    """The metric in ``draws`` worlds with other groups; the same seed draws the same worlds for every submission."""
    rng = np.random.default_rng(seed)
    if truth.task >= 3:
        return metrics.redrawn_hearts(metric, truth.label, prediction, truth.group, draws, rng)
    groups = list(dict.fromkeys(truth.group.tolist()))
    drawn = rng.integers(len(groups), size=(draws, len(groups)))
    rows = [np.flatnonzero(truth.group == group) for group in groups]
    picked = (np.concatenate([rows[g] for g in world]) for world in drawn)
    return np.array([metric(truth.label[r], prediction[r]) for r in picked])


def truth_at_hand(task) -> Truth:
    """The test cases of the data at hand: real files where they are, else the virtual ones."""
    if task == 1:
        data = heartbeats.load_ptb()
        return truth_of_beats(1, data, heartbeats.split_test(data)[1])
    if task == 2:
        data = heartbeats.load_mitbih()[1]
        return truth_of_beats(2, data, np.arange(len(data)))
    data = intracardiac.load()
    return truth_of_hearts(task, data, intracardiac.split_by_heart(data.table).test)


def truth_of_beats(task, data, rows) -> Truth:
    """Ids are file and row; the group is the patient where known, else the row itself."""
    table = data.table.iloc[rows]
    ids = (table["file"].astype(str) + ":" + table["row"].astype(str)).to_numpy(dtype=str)
    group = table["patient"].astype(str).to_numpy(dtype=str) if "patient" in table else ids
    return Truth(task, ids, data.label[rows], group)


def truth_of_hearts(task, data, rows) -> Truth:
    """Ids are heart and row of the table, which are the same wherever the same data is loaded."""
    ids = np.array([f"{heart}:{row}" for heart, row in zip(data.hearts[rows], rows)])
    return Truth(task, ids, np.asarray((data.activation_ms if task == 3 else data.voltage_mv)[rows]), data.hearts[rows])


# ---- leaderboard ----

def leaderboard(folder, truth, draws=500):
    """All submissions of a folder, best first: rows of (team, file, Score, chance), and the files left out with why.

    ``chance``: how often the next one below would have been as good or better with other hearts or patients drawn.
    """
    metric = metrics_of(truth.task)[MAIN[truth.task]]
    sign, entries, refused = (1 if MORE_IS_BETTER[truth.task] else -1), [], {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix not in (".npz", ".csv"):
            continue
        try:
            given = read_checked(path, truth)
        except DataError as error:
            refused[path.name] = str(error)
            continue
        team = str(submission.read_submission(path).header.get("team", "anonymous"))[:60]
        entries.append((team, path.name, with_interval(metric, truth, given, draws),
                        resampled(metric, truth, given, draws)))
    entries.sort(key=lambda entry: (-sign * entry[2].value, entry[1]))
    below = [entry[3] for entry in entries[1:]] + [None]
    return [(team, name, value, None if other is None else float(np.mean(sign * (other - own) >= 0)))
            for (team, name, value, own), other in zip(entries, below)], refused


def leaderboard_rows(board, task):
    """The leaderboard as text cells, a heading first."""
    heading = ("place", "team", MAIN[task], f"{LEVEL:.0%} interval", "chance that the next is as good", "file")
    return [heading] + [
        (str(place), team, f"{value.value:.3f}", f"{value.low:.3f} .. {value.high:.3f}",
         "" if chance is None else f"{chance:.0%}", name) for place, (team, name, value, chance) in enumerate(board, 1)]


def as_markdown(rows):
    clean = [[cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in clean]
    return "\n".join([lines[0], "|" + " --- |" * len(clean[0]), *lines[1:]]) + "\n"


def as_html(rows, title):
    """A small page of its own, every cell escaped: team names come from strangers."""
    cells = ["".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
             for tag, row in [("th", rows[0])] + [("td", row) for row in rows[1:]]]
    body = "\n".join(f"<tr>{row}</tr>" for row in cells)
    style = "body{font-family:sans-serif;margin:2em}td,th{padding:.3em .8em;text-align:left;border-bottom:1px solid #ccc}"
    return (f"<!doctype html>\n<meta charset=\"utf-8\">\n<title>{html.escape(title)}</title>\n<style>{style}</style>\n"
            f"<h1>{html.escape(title)}</h1>\n<table>\n{body}\n</table>\n")


def as_text(scores):
    """A line for each metric: its value and its interval."""
    width = max(map(len, scores))
    return "\n".join(f"{name:<{width}}  {value.value:8.3f}   ({value.low:.3f} .. {value.high:.3f})"
                     for name, value in scores.items())


def write_text(path, text):
    with atomic_write(path, "w") as file:
        file.write(text)
    return path


def as_json(scores):
    return json.dumps({name: dict(value._asdict()) for name, value in scores.items()}, indent=1)
