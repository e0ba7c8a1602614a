"""Studies in which a training is soon seen to be hopeless."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from optuna.trial import TrialState

from optuna_perfpred import PerformancePredictionPruner


N_EPOCHS = 8
RATES = FloatDistribution(1e-6, 1.0, log=True)


def study_with_good_trials(storage=None, *, first=0, scale=1):
    """Give a study of accuracies, in which six trainings ended well."""
    study = optuna.create_study(
        storage=storage,
        study_name="study",
        direction="maximize",
        pruner=PerformancePredictionPruner(),
    )
    for number in range(6):
        final = 0.75 - 0.01 * number
        curve = {(epoch + first) * scale: final - 0.3 / (epoch + 1) for epoch in range(N_EPOCHS)}
        curve[max(curve)] = final
        study.add_trial(
            create_trial(
                params={"rate": 0.1 / (number + 1)},
                distributions={"rate": RATES},
                intermediate_values=curve,
                value=final,
            )
        )
    return study


def hopeless(study):
    """Have a training wait whose rate is far too small."""
    study.enqueue_trial({"rate": 1e-6})


def check_pruned(study, *, n_pruned=1):
    """The last trials were stopped before the end, by a forecast, with the reason on them."""
    for trial in study.trials[-n_pruned:]:
        assert trial.state == TrialState.PRUNED
        assert 1 <= len(trial.intermediate_values) < N_EPOCHS
        assert trial.user_attrs["perfpred:step"] == trial.last_step
        assert trial.user_attrs["perfpred:reason"]
