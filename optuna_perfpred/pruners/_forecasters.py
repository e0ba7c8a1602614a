"""What assesses the running trials of a study: a stopping rule, or a predictor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from optuna.samplers import BruteForceSampler
from optuna.samplers import GridSampler
from optuna.samplers import PartialFixedSampler
from optuna.samplers import QMCSampler
from optuna.samplers import RandomSampler
from sklearn.base import clone

from optuna_perfpred.forecasts import BestTrials
from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import EarlierStudies
from optuna_perfpred.forecasts import Fits
from optuna_perfpred.forecasts import is_first_of
from optuna_perfpred.forecasts import n_learned_from
from optuna_perfpred.forecasts import N_RECENT
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.history import least_ratio
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.predictors._base import fill_gaps
from optuna_perfpred.predictors._base import observed_lengths
from optuna_perfpred.pruners._assessment import Assessment
from optuna_perfpred.pruners._assessment import beside_new_trials
from optuna_perfpred.pruners._assessment import ordinal
from optuna_perfpred.pruners._assessment import percent
from optuna_perfpred.pruners._assessment import predicted
from optuna_perfpred.pruners._assessment import share_of_chance
from optuna_perfpred.pruners._assessment import value_to_beat
from optuna_perfpred.pruners._risk_budget import RiskBudget


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from optuna_perfpred._arrays import Floats
    from optuna_perfpred.forecasts import StoppingRule
    from optuna_perfpred.forecasts import StudySettings
    from optuna_perfpred.forecasts import TrialForecasts
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.predictors import CurvePredictor
    from optuna_perfpred.predictors import Forecast
    from optuna_perfpred.pruners._relative_costs import RelativeCosts


# Without a confidence, a trial is stopped if its chance for each step is less than this multiple
# of a new trial's in a long study, that at which stopped ones go on,
_LEAST_RATIO = 1.0
# and less than half of that until this many trials have finished: what one or two teach is
# unsure. Where trials are proposed at random, end after different lengths or return their best
# report, the trial that is stopped is lost, and slow ones among short ones all are.
_N_CAREFUL = 30
# A sampler that learns comes back to what was promising, and finds more the earlier it has
# trials to learn from (`benchmarks/in_loop.py`).
_N_CAREFUL_WHERE_SAMPLER_LEARNS = 5
# Beside trials that began together, of which none is complete: multiples of an average trial's
# chance to be the best of them. How long a full training is, is not known then. At half, eight
# workers lose more than they save.
_LEAST_RATIO_OF_PEERS = 0.35


class RuleForecaster:
    """Assesses the running trials of one study by a stopping rule. Safe with threads.

    Args:
        rule:
            The rule.
        settings:
            The pruner's arguments.
        confidence:
            The confidence, or :obj:`None` to be the more careful the fewer trials have finished.
        max_risk:
            Instead, what the stopped trials may risk in all.
        sampler:
            The sampler of the study, or :obj:`None` to be as careful as with one at random.
        uses_peers:
            Whether to decide before the first trial is complete.
        earlier:
            The earlier studies, if others ask for them too.
        warn:
            Told of a study whose reports tell nothing of what it returns.
        costs:
            What the steps of trials cost, or :obj:`None` if all cost the same.

    Attributes:
        forecast:
            The forecast of the study.
        costs:
            As given.
    """

    def __init__(
        self,
        rule: StoppingRule,
        settings: StudySettings,
        *,
        confidence: float | None = None,
        max_risk: float | None = None,
        sampler: BaseSampler | None = None,
        uses_peers: bool = False,
        earlier: EarlierStudies | None = None,
        warn: Callable[[str], None] | None = None,
        costs: RelativeCosts | None = None,
    ) -> None:
        self.forecast = StudyForecast(rule, settings, earlier, warn)
        self.costs = costs
        self._settings = settings
        self._odds = None if confidence is None else (1.0 - confidence) / confidence
        self._budget = None if max_risk is None else RiskBudget(max_risk, settings.sign)
        self._sampler_learns = sampler is not None and learns(sampler)
        self._uses_peers = uses_peers

    def assess(
        self,
        finished: FinishedTrials,
        trial: FrozenTrial,
        trials: Sequence[FrozenTrial] = (),
        running: Sequence[FrozenTrial] = (),
    ) -> Assessment | None:
        """Assess a running trial.

        Args:
            finished:
                The finished trials of the study.
            trial:
                The running trial, which has reported.
            trials:
                All trials of the study, by ascending number. Asked only where steps cost
                differently.
            running:
                The trials that run, itself perhaps among them.

        Returns:
            The assessment, or :obj:`None` if nothing can be told: too few trials are complete,
            the trial has reported no number yet, or it has reached the end of a full curve.
        """
        settings = self._settings
        curve = Curve.read(trial, settings.feature_attrs)
        relative_cost = self.costs.of(trial, finished, trials) if self.costs is not None else 1.0
        if self._uses_peers and len(finished.completed) == 0:
            others = [t for t in running if t.number != trial.number and t.intermediate_values]
            others = [t for t in others if all(c <= 0.0 for c in t.constraints.values())]
            peers = [Curve.read(other, settings.feature_attrs) for other in others]
            peers += [Curve.of(r) for r in finished.latest(N_RECENT) if r.feasible]
            assessment = self._among_peers(curve, peers, relative_cost)
            if assessment is not None:
                return assessment
        # Of others that run it is not asked: what they had reported by now is not kept, and a
        # decision must follow from what is.
        forecasts = self.forecast.of(finished, [curve])
        if forecasts is None:
            return None
        unit = "step" if self.costs is None else self.costs.unit
        step, mean, std = int(curve.steps[-1]), float(forecasts.mean[0]), float(forecasts.std[0])
        chance = float(forecasts.chance[0])
        relative = float(forecasts.relative_chance[0]) / relative_cost
        at_end = least_ratio(trial)
        if self._odds is None or at_end is not None:
            # Beside the trials that the sampler proposes by now.
            relative /= forecasts.odds_of_improvement
        to_beat = value_to_beat(forecasts.to_beat, settings.top_n, settings.offset)
        return Assessment(
            step=step,
            predicted_value=mean,
            predicted_std=std,
            probability=share_of_chance(relative),
            least_probability=share_of_chance(
                self._least_ratio(forecasts, at_end, finished, running)
            ),
            probability_of_beating_best=chance,
            reference=forecasts.to_beat,
            reason=f"At step {step}: {percent(chance)} chance to beat {to_beat}, predicted to end "
            f"at {predicted(mean, std)}; {beside_new_trials(relative, unit)}.",
            relative_chance=relative,
            risk=None if self._budget is None else self._budget.price(chance, finished),
            max_risk=None if self._budget is None else self._budget.max_risk,
            inputs=forecasts.inputs,
        )

    def _least_ratio(
        self,
        forecasts: TrialForecasts,
        at_end: float | None,
        finished: FinishedTrials,
        running: Sequence[FrozenTrial],
    ) -> float:
        """Give the multiple of a new trial's chance below which a trial is stopped."""
        if self._budget is not None:
            remaining = float(forecasts.inputs.remaining[0])
            multiple = self._budget.affordable_multiple(finished, running, remaining)
            affordable = multiple / remaining / forecasts.odds_of_improvement
            return affordable if at_end is None else min(affordable, at_end)
        if at_end is not None:
            return at_end
        if self._odds is not None:
            return self._odds
        n = (forecasts.n_finished + 1) * forecasts.odds_of_improvement
        is_bold = self._sampler_learns and forecasts.inputs.learned.end_alike
        n_careful = _N_CAREFUL_WHERE_SAMPLER_LEARNS if is_bold else _N_CAREFUL
        return _LEAST_RATIO * n / (n + n_careful)

    def _among_peers(
        self, curve: Curve, others: Sequence[Curve], relative_cost: float
    ) -> Assessment | None:
        peers = self.forecast.among_peers(curve, others)
        if peers is None:
            return None
        odds = 1.0 if self._odds is None else self._odds
        return Assessment(
            step=int(curve.steps[-1]),
            predicted_value=float(curve.values[-1]),
            predicted_std=peers.spread,
            probability=share_of_chance(peers.chance * peers.n_peers / relative_cost),
            least_probability=share_of_chance(_LEAST_RATIO_OF_PEERS * odds),
            probability_of_beating_best=peers.chance,
            reference=peers.best,
            reason=f"At step {curve.steps[-1]}: {ordinal(peers.rank)} of {peers.n_peers} trials "
            "that have come as far, none of them complete; "
            f"{percent(peers.chance)} chance to end as the best of them.",
        )


