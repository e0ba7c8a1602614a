from __future__ import annotations

import functools


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
