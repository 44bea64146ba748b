"""The notebooks of the repository: made from their sources, run in order, and every one runs on tiny settings."""
import pytest

from tools import notebooks

every = pytest.mark.parametrize("path", notebooks.all_notebooks(), ids=lambda path: path.stem)


@every
def test_is_what_its_source_makes(path):
    assert notebooks.problems(path) == []


@every
def test_runs_on_tiny_settings(path, tmp_path):
    outcome = notebooks.run_one(path, tmp_path, quick=True)
    assert outcome.failure is None, str(outcome.failure)
    if path.stem.startswith("task_"):
        assert outcome.source and any(letter.isdigit() for letter in outcome.score)
