"""Small studies whose figures are known."""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta

import optuna
from optuna.trial import create_trial
from optuna.trial import TrialState


START = datetime(2026, 1, 1)


def decision(step, predicted=0.4, std=0.1, probability=0.01, **others):
    """Give the attributes of a trial on which a forecast decided."""
    attrs = {
        "predicted_value": predicted,
        "predicted_std": std,
        "probability_of_beating_best": probability,
        "step": step,
        "reason": f"At step {step} it is hopeless.",
    }
    return {f"perfpred:{name}": value for name, value in (attrs | others).items()}


def add(study, values, attrs=None, *, state=TrialState.COMPLETE, seconds=None, **kwargs):
    """Add a trial that reported values at the steps 0, 1, ... or at those of a dict."""
    curve = values if isinstance(values, dict) else dict(enumerate(values))
    trial = create_trial(
        state=state,
        value=curve[max(curve)] if curve and state == TrialState.COMPLETE else None,
        intermediate_values=curve,
        user_attrs=attrs or {},
        **kwargs,
    )
    if seconds is not None:
        ended = [t.datetime_complete for t in study.get_trials(deepcopy=False)]
        trial.datetime_start = max([start for start in ended if start], default=START)
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)
    study.add_trial(trial)


def add_pruned(study, values, attrs=None, **kwargs):
    add(study, values, attrs, state=TrialState.PRUNED, **kwargs)


def small_study(direction="maximize"):
    """Give a study with a trial of each kind; its values are mirrored if it is minimized."""
    sign = 1.0 if direction == "maximize" else -1.0
    study = optuna.create_study(direction=direction, study_name="small")

    def mirrored(*values):
        return [sign * value for value in values]

    add(study, mirrored(0.2, 0.5, 0.7, 0.8, 0.9), seconds=50)
    add_pruned(study, mirrored(0.1, 0.2), decision(1, sign * 0.4), seconds=20)
    add_pruned(study, mirrored(0.1), {"perfpred:reason": "Pruned by the wrapped MedianPruner."})
    audited = decision(1, sign * 0.3, audit=True)
    add(study, mirrored(0.1, 0.2, 0.25, 0.3, 0.35), audited, seconds=50)
    add_pruned(study, mirrored(0.05, 0.1, 0.1), seconds=30)
    add(study, mirrored(0.3, 0.4), state=TrialState.RUNNING)
    add(study, mirrored(0.5, 0.6, 0.7, 0.8, 5.0), constraints={"memory": 1.0}, seconds=50)
    return study
