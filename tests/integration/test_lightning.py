"""Lightning trainings are stopped, in one process and in two, and go on where they were."""

from __future__ import annotations

import math
import os
import time

import optuna
from optuna.pruners import BasePruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from tests.integration.studies import check_pruned
from tests.integration.studies import hopeless
from tests.integration.studies import N_EPOCHS
from tests.integration.studies import study_with_good_trials
from tests.retries import died


pl = pytest.importorskip("lightning.pytorch")

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


@pytest.fixture
def storage(tmp_path):
    return JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))


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


@pytest.mark.parametrize("time_no", range(N_TIMES))
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_two_processes_stop_at_the_same_step(storage, tmp_path, kind, time_no):
    if kind == "sqlite":
        storage = f"sqlite:///{tmp_path}/study.db"
    study = study_with_good_trials(storage)
    hopeless(study)
    study.optimize(lambda trial: objective(trial, **TWO, min_epochs=N_EPOCHS), n_trials=1)
    check_pruned(study)


@pytest.mark.slow
@pytest.mark.parametrize("time_no", range(N_TIMES))
def test_processes_that_are_spawned_stop_too(storage, time_no):
    study = study_with_good_trials(storage)
    hopeless(study)
    study.optimize(lambda trial: objective(trial, devices=2, strategy="ddp_spawn"), n_trials=1)
    check_pruned(study)
