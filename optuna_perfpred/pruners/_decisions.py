from __future__ import annotations

import logging
from typing import Any
from typing import TYPE_CHECKING

from optuna.exceptions import UpdateFinishedTrialError

from optuna_perfpred.history import identify
from optuna_perfpred.pruners._assessment import AUDIT
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.pruners._retries import has_decision
from optuna_perfpred.pruners._retries import void_decision


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import Identity
    from optuna_perfpred.pruners._warn_once import WarnOnce


_logger = logging.getLogger(__name__)


class Decisions:
    """The first decision on each trial of one study that would be pruned. Safe with threads.

    What is written raises :exc:`optuna.exceptions.UpdateFinishedTrialError` if another process has
    ended the trial, and otherwise nothing.

    Args:
        warn_once:
            Tells of a storage that fails.
    """

    def __init__(self, warn_once: WarnOnce) -> None:
        self._warn_once = warn_once
        # Whether a trial goes on nevertheless; None of one that only its predecessor's was on.
        self._let_finish: dict[Identity, bool | None] = {}

    def lets_finish(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether it was decided before that the trial goes on nevertheless.

        A retried trial starts with the attributes of the one that died. If that was let finish
        at a step from which this one goes on, so is this one; else they are made void.
        """
        identity = identify(trial)
        if identity not in self._let_finish and has_decision(trial):
            decision = read_decision(trial)
            if decision is not None and decision.audit:
                self._let_finish[identity] = True
            else:
                self._let_finish[identity] = None
                try:
                    void_decision(study, trial)
                except UpdateFinishedTrialError:
                    raise
                except Exception as error:
                    self._warn_once("The reason of a pruning could not be made void", error)
        return bool(self._let_finish.get(identity))

    def record(
        self, study: Study, trial: FrozenTrial, attributes: dict[str, Any], *, let_finish: bool
    ) -> None:
        """Leave the first decision on a trial, and its reason, for people, samplers and plots."""
        identity = identify(trial)
        if self._let_finish.get(identity) is not None:
            return
        self._let_finish[identity] = let_finish
        _logger.info("Trial %d: %s", trial.number, attributes[REASON])
        if let_finish:
            attributes[AUDIT] = True
        try:
            for key, value in attributes.items():
                study._storage.set_trial_user_attr(trial._trial_id, key, value)
        except UpdateFinishedTrialError:
            raise
        except Exception as error:
            self._warn_once("The reason of a pruning could not be recorded", error)
