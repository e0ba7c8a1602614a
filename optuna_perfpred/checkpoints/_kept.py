"""Under which names trials have saved, and which checkpoints are kept while a study goes on."""

from __future__ import annotations

import math
import re
from typing import Any
from typing import cast
from typing import TYPE_CHECKING

from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred._attributes import read_number
from optuna_perfpred.history import stopped_before
from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.pruners._retries import retried_numbers


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.trial import FrozenTrial


# The names of the checkpoints that a trial may go on from, those of its own first. A user
# attribute, because a retried trial is given those of the trial before it.
NAMES = "perfpred:checkpoint_names"
# What the storage holds is used in the names of files.
_NAME = re.compile(r"[0-9a-f]{32}")
# More trials than that rarely end between two looks at a store.
_N_AT_ONCE = 8


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


def names_to_remove(
    trials: Sequence[FrozenTrial],
    direction: StudyDirection,
    *,
    keep: int,
    max_bytes: int | None,
    sizes: Mapping[str, int] | None,
    ending: int | None = None,
) -> list[str]:
    """Give the names of the checkpoints that are needed no more.

    A trial that runs, waits, or has failed and was not tried again may go on from all that it can
    reach. Of those that were stopped and not continued, the most promising keep the latest of
    theirs. Told by the storage alone, all workers agree.

    Args:
        trials:
            All trials of the study, by number.
        direction:
            The direction of the study.
        keep:
            How many stopped trials keep a checkpoint.
        max_bytes:
            How many bytes these may have in all.
        sizes:
            The bytes that are saved under each name; :obj:`None` if the store cannot tell.
        ending:
            The number of a running trial that is just being stopped.

    Returns:
        The names. If the store cannot tell what is in it, only those that are not bound to have
        been removed before.
    """
    retried = retried_numbers(trials)
    continued = {stopped.number for trial in trials for stopped in stopped_before(trial, trials)}
    stopped, in_use, others = [], set(), []
    for trial in trials:
        names = names_in_reach(trial, trials)
        if not names:
            continue
        is_stopped = trial.state == TrialState.PRUNED or (
            trial.state == TrialState.RUNNING and trial.number == ending
        )
        if is_stopped and trial.number not in continued:
            stopped.append((trial, names))
        elif is_stopped or trial.state == TrialState.COMPLETE or trial.number in retried:
            others += names
        else:
            in_use.update(names)
    stopped.sort(key=lambda item: _promise(item[0], direction), reverse=True)
    dropped = []
    n_kept = n_bytes = 0
    for _, names in stopped:
        # What cannot be found in a store that can be listed has been removed before.
        names = names if sizes is None else [name for name in names if name in sizes]
        if not names:
            continue
        n_bytes += 0 if sizes is None else sizes[names[0]]
        if n_kept < keep and (max_bytes is None or n_bytes <= max_bytes):
            n_kept += 1
            in_use.update(names if sizes is None else names[:1])
            others += names
        else:
            dropped += names
    removed = dict.fromkeys(dropped + others)
    if sizes is None:
        recent = _names_of_recent(trials, ending)
        pushed_out = dropped[:_N_AT_ONCE]
        removed = dict.fromkeys([*pushed_out, *(name for name in removed if name in recent)])
    return [name for name in removed if name not in in_use and (sizes is None or name in sizes)]


def _names_of_recent(trials: Sequence[FrozenTrial], ending: int | None) -> set[str]:
    """Give the names that the trials can reach that ended last, or are just ending."""
    ended = [trial for trial in trials if trial.datetime_complete is not None]
    ended.sort(key=lambda trial: cast("datetime", trial.datetime_complete))
    recent = ended[-_N_AT_ONCE:] + ([] if ending is None else [trials[ending]])
    return {name for trial in recent for name in names_in_reach(trial, trials)}


def _promise(trial: FrozenTrial, direction: StudyDirection) -> tuple[float, int, int]:
    """Give what orders stopped trials: the forecast that the pruner left, or the last value."""
    last_step = trial.last_step
    last_value = math.nan if last_step is None else trial.intermediate_values[last_step]
    for value in (read_number(trial.user_attrs, PREDICTED_VALUE), last_value):
        if value is not None and math.isfinite(value):
            sign = -1.0 if direction == StudyDirection.MINIMIZE else 1.0
            return sign * value, last_step or 0, trial.number
    return -math.inf, last_step or 0, trial.number
