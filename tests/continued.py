"""Small studies in which trials go on with stopped ones."""

from __future__ import annotations

import math

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from optuna.trial import TrialState

from tests.visualization.studies import decision


SPACE = {"x": FloatDistribution(0.0, 1.0)}
N_STEPS = 10
REASON = "Goes on with trial 1, stopped at step 2: by now 9 % chance to beat 0.5."
# What anybody may write in the place of the number 1 on trial 2, a stopped one.
NO_NUMBERS = [None, "1", True, False, -1, 0, 2, 3, 99, [1], {"1": 1}, 1.0, math.nan, 10**30]


def add(study, x, steps, state=TrialState.COMPLETE, **attrs):
    """Add a trial that has reported at some steps; its values tell of ``x`` alone."""
    curve = {step: x * (step + 1) / N_STEPS for step in steps}
    study.add_trial(
        create_trial(
            state=state,
            value=curve[max(curve)] if state == TrialState.COMPLETE else None,
            params={"x": x},
            distributions=SPACE,
            intermediate_values=curve,
            user_attrs={f"perfpred:{name}": value for name, value in attrs.items()},
        )
    )


def stopped_by_forecast(study, x, n_steps, **attrs):
    told = {name.removeprefix("perfpred:"): v for name, v in decision(n_steps - 1).items()}
    add(study, x, range(n_steps), TrialState.PRUNED, **told, **attrs)


def study_of(steps=range(N_STEPS), state=TrialState.COMPLETE, name="cnn", storage=None, **attrs):
    """Make a study whose trial 2 goes on with trial 1, which was stopped after three steps.

    Args:
        steps:
            At which trial 2 has reported.
        attrs:
            The attributes of trial 2.
    """
    study = optuna.create_study(direction="maximize", study_name=name, storage=storage)
    add(study, 0.5, range(N_STEPS))
    stopped_by_forecast(study, 0.9, 3)
    add(study, 0.9, steps, state, **{"continues": 1, "second_chance": REASON, **attrs})
    stopped_by_forecast(study, 0.1, 1)
    return study
