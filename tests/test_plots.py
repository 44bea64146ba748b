"""Figures show the numbers they are given."""
import matplotlib.pyplot as plt
import numpy as np
import pytest

from cardiac_ml import metrics, plots
from cardiac_ml.training import Curve

CLASSES = ("N", "S", "V", "F", "Q")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    truth = np.r_[np.arange(5), rng.choice(5, 300)]
    score = rng.normal(size=(305, 5)) + 2 * np.eye(5)[truth]
    return truth, np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_heartbeats_show_the_median_in_ms_and_leave_out_padding():
    beats = np.tile(np.linspace(0.2, 1, 187, dtype=np.float32), (9, 1))
    beats[:3] *= 0.5
    beats[:, 150:] = 0
    figure = plots.heartbeats(beats, np.repeat([0, 1], [6, 3]), ("normal", "abnormal"), rate_hz=120)
    line = figure.axes[0].lines[0]
    assert len(line.get_xdata()) == 150 and line.get_xdata()[-1] == pytest.approx(149 * 1000 / 120)
    np.testing.assert_allclose(line.get_ydata(), np.median(beats[:6], axis=0)[:150])
    assert figure.axes[1].get_title(loc="left") == "abnormal: 3 beats"


def test_heartbeats_of_an_absent_class_leave_an_empty_panel():
    figure = plots.heartbeats(np.ones((2, 187), np.float32), np.zeros(2, int), ("N", "S"))
    assert len(figure.axes[0].lines) == 1 and len(figure.axes[1].lines) == 0


def test_class_balance_writes_counts_and_shares():
    figure = plots.class_balance(np.repeat([0, 2], [30, 10]), ("N", "S", "V"))
    assert [text.strip() for text in texts(figure.axes[0])] == ["30 (75.0 %)", "0 (0.0 %)", "10 (25.0 %)"]


def epoch(number, score):
    return dict(epoch=number, train_loss=1 / number, valid_loss=None if score is None else 2 / number, score=score,
                learning_rate=0.1, seconds=1.0)


def test_a_learning_curve_plots_itself():
    epochs = [epoch(1, 0.5), epoch(2, 0.9), epoch(3, 0.8)]
    figure = Curve("macro f1", epochs, epochs[1]).plot()
    loss, score = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(score.lines[0].get_ydata()) == [0.5, 0.9, 0.8] and score.lines[1].get_label() == "kept: epoch 2, 0.9"


def test_a_learning_curve_without_validation_has_one_panel():
    figure = Curve("loss", [epoch(1, None), epoch(2, None)], epoch(2, None)).plot()
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 1


def test_confusion_has_counts_and_row_percentages(answers):
    figure = plots.confusion(*answers, CLASSES)
    table = metrics.confusion(*answers)
    assert texts(figure.axes[0])[7] == f"{table[1, 2]}\n{100 * table[1, 2] / table[1].sum():.1f} %"
    assert len(texts(figure.axes[0])) == 25


def test_roc_writes_the_area_and_leaves_out_absent_classes(answers):
    truth, probability = answers
    truth = np.where(truth == 3, 0, truth)
    labels = plots.roc(truth, probability, CLASSES).axes[0].get_legend_handles_labels()[1]
    assert len(labels) == 5 and not any(label.startswith("F:") for label in labels)
    assert labels[0] == f"N: area {metrics.auroc((truth == 0).astype(int), probability[:, [1, 0]]):.3f}"


def test_curves_of_two_classes_show_the_second(answers):
    truth, probability = (answers[0] > 0).astype(int), np.c_[answers[1][:, 0], 1 - answers[1][:, 0]]
    for draw in (plots.roc, plots.precision_recall):
        labels = draw(truth, probability, ("normal", "abnormal")).axes[0].get_legend_handles_labels()[1]
        assert labels[0].startswith("abnormal") and not any(label.startswith("normal") for label in labels)


def test_panels_go_where_they_are_told(answers):
    figure, axes = plt.subplots(1, 3)
    for ax, draw in zip(axes, (plots.roc, plots.precision_recall, plots.confusion)):
        assert draw(*answers, CLASSES, ax=ax) is figure
    assert len(plt.get_fignums()) == 1


def test_reliability_states_the_calibration_error(answers):
    figure = plots.reliability(*answers)
    assert figure.axes[0].get_title() == f"calibration error {metrics.calibration_error(*answers):.3f}"


def test_saliency_colours_the_beat_but_not_its_padding():
    beats = np.ones((2, 187), np.float32)
    beats[1, 100:] = 0
    figure = plots.saliency(beats, np.random.default_rng(0).normal(size=beats.shape), titles=["a", "b"])
    assert [len(ax.collections[0].get_offsets()) for ax in figure.axes[:2]] == [187, 100]
