"""When what is learned from a study is learned anew."""

from __future__ import annotations

import functools
import threading
from typing import Generic
from typing import TYPE_CHECKING
from typing import TypeVar


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Hashable
    from collections.abc import Sequence

    from optuna_perfpred.history import CurveRecord


K = TypeVar("K", bound="Hashable")
T = TypeVar("T")

# A history that has grown by a tenth changes what is learned from it by less than its error, and
# the number of times it is learned from grows with the logarithm of the number of trials.
_GROWTH = 1.1


@functools.lru_cache  # Pruners ask at each step of a trial.
def n_learned_from(n_completed: int, first: int = 1) -> int:
    """Give the number of completed trials to learn from: the last number on the schedule.

    Args:
        n_completed:
            The number of completed trials.
        first:
            The number of trials that are learned from first, at least 1.

    Returns:
        The number, which is 0 if fewer than ``first`` trials are complete.
    """
    if n_completed < first:
        return 0
    n = first
    while (following := max(n + 1, int(n * _GROWTH))) <= n_completed:
        n = following
    return n


def is_first_of(n: int, last: CurveRecord | None, completed: Sequence[CurveRecord]) -> bool:
    """Tell whether something was learned from the first trials of a history.

    A history only grows, so its ``n`` first trials are known by the last one of them: the clocks
    of workers differ, and a trial that becomes known later may have ended before it. Records of a
    deleted study with the same identifiers are other objects.

    Args:
        n:
            The number of trials that was learned from.
        last:
            The last one of them.
        completed:
            The history.
    """
    return 0 < n <= len(completed) and completed[n - 1] is last


class Fits(Generic[K, T]):
    """What was learned lately, by what it was learned from. Safe with threads.

    Args:
        n_kept:
            How much is remembered: more than 1 for threads that know an earlier history.
    """

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._lock = threading.Lock()
        self._known: dict[K, T] = {}
        self._is_learning = False

    def get(self, key: K, learn: Callable[[], T], will_do: Callable[[K], bool] | None = None) -> T:
        """Give what was learned, or learn it.

        Args:
            key:
                What it is learned from.
            learn:
                Learns it, outside of the lock: other threads go on.
            will_do:
                Tells of what else was learned from whether it will do until another thread, which
                is learning, has learned.
        """
        with self._lock:
            if key in self._known:
                return self._known[key]
            if self._is_learning and will_do is not None:
                for known in reversed(self._known):
                    if will_do(known):
                        return self._known[known]
            learns = not self._is_learning
            self._is_learning = True
        try:
            learned = learn()
        finally:
            if learns:
                self._is_learning = False
        with self._lock:
            learned = self._known.setdefault(key, learned)
            while len(self._known) > self._n_kept:
                del self._known[next(iter(self._known))]
        return learned
