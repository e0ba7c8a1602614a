"""Trials that are stopped, with their checkpoints, and trials that go on with them."""

from __future__ import annotations

import threading

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from optuna_perfpred import Checkpoint
from tests.checkpoints.resuming import files
from tests.checkpoints.resuming import N_STEPS
from tests.checkpoints.resuming import value_at


CONTINUES = "perfpred:continues"
RESUMED_AT = "perfpred:resumed_at"


class StopAfter(BasePruner):
    """Stops the trials of some numbers after some step."""

    def __init__(self, steps):
        self.steps = steps

    def prune(self, study, trial):
        return trial.last_step == self.steps.get(trial.number)


class Trainer:
    """An objective whose state is the steps it was trained for, in order.

    Attributes:
        trained:
            Of each trial, the steps that it trained itself.
    """

    def __init__(self, store, **kwargs):
        self.store, self.kwargs = store, kwargs
        self.trained = {}
        self.lock = threading.Lock()

    def __call__(self, trial):
        trial.suggest_float("x", 0.0, 1.0)
        steps = self.trained[trial.number] = []
        with Checkpoint(trial, self.store, **self.kwargs) as checkpoint:
            state = list(checkpoint.load() or b"")
            value = checkpoint.value
            for step in range(checkpoint.start, N_STEPS):
                state.append(step)
                steps.append(step)
                value = value_at(step, trial.number)
                trial.report(value, step)
                checkpoint.save(bytes(state), step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            assert state == list(range(N_STEPS))
        return value


def study_that_stops(steps, **kwargs):
    return optuna.create_study(pruner=StopAfter(steps), **kwargs)


def continue_trial(study, number):
    study.enqueue_trial(study.trials[number].params, user_attrs={CONTINUES: number})


def stopped_at(study, store, value, *, predicted=None, size=10):
    """A trial that was stopped, without a context manager."""
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    trial.report(value, 0)
    Checkpoint(trial, store, keep=1000).save(bytes(size), 0)
    if predicted is not None:
        trial.set_user_attr("perfpred:predicted_value", predicted)
    study.tell(trial, state=TrialState.PRUNED)
    return trial.number


def numbers_with_files(study, folder):
    """The numbers of the trials whose own checkpoint is still there."""
    left = {path.name[:32] for path in files(folder)}
    numbers = []
    for trial in study.trials:  # A retried trial has the names of the one before it.
        own = trial.user_attrs.get("perfpred:checkpoint_names", [])[:1]
        if left.intersection(own):
            left.difference_update(own)
            numbers.append(trial.number)
    return numbers


def files_by_trial(study, folder):
    """The files in an order that does not depend on their random names."""
    names = [n for t in study.trials for n in t.user_attrs.get("perfpred:checkpoint_names", [])]
    return sorted(files(folder), key=lambda path: (names.index(path.name[:32]), path.name[32:]))
