from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import heapq
import threading
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import TrialState

from optuna_perfpred.history import read_record
from optuna_perfpred.history import StudyHistory
from optuna_perfpred.pruners._arguments import read_earlier_studies


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.study import Study
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import CurveRecord


@dataclass(frozen=True)
class FinishedTrials:
    """The finished trials of one or several studies, each in the order of their ends.

    Attributes:
        completed:
            Those that were completed.
        pruned:
            Those that were pruned.
    """

    completed: tuple[CurveRecord, ...] = ()
    pruned: tuple[CurveRecord, ...] = ()

    def latest(self, n: int) -> tuple[CurveRecord, ...]:
        """Give the ``n`` trials that finished last, the latest one last."""
        last = (*self.completed[-n:], *self.pruned[-n:])
        return tuple(heapq.nlargest(n, last, key=_order)[::-1])


class RungHistory:
    """The curves that ever reached a horizon, cut there. Safe with threads.

    A curve that has reached a horizon is known up to it, whatever became of the trial later: also
    those of pruned trials, and of all brackets.

    Args:
        feature_attrs:
            Names of user attributes that are features beside the parameters.
        earlier:
            Trials of earlier studies. They come first.
    """

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    """The states of the trials that are learned from."""

    def __init__(self, feature_attrs: Sequence[str], earlier: FinishedTrials) -> None:
        self._earlier = earlier
        self._completed = StudyHistory(feature_attrs)
        self._pruned = StudyHistory(feature_attrs)
        self._lock = threading.Lock()
        self._cut: dict[int | None, _Cut] = {}

    def update(self, finished: Sequence[FrozenTrial]) -> FinishedTrials:
        """Take in what is new.

        Args:
            finished:
                The trials of the study that are in :attr:`states`.

        Returns:
            All trials taken in so far.
        """
        completed = [trial for trial in finished if trial.state == TrialState.COMPLETE]
        pruned = [trial for trial in finished if trial.state == TrialState.PRUNED]
        return FinishedTrials(self._completed.update(completed), self._pruned.update(pruned))

    def reached(self, finished: FinishedTrials, horizon: int | None) -> Reached:
        """Give the curves that reached a horizon.

        Args:
            finished:
                What :meth:`update` has returned.
            horizon:
                The step, or :obj:`None` for the end of a full training.

        Returns:
            The curves.
        """
        with self._lock:
            known = self._cut.get(horizon)
        # A history returns the same tuples until something is new.
        if known is None or not known.is_of(finished):
            earlier = self._earlier
            completed = (*earlier.completed, *finished.completed)
            end = max((int(r.steps[-1]) for r in completed if len(r.steps)), default=0)
            known = _Cut(
                finished,
                Reached(_cut_all(earlier, horizon, end), _cut_all(finished, horizon, end)),
            )
            with self._lock:
                self._cut[horizon] = known
        return known.reached


def read_earlier_trials(
    studies: Sequence[Study], feature_attrs: Sequence[str]
) -> list[tuple[StudyDirection, FinishedTrials]]:
    """Read the studies given as `warm_start`: for each, its direction and its trials.

    Also the pruned ones, whose curves reached some of the horizons.
    """
    return [
        (
            direction,
            FinishedTrials(
                tuple(completed),
                tuple(
                    read_record(trial, feature_attrs)
                    for trial in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
                ),
            ),
        )
        for study, (direction, completed) in zip(
            studies, read_earlier_studies(studies, feature_attrs), strict=True
        )
    ]


@dataclass(frozen=True)
class Reached:
    """Records whose last value is the one at the horizon, in the order of their ends.

    Attributes:
        earlier:
            Those of earlier studies.
        own:
            Those of the study.
    """

    earlier: tuple[CurveRecord, ...]
    own: tuple[CurveRecord, ...]


@dataclass(frozen=True)
class _Cut:
    finished: FinishedTrials
    reached: Reached

    def is_of(self, finished: FinishedTrials) -> bool:
        return (
            self.finished.completed is finished.completed
            and self.finished.pruned is finished.pruned
        )


def _cut_all(trials: FinishedTrials, horizon: int | None, end: int) -> tuple[CurveRecord, ...]:
    if horizon is None:
        # A trial that was pruned at its very end has a known value there, too.
        at_end = (r for r in trials.pruned if len(r.steps) and r.steps[-1] >= end)
        ended = heapq.merge(trials.completed, at_end, key=_order)
        return tuple(r for r in ended if len(r.steps) and not np.isnan(r.value))
    cuts = (_cut(r, horizon) for r in heapq.merge(trials.completed, trials.pruned, key=_order))
    return tuple(r for r in cuts if r is not None)


def _cut(record: CurveRecord, horizon: int) -> CurveRecord | None:
    # The value of a rung is the first one reported at its horizon or after it.
    at = int(np.searchsorted(record.steps, horizon))
    if at == len(record.steps) or np.isnan(record.values[at]):
        return None
    end = at + 1
    return dataclasses.replace(
        record,
        steps=record.steps[:end],
        values=record.values[:end],
        value=float(record.values[at]),
    )


def _order(record: CurveRecord) -> tuple[datetime, int]:
    return record.completed, record.number
