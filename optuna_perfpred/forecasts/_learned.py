from __future__ import annotations

from dataclasses import dataclass
import enum
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import special
from scipy import stats

from optuna_perfpred.forecasts._completed_trials import CompletedTrials
from optuna_perfpred.forecasts._features import features
from optuna_perfpred.forecasts._features import Observed
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.predictors._base import fill_gaps
from optuna_perfpred.predictors._base import observed_lengths


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from optuna.trial import FrozenTrial

    from optuna_perfpred._arrays import Flags
    from optuna_perfpred._arrays import Floats
    from optuna_perfpred._arrays import Places
    from optuna_perfpred.forecasts._stopping_rule import StoppingRule
    from optuna_perfpred.history import Configuration
    from optuna_perfpred.history import CurveRecord


# As in a training set: squares and quotients of larger values are infinite.
_LARGEST = 1e100
# The share of the completed trials that must return their last report, or their best one.
_MOST = 0.8
# Two values are the same if they differ by less than what is lost in single precision.
_PRECISION = 1e-6
# With fewer completed trials, ranks tell nothing of a value that is made in another way,
_MIN_FOR_RANKS = 8
# and a lower rank correlation than this tells too little.
_LEAST_CORRELATION = 0.7


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
    values: Floats

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

    def observe(self, curves: Sequence[Curve]) -> tuple[Places, Observed]:
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
        end = self.training_set.steps[-1]
        configurations, aligned = self.training_set.encode(curves)
        aligned = aligned[:, :last]
        aligned[[len(c.steps) > 0 and bool(c.steps[-1] >= end) for c in curves]] = np.nan
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

    def align(self, curves: Sequence[Curve]) -> Floats:
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
class RuleInputs:
    """All that a stopping rule is told of trials.

    Attributes:
        rule:
            The rule.
        learned:
            The trials that they are compared with.
        observed:
            The trials after their last reports. Of ``m`` trials.
        recent:
            The curves of the trials that finished last, NaN after the end of each. Shape:
            ``(n_recent, n_steps)``.
        n_finished:
            The number of all trials that have finished.
        log_ratio:
            What is added to the log-odds that the rule gives.
    """

    rule: StoppingRule
    learned: Learned
    observed: Observed
    recent: Floats
    n_finished: int
    log_ratio: float = 0.0

    @property
    def training_set(self) -> TrainingSet:
        """The trials that were learned from."""
        return self.learned.training_set

    @property
    def curve(self) -> Floats:
        """The first trial's curve so far, without gaps, larger is better. Shape: ``(t,)``."""
        curve: Floats = self.observed.curves[0, : self.observed.at[0] + 1]
        return curve

    @property
    def remaining(self) -> Floats:
        """What the trials will still train, in trainings of average length. Shape: ``(m,)``."""
        completed = self.learned.completed
        remaining: Floats = completed.remaining[self.observed.at] / completed.mean_length
        return remaining

    @property
    def length(self) -> Floats:
        """What the trials will have trained in all, in the same unit. Shape: ``(m,)``."""
        completed = self.learned.completed
        return self.remaining + completed.trained[self.observed.at] / completed.mean_length

    @property
    def chance(self) -> Floats:
        """The probabilities by the rule of beating the value to beat. Shape: ``(m,)``."""
        log_odds = self.rule.log_odds(self.describe(self.observed)) + self.log_ratio
        chance: Floats = special.expit(log_odds)
        return chance

    def describe(self, observed: Observed) -> Floats:
        """Give the features of ``m`` trials. Shape: ``(m, len(FEATURE_NAMES))``."""
        return features(self.learned.completed, observed, self.recent, self.n_finished)

    def forecast(self, chance: Floats) -> tuple[Floats, Floats]:
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


class Returned(enum.Enum):
    """What objectives return, as the completed trials tell."""

    LAST = "the last report"
    BEST = "the best report"
    OTHER = "something else that orders trials as the reports do"
    UNRELATED = "something that the reports do not order"
    OPPOSITE = "something that the reports order the other way round"
    UNKNOWN = "something else, of which too few trials tell"


