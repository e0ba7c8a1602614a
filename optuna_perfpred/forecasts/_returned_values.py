from __future__ import annotations

import enum
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.history import CurveRecord


# The share of the completed trials that must return their last report, or their best one.
_MOST = 0.8
# Two values are the same if they differ by less than what is lost in single precision.
_PRECISION = 1e-6
# With fewer completed trials, ranks tell nothing of a value that is made in another way,
_MIN_FOR_RANKS = 8
# and a lower rank correlation than this tells too little.
_LEAST_CORRELATION = 0.7


class Returned(enum.Enum):
    """What objectives return, as the completed trials tell."""

    LAST = "the last report"
    BEST = "the best report"
    OTHER = "something else that orders trials as the reports do"
    UNRELATED = "something that the reports do not order"
    OPPOSITE = "something that the reports order the other way round"
    UNKNOWN = "something else, of which too few trials tell"


class ReturnedValues(NamedTuple):
    """How the returned values of completed trials relate to what they reported.

    Half of the public studies do not return their last report: the best one, another metric, a
    mean of several.

    Attributes:
        returned:
            What the objectives return.
        of_best:
            Whether a curve is to be read as its best value so far.
        values:
            The values by which trials are compared: the returned ones, or, where these are
            something else, the reported ones that stand for them. Oriented so that larger is
            better, NaN for a trial that is not to be learned from. Shape: ``(n,)``.
    """

    returned: Returned
    of_best: bool
    values: npt.NDArray[np.float64]

    @property
    def can_be_forecast(self) -> bool:
        """Whether the curves tell how trials end."""
        return self.returned in (Returned.LAST, Returned.BEST, Returned.OTHER)

    @property
    def values_are_returned(self) -> bool:
        """Whether trials are compared by what they returned."""
        return self.returned != Returned.OTHER

    @classmethod
    def of(cls, records: Sequence[CurveRecord], sign: float) -> ReturnedValues:
        """Find out from completed trials.

        Args:
            records:
                The trials. Those without a reported number tell nothing.
            sign:
                ``1.0`` if values are to be maximized, ``-1.0`` if to be minimized.
        """
        values = sign * np.array([record.value for record in records], dtype=np.float64)
        last, best, worst = _reports(records, sign)
        values[_are_sentinels(values, best, worst)] = np.nan
        known = ~np.isnan(values) & ~np.isnan(last)
        if not known.any():
            return cls(Returned.UNKNOWN, False, values)
        is_last = np.mean(_same(values[known], last[known]))
        is_best = np.mean(_same(values[known], best[known]))
        if is_last >= _MOST and is_last >= is_best:
            return cls(Returned.LAST, False, values)
        if is_best >= _MOST:
            return cls(Returned.BEST, True, values)
        if np.count_nonzero(known) < _MIN_FOR_RANKS:
            return cls(Returned.UNKNOWN, False, values)
        of_last, of_best = (_rank_correlation(r[known], values[known]) for r in (last, best))
        if max(of_last, of_best) >= _LEAST_CORRELATION:
            stand_in = best if of_best > of_last else last
            return cls(Returned.OTHER, of_best > of_last, np.where(known, stand_in, np.nan))
        opposite = min(of_last, of_best) <= -_LEAST_CORRELATION
        return cls(Returned.OPPOSITE if opposite else Returned.UNRELATED, False, values)


def _reports(
    records: Sequence[CurveRecord], sign: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the last, the best and the worst report of each trial, NaN without any."""
    found = np.full((len(records), 3), np.nan)
    for row, record in zip(found, records, strict=True):
        known = sign * record.values[~np.isnan(record.values)]
        if len(known) > 0:
            row[:] = known[-1], known.max(), known.min()
    return found[:, 0], found[:, 1], found[:, 2]


def _are_sentinels(
    values: npt.NDArray[np.float64],
    best: npt.NDArray[np.float64],
    worst: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Find values that stand for a failure: far worse than all that any trial has reported.

    An objective that catches every exception, that of pruning among them, returns such a value.
    """
    finite = np.isfinite(worst) & np.isfinite(best)
    if not finite.any():
        return np.zeros(len(values), dtype=bool)
    lowest, highest = worst[finite].min(), best[finite].max()
    with np.errstate(over="ignore"):
        found: npt.NDArray[np.bool_] = values < lowest - (highest - lowest)
    # If all are that far away, they are on another scale.
    return found if not found[~np.isnan(values)].all() else np.zeros(len(values), dtype=bool)


def _same(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        return np.isclose(a, b, rtol=_PRECISION, atol=1e-12)


def _rank_correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    if a.min() == a.max() or b.min() == b.max():
        return 0.0  # Nothing tells the trials apart.
    correlation = float(stats.spearmanr(a, b).statistic)
    return correlation if np.isfinite(correlation) else 0.0
