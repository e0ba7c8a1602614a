"""Several pruners in one: ours beside another one, inside a patient one, inside a bracket."""

from __future__ import annotations

import optuna
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import PatientPruner
from optuna.pruners import PercentilePruner
from optuna.pruners import SuccessiveHalvingPruner
from optuna.pruners import ThresholdPruner
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import run
from tests.pruners.studies import study_with


WRAPPED = {
    "median": lambda: MedianPruner(n_startup_trials=3),
    "percentile": lambda: PercentilePruner(60.0, n_startup_trials=3),
    "halving": lambda: SuccessiveHalvingPruner(),
    "hyperband": lambda: HyperbandPruner(1, N_STEPS),
    "threshold": lambda: ThresholdPruner(lower=0.3, n_warmup_steps=5),
}
XS = [0.5, 0.9, 0.1, 0.7, 0.3, 0.95, 0.2, 0.6, 0.05, 0.8, 0.4, 0.85]


def pruned_at(pruner):
    """The steps at which the trials of a new study are pruned."""
    study = optuna.create_study(direction="maximize", pruner=pruner, study_name="composition")
    return [run(study, x) for x in XS]


@pytest.mark.parametrize("name", WRAPPED)
def test_without_a_forecast_only_the_wrapped_pruner_decides(name):
    alone = pruned_at(WRAPPED[name]())
    wrapping = PerformancePredictionPruner(wrapped_pruner=WRAPPED[name](), n_startup_trials=1000)
    assert any(step is not None for step in alone)
    assert pruned_at(wrapping) == alone


@pytest.mark.parametrize("name", WRAPPED)
def test_with_a_forecast_the_first_of_both_prunes(name):
    for x in (0.02, 0.3, 0.6, 0.97):
        steps = [
            run(study_with(pruner, study_name="composition"), x)
            for pruner in (
                WRAPPED[name](),
                PerformancePredictionPruner(),
                PerformancePredictionPruner(wrapped_pruner=WRAPPED[name]()),
            )
        ]
        *alone, together = (N_STEPS if step is None else step for step in steps)
        assert together == min(alone)


def test_who_pruned_is_told():
    study = study_with(PerformancePredictionPruner(wrapped_pruner=ThresholdPruner(lower=2.0)))
    assert run(study, 0.97) == 0
    assert study.trials[-1].user_attrs["perfpred:reason"] == (
        "Pruned by the wrapped ThresholdPruner."
    )


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_patient_pruner_waits_while_a_hopeless_trial_improves():
    rising = [0.01 * step for step in range(N_STEPS)]
    falling = [0.1 - 0.001 * step for step in range(N_STEPS)]
    impatient = study_with(PerformancePredictionPruner())
    assert run(impatient, 0.1, rising) is not None
    patient = study_with(PatientPruner(PerformancePredictionPruner(), patience=3))
    assert run(patient, 0.1, rising) is None
    assert run(patient, 0.1, falling) == 4  # The first step with more than three since the best.


def test_inside_a_bracket_it_learns_from_all_brackets():
    class Bracketed(HyperbandPruner):
        def prune(self, study, trial):
            return inner.prune(self._create_bracket_study(study, 0), trial)

    inner = PerformancePredictionPruner()
    pruner = Bracketed(max_resource=N_STEPS)
    pruner._try_initialization(optuna.create_study())
    assert run(study_with(pruner), 0.1) == run(study_with(PerformancePredictionPruner()), 0.1)
