from __future__ import annotations

from collections.abc import Sequence
import math
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import TrialState

from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import read_record


if TYPE_CHECKING:
    from optuna.study import StudyDirection

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.pruners._warn_once import WarnOnce


def check_decision(confidence: float, offset: float) -> None:
    """Raise a ValueError unless a confidence and an offset can decide."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"`confidence` must be between 0 and 1, but got {confidence=}.")
    if not 0.0 <= offset < math.inf:
        raise ValueError(f"`offset` must be finite and not negative, but got {offset=}.")


def check_feature_attrs(feature_attrs: Sequence[str]) -> None:
    """Raise a ValueError unless these are names."""
    if isinstance(feature_attrs, str) or not all(isinstance(a, str) for a in feature_attrs):
        raise ValueError(f"`feature_attrs` must be a list of strings, got {feature_attrs=}.")


def read_earlier_studies(
    studies: Sequence[Study], feature_attrs: Sequence[str]
) -> list[tuple[StudyDirection, FinishedTrials]]:
    """Read the finished trials of the studies given as `warm_start`, with their directions."""
    if not isinstance(studies, Sequence) or not all(isinstance(s, Study) for s in studies):
        raise ValueError(f"`warm_start` must be a list of Optuna studies, but got {studies!r}.")
    earlier = []
    for study in studies:
        if len(study.directions) != 1:
            raise ValueError(
                f"`warm_start` must hold single-objective studies, but {study.study_name!r} has "
                f"{len(study.directions)} objectives."
            )
        completed, pruned = (
            tuple(
                read_record(trial, feature_attrs)
                for trial in study.get_trials(deepcopy=False, states=(state,))
            )
            for state in (TrialState.COMPLETE, TrialState.PRUNED)
        )
        earlier.append((study.direction, FinishedTrials.of(completed, pruned)))
    return earlier


def join_earlier_studies(
    earlier: Sequence[tuple[StudyDirection, FinishedTrials]],
    direction: StudyDirection,
    warn_once: WarnOnce,
) -> FinishedTrials:
    """Join the trials of the studies given as `warm_start` that have a study's direction."""
    completed: list[CurveRecord] = []
    pruned: list[CurveRecord] = []
    for other, trials in earlier:
        if other == direction:
            completed += trials.completed
            pruned += trials.pruned
        else:
            warn_once(
                f"A study given as `warm_start` is left out: its direction is {other.name}, that "
                f"of the study is {direction.name}."
            )
    return FinishedTrials(tuple(completed), tuple(pruned))