# Optuna's samplers that propose the same whatever trials have shown.
_SAMPLERS_THAT_DO_NOT_LEARN = (BruteForceSampler, GridSampler, QMCSampler, RandomSampler)


def learns(sampler: BaseSampler) -> bool:
    """Tell whether a sampler proposes by what trials have shown."""
    if isinstance(sampler, PartialFixedSampler):
        sampler = sampler._base_sampler
    return not isinstance(sampler, _SAMPLERS_THAT_DO_NOT_LEARN)


@dataclass(frozen=True, eq=False)
class PredictorInputs:
    """What a predictor forecasts a trial from.

    Attributes:
        predictor:
            The predictor, fitted.
        training_set:
            The completed trials that it was fitted to.
        configuration:
            The trial's encoded configuration. Shape: ``(1, n_features)``.
        aligned:
            Its curve, NaN where nothing is known. Shape: ``(1, n_steps)``.
        forecast:
            The forecast.
    """

    predictor: CurvePredictor
    training_set: TrainingSet
    configuration: Floats
    aligned: Floats
    forecast: Forecast

    @property
    def curve(self) -> Floats:
        """The trial's curve so far, without gaps, larger is better. Shape: ``(t,)``."""
        curve: Floats = fill_gaps(self.aligned[:, : int(observed_lengths(self.aligned)[0])])[0]
        return curve


