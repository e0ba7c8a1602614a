"""What a retried trial has from the trial whose worker died.

:class:`optuna.storages.RetryHeartbeatStaleTrialCallback` copies all attributes onto it, also
those that tell of steps which it has not reached and may never reach.
"""

from __future__ import annotations

import copy
from typing import cast
from typing import TYPE_CHECKING

from optuna.pruners._successive_halving import _completed_rung_key

from optuna_perfpred._attributes import read_numbers
from optuna_perfpred._attributes import read_step


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

    from optuna.pruners import SuccessiveHalvingPruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def original_number(trial: FrozenTrial) -> int:
    """Give the number of the first of the trials that a trial retries, or its own."""
    # Whoever only wants to know its bracket may give a Trial, which has no such attributes.
    number = read_step(getattr(trial, "system_attrs", {}), "failed_trial")
    return trial.number if number is None else number


def with_original_number(trial: FrozenTrial) -> FrozenTrial:
    """Give a trial under the number of the one that it retries, if it does."""
    number = original_number(trial)
    if number == trial.number:
        return trial
    trial = copy.copy(trial)
    trial.number = number
    return trial


def retried_numbers(trials: Iterable[FrozenTrial]) -> set[int]:
    """Give the numbers of the trials that one of these retries."""
    return {n for trial in trials for n in read_numbers(trial.system_attrs, "retry_history")}


def halve(
    halving: SuccessiveHalvingPruner,
    study: Study,
    trial: FrozenTrial,
    get_others: Callable[[], list[FrozenTrial]],
) -> bool:
    """Judge a trial by successive halving, as if no trial had ever been retried.

    Optuna counts a result of a rung again for each retry, and takes the results that a retried
    trial has copied for promotions: it is not judged in these rungs.

    Args:
        halving:
            The pruner.
        study:
            The study.
        trial:
            The trial.
        get_others:
            Gives the trials that compete with it.

    Returns:
        Whether to prune it.
    """
    if "retry_history" in trial.system_attrs:
        trial = _with_own_results(halving, trial)
    return halving.prune(cast("Study", _Competition(study, get_others)), trial)


def _with_own_results(halving: SuccessiveHalvingPruner, trial: FrozenTrial) -> FrozenTrial:
    """Leave out the results of rungs that the trial has not passed itself."""
    own = copy.copy(trial)
    own.system_attrs = dict(trial.system_attrs)
    rung = 0
    while (key := _completed_rung_key(rung)) in own.system_attrs:
        if not _has_passed(halving, trial, rung, own.system_attrs[key]):
            del own.system_attrs[key]
            break
        rung += 1
    return own


def _has_passed(
    halving: SuccessiveHalvingPruner, trial: FrozenTrial, rung: int, result: object
) -> bool:
    assert halving._min_resource is not None
    assert trial.last_step is not None
    end = halving._min_resource * halving._reduction_factor ** (
        halving._min_early_stopping_rate + rung
    )
    # What was reported last has not been judged yet.
    return any(
        end <= step < trial.last_step and value == result
        for step, value in trial.intermediate_values.items()
    )


class _Competition:
    """The part of a study that successive halving uses."""

    def __init__(self, study: Study, get_others: Callable[[], list[FrozenTrial]]) -> None:
        self._get_others = get_others
        self._storage = study._storage
        self.direction = study.direction

    def get_trials(self, deepcopy: bool) -> list[FrozenTrial]:
        return self._get_others()
