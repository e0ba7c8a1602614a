"""Recorded studies for the tests of replay."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import create_trial


X = {"x": FloatDistribution(0.0, 1.0)}


def crossing_curves(n_trials=30, n_steps=8, seed=0):
    """Curves that end at random qualities, some of which learn late; larger is better."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(size=n_trials)
    speed = rng.uniform(0.1, 0.6, size=n_trials)
    steps = np.arange(1, n_steps + 1)
    noise = 0.02 * rng.normal(size=(n_trials, n_steps))
    return quality[:, None] * (1 - np.exp(-speed[:, None] * steps)) + noise


def recorded_study(curves=None, direction="maximize", first_step=1, **kwargs):
    """Give a study of completed trials; it minimizes the negative of the curves."""
    curves = crossing_curves() if curves is None else curves
    sign = 1.0 if direction == "maximize" else -1.0
    study = optuna.create_study(direction=direction, **kwargs)
    for number, curve in enumerate(curves):
        values = [sign * float(value) for value in curve]
        study.add_trial(
            create_trial(
                value=values[-1],
                params={"x": number / len(curves)},
                distributions=X,
                intermediate_values=dict(enumerate(values, first_step)),
            )
        )
    return study


class PruneAt(BasePruner):
    """Prunes the trials with some values of x, each at its step."""

    def __init__(self, steps):
        self.steps = steps

    def prune(self, study, trial):
        step = self.steps.get(round(trial.params["x"], 6))
        return step is not None and trial.last_step >= step
