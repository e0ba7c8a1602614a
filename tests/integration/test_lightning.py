"""Lightning trainings are stopped, in one process and in two, and go on where they were."""

from __future__ import annotations

import math
import os
import time
import warnings

import optuna
from optuna.pruners import BasePruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest
import torch
from torch.multiprocessing import ProcessRaisedException

from optuna_perfpred import PerformancePredictionPruner
from tests.integration.libraries import library
from tests.integration.studies import check_pruned
from tests.integration.studies import hopeless
from tests.integration.studies import N_EPOCHS
from tests.integration.studies import study_with_good_trials


pl = library("lightning.pytorch")

from optuna_perfpred.integration import LightningPruningCallback  # noqa: E402
from tests.integration.lightning_trainings import fit  # noqa: E402
from tests.integration.lightning_trainings import Network  # noqa: E402


# By hand: 20.
N_TIMES = int(os.environ.get("PERFPRED_TEST_DDP", "1"))
TWO = {"devices": 2, "strategy": "ddp_fork"}
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:Experiment logs directory"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


class StopAfter(BasePruner):
    def __init__(self, step):
        self.step = step

    def prune(self, study, trial):
        return trial.last_step == self.step


def objective(trial, **options):
    pl.seed_everything(0, verbose=False)
    callback = LightningPruningCallback(trial, "accuracy")
    fit(Network(trial.suggest_float("rate", 1e-6, 1.0, log=True)), callback, **options)
    return callback.value


def test_a_hopeless_training_is_stopped_and_a_good_one_ends():
    study = study_with_good_trials()
    study.enqueue_trial({"rate": 0.05})
    hopeless(study)
    study.optimize(objective, n_trials=2)
    good, _ = study.trials[-2:]
    assert good.state == TrialState.COMPLETE
    assert sorted(good.intermediate_values) == list(range(N_EPOCHS))
    assert good.value == good.intermediate_values[N_EPOCHS - 1] > 0.8
    check_pruned(study)


@pytest.fixture(params=["journal"] if N_TIMES == 1 else ["journal", "sqlite"])
def storage(request, tmp_path):
    if request.param == "sqlite":
        return optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    return JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))


@pytest.mark.parametrize("_", range(N_TIMES))
def test_two_processes_stop_at_the_same_step(storage, _):
    study = study_with_good_trials(storage)
    hopeless(study)
    # Pruning is not to wait for what early stopping waits for.
    study.optimize(lambda trial: objective(trial, **TWO, min_epochs=N_EPOCHS), n_trials=1)
    check_pruned(study)


@pytest.mark.parametrize("_", range(N_TIMES))
def test_processes_that_are_spawned_stop_too(storage, _):
    study = study_with_good_trials(storage)
    hopeless(study)
    study.optimize(lambda trial: objective(trial, devices=2, strategy="ddp_spawn"), n_trials=1)
    check_pruned(study)


@pytest.mark.parametrize("_", range(N_TIMES))
def test_if_a_rank_fails_the_trial_fails(storage, _):
    study = study_with_good_trials(storage)
    study.pruner = optuna.pruners.NopPruner()

    def objective(trial):
        network = Network(trial.suggest_float("rate", 1e-6, 1.0, log=True), fail=(1, 1))
        fit(network, LightningPruningCallback(trial, "accuracy"), **TWO)

    start = time.monotonic()
    with pytest.raises(ProcessRaisedException, match=r"This rank has failed|closed by peer"):
        study.optimize(objective, n_trials=1)
    assert time.monotonic() - start < 120.0
    assert study.trials[-1].state == TrialState.FAIL


class Broken(BasePruner):
    def prune(self, study, trial):
        raise ArithmeticError("This pruner is broken.")


def test_if_the_pruner_fails_all_ranks_do(storage):
    study = study_with_good_trials(storage)
    study.pruner = Broken()
    with pytest.raises(ProcessRaisedException, match=r"This pruner is broken"):
        study.optimize(lambda trial: objective(trial, **TWO), n_trials=1)
    assert study.trials[-1].state == TrialState.FAIL


