"""A trial that goes on with a stopped one is one trial, and costs what was trained again."""

from __future__ import annotations

from optuna.trial import TrialState
import pytest

from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization import plot_forecasts
from optuna_perfpred.visualization import plot_savings
from optuna_perfpred.visualization import savings
from optuna_perfpred.visualization._forecasts import _get_forecasts_info
from tests.continued import add
from tests.continued import N_STEPS
from tests.continued import NO_NUMBERS
from tests.continued import REASON
from tests.continued import stopped_by_forecast
from tests.continued import study_of


# Three configurations would cost 30 steps: one was trained once, one stopped after a step.
@pytest.mark.parametrize(
    ("study", "trained", "repeated"),
    [
        (study_of(), 24, 3),
        (study_of(resumed_at=2), 21, 0),
        (study_of(resumed_at=1), 22, 1),
        (study_of(resumed_at=10**30), 21, 0),
        # An objective that goes on from a checkpoint of its own.
        (study_of(range(3, N_STEPS)), 21, 0),
    ],
)
def test_what_is_trained_again_is_taken_from_what_was_saved(study, trained, repeated):
    saved = savings(study)
    assert (saved.n_trials, saved.n_pruned) == (3, 1)
    assert (saved.steps_trained, saved.steps_repeated) == (trained, repeated)
    assert saved.steps_saved == saved.steps_saved_by_forecasts == 30 - trained
    assert saved.share == pytest.approx((30 - trained) / 30)
    assert ("that were trained again" in str(saved)) == (repeated > 0)
    figure = plot_savings(study)
    assert sum(trace.y[-1] for trace in figure.data) == 30
    assert ("trained again" in {trace.name for trace in figure.data}) == (repeated > 0)
    matplotlib.plot_savings(study)


@pytest.mark.parametrize("wrong", [None, "2", True, False, -1, 2.5, [2], {}])
def test_a_step_of_another_type_is_none(wrong):
    assert savings(study_of(resumed_at=wrong)).steps_trained == 24


def test_only_what_an_earlier_trial_has_reported_can_have_been_copied():
    study = study_of(continues=None, resumed_at=N_STEPS)
    assert savings(study).steps_trained == 24
    assert savings(study_of(resumed_at=N_STEPS)).steps_trained == 21


def test_a_trial_that_is_stopped_again_and_goes_on_again():
    study = study_of(range(5), TrialState.PRUNED)
    add(study, 0.9, range(N_STEPS), continues=2)
    saved = savings(study)
    # It has cost 8 steps to train it three times, and one other was stopped with 9 left.
    assert (saved.n_trials, saved.n_pruned) == (3, 1)
    assert (saved.steps_trained, saved.steps_repeated, saved.steps_saved) == (29, 8, 1)


def test_of_a_trial_that_is_stopped_earlier_than_before_nothing_is_saved_twice():
    study = study_of(range(2), TrialState.PRUNED)
    saved = savings(study)
    assert (saved.steps_trained, saved.steps_repeated) == (16, 2)
    assert saved.steps_saved == 7 + 9 - 2


def test_more_may_be_trained_again_than_was_saved():
    study = study_of(range(9), TrialState.PRUNED)
    stopped_by_forecast(study, 0.9, 10, continues=2)
    saved = savings(study)
    assert (saved.steps_repeated, saved.steps_saved) == (12, 9 - 12)
    assert saved.share < 0.0
    for plot in (plot_savings, matplotlib.plot_savings):
        plot(study)


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_what_names_no_stopped_trial_is_absent(number):
    study, without = study_of(continues=number), study_of(continues=None)
    assert savings(study) == savings(without)
    assert savings(study).n_trials == 4
    assert _get_forecasts_info(study) == _get_forecasts_info(without)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.RUNNING])
@pytest.mark.parametrize("steps", [range(N_STEPS), range(3, N_STEPS)])
def test_one_curve_with_a_circle_where_it_was_stopped(state, steps):
    study = study_of(steps, state)
    info = _get_forecasts_info(study)
    assert [curve.number for curve in info.curves] == [0, 2, 3]
    assert info.n_trials == 3
    curve = info.curves[1]
    assert curve.steps == list(range(N_STEPS))
    assert curve.values == pytest.approx([0.09 * (step + 1) for step in range(N_STEPS)])
    assert curve.joins == [(2, pytest.approx(0.27))]
    (circles,) = (t for t in plot_forecasts(study).data if "gone on with" in t.name)
    assert list(circles.x) == [2]
    assert "by now 9 % chance" in circles.text[0]
    ax = matplotlib.plot_forecasts(study)
    assert "gone on with" in " ".join(ax.get_legend_handles_labels()[1])


def test_until_a_running_trial_has_come_as_far_the_stopped_curve_is_what_is_known():
    curves = _get_forecasts_info(study_of(range(2), TrialState.RUNNING)).curves
    assert [curve.number for curve in curves] == [0, 1, 2, 3]


@pytest.mark.parametrize("reason", [None, True, 3, [REASON], {}, "x" * 3000])
def test_a_reason_that_is_no_sentence_is_left_out(reason):
    curve = _get_forecasts_info(study_of(second_chance=reason)).curves[1]
    assert curve.why_continued == "Goes on with trial 1, stopped at step 2."
