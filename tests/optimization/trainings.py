"""Small trainings for the tests of what goes on with stopped trials."""

from __future__ import annotations

import threading

import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

from optuna_perfpred import PerformancePredictionPruner


N_STEPS = 20


def values(x):
    """A noisy learning curve that ends near ``x``."""
    noise = np.random.default_rng(int(1e6 * x)).normal(size=N_STEPS)
    return [float(v) for v in x * (1 - 0.8 ** np.arange(1, N_STEPS + 1)) + 0.02 * noise]


class Trainings:
    """A generator objective that knows which of its trainings are alive."""

    def __init__(self):
        self.n_steps = 0
        self.open = 0
        self.most_open = 0
        self._lock = threading.Lock()

    def __call__(self, trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        self._count(open=1)
        try:
            for value in values(x):
                self._count(steps=1)
                yield value
            trial.set_user_attr("ended_as", trial.number)
        finally:
            self._count(open=-1)

    def _count(self, *, open=0, steps=0):  # noqa: A002
        with self._lock:
            self.n_steps += steps
            self.open += open
            self.most_open = max(self.most_open, self.open)


def plain(trial):
    """The same as an objective of Optuna's."""
    for step, value in enumerate(values(trial.suggest_float("x", 0.0, 1.0))):
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


class StopsEarly(NopPruner):
    """Stops all trials but the first ten after five steps, good or not."""

    def prune(self, study, trial):
        return trial.number >= 10 and trial.last_step == 4


def hasty():
    """A pruner that stops trials which are worth to go on."""
    return PerformancePredictionPruner(wrapped_pruner=StopsEarly())


def new_study(pruner=None, *, seed=1, **kwargs):
    return optuna.create_study(
        direction="maximize",
        sampler=RandomSampler(seed=seed),
        pruner=PerformancePredictionPruner() if pruner is None else pruner,
        **kwargs,
    )


def continuing(study):
    """The trials that go on with others, and those."""
    by_number = {trial.number: trial for trial in study.trials}
    return [
        (trial, by_number[trial.user_attrs["perfpred:continues"]])
        for trial in study.trials
        if "perfpred:continues" in trial.user_attrs
    ]


def n_new(study):
    return sum("perfpred:continues" not in trial.user_attrs for trial in study.trials)


def n_trained(study):
    """The steps of all trials, those of a stopped one counted once."""
    steps = sum(len(trial.intermediate_values) for trial in study.trials)
    return steps - sum(len(stopped.intermediate_values) for _, stopped in continuing(study))
