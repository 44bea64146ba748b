import html.parser
import io
import json
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from challenge.codabench import faults
from challenge.made import damaged, made_truth, perfect
from hypothesis import HealthCheck, given, settings, strategies

from cardiac_ml import metrics
from cardiac_ml.__main__ import main
from cardiac_ml.challenge import board, export, page, scoring, submission
from cardiac_ml.files import DataError

DAY = 86_400


def hand_in(folder, name, truth, error, team=None, day=0, seed=0):
    """A submission for task 3 that is wrong by this much, more in some hearts."""
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    noise = rng.normal(0, error, truth.label.shape) * rng.uniform(0.8, 1.2, 9)[np.arange(len(truth.ids)) % 6][:, None]
    team = team or name.split(".")[0]
    path = submission.write_submission(folder / name, 3, truth.ids, truth.label + noise, team=team)
    os.utime(path, (1.7e9 + day * DAY,) * 2)
    return path


@pytest.fixture
def truth():
    return made_truth(3)._replace(final=np.zeros(60, bool))


def test_the_board_ranks_and_tells_chance_from_skill(tmp_path, truth):
    for number, (name, error) in enumerate((("good", 2.0), ("twin", 2.02), ("bad", 9.0))):
        hand_in(tmp_path, f"{name}.npz", truth, error, day=number)
    hand_in(tmp_path / "good" / "folder", "worse.NPZ", truth, 12.0, team="twin", day=4)  # the folder is its team
    base = hand_in(tmp_path.parent / f"{tmp_path.name}_baselines", "plain.npz", truth, 5.0)
    tables, refused = board.make(tmp_path, {3: truth}, baselines=base.parent)
    rows = tables[3].rows
    assert [row.entry.team for row in rows] == ["good", "twin", "plain", "bad"] or rows[0].entry.team == "twin"
    assert [row.place for row in rows] == ["1", "2", "", "3"] and [row.group for row in rows] == ["A", "A", "", "B"]
    assert not refused and {row.entry.team: row.files for row in rows} == {"good": 2, "twin": 1, "plain": 1, "bad": 1}
    assert all(row.interval[0] < row.entry.value < row.interval[1] for row in rows)
    assert all(row.entry.value == round(row.entry.value, 3) for row in rows), "no score tells of single cases"
    second = [list(row.entry.second.values()) for row in rows]
    assert np.isnan(second[2]).all() and np.isfinite(np.delete(second, 2, axis=0)).all(), "none of a baseline"
    last = board.make(tmp_path, {3: truth}, take="last")[0][3].rows
    assert last[-1].entry.team == "good" and last[-1].place == "3"


def test_points_that_never_activate_are_left_out(tmp_path, truth):
    label = truth.label.copy()
    label[::3, 5] = np.nan
    submission.write_submission(tmp_path / "a.npz", 3, truth.ids, np.nan_to_num(label, nan=500) + 3, team="a")
    [row] = board.make(tmp_path, {3: truth._replace(label=label)})[0][3].rows
    assert (row.entry.value, *row.interval) == pytest.approx((3, 3, 3), abs=1e-4)


def test_the_end_judges_the_file_that_was_best_in_the_week(tmp_path, truth):
    """Who hands in often must not find the best for the end by chance."""
    kept = truth._replace(final=np.arange(60) % 6 < 3)
    for name, worse in (("good in the week.npz", kept.final), ("good at the end.npz", ~kept.final)):
        given = kept.label + np.where(worse, 30, 3)[:, None]
        submission.write_submission(tmp_path / name, 3, kept.ids, given, team="a")
    for final, value in (False, 3), (True, 30):
        table = board.make(tmp_path, {3: kept}, final=final)[0][3]
        [row] = table.rows
        assert row.entry.file == "good in the week.npz" and row.entry.value == pytest.approx(value, abs=1e-3)
        assert table.groups == 3


def test_a_single_heart_has_no_interval_and_the_page_says_what_metrics_mean(tmp_path, truth):
    hand_in(tmp_path, "a.npz", truth, 3.0)
    one = truth._replace(final=np.arange(60) % 6 > 0)
    tables, refused = board.make(tmp_path, {3: one})
    html = page.as_html(tables, refused, False, "best")
    assert "nan" not in html + page.as_text(tables[3]) + page.as_markdown(tables, refused)
    assert "1 team, 1 file; 10 cases of 1 heart." in html
    assert all(f"<dt>{name}</dt>" in html for name in (scoring.MAIN[3], *board.SECOND[3]))


