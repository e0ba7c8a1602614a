from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from optuna_perfpred.forecasts._completed_trials import CompletedTrials
from optuna_perfpred.forecasts._features import features
from optuna_perfpred.forecasts._features import Observed
from optuna_perfpred.forecasts._returned_values import Returned
from optuna_perfpred.forecasts._returned_values import ReturnedValues
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.predictors._base import fill_gaps
from optuna_perfpred.predictors._base import observed_lengths


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts._stopping_rule import StoppingRule
    from optuna_perfpred.history import Configuration
    from optuna_perfpred.history import CurveRecord


# As in a training set: squares and quotients of larger values are infinite.
_LARGEST = 1e100


class Curve(NamedTuple):
    """What is known of a trial, whatever has become of it.

    Attributes:
        configuration:
            Its parameters and feature attributes.
        steps:
            The steps at which it has reported, ascending. Shape: ``(n_reports,)``.
        values:
            What it has reported. Shape: ``(n_reports,)``.
    """

    configuration: Configuration
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    @classmethod
    def read(cls, trial: FrozenTrial, feature_attrs: Sequence[str]) -> Curve:
        """Read a trial in any state."""
        return cls(read_configuration(trial, feature_attrs), *read_curve(trial))

    @classmethod
    def of(cls, record: CurveRecord) -> Curve:
        """Take the curve of a trial that has finished."""
        return cls(record.configuration, record.steps, record.values)


@dataclass(frozen=True, eq=False)  # Each is a key of what was derived from it.
class Learned:
    """What is learned from the trials that others are compared with.

    Attributes:
        training_set:
            Their arrays.
        completed:
            Their statistics.
        returned:
            How what they returned relates to what they reported.
    """

    training_set: TrainingSet
    completed: CompletedTrials
    returned: ReturnedValues

    @classmethod
    def of(
        cls,
        records: Sequence[CurveRecord],
        *,
        best_value: float,
        sign: float,
        horizon: int | None = None,
        returned: ReturnedValues | None = None,
    ) -> Learned | None:
        """Learn from trials.

        Args:
            records:
                The trials, none better than the value to beat.
            best_value:
                The value to beat, oriented so that larger is better.
            sign:
                ``1.0`` if the records' values are to be maximized, ``-1.0`` if minimized.
            horizon:
                The step at which a full curve ends, or :obj:`None` to learn it.
            returned:
                How their values relate to their reports, if it is known.

        Returns:
            What was learned, or :obj:`None` if there is nothing to learn.
        """
        training_set = TrainingSet(records, sign=sign, horizon=horizon)
        returned = ReturnedValues.of(records, sign) if returned is None else returned
        usable = ~np.isnan(training_set.curves).all(axis=1) & ~np.isnan(returned.values)
        if len(training_set.steps) < 2 or not usable.any() or not returned.can_be_forecast:
            return None
        reported = training_set.curves[usable]
        lengths = observed_lengths(reported)
        curves = fill_gaps(reported)
        if returned.of_best:
            curves = np.maximum.accumulate(curves, axis=1)
        # The training set has bounded what is infinite. Curves are bounded as well.
        bounded = np.clip(returned.values, -_LARGEST, _LARGEST)
        finals = np.where(np.isfinite(returned.values), bounded, training_set.finals)[usable]
        if np.ptp(finals) == 0.0 and len(finals) > 1:
            return None  # Nothing tells which trials are good.
        # A returned value on another scale than the reported ones is not what the rule knows.
        if np.median(np.abs(finals - curves[:, -1])) > np.ptp(curves):
            return None
        steps = training_set.steps
        # A full curve has one step more than there are between its ends.
        trained = steps - steps[0] + (steps[-1] - steps[0]) / (len(steps) - 1)
        completed = CompletedTrials(
            curves,
            finals,
            training_set.configurations[usable],
            best_value=best_value if returned.values_are_returned else float(finals.max()),
            lengths=lengths,
            trained=trained,
        )
        return cls(training_set, completed, returned)

    def observe(self, curves: Sequence[Curve]) -> tuple[npt.NDArray[np.intp], Observed]:
        """Bring trials into the columns of these trials.

        Args:
            curves:
                What is known of each.

        Returns:
            Which of them can be forecast, and these as they are observed after their last
            report. Left out are those that have reported no number yet, those that have reached
            the end of a full curve, and those that nothing tells apart from all others.
        """
        last = len(self.training_set.steps) - 1
        aligned = np.full((len(curves), last), np.nan)
        configurations = np.empty((len(curves), self.training_set.configurations.shape[1]))
        end = self.training_set.steps[-1]
        for row, curve in enumerate(curves):
            if len(curve.steps) == 0 or curve.steps[-1] >= end:
                continue
            encoded, values = self.training_set.encode(*curve)
            configurations[row], aligned[row] = encoded[0], values[0, :last]
        lengths = observed_lengths(aligned)
        at = np.maximum(lengths - 1, 0)
        differs = self.completed.differs[at]
        differs |= aligned[np.arange(len(curves)), at] != self.completed.curves[0, at]
        known = np.flatnonzero((lengths > 0) & differs)
        at = at[known]
        filled = fill_gaps(aligned[known, : at.max(initial=0) + 1])
        if self.returned.of_best:
            filled = np.maximum.accumulate(filled, axis=1)
        return known, Observed(filled, configurations[known], np.arange(len(known)), at)

    def align(self, curves: Sequence[Curve]) -> npt.NDArray[np.float64]:
        """Bring curves into the columns of these trials. Shape: ``(n, n_steps)``."""
        aligned = [self.training_set.align(c.steps, c.values) for c in curves]
        rows = np.array(aligned).reshape(len(curves), len(self.training_set.steps))
        if self.of_best:
            return np.where(np.isnan(rows), np.nan, np.fmax.accumulate(rows, axis=1))
        return rows

    @property
    def end_alike(self) -> bool:
        """Whether the trials are all as long and return their last report."""
        return self.returned.returned is Returned.LAST and bool(
            self.completed.share_going_on[-2] == 1.0
        )

    @property
    def of_best(self) -> bool:
        """Whether a curve is read as its best value so far."""
        return self.returned.of_best


