from __future__ import annotations

import threading
from typing import Generic
from typing import NamedTuple
from typing import TYPE_CHECKING
from typing import TypeVar

import numpy as np
from scipy import special
from sklearn.base import clone

from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import Learned
from optuna_perfpred.forecasts import Situation
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.pruners._forecast_assessor import FittedModels
from optuna_perfpred.pruners._skill import has_skill


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Hashable
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts import StoppingRule
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.predictors import CurvePredictor


T = TypeVar("T")

# More curves than this are thinned evenly: their quantiles hardly change.
_MAX_CURVES = 300
# From about this many on, the rule no longer takes more trials for stronger competition.
_LARGEST_STUDY = 16
# Some generations of the models of a few horizons and brackets.
_N_KEPT = 50


class RungForecast(NamedTuple):
    """What is foreseen of a trial's value at a horizon, oriented so that larger is better.

    Attributes:
        mean:
            The predicted value.
        std:
            Its standard error.
        probability:
            The probability that the value is at least the one to reach.
    """

    mean: float
    std: float
    probability: float


class Question(NamedTuple):
    """What is asked of a running trial.

    Attributes:
        trial:
            The trial, which has reported.
        reached:
            The curves to learn from, each ending at the horizon. At least one.
        latest:
            The trials that finished last, the latest one last.
        horizon:
            The horizon, :obj:`None` for the end of a full training.
        to_reach:
            The value to reach, oriented.
        share:
            The share of trials that is expected to reach it, between 0 and 1.
    """

    trial: FrozenTrial
    reached: tuple[CurveRecord, ...]
    latest: tuple[CurveRecord, ...]
    horizon: int | None
    to_reach: float
    share: float

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What tells the curves to learn from apart from others: a history only grows."""
        last = self.reached[-1]
        return self.horizon, len(self.reached), last.number, last.completed


class PredictorForecasts:
    """Forecasts of a predictor: a family of models for each horizon. Safe with threads.

    A family that has shown no skill on the curves that it learns from gives no forecast.

    Args:
        predictor:
            The predictor of which unfitted copies are fitted.
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.
        feature_attrs:
            Names of user attributes that are features beside the parameters.
    """

    def __init__(
        self, predictor: CurvePredictor, sign: float, feature_attrs: Sequence[str]
    ) -> None:
        self._predictor = predictor
        self._sign = sign
        self._feature_attrs = feature_attrs
        self._families: _Latest[FittedModels | None] = _Latest()

    def forecast(self, question: Question) -> RungForecast | None:
        """Forecast the value of a trial at a horizon, or give :obj:`None` if it cannot be told."""
        models = self.models(question)
        if models is None:
            return None
        trial = question.trial
        forecast = models.predictor.predict(
            *models.training_set.encode(
                read_configuration(trial, self._feature_attrs), *read_curve(trial)
            )
        )
        if not np.isfinite(forecast.mean + forecast.std).all():
            return None
        probability = forecast.probability_of_beating(question.to_reach)
        return RungForecast(float(forecast.mean[0]), float(forecast.std[0]), float(probability[0]))

    def models(self, question: Question) -> FittedModels | None:
        """Give the models for a trial: :obj:`None` at the horizon, or if they have no skill."""
        models = self._families.get(question.key, lambda: self._fit(question.reached))
        steps, _ = read_curve(question.trial)
        if models is None or steps[-1] >= models.training_set.steps[-1]:
            return None
        return models

    def _fit(self, reached: tuple[CurveRecord, ...]) -> FittedModels | None:
        training_set = TrainingSet(reached, sign=self._sign)
        if len(training_set.steps) < 2 or not has_skill(self._predictor, training_set):
            return None
        predictor: CurvePredictor = clone(self._predictor)
        predictor.fit(training_set.configurations, training_set.curves, training_set.finals)
        return FittedModels(training_set, predictor)


class RuleForecasts:
    """Forecasts of a stopping rule that was trained on other studies. Safe with threads.

    The rule tells with which probability a trial will be the best of a study. To it, a rung is a
    study whose trainings end at the rung's horizon, and in which no trial was better than the
    value to reach. There, one trial in a few reaches that value instead of one in all: the odds
    that the rule gives are multiplied by the ratio of these odds. Without it, of the trials to
    which the rule gives a chance of 0.12, 0.44 reach the value (measured on recorded curves, with
    Hyperband at η = 3).

    Args:
        rule:
            The rule.
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.
        feature_attrs:
            Names of user attributes that are features beside the parameters.
    """

    def __init__(self, rule: StoppingRule, sign: float, feature_attrs: Sequence[str]) -> None:
        self._rule = rule
        self._sign = sign
        self._feature_attrs = feature_attrs
        self._learned: _Latest[Learned | None] = _Latest()

    def forecast(self, question: Question) -> RungForecast | None:
        """Forecast the value of a trial at a horizon, or give :obj:`None` if it cannot be told."""
        situation = self.situation(question)
        if situation is None:
            return None
        chance = situation.chance(self._rule)
        probability = special.expit(special.logit(chance) + self.log_ratio(question))
        mean, std = situation.forecast(probability)
        if not np.isfinite([mean, std, probability]).all():
            return None
        return RungForecast(float(mean[0]), float(std[0]), float(probability[0]))

    def situation(self, question: Question) -> Situation | None:
        """Find what the rule is told of a trial, or :obj:`None` if there is nothing to tell."""
        # Trials better than the one to beat would show the rule a study in which it is not best.
        worse = self._worse(question)
        learned = self._learned.get(
            (*question.key, question.to_reach),
            lambda: (
                Learned.of(
                    worse[:: -(-len(worse) // _MAX_CURVES) or 1],
                    best_value=question.to_reach,
                    sign=self._sign,
                )
                if worse
                else None
            ),
        )
        if learned is None:
            return None
        known, observed = learned.observe([Curve.read(question.trial, self._feature_attrs)])
        if len(known) == 0:
            return None
        return Situation(
            learned=learned,
            observed=observed,
            recent=learned.align([Curve.of(record) for record in question.latest]),
            n_finished=len(question.reached),
        )

    def log_ratio(self, question: Question) -> float:
        """Compare the odds of a new trial in the rung with those that the rule is told of."""
        n_worse = min(len(self._worse(question)), _LARGEST_STUDY)
        return float(np.log(question.share / (1.0 - question.share) * n_worse))

    def _worse(self, question: Question) -> list[CurveRecord]:
        return [r for r in question.reached if self._sign * r.value <= question.to_reach]


class _Latest(Generic[T]):
    """What was learned lately, by what it was learned from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Hashable, T] = {}

    def get(self, key: Hashable, learn: Callable[[], T]) -> T:
        with self._lock:
            if key in self._known:
                return self._known[key]
        # Outside of the lock: other threads go on, at worst one of them does the same.
        learned = learn()
        with self._lock:
            while len(self._known) >= _N_KEPT:
                del self._known[next(iter(self._known))]
            return self._known.setdefault(key, learned)
