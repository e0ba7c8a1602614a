"""Small studies for the tests of the pruner."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.trial import create_trial
from optuna.trial import TrialState

from optuna_perfpred import CurvePredictor
from optuna_perfpred.predictors import Forecast


N_STEPS = 20
X = {"x": FloatDistribution(0.0, 1.0)}
DECISION_ATTRS = {
    "perfpred:predicted_value",
    "perfpred:predicted_std",
    "perfpred:probability_of_beating_best",
    "perfpred:step",
    "perfpred:reason",
}


def accuracy_curve(x, seed=0):
    """A noisy curve that ends near ``x``."""
    noise = 0.01 * np.random.default_rng(seed).normal(size=N_STEPS)
    return [x * (1 - 0.8 ** (step + 1)) + noise[step] for step in range(N_STEPS)]


def add_completed(study, n=20, sign=1.0):
    for number in range(n):
        x = ((number * 7) % n) / n
        curve = [sign * value for value in accuracy_curve(x, seed=number)]
        study.add_trial(
            create_trial(
                value=curve[-1],
                params={"x": x},
                distributions=X,
                intermediate_values=dict(enumerate(curve)),
            )
        )


def study_with(pruner, direction="maximize", n=20, **kwargs):
    study = optuna.create_study(direction=direction, pruner=pruner, **kwargs)
    add_completed(study, n, sign=1.0 if direction == "maximize" else -1.0)
    return study


def run(study, x, curve=None):
    """Run a trial; return the step at which it was pruned, or None."""
    study.enqueue_trial({"x": x})
    trial = study.ask(X)
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
    values = [sign * v for v in accuracy_curve(x, seed=99)] if curve is None else curve
    for step, value in enumerate(values):
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, values[-1])
    return None


class FixedForecast(CurvePredictor):
    """A forecast with standard error 1."""

    def __init__(self, mean=0.0):
        self.mean = mean

    def fit(self, configurations, curves, finals):
        return self

    def predict(self, configurations, curves):
        return Forecast(np.full(len(curves), self.mean), np.ones(len(curves)))


class AlwaysPruner(NopPruner):
    def prune(self, study, trial):
        return len(trial.intermediate_values) > 0
