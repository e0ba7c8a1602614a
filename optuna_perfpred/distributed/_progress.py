from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from optuna.trial import TrialState


if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_logger = logging.getLogger(__name__)


class Progress:
    """Counts the trials of a worker, and logs a line for each that ended.

    Attributes:
        n_started:
            How many trials were started.
        n_failures_in_a_row:
            How many trials failed since the last that did not.
        n_finished:
            How many trials completed or were pruned.
    """

    def __init__(self) -> None:
        self.n_started = 0
        self.n_finished = 0
        self.n_failures_in_a_row = 0
        self._started_at = time.monotonic()

    def start(self, trial: optuna.Trial) -> None:
        """Count a trial that starts."""
        self.n_started += 1
        self._started_at = time.monotonic()
        self.error: Exception | None = None

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Count a trial that ended, and log it; a callback of Optuna."""
        if trial.state == TrialState.FAIL:
            self.n_failures_in_a_row += 1
        else:
            self.n_finished += 1
            self.n_failures_in_a_row = 0
        _logger.info(_describe(study, trial, time.monotonic() - self._started_at))


def _describe(study: optuna.Study, trial: FrozenTrial, seconds: float) -> str:
    words = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned"}
    told = f"Trial {trial.number} {words.get(trial.state, 'failed')}"
    if trial.last_step is not None:
        told += f" at step {trial.last_step}"
    told += f" in {seconds:.1f} s"
    if trial.values is not None:
        told += f": {', '.join(f'{value:.6g}' for value in trial.values)}"
    if len(study.directions) == 1:
        try:
            best = study._get_best_trial(deepcopy=False)
        except ValueError:
            return told + "; none completed yet"
        told += f"; best {best.value:.6g} of trial {best.number}"
    return told
