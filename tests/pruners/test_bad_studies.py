"""Studies that go wrong or hold little: no exception, and nothing is stopped without evidence."""

from __future__ import annotations

import math
import warnings

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.visualization import plot_savings
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X


# Neither a forecast may fail, nor an array be divided by zero.
pytestmark = [
    pytest.mark.filterwarnings("error:The trial is not pruned"),
    pytest.mark.filterwarnings("error::RuntimeWarning"),
]


@pytest.fixture(params=[None, 0.5], ids=["default", "eager"])
def pruner(request):
    return PerformancePredictionPruner(confidence=request.param)


def search(pruner, curves, direction="maximize", *, values=None, steps=None):
    """Train trials by these curves; give the study and the numbers of those that were stopped."""
    study = optuna.create_study(direction=direction, pruner=pruner)
    stopped = []
    for number, curve in enumerate(curves):
        study.enqueue_trial({"x": ((7 * number) % len(curves)) / len(curves)})
        trial = study.ask(X)
        for step, value in zip(steps or range(len(curve)), curve, strict=True):
            trial.report(value, step)
            if trial.should_prune():
                stopped.append(number)
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            value = curve[-1] if values is None else values[number]
            study.tell(trial, 0.0 if math.isnan(value) else value)
    return study, stopped


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, 1e300, 5e-324])
def test_where_all_curves_are_equal_nothing_is_stopped(pruner, value):
    _, stopped = search(pruner, [[value] * 10] * 30)
    assert stopped == []


def test_constant_curves_are_told_apart_by_their_level_only(pruner):
    """The best one is never stopped, whatever is thought of curves that do not move."""
    levels = np.random.default_rng(0).permutation(30) / 30
    _, stopped = search(pruner, [[level] * 10 for level in levels.tolist()])
    assert int(np.argmax(levels)) not in stopped


def test_curves_of_one_step_stop_nothing(pruner):
    values = np.random.default_rng(0).random(30).tolist()
    _, stopped = search(pruner, [[value] for value in values])
    assert stopped == []


def test_a_report_at_a_single_late_step_stops_nothing(pruner):
    values = np.random.default_rng(0).random(30).tolist()
    _, stopped = search(pruner, [[value] for value in values], steps=[1000])
    assert stopped == []


