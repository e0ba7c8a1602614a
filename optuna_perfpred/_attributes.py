"""Reads attributes of trials, which anybody may have written: what does not fit is absent."""

from __future__ import annotations

import functools
import logging
import math
from typing import Any
from typing import TYPE_CHECKING
from typing import TypeVar


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping


T = TypeVar("T")
_logger = logging.getLogger(__name__)
_MAX_LENGTH = 2000


def finite(value: Any) -> float | None:
    """Give a number as a float; :obj:`None` for all else, NaN and the infinities among it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # Integers have no bound.
        return None


def read_number(attrs: Mapping[str, Any], key: str) -> float | None:
    """Read a finite number."""
    return _read(attrs, key, finite)


def read_step(attrs: Mapping[str, Any], key: str) -> int | None:
    """Read a step or the number of a trial: an integer that is not negative."""
    return _read(attrs, key, _step)


def read_text(attrs: Mapping[str, Any], key: str) -> str:
    """Read a sentence; an empty one if there is none, and only the beginning of a long one."""
    text = _read(attrs, key, lambda value: value if isinstance(value, str) else None)
    return (text or "")[:_MAX_LENGTH]


def read_flag(attrs: Mapping[str, Any], key: str) -> bool:
    """Read whether something is so."""
    return bool(_read(attrs, key, lambda value: value if isinstance(value, bool) else None))


def read_numbers(attrs: Mapping[str, Any], key: str) -> list[int]:
    """Read the numbers of trials."""
    return _read(attrs, key, _numbers) or []


def _read(attrs: Mapping[str, Any], key: str, fit: Callable[[Any], T | None]) -> T | None:
    value = attrs.get(key)
    fitting = None if value is None else fit(value)
    if fitting is None and value is not None:
        _tell(key)
    return fitting


def _step(value: Any) -> int | None:
    number = finite(value)
    return int(number) if number is not None and number >= 0.0 and number.is_integer() else None


def _numbers(value: Any) -> list[int] | None:
    numbers = [_step(number) for number in value] if isinstance(value, list | tuple) else [None]
    known = [number for number in numbers if number is not None]
    return known if len(known) == len(numbers) else None


@functools.cache
def _tell(key: str) -> None:
    _logger.warning(f"Some attributes {key!r} are not what is written there, and are ignored.")
