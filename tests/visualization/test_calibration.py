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
from optuna_perfpred.visualization._calibration import _get_calibration_info
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


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_forecasts_of_a_study_beside_what_happened(direction):
    study = audited_study(direction)
    sign = 1.0 if direction == "maximize" else -1.0
    info = _get_calibration_info(study)
    assert [one.number for one in info.predictions] == list(range(1, 13))
    assert {one.kind for one in info.predictions[:-1]} == {"let finish on purpose"}
    assert info.predictions[-1].kind == "completed"
    fourth = info.predictions[3]
    assert (fourth.predicted, fourth.std, fourth.final) == (sign * 0.45, 0.1, sign * 0.63)
    low, high = info.bins
    assert (low.low, low.high, low.count) == (0.02, 0.05, 10)
    assert (low.mean_forecast, low.frequency) == pytest.approx((0.04, 0.2))
    # Wilson's interval for 2 of 10.
    assert info.intervals[0] == pytest.approx((0.0567, 0.5098), abs=1e-4)
    assert (high.count, high.frequency) == (1, 0.0)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_both_figures_have_the_same_content():
    study = audited_study()
    study.set_metric_names(["accuracy"])
    info = _get_calibration_info(study)
    figure, (values, probabilities) = plot_calibration(study), matplotlib.plot_calibration(study)
    assert figure.layout.xaxis.title.text == values.get_xlabel() == "Predicted accuracy"
    assert figure.layout.yaxis.title.text == values.get_ylabel() == "Final accuracy"
    (audited,) = (trace for trace in figure.data if trace.name == "let finish on purpose")
    assert list(audited.y) == [one.final for one in info.predictions[:-1]]
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
    assert tops == pytest.approx([high for _, high in info.intervals])


def test_forecasts_in_a_replay():
    study = recorded_study(crossing_curves(60), study_name="recorded")
    pruner = PerformancePredictionPruner(SequentialRegression("ridge"), confidence=0.9)
    report = replay(study, pruner, n_repeats=2, order="random", seed=0)
    info = _get_calibration_info(report)
    assert info.title == "Forecasts by PerformancePredictionPruner and outcomes of recorded"
    stated = [trial for trial in report.trials if trial.predicted_value is not None]
    assert len(info.predictions) == len(stated) > 10
    assert {one.kind for one in info.predictions} == {"replayed"}
    assert [one.final for one in info.predictions] == [trial.value for trial in stated]
    assert sum(one.count for one in info.bins) == report.calibration.count > len(stated)
    plot_calibration(report)
    matplotlib.plot_calibration(report)


def test_forecasts_that_are_not_of_the_final_value_are_left_out():
    study = optuna.create_study()
    reason = "At step 0 it is predicted to reach 1 ± 2 at step 3; its chance to be among the best."
    add(study, [1.0] * 5, decision(0, audit=True, reason=reason))
    assert _get_calibration_info(study).message is not None
    add(study, [1.0] * 5, decision(0, audit=True))
    assert [one.number for one in _get_calibration_info(study).predictions] == [1]


def test_values_that_are_not_finite_still_tell_whether_the_probability_held():
    study = optuna.create_study(direction="maximize")
    add(study, [1.0])
    add(study, [0.0, -math.inf], decision(0, audit=True))
    add(study, [0.0, 0.5], decision(0, predicted=math.nan, audit=True))
    add(study, [0.0, 0.5], decision(0, probability=None, audit=True))
    info = _get_calibration_info(study)
    assert [one.number for one in info.predictions] == [3]
    assert [one.count for one in info.bins] == [2]
    plot_calibration(study)
    matplotlib.plot_calibration(study)


def test_many_trials_are_thinned_and_have_no_error_bars():
    study = optuna.create_study()
    for number in range(1500):
        add(study, [float(number % 7)], decision(0, predicted=3.0, audit=True))
    info = _get_calibration_info(study)
    assert info.title.endswith("(1000 of 1500 trials)")
    assert len(info.predictions) == 1000
    assert sum(one.count for one in info.bins) == 1500
    trace = next(t for t in plot_calibration(study).data if t.name == "let finish on purpose")
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
