from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.explanation._others import encode
from optuna_perfpred.forecasts import FEATURE_NAMES
from optuna_perfpred.forecasts import features
from optuna_perfpred.forecasts import Observed


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.explanation._others import Others
    from optuna_perfpred.forecasts import Situation
    from optuna_perfpred.forecasts import StoppingRule
    from optuna_perfpred.history import Configuration
    from optuna_perfpred.history import TrainingSet
    from optuna_perfpred.predictors import CurvePredictor
    from optuna_perfpred.pruners._assessment import Assessment


_FROM_BEST = (
    "from_best",
    "highest_from_best",
    "from_best_in_top_spreads",
    "largest_gain_beyond_need",
    "median_gain_beyond_need",
    "high_gain_beyond_need",
    "near_gain_beyond_need",
    "share_gaining_enough",
)
_PLACE = (
    "from_best_curve",
    "from_best_curve_in_top_spreads",
    "highest_from_best_curve",
    "from_top_min",
    "from_top_mean",
    "from_top_three_min",
    "from_median",
    "rank",
    "rank_at_half",
    "rank_of_mean",
    "rank_in_recent",
    "from_best_recent",
    "behind_best",
    "behind_slowest_of_top",
)
_TREND = (
    "slope_beyond_need",
    "log_growth_beyond_need",
    "median_growth_beyond_need",
    "largest_growth_beyond_need",
    "second_half_gain",
    "since_highest",
)
_NOISE = ("noise",)
_FORECAST = (
    "forecast_score",
    "forecast",
    "forecast_plus_largest_residual",
    "forecast_plus_top_residual",
    "forecast_plus_largest_top_residual",
    "highest_forecast_score",
    "mean_forecast_score",
)
OF_PARAMETERS = ("rank_of_nearest", "distance_to_best")

GROUPS = {
    "its distance from the value to beat": _FROM_BEST,
    "its place among their curves": _PLACE,
    "the trend of its curve": _TREND,
    "the noise of its curve": _NOISE,
    "how a regression continues its curve": _FORECAST,
}
"""What the features of a stopping rule tell of a trial's curve, in plain words.

Those in :data:`OF_PARAMETERS` tell of its parameters; all others of the study, in which trials
are alike at the same step.
"""
# Recomputed where a trial has other parameters, or its parameters another curve.
_OF_BOTH = np.isin(FEATURE_NAMES, _FORECAST + OF_PARAMETERS)


class Mixed(NamedTuple):
    """Mixtures of a trial and others.

    Attributes:
        of_curve:
            Which parts of the curve are those of the trial. Shape: ``(m, n_parts)``.
        configurations:
            The configurations.
        others:
            Whose the other parts are. Shape: ``(m,)``.
    """

    of_curve: npt.NDArray[np.bool_]
    configurations: Sequence[Configuration]
    others: npt.NDArray[np.intp]


@dataclass(frozen=True)
class RuleEvidence:
    """The evidence of a stopping rule, which foresees log-odds of beating the best value.

    Attributes:
        assessment:
            The assessment.
        configuration:
            The trial's configuration.
        situation:
            What the rule was told.
        rule:
            The rule.
        log_ratio:
            What is added to the log-odds that it gives.
        parts:
            The parts of its curve by their names.
    """

    assessment: Assessment
    configuration: Configuration
    situation: Situation
    rule: StoppingRule
    log_ratio: float = 0.0

    parts = tuple(GROUPS)

    @property
    def training_set(self) -> TrainingSet:
        """The trials that were learned from."""
        return self.situation.learned.training_set

    @property
    def curve(self) -> npt.NDArray[np.float64]:
        """Its curve so far, without gaps, larger is better. Shape: ``(t,)``."""
        observed = self.situation.observed
        curve: npt.NDArray[np.float64] = observed.curves[0, : observed.at[0] + 1]
        return curve

    def foresee(self, others: Others, mixed: Mixed) -> npt.NDArray[np.float64]:
        """Tell what would be foreseen of mixtures of the trial and others. Shape: ``(m,)``."""
        curves = [*others.curves, self.curve]
        own = self._describe(self.curve, self.situation.observed.configurations[0])
        rows = np.tile(own, (len(mixed.others), 1))
        described = np.array(
            [
                self._describe(curve, encode(self.training_set, record.configuration))
                for curve, record in zip(others.curves, others.records, strict=True)
            ]
        )
        for part, names in enumerate(GROUPS.values()):
            of_part = np.isin(FEATURE_NAMES, names)
            replaced = ~mixed.of_curve[:, part]
            rows[np.ix_(replaced, of_part)] = described[mixed.others[replaced]][:, of_part]
        # The parameters also count in the regression: there the curve is one part, they another.
        forecast = self.parts.index("how a regression continues its curve")
        whose = np.where(mixed.of_curve[:, forecast], len(others.records), mixed.others)
        known: dict[tuple[int, frozenset[tuple[str, float | str]]], npt.NDArray[np.float64]] = {}
        for row, who, configuration in zip(rows, whose, mixed.configurations, strict=True):
            key = (int(who), frozenset(configuration.items()))
            if key not in known:
                encoded = encode(self.training_set, configuration)
                known[key] = self._describe(curves[who], encoded)[_OF_BOTH]
            row[_OF_BOTH] = known[key]
        return self.rule.log_odds(rows) + self.log_ratio

    def _describe(
        self, curve: npt.NDArray[np.float64], configuration: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        situation = self.situation
        rows = features(
            situation.learned.completed,
            Observed.of_one(curve, configuration),
            situation.recent,
            situation.n_finished,
        )
        row: npt.NDArray[np.float64] = rows[0]
        return row


@dataclass(frozen=True)
class PredictorEvidence:
    """The evidence of a predictor, which foresees final values.

    Attributes:
        assessment:
            The assessment.
        configuration:
            The trial's configuration.
        training_set:
            The trials that were learned from.
        curve:
            Its curve so far, as of :class:`RuleEvidence`.
        predictor:
            The fitted predictor.
        sign:
            ``1.0`` if values are to be maximized, ``-1.0`` if minimized.
        parts:
            The parts of its curve by their names.
    """

    assessment: Assessment
    configuration: Configuration
    training_set: TrainingSet
    curve: npt.NDArray[np.float64]
    predictor: CurvePredictor
    sign: float

    parts = ("its value then", "the course of its curve")

    def foresee(self, others: Others, mixed: Mixed) -> npt.NDArray[np.float64]:
        """Tell what would be foreseen of mixtures of the trial and others. Shape: ``(m,)``."""
        own_value, own_course = mixed.of_curve.T
        theirs = others.curves[mixed.others]
        value = np.where(own_value, self.curve[-1], theirs[:, -1])
        # A course is a curve without its level: what led to the last value.
        course = np.where(
            own_course[:, np.newaxis], self.curve - self.curve[-1], theirs - theirs[:, -1:]
        )
        curves = np.full((len(value), len(self.training_set.steps)), np.nan)
        curves[:, : len(self.curve)] = value[:, np.newaxis] + course
        configurations = [encode(self.training_set, c) for c in mixed.configurations]
        forecast = self.predictor.predict(np.reshape(configurations, (len(curves), -1)), curves)
        return self.sign * forecast.mean


Evidence = RuleEvidence | PredictorEvidence