class ReturnedValues(NamedTuple):
    """How the returned values of completed trials relate to what they reported.

    Half of the public studies do not return their last report: the best one, another metric, a
    mean of several.

    Attributes:
        returned:
            What the objectives return.
        of_best:
            Whether a curve is to be read as its best value so far.
        values:
            The values by which trials are compared: the returned ones, or, where these are
            something else, the reported ones that stand for them. Oriented so that larger is
            better, NaN for a trial that is not to be learned from. Shape: ``(n,)``.
    """

    returned: Returned
    of_best: bool
    values: Floats

    @property
    def can_be_forecast(self) -> bool:
        """Whether the curves tell how trials end."""
        return self.returned in (Returned.LAST, Returned.BEST, Returned.OTHER)

    @property
    def values_are_returned(self) -> bool:
        """Whether trials are compared by what they returned."""
        return self.returned != Returned.OTHER

    @classmethod
    def of(cls, records: Sequence[CurveRecord], sign: float) -> ReturnedValues:
        """Find out from completed trials.

        Args:
            records:
                The trials. Those without a reported number tell nothing.
            sign:
                ``1.0`` if values are to be maximized, ``-1.0`` if to be minimized.
        """
        values = sign * np.array([record.value for record in records], dtype=np.float64)
        last, best, worst = _reports(records, sign)
        values[_are_sentinels(values, best, worst)] = np.nan
        known = ~np.isnan(values) & ~np.isnan(last)
        if not known.any():
            return cls(Returned.UNKNOWN, False, values)
        is_last = np.mean(_same(values[known], last[known]))
        is_best = np.mean(_same(values[known], best[known]))
        if is_last >= _MOST and is_last >= is_best:
            return cls(Returned.LAST, False, values)
        if is_best >= _MOST:
            return cls(Returned.BEST, True, values)
        if np.count_nonzero(known) < _MIN_FOR_RANKS:
            return cls(Returned.UNKNOWN, False, values)
        of_last, of_best = (_rank_correlation(r[known], values[known]) for r in (last, best))
        if max(of_last, of_best) >= _LEAST_CORRELATION:
            stand_in = best if of_best > of_last else last
            return cls(Returned.OTHER, of_best > of_last, np.where(known, stand_in, np.nan))
        opposite = min(of_last, of_best) <= -_LEAST_CORRELATION
        return cls(Returned.OPPOSITE if opposite else Returned.UNRELATED, False, values)


def _reports(records: Sequence[CurveRecord], sign: float) -> tuple[Floats, Floats, Floats]:
    """Give the last, the best and the worst report of each trial, NaN without any."""
    found = np.full((len(records), 3), np.nan)
    for row, record in zip(found, records, strict=True):
        known = sign * record.values[~np.isnan(record.values)]
        if len(known) > 0:
            row[:] = known[-1], known.max(), known.min()
    return found[:, 0], found[:, 1], found[:, 2]


def _are_sentinels(values: Floats, best: Floats, worst: Floats) -> Flags:
    """Find values that stand for a failure: far worse than all that any trial has reported.

    An objective that catches every exception, that of pruning among them, returns such a value.
    """
    finite = np.isfinite(worst) & np.isfinite(best)
    if not finite.any():
        return np.zeros(len(values), dtype=bool)
    lowest, highest = worst[finite].min(), best[finite].max()
    with np.errstate(over="ignore"):
        found: Flags = values < lowest - (highest - lowest)
    # If all are that far away, they are on another scale.
    return found if not found[~np.isnan(values)].all() else np.zeros(len(values), dtype=bool)


def _same(a: Floats, b: Floats) -> Flags:
    with np.errstate(over="ignore"):
        return np.isclose(a, b, rtol=_PRECISION, atol=1e-12)


def _rank_correlation(a: Floats, b: Floats) -> float:
    if a.min() == a.max() or b.min() == b.max():
        return 0.0  # Nothing tells the trials apart.
    correlation = float(stats.spearmanr(a, b).statistic)
    return correlation if np.isfinite(correlation) else 0.0
