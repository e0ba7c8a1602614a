from __future__ import annotations

import math

import numpy as np
import optuna
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.replay import replay
from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization import plot_calibration
from tests.replay.studies import crossing_curves
from tests.replay.studies import recorded_study
from tests.visualization.studies import add
from tests.visualization.studies import add_pruned
from tests.visualization.studies import decision


def audited_study(direction="maximize"):
    """Two of ten trials that would have been pruned with a stated 4 % become the best."""
    sign = 1.0 if direction == "maximize" else -1.0
    study = optuna.create_study(direction=direction, study_name="audited")
    add(study, [sign * 0.5])
    for number in range(10):
        value = 0.6 + 0.01 * number if number in (3, 7) else 0.4
        add(study, [0.0, sign * value], decision(0, sign * 0.45, probability=0.04, audit=True))
    add(study, [0.0, sign * 0.3], decision(0, sign * 0.3, probability=0.3, audit=True))
    # Not chosen to finish: what became of it is no fair sample of the probability.
    add(study, [0.0, sign * 0.3], decision(0, sign * 0.35, probability=0.3))
    add_pruned(study, [0.0], decision(0))
    return study


def predictions(figure):
    """The forecasts and what became of them, by the kind of the trial."""
    return {t.name: t for t in figure.data if t.xaxis == "x" and t.mode == "markers"}


def bins(figure):
    """The stated probability of each bin, the share, its interval and the number of forecasts."""
    shares, numbers = (t for t in figure.data if t.xaxis == "x2" and t.mode != "lines")
    return [(*one, int(n)) for one, n in zip(shares.customdata, numbers.text, strict=True)]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_forecasts_of_a_study_beside_what_happened(direction):
    sign = 1.0 if direction == "maximize" else -1.0
    figure = plot_calibration(audited_study(direction))
    shown = predictions(figure)
    assert list(shown) == ["completed", "let finish on purpose"]
    assert list(shown["completed"].customdata) == [12]
    audited = shown["let finish on purpose"]
    assert list(audited.customdata) == list(range(1, 12))
    fourth = audited.x[3], audited.error_x.array[3], audited.y[3]
    assert fourth == pytest.approx((sign * 0.45, 0.1, sign * 0.63))
    low, high = bins(figure)
    # Wilson's interval for 2 of 10.
    assert low == pytest.approx((0.04, 0.2, 0.0567, 0.5098, 10), abs=1e-4)
    assert (high[1], high[4]) == (0.0, 1)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_both_figures_have_the_same_content():
    study = audited_study()
    study.set_metric_names(["accuracy"])
    figure, (values, probabilities) = plot_calibration(study), matplotlib.plot_calibration(study)
    assert figure.layout.xaxis.title.text == values.get_xlabel() == "Predicted accuracy"
    assert figure.layout.yaxis.title.text == values.get_ylabel() == "Final accuracy"
    (audited,) = (trace for trace in figure.data if trace.name == "let finish on purpose")
    drawn = [c for c in values.collections if c.get_label() == "let finish on purpose"]
    assert drawn[0].get_offsets()[:, 1].tolist() == list(audited.y)
    assert list(audited.error_x.array) == [0.1] * 11
    kinds = {"as forecast", "let finish on purpose", "completed"}
    assert {trace.name for trace in figure.data if trace.showlegend is not False} == kinds
    assert set(values.get_legend_handles_labels()[1]) == kinds
    assert [text.get_text() for text in probabilities.texts] == ["10", "1"]
    (numbers,) = (trace for trace in figure.data if trace.mode == "text")
    assert list(numbers.text) == ["10", "1"]
    (shares,) = (trace for trace in figure.data if trace.xaxis == "x2" and trace.error_y.array)
    assert np.square(shares.y) == pytest.approx([0.2, 0.0])
    assert np.square(shares.x) == pytest.approx([0.04, 0.3])
    tops = [np.square(y + up) for y, up in zip(shares.y, shares.error_y.array, strict=True)]
    assert tops == pytest.approx([high for _, _, _, high, _ in bins(figure)])


def test_forecasts_in_a_replay():
    study = recorded_study(crossing_curves(60), study_name="recorded")
    pruner = PerformancePredictionPruner(SequentialRegression("ridge"), confidence=0.9)
    report = replay(study, pruner, n_repeats=2, order="random", seed=0)
    figure = plot_calibration(report)
    title = "Forecasts by PerformancePredictionPruner and outcomes of recorded"
    assert figure.layout.title.text == title
    stated = [trial for trial in report.trials if trial.predicted_value is not None]
    shown = predictions(figure)
    assert list(shown) == ["replayed"]
    assert len(stated) > 10
    assert list(shown["replayed"].y) == [trial.value for trial in stated]
    assert sum(n for *_, n in bins(figure)) == report.calibration.count > len(stated)
    matplotlib.plot_calibration(report)


def test_forecasts_that_are_not_of_the_final_value_are_left_out():
    study = optuna.create_study()
    reason = "At step 0: predicted to reach 1 ± 2 at step 3; 4 % chance to be among the best."
    add(study, [1.0] * 5, decision(0, audit=True, reason=reason))
    assert not plot_calibration(study).data
    add(study, [1.0] * 5, decision(0, audit=True))
    (shown,) = predictions(plot_calibration(study)).values()
    assert list(shown.customdata) == [1]


def test_values_that_are_not_finite_still_tell_whether_the_probability_held():
    study = optuna.create_study(direction="maximize")
    add(study, [1.0])
    add(study, [0.0, -math.inf], decision(0, audit=True))
    add(study, [0.0, 0.5], decision(0, predicted=math.nan, audit=True))
    add(study, [0.0, 0.5], decision(0, probability=None, audit=True))
    figure = plot_calibration(study)
    (shown,) = predictions(figure).values()
    assert list(shown.customdata) == [3]
    assert [n for *_, n in bins(figure)] == [2]
    matplotlib.plot_calibration(study)


def test_many_trials_are_thinned_and_have_no_error_bars():
    study = optuna.create_study()
    for number in range(1500):
        add(study, [float(number % 7)], decision(0, predicted=3.0, audit=True))
    figure = plot_calibration(study)
    assert figure.layout.title.text.endswith("(1000 of 1500 trials)")
    (trace,) = predictions(figure).values()
    assert len(trace.x) == 1000
    assert sum(n for *_, n in bins(figure)) == 1500
    assert trace.error_x.array is None


def test_a_logarithmic_axis():
    study = optuna.create_study()
    for value in (60.0, 62.0, 65.0, 70.0, 5000.0, 90000.0):
        add(study, [value], decision(0, predicted=1.1 * value, audit=True))
    assert plot_calibration(study).layout.xaxis.type == "log"
    ax = matplotlib.plot_calibration(study)[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


@pytest.mark.parametrize("n", [0, 1])
def test_one_trial_and_none(n):
    study = optuna.create_study()
    if n:
        add(study, [0.5])
    message = plot_calibration(study).layout.annotations[0].text
    assert "No trial with a forecast of its final value has completed yet" in message
    drawn = matplotlib.plot_calibration(study)[0].figure.texts[-1]
    assert "No trial with a forecast" in drawn.get_text()
    add(study, [0.5], decision(0, audit=True))
    assert plot_calibration(study).data
    assert matplotlib.plot_calibration(study)[0].lines
    report = replay(recorded_study(crossing_curves(5)), optuna.pruners.NopPruner())
    assert "NopPruner has left no forecast" in plot_calibration(report).layout.annotations[0].text
