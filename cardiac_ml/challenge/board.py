"""The board: all submissions of a folder, ranked, with what can and what cannot be told apart.

Files in a subfolder are of the team that it names, whatever they say; others of the team in their header. A team stands
with its best (or its last) file. Two teams are different only if the paired comparison over hearts or patients says so
after Holm's correction for all pairs; who cannot be told from the first of a group shares its letter.
"""
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cardiac_ml import metrics
from cardiac_ml.challenge import submission
from cardiac_ml.challenge.scoring import MAIN, MORE_IS_BETTER, TOO_GOOD, metrics_of, rows_of
from cardiac_ml.files import DataError

ALPHA = 0.05
SECOND = {1: ("AUROC", "sensitivity abnormal", "Brier"), 2: ("accuracy", "AUROC", "sensitivity S"),
          3: ("RMSE (ms)", "95th percentile (ms)", "map correlation"),
          4: ("RMSE (mV)", "upstroke error (ms)", "R2")}


class Entry(NamedTuple):
    """One submission file."""
    team: str
    file: str
    when: float           # seconds since 1970: the date of the file
    value: float          # of the main metric
    chosen_by: float      # the same on the cases of the week: no file is chosen by the cases kept for the end
    second: dict          # further metrics: name -> value
    small: np.ndarray     # what the main metric needs of the predictions, see ``judge``


class Row(NamedTuple):
    """One line of the board."""
    place: str            # empty for a baseline
    entry: Entry
    interval: tuple       # low, high
    group: str            # letter
    files: int
    notes: list


class Table(NamedTuple):
    """The board of one task."""
    task: int
    rows: list
    entries: list         # all files, in the order of their dates
    groups: int           # hearts or patients scored
    cases: int


def make(folder, truths, final=False, take="best", daily_limit=None, baselines=None):
    """({task: Table}, {file: why it was left out}) of all files below ``folder``; truths are {task: Truth}."""
    if not Path(folder).is_dir():
        raise DataError(f"{folder} is not a folder. Give the one with the submissions.")
    entries, refused = read_entries(folder, truths, final, daily_limit)
    if not any(entries.values()) and not refused:
        raise DataError(f"{folder} holds no file. Put the teams' submissions there, a subfolder for each team.")
    known = read_entries(baselines, truths, final)[0] if baselines and Path(baselines).is_dir() else {}
    tables = {task: rank(truth, final, entries[task], known.get(task, []), take) for task, truth in truths.items()}
    return tables, refused


def read_entries(folder, truths, final=False, daily_limit=None):
    entries, refused, handed_in = {task: [] for task in truths}, {}, Counter()
    for path in sorted(_files(folder), key=lambda path: (_date(path), str(path))):
        inside = path.relative_to(folder)
        name, team = submission.plain(inside), inside.parts[0] if len(inside.parts) > 1 else None
        try:
            task, entry = read_entry(path, name, truths, final, team)
            day = (task, entry.team, time.strftime("%Y-%m-%d", time.localtime(entry.when)))
            handed_in[day] += 1
            if daily_limit and handed_in[day] > daily_limit:
                raise DataError(f"more than {daily_limit} files of this team for task {task} on {day[2]}.")
            entries[task].append(entry)
        except Exception as error:  # a bad file costs its own row, nothing else
            name += f" ({len(refused)})" * (name in refused)  # two names that differ in what does not print
            refused[name] = submission.plain(str(error).removeprefix(f"{submission.plain(path.name)}: "), 400)
    return entries, refused


def _files(folder):
    return (path for path in Path(folder).rglob("*") if not path.name.startswith(".") and not path.is_dir())


def _date(path):
    try:
        return path.lstat().st_mtime
    except OSError:  # it went away meanwhile
        return 0.0


def read_entry(path, name, truths, final, team=None):
    """(task, Entry) of one file. Scores are rounded as they are shown: further digits would tell about single cases."""
    if path.is_symlink() or path.suffix.lower() not in (".npz", ".csv"):
        raise DataError("not a submission: those are .npz or .csv files.")
    header = submission.read_header(path)
    task = header["task"]
    if task not in truths:
        raise DataError(f"for task {task}; this board ranks task {', '.join(map(str, sorted(truths)))}.")
    truth = truths[task]
    prediction = submission.read_submission(path, task, truth.ids).prediction
    value, small, second = judge(truth, prediction, final)
    chosen_by = judge(truth, prediction, False)[0] if final else value
    return task, Entry(submission.team_of(dict(team=team) if team else header), name, path.stat().st_mtime,
                       round(value, 3), round(chosen_by, 3), second, small)


def judge(truth, prediction, final):
    """(main metric, what it needs of the predictions, further metrics) on the cases that count."""
    rows, (metric, label, _) = rows_of(truth, final), judged(truth, final)
    given, known = prediction[rows], truth.label[rows]
    small = given if truth.task <= 2 else shrunk(given - known)
    return metric(label, small), small, {name: metrics_of(truth.task)[name](known, given)
                                         for name in SECOND[truth.task]}


