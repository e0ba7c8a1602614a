"""The real trackers have what was foreseen, beside what a user logs."""

from __future__ import annotations

import optuna
import pytest

from optuna_perfpred.integration import TrackerCallback
from optuna_perfpred.visualization import savings
from tests.integration.libraries import library
from tests.integration.studies import hopeless
from tests.integration.studies import N_EPOCHS
from tests.integration.studies import study_with_good_trials


def objective(trial):
    trial.suggest_float("rate", 1e-6, 1.0, log=True)
    for epoch in range(N_EPOCHS):
        trial.report(0.1, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return 0.1


@pytest.fixture
def optimize():
    """Have one hopeless trial stopped; give the study and that trial."""

    def optimize(callback):
        study = study_with_good_trials()
        hopeless(study)
        study.optimize(objective, n_trials=1, n_jobs=2, callbacks=[callback])
        return study, study.trials[-1]

    return optimize


def expected(study, trial):
    attrs = trial.user_attrs
    return {
        "perfpred/predicted_value": attrs["perfpred:predicted_value"],
        "perfpred/predicted_std": attrs["perfpred:predicted_std"],
        "perfpred/probability_of_beating_best": attrs["perfpred:probability_of_beating_best"],
        "perfpred/step": trial.last_step,
        "perfpred/steps_trained": savings(study).steps_trained,
        "perfpred/steps_saved": savings(study).steps_saved,
    }


def test_wandb_has_the_forecasts(tmp_path, monkeypatch, optimize):
    wandb = library("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    quick = wandb.Settings(
        console="off", disable_git=True, x_disable_meta=True, x_disable_stats=True
    )
    with wandb.init(project="test", mode="offline", dir=str(tmp_path), settings=quick) as run:
        run.log({"mine": 1.0}, step=7)
        study, trial = optimize(TrackerCallback("wandb"))
        logged = dict(run.summary)
    assert logged["mine"] == 1.0
    assert logged["perfpred/trial"] == trial.number
    assert logged["perfpred/reason"] == trial.user_attrs["perfpred:reason"]
    for name, value in expected(study, trial).items():
        assert logged[name] == pytest.approx(value)


def test_mlflow_has_the_forecasts(tmp_path, monkeypatch, optimize):
    mlflow = library("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.set_experiment("test")
    with mlflow.start_run() as active:
        mlflow.log_metric("mine", 1.0, step=7)
        study, trial = optimize(TrackerCallback("mlflow"))
    run = mlflow.get_run(active.info.run_id)
    assert run.data.metrics == pytest.approx({"mine": 1.0, **expected(study, trial)})
    reason = run.data.tags[f"perfpred/trial_{trial.number}/reason"]
    assert reason == trial.user_attrs["perfpred:reason"]
    [point] = mlflow.MlflowClient().get_metric_history(run.info.run_id, "perfpred/step")
    assert point.step == trial.number


def test_a_tracker_that_fails_is_told_and_the_study_goes_on(tmp_path, monkeypatch, optimize):
    mlflow = library("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.set_experiment("test")
    with mlflow.start_run() as active:
        callback = TrackerCallback("mlflow")
    mlflow.delete_run(active.info.run_id)
    with pytest.warns(UserWarning, match="could not be logged"):
        _, trial = optimize(callback)
    assert trial.state == optuna.trial.TrialState.PRUNED


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_there_must_be_a_run(tracker):
    library(tracker)
    with pytest.raises(ValueError, match="no active run"):
        TrackerCallback(tracker)


def test_another_tracker_is_refused():
    with pytest.raises(ValueError, match=r"must be one of \['mlflow', 'wandb'\]"):
        TrackerCallback("tensorboard")
