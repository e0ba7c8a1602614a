"""Which checkpoints are kept, and which are removed while a study goes on."""

from __future__ import annotations

import math
import subprocess
import sys

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState
import pytest

from optuna_perfpred import Checkpoint
from tests.checkpoints.resuming import begin_and_die
from tests.checkpoints.resuming import files
from tests.checkpoints.resuming import loaded
from tests.checkpoints.resuming import N_STEPS
from tests.checkpoints.resuming import value_at
from tests.checkpoints.stopping import continue_trial
from tests.checkpoints.stopping import CONTINUES
from tests.checkpoints.stopping import numbers_with_files
from tests.checkpoints.stopping import StopAfter
from tests.checkpoints.stopping import stopped_at
from tests.checkpoints.stopping import study_that_stops
from tests.checkpoints.stopping import Trainer


pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("error:.*checkpoint:UserWarning"),
]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_least_promising_go_first(tmp_path, direction):
    study = optuna.create_study(direction=direction)
    sign = 1.0 if direction == "minimize" else -1.0
    # What the pruner predicted counts more than what was reported last.
    worst = stopped_at(study, tmp_path, sign * 0.0, predicted=sign * 9.0)
    best = stopped_at(study, tmp_path, sign * 9.0, predicted=sign * 0.1)
    second = stopped_at(study, tmp_path, sign * 0.2)
    broken = [
        stopped_at(study, tmp_path, value, predicted=predicted)
        for value, predicted in [(math.nan, None), (math.inf, "0.0"), (-math.inf, math.nan)]
    ]
    third = stopped_at(study, tmp_path, sign * 0.3, predicted=math.nan)
    assert numbers_with_files(study, tmp_path) == sorted([worst, best, second, *broken, third])
    trial = study.ask()
    Checkpoint(trial, tmp_path, keep=3).save(b"running", 0)
    assert numbers_with_files(study, tmp_path) == [best, second, third, trial.number]


def test_a_budget_of_bytes(tmp_path):
    study = optuna.create_study()
    for value in range(4):
        stopped_at(study, tmp_path, float(value), size=100_000)
    stopped_at(study, tmp_path, 9.0, size=10)
    trial = study.ask()
    Checkpoint(trial, tmp_path, max_bytes=250_000).save(b"running", 0)
    # None that is less promising stays because it is smaller.
    assert numbers_with_files(study, tmp_path) == [0, 1, trial.number]


@pytest.mark.parametrize("keep", [0, 1])
def test_a_trial_that_is_stopped_has_its_place_among_the_others(tmp_path, keep):
    study = study_that_stops(dict.fromkeys(range(6), 2))
    study.optimize(Trainer(tmp_path, keep=keep), n_trials=6)  # The values rise with the number.
    assert numbers_with_files(study, tmp_path) == list(range(keep))
    assert len(files(tmp_path)) == keep


def test_trials_that_run_wait_or_failed_are_in_no_budget(tmp_path):
    study = study_that_stops({0: 1})
    study.optimize(Trainer(tmp_path), n_trials=1)
    begin_and_die(study, tmp_path, dies_after=3)
    retry = study.ask()
    failed = study.ask()
    Checkpoint(failed, tmp_path).save(b"state", 0)
    study.tell(failed, state=TrialState.FAIL)
    continue_trial(study, 0)  # It waits.
    Checkpoint(study.ask({}), tmp_path, keep=0).save(b"state", 0)
    continued = next(trial for trial in study.trials if CONTINUES in trial.user_attrs)
    assert continued.state == TrialState.RUNNING  # It was the one that saved.
    Checkpoint(study.ask({}), tmp_path, keep=0).save(b"state", 0)
    assert numbers_with_files(study, tmp_path) == [0, 1, 3, 4, 5]
    assert loaded(retry, tmp_path)[0] == 3


