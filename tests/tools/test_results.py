"""The table of baselines on tiny data: every row measured, an interrupted table finished, nothing stale."""
from types import SimpleNamespace

import numpy as np
import pytest

from cardiac_ml import heartbeats, intracardiac
from tools import results


@pytest.fixture
def few(monkeypatch):
    """Very few virtual beats and hearts, one epoch."""
    load, load_ptb = intracardiac.load, heartbeats.load_ptb
    monkeypatch.setattr(intracardiac, "load", lambda **_: load(hearts=5, cases=6, progress=False))
    monkeypatch.setattr(intracardiac, "elsewhere", lambda: load(hearts=5, cases=6, progress=False)[:9], raising=False)
    monkeypatch.setattr(heartbeats, "load_ptb", lambda hearts: load_ptb(hearts=4))
    return SimpleNamespace(seeds=2, hearts=None, epochs=1, task=None, split=None, out=None)


@pytest.mark.parametrize("task, count", [("1", 4), ("3", 4), ("4", 5)])
def test_every_row_has_its_scores_and_its_command(few, task, count, tmp_path):
    rows = list(results.rows_of(task, few, tmp_path / "kept.json"))
    assert len(rows) == count and all(np.isfinite(list(scores.values())).all() for row in rows for scores in row.scores)
    assert [len(row.scores) for row in rows] == [1] * 3 + [2] * (count - 3)
    assert all(set(rows[0].scores[0]) == ({"new"} if task == "1" else {"new", "elsewhere"}) for row in rows)
    assert all(row.command == f"python -m tools.results --task {task} --seeds 2 --epochs 1" for row in rows)
    assert "virtual" in rows[0].source and rows[-1].parameters > 10_000 and rows[-1].seconds > 0
    text = results.as_markdown(rows)
    assert text.count("\n") == count + 2 and " ± " in text.splitlines()[-1] and " ± " not in text.splitlines()[2]


def test_an_interrupted_table_goes_on(few, monkeypatch, tmp_path):
    asked = []

    def model(name, stops=False):
        def measure():
            asked.append(name)
            if stops and len(asked) < 3:
                raise KeyboardInterrupt
            return [{"new": 1.5}, {"new": 2.5}], 3.0, 4
        return measure

    models = {"one": model("one"), "two": model("two", True)}
    made = results.Baselines("MAE (ms)", "virtual", models)
    monkeypatch.setitem(results.BASELINES, "3", lambda task, options: made)
    with pytest.raises(KeyboardInterrupt):
        list(results.rows_of("3", few, tmp_path / "kept.json"))
    rows = list(results.rows_of("3", few, tmp_path / "kept.json"))
    assert asked == ["one", "two", "two"] and [row.scores for row in rows] == [[{"new": 1.5}, {"new": 2.5}]] * 2
    monkeypatch.setattr(results, "code_fingerprint", lambda *_: "other code")
    list(results.rows_of("3", few, tmp_path / "kept.json"))
    assert asked == ["one", "two", "two", "one", "two"]
    few.epochs = 2
    list(results.rows_of("3", few, tmp_path / "kept.json"))
    assert len(asked) == 7
    for half in ("{ half", "[]", '{"a": []}'):
        (tmp_path / "kept.json").write_text(half)
        assert len(list(results.rows_of("3", few, tmp_path / "kept.json"))) == 2
