"""Trainings by Transformers are stopped, in one process and in two, and go on where they were."""

from __future__ import annotations

import math

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.integration.libraries import library
from tests.integration.studies import check_pruned
from tests.integration.studies import hopeless
from tests.integration.studies import N_EPOCHS
from tests.integration.studies import study_with_good_trials


transformers = library("transformers")

from optuna_perfpred.integration import TransformersPruningCallback  # noqa: E402
from tests.integration.trainer_trainings import train  # noqa: E402


pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]


class StopAfter(BasePruner):
    def __init__(self, step):
        self.step = step

    def prune(self, study, trial):
        return trial.last_step == self.step


def suggest_rate(trial):
    return trial.suggest_float("rate", 1e-6, 1.0, log=True)


def test_a_hopeless_training_is_stopped_and_a_good_one_ends(tmp_path):
    def objective(trial):
        callback = TransformersPruningCallback(trial, "eval_accuracy")
        trainer = train(suggest_rate(trial), callback, tmp_path)
        assert trainer.evaluate()["eval_accuracy"] == pytest.approx(callback.value)
        return callback.value

    study = study_with_good_trials(first=1)
    study.enqueue_trial({"rate": 0.05})
    hopeless(study)
    study.optimize(objective, n_trials=2)
    good, _ = study.trials[-2:]
    assert good.state == TrialState.COMPLETE
    assert sorted(good.intermediate_values) == list(range(1, N_EPOCHS + 1))
    check_pruned(study)


def test_a_stopped_training_goes_on_with_the_same_values(tmp_path):
    def objective(trial):
        callback = TransformersPruningCallback(trial, "eval_accuracy", store=tmp_path / "saved")
        train(suggest_rate(trial), callback, tmp_path / "out", n_epochs=4, save_strategy="epoch")
        return callback.value

    study = optuna.create_study(pruner=StopAfter(2))
    study.enqueue_trial({"rate": 0.003})
    study.enqueue_trial({"rate": 0.003}, user_attrs={"perfpred:continues": 0})
    study.optimize(objective, n_trials=2)
    study.pruner = StopAfter(None)
    study.enqueue_trial({"rate": 0.003})
    study.optimize(objective, n_trials=1)
    stopped, continued, through = study.trials
    assert (stopped.state, continued.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert continued.user_attrs["perfpred:resumed_at"] == 2
    assert continued.intermediate_values == through.intermediate_values
    assert len(set(through.intermediate_values.values())) > 2


def run(folder, monitor="eval_accuracy", **options):
    def objective(trial):
        train(0.1, TransformersPruningCallback(trial, monitor), folder, n_epochs=2, **options)
        return 0.5

    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=1)
    return study.trials[-1]


def test_a_metric_that_is_never_logged_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"'accuracy' is not among .*'eval_accuracy'"):
        trial = run(tmp_path, "accuracy")
    assert trial.intermediate_values == {}
    assert trial.state == TrialState.COMPLETE


def test_nan_is_not_pruned(tmp_path):
    trial = run(tmp_path, metrics=lambda prediction: {"accuracy": math.nan})
    assert trial.state == TrialState.COMPLETE
    assert all(math.isnan(value) for value in trial.intermediate_values.values())


def test_evaluations_within_an_epoch_are_reported_by_steps(tmp_path):
    trial = run(tmp_path, eval_strategy="steps", eval_steps=3)
    assert sorted(trial.intermediate_values) == [3, 6, 9, 12]


def test_two_callbacks_on_one_trial_are_told(tmp_path):
    def objective(trial):
        callbacks = [TransformersPruningCallback(trial, "eval_accuracy") for _ in range(2)]
        train(0.1, callbacks, tmp_path, n_epochs=1)
        return 0.5

    with pytest.warns(UserWarning, match=r"this `step=1` is already reported"):
        study_with_good_trials().optimize(objective, n_trials=1)


@pytest.mark.parametrize("trial", [None, "trial"])
def test_there_must_be_a_trial(trial):
    with pytest.raises(ValueError, match="must be an Optuna trial"):
        TransformersPruningCallback(trial)


def test_that_nothing_is_saved_is_told(tmp_path):
    callback = TransformersPruningCallback(optuna.trial.FixedTrial({}), store=tmp_path / "saved")
    with pytest.warns(UserWarning, match="Nothing is saved"):
        train(0.1, callback, tmp_path, n_epochs=1)
