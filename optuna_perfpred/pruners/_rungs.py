"""Hyperband's rungs, and the running trials that it need not train to their ends."""

from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners._successive_halving import _completed_rung_key
from sklearn.base import clone

from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import EarlierStudies
from optuna_perfpred.forecasts import Fits
from optuna_perfpred.forecasts import Learned
from optuna_perfpred.forecasts import n_learned_from
from optuna_perfpred.forecasts import N_RECENT
from optuna_perfpred.forecasts import RuleInputs
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.pruners._assessment import Assessment
from optuna_perfpred.pruners._assessment import percent
from optuna_perfpred.pruners._assessment import predicted
from optuna_perfpred.pruners._forecasters import assess_forecast
from optuna_perfpred.pruners._forecasters import FittedPredictor
from optuna_perfpred.pruners._forecasters import RuleForecaster
from optuna_perfpred.pruners._rung_history import RungHistory


if TYPE_CHECKING:
    from collections.abc import Hashable
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred._arrays import Floats
    from optuna_perfpred.forecasts import StudySettings
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.predictors import CurvePredictor
    from optuna_perfpred.pruners._forecasters import PredictorInputs


# The default confidence of 0.95, as odds: there, and below, a trial is cut whose chance to become
# the best, for each step still to train, is less than that of a new trial. At more than that, all
# trials would be cut whose first steps tell nothing.
_ODDS = 19.0
# More curves than this are thinned evenly: their quantiles hardly change.
_MAX_CURVES = 300
# From about this many on, the rule no longer takes more trials for stronger competition.
_LARGEST_STUDY = 16
# Some generations of the models of a few horizons and brackets.
_N_KEPT = 50
# Forecasts are checked at these shares of the curves.
_SHARES = (0.25, 0.5, 0.75)
# How much closer than the median a forecast must be. Noise is never closer but by chance, which
# makes a tenth of few curves.
_LEAST_SKILL = 0.2
# Fewer curves than this do not show a skill; a half of them is learned from.
_MIN_CURVES = 10


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