def test_what_is_over_is_removed_when_another_trial_saves(tmp_path):
    """Without a context manager, as an objective is free to use none."""

    def objective(trial):
        trial.suggest_float("x", 0.0, 1.0)
        checkpoint = Checkpoint(trial, tmp_path)
        state = list(checkpoint.load() or b"")
        for step in range(checkpoint.start, N_STEPS):
            state.append(step)
            checkpoint.save(bytes(state), step)
            trial.report(value_at(step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        assert state == list(range(N_STEPS))
        return value_at(N_STEPS - 1)

    study = study_that_stops({1: 3, 2: 5})
    study.optimize(objective, n_trials=2)
    assert numbers_with_files(study, tmp_path) == [1]  # That of 0, which is complete, is gone.
    continue_trial(study, 1)
    study.optimize(objective, n_trials=1)
    assert numbers_with_files(study, tmp_path) == [1, 2]
    study.optimize(objective, n_trials=1)
    assert numbers_with_files(study, tmp_path) == [2, 3]
    continue_trial(study, 2)
    study.optimize(objective, n_trials=2)
    assert numbers_with_files(study, tmp_path) == [5]


def test_an_artifact_store_has_a_budget_as_well(tmp_path):
    store = FileSystemArtifactStore(tmp_path)
    study = study_that_stops(dict.fromkeys(range(30), 2))
    study.optimize(Trainer(store, keep=3), n_trials=30)
    assert numbers_with_files(study, tmp_path) == [0, 1, 2]
    trial = study.ask()  # One that is better takes the place of one that was stopped long ago.
    with pytest.raises(optuna.TrialPruned), Checkpoint(trial, store, keep=3) as checkpoint:  # noqa: PT012
        checkpoint.save(b"state", 0)
        trial.report(-1.0, 0)
        raise optuna.TrialPruned
    study.tell(trial, state=TrialState.PRUNED)
    assert numbers_with_files(study, tmp_path) == [0, 1, 30]
    study = study_that_stops({}, direction="maximize")  # The best are the last.
    study.optimize(Trainer(store, keep=3), n_trials=1)
    study.pruner = StopAfter(dict.fromkeys(range(30), 2))
    study.optimize(Trainer(store, keep=3), n_trials=29)
    assert numbers_with_files(study, tmp_path) == [27, 28, 29]


def test_a_finished_study_leaves_nothing(tmp_path):
    """Unless another process goes on, or another study has its checkpoints there."""
    other = study_that_stops({0: 1})
    other.optimize(Trainer(tmp_path), n_trials=1)
    study = study_that_stops(dict.fromkeys(range(6), 2))
    study.optimize(Trainer(tmp_path), n_trials=8)
    begin_and_die(study, tmp_path, dies_after=3)
    running = study.ask()
    continue_trial(study, 2)
    Checkpoint.clear(study, tmp_path)
    assert numbers_with_files(study, tmp_path) == [2, 8]
    assert loaded(running, tmp_path)[0] == 3
    study.optimize(Trainer(tmp_path), n_trials=1)
    study.tell(running, state=TrialState.FAIL)
    Checkpoint.clear(study, str(tmp_path))
    assert numbers_with_files(other, tmp_path) == [0]
    Checkpoint.clear(other, FileSystemArtifactStore(tmp_path))
    assert list(tmp_path.iterdir()) == []
    Checkpoint.clear(study, tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_does_not_end_the_trial(tmp_path):
    class Broken(FileSystemArtifactStore):
        def remove(self, artifact_id):
            raise PermissionError("not yours")

    study = study_that_stops({0: 1, 1: 2})
    with pytest.warns(UserWarning, match="could not be removed.*not yours") as caught:
        study.optimize(Trainer(Broken(tmp_path), keep=0), n_trials=3)
    assert len(caught) == 3
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED", "COMPLETE"]
    with pytest.warns(UserWarning, match="could not be removed.*not yours"):
        Checkpoint.clear(study, Broken(tmp_path))


FULL = """
import os
import resource
import sys

import optuna

from optuna_perfpred import Checkpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # As on a disk that is full.
study = optuna.create_study()


def objective(trial):
    with Checkpoint(trial, sys.argv[1]) as checkpoint:
        checkpoint.load()
        for step in range(checkpoint.start, 6):
            trial.report(step, step)
            checkpoint.save(bytes(10 if step < 2 else 1_000_000), step)
            print(os.listdir(sys.argv[1]))
        raise optuna.TrialPruned


study.optimize(objective, n_trials=1)
"""


def test_a_full_disk_keeps_the_last_whole_checkpoint(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ended.stderr.count("A checkpoint could not be saved: OSError(27") == 1
    assert "Trial 0 pruned" in ended.stderr
    assert "-1" in ended.stdout
    assert "unfinished" not in ended.stdout  # Nothing is left of those that did not fit.
    [path] = tmp_path.iterdir()
    assert path.stat().st_size < 1000
