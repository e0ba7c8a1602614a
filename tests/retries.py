"""What becomes of a trial whose worker dies."""

from __future__ import annotations

import copy
import warnings

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState


def died(study, trial, *, inherit=False):
    """Do with a trial what the workers do with one whose heart has stopped."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=inherit)
    retry(study, copy.deepcopy(study._storage.get_trial(trial._trial_id)))