class RungForecaster:
    """Assesses the running trials of one study beside those of their rungs. Safe with threads.

    A stopping rule tells with which probability a trial will be the best of a study. To it, a
    rung is a study whose trainings end at the rung's horizon, and in which no trial was better
    than the value to reach. There, one trial in a few reaches that value instead of one in all:
    the odds that the rule gives are multiplied by the ratio of these odds. Without it, of the
    trials to which the rule gives a chance of 0.12, 0.44 reach the value (measured on recorded
    curves, with Hyperband at η = 3).

    Of a predictor, a family of models is fitted for each horizon. One that has shown no skill on
    the curves that it learns from gives no forecast.

    Args:
        predictor:
            What forecasts.
        settings:
            The pruner's arguments; ``n_startup_trials`` is the number of curves that must have
            reached a horizon.
        confidence:
            The probability of failing from which on a trial is cut.
        keep:
            The share of the trials to be promoted that a trial must be among.
        reduction_factor:
            η of Hyperband.
    """

    def __init__(
        self,
        predictor: CurvePredictor | StoppingRule,
        settings: StudySettings,
        *,
        confidence: float,
        keep: float,
        reduction_factor: int,
    ) -> None:
        self._predictor = predictor
        self._settings = settings
        self._confidence = confidence
        self._keep = keep
        self._reduction_factor = reduction_factor
        self._earlier = EarlierStudies(settings)
        self._history = RungHistory(settings.earlier)
        self._learned: Fits[Hashable, tuple[Learned | None, int]] = Fits(_N_KEPT)
        self._fitted: Fits[Hashable, FittedPredictor | None] = Fits(_N_KEPT)
        self._of_all: RuleForecaster | None = None
        if isinstance(predictor, StoppingRule):
            least_ratio = min(1.0, _ODDS * (1.0 - confidence) / confidence)
            self._of_all = RuleForecaster(
                predictor, settings, confidence=1.0 / (1.0 + least_ratio), earlier=self._earlier
            )

    def assess(
        self, finished: FinishedTrials, trial: FrozenTrial, rung: Rung, results: Floats
    ) -> Assessment | None:
        """Assess a running trial.

        Args:
            finished:
                The finished trials of the study.
            trial:
                The running trial, which has reported.
            rung:
                Its rung.
            results:
                The results of the other trials in the rung. Shape: ``(n,)``.

        Returns:
            That it will hardly be promoted from its rung, if so, or else how it compares with the
            best of all brackets. :obj:`None` if nothing can be told, and with a predictor of a
            trial that may be promoted.
        """
        of_all = None
        if self._of_all is not None:
            of_all = self._of_all.assess(finished, trial)
            if rung.horizon is None or (of_all is not None and of_all.is_hopeless):
                return of_all
        in_rung = self._assess_in_rung(finished, trial, rung, results)
        return in_rung if in_rung is not None and in_rung.is_hopeless else of_all

    def _assess_in_rung(
        self, finished: FinishedTrials, trial: FrozenTrial, rung: Rung, results: Floats
    ) -> Assessment | None:
        settings = self._settings
        of_end = rung.horizon is None
        if of_end:
            # The best one of all, not one in a few.
            values, rank = np.array([r.value for r in finished.completed if r.feasible]), 1
        else:
            # As Optuna would judge it if it were at the horizon now.
            values = results
            rank = math.ceil(self._keep * max(1, (len(values) + 1) // self._reduction_factor))
        if len(values) < rank:
            return None
        bar = float(np.partition(settings.sign * values, -rank)[-rank])
        if not math.isfinite(bar):
            return None
        curve = Curve.read(trial, settings.feature_attrs)
        reached = self._reached(finished, curve, rung.horizon)
        if reached is None:
            return None
        step, to_reach = int(curve.steps[-1]), bar - settings.offset
        last = reached[-1]
        # A history only grows.
        key = (rung.horizon, len(reached), last.number, last.completed)
        inputs: RuleInputs | PredictorInputs | None
        if isinstance(self._predictor, StoppingRule):
            inputs = self._rule_inputs(self._predictor, key, reached, finished, curve, to_reach)
            if inputs is None:
                return None
            chance = inputs.chance
            mean, std, probability = (float(a[0]) for a in (*inputs.forecast(chance), chance))
            if not np.isfinite([mean, std, probability]).all():
                return None
        else:
            fitted = self._fitted.get(key, lambda: self._fit(reached))
            inputs = None if fitted is None else fitted.forecast(curve)
            if inputs is None:
                return None
            if of_end:
                return assess_forecast(
                    step,
                    inputs,
                    settings,
                    to_beat=to_reach,
                    best=to_reach,
                    confidence=self._confidence,
                )
            mean, std = float(inputs.forecast.mean[0]), float(inputs.forecast.std[0])
            probability = float(inputs.forecast.probability_of_beating(to_reach)[0])
        mean, reference = settings.sign * mean, settings.sign * to_reach
        return Assessment(
            step=step,
            predicted_value=mean,
            predicted_std=std,
            probability=probability,
            least_probability=1.0 - self._confidence,
            probability_of_beating_best=probability,
            reference=reference,
            reason=f"At step {step}: predicted to reach {predicted(mean, std)} at step "
            f"{rung.horizon}; {percent(probability)} chance to be among the best {rank} of the "
            f"{len(values)} trials of its rung, at {reference:.4g}.",
            horizon=rung.horizon,
            inputs=inputs,
        )

    def _reached(
        self, finished: FinishedTrials, curve: Curve, horizon: int | None
    ) -> tuple[CurveRecord, ...] | None:
        """Give the curves to learn from, each ending at the horizon; none if they are too few."""
        n_train = self._settings.n_startup_trials
        reached = self._history.reached(finished, horizon)
        earlier = reached.earlier
        if len(self._earlier) > 0:
            told = self._earlier.unless_refused(tuple(finished), curve.steps, curve.values)
            earlier = earlier if len(told) > 0 else ()
        n_own = n_learned_from(len(reached.own), max(1, n_train - len(earlier)))
        learned_from = earlier + reached.own[:n_own]
        return learned_from if len(learned_from) >= n_train else None

    def _rule_inputs(
        self,
        rule: StoppingRule,
        key: Hashable,
        reached: Sequence[CurveRecord],
        finished: FinishedTrials,
        curve: Curve,
        to_reach: float,
    ) -> RuleInputs | None:
        """Find what the rule is told of a trial, or :obj:`None` if there is nothing to tell."""
        sign = self._settings.sign

        def learn() -> tuple[Learned | None, int]:
            # Better trials would show the rule a study in which the one to beat is not best.
            worse = [r for r in reached if sign * r.value <= to_reach]
            thinned = worse[:: -(-len(worse) // _MAX_CURVES) or 1]
            if not worse:
                return None, 0
            return Learned.of(thinned, best_value=to_reach, sign=sign), len(worse)

        learned, n_worse = self._learned.get((key, to_reach), learn)
        if learned is None:
            return None
        known, observed = learned.observe([curve])
        if len(known) == 0:
            return None
        # The odds of a new trial in the rung beside those that the rule is told of.
        share = self._keep / self._reduction_factor
        ratio = share / (1.0 - share) * min(n_worse, _LARGEST_STUDY)
        return RuleInputs(
            rule=rule,
            learned=learned,
            observed=observed,
            recent=learned.align([Curve.of(r) for r in finished.latest(N_RECENT)]),
            n_finished=len(reached),
            log_ratio=math.log(ratio),
        )

    def _fit(self, reached: Sequence[CurveRecord]) -> FittedPredictor | None:
        assert not isinstance(self._predictor, StoppingRule)
        training_set = TrainingSet(reached, sign=self._settings.sign)
        if len(training_set.steps) < 2 or not has_skill(self._predictor, training_set):
            return None
        return FittedPredictor.fit(self._predictor, training_set)


def has_skill(predictor: CurvePredictor, training_set: TrainingSet) -> bool:
    """Tell whether a predictor foresees the ends of curves that it did not learn from.

    It learns from each half of the trials and forecasts the other one. An honest standard error
    does not keep a predictor without skill from pruning: that most trials are not among the best
    is true, and no reason to prune this one.

    Args:
        predictor:
            A predictor, of which unfitted copies are fitted.
        training_set:
            The trials.

    Returns:
        Whether its absolute errors are smaller than those of the median of the trials that it
        learned from, by a fifth.
    """
    n, n_steps = training_set.curves.shape
    if n < _MIN_CURVES:
        return False
    halves = np.arange(n) % 2 == 0
    errors, errors_of_median = 0.0, 0.0
    for learned in (halves, ~halves):
        fitted = clone(predictor).fit(
            training_set.configurations[learned],
            training_set.curves[learned],
            training_set.finals[learned],
        )
        finals = training_set.finals[~learned]
        median = np.median(training_set.finals[learned])
        for share in _SHARES:
            curves = training_set.curves[~learned].copy()
            curves[:, max(1, int(share * n_steps)) :] = np.nan
            forecast = fitted.predict(training_set.configurations[~learned], curves)
            known = ~np.isnan(forecast.mean)
            errors += float(np.abs(forecast.mean - finals)[known].sum())
            errors_of_median += float(np.abs(median - finals)[known].sum())
    return errors < (1.0 - _LEAST_SKILL) * errors_of_median
