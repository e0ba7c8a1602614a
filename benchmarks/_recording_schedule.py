"""Learning rates that stay or drop once, so that the curves of a family cross."""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from optuna import Trial


def suggest_schedule(trial: Trial) -> dict[str, Any]:
    """In half of the trainings the rate drops: when, and to which share of it.

    Returns:
        The schedule as `stopping_rule/_training.py` takes it.
    """
    schedule = trial.suggest_categorical("schedule", ("constant", "drop"))
    if schedule == "constant":
        return {"schedule": "constant"}
    return {
        "schedule": "step",
        "drop_1": trial.suggest_float("drop_at", 0.4, 0.8),
        "drop_factor": trial.suggest_float("drop_factor", 0.03, 0.3, log=True),
    }
