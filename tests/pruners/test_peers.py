"""Trials that began together, as many workers begin, before the first one is complete."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.pruners.sentences import is_sentence
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import DECISION_ATTRS
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import X


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")


def train_together(xs, pruner=None, *, direction="maximize", n_steps=N_STEPS - 1, curve=None):
    """Report step by step, then ask; give the study, the trials, and when each was stopped."""
    study = optuna.create_study(
        direction=direction, pruner=pruner or PerformancePredictionPruner()
    )
    sign = 1.0 if direction == "maximize" else -1.0
    curves = [accuracy_curve(x, seed=n) if curve is None else curve for n, x in enumerate(xs)]
    for x in xs:
        study.enqueue_trial({"x": x})
    trials = [study.ask(X) for _ in xs]
    ended = {}
    for step in range(n_steps):
        going_on = [number for number in range(len(xs)) if number not in ended]
        for number in going_on:
            trials[number].report(sign * curves[number][step], step)
        for number in going_on:
            if trials[number].should_prune():
                study.tell(trials[number], state=TrialState.PRUNED)
                ended[number] = step
    return study, trials, ended


def spread_out(n):
    """The first one is the best, the second one hopeless."""
    return [1.0, 0.0, *np.linspace(0.35, 0.95, n - 2)]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("n", [8, 16])
def test_the_hopeless_one_is_stopped_and_the_best_is_not(n, direction):
    study, _, ended = train_together(spread_out(n), direction=direction)
    assert all(trial.state != TrialState.COMPLETE for trial in study.trials)
    assert 1 in ended
    assert 0 not in ended
    assert len(ended) <= n - 3
    attrs = study.trials[1].user_attrs
    assert set(attrs) == DECISION_ATTRS
    assert attrs["perfpred:step"] == ended[1]
    rank = f": {n}th of {n} trials that have come as far, none of them complete; "
    assert rank in attrs["perfpred:reason"]
    assert is_sentence("peers", attrs["perfpred:reason"])
    assert 0.0 <= attrs["perfpred:probability_of_beating_best"] < 1.0 / n


def test_the_rank_is_that_at_the_step():
    """Of the trials that have come as far: those that lag behind do not count."""
    study, trials, ended = train_together(
        spread_out(8), PerformancePredictionPruner(confidence=0.999), n_steps=6
    )
    assert ended == {}
    assessment = study.pruner.assessment(study, trials[1])
    assert assessment.reason.startswith("At step 5: 8th of 8 trials")
    trials[2].report(0.5, 6)
    trials[3].report(0.6, 6)
    trials[0].report(0.9, 6)
    trials[4].report(0.7, 6)
    assert trials[4].should_prune() is False
    assessment = study.pruner.assessment(study, trials[4])
    assert assessment.reason.startswith("At step 6: 2nd of 4 trials")
    assert assessment.reference == 0.9


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few_trials_tell_nothing_of_one_another(n):
    study, trials, ended = train_together([1.0, 0.0, 0.5][:n])
    assert ended == {}
    assert all(study.pruner.assessment(study, trial) is None for trial in trials)


@pytest.mark.parametrize("n_startup_trials", [0, 1, 5])
def test_given_a_number_of_startup_trials_none_is_stopped_before(n_startup_trials):
    pruner = PerformancePredictionPruner(n_startup_trials=n_startup_trials)
    _, _, ended = train_together(spread_out(16), pruner)
    assert ended == {}


def test_equal_trials_are_all_kept():
    study, trials, ended = train_together([0.5] * 16, curve=[0.7] * N_STEPS)
    assert ended == {}
    assert all(study.pruner.assessment(study, trial) is None for trial in trials)


def test_more_confidence_is_more_careful():
    def n_stopped(confidence):
        _, _, ended = train_together(
            spread_out(16), PerformancePredictionPruner(confidence=confidence)
        )
        assert 0 not in ended
        return len(ended)

    assert n_stopped(0.99) < n_stopped(0.5)


@pytest.mark.parametrize("seed", range(3))
def test_good_trials_are_not_thinned_with_the_bad_ones(seed):
    """One of the three best of twelve is always left to be completed."""
    xs = np.random.default_rng(seed).random(12)
    _, _, ended = train_together(xs.tolist())
    assert set(np.argsort(-xs)[:3].tolist()) - set(ended)
    assert len(ended) <= 9


def test_trials_that_have_reported_no_number_are_no_peers():
    study, trials, ended = train_together([0.5] * 16, curve=[float("nan")] * N_STEPS)
    assert ended == {}
    trials[0].report(1.0, N_STEPS - 1)
    assert not trials[0].should_prune()
    assert study.pruner.assessment(study, trials[0]) is None


def test_once_a_trial_is_complete_the_others_are_compared_with_it():
    study, trials, ended = train_together(spread_out(8), n_steps=10)
    for step, value in enumerate(accuracy_curve(1.0)[10:], start=10):
        trials[0].report(value, step)
    study.tell(trials[0], value)
    going_on = next(number for number in range(1, 8) if number not in ended)
    trials[going_on].report(0.9, 10)
    trials[going_on].should_prune()
    assert " chance to beat " in study.pruner.assessment(study, trials[going_on]).reason