def shrunk(error):
    """Absolute errors of maps (cases, 75), or of traces by their mean: small enough to keep for a hundred teams."""
    np.abs(error, out=error)
    return np.nan_to_num(error if error.ndim == 2 else error.mean(axis=2))  # NaN: a label that is left out


def judged(truth, final):
    """(metric, truth, groups) of the comparison of teams: in tasks 3 and 4 errors are compared with zeros."""
    rows = rows_of(truth, final)
    if truth.task <= 2:
        return metrics_of(truth.task)[MAIN[truth.task]], truth.label[rows], truth.group[rows]
    unknown = np.isnan(truth.label[rows]) if truth.task == 3 else np.zeros((len(rows), 75), bool)
    return metrics.mae_ms, np.where(unknown, np.nan, np.float32(0)), truth.group[rows]


def rank(truth, final, entries, baselines, take):
    """The table of a task: teams and baselines, best first."""
    task, sign = truth.task, 1 if MORE_IS_BETTER[truth.task] else -1
    teams = {}
    for entry in entries:  # in the order of their dates
        if take == "last" or entry.team not in teams or sign * entry.chosen_by > sign * teams[entry.team].chosen_by:
            teams[entry.team] = entry
    chosen = sorted(teams.values(), key=lambda entry: (-sign * entry.value, entry.when, entry.file))
    metric, label, group = judged(truth, final)
    letters = group_letters(different(metric, label, [entry.small for entry in chosen], group))
    files, twins = Counter(entry.team for entry in entries), {}  # sets of teams with (nearly) the same predictions
    for entry, first in zip(entries, alike([entry.small for entry in entries])):
        twins.setdefault(first, set()).add(entry.team)

    def row(entry, place="", letter="", files=1, notes=()):
        interval = metrics.bootstrap({"": metric}, label, entry.small, group)[""]
        return Row(place, entry, interval[1:], letter, files, list(notes))

    rows = [row(entry, place, letter, files[entry.team], _notes(task, entry, twins.values()))
            for entry, place, letter in zip(chosen, _places(chosen), letters)]
    for entry in baselines:  # without further metrics: those of constants would tell how many cases each class has
        rows.append(row(entry._replace(second=dict.fromkeys(entry.second, float("nan")))))
    rows.sort(key=lambda row: -sign * row.entry.value)  # stable: baselines after equals
    return Table(task, rows, entries, len(np.unique(group)), len(group))


def _places(chosen):
    """1, 2, 2, 4: who has the same score, as far as it is shown, shares a place."""
    shown = [f"{entry.value:.3f}" for entry in chosen]
    return [str(shown.index(value) + 1) for value in shown]


def _notes(task, entry, twins):
    others = sorted(set().union(*(teams for teams in twins if entry.team in teams)) - {entry.team})
    more = f" and {len(others) - 3} more" * (len(others) > 3)
    notes = [f"a file with (nearly) the same predictions as {', '.join(others[:3])}{more}"] * bool(others)
    if entry.value >= TOO_GOOD[task] if MORE_IS_BETTER[task] else entry.value <= TOO_GOOD[task]:
        notes.append("too good to be learnt")
    return notes


def different(metric, label, given, group):
    """Which pairs of teams differ by more than chance, after Holm's correction for all pairs: (teams, teams) bool."""
    twins, place = np.unique(alike(given), return_inverse=True)  # one of each: copies would weaken every verdict
    found = np.zeros((len(twins), len(twins)), bool)
    if len(twins) > 1 and len(np.unique(group)) > 1:
        pairs = metrics.compare_all(metric, label, [given[twin] for twin in twins], group)
        found[tuple(np.transpose(list(pairs)))] = holm([pair.p for pair in pairs.values()])
    return (found | found.T)[np.ix_(place, place)]


def alike(given):
    """The number of the first of these arrays that each is a copy of, or nearly (1 % of how much it varies)."""
    first, varies = [], [np.linalg.norm(one - one.mean()) for one in given]
    for number, one in enumerate(given):
        copied = (other for other in dict.fromkeys(first) if np.linalg.norm(one - given[other]) <= 0.01 * varies[other])
        first.append(next(copied, number))
    return first


def group_letters(differs):
    """A letter for each team, best first: that of the first leader it cannot be told from."""
    leaders, letters = [], []
    for team in range(len(differs)):
        of = next((number for number, leader in enumerate(leaders) if not differs[leader, team]), len(leaders))
        leaders += [team] * (of == len(leaders))
        letters.append("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[of] if of < 26 else f"Z{of}")
    return letters


def holm(p_values, alpha=ALPHA):
    """Which of many hypotheses fall, so that the chance of a single false verdict stays below alpha: (n,) bool."""
    order = np.argsort(p_values, kind="stable")
    fallen = np.zeros(len(order), bool)
    fallen[order] = np.logical_and.accumulate(np.asarray(p_values)[order] <= alpha / np.arange(len(order), 0, -1))
    return fallen
