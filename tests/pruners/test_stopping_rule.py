from __future__ import annotations

import re

import numpy as np
import optuna
from optuna.trial import create_trial
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_decides_from_the_second_trial_on(direction):
    study = study_with(PerformancePredictionPruner(confidence=0.5), direction, n=0)
    assert run(study, 0.9) is None
    step = run(study, 0.0)
    assert step is not None
    assert step < N_STEPS / 2
    assert run(study, 1.0) is None


def test_a_trial_is_compared_with_a_new_one():
    """One with an equal chance to become the best is worth more, the more others there are."""
    study = study_with(PerformancePredictionPruner())
    run(study, 0.1)
    pruned = study.trials[-1]
    chance = pruned.user_attrs["perfpred:probability_of_beating_best"]
    remaining = 1.0 - (pruned.last_step + 1) / N_STEPS
    relative = chance * 21 / remaining
    assert relative < 1.0
    reason = pruned.user_attrs["perfpred:reason"]
    times = float(re.search(r"new trials have (\S+) times its chance per step", reason)[1])
    assert times == pytest.approx(1.0 / relative, rel=0.05)


@pytest.mark.parametrize("confidence", [0.2, 0.5, 0.8])
def test_confidence_is_the_probability_that_new_trials_are_better(confidence):
    study = study_with(PerformancePredictionPruner(confidence=confidence, shadow=True))
    trial = study.ask(X)
    for step, value in enumerate(accuracy_curve(0.93)[:-1]):
        trial.report(value, step)
        trial.should_prune()
        decided = "perfpred:reason" in study.trials[-1].user_attrs
        assessment = study.pruner.assessment(study, trial)
        if decided:
            assert assessment.probability < 1.0 - confidence
            break
        assert assessment.probability >= 1.0 - confidence


def test_the_latest_assessment_can_be_asked_for():
    pruner = PerformancePredictionPruner()
    study = study_with(pruner)
    trial = study.ask(X)
    assert pruner.assessment(study, trial) is None
    for step, value in enumerate(accuracy_curve(0.99)[:-1]):
        trial.report(value, step)
        trial.should_prune()
        assessment = pruner.assessment(study, trial)
        assert assessment.step == step
        assert 0.0 < assessment.probability_of_beating_best < 1.0
    assert assessment.predicted_value == pytest.approx(0.99, abs=0.05)
    assert assessment.probability_of_beating_best > 0.5


def test_the_fewer_trials_have_finished_the_more_careful_it_is():
    """A trial of which a study of many trials is sure is only doubtful in one of few."""

    def least(n, **kwargs):
        study = study_with(PerformancePredictionPruner(**kwargs), n=n)
        trial = study.ask(X)
        trial.report(0.0, 0)
        trial.should_prune()
        return study.pruner.assessment(study, trial).least_probability

    cautious = [least(n) for n in (1, 5, 20, 100)]
    assert cautious == sorted(set(cautious))
    assert 0.0 < cautious[0] < 0.25
    assert [least(n, confidence=0.5) for n in (1, 100)] == [0.5, 0.5]


def test_values_may_have_any_unit():
    """Decisions don't change if all values are multiplied and moved."""

    def outcomes(scale, shift):
        study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
        curves = [
            scale * np.array(accuracy_curve((7 * n) % 30 / 30, n)) + shift for n in range(30)
        ]
        return [run(study, (7 * n) % 30 / 30, curve.tolist()) for n, curve in enumerate(curves)]

    expected = outcomes(1.0, 0.0)
    assert sum(outcome is not None for outcome in expected) > 10
    assert outcomes(1e3, -7e3) == expected
    assert outcomes(2.0**-10, 0.0) == expected


def test_a_best_value_without_a_curve_is_to_be_beaten_too():
    study = study_with(PerformancePredictionPruner(confidence=0.5))
    assert run(study, 0.99) is None
    study.add_trial(create_trial(value=100.0))
    step = run(study, 0.995)
    assert step is not None
    assert " chance to beat 100, " in study.trials[-1].user_attrs["perfpred:reason"]


def test_returned_values_on_another_scale_than_the_curves_prune_nothing():
    """Seven trials are too few to tell that they are ordered as the reports are."""
    pruner = PerformancePredictionPruner(confidence=0.5)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for number in range(7):
        curve = accuracy_curve(number / 20, number)
        study.add_trial(
            create_trial(value=1000.0 + number, intermediate_values=dict(enumerate(curve)))
        )
    assert run(study, 0.0) is None


def test_equal_trials_are_not_all_pruned_wrongly():
    """Where nothing ever differs, nothing can be lost, and nothing must fail."""
    study = optuna.create_study(pruner=PerformancePredictionPruner())
    for _ in range(30):
        run(study, 0.5, [1.0] * N_STEPS)
    assert study.best_value == 1.0


def test_audited_trials_estimate_how_often_it_is_wrong():
    pruner = PerformancePredictionPruner(audit_rate=1.0)
    study = study_with(pruner)
    for x in (0.1, 0.2, 0.3):
        assert run(study, x) is None
    report = pruner.audit(study)
    assert report.n_audited == 3
    assert report.rate == 0.0
    assert report.interval[1] > 0.0


def test_thousands_of_completed_trials_are_thinned():
    study = study_with(PerformancePredictionPruner(), n=1500)
    assert run(study, 0.2) is not None
    assert run(study, 0.9999) is None