def test_same_files_ties_impossible_scores_and_limits_are_marked(tmp_path, truth):
    hand_in(tmp_path, "a.npz", truth, 3.0)
    order = np.random.default_rng(0).permutation(60)
    copied = submission.read_submission(tmp_path / "a.npz", 3, truth.ids).prediction
    submission.write_submission(tmp_path / "b.npz", 3, truth.ids[order], copied[order], team="b")
    submission.write_submission(tmp_path / "oracle.npz", 3, truth.ids, truth.label, team="oracle")
    for name in ("c1.npz", "c2.npz", "c3.npz"):
        hand_in(tmp_path, name, truth, 5.0, team="c")
    tables, refused = board.make(tmp_path, {3: truth}, daily_limit=2)
    rows = {row.entry.team: row for row in tables[3].rows}
    assert rows["a"].place == rows["b"].place == "2" and rows["c"].place == "4"
    assert rows["a"].notes == ["a file with (nearly) the same predictions as b"]
    assert rows["oracle"].notes == ["too good to be learnt"]
    assert list(refused) == ["c3.npz"] and "more than 2 files of this team for task 3 on" in refused["c3.npz"]


def test_copies_with_a_little_noise_are_marked_and_hide_no_difference(tmp_path, truth):
    hand_in(tmp_path, "best.npz", truth, 2.0)
    second = hand_in(tmp_path, "second.npz", truth, 2.6)
    groups = []
    for copies in (0, 12):
        for number in range(copies):
            given = submission.read_submission(second, 3, truth.ids).prediction
            given += np.random.default_rng(number).normal(0, 1e-4, given.shape)
            submission.write_submission(tmp_path / f"copy{number}.npz", 3, truth.ids, given, team=f"copy {number}")
        rows = {row.entry.team: row for row in board.make(tmp_path, {3: truth})[0][3].rows}
        groups.append((rows["best"].group, rows["second"].group))
    assert groups == [("A", "B")] * 2 and not rows["best"].notes
    assert rows["copy 3"].notes == ["a file with (nearly) the same predictions as copy 0, copy 1, copy 10 and 9 more"]


def test_what_cannot_be_ranked_costs_its_own_row(tmp_path, truth, monkeypatch):
    hand_in(tmp_path, "good.npz", truth, 2.0)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    (tmp_path / "report.pdf").write_bytes(b"x")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    [(tmp_path / os.fsdecode(b"bad%c\n.npz" % byte)).write_bytes(b"x") for byte in (0xff, 0xfe)]
    (tmp_path / "link.npz").symlink_to(tmp_path / "good.npz")
    submission.write_template(tmp_path / "one.csv", 1, ["a", "b"])
    submission.write_template(tmp_path / "few.npz", 3, truth.ids[1:])
    with np.load(hand_in(tmp_path, "odd.npz", truth, 2.0)) as file:
        odd = dict(file) | {"header": np.array(json.dumps({"task": 3, "team": "\ud800 \x1b[2J"}))}
    np.savez(tmp_path / "odd.npz", **odd)
    there = [*board._files(tmp_path), tmp_path / "gone.npz"]  # it goes while the board is made
    monkeypatch.setattr(board, "_files", lambda folder: there)
    tables, refused = board.make(tmp_path, {3: truth})
    assert sorted(row.entry.team for row in tables[3].rows) == ["? ?[2J", "good"]
    for name, words in {"broken.npz": "no .npz file", "report.pdf": "not a submission", "bad??.npz": "no .npz file",
                        "link.npz": "not a submission", "one.csv": "ranks task 3",
                        "few.npz": "1 ids are missing", "gone.npz": "not a file"}.items():
        assert words in refused[name] and not refused[name].startswith(name)
    assert len(refused) == 8
    monkeypatch.undo()
    page.write(tmp_path / "out", tables, refused)
    with pytest.raises(DataError, match="is not a folder"):
        board.make(tmp_path / "absent", {3: truth})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        board.make(tmp_path / "empty", {3: truth})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_a_hostile_file_is_ranked_or_refused_never_more(tmp_path, data):
    truth = made_truth(1, cases=12)
    path = tmp_path / data.draw(strategies.sampled_from(["team.npz", "team.csv"]))
    submission.write_submission(path, 1, truth.ids, perfect(truth))
    path.write_bytes(damaged(path.read_bytes(), data))
    tables, refused = board.make(tmp_path, {1: truth})
    assert len(tables[1].entries) + len(refused) == len(list(tmp_path.iterdir()))
    assert page.as_html(tables, refused, False, "best") and page.as_markdown(tables, refused)


