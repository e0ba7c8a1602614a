from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.history import AUDIT as AUDIT
from optuna_perfpred.history import PROBABILITY_OF_BEATING_BEST as PROBABILITY_OF_BEATING_BEST
from optuna_perfpred.history import RISK


if TYPE_CHECKING:
    from optuna_perfpred.forecasts import RuleInputs
    from optuna_perfpred.pruners._forecasters import PredictorInputs


# The user attributes of a trial on which the dashboard, the samplers and the plots rely.
PREDICTED_VALUE = "perfpred:predicted_value"
PREDICTED_VALUES = "perfpred:predicted_values"  # Of several objectives.
PREDICTED_STD = "perfpred:predicted_std"
STEP = "perfpred:step"
REASON = "perfpred:reason"
MAX_RISK = "perfpred:max_risk"
_MAX_TIMES = 1_000


@dataclass(frozen=True)
class Assessment:
    """What is foreseen of a running trial, in the values of its objective.

    Attributes:
        step:
            The last step at which the trial has reported.
        predicted_value:
            The mean of the forecast of its final value; in a rung of f-Hyperband, of that at the
            rung's end; before any trial is complete, its value at the step.
        predicted_std:
            The standard error of that forecast.
        probability:
            The probability that decides. With a predictor, that of beating the reference. With a
            stopping rule, that the next best value comes from this trial rather than from new
            trials, if both are trained for the same number of steps.
        least_probability:
            The trial is pruned if that is less than this.
        probability_of_beating_best:
            The probability that it will beat the best value so far; in a rung, that it will reach
            the reference.
        reference:
            The value to beat: the n-th best so far, made worse by the offset; in a rung, the one
            to reach.
        reason:
            The assessment in one sentence.
        relative_chance:
            By a stopping rule, the chance of a new best value for each step still to train, as a
            multiple of that of a new trial, with a sampler that proposes better ones by now of one
            of these; :obj:`None` otherwise.
        risk:
            With a largest risk, what stopping the trial spends of it: divided by the number of
            finished trials, the probability that it would have become the best of them.
        max_risk:
            The largest risk.
        horizon:
            The step at which the rung ends that decides; :obj:`None` for the end of the training.
        inputs:
            What the forecast was made from, to be explained; :obj:`None` if that is not kept.
    """

    step: int
    predicted_value: float
    predicted_std: float
    probability: float
    least_probability: float
    probability_of_beating_best: float
    reference: float
    reason: str
    relative_chance: float | None = None
    risk: float | None = None
    max_risk: float | None = None
    horizon: int | None = None
    inputs: RuleInputs | PredictorInputs | None = field(default=None, repr=False, compare=False)

    def attributes(self) -> dict[str, Any]:
        """Give the user attributes that tell of the assessment."""
        attributes = {
            PREDICTED_VALUE: self.predicted_value,
            PREDICTED_STD: self.predicted_std,
            PROBABILITY_OF_BEATING_BEST: self.probability_of_beating_best,
            STEP: self.step,
            REASON: self.reason,
        }
        if self.risk is not None:
            attributes |= {RISK: self.risk, MAX_RISK: self.max_risk}
        return attributes

    @property
    def is_hopeless(self) -> bool:
        """Whether the trial is to be pruned."""
        return self.probability < self.least_probability


def share_of_chance(relative_chance: float) -> float:
    """Give the probability that this trial, and not a new one, gives the next best value."""
    return relative_chance / (1.0 + relative_chance)


def value_to_beat(reference: float, rank: int, offset: float) -> str:
    """Tell the value to beat, and what it is unless it is the best one so far."""
    less = f" less the offset of {offset:.4g}" if offset > 0.0 else ""
    if rank == 1 and not less:
        return f"{reference:.4g}"
    best = "best" if rank == 1 else f"{ordinal(rank)} best"
    return f"{reference:.4g}, the {best} value so far{less}"


def beside_new_trials(relative_chance: float, unit: str = "step", what: str = "chance") -> str:
    """Tell the chance for each step as a multiple of a new trial's, or the other way round."""
    if relative_chance >= 1.0:
        return f"{_times(relative_chance)} times a new trial's {what} per {unit}"
    times = 1.0 / relative_chance if relative_chance * _MAX_TIMES > 1.0 else _MAX_TIMES
    over = "over " if times == _MAX_TIMES else ""
    return f"new trials have {over}{_times(times)} times its {what} per {unit}"


def _times(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10.0 else f"{ratio:,.0f}"


def predicted(mean: float, std: float) -> str:
    """Tell a forecast."""
    return f"{mean:.4g} ± {std:.2g}"


def percent(probability: float) -> str:
    """Tell a probability in per cent."""
    percent = 100.0 * probability
    if percent < 0.01:
        return "less than 0.01 %"
    return f"{percent:.2g} %" if percent < 99.0 else "more than 99 %"


def ordinal(number: int) -> str:
    """Tell a rank: 1st, 2nd, and so on."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"
