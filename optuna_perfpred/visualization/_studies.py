"""What is read of a study for any figure, and which part of an axis shows it."""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING
from typing import TypeVar

import numpy as np
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred._attributes import finite


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial


T = TypeVar("T")
_FAR_ABOVE = 30.0


def maximizes(study: Study) -> bool:
    """Whether larger values are better."""
    return study.direction == StudyDirection.MAXIMIZE


def of_study(study_name: str) -> str:
    """Name the study in a title, if it was given a name."""
    return "" if study_name.startswith(DEFAULT_STUDY_NAME_PREFIX) else f" of {study_name}"


def metric_name(study: Study) -> str:
    """Name the objective's value as the user does, else as Optuna's figures do."""
    names = study.metric_names
    return names[0] if names else "Objective Value"


def metric_label(study: Study) -> str:
    """Name an axis that shows values of the objective."""
    return f"{metric_name(study)} ({'higher' if maximizes(study) else 'lower'} is better)"


def count(number: int, noun: str) -> str:
    """Give a number of things, in the singular or the plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(share: float) -> str:
    """Give a share in percent."""
    return f"{100.0 * share:.3g} %"


def duration(hours: float) -> str:
    """Give a duration in the unit that a person would choose."""
    for unit, n_hours in (("hours", 1.0), ("minutes", 1 / 60)):
        if hours >= 2.0 * n_hours:
            return f"{hours / n_hours:.3g} {unit}"
    return f"{3600.0 * hours:.0f} seconds"


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial satisfies all constraints."""
    return all(constraint <= 0.0 for constraint in trial.constraints.values())


def best_trials(study: Study, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Give the completed feasible trials with a finite value, the best first.

    Of equal ones the first comes first. ``study.best_trial`` raises if there is none.
    """
    sign = 1.0 if maximizes(study) else -1.0
    candidates = [
        (-sign * value, trial)
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and is_feasible(trial)
        and (value := finite(trial.value)) is not None
    ]
    return [trial for _, trial in sorted(candidates, key=lambda candidate: candidate[0])]


def best_trial(study: Study, trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Give the first of them; :obj:`None` if there is none."""
    return next(iter(best_trials(study, trials)), None)


def evenly(items: Sequence[T], n: int, *, keep: Iterable[int] = ()) -> list[T]:
    """Take items at even distances, the first and the last one among them.

    Args:
        items:
            The items.
        n:
            How many to take at most, beside those to keep.
        keep:
            Places of items that are taken in any case.

    Returns:
        The items, in their order; all if there are no more than ``n``.
    """
    if len(items) <= n:
        return list(items)
    # A fixed number of places, rounded: distances differ by one at most.
    places = set(np.linspace(0, len(items) - 1, max(0, n)).round().astype(int).tolist())
    return [items[place] for place in sorted(places | set(keep))]


def asks_for_log_axis(values: Iterable[float], *, maximize: bool) -> bool:
    """Whether values of the objective are better seen on a logarithmic axis.

    So they are if all are positive and a linear axis would show only the worst: if they are
    minimized, over at least a decade, and half of them lie in the lowest tenth of the axis; or if
    they are maximized and one is far above nine tenths of the others. Accuracies that begin at
    almost nothing do not ask for it.

    Args:
        values:
            The values; those that are not finite are passed over.
        maximize:
            Whether larger ones are better.
    """
    array = np.fromiter(values, dtype=float)
    array = array[np.isfinite(array)]
    if len(array) == 0 or array.min() <= 0.0:
        return False
    low, high = array.min(), array.max()
    if maximize:
        return bool(high >= _FAR_ABOVE * np.quantile(array, 0.9))
    return bool(high >= 10.0 * low and np.median(array) <= low + 0.1 * (high - low))


def axis_range(
    values: Iterable[float], *, always: Iterable[float] = (), log: bool = False
) -> tuple[float, float] | None:
    """Find the range of an axis that single far values do not spoil.

    Args:
        values:
            What is drawn; values that are not finite are passed over.
        always:
            Values that the range always covers.
        log:
            Whether the axis is logarithmic; values that are not positive are then passed over.

    Returns:
        The two ends, in the unit of the values; :obj:`None` if there are no values.
    """
    array, wanted = (_to_axis(part, log=log) for part in (values, always))
    if len(array) + len(wanted) == 0:
        return None
    if len(array) > 0:
        # Curves begin far from where they end, but divergences are much farther.
        low, high = np.quantile(array, (0.1, 0.9))
        reach = 10.0 * (high - low)
        if reach > 0.0:
            inside = array[(array >= low - reach) & (array <= high + reach)]
            array = inside if len(inside) > 0 else array
    whole = np.concatenate([array, wanted])
    low, high = float(whole.min()), float(whole.max())
    margin = 0.04 * (high - low) or 0.04 * max(1.0, abs(high))
    low, high = low - margin, high + margin
    return (10.0**low, 10.0**high) if log else (low, high)


def _to_axis(values: Iterable[float], *, log: bool) -> Any:
    array = np.fromiter(values, dtype=float)
    array = array[np.isfinite(array)]
    return np.log10(array[array > 0.0]) if log else array