def test_trials_that_all_end_alike_stop_nothing(pruner):
    """All finals are equal: no curve tells which trial is better, once a second one is known."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for number in range(30):
        curve = [*accuracy_curve(number / 30, seed=number)[:-1], 0.5]
        if number < 2:
            study.add_trial(create_trial(value=0.5, intermediate_values=dict(enumerate(curve))))
        else:
            assert run(study, number / 30, curve) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_single_reports_that_are_no_numbers_do_not_stop_a_good_trial(pruner, bad):
    study = study_with(pruner)
    curve = accuracy_curve(0.999)
    curve[3] = curve[7] = bad
    trial = study.ask(X)
    for step, value in enumerate(curve):
        trial.report(value, step)
        decision = trial.should_prune()
        assert not decision or not math.isfinite(value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_completed_trials_with_reports_that_are_no_numbers_are_learned_from(bad):
    study = optuna.create_study(
        direction="maximize", pruner=PerformancePredictionPruner(confidence=0.5)
    )
    for number in range(20):
        curve = accuracy_curve(number / 20, seed=number)
        curve[(3 * number) % (N_STEPS - 1)] = bad
        study.add_trial(create_trial(value=curve[-1], intermediate_values=dict(enumerate(curve))))
    assert run(study, 0.999) is None
    assert run(study, 0.0) is not None


def test_reports_whose_steps_go_back(pruner):
    """The last report is the one at the largest step: the order of reports does not matter."""
    orders = [[0, 1, 2, 3, 4], [4, 2, 0, 1, 3]]
    assessments = []
    for order in orders:
        study = study_with(pruner)
        study.enqueue_trial({"x": 0.8})
        trial = study.ask(X)
        curve = accuracy_curve(0.8)
        for step in order:
            trial.report(curve[step], step)
        assert type(trial.should_prune()) is bool
        assessments.append(study.pruner.assessment(study, trial))
    assert assessments[0] == assessments[1]
    assert assessments[0].step == 4


def test_trials_added_by_hand_without_curves_stop_nothing(pruner):
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for number in range(20):
        study.add_trial(
            create_trial(value=0.5 + number / 100, params={"x": number / 20}, distributions=X)
        )
    assert run(study, 0.0) is None


def test_no_completed_trial_at_all(pruner):
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for number in range(3):
        study.add_trial(create_trial(state=TrialState.FAIL))
        study.add_trial(
            create_trial(state=TrialState.PRUNED, intermediate_values={0: 0.1 * number})
        )
    assert run(study, 0.0) is None


def test_a_study_whose_first_hundred_trials_another_pruner_has_judged():
    study = optuna.create_study(direction="maximize", pruner=MedianPruner())
    xs = np.random.default_rng(0).random(100)
    first = [run(study, float(x)) for x in xs]
    assert sum(step is not None for step in first) > 30
    study.pruner = PerformancePredictionPruner()
    best = study.best_value
    better = [value + 0.05 for value in accuracy_curve(best)]
    assert run(study, best, better) is None
    assert study.best_value > best
    assert run(study, 0.05) is not None
    assert "new trials have" in study.trials[-1].user_attrs["perfpred:reason"]


def older_study():
    """A study with the attributes that version 0.1 left on pruned trials, and on an audited one.

    A wrapped pruner left its reason only, and a decision on a trial that died was set to None.
    """
    study = study_with(PerformancePredictionPruner())
    decision = {
        "perfpred:predicted_value": 0.41,
        "perfpred:predicted_std": 0.02,
        "perfpred:probability_of_beating_best": 0.003,
        "perfpred:step": 4,
        "perfpred:reason": "At step 4: 0.3 % chance to beat 0.94.",
    }
    for state, n, attrs in (
        (TrialState.PRUNED, 5, decision),
        (TrialState.PRUNED, 5, {"perfpred:reason": "Pruned by the wrapped MedianPruner."}),
        (TrialState.PRUNED, 5, dict.fromkeys(decision)),
        (TrialState.COMPLETE, N_STEPS, {**decision, "perfpred:audit": True}),
    ):
        curve = accuracy_curve(0.4)[:n]
        study.add_trial(
            create_trial(
                state=state,
                value=curve[-1] if state == TrialState.COMPLETE else None,
                params={"x": 0.4},
                distributions=X,
                intermediate_values=dict(enumerate(curve)),
                user_attrs=attrs,
            )
        )
    return study, decision


def test_attributes_that_an_older_version_left_are_still_read():
    study, decision = older_study()
    explained = explain(study, 20)
    assert explained.is_recorded
    assert explained.reason == decision["perfpred:reason"]
    assert (explained.predicted_value, explained.step) == (0.41, 4)
    assert "MedianPruner" in explain(study, 21).reason
    assert not explain(study, 22).is_recorded
    assert study.pruner.audit(study).n_audited == 1
    assert str(explained)
    plot_savings(study)
    assert run(study, 0.999) is None
    assert run(study, 0.05) is not None


reports = st.one_of(
    st.floats(-1.0, 1.0),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300, 5e-324, 0.0]),
    st.floats(),
)
returned = st.one_of(
    st.sampled_from(["last", "best", "worst", "mean"]),
    st.floats(-1.0, 1.0),
    st.sampled_from([math.inf, -math.inf, -9999.0, 1e300]),
)
trainings = st.tuples(
    st.one_of(
        st.just(list(range(6))),
        st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True),
        st.just([1000, 2000, 3000]),
    ),
    st.lists(reports, min_size=6, max_size=6),
    returned,
)


def value_of(curve, how):
    finite = [value for value in curve if math.isfinite(value)] or [0.0]
    if how in ("last", "best", "worst", "mean"):
        pick = {"last": lambda v: v[-1], "best": max, "worst": min, "mean": np.mean}[how]
        with np.errstate(over="ignore"):
            return float(pick(finite))
    return how


@settings(max_examples=40)
@given(
    direction=st.sampled_from(["minimize", "maximize"]),
    finished=st.lists(trainings, max_size=12),
    together=st.lists(trainings, min_size=1, max_size=5),
    confidence=st.sampled_from([None, 0.2, 0.9]),
)
def test_whatever_is_reported_and_returned_the_decision_is_a_bool(
    direction, finished, together, confidence
):
    """Some trials after one another, then some beside one another."""
    study = optuna.create_study(
        direction=direction,
        pruner=PerformancePredictionPruner(confidence=confidence),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    decisions = []
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The trial is not pruned")
        warnings.filterwarnings("error", category=RuntimeWarning)
        for steps, curve, how in finished:
            trial = study.ask(X)
            for step, value in zip(steps, curve, strict=False):
                trial.report(value, step)
                decisions.append(trial.should_prune())
            if decisions[-1]:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, value_of(curve, how))
        trials = [study.ask(X) for _ in together]
        for turn in range(6):
            for trial, (steps, curve, _) in zip(trials, together, strict=True):
                if turn < len(steps):
                    trial.report(curve[turn], steps[turn])
                    decisions.append(trial.should_prune())
    assert {type(decision) for decision in decisions} == {bool}
