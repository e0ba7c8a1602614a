from __future__ import annotations

import json
import math

import numpy as np
import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization import plot_forecasts
from optuna_perfpred.visualization._forecasts import _get_forecasts_info
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.visualization.studies import add
from tests.visualization.studies import add_pruned
from tests.visualization.studies import decision
from tests.visualization.studies import small_study


DIRECTIONS = pytest.mark.parametrize("direction", ["maximize", "minimize"])


def curve_of(study, number):
    return next(c for c in _get_forecasts_info(study).curves if c.number == number)


@DIRECTIONS
def test_each_kind_of_trial_and_its_forecast(direction):
    study = small_study(direction)
    sign = 1.0 if direction == "maximize" else -1.0
    info = _get_forecasts_info(study)
    assert [curve.kind for curve in info.curves] == [
        "trained to the end",
        "stopped by a forecast",
        "stopped otherwise",
        "let finish on purpose",
        "stopped otherwise",
        "running",
        "infeasible",
    ]
    # The infeasible one is not the best, whatever its value.
    assert (info.best_value, info.best_number) == (sign * 0.9, 0)
    assert info.title == "Learning curves and forecasts of small"
    better = "higher" if direction == "maximize" else "lower"
    assert info.metric_label == f"Objective Value ({better} is better)"
    stopped, audited = info.curves[1].forecast, info.curves[3].forecast
    # From the decision to the last step of the completed trials.
    assert (stopped.steps, stopped.values) == ((1, 4), (sign * 0.2, sign * 0.4))
    assert stopped.band == pytest.approx((sign * 0.4 - 0.1, sign * 0.4 + 0.1))
    assert (audited.steps, audited.values) == ((1, 4), (sign * 0.2, sign * 0.3))
    assert len(info.curves[3].steps) == 5
    assert [i for i, curve in enumerate(info.curves) if curve.forecast] == [1, 3]


@DIRECTIONS
def test_a_study_that_was_really_pruned(direction):
    study = study_with(PerformancePredictionPruner(), direction)
    ended = [run(study, x) for x in (0.1, 0.2, 0.3)]
    assert None not in ended
    curves = [curve for curve in _get_forecasts_info(study).curves if curve.forecast]
    assert [curve.number for curve in curves] == [20, 21, 22]
    for curve, step in zip(curves, ended, strict=True):
        assert curve.kind == "stopped by a forecast"
        attrs = study.trials[curve.number].user_attrs
        assert curve.forecast.steps == (step, 19)
        assert curve.forecast.values[1] == attrs["perfpred:predicted_value"]
        assert curve.reason == attrs["perfpred:reason"]


def test_a_forecast_for_the_end_of_a_rung_ends_there():
    attributes = decision(1) | {
        "perfpred:reason": "At step 1: predicted to reach -0.5 ± 1e-07 at step 3; 4 % chance "
        "to be among the best 2 of the 5 trials of its rung, at 0.7."
    }
    study = small_study()
    add_pruned(study, [0.1, 0.2], attributes)
    assert curve_of(study, 7).forecast.steps == (1, 3)


def test_a_decision_on_a_dead_trial_is_not_one_on_the_trial_that_retries_it():
    study = small_study()
    add_pruned(study, [0.1, 0.2], decision(3))
    add_pruned(study, [0.1, 0.2], dict.fromkeys(decision(0)))
    assert curve_of(study, 7).forecast is None
    assert curve_of(study, 7).kind == curve_of(study, 8).kind == "stopped otherwise"
    assert curve_of(study, 8).forecast is None


@pytest.mark.parametrize(
    ("attrs", "band"),
    [
        ({"perfpred:predicted_std": math.inf}, None),
        ({"perfpred:predicted_std": None}, None),
        ({"perfpred:predicted_std": "?"}, None),
        ({"perfpred:predicted_std": 0.0}, (0.4, 0.4)),
    ],
)
def test_a_forecast_without_a_standard_error_has_no_band(attrs, band):
    study = small_study()
    add_pruned(study, [0.1], decision(0) | attrs)
    assert curve_of(study, 7).forecast.band == band
    add_pruned(study, [0.1], decision(0, predicted=math.nan))
    assert curve_of(study, 8).forecast is None
    assert curve_of(study, 8).kind == "stopped by a forecast"


def test_what_is_not_finite_is_passed_over():
    study = small_study()
    add_pruned(study, {0: 0.1, 1: math.nan, 2: math.inf}, decision(2))
    add(study, {0: math.nan, 1: math.nan}, state=TrialState.RUNNING)
    curve = curve_of(study, 7)
    assert (curve.steps, curve.values) == ([0], [0.1])
    assert (curve.forecast.steps, curve.forecast.values) == ((0, 4), (0.1, 0.4))
    info = _get_forecasts_info(study)
    assert info.title.endswith("(8 of 9 trials)")
    for value in info.value_range:
        assert math.isfinite(value)
    plot_forecasts(study)
    matplotlib.plot_forecasts(study)


