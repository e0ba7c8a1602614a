from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred._imports import import_extra
from optuna_perfpred._warn_once import WarnOnce
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.visualization import savings


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    Log = Callable[[int, dict[str, float], str], None]


class TrackerCallback:
    """Logs forecasts, reasons and saved steps into a run of Weights & Biases or MLflow.

    For ``study.optimize(callbacks=[...])``. It logs into the run that is active when it is made,
    beside what you log there. After each trial: ``perfpred/steps_trained`` and
    ``perfpred/steps_saved`` of the study so far and, if a forecast has decided on the trial,
    ``perfpred/predicted_value``, ``perfpred/predicted_std``,
    ``perfpred/probability_of_beating_best``, ``perfpred/step`` and the reason. The horizontal axis
    is the number of the trial. MLflow has the reason as a tag, ``perfpred/trial_12/reason``.

    If the tracker fails, a warning tells it once, and the study goes on.

    Example:

        .. code-block:: python

            with wandb.init(project="digits"):
                study.optimize(objective, n_trials=100, callbacks=[TrackerCallback("wandb")])

    Args:
        tracker:
            ``"wandb"`` or ``"mlflow"``.

    Raises:
        ImportError:
            If it is not installed.
        ValueError:
            If it is another one, or has no active run.
    """

    def __init__(self, tracker: str) -> None:
        if tracker not in _LOGS:
            raise ValueError(f"`tracker` must be one of {sorted(_LOGS)}, but got {tracker!r}.")
        log = _LOGS[tracker](import_extra(tracker, tracker, "TrackerCallback"))
        if log is None:
            raise ValueError(f"{tracker} has no active run: start one before.")
        self._log: Log = log
        self._warn_once = WarnOnce()

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Log what is known of a trial that has ended."""
        try:
            saved = savings(study)
            metrics: dict[str, float | None] = {
                "perfpred/steps_trained": saved.steps_trained,
                "perfpred/steps_saved": saved.steps_saved,
            }
            decision = read_decision(trial)
            if decision is not None:
                metrics |= {
                    "perfpred/predicted_value": decision.predicted_value,
                    "perfpred/predicted_std": decision.predicted_std,
                    "perfpred/probability_of_beating_best": decision.probability,
                    "perfpred/step": decision.step,
                }
            known = {name: value for name, value in metrics.items() if value is not None}
            self._log(trial.number, known, "" if decision is None else decision.reason)
        except Exception as error:
            self._warn_once("The forecasts could not be logged", error)


def _wandb_log(wandb: Any) -> Log | None:
    run = wandb.run
    if run is None:
        return None
    # Other metrics may have steps of their own.
    run.define_metric("perfpred/trial")
    run.define_metric("perfpred/*", step_metric="perfpred/trial")

    def log(number: int, metrics: dict[str, float], reason: str) -> None:
        text = {"perfpred/reason": reason} if reason else {}
        run.log({"perfpred/trial": number, **metrics, **text})

    return log


def _mlflow_log(mlflow: Any) -> Log | None:
    run = mlflow.active_run()
    if run is None:
        return None
    # What is active is so in one thread, and trials may run in several.
    client, run_id = mlflow.MlflowClient(), run.info.run_id

    def log(number: int, metrics: dict[str, float], reason: str) -> None:
        for name, value in metrics.items():
            client.log_metric(run_id, name, value, step=number)
        if reason:
            client.set_tag(run_id, f"perfpred/trial_{number}/reason", reason)

    return log


_LOGS = {"mlflow": _mlflow_log, "wandb": _wandb_log}
