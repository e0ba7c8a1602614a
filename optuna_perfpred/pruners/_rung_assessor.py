from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.forecasts import EarlierStudies
from optuna_perfpred.forecasts import n_learned_from
from optuna_perfpred.forecasts import N_RECENT
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.history import read_curve
from optuna_perfpred.pruners._assessment import Assessment
from optuna_perfpred.pruners._assessment import RelativeAssessment
from optuna_perfpred.pruners._rule_assessor import RuleAssessor
from optuna_perfpred.pruners._rung import find_bar
from optuna_perfpred.pruners._rung_assessment import RungAssessment
from optuna_perfpred.pruners._rung_forecasts import PredictorForecasts
from optuna_perfpred.pruners._rung_forecasts import Question
from optuna_perfpred.pruners._rung_forecasts import RuleForecasts
from optuna_perfpred.pruners._rung_history import RungHistory


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts import StudySettings
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.predictors import CurvePredictor
    from optuna_perfpred.pruners._rung import Bar
    from optuna_perfpred.pruners._rung import Rung


# The default confidence of 0.95, as odds: there, and below, a trial is cut whose chance to become
# the best, for each step still to train, is less than that of a new trial. At more than that, all
# trials would be cut whose first steps tell nothing.
_ODDS = 19.0


class RungAssessor:
    """Finds the running trials of one study that Hyperband need not train. Safe with threads.

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

    Attributes:
        of_all:
            Compares a trial with the best of all brackets. :obj:`None` with a predictor.
        forecasts:
            Forecasts the values at the ends of rungs.
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
        self._settings = settings
        self._confidence = confidence
        self._keep = keep
        self._reduction_factor = reduction_factor
        self._earlier = EarlierStudies(settings)
        self._history = RungHistory(settings.earlier)
        self.forecasts: RuleForecasts | PredictorForecasts
        self.of_all: RuleAssessor | None = None
        if isinstance(predictor, StoppingRule):
            self.forecasts = RuleForecasts(predictor, settings.sign, settings.feature_attrs)
            self.of_all = RuleAssessor(predictor, settings, earlier=self._earlier)
        else:
            self.forecasts = PredictorForecasts(predictor, settings.sign, settings.feature_attrs)

    def find_failing(
        self,
        finished: FinishedTrials,
        trial: FrozenTrial,
        rung: Rung,
        results: Sequence[float],
    ) -> Assessment | None:
        """Assess a trial if it will fail.

        Args:
            finished:
                The finished trials of the study.
            trial:
                The running trial, which has reported.
            rung:
                Its rung.
            results:
                The results of the other trials in the rung.

        Returns:
            The assessment of a trial that will hardly become the best of the study, or hardly be
            promoted from its rung; :obj:`None` of another one, or if nothing can be told.
        """
        if self.of_all is not None:
            assessment = self.of_all.assess(finished, trial)
            if isinstance(assessment, RelativeAssessment) and self.will_hardly_win(assessment):
                return assessment
            if rung.horizon is None:
                return None
        asked = self.question(finished, trial, rung, results)
        return None if asked is None else self._find_failing(rung, *asked)

    def question(
        self,
        finished: FinishedTrials,
        trial: FrozenTrial,
        rung: Rung,
        results: Sequence[float],
    ) -> tuple[Question, Bar] | None:
        """Find what is asked of a trial in its rung.

        Args:
            finished:
                As of :meth:`find_failing`, as all.
            trial:
                The trial.
            rung:
                Its rung.
            results:
                The results of the others.

        Returns:
            The question to the forecasts and the bar that the trial must reach, or :obj:`None` if
            there are too few results or curves to tell.
        """
        bar = self._bar(finished, rung, results)
        if bar is None:
            return None
        settings = self._settings
        reached = self._history.reached(finished, rung.horizon)
        earlier = () if self._refuses_earlier(finished, trial) else reached.earlier
        n_train = settings.n_startup_trials
        n_own = n_learned_from(len(reached.own), max(1, n_train - len(earlier)))
        learned_from = earlier + reached.own[:n_own]
        if len(learned_from) < n_train:
            return None
        question = Question(
            trial=trial,
            reached=learned_from,
            latest=finished.latest(N_RECENT),
            horizon=rung.horizon,
            to_reach=bar.value - settings.offset,
            share=self._keep / self._reduction_factor,
        )
        return question, bar

    def will_hardly_win(self, assessment: RelativeAssessment) -> bool:
        """Whether a trial is cut because it will hardly become the best of all."""
        least = min(1.0, _ODDS * (1.0 - self._confidence) / self._confidence)
        return assessment.relative_chance < least

    def _bar(self, finished: FinishedTrials, rung: Rung, results: Sequence[float]) -> Bar | None:
        sign = self._settings.sign
        if rung.horizon is None:
            finals = [sign * r.value for r in finished.completed if r.feasible]
            # The best one of all, not one in a few.
            return find_bar(finals, one_in=len(finals) + 1, keep=1.0)
        return find_bar(
            [sign * result for result in results], one_in=self._reduction_factor, keep=self._keep
        )

    def _find_failing(self, rung: Rung, question: Question, bar: Bar) -> Assessment | None:
        settings = self._settings
        forecast = self.forecasts.forecast(question)
        if forecast is None or forecast.probability >= 1.0 - self._confidence:
            return None
        values: dict[str, Any] = {
            "step": question.trial.last_step,
            "predicted_value": settings.sign * forecast.mean,
            "predicted_std": forecast.std,
            "probability": forecast.probability,
            "least_probability": 1.0 - self._confidence,
            "probability_of_beating_best": forecast.probability,
            "reference": settings.sign * question.to_reach,
            "rank": bar.rank,
            "offset": settings.offset,
        }
        if rung.horizon is None:
            return Assessment(**values)
        return RungAssessment(
            **values,
            horizon=rung.horizon,
            n_results=bar.n_results,
            result=settings.sign * min(forecast.mean, question.to_reach),
        )

    def _refuses_earlier(self, finished: FinishedTrials, trial: FrozenTrial) -> bool:
        if len(self._earlier) == 0:
            return False
        return len(self._earlier.unless_refused(tuple(finished), *read_curve(trial))) == 0
