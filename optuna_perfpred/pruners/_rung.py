from __future__ import annotations

import heapq
import math
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.pruners._successive_halving import _completed_rung_key


if TYPE_CHECKING:
    from collections.abc import Sequence


class Rung(NamedTuple):
    """A stretch of a training, at the end of which Hyperband promotes the best trials.

    Attributes:
        bracket:
            The number of its bracket.
        number:
            Its number in the bracket.
        horizon:
            The step at which it ends. :obj:`None` after the last one, where trials run to the
            end.
    """

    bracket: int
    number: int
    horizon: int | None

    @property
    def key(self) -> str:
        """The system attribute in which Optuna keeps a trial's result of the rung."""
        return _completed_rung_key(self.number)


class Bar(NamedTuple):
    """What a trial must reach.

    Attributes:
        value:
            The value, oriented so that larger is better.
        rank:
            Its rank among the results, from 1 for the best.
        n_results:
            The number of results.
    """

    value: float
    rank: int
    n_results: int


def find_rung(
    bracket: int, step: int, *, min_resource: int, max_resource: int, reduction_factor: int
) -> Rung:
    """Find the rung that a trial is in after it has reported at a step."""
    number = 0
    while (horizon := min_resource * reduction_factor ** (bracket + number)) <= step:
        number += 1
    return Rung(bracket, number, horizon if horizon < max_resource else None)


def horizons(
    bracket: int, *, min_resource: int, max_resource: int, reduction_factor: int
) -> list[int]:
    """Give the steps at which the rungs of a bracket end, and the last step."""
    ends = [min_resource * reduction_factor**bracket]
    while ends[-1] < max_resource:
        ends.append(ends[-1] * reduction_factor)
    return [*(end for end in ends if end < max_resource), max_resource]


def find_bar(results: Sequence[float], *, one_in: int, keep: float) -> Bar | None:
    """Find the value by which the trials are told apart that a rung promotes.

    Args:
        results:
            The results of the other trials in the rung, oriented so that larger is better.
        one_in:
            One of this many trials is promoted, at least one.
        keep:
            The share of these that count.

    Returns:
        The bar, or :obj:`None` if there are too few results or it is infinite.
    """
    rank = math.ceil(keep * max(1, (len(results) + 1) // one_in))
    if len(results) < rank:
        return None
    value = heapq.nlargest(rank, results)[-1]
    return Bar(value, rank, len(results)) if math.isfinite(value) else None
