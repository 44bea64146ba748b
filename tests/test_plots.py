"""Figures show the numbers they are given."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cardiac_ml import leads, metrics, plots
from cardiac_ml.files import DataError

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


def history(scores, score="macro f1", best=2):
    count = len(scores)
    table = pd.DataFrame({"epoch": range(1, count + 1), "train_loss": np.linspace(1, 0.1, count), "score": scores})
    table["valid_loss"] = table["score"]
    table.attrs = dict(score=score, best_epoch=best)
    return table


def test_a_learning_curve_shows_losses_the_score_and_what_was_kept():
    loss, score = plots.learning_curve(history([0.5, 0.9, 0.8])).axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(score.lines[0].get_ydata()) == [0.5, 0.9, 0.8] and score.lines[1].get_label() == "kept: 0.9, in epoch 2"


def test_a_learning_curve_without_validation_has_one_panel():
    figure = plots.learning_curve(history([np.nan, np.nan], "loss"))
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 1


def test_bars_write_their_numbers_with_the_digits_asked_for():
    figure = plots.bars({"a": 2.984, "b": 4.0}, "error (ms)", intervals={"a": (2, 4), "b": (3, 5)}, reference=3)
    assert [text.strip() for text in texts(figure.axes[0])] == ["2.98", "4.00"]
    assert [text.strip() for text in texts(plots.bars({"a": 2.984}, "x", digits=0).axes[0])] == ["3"]
    ax = plots.bars({12: 1.0, 3: 2.0}, "x").axes[0]   # numbers are names, not places
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["12", "3"] and len(ax.patches) == 2
    assert [round(text.get_position()[1]) for text in ax.texts] == [0, 1]


def test_own_figures_in_the_style_of_the_others():
    with plt.rc_context():
        plots.style()
        ax = plt.figure().add_subplot()
        assert ax.plot([1, 2])[0].get_color() == plots.INK[0] and not ax.spines["top"].get_visible()


def test_many_values_are_counted_and_few_are_dots():
    truth = np.linspace(0, 100, 5000)
    many, few = plots.truth_and_prediction(truth, truth + 1), plots.truth_and_prediction(truth[:50], truth[:50])
    assert type(many.axes[0].collections[0]).__name__ == "PolyCollection" and len(many.axes) == 2
    assert len(few.axes[0].collections[0].get_offsets()) == 50
    known = plots.truth_and_prediction(np.where(truth < 75, np.nan, truth), truth)
    assert len(known.axes[0].collections[0].get_offsets()) == 1250


def test_twelve_leads_on_paper_and_electrodes_are_refused():
    ecg = np.random.default_rng(0).normal(0, 0.3, (2, 12, 500))
    figure = plots.twelve_leads(ecg, labels=["one", "two"])
    assert sorted(texts(ax)[0] for ax in figure.axes) == sorted(leads.LEADS)
    second = next(ax for ax in figure.axes if texts(ax)[0] == "II")
    np.testing.assert_array_equal(second.lines[1].get_ydata(), ecg[1, 1])
    with pytest.raises(DataError, match="Ten channels are electrodes: leads.to_leads"):
        plots.twelve_leads(ecg[:, :10])


def test_voltages_and_activation_show_the_points_asked_for():
    traces = np.random.default_rng(0).normal(size=(75, 500))
    figure = plots.voltages(traces, traces + 1, points=(3, 40))
    assert [len(ax.lines) for ax in figure.axes] == [2, 2] and figure.axes[1].get_title(loc="left") == "point 40"
    figure = plots.voltages(traces, points=(5,), activation_ms=np.arange(75.0))
    assert figure.axes[0].lines[1].get_xdata() == [5.0]
    assert {"P", "Q", "R", "S", "T"} < set(texts(plots.heartbeat_parts().axes[0]))
    assert len(texts(plots.lead_matrix().axes[0])) == np.count_nonzero(np.abs(leads.LEAD_MATRIX) > 1e-9)


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
    labels = plots.roc(truth, probability, ("normal", "abnormal")).axes[0].get_legend_handles_labels()[1]
    assert labels[0].startswith("abnormal") and not any(label.startswith("normal") for label in labels)


def test_panels_go_where_they_are_told(answers):
    figure, axes = plt.subplots(1, 2)
    for ax, draw in zip(axes, (plots.roc, plots.confusion)):
        assert draw(*answers, CLASSES, ax=ax) is figure
    assert len(plt.get_fignums()) == 1


def test_reliability_dots_are_those_of_the_metric(answers):
    dots = plots.reliability(*answers, bins=15).axes[0].collections[0]
    stated, right = dots.get_offsets().T
    share = (dots.get_sizes() - 15) / 150
    assert share.sum() == pytest.approx(1) and len(share) > 1
    assert metrics.calibration_error(*answers) == pytest.approx((np.abs(stated - right) * share).sum())


def test_saliency_colours_the_beat_but_not_its_padding():
    beats = np.ones((2, 187), np.float32)
    beats[1, 100:] = 0
    figure = plots.saliency(beats, np.random.default_rng(0).normal(size=beats.shape), titles=["a", "b"])
    assert [len(ax.collections[0].get_offsets()) for ax in figure.axes[:2]] == [187, 100]
