"""An objective that goes on from checkpoints, on workers that die."""

from __future__ import annotations

import optuna
import pytest

from optuna_perfpred import Checkpoint
from tests.retries import died


N_STEPS = 8


class Death(BaseException):
    """Ends a worker without a chance to tell anything, as `kill -9` does."""


def value_at(step, attempt=0):
    return 0.1 * step + 0.01 * attempt


def train(trial, store, *, dies_after=None, attempt=0, every=1):
    """An objective whose state is the steps it was trained for."""
    trial.suggest_float("x", 0.0, 1.0)
    with Checkpoint(trial, store) as checkpoint:
        trained = list(checkpoint.load() or b"")
        value = checkpoint.value
        for step in range(checkpoint.start, N_STEPS):
            trained.append(step)
            value = value_at(step, attempt)
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
            if step == dies_after:
                raise Death
            if step % every == 0:
                checkpoint.save(bytes(trained), step)
        assert trained == list(range(N_STEPS))
    return value


def loaded(trial, store):
    """Where a trial begins, with which state, and the last value before."""
    checkpoint = Checkpoint(trial, store)
    state = checkpoint.load()
    return checkpoint.start, state, checkpoint.value


def begin_and_die(study, store, *, inherit=False, **kwargs):
    trial = study.ask()
    with pytest.raises(Death):
        train(trial, store, **kwargs)
    died(study, trial, inherit=inherit)
    return trial.number


def go_on(study, store, **kwargs):
    trial = study.ask()
    study.tell(trial, train(trial, store, **kwargs))
    return study.trials[trial.number]


def files(folder):
    return sorted(path for path in folder.rglob("*-[01]*"))
