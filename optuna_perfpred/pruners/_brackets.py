from __future__ import annotations

import threading
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners._successive_halving import _completed_rung_key

from optuna_perfpred._attributes import read_number
from optuna_perfpred.pruners._retries import retried_numbers


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    import numpy.typing as npt
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners._rungs import Rung


_KEY = _completed_rung_key(0).removesuffix("0")


class Competition(NamedTuple):
    """The trials of a study that may have results of rungs.

    Attributes:
        ended:
            Those that have ended, a sequence that only grows.
        running:
            Those that run.
        get_bracket:
            Gives the bracket of a trial.
    """

    ended: Sequence[FrozenTrial]
    running: Sequence[FrozenTrial]
    get_bracket: Callable[[FrozenTrial], int]

    def running_in(self, bracket: int) -> list[FrozenTrial]:
        """Give the running trials of a bracket that have a result of any rung."""
        return [t for t in self.running if _has_results(t) and self.get_bracket(t) == bracket]


class Brackets:
    """The results of rungs in each bracket of a study, those of trials that have ended read once.

    A retried trial counts as its retry, which has copied its results. Safe with threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forget(())

    def others(
        self, bracket: int, trial: FrozenTrial, competition: Competition
    ) -> list[FrozenTrial]:
        """Give the other trials of a bracket that have a result of any rung."""
        with self._lock:
            self._read(competition)
            found = dict(self._ended_in.get(bracket, {}))
        found |= {other.number: other for other in competition.running_in(bracket)}
        left_out = self._retried | retried_numbers(competition.running) | {trial.number}
        return [other for number, other in found.items() if number not in left_out]

    def results(
        self, rung: Rung, trial: FrozenTrial, competition: Competition
    ) -> npt.NDArray[np.float64]:
        """Give the results that the other trials have of a rung. Shape: ``(n,)``."""
        with self._lock:
            self._read(competition)
            found = dict(self._results.get((rung.bracket, rung.key), {}))
        for other in competition.running_in(rung.bracket):
            result = read_number(other.system_attrs, rung.key)
            if result is not None:
                found[other.number] = result
        left_out = self._retried | retried_numbers(competition.running) | {trial.number}
        for number in left_out & found.keys():
            del found[number]
        return np.fromiter(found.values(), dtype=np.float64, count=len(found))

    def _read(self, competition: Competition) -> None:
        ended = competition.ended
        if ended is not self._seen:
            self._forget(ended)
        new = ended[self._n_seen :]
        self._n_seen += len(new)
        self._retried |= retried_numbers(new)
        for trial in filter(_has_results, new):
            bracket = competition.get_bracket(trial)
            self._ended_in.setdefault(bracket, {})[trial.number] = trial
            for key in trial.system_attrs:
                result = read_number(trial.system_attrs, key) if key.startswith(_KEY) else None
                if result is not None:
                    self._results.setdefault((bracket, key), {})[trial.number] = result

    def _forget(self, ended: Sequence[FrozenTrial]) -> None:
        self._seen = ended
        self._n_seen = 0
        self._retried: frozenset[int] = frozenset()
        self._ended_in: dict[int, dict[int, FrozenTrial]] = {}
        self._results: dict[tuple[int, str], dict[int, float]] = {}


def _has_results(trial: FrozenTrial) -> bool:
    return any(key.startswith(_KEY) for key in trial.system_attrs)
