from __future__ import annotations

from dataclasses import dataclass
import math
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState
from scipy import special


if TYPE_CHECKING:
    from optuna_perfpred.explanation._contributions import Contribution


# With these, all is told in 15 lines.
_N_LISTED = 4
# Of all effects, what is less than this share is not worth a line.
_LEAST_SHARE = 0.02


class NearTrial(NamedTuple):
    """A finished trial that was much like the one that is explained.

    Attributes:
        number:
            Its number.
        state:
            ``COMPLETE`` or ``PRUNED``.
        value_then:
            Its value at the step of the forecast.
        value:
            The value that it ended with; of a pruned trial, the last one reported.
        last_step:
            The last step at which it reported.
        predicted_value:
            The value at which a pruned trial was predicted to end; :obj:`None` if that is not
            recorded.
    """

    number: int
    state: TrialState
    value_then: float
    value: float
    last_step: int
    predicted_value: float | None = None

    def __str__(self) -> str:
        told = f"trial {self.number}: {self.value_then:.4g} there, "
        if self.state != TrialState.PRUNED:
            return f"{told}ended at {self.value:.4g}"
        told += f"pruned at step {self.last_step}"
        if self.predicted_value is not None:
            told += f", predicted to end at {self.predicted_value:.4g}"
        return told


class Standing(NamedTuple):
    """How a trial stood among the finished ones that had come as far.

    Attributes:
        value:
            Its value at the step of the forecast.
        n_others:
            The number of finished trials that had reported there or later.
        n_worse:
            How many of them were worse there.
        median:
            Their median value there; :obj:`None` if there were none.
    """

    value: float
    n_others: int
    n_worse: int
    median: float | None


@dataclass(frozen=True)
class Explanation:
    """Why a trial was stopped, or went on.

    Of what a pruner has recorded, the numbers are the recorded ones; all else is found again from
    the trials that had ended by then. ``print`` tells it in some 15 lines.

    Attributes:
        study_name:
            The study's name.
        number:
            The trial's number.
        state:
            Its state.
        reason:
            The reason in a sentence, as in the user attribute ``perfpred:reason``.
        outcome:
            What became of the trial, in a sentence.
        second_chances:
            With which stopped trial it goes on and why, and which trials have gone on with it and
            how they ended, a sentence for each.
        risk:
            What stopping it has spent of a largest risk, and all stopped trials together.
        is_recorded:
            Whether a pruner has recorded a forecast. If not, it is found again, if one was
            possible.
        step:
            The step of the forecast; :obj:`None` if there is none, as of what depends on it.
        predicted_value:
            The predicted final value.
        predicted_std:
            Its standard error.
        band:
            The bounds that hold the final value with a probability of 90 %.
        predicted_step:
            The step for which the value is predicted; :obj:`None` for the end.
        horizon:
            The last step of a full curve, or of the rung of f-Hyperband that decided.
        probability_of_beating_best:
            The probability of beating the best value, or what a rung of f-Hyperband asks for.
        relative_chance:
            That chance for each step still to train, as a multiple of a new trial's;
            :obj:`None` with a predictor.
        best_value:
            The best value that was completed then.
        best_number:
            The trial that had it.
        n_completed, n_pruned:
            The numbers of trials that had ended then.
        standing:
            How the trial stood among those that had come as far.
        scale:
            ``"log-odds"`` if contributions are to the log-odds of beating the best value,
            ``"value"`` if they are to the predicted value.
        typical:
            What is foreseen on average of the finished trials that had come as far, on that
            scale.
        contributions:
            What the parts of the trial add to it, the largest first. The sum of all is what is
            foreseen of the trial.
        nearest:
            The finished trials with the most similar curves and parameters, the nearest first.
        notes:
            What is not exact, and why.
    """

    study_name: str
    number: int
    state: TrialState
    reason: str
    outcome: str
    second_chances: tuple[str, ...] = ()
    risk: str = ""
    is_recorded: bool = False
    step: int | None = None
    predicted_value: float | None = None
    predicted_std: float | None = None
    predicted_step: int | None = None
    horizon: int | None = None
    probability_of_beating_best: float | None = None
    relative_chance: float | None = None
    best_value: float | None = None
    best_number: int | None = None
    n_completed: int = 0
    n_pruned: int = 0
    standing: Standing | None = None
    scale: str = "log-odds"
    typical: float | None = None
    contributions: tuple[Contribution, ...] = ()
    nearest: tuple[NearTrial, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def band(self) -> tuple[float, float] | None:
        """The bounds that hold the final value with a probability of 90 %."""
        if self.predicted_value is None or self.predicted_std is None:
            return None
        half_width = float(special.ndtri(0.95)) * self.predicted_std
        return self.predicted_value - half_width, self.predicted_value + half_width

    def __str__(self) -> str:
        lines = [f"Trial {self.number}. {self.reason}", self.outcome, *self.second_chances]
        lines += [self.risk] if self.risk else []
        lines += self._forecast()
        lines += self._drivers()
        if self.nearest:
            lines.append("Nearest finished trials, by curve and parameters:")
            lines += [f"  {near}" for near in self.nearest]
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _forecast(self) -> list[str]:
        lines = []
        if self.band is not None:
            at = "" if self.predicted_step is None else f" at step {self.predicted_step}"
            low, high = self.band
            lines.append(
                f"Forecast: {self.predicted_value:.4g}{at}, between {low:.4g} and {high:.4g} with "
                "90 %."
            )
        if self.best_value is not None:
            lines.append(
                f"Best value then: {self.best_value:.4g}, of trial {self.best_number}, after "
                f"{self.n_completed} completed and {self.n_pruned} pruned trials."
            )
        if self.standing is not None and self.standing.median is not None:
            lines.append(
                f"At step {self.step} it had {self.standing.value:.4g}, better than "
                f"{self.standing.n_worse} of the {self.standing.n_others} finished trials that "
                f"came as far; their median was {self.standing.median:.4g}."
            )
        return lines

    def _drivers(self) -> list[str]:
        if self.typical is None:
            return []
        total = sum(abs(c.effect) for c in self.contributions)
        listed = [c for c in self.contributions if abs(c.effect) > _LEAST_SHARE * total]
        listed = listed[:_N_LISTED]
        rest = math.fsum(c.effect for c in self.contributions if c not in listed)
        if self.scale == "value":
            title = f"What changed the forecast from theirs, {self.typical:.4g} on average:"
            told = [(str(c), f"{c.effect:+.3g}") for c in listed]
            told_rest = f"{rest:+.3g}"
        else:
            chance = 100.0 * float(special.expit(self.typical))
            title = f"What changed its odds from those of a typical one of them ({chance:.2g} %):"
            told = [(str(c), _factor(c.effect)) for c in listed]
            told_rest = _factor(rest)
        if abs(rest) > _LEAST_SHARE * total:
            told.append(("all else", told_rest))
        if not told:
            return ["Nothing in its curve or its parameters makes it differ from them."]
        width = max(len(effect) for _, effect in told)
        return [title, *(f"  {effect:<{width}}  {name}" for name, effect in told)]


def _factor(log_odds: float) -> str:
    return f"× {math.exp(log_odds):.2g}"
