from __future__ import annotations

import math
import re
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred.pruners._assessment import AUDIT
from optuna_perfpred.pruners._assessment import PREDICTED_STD
from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.pruners._assessment import PROBABILITY_OF_BEATING_BEST
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._assessment import STEP


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


# The decision by f-Hyperband on a trial of a rung tells of the rung's end, and only in words.
_RUNG_END = re.compile(r"is predicted to reach \S+ ± \S+ at step (\d+);")
_WRAPPED = "Pruned by the wrapped "


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
    step = finite(attrs.get(STEP))
    if step is None or trial.last_step is None or step > trial.last_step:
        return None
    reason = str(attrs.get(REASON) or "")
    std = finite(attrs.get(PREDICTED_STD))
    return Decision(
        step=int(step),
        predicted_value=finite(attrs.get(PREDICTED_VALUE)),
        predicted_std=std if std is not None and std >= 0.0 else None,
        probability=finite(attrs.get(PROBABILITY_OF_BEATING_BEST)),
        horizon=forecast_horizon(reason),
        audit=bool(attrs.get(AUDIT)),
        reason=reason,
    )


def forecast_horizon(reason: str) -> int | None:
    """Read from the reason for which step a forecast is; :obj:`None` for the end."""
    match = _RUNG_END.search(reason)
    return int(match[1]) if match else None


def is_by_wrapped_pruner(trial: FrozenTrial) -> bool:
    """Whether the pruner that ours wraps has decided, be it beside a forecast."""
    return str(trial.user_attrs.get(REASON) or "").startswith(_WRAPPED)


def finite(value: Any) -> float | None:
    """Give a number as a float; :obj:`None` for all else, NaN and the infinities among it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
