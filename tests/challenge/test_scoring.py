import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from cardiac_ml import metrics
from cardiac_ml.challenge import scoring, submission
from cardiac_ml.files import DataError


def made_truth(task, cases=60, groups=6):
    rng = np.random.default_rng(task)
    ids = np.array([f"case {i}" for i in range(cases)])
    labels = {1: lambda: rng.integers(0, 2, cases), 2: lambda: rng.integers(0, 5, cases),
              3: lambda: rng.uniform(10, 120, (cases, 75)).astype(np.float32),
              4: lambda: made_voltages(rng, cases)}
    return scoring.Truth(task, ids, labels[task](), np.array([f"v{i % groups}" for i in range(cases)]))


def made_voltages(rng, cases):
    since = np.arange(500) - rng.uniform(20, 120, (cases, 75, 1))
    return np.where((since > 0) & (since < 250), 20, -85).astype(np.float32)


def perfect(truth):
    return np.eye(len(submission.TASKS[truth.task].columns), dtype=np.float32)[truth.label] if truth.task <= 2 \
        else truth.label


@pytest.mark.parametrize("task", [1, 2, 3, 4])
def test_a_perfect_submission_scores_perfectly_and_a_shuffled_one_badly(tmp_path, task):
    truth = made_truth(task, cases=24 if task == 4 else 60)
    path = submission.write_submission(tmp_path / "mine.npz", task, truth.ids, perfect(truth))
    best = scoring.score(path, truth, draws=50)[scoring.MAIN[task]]
    assert best.value == best.low == best.high == (1 if scoring.MORE_IS_BETTER[task] else 0)
    shuffled = np.random.default_rng(9).permutation(perfect(truth))
    submission.write_submission(path, task, truth.ids, shuffled)
    bad = scoring.score(path, truth, draws=50)[scoring.MAIN[task]]
    assert bad.value < 0.7 if scoring.MORE_IS_BETTER[task] else bad.value > 5
    assert bad.low <= bad.value <= bad.high


def test_truth_round_trip_and_a_file_that_is_none(tmp_path):
    truth = made_truth(2)
    scoring.write_truth(tmp_path / "truth.npz", truth)
    again = scoring.read_truth(tmp_path / "truth.npz")
    assert again.task == 2 and all((a == b).all() for a, b in zip(truth[1:], again[1:]))
    (tmp_path / "other.npz").write_bytes(b"not a zip file")
    with pytest.raises(DataError, match="not a truth file"):
        scoring.read_truth(tmp_path / "other.npz")


def test_missing_labels_do_not_reach_the_score(tmp_path):
    truth = made_truth(3)
    label = truth.label.copy()
    label[:, :5] = np.nan
    truth = truth._replace(label=label)
    path = submission.write_submission(tmp_path / "m.npz", 3, truth.ids, np.nan_to_num(label, nan=50) + 2)
    scores = scoring.score(path, truth, draws=20)
    assert scores["MAE (ms)"].value == pytest.approx(2, abs=1e-4)
    assert scores["labels left out"].value == 300


def test_a_wrong_file_is_named_not_scored(tmp_path):
    truth = made_truth(3)
    path = submission.write_template(tmp_path / "t.npz", 3, truth.ids[:-1])
    with pytest.raises(DataError, match="1 ids are missing"):
        scoring.score(path, truth)


def test_leaderboard_ranks_and_tells_chance_from_skill(tmp_path):
    truth, rng = made_truth(3), np.random.default_rng(0)
    for name, error in (("good", 2.0), ("twin", 2.0), ("bad", 9.0)):
        noise = rng.normal(0, error, truth.label.shape).astype(np.float32)
        submission.write_submission(tmp_path / f"{name}.npz", 3, truth.ids, truth.label + noise, team=f"<b>{name}|</b>")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    board, refused = scoring.leaderboard(tmp_path, truth, draws=200)
    assert [row[1] for row in board][2] == "bad.npz" and list(refused) == ["broken.npz"]
    assert board[0][3] > 0.01 and board[1][3] == 0 and board[2][3] is None
    rows = scoring.leaderboard_rows(board, 3)
    page, markdown = scoring.as_html(rows, "Task 3"), scoring.as_markdown(rows)
    assert "<b>" not in page and "&lt;b&gt;" in page and "<b>" not in markdown
    assert markdown.count("\n") == 5


def test_scores_as_text_and_json(tmp_path):
    scores = {"MAE (ms)": scoring.Score(1.5, 1.0, 2.0)}
    assert "1.500   (1.000 .. 2.000)" in scoring.as_text(scores)
    assert json.loads(scoring.as_json(scores)) == {"MAE (ms)": {"value": 1.5, "low": 1.0, "high": 2.0}}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_a_hostile_file_is_scored_or_refused_never_more(tmp_path, data):
    truth = made_truth(1, cases=12)
    path = tmp_path / data.draw(strategies.sampled_from(["team.npz", "team.csv"]))
    submission.write_submission(path, 1, truth.ids, perfect(truth))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(strategies.integers(1, 6))):
        content[data.draw(strategies.integers(0, len(content) - 1))] = data.draw(strategies.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        found = scoring.score(path, truth, draws=5)
        assert set(found) == set(scoring.metrics_of(1))
    except DataError as error:
        assert path.name in str(error)
    board, refused = scoring.leaderboard(tmp_path, truth, draws=5)
    assert len(board) + len(refused) == len(list(tmp_path.iterdir()))


def test_a_heart_with_more_cases_weighs_more_in_the_interval_too():
    truth = made_truth(3, cases=90)._replace(group=np.array(["v1"] * 60 + ["v2"] * 30))
    wrong = truth.label + np.where(truth.group == "v1", 2, 5)[:, None]
    values = scoring.resampled(metrics.mae_ms, truth, wrong, draws=400)
    assert sorted(set(values.round(3))) == [2, 3, 5], "one heart twice, both, the other twice"
