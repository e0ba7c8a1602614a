from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.predictors._base import fill_gaps
from optuna_perfpred.pruners._stopping_rule import CompletedTrials


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.pruners._stopping_rule import StoppingRule


@dataclass(frozen=True, eq=False)  # Each is a key of what was derived from it.
class Learned:
    """What a stopping rule is told of the trials that it compares others with.

    Attributes:
        training_set:
            Their arrays.
        completed:
            Their statistics.
    """

    training_set: TrainingSet
    completed: CompletedTrials

    @classmethod
    def of(
        cls,
        records: Sequence[CurveRecord],
        *,
        best_value: float,
        sign: float,
        horizon: int | None = None,
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

        Returns:
            What was learned, or :obj:`None` if there is nothing to learn.
        """
        training_set = TrainingSet(records, sign=sign, horizon=horizon)
        usable = ~np.isnan(training_set.curves).all(axis=1)
        if len(training_set.steps) < 2 or not usable.any():
            return None
        curves = fill_gaps(training_set.curves[usable])
        finals = training_set.finals[usable]
        # A returned value on another scale than the reported ones is not what the rule knows.
        if np.median(np.abs(finals - curves[:, -1])) > np.ptp(curves):
            return None
        configurations = training_set.configurations[usable]
        completed = CompletedTrials(curves, finals, configurations, best_value=best_value)
        return cls(training_set, completed)

    def observe(
        self, trial: FrozenTrial, feature_attrs: Sequence[str]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """Bring a running trial into the columns of these trials.

        Args:
            trial:
                The trial, which has reported.
            feature_attrs:
                Names of user attributes that are features beside the parameters.

        Returns:
            Its curve so far without gaps, of shape ``(t,)``, and its encoded configuration, of
            shape ``(n_features,)``; :obj:`None` if it has reported no number yet or has reached
            the end of a full curve.
        """
        steps, values = read_curve(trial)
        if steps[-1] >= self.training_set.steps[-1]:
            return None
        configuration, aligned = self.training_set.encode(
            read_configuration(trial, feature_attrs), steps, values
        )
        known = np.flatnonzero(~np.isnan(aligned[0]))
        if len(known) == 0:
            return None
        return fill_gaps(aligned[:, : known[-1] + 1])[0], configuration[0]

    def align(self, records: Sequence[CurveRecord]) -> npt.NDArray[np.float64]:
        """Bring curves into the columns of these trials. Shape: ``(n, n_steps)``."""
        curves = [self.training_set.align(r.steps, r.values) for r in records]
        return np.array(curves).reshape(len(curves), len(self.training_set.steps))


@dataclass(frozen=True, eq=False)
class Situation:
    """All that a stopping rule is told of a running trial.

    Attributes:
        learned:
            The trials that it is compared with.
        step:
            The last step at which it has reported.
        curve:
            Its curve so far, in their columns, without gaps. Shape: ``(t,)``.
        configuration:
            Its encoded configuration. Shape: ``(n_features,)``.
        recent:
            The curves of the trials that finished last, NaN after the end of a pruned one.
            Shape: ``(n_recent, n_steps)``.
        n_finished:
            The number of all trials that have finished.
    """

    learned: Learned
    step: int
    curve: npt.NDArray[np.float64]
    configuration: npt.NDArray[np.float64]
    recent: npt.NDArray[np.float64]
    n_finished: int

    @property
    def remaining(self) -> float:
        """The share of a full curve that the trial still has to train."""
        ends = self.learned.training_set.steps
        # A full curve has one step more than there are between its ends.
        mean_step = (ends[-1] - ends[0]) / (len(ends) - 1)
        return float((ends[-1] - self.step) / (ends[-1] - ends[0] + mean_step))

    def chance(self, rule: StoppingRule) -> float:
        """Give the probability by a rule that the trial will beat the value to beat."""
        return rule.probability_of_beating_best(
            self.learned.completed, self.curve, self.configuration, self.recent, self.n_finished
        )
