from __future__ import annotations

from dataclasses import dataclass
import heapq
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials


@dataclass(frozen=True)
class StudySettings:
    """The arguments of a pruner as they apply to one study.

    Attributes:
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.
        n_startup_trials:
            The number of completed trials at which trials are assessed at first.
        top_n:
            The rank of the value to beat.
        offset:
            By how much the value to beat is made worse.
        horizon:
            The step at which a full curve ends, or :obj:`None` to learn it.
        feature_attrs:
            Names of user attributes that are features beside the parameters.
        earlier:
            Trials of earlier studies to learn from, see
            :class:`~optuna_perfpred.forecasts._earlier_studies.EarlierStudies`.
    """

    sign: float
    n_startup_trials: int
    top_n: int
    offset: float
    horizon: int | None
    feature_attrs: Sequence[str]
    earlier: FinishedTrials


class BestTrials:
    """The best completed trials of a study, looked for once after each completion.

    Args:
        settings:
            The pruner's arguments.
    """

    def __init__(self, settings: StudySettings) -> None:
        self._settings = settings
        self._known: tuple[tuple[CurveRecord, ...], list[CurveRecord] | None] = ((), None)

    def of(self, records: tuple[CurveRecord, ...]) -> list[CurveRecord] | None:
        """Give the ``top_n`` best feasible trials, the best one first.

        Args:
            records:
                The completed trials of the study.

        Returns:
            The trials, or :obj:`None` if there are not enough or a value is infinite.
        """
        known, best = self._known
        if known is not records:
            sign, n = self._settings.sign, self._settings.top_n
            feasible = (record for record in records if record.feasible)
            best = heapq.nlargest(n, feasible, key=lambda record: sign * record.value)
            if len(best) < n or not np.isfinite([record.value for record in best]).all():
                best = None
            self._known = (records, best)
        return best
