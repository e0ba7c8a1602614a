from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study


def check_at_least(name: str, value: int, minimum: int) -> int:
    """Give a value as Python's integer; raise a ValueError unless it is one and large enough."""
    if not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"`{name}` must be an integer of at least {minimum}, but got {value!r}.")
    return int(value)


def check_integers(name: str, values: Sequence[int], length: int | None = None) -> tuple[int, ...]:
    """Check an argument that holds positive integers.

    Args:
        name:
            The argument's name.
        values:
            What was given.
        length:
            How many there must be; any number if :obj:`None`.

    Returns:
        The values, each once unless ``length`` is given.

    Raises:
        :exc:`ValueError`:
            If one of them is not a positive integer, or there are not ``length`` of them.
    """
    try:
        numbers = tuple(check_at_least(name, value, 1) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be positive integers, but got {values!r}.") from None
    if length is None:
        return tuple(dict.fromkeys(numbers))
    if len(numbers) != length:
        raise ValueError(f"`{name}` must be {length} positive integers, but got {values!r}.")
    return numbers


def check_single_objective(study: Study, used: str) -> None:
    """Raise a ValueError if a study has several objectives: Optuna refuses to prune there.

    Args:
        study:
            The study.
        used:
            What is to be done with it, as in "can be explained".
    """
    if len(study.directions) != 1:
        raise ValueError(
            f"Only single-objective studies can be {used}, but {study.study_name!r} has "
            f"{len(study.directions)} objectives."
        )
