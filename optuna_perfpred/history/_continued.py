"""Trials that go on with stopped ones: a new trial with the same parameters for each."""

from __future__ import annotations

import bisect
import math
from typing import Any
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred._attributes import read_number
from optuna_perfpred._attributes import read_numbers
from optuna_perfpred._attributes import read_step
from optuna_perfpred._attributes import read_text


if TYPE_CHECKING:
    from collections.abc import Container
    from collections.abc import Sequence
    from collections.abc import Set

    from optuna.trial import FrozenTrial
    from optuna.trial import Trial


CONTINUES = "perfpred:continues"
"""A user attribute: the number of the stopped trial that a trial goes on with."""

SECOND_CHANCE = "perfpred:second_chance"
"""A user attribute: a sentence that tells why a trial goes on with a stopped one."""

LEAST_RATIO = "perfpred:least_ratio"
"""A user attribute of a trial that goes on when no new trials come: the multiple of a new trial's
chance for each step below which it is stopped again."""

CHECKPOINT = "perfpred:checkpoint"
"""A user attribute: true if the objective keeps checkpoints of the trial."""

RESUMED_AT = "perfpred:resumed_at"
"""A user attribute: the last step that a trial has from an earlier one, by its checkpoint."""

_LONGEST_SENTENCE = 500


def continued_number(trial: FrozenTrial | Trial) -> int | None:
    """Give the number of the trial that a trial says to go on with, an earlier one.

    Args:
        trial:
            A trial in any state.

    Returns:
        The number, or :obj:`None`. Anybody may have written it: whether there is such a trial, and
        whether it was stopped, is not looked at.
    """
    if CONTINUES not in trial.user_attrs:
        return None  # Asked of all trials, again and again.
    number = read_step(trial.user_attrs, CONTINUES)
    if number is None or type(trial.user_attrs[CONTINUES]) is not int:
        return None  # 1.0 is a step, but no number of a trial.
    return number if number < trial.number else None


def least_ratio(trial: FrozenTrial) -> float | None:
    """Give the ``perfpred:least_ratio`` of a trial that says to go on with another one.

    Returns:
        The ratio, above 0 and at most 1, or :obj:`None`.
    """
    ratio = read_number(trial.user_attrs, LEAST_RATIO)
    if ratio is None or not 0.0 < ratio <= 1.0 or continued_number(trial) is None:
        return None
    return ratio


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


def gone_on_with(
    trials: Sequence[FrozenTrial],
    states: Container[TrialState] = (TrialState.COMPLETE, TrialState.PRUNED),
) -> set[int]:
    """Find the stopped trials that others have gone on with, at least as far as they came.

    They count once, as those others, see :meth:`FinishedTrials.of`.

    Args:
        trials:
            All trials of the study, by ascending number.
        states:
            The states of those others; by default, they have to have ended.

    Returns:
        The numbers of the stopped trials.
    """
    return {
        stopped.number
        for trial in trials
        if trial.state in states
        and (stopped := stopped_trial(trial, trials)) is not None
        and _came_as_far(trial, stopped)
    }


def joined_curve(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Give what a trial has reported, and before it the stopped ones that it goes on with.

    An objective that goes on from a checkpoint of its own may report only what comes then.

    Args:
        trial:
            The trial.
        trials:
            All trials of the study, by ascending number.
    """
    curve = dict(trial.intermediate_values)
    for stopped in stopped_before(trial, trials):
        first = min(curve, default=math.inf)
        curve |= {s: value for s, value in stopped.intermediate_values.items() if s < first}
    return curve


def trained_steps(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> Set[int]:
    """Give the steps that a trial has trained: the reported ones but those from a checkpoint.

    Args:
        trial:
            The trial.
        trials:
            All trials of the study, by ascending number.

    Returns:
        The steps. What was reported again from a checkpoint is told by the user attribute
        ``perfpred:resumed_at``, and only believed if an earlier trial has reported it.
    """
    steps = trial.intermediate_values.keys()
    resumed_at = read_step(trial.user_attrs, RESUMED_AT)
    if resumed_at is None:
        return steps
    earlier = [*stopped_before(trial, trials), *_retried(trial, trials)]
    return steps - {s for other in earlier for s in other.intermediate_values if s <= resumed_at}


def tell_why_continued(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> str | None:
    """Tell in a sentence with which stopped trial a trial goes on, and why if that is known.

    Args:
        trial:
            The trial.
        trials:
            All trials of the study, by ascending number.

    Returns:
        The sentence; :obj:`None` if the trial goes on with none. Of its user attribute
        ``perfpred:second_chance``, which anybody may have written, only a short text is used.
    """
    stopped = stopped_trial(trial, trials)
    if stopped is None:
        return None
    told = f"Goes on with trial {stopped.number}"
    if stopped.last_step is not None:
        told += f", stopped at step {stopped.last_step}"
    reason = read_text(trial.user_attrs, SECOND_CHANCE)
    if len(reason) > _LONGEST_SENTENCE:
        return f"{told}."
    reason = " ".join(reason.split())
    return reason if reason.startswith(f"{told}: ") else f"{told}. {reason}".rstrip()


def find_trial(trials: Sequence[FrozenTrial], number: int) -> FrozenTrial | None:
    """Find a trial by its number among trials by ascending number."""
    if number < len(trials) and trials[number].number == number:
        return trials[number]  # None is missing before it.
    at = bisect.bisect_left(trials, number, key=lambda trial: trial.number)
    return trials[at] if at < len(trials) and trials[at].number == number else None


def have_same_params(trial: FrozenTrial, earlier: FrozenTrial) -> bool:
    """Whether a trial has the parameters of an earlier one, or will have them once it asks."""
    enqueued = trial.system_attrs.get("fixed_params")
    params = {**enqueued, **trial.params} if isinstance(enqueued, dict) else trial.params
    return trial.params.keys() <= earlier.params.keys() and all(
        name in params and _are_same(params[name], value) for name, value in earlier.params.items()
    )


def _came_as_far(trial: FrozenTrial, stopped: FrozenTrial) -> bool:
    if stopped.last_step is None:
        return True
    if trial.last_step is None:
        return trial.state == TrialState.COMPLETE
    return trial.last_step >= stopped.last_step


def _retried(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    numbers = read_numbers(trial.system_attrs, "retry_history")
    found = (find_trial(trials, number) for number in numbers)
    return [other for other in found if other is not None and other.number < trial.number]


def _are_same(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))  # NaN may be a category.
