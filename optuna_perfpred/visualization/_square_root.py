"""An axis on which small probabilities and regrets are told apart, and 0 has a place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable


_CANDIDATES = (0.0, *(digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)))


def square_roots(values: Iterable[float]) -> list[float]:
    """Give the places of values on the axis."""
    return [math.sqrt(max(0.0, value)) for value in values]


def ticks_up_to(largest: float) -> list[float]:
    """Choose values to be written at an axis, at least a tenth of its length apart."""
    chosen: list[float] = []
    for value in _CANDIDATES:
        if value > largest:
            break
        if not chosen or math.sqrt(value) - math.sqrt(chosen[-1]) >= 0.1 * math.sqrt(largest):
            chosen.append(value)
    return chosen
