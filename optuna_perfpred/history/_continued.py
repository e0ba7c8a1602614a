"""Trials that go on with stopped ones: a new trial with the same parameters for each."""

from __future__ import annotations

import bisect
from typing import Any
from typing import TYPE_CHECKING

from optuna.trial import TrialState


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial
    from optuna.trial import Trial


CONTINUES = "perfpred:continues"
"""A user attribute: the number of the stopped trial that a trial goes on with."""

SECOND_CHANCE = "perfpred:second_chance"
"""A user attribute: a sentence that tells why a trial goes on with a stopped one."""

CHECKPOINT = "perfpred:checkpoint"
"""A user attribute: true if the objective keeps checkpoints of the trial."""


def continued_number(trial: FrozenTrial | Trial) -> int | None:
    """Give the number of the trial that a trial says to go on with, an earlier one.

    Args:
        trial:
            A trial in any state.

    Returns:
        The number, or :obj:`None`. Anybody may have written it: whether there is such a trial, and
        whether it was stopped, is not looked at.
    """
    number = trial.user_attrs.get(CONTINUES)
    return number if type(number) is int and 0 <= number < trial.number else None


def stopped_trial(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Give the stopped trial that a trial goes on with.

    Args:
        trial:
            The trial.
        trials:
            All trials of its study, by ascending number.

    Returns:
        The stopped trial; :obj:`None` if the trial goes on with none, or what its user attribute
        names was not stopped or has other parameters.
    """
    number = continued_number(trial)
    stopped = None if number is None else find_trial(trials, number)
    if stopped is None or stopped.state != TrialState.PRUNED:
        return None
    return stopped if have_same_params(trial, stopped) else None


def stopped_before(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Give the trial that a trial goes on with, the one which that goes on with, and so on.

    Args:
        trial:
            The trial.
        trials:
            All trials of the study, by ascending number.

    Returns:
        The latest one first; empty if the trial goes on with none.
    """
    found: list[FrozenTrial] = []
    while (stopped := stopped_trial(trial, trials)) is not None:
        found.append(stopped)
        trial = stopped
    return found


def find_trial(trials: Sequence[FrozenTrial], number: int) -> FrozenTrial | None:
    """Find a trial by its number among trials by ascending number."""
    at = bisect.bisect_left(trials, number, key=lambda trial: trial.number)
    return trials[at] if at < len(trials) and trials[at].number == number else None


def have_same_params(trial: FrozenTrial, earlier: FrozenTrial) -> bool:
    """Whether a trial has the parameters of an earlier one, or will have them once it asks."""
    enqueued = trial.system_attrs.get("fixed_params")
    params = {**enqueued, **trial.params} if isinstance(enqueued, dict) else trial.params
    return trial.params.keys() <= earlier.params.keys() and all(
        name in params and _are_same(params[name], value) for name, value in earlier.params.items()
    )


def _are_same(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))  # NaN may be a category.
