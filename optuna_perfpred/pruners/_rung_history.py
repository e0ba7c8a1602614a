from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import heapq
import threading
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from datetime import datetime

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials


class RungHistory:
    """The curves that ever reached a horizon, cut there. Safe with threads.

    A curve that has reached a horizon is known up to it, whatever became of the trial later: also
    those of pruned trials, and of all brackets.

    Args:
        earlier:
            Trials of earlier studies. They come first.
    """

    def __init__(self, earlier: FinishedTrials) -> None:
        self._earlier = earlier
        self._lock = threading.Lock()
        self._cut: dict[int | None, _Cut] = {}

    def reached(self, finished: FinishedTrials, horizon: int | None) -> Reached:
        """Give the curves that reached a horizon.

        Args:
            finished:
                The finished trials of the study.
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
