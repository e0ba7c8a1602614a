from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.forecasts import CompletedTrials
from optuna_perfpred.forecasts import features
from optuna_perfpred.forecasts import n_learned_from
from optuna_perfpred.forecasts import N_RECENT
from optuna_perfpred.forecasts import Observed
from optuna_perfpred.forecasts import relative_chance


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping

    from _variations import Curves
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    # From rows of features to the probability that each trial ends as the best.
    Probability = Callable[[Floats], Floats]
    # How many steps each row of a set that is running has been trained.
    Running = Mapping[int, int]


class KnownTrials:
    """What is known at a moment of a simulated study of the trials that have finished."""

    def __init__(self, curves: Curves) -> None:
        self.complete: list[int] = []
        self.n_finished = 0
        self._set = curves
        self._finals = curves.finals
        self._finished = np.full(curves.curves.shape, np.nan)
        self._learned: tuple[int, int] = (0, -1)
        self._completed: CompletedTrials | None = None

    def finish(self, row: int, end: int, *, complete: bool) -> None:
        """Take note of a trial that trained for `end` steps."""
        self._finished[self.n_finished, :end] = self._set.curves[row, :end]
        self.n_finished += 1
        if complete:
            self.complete.append(row)

    @property
    def best_value(self) -> float:
        return float(self._finals[self.complete].max())

    @property
    def completed(self) -> CompletedTrials:
        """What is learned from the completed trials, as often as the pruner learns."""
        n = n_learned_from(len(self.complete))
        best = max(self.complete, key=lambda row: self._finals[row])
        if self._completed is None or (n, best) != self._learned:
            rows = self.complete[:n]
            if best not in rows:
                rows = [*rows, best]
            self._completed = CompletedTrials(
                self._set.curves[rows],
                self._finals[rows],
                self._set.configurations[rows],
                lengths=self._set.lengths[rows],
            )
            self._learned = (n, best)
        return self._completed

    def n_decisions(self, row: int) -> int:
        """After how many of its steps a trial could be pruned: all but its last one."""
        return int(self._set.lengths[row]) - 1

    def describe(self, row: int, at: npt.NDArray[np.intp], running: Running) -> Floats:
        """Describe a trial after some of its steps, beside others that are running."""
        others = {other: end for other, end in running.items() if other != row}
        recent = self._finished[max(0, self.n_finished - N_RECENT) : self.n_finished]
        if others:
            ends = np.array(list(others.values()))[:, np.newaxis]
            seen = np.arange(self._set.n_steps) < ends
            recent = np.vstack([recent, np.where(seen, self._set.curves[list(others)], np.nan)])
        observed = Observed.of_one(self._set.curves[row, :-1], self._set.configurations[row], at)
        return features(self.completed, observed, recent, self.n_finished)

    def relative_chance(
        self, row: int, at: npt.NDArray[np.intp], probability: Probability, running: Running
    ) -> Floats:
        """Give the chances per cost by which a trial is pruned, after some of its steps."""
        completed = self.completed
        chance = probability(self.describe(row, at, running))
        remaining = completed.remaining[at] / completed.mean_length
        return relative_chance(chance, remaining, self.n_finished)

    def first_stop(
        self, row: int, probability: Probability, caution: float, running: Running
    ) -> int | None:
        """Find the step at which a trial is pruned. Most are early, so few are asked first."""
        end = self.n_decisions(row)
        for first, last in itertools.pairwise((0, 6, 24, max(end, 24))):
            at = np.arange(first, min(last, end))
            if len(at) == 0:
                break
            chance = self.relative_chance(row, at, probability, running)
            if (stops := np.flatnonzero(chance < caution)).size:
                return int(at[stops[0]])
        return None
