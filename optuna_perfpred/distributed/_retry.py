from __future__ import annotations

import copy
import logging
from types import SimpleNamespace
from typing import Any
from typing import TYPE_CHECKING
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback

from optuna_perfpred._attributes import read_numbers
from optuna_perfpred._attributes import read_step


if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_logger = logging.getLogger(__name__)
_STOPS = "perfpred:stops"
_HISTORY = "retry_history"


class AlreadyRetriedError(Exception):
    """A trial has a successor already, by another worker or by an attempt that seemed to fail."""


class Retry:
    """Has another trial go on with the parameters of one that died or was stopped.

    The new trial is made as by :class:`optuna.storages.RetryHeartbeatStaleTrialCallback`, and so
    is found by its ``retried_trial_number`` and ``retry_history``.

    Args:
        max_retry:
            How often a trial is tried again after its worker died. Clean stops do not count: that
            a scheduler takes a machine back says nothing about the trial.
    """

    def __init__(self, max_retry: int) -> None:
        self._max_retry = max_retry
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._add: Any = RetryHeartbeatStaleTrialCallback()

    def __call__(
        self, study: optuna.Study, trial: FrozenTrial, *, is_stopped: bool = False
    ) -> None:
        """Retry a trial that was stopped by a signal, or whose end could not be told."""
        # If that was done, but its answer was lost.
        if any(retried(t.system_attrs) == trial.number for t in study.get_trials(deepcopy=False)):
            return
        successor = self.successor(trial, is_stopped=is_stopped)
        if successor is None:
            return
        try:
            study.add_trial(successor)
        except AlreadyRetriedError:
            return
        tell_retry(trial.number)

    def successor(self, trial: FrozenTrial, *, is_stopped: bool = False) -> FrozenTrial | None:
        """Make the trial that goes on with another one; :obj:`None` if that died too often."""
        n_stops = (read_step(trial.system_attrs, _STOPS) or 0) + is_stopped
        if len(read_numbers(trial.system_attrs, _HISTORY)) + 1 - n_stops > self._max_retry:
            _logger.warning(f"Trial {trial.number} isn't tried again, its workers died too often.")
            return None
        trial = copy.deepcopy(trial)  # It may be the storage's own.
        trial.system_attrs |= {
            _STOPS: n_stops,
            _HISTORY: read_numbers(trial.system_attrs, _HISTORY),
        }
        made: list[FrozenTrial] = []
        self._add(SimpleNamespace(add_trial=made.append), trial)
        return made[0]


def retried(system_attrs: dict[str, Any]) -> int | None:
    """Give the number of the trial that one with these attributes goes on with."""
    history = read_numbers(system_attrs, _HISTORY)
    return history[-1] if history else None


def tell_retry(number: int) -> None:
    """Log that another trial goes on with one."""
    _logger.info(f"Trial {number} was not finished and waits to be tried again.")