def test_processes_cannot_report_to_a_study_in_memory():
    study = study_with_good_trials()
    with pytest.raises(ProcessRaisedException, match="cannot report to a study in memory"):
        study.optimize(lambda trial: objective(trial, **TWO), n_trials=1)


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_rank_logs_holds_no_other_up(storage, rank):
    def log(module, accuracy):
        if module.global_rank == rank:
            module.log("accuracy", accuracy)

    study = study_with_good_trials(storage)
    hopeless(study)

    def objective(trial):
        network = Network(trial.suggest_float("rate", 1e-6, 1.0, log=True), log=log)
        fit(network, LightningPruningCallback(trial, "accuracy"), n_epochs=2, **TWO)
        return 0.0

    study.optimize(objective, n_trials=1)
    assert bool(study.trials[-1].intermediate_values) == (rank == 0)


def run(network, monitor="accuracy", **options):
    trials = []

    def objective(trial):
        trials.append(trial)
        fit(network, LightningPruningCallback(trial, monitor), **options)
        return 0.5

    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=1)
    return study.trials[-1]


def test_a_metric_that_is_never_logged_is_told():
    with pytest.warns(UserWarning, match=r"'acuracy' is not among .*: 'accuracy'"):
        trial = run(Network(0.1), "acuracy", n_epochs=1)
    assert trial.intermediate_values == {}
    assert trial.state == TrialState.COMPLETE


def test_nan_is_not_pruned():
    def log(module, accuracy):
        module.log("accuracy", math.nan)

    trial = run(Network(0.1, log=log), n_epochs=2)
    assert trial.state == TrialState.COMPLETE
    assert all(math.isnan(value) for value in trial.intermediate_values.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_tensor_on_a_gpu_is_reported():
    def log(module, accuracy):
        module.log("accuracy", accuracy.cuda())

    assert len(run(Network(0.1, log=log), n_epochs=2).intermediate_values) == 2


def test_two_callbacks_on_one_trial_are_refused():
    def objective(trial):
        callback, other = (LightningPruningCallback(trial, "accuracy") for _ in range(2))
        fit(Network(0.1), callback, more=[other])

    with pytest.raises(RuntimeError, match=r"more than one .* `LightningPruningCallback`"):
        optuna.create_study().optimize(objective, n_trials=1)


@pytest.mark.parametrize("trial", [None, 3])
def test_there_must_be_a_trial(trial):
    with pytest.raises(ValueError, match="must be an Optuna trial"):
        LightningPruningCallback(trial, "accuracy")


def test_validations_within_an_epoch_are_reported_by_steps():
    def objective(trial):
        network = Network(0.1)
        callback = LightningPruningCallback(trial, "accuracy")
        trainer = fit(network, callback, n_epochs=2, n_batches=6, val_check_interval=3)
        # What is validated afterwards is not reported.
        trainer.validate(network, trainer.val_dataloaders, verbose=False)
        return callback.value

    study = optuna.create_study(direction="maximize", pruner=StopAfter(None))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The reported value is ignored")
        study.optimize(objective, n_trials=1)
    assert sorted(study.trials[0].intermediate_values) == [3, 6, 9, 12]


def test_what_is_validated_every_second_epoch_is_reported_then():
    trial = run(Network(0.1), n_epochs=4, check_val_every_n_epoch=2)
    assert sorted(trial.intermediate_values) == [1, 3]


def saving(folder, **options):
    def objective(trial):
        pl.seed_everything(0, verbose=False)
        network = Network(trial.suggest_float("rate", 1e-6, 1.0, log=True))
        callback = LightningPruningCallback(trial, "accuracy", store=folder)
        fit(network, callback, n_epochs=4, **options)
        return callback.value

    return objective


def test_a_stopped_training_goes_on_with_the_same_values(tmp_path):
    study = optuna.create_study(pruner=StopAfter(1))
    study.enqueue_trial({"rate": 0.003})
    study.enqueue_trial({"rate": 0.003}, user_attrs={"perfpred:continues": 0})
    study.optimize(saving(tmp_path), n_trials=2)
    study.pruner = StopAfter(None)
    study.enqueue_trial({"rate": 0.003})
    study.optimize(saving(tmp_path), n_trials=1)
    stopped, continued, through = study.trials
    assert (stopped.state, continued.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert continued.user_attrs["perfpred:resumed_at"] == 1
    assert continued.intermediate_values == through.intermediate_values
    assert len(set(through.intermediate_values.values())) > 2
