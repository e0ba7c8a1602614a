from __future__ import annotations

import logging
from pathlib import Path
import time
from typing import TYPE_CHECKING

from optuna.trial import TrialState


if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_logger = logging.getLogger(__name__)
_WORDS = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Progress:
    """Counts the trials of a worker, and logs a line for each that ended.

    Args:
        count_file:
            A file that gets a byte for each trial that starts, or :obj:`None`.

    Attributes:
        n_started:
            How many trials were started.
        n_finished:
            How many trials completed or were pruned.
        n_failures_in_a_row:
            How many trials failed since the last that did not.
    """

    def __init__(self, count_file: str | None) -> None:
        self.n_started = 0
        self.n_finished = 0
        self.n_failures_in_a_row = 0
        self._count_file = None if count_file is None else Path(count_file)
        self._started_at = time.monotonic()

    def start(self) -> None:
        """Count a trial that starts."""
        self.n_started += 1
        self._started_at = time.monotonic()
        if self._count_file is not None:
            with self._count_file.open("ab") as file:
                file.write(b".")

    def end(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        error: BaseException | None,
        *,
        is_stopped: bool,
    ) -> None:
        """Count a trial that ended, and log it.

        Args:
            study:
                The study.
            trial:
                The trial.
            error:
                What the objective raised, unless the trial was pruned.
            is_stopped:
                Whether a signal ended it.
        """
        word = "stopped" if is_stopped else _WORDS[trial.state]
        told = f"Trial {trial.number} {word}"
        if trial.last_step is not None:
            told += f" at step {trial.last_step}"
        told += f" in {time.monotonic() - self._started_at:.1f} s"
        if is_stopped:
            _logger.info(told)
            return
        if trial.state == TrialState.FAIL:
            self.fail(told, error)
            return
        self.n_finished += 1
        self.n_failures_in_a_row = 0
        if trial.values is not None:
            told += f": {', '.join(f'{value:.6g}' for value in trial.values)}"
        _logger.info(told + _best(study))

    def fail(self, what: str, error: BaseException | None) -> None:
        """Count a failure, and log it with its cause, or else a value that is none."""
        self.n_failures_in_a_row += 1
        cause = repr(error) if error is not None else "its value is not a number"
        _logger.warning(f"{what}: {cause}", exc_info=error)


def _best(study: optuna.Study) -> str:
    if len(study.directions) > 1:
        return ""
    try:
        best = study.best_trial
    except ValueError:
        return "; none completed yet"
    return f"; best {best.value:.6g} of trial {best.number}"
