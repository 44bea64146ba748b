"""The notebooks of the repository: made from their sources, run in order, and every one runs on tiny settings.

Each is run once, as mentors get it, so that the sample answers meet ``check``. The score that it prints is the one that
the scorer gives to the submission it writes.
"""
import ast
import re

import numpy as np
import pytest

from cardiac_ml import heartbeats, intracardiac
from cardiac_ml.challenge import scoring
from tools import mentors, notebooks

KIND_OF_DATA = {"source", "table", "columns", "virtual", "real", "exists", "patient", "hasattr", "isinstance"}
BY_CHANCE = {"task1.3"}  # to beat a network takes luck where it learned for one epoch only
SCORED = {"task_1": r"balanced accuracy ([\d.]+)", "task_3": r"MAE ([\d.]+) ms", "task_4": r"MAE ([\d.]+) mV"}
every = pytest.mark.parametrize("path", notebooks.all_notebooks(), ids=lambda path: path.stem)


@every
def test_is_what_its_source_makes(path):
    assert notebooks.problems(path) == []


def truth_of(task, path):
    """The test cases of a quick run, whose settings stand in the source."""
    if task == 1:
        data = heartbeats.load_ptb(hearts=6)
        return scoring.truth_of_beats(1, data, heartbeats.split(data).test)
    source = notebooks.source_path(path).read_text(encoding="utf-8")
    sizes = [int(re.search(rf"^{name} = .*#.*quick: (\d+)", source, re.MULTILINE)[1]) for name in ("HEARTS", "CASES")]
    data = intracardiac.load(hearts=sizes[0], cases=sizes[1], progress=False)
    return scoring.truth_of_hearts(task, data, intracardiac.split_by_heart(data.table).test)


@every
def test_cells_are_short_hold_no_answer_and_do_not_branch_on_the_kind_of_data(path):
    for cell in notebooks.code_cells(notebooks.read(path)):
        assert len(cell.source.splitlines()) <= 25, cell.source
        assert max(map(len, cell.source.splitlines())) <= notebooks.LONGEST_LINE, cell.source
        tree = ast.parse(cell.source)
        given = [ast.unparse(node.value) for node in tree.body if isinstance(node, ast.Assign)
                 and ast.unparse(node.targets[0]) == "answer"]
        assert given == ["..." if "check(" in cell.source else None for _ in given] or given == ["[..., ...]"]
        branches = [node.test for node in ast.walk(tree) if isinstance(node, (ast.If, ast.IfExp))]
        words = set(re.findall(r"\w+", " ".join(map(ast.unparse, branches))))
        assert not words & KIND_OF_DATA, cell.source


@every
def test_mentors_have_a_word_on_each_section_and_an_answer_to_each_exercise(path):
    chapter, notebook = mentors.parts(mentors.TEXT.read_text(encoding="utf-8"))[path.stem], notebooks.read(path)
    sections, exercises = mentors.sections_of(notebook), mentors.exercises_of(notebook)
    assert set(chapter) == {"", *sections, *exercises} and "Afterwards they can" in chapter[""]
    for title in sections:
        assert re.search(r"\bminutes\b", chapter[title]) and "* Often thought: " in chapter[title], title
        assert chapter[title].count("* Discuss: ") == 2, title
    for name in exercises:
        assert bool(mentors.CODE.search(chapter[name])) == ("open" not in name), name


@every
def test_runs_on_tiny_settings_and_agrees_with_the_scorer(path, tmp_path):
    outcome = notebooks.run_one(path, tmp_path, quick=True, solutions=True)
    assert outcome.failure is None, str(outcome.failure)
    for cell in notebooks.code_cells(notebooks.read(tmp_path / path.name)):
        for name in set(mentors.CHECKED.findall(cell.source)) - BY_CHANCE:
            assert cell.outputs[-1].text == "Right!\n", (name, cell.outputs)
    if path.stem.startswith("task_"):
        assert outcome.source and any(letter.isdigit() for letter in outcome.score)
    if path.stem[:6] in SCORED:
        task, printed = int(path.stem[5]), re.search(SCORED[path.stem[:6]], outcome.score)[1]
        submission = next(tmp_path.rglob(f"submission_task_{task}.npz"))
        found = scoring.score(submission, truth_of(task, path))[scoring.MAIN[task]]
        assert found.value == pytest.approx(float(printed), abs=0.6 * 10.0 ** -len(printed.partition(".")[2]))
        assert np.isfinite([found.low, found.high]).all() and found.low <= found.high
