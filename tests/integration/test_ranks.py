"""Trainings in processes that were started before, as by `torchrun`."""

from __future__ import annotations

import os
import signal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest
import torch.distributed as dist
from torch.multiprocessing import ProcessRaisedException

from tests.integration.libraries import library
from tests.integration.ranks import optimize
from tests.integration.ranks import run_ranks
from tests.integration.studies import check_pruned
from tests.integration.studies import hopeless
from tests.integration.studies import N_EPOCHS
from tests.integration.studies import study_with_good_trials
from tests.retries import died


lightning = library("lightning.pytorch")
transformers = library("transformers")
TorchDistributedTrial = library("optuna_integration").TorchDistributedTrial

from optuna_perfpred.integration import LightningPruningCallback  # noqa: E402
from optuna_perfpred.integration import TransformersPruningCallback  # noqa: E402
from tests.integration import lightning_trainings  # noqa: E402
from tests.integration import trainer_trainings  # noqa: E402


# By hand: 20.
N_TIMES = int(os.environ.get("PERFPRED_TEST_DDP", "1"))
LIBRARIES = ["lightning", "transformers"]
pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def storage(tmp_path):
    return JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))


class KillsLightning(lightning.Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class KillsTrainer(transformers.TrainerCallback):
    def on_epoch_begin(self, args, state, control, **kwargs):
        if state.epoch >= 2:
            os.kill(os.getpid(), signal.SIGKILL)


def objective_of(library, folder, *, n_epochs=N_EPOCHS, failing_rank=None, is_killed=False):
    """Give an objective that saves its training."""

    def lightning_objective(trial):
        callback = LightningPruningCallback(trial, "accuracy", store=folder / "saved")
        fail = None if failing_rank is None else (failing_rank, 1)
        lightning_trainings.fit(
            lightning_trainings.Network(suggest_rate(trial), fail=fail),
            callback,
            n_epochs=n_epochs,
            more=[KillsLightning()] if is_killed else [],
            devices=2,
            strategy="ddp",
        )
        return callback.value

    def transformers_objective(trial):
        callback = TransformersPruningCallback(trial, "eval_accuracy", store=folder / "saved")
        trainer_trainings.train(
            suggest_rate(trial),
            callback,
            folder / "trainer",
            network=trainer_trainings.Network(
                fail_at=9 if dist.get_rank() == failing_rank else None
            ),
            n_epochs=n_epochs,
            more=[KillsTrainer()] if is_killed else [],
            save_strategy="epoch",
        )
        return callback.value

    objective = lightning_objective if library == "lightning" else transformers_objective
    return lambda trial: objective(TorchDistributedTrial(trial))


def suggest_rate(trial):
    return trial.suggest_float("rate", 1e-6, 1.0, log=True)


@pytest.mark.parametrize("_", range(N_TIMES))
@pytest.mark.parametrize("library", LIBRARIES)
def test_all_stop_at_the_same_step(storage, tmp_path, library, _):
    study = study_with_good_trials(storage, first=int(library == "transformers"))
    hopeless(study)
    hopeless(study)
    # They would hang, or fail, in the second one if they had not both left the first.
    run_ranks(optimize, storage, objective_of(library, tmp_path), 2)
    check_pruned(study, n_pruned=2)


@pytest.mark.parametrize("library", LIBRARIES)
def test_if_a_rank_fails_none_hangs(storage, tmp_path, library):
    study = study_with_good_trials(storage)
    study.enqueue_trial({"rate": 0.05})
    objective = objective_of(library, tmp_path, failing_rank=1)
    with pytest.raises(ProcessRaisedException, match=r"This rank has failed|closed by peer"):
        run_ranks(optimize, storage, objective)
    # Rank 0 may have been ended before it could say so.
    assert study.trials[-1].state in (TrialState.FAIL, TrialState.RUNNING)


def test_ranks_with_trials_of_their_own_are_told(storage, tmp_path):
    def objective(trial):
        callback = TransformersPruningCallback(trial, "eval_accuracy")
        trainer_trainings.train(0.1, callback, tmp_path)
        return 0.5

    study = study_with_good_trials(storage)

    def ask_on_each():
        journal = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
        optuna.load_study(study_name="study", storage=journal).optimize(objective, n_trials=1)

    with pytest.raises(ProcessRaisedException, match="All ranks must train the trial of rank 0"):
        run_ranks(ask_on_each)
    assert not study.get_trials(states=[TrialState.COMPLETE])[6:]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_retry_of_killed_processes_goes_on_within_the_training(storage, tmp_path, library):
    first = int(library == "transformers")
    study = study_with_good_trials(storage, first=first)
    study.enqueue_trial({"rate": 0.05})
    killed = objective_of(library, tmp_path, n_epochs=4, is_killed=True)
    with pytest.raises(Exception, match="SIGKILL"):
        run_ranks(optimize, storage, killed)
    [left] = study.get_trials(states=[TrialState.RUNNING])
    assert sorted(left.intermediate_values) == [first, first + 1]
    died(study, left)
    run_ranks(optimize, storage, objective_of(library, tmp_path, n_epochs=4))
    retry = study.trials[-1]
    assert retry.state == TrialState.COMPLETE
    assert retry.user_attrs["perfpred:resumed_at"] == first + 1
    assert sorted(retry.intermediate_values) == list(range(first, first + 4))