@DIRECTIONS
def test_a_large_study_is_thinned(direction):
    study = optuna.create_study(direction=direction)
    rng = np.random.default_rng(0)
    sign = 1.0 if direction == "maximize" else -1.0
    best, audited = [100, 400, 450], [200, 201]
    for number in range(600):
        values = (sign * rng.uniform(size=500 if number == 5 else 4)).tolist()
        if number in best:
            add(study, [*values, sign * 2.0])
        elif number in audited:
            add(study, values, decision(2, audit=True))
        else:
            add_pruned(study, values, decision(3))
    info = _get_forecasts_info(study)
    shown = [curve.number for curve in info.curves]
    assert info.title.endswith("(100 of 600 trials)")
    assert len(shown) == len(set(shown)) == 100
    assert {*best, *audited, *range(590, 600)} <= set(shown)
    # The others are a spread.
    assert max(np.diff(shown)) <= 10
    assert shown[0] == 0
    figures = plot_forecasts(study), matplotlib.plot_forecasts(study)
    assert figures[0].layout.title.text == figures[1].get_title() == info.title


def test_a_long_curve_is_thinned_but_keeps_its_ends_and_the_decision():
    study = small_study()
    add(study, np.linspace(0.0, 0.5, 5000).tolist(), decision(1234, audit=True))
    curve = curve_of(study, 7)
    assert len(curve.steps) <= 201
    assert {0, 1234, 4999} <= set(curve.steps)


def perplexities(direction):
    study = optuna.create_study(direction=direction)
    for factor in (1.0, 2.0, 4.0):
        add(study, [factor * value for value in (5000.0, 300.0, 90.0, 70.0, 61.0)])
    add_pruned(study, [7000.0], decision(0, predicted=80.0, std=100.0))
    return study


def test_the_axis_is_logarithmic_where_the_values_ask_for_it():
    study = perplexities("minimize")
    info = _get_forecasts_info(study)
    assert info.log
    # The band ends at the edge of an axis without zero.
    low, high = curve_of(study, 3).forecast.band
    assert low == info.value_range[0] > 0.0
    assert high == 180.0
    axis = plot_forecasts(study).layout.yaxis
    assert axis.type == "log"
    assert [10.0**end for end in axis.range] == pytest.approx(info.value_range)
    ax = matplotlib.plot_forecasts(study)
    assert ax.get_yscale() == "log"
    assert ax.get_ylim() == pytest.approx(info.value_range)


def test_accuracies_that_begin_at_almost_nothing_are_on_a_linear_axis():
    study = optuna.create_study(direction="maximize")
    add(study, [0.001, 0.4, 0.7, 0.8, 0.9])
    for _ in range(3):
        add_pruned(study, [0.001], decision(0))
    assert not _get_forecasts_info(study).log
    assert matplotlib.plot_forecasts(study).get_yscale() == "linear"


@DIRECTIONS
def test_one_diverged_trial_does_not_hide_the_others(direction):
    study = small_study(direction)
    add(study, [0.0, 1e9 if direction == "minimize" else -1e9])
    low, high = _get_forecasts_info(study).value_range
    assert -10.0 < low < high < 10.0


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_axes_have_the_metric_s_name_and_both_figures_the_same_content():
    study = small_study()
    study.set_metric_names(["accuracy"])
    info = _get_forecasts_info(study)
    figure, ax = plot_forecasts(study), matplotlib.plot_forecasts(study)
    assert figure.layout.yaxis.title.text == ax.get_ylabel() == "accuracy (higher is better)"
    assert figure.layout.xaxis.title.text == ax.get_xlabel() == "Step"
    kinds = {curve.kind for curve in info.curves}
    others = {"best value 0.9 (trial 0)", "forecast ± one standard error"}
    assert {trace.name for trace in figure.data if trace.showlegend is not False} == kinds | others
    assert set(ax.get_legend_handles_labels()[1]) == kinds | others
    for kind in kinds:
        curves = [curve for curve in info.curves if curve.kind == kind]
        trace = next(t for t in figure.data if t.name == kind and t.showlegend is None)
        drawn = [x for x in trace.x if x is not None and not np.isnan(x)]
        assert drawn == [step for curve in curves for step in curve.steps]
        (line,) = (line for line in ax.lines if line.get_label() == kind)
        drawn = [y for y in line.get_ydata() if not np.isnan(y)]
        assert drawn == [value for curve in curves for value in curve.values]
    # The trial stopped by a forecast tells why when it is pointed at.
    stopped = [t for t in figure.data if t.name == "stopped by a forecast" and t.mode == "markers"]
    assert "At step 1 it is hopeless." in stopped[0].text[0]
    json.loads(figure.to_json())


@DIRECTIONS
@pytest.mark.parametrize("plot", [plot_forecasts, matplotlib.plot_forecasts])
def test_one_trial_and_none(plot, direction):
    def told(figure):
        if hasattr(figure, "texts"):
            return [text.get_text() for text in figure.texts]
        return [annotation.text for annotation in figure.layout.annotations]

    study = optuna.create_study(direction=direction)
    assert "No trial has reported" in told(plot(study))[0]
    add(study, {0: math.nan}, state=TrialState.RUNNING)
    assert told(plot(study)) == ["No trial has reported a finite value."]
    add_pruned(study, [0.5], decision(0))
    assert told(plot(study)) == []
    study = optuna.create_study(direction=direction)
    add(study, [0.5])
    assert told(plot(study)) == []


@pytest.mark.parametrize("plot", [plot_forecasts, matplotlib.plot_forecasts])
def test_several_objectives_are_refused(plot):
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="2 objectives"):
        plot(study)