class Reader(html.parser.HTMLParser):
    """Collects the tags, and every address that a browser would fetch."""
    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.text = set(), [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data", "style")]

    def handle_data(self, data):
        self.text += data


def test_strangers_cannot_write_into_the_page_the_table_or_the_terminal(tmp_path, truth):
    teams = ["<script>alert(1)</script>", "![x](http://evil.example/p.png)", "a\\|b | c", "\x1b[31mred\r\nrow",
             '"><img src=x>']
    for number, team in enumerate(teams):
        hand_in(tmp_path, f"{number}.npz", truth, 2.0 + number, team=team, day=number)
    (tmp_path / "<b>`x`|.npz").write_bytes(b"x")
    tables, refused = board.make(tmp_path, {3: truth})
    reader = Reader()
    reader.feed(page.as_html(tables, refused, False, "best"))
    assert not reader.tags & {"script", "img"} and "<script>alert(1)</script>" in reader.text
    assert all(address.startswith(("#", "background:var(", "stroke:var(")) for address in reader.addresses)
    markdown, text = page.as_markdown(tables, refused), page.as_text(tables[3])
    assert not re.search(r"(?<!\\)[<!]", markdown) and "http:" not in markdown and r"a\\\|b" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.split(r"(?<!\\)\|", re.sub(r"\\\\", "", row))) for row in rows}) == 1 and len(rows) == 7
    assert "\x1b" not in text + markdown and "\r" not in text + markdown and len(text.splitlines()) == 6


def test_holm_and_false_verdicts():
    assert board.holm([0.01, 0.04, 0.03, 0.005]).tolist() == [True, False, False, True]
    differs = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]])
    assert board.group_letters(differs) == ["A", "A", "B", "B"]
    def called(*errors):
        return board.different(metrics.mae_ms, np.zeros((6, 1)), [np.c_[error] for error in errors], np.arange(6))
    assert not called(np.ones(6), np.ones(6)).any()
    assert called(np.ones(6), np.ones(6) + 1).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("hearts, teams", [(6, 2), (20, 2), (6, 4)])
def test_teams_that_are_equal_are_seldom_called_different(hearts, teams):
    rng, wrong, worlds, truth = np.random.default_rng(hearts * teams), 0, 1200 // teams, np.zeros((hearts, 1))
    for _ in range(worlds):
        hard = np.exp(rng.normal(1.6, 0.35, (hearts, 1)))
        errors = list(hard * np.exp(rng.normal(0, 0.15, (teams, hearts, 1))))
        wrong += board.different(metrics.mae_ms, truth, errors, np.arange(hearts)).any()
    assert wrong / worlds <= 0.06


def test_commands_from_template_to_board(tmp_path, truth, capsys, monkeypatch):
    folder, teams = tmp_path / "made", tmp_path / "teams"
    scoring.write_truth(folder / "private" / "truth_task_3.npz", truth)
    (folder / "public").mkdir()
    np.savez(folder / "public" / "test_task_3.npz", ids=truth.ids, inputs=np.zeros((60, 12, 500), np.float32))
    public, mine = ["--challenge", str(folder / "public")], teams / "mine.npz"
    assert main(["submit-template", "3", "--out", str(mine), *public]) == 0
    assert main(["check", str(mine), *public]) == 0 and "valid submission for task 3" in capsys.readouterr().out
    assert main(["score", str(mine), "--challenge", str(folder), "--json", str(tmp_path / "s.json")]) == 0
    found = json.loads((tmp_path / "s.json").read_text())["MAE (ms)"]["value"]
    assert found == pytest.approx(np.abs(truth.label - 50).mean())
    hand_in(teams, "best.npz", truth, 1.0)
    assert main(["score", "--leaderboard", str(teams), "--challenge", str(folder)]) == 0
    assert capsys.readouterr().out.count("best") == 1 and (folder / "board" / "board.html").exists()
    hand_in(teams, "x.npz", truth, 2.0, team="\u5fc3")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["score", "--leaderboard", str(teams), "--challenge", str(folder)]) == 0
    monkeypatch.undo()
    terminal.flush()
    assert b" ? " in terminal.buffer.getvalue() and "\u5fc3" in (folder / "board" / "board.html").read_text("utf-8")
    known = ["--challenge", str(folder)]
    for wrong, words in ([*known, "--task", "4"], "for task 4; the challenge"), ([], "Say what to rank"), (
            [*known, "--out", str(teams / "x")], "among the submissions"):
        assert main(["score", "--leaderboard", str(teams), *wrong]) == 1 and words in capsys.readouterr().err
    few = str(submission.write_template(tmp_path / "t.npz", 3, truth.ids[1:]))
    assert main(["check", few, *public]) == main(["score", few, "--challenge", str(folder)]) == 1
    assert "1 ids are missing" in capsys.readouterr().err
    other = submission.write_template(tmp_path / "one.npz", 1, ["a"])
    assert main(["score", str(other), "--challenge", str(folder)]) == 1
    assert "This is for task 1; the challenge" in capsys.readouterr().err


