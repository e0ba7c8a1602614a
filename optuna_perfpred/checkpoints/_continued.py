"""Which stopped trials a trial goes on with, and under which names they saved."""

from __future__ import annotations

import re
from typing import Any
from typing import TYPE_CHECKING

from optuna.trial import TrialState


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial


# The number of the stopped trial that a trial goes on with.
CONTINUES = "perfpred:continues"
# The names of the checkpoints that a trial may go on from, those of its own first. A user
# attribute, because a retried trial is given those of the trial before it.
NAMES = "perfpred:checkpoint_names"
# What the storage holds is used in the names of files.
_NAME = re.compile(r"[0-9a-f]{32}")


def names_in(user_attrs: Mapping[str, Any]) -> list[str]:
    """Give the names that are in the user attributes of a trial."""
    names = user_attrs.get(NAMES)
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


def names_in_reach(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[str]:
    """Give the names of all checkpoints that a trial may go on from, the best first."""
    names = names_in(trial.user_attrs)
    for stopped in stopped_before(trial, trials):
        names += (name for name in names_in(stopped.user_attrs) if name not in names)
    return names


def stopped_before(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Give the trial that a trial goes on with, the one which that goes on with, and so on.

    Args:
        trial:
            The trial.
        trials:
            All trials of the study, by number.

    Returns:
        The latest one first; empty if the trial goes on with none.
    """
    found: list[FrozenTrial] = []
    while (stopped := _stopped_right_before(trial, trials)) is not None:
        found.append(stopped)
        trial = stopped
    return found


def _stopped_right_before(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    number = trial.user_attrs.get(CONTINUES)
    # Anybody may have written it. An earlier one, so that there is no circle.
    if type(number) is not int or not 0 <= number < min(trial.number, len(trials)):
        return None
    stopped = trials[number]
    is_stopped = stopped.state == TrialState.PRUNED
    return stopped if is_stopped and have_same_params(trial, stopped) else None


def have_same_params(trial: FrozenTrial, earlier: FrozenTrial) -> bool:
    """Whether a trial has the parameters of an earlier one, or will have them once it asks."""
    enqueued = trial.system_attrs.get("fixed_params")
    params = {**enqueued, **trial.params} if isinstance(enqueued, dict) else trial.params
    return trial.params.keys() <= earlier.params.keys() and all(
        name in params and _are_same(params[name], value) for name, value in earlier.params.items()
    )


def _are_same(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))  # NaN may be a category.
