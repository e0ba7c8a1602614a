from __future__ import annotations

import logging
import re
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.exceptions import UpdateFinishedTrialError

from optuna_perfpred._attributes import read_flag
from optuna_perfpred._attributes import read_number
from optuna_perfpred._attributes import read_step
from optuna_perfpred._attributes import read_text
from optuna_perfpred.history import identify
from optuna_perfpred.history import RISK
from optuna_perfpred.pruners._assessment import AUDIT
from optuna_perfpred.pruners._assessment import MAX_RISK
from optuna_perfpred.pruners._assessment import PREDICTED_STD
from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.pruners._assessment import PROBABILITY_OF_BEATING_BEST
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._assessment import STEP


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred._warn_once import WarnOnce
    from optuna_perfpred.history import Identity


# The decision by f-Hyperband on a trial of a rung tells of the rung's end, and only in words.
_RUNG_END = re.compile(r"predicted to reach \S+ ± \S+ at step (\d+);")
_WRAPPED = "Pruned by the wrapped "
DECISION_ATTRS = (
    PREDICTED_VALUE,
    PREDICTED_STD,
    PROBABILITY_OF_BEATING_BEST,
    STEP,
    REASON,
    RISK,
    MAX_RISK,
    AUDIT,
)

_logger = logging.getLogger(__name__)


class Decision(NamedTuple):
    """What a forecast said of a trial when it decided on it, read from the user attributes.

    Attributes:
        step:
            The last step that was reported before.
        predicted_value:
            The forecast; :obj:`None` if it is not recorded or not finite, as are the next two.
        predicted_std:
            Its standard error.
        probability:
            The probability of beating what was to beat.
        horizon:
            The step for which the forecast is; :obj:`None` for the end of the training.
        audit:
            Whether the trial was let finish on purpose.
        reason:
            The decision in one sentence.
    """

    step: int
    predicted_value: float | None
    predicted_std: float | None
    probability: float | None
    horizon: int | None
    audit: bool
    reason: str


def read_decision(trial: FrozenTrial) -> Decision | None:
    """Read the decision of a forecast on a trial.

    Returns:
        The decision; :obj:`None` if there was none. A trial that is retried after its worker died
        starts with the attributes of the one before it, whose decision is void here if it came
        later than this trial's last report.
    """
    attrs = trial.user_attrs
    step = read_step(attrs, STEP)
    if step is None or trial.last_step is None or step > trial.last_step:
        return None
    reason = read_text(attrs, REASON)
    std = read_number(attrs, PREDICTED_STD)
    probability = read_number(attrs, PROBABILITY_OF_BEATING_BEST)
    return Decision(
        step=step,
        predicted_value=read_number(attrs, PREDICTED_VALUE),
        predicted_std=std if std is not None and std >= 0.0 else None,
        probability=probability if probability is not None and 0.0 <= probability <= 1.0 else None,
        horizon=forecast_horizon(reason),
        audit=read_flag(attrs, AUDIT),
        reason=reason,
    )


def forecast_horizon(reason: str) -> int | None:
    """Read from the reason for which step a forecast is; :obj:`None` for the end."""
    match = _RUNG_END.search(reason)
    return int(match[1]) if match else None


def is_by_wrapped_pruner(trial: FrozenTrial) -> bool:
    """Whether the pruner that ours wraps has decided, be it beside a forecast."""
    return read_text(trial.user_attrs, REASON).startswith(_WRAPPED)


def has_decision(trial: FrozenTrial) -> bool:
    """Whether the user attributes tell of a decision."""
    return any(trial.user_attrs.get(name) is not None for name in DECISION_ATTRS)


def void_decision(study: Study, trial: FrozenTrial) -> None:
    """Have the user attributes no longer tell of a decision. Storages cannot remove them."""
    for name in DECISION_ATTRS:
        if trial.user_attrs.get(name) is not None:
            study._storage.set_trial_user_attr(trial._trial_id, name, None)


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
        _logger.info("Trial %d. %s", trial.number, attributes[REASON])
        if let_finish:
            attributes[AUDIT] = True
        try:
            for key, value in attributes.items():
                study._storage.set_trial_user_attr(trial._trial_id, key, value)
        except UpdateFinishedTrialError:
            raise
        except Exception as error:
            self._warn_once("The reason of a pruning could not be recorded", error)
