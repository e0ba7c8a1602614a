from __future__ import annotations

from dataclasses import dataclass
import heapq
import threading
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import clone

from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.history import StudyHistory
from optuna_perfpred.history import TrainingSet


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.predictors import CurvePredictor
    from optuna_perfpred.predictors import Forecast


# A history that has grown by a tenth changes a forecast by less than its standard error, and the
# number of refits grows with the logarithm of the number of trials.
_REFIT_GROWTH = 1.1


@dataclass(frozen=True)
class Reference:
    """The values that a trial has to beat, oriented so that larger is better.

    Attributes:
        best:
            The best value of a completed, feasible trial.
        top_n:
            The n-th best one.
    """

    best: float
    top_n: float


class Forecaster:
    """The history of one study and the models learned from it. Safe with threads.

    Models are refitted when the number of completed trials has grown by a tenth, on the trials
    that were completed by then. They are a function of the set of completed trials, so that every
    process that reads the same storage uses the same models.

    Args:
        predictor:
            The predictor of which an unfitted copy is fitted.
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.
        n_startup_trials:
            The number of completed trials at which the first models are fitted.
        top_n:
            The rank of the value to beat.
        horizon:
            The step at which a full curve ends, or :obj:`None` to learn it.
        feature_attrs:
            Names of user attributes that are features beside the parameters.
        earlier:
            Records of earlier studies to learn from. They count as start-up trials.
    """

    def __init__(
        self,
        predictor: CurvePredictor,
        *,
        sign: float,
        n_startup_trials: int,
        top_n: int,
        horizon: int | None,
        feature_attrs: Sequence[str],
        earlier: Sequence[CurveRecord],
    ) -> None:
        self._predictor = predictor
        self._sign = sign
        self._first_fit = max(1, n_startup_trials - len(earlier))
        self._top_n = top_n
        self._horizon = horizon
        self._feature_attrs = feature_attrs
        self._earlier = tuple(earlier)
        self._history = StudyHistory(feature_attrs)
        self._lock = threading.Lock()
        self._fitted: dict[tuple[int, int, datetime], _FittedModels] = {}
        self._reference: tuple[tuple[CurveRecord, ...], Reference | None] = ((), None)

    def update(self, completed: Sequence[FrozenTrial]) -> tuple[CurveRecord, ...]:
        """Take in completed trials. See :meth:`StudyHistory.update`."""
        return self._history.update(completed)

    def reference(self, records: tuple[CurveRecord, ...]) -> Reference | None:
        """Give the values to beat.

        Args:
            records:
                The completed trials.

        Returns:
            The values, or :obj:`None` if there are not enough or they are infinite.
        """
        with self._lock:
            known, reference = self._reference
        if known is not records:
            feasible = (self._sign * r.value for r in records if r.feasible)
            values = heapq.nlargest(self._top_n, feasible)
            usable = len(values) == self._top_n and bool(np.isfinite(values).all())
            reference = Reference(values[0], values[-1]) if usable else None
            with self._lock:
                self._reference = (records, reference)
        return reference

    def forecast(self, records: tuple[CurveRecord, ...], trial: FrozenTrial) -> Forecast | None:
        """Forecast the final value of a running trial.

        Args:
            records:
                The completed trials.
            trial:
                The running trial.

        Returns:
            A forecast of shape ``(1,)``, oriented so that larger is better, or :obj:`None` if
            none is possible: too few trials are complete, the trial has reported no number yet,
            or it has reached the end of a full curve.
        """
        n_fit = self._n_fit(len(records))
        if n_fit == 0:
            return None
        models = self._models(records[:n_fit])
        steps, values = read_curve(trial)
        if len(models.training_set.steps) == 0 or steps[-1] >= models.training_set.steps[-1]:
            return None
        forecast = models.predictor.predict(
            *models.training_set.encode(
                read_configuration(trial, self._feature_attrs), steps, values
            )
        )
        return forecast if np.isfinite(forecast.mean + forecast.std).all() else None

    def _n_fit(self, n_completed: int) -> int:
        """Give the number of trials to learn from: the last number on the refit schedule."""
        if n_completed < self._first_fit:
            return 0
        n = self._first_fit
        while (following := max(n + 1, int(n * _REFIT_GROWTH))) <= n_completed:
            n = following
        return n

    def _models(self, records: tuple[CurveRecord, ...]) -> _FittedModels:
        # A history only grows, so its n first records are known by the last one of them. The time
        # tells it from one of a deleted study whose identifiers were given to this one.
        key = (len(records), records[-1].number, records[-1].completed)
        with self._lock:
            models = self._fitted.get(key)
        if models is None:
            # Outside of the lock: other threads go on, at worst one of them does the same.
            models = self._fit(records)
            with self._lock:
                models = self._fitted.setdefault(key, models)
                # Two generations, for threads that read the storage a moment earlier.
                while len(self._fitted) > 2:
                    del self._fitted[next(iter(self._fitted))]
        return models

    def _fit(self, records: tuple[CurveRecord, ...]) -> _FittedModels:
        training_set = TrainingSet(self._earlier + records, sign=self._sign, horizon=self._horizon)
        predictor: CurvePredictor = clone(self._predictor)
        predictor.fit(training_set.configurations, training_set.curves, training_set.finals)
        return _FittedModels(training_set, predictor)


@dataclass(frozen=True)
class _FittedModels:
    training_set: TrainingSet
    predictor: CurvePredictor
