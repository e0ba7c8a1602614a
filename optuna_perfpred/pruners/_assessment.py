from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from optuna_perfpred.predictors import Forecast
    from optuna_perfpred.pruners._forecaster import Reference


# The user attributes of a trial on which the dashboard, the samplers and the plots rely.
PREDICTED_VALUE = "perfpred:predicted_value"
PREDICTED_STD = "perfpred:predicted_std"
PROBABILITY_OF_BEATING_BEST = "perfpred:probability_of_beating_best"
STEP = "perfpred:step"
REASON = "perfpred:reason"
AUDIT = "perfpred:audit"


@dataclass(frozen=True)
class Assessment:
    """What is foreseen of a running trial, in the values of its objective.

    Attributes:
        step:
            The last step at which the trial has reported.
        predicted_value:
            The mean of the forecast of its final value.
        predicted_std:
            The standard error of that forecast.
        probability:
            The probability that it will beat the reference.
        probability_of_beating_best:
            The probability that it will beat the best value so far.
        reference:
            The value to beat: the n-th best so far, made worse by the offset.
        rank:
            n.
        offset:
            The offset.
    """

    step: int
    predicted_value: float
    predicted_std: float
    probability: float
    probability_of_beating_best: float
    reference: float
    rank: int
    offset: float

    @classmethod
    def of(
        cls,
        forecast: Forecast,
        reference: Reference,
        *,
        step: int,
        sign: float,
        offset: float,
        rank: int,
    ) -> Assessment:
        """Assess a trial by its forecast.

        Args:
            forecast:
                A forecast of shape ``(1,)``, oriented so that larger is better.
            reference:
                The values to beat, oriented likewise.
            step:
                The last step at which the trial has reported.
            sign:
                ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.
            offset:
                By how much the n-th best value is made worse.
            rank:
                n.
        """
        to_beat = reference.top_n - offset
        return cls(
            step=step,
            predicted_value=sign * float(forecast.mean[0]),
            predicted_std=float(forecast.std[0]),
            probability=float(forecast.probability_of_beating(to_beat)[0]),
            probability_of_beating_best=float(forecast.probability_of_beating(reference.best)[0]),
            reference=sign * to_beat,
            rank=rank,
            offset=offset,
        )

    def attributes(self) -> dict[str, Any]:
        """Give the user attributes that tell of the assessment."""
        return {
            PREDICTED_VALUE: self.predicted_value,
            PREDICTED_STD: self.predicted_std,
            PROBABILITY_OF_BEATING_BEST: self.probability_of_beating_best,
            STEP: self.step,
            REASON: self.reason,
        }

    @property
    def reason(self) -> str:
        """The assessment in one sentence."""
        ordinal = "best" if self.rank == 1 else f"{self.rank}{_ordinal_suffix(self.rank)} best"
        less = f" less the offset of {self.offset:.4g}" if self.offset > 0.0 else ""
        percent = 100.0 * self.probability
        chance = f"{percent:.2g} %" if percent >= 0.01 else "less than 0.01 %"
        return (
            f"At step {self.step} it is predicted to end at {self.predicted_value:.4g} "
            f"± {self.predicted_std:.2g}; its chance to beat {self.reference:.4g}, the {ordinal} "
            f"value so far{less}, is {chance}."
        )


def _ordinal_suffix(number: int) -> str:
    if 10 <= number % 100 <= 20:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
