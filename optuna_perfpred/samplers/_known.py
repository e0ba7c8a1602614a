from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


REUSED = "perfpred:reused_trial"
"""User attribute of a trial that was not trained: the number of the one whose value it has."""


def find_known(study: Study, notation: str) -> FrozenTrial | None:
    """Find the trial that trained an architecture.

    Args:
        study:
            The study.
        notation:
            The architecture's notation.

    Returns:
        The first completed trial, else the first pruned one; :obj:`None` if there is neither.
    """
    first_pruned = None
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if trial.user_attrs.get("architecture") != notation or REUSED in trial.user_attrs:
            continue
        if trial.state == TrialState.COMPLETE:
            return trial
        first_pruned = first_pruned or trial
    return first_pruned
