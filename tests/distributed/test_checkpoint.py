"""A retried trial goes on where the one before it stopped, and nothing is lost on the way."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import warnings

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FixedTrial
from optuna.trial import TrialState
import pytest
import torch
from torch import nn

from optuna_perfpred.distributed import Checkpoint
from tests.distributed.resuming import begin_and_die
from tests.distributed.resuming import Death
from tests.distributed.resuming import files
from tests.distributed.resuming import go_on
from tests.distributed.resuming import N_STEPS
from tests.distributed.resuming import value_at
from tests.retries import died


pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("error:.*checkpoint:UserWarning"),
]


def storages(folder):
    return {
        "memory": InMemoryStorage,
        "sqlite": lambda: RDBStorage(f"sqlite:///{folder}/study.db"),
        "journal": lambda: JournalStorage(JournalFileBackend(f"{folder}/study.journal")),
    }


def stores(folder):
    (folder / "artifacts").mkdir()
    return {
        "folder": folder / "checkpoints",
        "artifacts": FileSystemArtifactStore(folder / "artifacts"),
    }


@pytest.mark.parametrize(
    ("storage", "store"),
    [("memory", "folder"), ("sqlite", "artifacts"), ("journal", "folder")],
)
def test_a_retried_trial_goes_on_with_its_curve_whole(tmp_path, storage, store):
    study = optuna.create_study(storage=storages(tmp_path)[storage]())
    store = stores(tmp_path)[store]
    begin_and_die(study, store, dies_after=5, every=2)
    assert files(tmp_path)
    trial = go_on(study, store, attempt=1, every=2)
    assert trial.number == 1
    assert trial.state == TrialState.COMPLETE
    # Step 5 had been reported but not saved: its value is that of the second training.
    assert trial.intermediate_values == {
        step: value_at(step, attempt=int(step > 4)) for step in range(N_STEPS)
    }
    assert trial.params == study.trials[0].params
    assert not files(tmp_path)


def test_reports_that_were_inherited_past_the_checkpoint_stay(tmp_path):
    study = optuna.create_study()
    begin_and_die(study, tmp_path, inherit=True, dies_after=5, every=4)
    with pytest.warns(UserWarning, match="`step=5` is already reported"):
        trial = go_on(study, tmp_path, attempt=1)
    assert trial.intermediate_values == {
        step: value_at(step, attempt=int(step > 5)) for step in range(N_STEPS)
    }


def test_reports_that_were_inherited_up_to_the_checkpoint_are_not_reported_again(tmp_path):
    study = optuna.create_study()
    begin_and_die(study, tmp_path, inherit=True, dies_after=5)
    reports = study._storage.get_trial(1).intermediate_values
    trial = study.ask()
    checkpoint = Checkpoint(trial, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert checkpoint.load() == (5, bytes(range(5)), value_at(4))
    assert study.trials[1].intermediate_values == reports


def test_a_chain_of_deaths(tmp_path):
    study = optuna.create_study()
    store = tmp_path / "checkpoints"
    begin_and_die(study, store, dies_after=3)
    begin_and_die(study, store, dies_after=3, attempt=1)  # Before it saves anything.
    assert [path.name[-2:] for path in files(store)] == ["-0", "-1"]
    begin_and_die(study, store, dies_after=6, attempt=2)
    begin_and_die(study, store, dies_after=6, attempt=3)
    trial = go_on(study, store, attempt=4)
    assert trial.number == 4
    assert trial.intermediate_values == {
        step: value_at(step, {0: 0, 1: 0, 2: 0, 6: 4, 7: 4}.get(step, 2))
        for step in range(N_STEPS)
    }
    assert not files(store)


def test_a_trial_whose_training_had_ended_gives_its_last_value(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    checkpoint = Checkpoint(trial, tmp_path)
    for step in range(N_STEPS):
        trial.report(value_at(step), step)
        checkpoint.save(step, bytes(range(step + 1)))
    died(study, trial)
    assert go_on(study, tmp_path, attempt=1).value == value_at(N_STEPS - 1)


def test_a_trial_can_be_tried_again_by_hand(tmp_path):
    study = optuna.create_study()

    def objective(trial):
        trial.report(0.5, 0)
        with Checkpoint(trial, tmp_path) as checkpoint:
            checkpoint.save(0, b"trained")
            raise MemoryError

    study.optimize(objective, n_trials=1, catch=MemoryError)
    [failed] = study.trials
    study.enqueue_trial(failed.params, user_attrs=failed.user_attrs)
    trial = study.ask()
    assert Checkpoint(trial, tmp_path).load() == (1, b"trained", 0.5)
    assert study.trials[1].intermediate_values == {0: 0.5}


@pytest.mark.parametrize("ending", [None, optuna.TrialPruned, ValueError, KeyboardInterrupt])
def test_only_trials_that_end_well_lose_their_checkpoints(tmp_path, ending):
    study = optuna.create_study()
    trial = study.ask()
    with pytest.raises(ending or SystemExit), Checkpoint(trial, tmp_path) as checkpoint:  # noqa: PT012
        checkpoint.save(0, b"0")
        checkpoint.save(1, b"1")
        if ending is not None:
            raise ending
        checkpoint.remove()
        assert not files(tmp_path)
        raise SystemExit
    is_well = ending in (None, optuna.TrialPruned)
    assert len(files(tmp_path)) == (0 if is_well else 2)
    died(study, trial)
    expected = (0, None, math.nan) if is_well else (2, b"1", math.nan)
    assert Checkpoint(study.ask(), tmp_path).load() == pytest.approx(expected, nan_ok=True)


def test_studies_share_a_folder(tmp_path):
    """Studies and trials of one name and number in several storages are told apart."""
    studies = [optuna.create_study(study_name="one name") for _ in range(3)]
    for study, n_steps in zip(studies, (3, 5, 7), strict=True):
        begin_and_die(study, tmp_path, dies_after=n_steps)
    starts = [Checkpoint(study.ask(), tmp_path).load().start for study in studies]
    assert starts == [3, 5, 7]


def test_a_worker_that_was_cut_off_cannot_harm_the_retry(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    cut_off = Checkpoint(trial, tmp_path)
    trial.report(0.1, 0)
    cut_off.save(0, b"before")
    died(study, trial)
    retry = study.ask()
    resumed = Checkpoint(retry, tmp_path)
    assert resumed.load().state == b"before"
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        cut_off.remove()
    retry.report(0.2, 1)
    resumed.save(1, b"after")
    for step in range(1, 9):  # It does not report, or it would know.
        cut_off.save(step, b"cut off")
    died(study, retry)
    assert Checkpoint(study.ask(), tmp_path).load() == (2, b"after", 0.2)


def test_a_pytorch_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    X = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    y = X.sum(dim=1, keepdim=True)

    def objective(trial, dies_after=None):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        with Checkpoint(trial, tmp_path) as checkpoint:
            start, state, loss = checkpoint.load()
            if state is not None:
                network.load_state_dict(state["network"])
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
                torch.set_rng_state(state["generator"])
            for epoch in range(start, N_STEPS):
                for batch in torch.randperm(len(X)).split(16):
                    optimizer.zero_grad()
                    nn.functional.mse_loss(network(X[batch]), y[batch]).backward()
                    optimizer.step()
                schedule.step()
                loss = nn.functional.mse_loss(network(X), y).item()
                trial.report(loss, epoch)
                if epoch == dies_after:
                    raise Death
                checkpoint.save(
                    epoch,
                    {
                        "network": network.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                        "generator": torch.get_rng_state(),
                    },
                )
        return loss

    study = optuna.create_study()
    study.optimize(objective, n_trials=1)
    trial = study.ask()
    with pytest.raises(Death):
        objective(trial, dies_after=4)
    died(study, trial)
    study.optimize(objective, n_trials=1)
    through, _, resumed = study.trials
    assert resumed.intermediate_values == through.intermediate_values
    assert resumed.value == through.value
    assert not files(tmp_path)


def test_trials_outside_of_a_study_save_nothing(tmp_path):
    study = optuna.create_study()
    begin_and_die(study, tmp_path / "of the study", dies_after=5)
    go_on(study, tmp_path / "of the study")
    for trial in (FixedTrial({"x": 0.5}), study.best_trial, study.trials[0]):
        checkpoint = Checkpoint(trial, tmp_path)
        assert checkpoint.load() == pytest.approx((0, None, math.nan), nan_ok=True)
        checkpoint.save(0, b"0")
        checkpoint.remove()
    assert not files(tmp_path)


def test_several_objectives_have_no_curve(tmp_path):
    study = optuna.create_study(directions=["minimize", "maximize"])
    trial = study.ask()
    Checkpoint(trial, tmp_path).save(3, b"3")
    died(study, trial)
    resumed = Checkpoint(study.ask(), tmp_path).load()
    assert resumed[:2] == (4, b"3")
    assert math.isnan(resumed.value)


def test_bad_arguments(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    with pytest.raises(ValueError, match="`trial` must be an Optuna trial, but got"):
        Checkpoint(study, tmp_path)
    with pytest.raises(ValueError, match=r"`store` must be a folder or an artifact store.*None"):
        Checkpoint(trial, None)
    with pytest.raises(ValueError, match="`step` must be an integer of at least 0, but got -1"):
        Checkpoint(trial, tmp_path).save(-1, b"")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Checkpoint(trial, tmp_path / "file")


def test_pytorch_is_named_if_it_is_missing(tmp_path, monkeypatch):
    checkpoint = Checkpoint(optuna.create_study().ask(), tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install optuna_perfpred\[nas\]"):
        checkpoint.save(0, {"epoch": 0})
    checkpoint.save(0, b"0")


KILLED = """
import sys

