from __future__ import annotations

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.importance import get_param_importances
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.samplers import predicted_study


class StopsLargeRates(BasePruner):
    """Stops all trials that a large rate has ruined, so that no completed one has it."""

    def prune(self, study, trial):
        return trial.params["rate"] > 0.2 and trial.last_step == 8


def objective(trial):
    rate, width = trial.suggest_float("rate", 0.0, 1.0), trial.suggest_float("width", 0.0, 1.0)
    noise = np.random.default_rng(trial.number).normal(size=20)
    # Below a rate of 0.2, in the trials that are completed, only the width matters.
    end = 0.5 + 0.1 * width - 0.5 * max(rate - 0.2, 0.0)
    for step in range(20):
        value = end * (1 - 0.8 ** (step + 1)) + 0.002 * noise[step]
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


def study_with_pruned(pruner=None, n_trials=60, objective=objective):
    study = optuna.create_study(
        direction="maximize", sampler=RandomSampler(seed=0), pruner=pruner or StopsLargeRates()
    )
    study.optimize(objective, n_trials=n_trials)
    return study


@pytest.fixture(scope="module")
def study():
    return study_with_pruned()


@pytest.mark.parametrize(
    "evaluator", [FanovaImportanceEvaluator(n_trees=16, seed=0), PedAnovaImportanceEvaluator()]
)
def test_importance_that_only_pruned_trials_reveal(study, evaluator):
    completed = get_param_importances(study, evaluator=evaluator)
    predicted = get_param_importances(predicted_study(study), evaluator=evaluator)
    assert max(completed, key=completed.get) == "width"
    assert max(predicted, key=predicted.get) == "rate"
    unpruned = study_with_pruned(optuna.pruners.NopPruner())
    full = get_param_importances(unpruned, evaluator=evaluator)
    assert abs(predicted["rate"] - full["rate"]) < abs(completed["rate"] - full["rate"]) / 2


def test_study_is_not_changed(study):
    states = [trial.state for trial in study.trials]
    view = predicted_study(study)
    assert all(trial.state == TrialState.COMPLETE for trial in view.trials)
    assert [trial.state for trial in study.trials] == states
    assert view.best_trial.number == study.best_trial.number


def test_view_follows_the_study():
    study = study_with_pruned(n_trials=20)
    view = predicted_study(study)
    assert len(view.trials) == 20
    study.optimize(objective, n_trials=5)
    assert [trial.number for trial in view.trials] == list(range(25))
    assert all(trial.state == TrialState.COMPLETE for trial in view.trials)


@pytest.mark.parametrize(
    "plot",
    [
        optuna.visualization.plot_slice,
        optuna.visualization.plot_contour,
        optuna.visualization.plot_parallel_coordinate,
        optuna.visualization.plot_param_importances,
        optuna.visualization.plot_rank,
        optuna.visualization.plot_edf,
    ],
)
def test_figures_of_optuna(study, plot):
    pytest.importorskip("plotly")
    figure = plot(predicted_study(study))
    assert len(figure.data) > 0


def test_slice_shows_pruned_trials(study):
    pytest.importorskip("plotly")

    def n_points(of):
        return len(optuna.visualization.plot_slice(of, params=["rate"]).data[0].x)

    assert n_points(study) == len(study.get_trials(states=(TrialState.COMPLETE,)))
    assert n_points(predicted_study(study)) == len(study.trials)


def test_after_our_pruner():
    study = study_with_pruned(PerformancePredictionPruner(), n_trials=40)
    n_completed = len(study.get_trials(states=(TrialState.COMPLETE,)))
    assert n_completed < 40
    assert "rate" in get_param_importances(predicted_study(study))


def test_nothing_to_predict_from():
    study = study_with_pruned(n_trials=0)
    assert predicted_study(study).trials == []

    def pruned(trial):
        trial.suggest_float("rate", 0.0, 1.0)
        trial.report(float("nan"), 0)
        raise optuna.TrialPruned

    study.optimize(pruned, n_trials=10)
    view = predicted_study(study, n_startup_trials=0)
    assert all(trial.state == TrialState.PRUNED for trial in view.trials)
    with pytest.warns(UserWarning, match="number of trials is too small"):
        get_param_importances(view)  # As Optuna tells of a study without completed trials.


def test_bad_arguments(study):
    with pytest.raises(ValueError, match="must be an Optuna study"):
        predicted_study("study")
    with pytest.raises(ValueError, match="single-objective"):
        predicted_study(optuna.create_study(directions=["minimize", "minimize"]))
    with pytest.raises(ValueError, match="n_startup_trials"):
        predicted_study(study, n_startup_trials=-1)
