from __future__ import annotations

from pathlib import Path
import pickle

import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.trial import create_trial
import pytest

import optuna_perfpred
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")
RULE_FILE = Path(optuna_perfpred.__file__).parent / "pruners/_stopping_rule/stopping_rule.npz"


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_decides_from_the_second_trial_on(direction):
    study = study_with(PerformancePredictionPruner(), direction, n=0)
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
    assert f"{relative:.2g} times that of a new trial" in pruned.user_attrs["perfpred:reason"]


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
    study = study_with(PerformancePredictionPruner())
    assert run(study, 0.99) is None
    study.add_trial(create_trial(value=100.0))
    step = run(study, 0.995)
    assert step is not None
    assert " 100, the best value so far" in study.trials[-1].user_attrs["perfpred:reason"]


def test_returned_values_on_another_scale_than_the_curves_prune_nothing():
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    for number in range(20):
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


def test_another_rule_can_be_given():
    study = study_with(PerformancePredictionPruner(StoppingRule(RULE_FILE)))
    assert run(study, 0.1) == run(study_with(PerformancePredictionPruner()), 0.1)
    restored = pickle.loads(pickle.dumps(PerformancePredictionPruner(StoppingRule(RULE_FILE))))
    assert run(study_with(restored), 0.1) is not None


def test_what_is_no_rule_is_refused(tmp_path):
    (tmp_path / "rule.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("missing.npz", "rule.npz", "other.npz"):
        with pytest.raises(ValueError, match="must be a stopping rule's file, but got path="):
            StoppingRule(tmp_path / name)
    with pytest.raises(ValueError, match="must be a CurvePredictor, a StoppingRule or None"):
        PerformancePredictionPruner(NopPruner())


def test_a_rule_for_other_features_is_refused(tmp_path):
    with np.load(RULE_FILE) as arrays:
        names = arrays["feature_names"][::-1]
        np.savez(tmp_path / "old.npz", **{**arrays, "feature_names": names})
    with pytest.raises(ValueError, match="trained for the features of this version"):
        StoppingRule(tmp_path / "old.npz")


def test_the_rule_is_small_and_holds_no_python_objects():
    assert RULE_FILE.stat().st_size < 1e6
    with np.load(RULE_FILE, allow_pickle=False) as arrays:
        assert all(array.dtype != object for array in arrays.values())


def test_thousands_of_completed_trials_are_thinned():
    study = study_with(PerformancePredictionPruner(), n=1500)
    assert run(study, 0.2) is not None
    assert run(study, 0.9999) is None
