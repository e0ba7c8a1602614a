from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
            The probability that decides. Here that of beating the reference.
        least_probability:
            The trial is pruned if that is less than this.
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
    least_probability: float
    probability_of_beating_best: float
    reference: float
    rank: int
    offset: float

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
    def is_hopeless(self) -> bool:
        """Whether the trial is to be pruned."""
        return self.probability < self.least_probability

    @property
    def reason(self) -> str:
        """The assessment in one sentence."""
        return (
            f"At step {self.step} it is predicted to end at {self.predicted_value:.4g} "
            f"± {self.predicted_std:.2g}; its chance to beat {self._to_beat} is "
            f"{percent(self.probability)}."
        )

    @property
    def _to_beat(self) -> str:
        ordinal = "best" if self.rank == 1 else f"{self.rank}{_ordinal_suffix(self.rank)} best"
        less = f" less the offset of {self.offset:.4g}" if self.offset > 0.0 else ""
        return f"{self.reference:.4g}, the {ordinal} value so far{less},"


@dataclass(frozen=True)
class RelativeAssessment(Assessment):
    """An assessment by which the trial is compared with a new one.

    Attributes:
        probability:
            The probability that the next best value comes from this trial rather than from new
            trials, if both are trained for the same number of steps.
        relative_chance:
            The chance of a new best value for each step still to train, as a multiple of that of
            a new trial.
    """

    relative_chance: float

    @property
    def reason(self) -> str:
        """The assessment in one sentence."""
        return (
            f"At step {self.step} its chance to beat {self._to_beat} is "
            f"{percent(self.probability_of_beating_best)}: for each step still to train, "
            f"{self.relative_chance:.2g} times that of a new trial (it is predicted to end at "
            f"{self.predicted_value:.4g} ± {self.predicted_std:.2g})."
        )


@dataclass(frozen=True)
class PeerAssessment(Assessment):
    """An assessment beside trials that have come as far, before any is complete.

    Attributes:
        predicted_value:
            The value at the step: how curves go on is not known.
        predicted_std:
            The spread of the trials' values at the step.
        probability:
            The probability that the best of them is this trial rather than an average one.
        probability_of_beating_best:
            The probability that it ends as the best of them.
        reference:
            The best value at the step.
        rank:
            Its rank at the step.
        n_peers:
            The number of trials that have come as far, itself included.
    """

    n_peers: int

    @property
    def reason(self) -> str:
        """The assessment in one sentence."""
        return (
            f"At step {self.step} it is {self.rank}{_ordinal_suffix(self.rank)} of the "
            f"{self.n_peers} trials that have come as far, of which none is complete: its chance "
            f"to end as the best of them is {percent(self.probability_of_beating_best)}."
        )


def percent(probability: float) -> str:
    """Tell a probability in per cent."""
    percent = 100.0 * probability
    if percent < 0.01:
        return "less than 0.01 %"
    return f"{percent:.2g} %" if percent < 99.0 else "more than 99 %"


def _ordinal_suffix(number: int) -> str:
    if 10 <= number % 100 <= 20:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
