from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred.history import stopped_trial
from optuna_perfpred.history import tell_why_continued


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial


def tell_second_chances(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> tuple[str, ...]:
    """Tell with which stopped trial a trial goes on, and which have gone on with it.

    Args:
        trial:
            The trial.
        trials:
            All trials of its study, by ascending number.

    Returns:
        A sentence for each; empty if there are none.
    """
    why = tell_why_continued(trial, trials)
    sentences = [] if why is None else [why]
    sentences += [
        f"Trial {other.number} goes on with it, and {tell_end(other)}."
        for other in trials
        if stopped_trial(other, trials) is trial
    ]
    return tuple(sentences)


def tell_end(trial: FrozenTrial) -> str:
    """Tell in a few words how a trial that goes on with a stopped one has ended, or if."""
    if trial.state == TrialState.COMPLETE:
        return f"ended at {trial.value:.4g}"
    if trial.state == TrialState.PRUNED:
        at = "" if trial.last_step is None else f" at step {trial.last_step}"
        return f"was stopped again{at}"
    if trial.state == TrialState.FAIL:
        return "failed"
    return "is running" if trial.state == TrialState.RUNNING else "waits to be run"