@dataclass(frozen=True, eq=False)
class FittedPredictor:
    """A predictor and the completed trials that it was fitted to."""

    predictor: CurvePredictor
    training_set: TrainingSet

    @classmethod
    def fit(cls, predictor: CurvePredictor, training_set: TrainingSet) -> FittedPredictor:
        """Fit an unfitted copy of a predictor."""
        fitted: CurvePredictor = clone(predictor)
        fitted.fit(training_set.configurations, training_set.curves, training_set.finals)
        return cls(fitted, training_set)

    def forecast(self, trial: Curve) -> PredictorInputs | None:
        """Forecast the end of a trial.

        Args:
            trial:
                What is known of it.

        Returns:
            The forecast, and what it is made from. :obj:`None` if it is not finite, or the trial
            has reached the end of a full curve.
        """
        steps = self.training_set.steps
        if len(steps) == 0 or trial.steps[-1] >= steps[-1]:
            return None
        encoded = self.training_set.encode([trial])
        forecast = self.predictor.predict(*encoded)
        if not np.isfinite(forecast.mean + forecast.std).all():
            return None
        return PredictorInputs(self.predictor, self.training_set, *encoded, forecast)


class PredictorForecaster:
    """Assesses the running trials of one study by a predictor. Safe with threads.

    It is fitted anew when the number of completed trials has grown by a tenth, to the trials that
    were completed by then. What is fitted is a function of the set of completed trials, so that
    every process that reads the same storage uses the same models.

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
        # Two generations, for threads that read the storage a moment earlier.
        self._fits: Fits[tuple[int, CurveRecord, int], FittedPredictor] = Fits(2)

    def assess(
        self,
        finished: FinishedTrials,
        trial: FrozenTrial,
        trials: Sequence[FrozenTrial] = (),
        running: Sequence[FrozenTrial] = (),
    ) -> Assessment | None:
        """Assess a running trial. See :meth:`RuleForecaster.assess`; no others are asked."""
        settings = self._settings
        curve = Curve.read(trial, settings.feature_attrs)
        best = self._best.of(finished.completed)
        fitted = None if best is None else self._fitted(finished, curve)
        inputs = None if fitted is None else fitted.forecast(curve)
        if best is None or inputs is None:
            return None
        return assess_forecast(
            int(curve.steps[-1]),
            inputs,
            settings,
            to_beat=settings.sign * best[-1].value - settings.offset,
            best=settings.sign * best[0].value,
            confidence=self._confidence,
        )

    def _fitted(self, finished: FinishedTrials, curve: Curve) -> FittedPredictor | None:
        settings, completed = self._settings, finished.of_present_horizon.completed
        earlier = self._earlier.unless_refused(completed, curve.steps, curve.values)
        n = n_learned_from(len(completed), max(1, settings.n_startup_trials - len(earlier)))
        if n == 0:
            return None

        def fit() -> FittedPredictor:
            records = earlier.records(n) + completed[:n]
            training_set = TrainingSet(records, sign=settings.sign, horizon=settings.horizon)
            return FittedPredictor.fit(self._predictor, training_set)

        return self._fits.get(
            (n, completed[n - 1], len(earlier)),
            fit,
            lambda known: is_first_of(*known[:2], completed) and known[2] == len(earlier),
        )


def assess_forecast(
    step: int,
    inputs: PredictorInputs,
    settings: StudySettings,
    *,
    to_beat: float,
    best: float,
    confidence: float,
) -> Assessment:
    """Assess a trial by a predictor's forecast of its final value.

    Args:
        step:
            The last step at which it has reported.
        inputs:
            The forecast and what it is made from.
        settings:
            The pruner's arguments.
        to_beat:
            The value to beat, oriented so that larger is better.
        best:
            The best value, likewise.
        confidence:
            The probability of failing from which on the trial is hopeless.
    """
    forecast = inputs.forecast
    probability = float(forecast.probability_of_beating(to_beat)[0])
    mean, std = settings.sign * float(forecast.mean[0]), float(forecast.std[0])
    reference = settings.sign * to_beat
    return Assessment(
        step=step,
        predicted_value=mean,
        predicted_std=std,
        probability=probability,
        least_probability=1.0 - confidence,
        probability_of_beating_best=float(forecast.probability_of_beating(best)[0]),
        reference=reference,
        reason=f"At step {step}: {percent(probability)} chance to beat "
        f"{value_to_beat(reference, settings.top_n, settings.offset)}, predicted to end at "
        f"{predicted(mean, std)}.",
        inputs=inputs,
    )