import optuna

from optuna_perfpred.distributed import Checkpoint

url, folder = sys.argv[1:]


def objective(trial):
    trial.suggest_float("x", 0.0, 1.0)
    checkpoint = Checkpoint(trial, folder)
    for step in range(1000):
        trial.report(step, step)
        # As large as a network, so that the end may come in the middle of a file.
        checkpoint.save(step, bytes(10_000_000) + str(step).encode())
        print(step, flush=True)


optuna.load_study(study_name="killed", storage=url).optimize(objective, n_trials=1)
"""


def test_a_killed_process(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="killed", storage=url)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, url, str(tmp_path / "checkpoints")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told = [int(line) for line in itertools.islice(process.stdout, 3)]
    finally:
        process.kill()
        told += [int(line) for line in process.communicate()[0].split()]
    [running] = study.get_trials(states=[TrialState.RUNNING])
    died(study, running)
    trial = study.ask()
    checkpoint = Checkpoint(trial, tmp_path / "checkpoints")
    start, state, value = checkpoint.load()
    assert start - 1 in (told[-1], told[-1] + 1)  # It may have died before it told.
    assert state == bytes(10_000_000) + str(start - 1).encode()
    assert value == start - 1
    assert study.trials[1].intermediate_values == {step: step for step in range(start)}
    checkpoint.remove()
    assert list((tmp_path / "checkpoints").iterdir()) == []