# ---- for other hosts ----

@pytest.fixture
def exported(tmp_path):
    truth, folder = made_truth(3), tmp_path / "made"
    scoring.write_truth(folder / "private" / "truth_task_3.npz", truth)
    (folder / "public" / "intracardiac_dataset").mkdir(parents=True)
    (folder / "public" / "README.md").write_text("# Rules")
    (folder / "public" / "intracardiac_dataset" / "a.txt").write_text("x")
    np.savez(folder / "public" / "test_task_3.npz", ids=truth.ids, inputs=np.zeros((60, 12, 500), np.float32))
    (tmp_path / "out").mkdir(mode=0o777)  # there already, and open to all
    return truth, *export.export(tmp_path / "out", folder)


def test_a_bundle_is_what_codabench_unpacks(exported):
    assert faults(exported[1]) == []
    with zipfile.ZipFile(exported[1]) as bundle, zipfile.ZipFile(bundle.open("public_data.zip")) as public:
        assert {"intracardiac_dataset/a.txt", "test_task_3.npz", "README.md"} == set(public.namelist())
        assert "truth" not in " ".join(bundle.namelist())
        week, final = json.loads(bundle.read("competition.yaml"))["phases"]
        assert week["tasks"] != final["tasks"] and final["max_submissions"] == 1, "nobody tries out the end"


@pytest.mark.parametrize("words, change", {
    "lacks terms": lambda said: said.pop("terms"), "lacks pages": lambda said: said["pages"].clear(),
    "no content in gone.md": lambda said: said["pages"][0].update(file="gone.md"),
    "unknown titel": lambda said: said.update(titel="x"), "version is str": lambda said: said.update(version="2"),
    "names task 7": lambda said: said["phases"][0].update(tasks=[7]), "one index": lambda said: said["tasks"][0].update(
        index=1), "starts before": lambda said: said["phases"][1].update(start="2029-12-31 00:00:00"),
    "first phase": lambda said: said["phases"][0].update(auto_migrate_to_this_phase=True),
    "no rule Best": lambda said: said["leaderboards"][0].update(submission_rule="Best"),
    "columns lacks key": lambda said: said["leaderboards"][0]["columns"][0].pop("key"),
    "no content in x.zip": lambda said: said["tasks"][0].update(scoring_program="x.zip")}.items())
def test_what_codabench_would_refuse_is_seen(exported, words, change):
    assert any(words in fault for fault in faults(exported[1], change))


@pytest.mark.parametrize("phase", ["week", "final"])
def test_the_scoring_program_scores_as_the_kit_does(exported, tmp_path, phase):
    truth, bundle, _ = exported
    with zipfile.ZipFile(bundle) as file:
        for name, place in (("scoring_program", "program"), (f"reference_{phase}", "input/ref")):
            zipfile.ZipFile(file.open(f"{name}.zip")).extractall(tmp_path / place)
    command = (tmp_path / "program" / "metadata.yaml").read_text().removeprefix("command: ").strip()
    (tmp_path / "input" / "res").mkdir()
    (tmp_path / "output").mkdir()
    hand_in(tmp_path / "input" / "res", "us.npz", truth, 3.0)
    words = command.replace("python3", sys.executable).replace("/app", str(tmp_path)).split()
    subprocess.run(words, check=True, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    expected = scoring.score(tmp_path / "input" / "res" / "us.npz", truth, final=phase == "final")["MAE (ms)"]
    found = json.loads((tmp_path / "output" / "scores.json").read_text())
    assert found == pytest.approx({"score": expected.value, "low": expected.low, "high": expected.high})
    submission.write_template(tmp_path / "input" / "res" / "more.npz", 3, truth.ids)
    done = subprocess.run(words, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 1 and "holds 2 .npz or .csv files" in done.stderr


def test_a_kaggle_folder_has_the_same_columns_and_a_usage(exported):
    import pandas as pd
    truth, folder = exported[0], exported[2]
    solution, sample = pd.read_csv(folder / "solution.csv"), pd.read_csv(folder / "sample_submission.csv")
    assert list(solution) == [*sample, "Usage"] and sample.shape == (60, 76)
    assert (solution.Usage == np.where(truth.final, "Private", "Public")).all() and (solution.id == truth.ids).all()
    assert solution.iloc[:, 1:76].to_numpy() == pytest.approx(truth.label, abs=1e-3)
    assert folder.parent.stat().st_mode & 0o777 == 0o700 and (folder.parent / ".gitignore").read_text() == "*\n"
