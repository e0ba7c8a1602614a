from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials


# The first and the last third of the trials are compared, at most this many of each.
_MAX_COMPARED = 30
# Fewer than this tell nothing.
_MIN_COMPARED = 4
# Nearly all of them have come to the step at which they are compared.
_REACHED = 0.2
# A sampler that has learned the most is not trusted with more than this.
_LARGEST_ODDS = 3.0


def odds_of_improvement(finished: FinishedTrials, sign: float) -> float:
    """Tell how much better the sampler proposes now than when the study began.

    A new trial is worth what the sampler proposes now. If it proposes at random, trials are as
    good as those before them; one that learns proposes better ones. The trials that finished last
    are compared with the first ones at a step that nearly all of them have reached.

    Args:
        finished:
            The finished trials of the study.
        sign:
            ``1.0`` if values are to be maximized, ``-1.0`` if to be minimized.

    Returns:
        The odds that a trial of now is better than one of then, less a standard error of the
        comparison (that of the Mann-Whitney statistic), between 1 and 3.
    """
    n = min(len(finished) // 3, _MAX_COMPARED)
    if n < _MIN_COMPARED:
        return 1.0
    first, last = finished.earliest(n), finished.latest(n)
    ends = [int(r.steps[-1]) for r in (*first, *last) if len(r.steps) > 0]
    if not ends:
        return 1.0
    step = float(np.quantile(ends, _REACHED, method="lower"))
    then, now = (_values_at(step, records, sign) for records in (first, last))
    n_then, n_now = len(then), len(now)
    if min(n_then, n_now) < _MIN_COMPARED:
        return 1.0
    share = float(stats.mannwhitneyu(now, then, method="asymptotic").statistic) / (n_then * n_now)
    share -= math.sqrt((n_then + n_now + 1) / (12.0 * n_then * n_now))
    if share >= 1.0:
        return _LARGEST_ODDS
    return min(max(share / (1.0 - share), 1.0), _LARGEST_ODDS)


def _values_at(step: float, records: Sequence[CurveRecord], sign: float) -> list[float]:
    values = []
    for record in records:
        finite = np.isfinite(record.values)
        steps = record.steps[finite]
        if len(steps) > 0 and steps[0] <= step <= steps[-1]:
            values.append(sign * float(np.interp(step, steps, record.values[finite])))
    return values
