from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback


if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_logger = logging.getLogger(__name__)
_STOPS = "perfpred:stops"


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
            self._add = RetryHeartbeatStaleTrialCallback()

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Retry a trial whose worker died, as Optuna's storages ask."""
        self._retry(study, trial, n_stops=trial.system_attrs.get(_STOPS, 0))

    def after_stop(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Retry a trial that was stopped by a signal."""
        self._retry(study, trial, n_stops=trial.system_attrs.get(_STOPS, 0) + 1)

    def _retry(self, study: optuna.Study, trial: FrozenTrial, n_stops: int) -> None:
        n_tries = len(trial.system_attrs.get("retry_history", [])) + 1
        if n_tries - n_stops > self._max_retry:
            _logger.warning(f"Trial {trial.number} isn't tried again, its workers died too often.")
            return
        # A worker that dies between the retry and the end of its own trial leaves both.
        if any(
            later.system_attrs.get("retry_history", [None])[-1] == trial.number
            for later in study.get_trials(deepcopy=False)[trial.number + 1 :]
        ):
            return
        trial = copy.deepcopy(trial)  # It may be the storage's own.
        trial.system_attrs[_STOPS] = n_stops
        self._add(study, trial)
        _logger.info(f"Trial {trial.number} was not finished and waits to be tried again.")
