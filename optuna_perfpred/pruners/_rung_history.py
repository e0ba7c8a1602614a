from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import heapq
import operator
import threading
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.history import FinishedTrials


if TYPE_CHECKING:
    from datetime import datetime

    from optuna_perfpred.history import CurveRecord


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
        # A reader returns the same object until something is new.
        if known is None or known.finished is not finished:
            known = _Cut(finished, self._reached(finished, horizon, known))
            with self._lock:
                self._cut[horizon] = known
        return known.reached

    def _reached(
        self, finished: FinishedTrials, horizon: int | None, known: _Cut | None
    ) -> Reached:
        if horizon is None:
            completed = (*self._earlier.completed, *finished.completed)
            end = max((int(r.steps[-1]) for r in completed if len(r.steps)), default=0)
            return Reached(_ended(self._earlier, end), _ended(finished, end))
        new = None if known is None else _ended_since(known.finished, finished)
        if known is None or new is None:
            return Reached(_cut_at(self._earlier, horizon), _cut_at(finished, horizon))
        return Reached(known.reached.earlier, known.reached.own + _cut_at(new, horizon))


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


class _Cut(NamedTuple):
    finished: FinishedTrials
    reached: Reached


def _ended_since(known: FinishedTrials, finished: FinishedTrials) -> FinishedTrials | None:
    """Give the trials that have ended since, if these are all that is new, and the last ones."""
    n, m = len(known.completed), len(known.pruned)
    first = FinishedTrials(finished.completed[:n], finished.pruned[:m])
    new = FinishedTrials(finished.completed[n:], finished.pruned[m:])
    if len(first) < len(known) or not all(map(operator.is_, known, first)):
        return None
    ends = [_order(r) for r in (*known.latest(1), *new.earliest(1))]
    return new if ends == sorted(ends) else None


def _ended(trials: FinishedTrials, end: int) -> tuple[CurveRecord, ...]:
    # A trial that was pruned at its very end has a known value there, too.
    at_end = (r for r in trials.pruned if len(r.steps) and r.steps[-1] >= end)
    ended = heapq.merge(trials.completed, at_end, key=_order)
    return tuple(r for r in ended if len(r.steps) and not np.isnan(r.value))


def _cut_at(trials: FinishedTrials, horizon: int) -> tuple[CurveRecord, ...]:
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
