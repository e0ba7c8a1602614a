from __future__ import annotations

from dataclasses import dataclass
import threading
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import clone

from optuna_perfpred.forecasts import BestTrials
from optuna_perfpred.forecasts import EarlierStudies
from optuna_perfpred.forecasts import n_learned_from
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.pruners._assessment import Assessment


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts import StudySettings
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.predictors import CurvePredictor
    from optuna_perfpred.predictors import Forecast


class ForecastAssessor:
    """Assesses the running trials of one study by a predictor's forecasts. Safe with threads.

    Models are refitted when the number of completed trials has grown by a tenth, on the trials
    that were completed by then. They are a function of the set of completed trials, so that every
    process that reads the same storage uses the same models.

    Args:
        predictor:
            The predictor of which an unfitted copy is fitted.
        settings:
            The pruner's arguments.
        confidence:
            The probability of failing from which on a trial is hopeless.
    """

    def __init__(
        self, predictor: CurvePredictor, settings: StudySettings, confidence: float
    ) -> None:
        self._confidence = confidence
        self._predictor = predictor
        self._settings = settings
        self._best = BestTrials(settings)
        self._earlier = EarlierStudies(settings)
        self._lock = threading.Lock()
        self._fitted: dict[tuple[int, int, int, datetime], FittedModels] = {}
        self._is_fitting = False

    def assess(
        self,
        finished: FinishedTrials,
        trial: FrozenTrial,
        running: Sequence[FrozenTrial] = (),
    ) -> Assessment | None:
        """Assess a running trial.

        Args:
            finished:
                The finished trials of the study.
            trial:
                The running trial, which has reported.
            running:
                Not asked: a predictor learns from completed trials.

        Returns:
            The assessment, or :obj:`None` if nothing can be told: too few trials are complete,
            the trial has reported no number yet, or it has reached the end of a full curve.
        """
        settings = self._settings
        best = self._best.of(finished.completed)
        forecast = self._forecast(finished, trial) if best is not None else None
        if best is None or forecast is None:
            return None
        assert trial.last_step is not None
        to_beat = settings.sign * best[-1].value - settings.offset
        highest = settings.sign * best[0].value
        return Assessment(
            step=trial.last_step,
            predicted_value=settings.sign * float(forecast.mean[0]),
            predicted_std=float(forecast.std[0]),
            probability=float(forecast.probability_of_beating(to_beat)[0]),
            least_probability=1.0 - self._confidence,
            probability_of_beating_best=float(forecast.probability_of_beating(highest)[0]),
            reference=settings.sign * to_beat,
            rank=settings.top_n,
            offset=settings.offset,
        )

    def models(self, finished: FinishedTrials, trial: FrozenTrial) -> FittedModels | None:
        """Give the models that forecast how a running trial ends.

        Args:
            finished:
                As of :meth:`assess`.
            trial:
                As of :meth:`assess`.

        Returns:
            The models, or :obj:`None` if too few trials are complete or the trial has reached
            the end of a full curve.
        """
        records = finished.completed
        steps, values = read_curve(trial)
        earlier = self._earlier.unless_refused(records, steps, values)
        first_fit = max(1, self._settings.n_startup_trials - len(earlier))
        n_fit = n_learned_from(len(records), first_fit)
        if n_fit == 0:
            return None
        models = self._models(records[:n_fit], earlier)
        if len(models.training_set.steps) == 0 or steps[-1] >= models.training_set.steps[-1]:
            return None
        return models

    def _forecast(self, finished: FinishedTrials, trial: FrozenTrial) -> Forecast | None:
        models = self.models(finished, trial)
        if models is None:
            return None
        forecast = models.predictor.predict(
            *models.training_set.encode(
                read_configuration(trial, self._settings.feature_attrs), *read_curve(trial)
            )
        )
        return forecast if np.isfinite(forecast.mean + forecast.std).all() else None

    def _models(self, records: tuple[CurveRecord, ...], earlier: EarlierStudies) -> FittedModels:
        # A history only grows, so its n first records are known by the last one of them. The time
        # tells it from one of a deleted study whose identifiers were given to this one.
        key = (len(earlier), len(records), records[-1].number, records[-1].completed)
        with self._lock:
            models = self._fitted.get(key)
            if models is None and self._is_fitting:
                # Another thread is fitting new models: until then the last ones will do.
                models = self._latest_of(records, len(earlier))
            fits = models is None and not self._is_fitting
            self._is_fitting |= fits
        if models is not None:
            return models
        try:
            # Outside of the lock: other threads go on.
            models = self._fit(earlier.records(len(records)) + records)
        finally:
            if fits:
                self._is_fitting = False
        with self._lock:
            models = self._fitted.setdefault(key, models)
            # Two generations, for threads that read the storage a moment earlier.
            while len(self._fitted) > 2:
                del self._fitted[next(iter(self._fitted))]
        return models

    def _latest_of(self, records: tuple[CurveRecord, ...], n_earlier: int) -> FittedModels | None:
        """Give the models that were fitted last, if on the first ones of these records."""
        for (n_earlier_then, n, number, completed), models in reversed(self._fitted.items()):
            last = records[n - 1] if n <= len(records) else None
            if last is not None and (n_earlier_then, number, completed) == (
                n_earlier,
                last.number,
                last.completed,
            ):
                return models
        return None

    def _fit(self, records: tuple[CurveRecord, ...]) -> FittedModels:
        settings = self._settings
        training_set = TrainingSet(records, sign=settings.sign, horizon=settings.horizon)
        predictor: CurvePredictor = clone(self._predictor)
        predictor.fit(training_set.configurations, training_set.curves, training_set.finals)
        return FittedModels(training_set, predictor)


@dataclass(frozen=True)
class FittedModels:
    """What was learned for forecasts.

    Attributes:
        training_set:
            The completed trials that were learned from.
        predictor:
            The fitted predictor.
    """

    training_set: TrainingSet
    predictor: CurvePredictor
