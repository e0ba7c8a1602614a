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

from optuna_perfpred import Checkpoint
from tests.checkpoints.resuming import begin_and_die
from tests.checkpoints.resuming import Death
from tests.checkpoints.resuming import files
from tests.checkpoints.resuming import go_on
from tests.checkpoints.resuming import loaded
from tests.checkpoints.resuming import N_STEPS
from tests.checkpoints.resuming import value_at
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
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert loaded(trial, tmp_path) == (5, bytes(range(5)), value_at(4))
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
    trial.suggest_float("x", 0.0, 1.0)
    checkpoint = Checkpoint(trial, tmp_path)
    for step in range(N_STEPS):
        trial.report(value_at(step), step)
        checkpoint.save(bytes(range(step + 1)), step)
    died(study, trial)
    assert go_on(study, tmp_path, attempt=1).value == value_at(N_STEPS - 1)


def test_a_trial_can_be_tried_again_by_hand(tmp_path):
    study = optuna.create_study()

    def objective(trial):
        trial.report(0.5, 0)
        with Checkpoint(trial, tmp_path) as checkpoint:
            checkpoint.save(b"trained", 0)
            raise MemoryError

    study.optimize(objective, n_trials=1, catch=MemoryError)
    [failed] = study.trials
    study.enqueue_trial(failed.params, user_attrs=failed.user_attrs)
    trial = study.ask()
    assert loaded(trial, tmp_path) == (1, b"trained", 0.5)
    assert study.trials[1].intermediate_values == {0: 0.5}


@pytest.mark.parametrize("ending", [None, optuna.TrialPruned, ValueError, KeyboardInterrupt])
def test_only_a_trial_that_is_complete_loses_its_checkpoints_at_once(tmp_path, ending):
    study = optuna.create_study()
    trial = study.ask()
    with pytest.raises(ending or SystemExit), Checkpoint(trial, tmp_path) as checkpoint:  # noqa: PT012
        checkpoint.save(b"0", 0)
        checkpoint.save(b"1", 1)
        if ending is not None:
            raise ending
        checkpoint.remove()
        assert not files(tmp_path)
        raise SystemExit
    # A trial that is stopped needs one, others may be trying to write.
    assert len(files(tmp_path)) == {None: 0, optuna.TrialPruned: 1}.get(ending, 2)
    died(study, trial)
    expected = (0, None, math.nan) if ending is None else (2, b"1", math.nan)
    assert loaded(study.ask(), tmp_path) == pytest.approx(expected, nan_ok=True)


def test_studies_share_a_folder(tmp_path):
    """Studies and trials of one name and number in several storages are told apart."""
    studies = [optuna.create_study(study_name="one name") for _ in range(3)]
    for study, n_steps in zip(studies, (3, 5, 7), strict=True):
        begin_and_die(study, tmp_path, dies_after=n_steps)
    starts = [loaded(study.ask(), tmp_path)[0] for study in studies]
    assert starts == [3, 5, 7]


def test_a_worker_that_was_cut_off_cannot_harm_the_retry(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    cut_off = Checkpoint(trial, tmp_path)
    trial.report(0.1, 0)
    cut_off.save(b"before", 0)
    died(study, trial)
    retry = study.ask()
    resumed = Checkpoint(retry, tmp_path)
    assert resumed.load() == b"before"
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        cut_off.remove()
    retry.report(0.2, 1)
    resumed.save(b"after", 1)
    for step in range(1, 9):  # It does not report, or it would know.
        cut_off.save(b"cut off", step)
    died(study, retry)
    assert loaded(study.ask(), tmp_path) == (2, b"after", 0.2)


def test_a_pytorch_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    X = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    y = X.sum(dim=1, keepdim=True)

    def objective(trial, dies_after=None):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        with Checkpoint(trial, tmp_path) as checkpoint:
            state = checkpoint.load()
            loss = checkpoint.value
            if state is not None:
                network.load_state_dict(state["network"])
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
                torch.set_rng_state(state["generator"])
            for epoch in range(checkpoint.start, N_STEPS):
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
                    {
                        "network": network.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                        "generator": torch.get_rng_state(),
                    },
                    epoch,
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
        expected = (0, None, math.nan)
        assert loaded(trial, tmp_path) == pytest.approx(expected, nan_ok=True)
        checkpoint = Checkpoint(trial, tmp_path)
        checkpoint.save(b"0", 0)
        checkpoint.remove()
    assert not files(tmp_path)


def test_several_objectives_have_no_curve(tmp_path):
    study = optuna.create_study(directions=["minimize", "maximize"])
    trial = study.ask()
    Checkpoint(trial, tmp_path).save(b"3", 3)
    died(study, trial)
    expected = (4, b"3", math.nan)
    assert loaded(study.ask(), tmp_path) == pytest.approx(expected, nan_ok=True)


def test_bad_arguments(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    with pytest.raises(ValueError, match="`trial` must be an Optuna trial, but got"):
        Checkpoint(study, tmp_path)
    with pytest.raises(ValueError, match=r"`store` must be a folder or an artifact store.*None"):
        Checkpoint(trial, None)
    with pytest.raises(ValueError, match="`step` must be an integer of at least 0, but got -1"):
        Checkpoint(trial, tmp_path).save(b"", -1)
    with pytest.raises(ValueError, match="`step` must be an integer of at least 0, but got b''"):
        Checkpoint(trial, tmp_path).save(0, b"")
    with pytest.raises(ValueError, match="`state` must be what the training needs"):
        Checkpoint(trial, tmp_path).save(None, 0)
    with pytest.raises(ValueError, match=r"`keep` must be an integer of at least 0, but got 1.5"):
        Checkpoint(trial, tmp_path, keep=1.5)
    with pytest.raises(ValueError, match=r"`max_bytes` must be an integer of at least 0.*-1"):
        Checkpoint(trial, tmp_path, max_bytes=-1)
    with pytest.raises(ValueError, match=r"`max_bytes` must be None unless .* folder, but got 5"):
        Checkpoint(trial, FileSystemArtifactStore(tmp_path), max_bytes=5)
    with pytest.raises(ValueError, match="`study` must be a study of Optuna, but got"):
        Checkpoint.clear(trial, tmp_path)
    with pytest.raises(ValueError, match=r"`store` must be a folder or an artifact store.*None"):
        Checkpoint.clear(study, None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Checkpoint(trial, tmp_path / "file")


def test_pytorch_is_named_if_it_is_missing(tmp_path, monkeypatch):
    checkpoint = Checkpoint(optuna.create_study().ask(), tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'pip install "optuna_perfpred\[nas\]"'):
        checkpoint.save({"epoch": 0}, 0)
    checkpoint.save(b"0", 0)


KILLED = """
import sys

import optuna

from optuna_perfpred import Checkpoint

url, folder = sys.argv[1:]


def objective(trial):
    trial.suggest_float("x", 0.0, 1.0)
    checkpoint = Checkpoint(trial, folder)
    for step in range(1000):
        trial.report(step, step)
        # As large as a network, so that the end may come in the middle of a file.
        checkpoint.save(bytes(10_000_000) + str(step).encode(), step)
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
    state, start, value = checkpoint.load(), checkpoint.start, checkpoint.value
    assert start - 1 in (told[-1], told[-1] + 1)  # It may have died before it told.
    assert state == bytes(10_000_000) + str(start - 1).encode()
    assert value == start - 1
    assert study.trials[1].intermediate_values == {step: step for step in range(start)}
    checkpoint.remove()
    assert list((tmp_path / "checkpoints").iterdir()) == []
