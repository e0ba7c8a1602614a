from __future__ import annotations

from typing import TYPE_CHECKING
from typing import TypeVar

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence


T = TypeVar("T")


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
