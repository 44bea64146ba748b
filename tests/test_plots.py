"""Figures show the numbers they are given."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tiny import made_scores

from cardiac_ml import leads, metrics, plots
from cardiac_ml.files import DataError

CLASSES = ("N", "S", "V", "F", "Q")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def answers():
    return made_scores(0)


def texts(ax):
    return [text.get_text().strip() for text in ax.texts]


def test_heartbeats_show_the_median_in_ms_and_leave_out_padding_and_absent_classes():
    beats = np.tile(np.linspace(0.2, 1, 187, dtype=np.float32), (9, 1))
    beats[:3] *= 0.5
    beats[:, 150:] = 0
    axes = plots.heartbeats(beats, np.repeat([0, 1], [6, 3]), ("normal", "abnormal", "absent"), rate_hz=120).axes
    line = axes[0].lines[0]
    assert len(line.get_xdata()) == 150 and line.get_xdata()[-1] == pytest.approx(149 * 1000 / 120)
    np.testing.assert_allclose(line.get_ydata(), np.median(beats[:6], axis=0)[:150])
    assert axes[1].get_title(loc="left") == "abnormal: 3 beats"
    assert [len(ax.lines) for ax in axes] == [1, 1, 0]


def test_counts_come_with_their_shares(answers):
    figure = plots.class_balance(np.repeat([0, 2], [30, 10]), ("N", "S", "V"))
    assert texts(figure.axes[0]) == ["30 (75.0 %)", "0 (0.0 %)", "10 (25.0 %)"]
    figure, table = plots.confusion(*answers, CLASSES), metrics.confusion(*answers)
    assert texts(figure.axes[0])[7] == f"{table[1, 2]}\n{100 * table[1, 2] / table[1].sum():.1f} %"
    assert len(texts(figure.axes[0])) == 25


def test_a_learning_curve_shows_losses_and_where_there_is_one_the_score_and_what_was_kept():
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [1, 0.5, 0.1], "score": [0.5, 0.9, 0.8]})
    history["valid_loss"] = history["score"]
    history.attrs = dict(score="macro f1", best_epoch=2)
    loss, score = plots.learning_curve(history).axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(score.lines[0].get_ydata()) == [0.5, 0.9, 0.8] and score.lines[1].get_label() == "kept: 0.9, in epoch 2"
    history[["score", "valid_loss"]], history.attrs["score"] = np.nan, "loss"
    (loss,) = plots.learning_curve(history).axes
    assert len(loss.lines) == 1


def test_bars_write_their_numbers_with_the_digits_asked_for():
    figure = plots.bars({"a": 2.984, "b": 4.0}, "error (ms)", intervals={"a": (2, 4), "b": (3, 5)}, reference=3)
    assert texts(figure.axes[0]) == ["2.98", "4.00"]
    assert texts(plots.bars({"a": 2.984}, "x", digits=0).axes[0]) == ["3"]
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
    many = plots.truth_and_prediction(truth, truth + 1)
    assert type(many.axes[0].collections[0]).__name__ == "PolyCollection" and len(many.axes) == 2
    for known, dots in ((truth[:50], 50), (np.where(truth < 75, np.nan, truth), 1250)):
        ax = plots.truth_and_prediction(known, truth[:len(known)]).axes[0]
        assert len(ax.collections[0].get_offsets()) == dots


def test_twelve_leads_on_paper_and_electrodes_are_refused():
    ecg = np.random.default_rng(0).normal(0, 0.3, (2, 12, 500))
    figure = plots.twelve_leads(ecg, labels=["one", "two"])
    panels = {texts(ax)[0]: ax for ax in figure.axes}
    assert len(figure.axes) == 12 and set(panels) == set(leads.LEADS)
    np.testing.assert_array_equal(panels["II"].lines[1].get_ydata(), ecg[1, 1])
    with pytest.raises(DataError, match="Ten channels are electrodes: leads.to_leads"):
        plots.twelve_leads(ecg[:, :10])


def test_voltages_and_activation_show_the_points_asked_for():
    traces = np.random.default_rng(0).normal(size=(75, 500))
    figure = plots.voltages(traces, traces + 1, points=(3, 40))
    assert [len(ax.lines) for ax in figure.axes] == [2, 2] and figure.axes[1].get_title(loc="left") == "point 40"
    figure = plots.voltages(traces, points=(5,), activation_ms=np.arange(75.0))
    assert figure.axes[0].lines[1].get_xdata() == [5.0]


def test_drawings_name_the_parts_of_a_heartbeat_and_hold_the_lead_matrix():
    assert {"P", "Q", "R", "S", "T"} < set(texts(plots.heartbeat_parts().axes[0]))
    assert len(texts(plots.lead_matrix().axes[0])) == np.count_nonzero(np.abs(leads.LEAD_MATRIX) > 1e-9)


def test_roc_writes_the_areas_of_the_classes_there_are_and_of_two_that_of_the_second(answers):
    truth, probability = np.where(answers[0] == 3, 0, answers[0]), answers[1]
    labels = plots.roc(truth, probability, CLASSES).axes[0].get_legend_handles_labels()[1]
    assert len(labels) == 5 and not any(label.startswith("F:") for label in labels)
    assert labels[0] == f"N: area {metrics.auroc((truth == 0).astype(int), probability[:, [1, 0]]):.3f}"
    two = plots.roc((truth > 0).astype(int), np.c_[probability[:, 0], 1 - probability[:, 0]], ("normal", "abnormal"))
    labels = two.axes[0].get_legend_handles_labels()[1]
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