@dataclass(frozen=True, eq=False)
class Situation:
    """All that a stopping rule is told of trials.

    Attributes:
        learned:
            The trials that they are compared with.
        observed:
            The trials after their last reports. Of ``m`` trials.
        recent:
            The curves of the trials that finished last, NaN after the end of each. Shape:
            ``(n_recent, n_steps)``.
        n_finished:
            The number of all trials that have finished.
    """

    learned: Learned
    observed: Observed
    recent: npt.NDArray[np.float64]
    n_finished: int

    @property
    def remaining(self) -> npt.NDArray[np.float64]:
        """What the trials will still train, in trainings of average length. Shape: ``(m,)``."""
        completed = self.learned.completed
        remaining: npt.NDArray[np.float64] = (
            completed.remaining[self.observed.at] / completed.mean_length
        )
        return remaining

    @property
    def length(self) -> npt.NDArray[np.float64]:
        """What the trials will have trained in all, in the same unit. Shape: ``(m,)``."""
        completed = self.learned.completed
        return self.remaining + completed.trained[self.observed.at] / completed.mean_length

    def chance(self, rule: StoppingRule) -> npt.NDArray[np.float64]:
        """Give the probabilities by a rule of beating the value to beat. Shape: ``(m,)``."""
        chance: npt.NDArray[np.float64] = special.expit(rule.log_odds(self.describe()))
        return chance

    def describe(self) -> npt.NDArray[np.float64]:
        """Give the features of the trials. Shape: ``(m, len(FEATURE_NAMES))``."""
        return features(self.learned.completed, self.observed, self.recent, self.n_finished)

    def forecast(
        self, chance: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Forecast the final values of the trials, oriented so that larger is better.

        Args:
            chance:
                Their probabilities of beating the value to beat. Shape: ``(m,)``.

        Returns:
            The means of the forecasts and their standard errors, both of shape ``(m,)``.
        """
        observed, known = self.observed, self.learned.completed
        mean, std = known.forecast(observed.curves, observed.configurations, observed.at)
        # The completed trials are the survivors, from which the regression learns that all end
        # well. The rule knows of that: the forecast promises no more than it, nor a fall.
        agreed = known.best_value + std * special.ndtri(np.clip(chance, 1e-12, 0.999))
        return np.minimum(mean, np.maximum(agreed, observed.value)), std
