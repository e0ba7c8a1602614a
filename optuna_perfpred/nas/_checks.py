from __future__ import annotations

import operator
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Sequence


def check_integer(name: str, value: int, minimum: int) -> int:
    """Check an argument.

    Args:
        name:
            The argument's name.
        value:
            What was given.
        minimum:
            The smallest value allowed.

    Returns:
        The value as a Python integer.

    Raises:
        :exc:`ValueError`:
            If it is not an integer, or too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    if number < minimum:
        raise ValueError(f"`{name}` must be an integer of at least {minimum}, but got {value!r}.")
    return number


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
        numbers = tuple(check_integer(name, value, minimum=1) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be positive integers, but got {values!r}.") from None
    if length is None:
        return tuple(dict.fromkeys(numbers))
    if len(numbers) != length:
        raise ValueError(f"`{name}` must be {length} positive integers, but got {values!r}.")
    return numbers
