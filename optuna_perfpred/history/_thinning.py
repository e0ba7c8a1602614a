"""The reports of a long curve that are read: by one rule for finished and for running trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    import numpy.typing as npt


# More reports than this are thinned evenly, to no less than half of it. A forecast hardly gains
# from more, and a decision comes at most a hundredth of the steps so far later.
_MAX_REPORTS = 200


def thin(
    steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Leave out reports of a long curve, but not the last, the best and the worst one.

    Those that are left of a curve are left as well of a longer one, or every second of them is.

    Args:
        steps:
            The steps, ascending. Shape: ``(n,)``.
        values:
            The values. Shape: ``(n,)``.

    Returns:
        What is left of both, at most about 200.
    """
    if len(steps) <= _MAX_REPORTS:
        return steps, values
    passed = steps - steps[0]
    stretch = passed // _stretch(int(passed[-1]))
    is_read = np.append(True, stretch[1:] > stretch[:-1])
    is_read[-1] = True
    known = np.flatnonzero(~np.isnan(values))
    if len(known) > 0:
        is_read[known[[values[known].argmin(), values[known].argmax()]]] = True
    return steps[is_read], values[is_read]


def is_due(reports: dict[int, float], n_warmup_steps: int = 0, interval_steps: int = 1) -> bool:
    """Whether a trial is to be judged after its last report. Takes the same time for all curves.

    Args:
        reports:
            What the trial has reported, by step.
        n_warmup_steps:
            The first steps, at which none is.
        interval_steps:
            The number of steps from one time to the next, as in
            :class:`~optuna.pruners.MedianPruner`. In long curves it grows.
    """
    if len(reports) == 0:
        return False
    first, previous, last = _ends(reports)
    if last < n_warmup_steps or len(reports) == 1:
        return last >= n_warmup_steps
    origin = (max(first, n_warmup_steps) - n_warmup_steps) // interval_steps
    passed, before = (
        (step - n_warmup_steps) // interval_steps - origin for step in (last, previous)
    )
    stretch = _stretch(passed) if len(reports) > _MAX_REPORTS else 1
    return passed // stretch > before // stretch


def last_step(reports: dict[int, float]) -> int:
    """Give the last step of a trial that has reported, without looking at all of many."""
    return _ends(reports)[2]


def _ends(reports: dict[int, float]) -> tuple[int, int, int]:
    """Give the first, the last but one and the last step."""
    if len(reports) > _MAX_REPORTS:  # Who reports so often does so in order.
        newest = reversed(reports)
        last, previous, first = next(newest), next(newest), next(iter(reports))
        if first <= previous <= last:
            return first, previous, last
    ordered = sorted(reports)
    return ordered[0], ordered[-2:][0], ordered[-1]


def _stretch(passed: int) -> int:
    """Give the number of steps of which one is read: a power of two."""
    return 1 << (passed // _MAX_REPORTS).bit_length()
