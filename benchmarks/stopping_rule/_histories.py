"""Decisions in simulated histories of recorded studies, to learn a stopping rule from.

A history draws the configurations of a set one after the other and prunes some of them. At some
of its trials, other configurations are put in the place of the one that was drawn, and described
at some of their steps with the features of the stopping rule. Whether the configuration ends
better than the best completed one is known. Records, which are rare, are drawn more often than
they would occur, and weigh less.
"""

from __future__ import annotations

from dataclasses import dataclass
import itertools
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred.history import read_record
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.pruners._schedule import n_learned_from
from optuna_perfpred.pruners._stopping_rule import CompletedTrials
from optuna_perfpred.pruners._stopping_rule import features
from optuna_perfpred.pruners._stopping_rule import N_RECENT
from optuna_perfpred.pruners._stopping_rule import relative_chance
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Probability = Callable[[Floats], Floats]


# Trials at which configurations are compared with the history, if it is so long.
TRIALS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 55, 75, 100, 140, 190)
LONGEST_HISTORY = 200
N_CANDIDATES = 20
N_STEPS = 5
# Relative chances below which a history prunes; with a probability of 1 to 0 it prunes none.
CAUTIONS = (0.1, 0.3, 1.0, 3.0)
AUDIT_RATES = (0.0, 0.0, 0.1, 0.25)


@dataclass(frozen=True)
class Curves:
    """A set of curves, or a part of it. Larger is better."""

    configurations: Floats
    curves: Floats

    @property
    def finals(self) -> Floats:
        return self.curves[:, -1]

    def part(self, rows: npt.NDArray[np.bool_]) -> Curves:
        return Curves(self.configurations[rows], self.curves[rows])


@dataclass(frozen=True)
class Decisions:
    """Described trials: `features` (n, f), whether each became the `best`, `weight`."""

    features: npt.NDArray[np.float32]
    best: npt.NDArray[np.bool_]
    weight: Floats


def read_curves(folder: Path) -> Curves:
    """Read a set as the pruner reads a study."""
    study = load_curves(folder)
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    training_set = TrainingSet([read_record(trial) for trial in trials], sign=sign)
    curves = training_set.curves
    for curve in curves:
        known = np.flatnonzero(~np.isnan(curve))
        curve[:] = np.interp(np.arange(len(curve)), known, curve[known])
    return Curves(training_set.configurations, curves)


def vary(curves: Curves, rng: np.random.Generator) -> Curves:
    """Give another study that could have been recorded.

    Shorter trainings, fewer reports, a part of the space, without the best or the worst of it,
    another scale of the metric, parameters that are not told.
    """
    values, configurations = curves.curves, curves.configurations
    n_steps = values.shape[1]
    if rng.random() < 0.35 and n_steps >= 16:
        n_steps = int(n_steps * rng.uniform(0.3, 0.95))
        values = values[:, :n_steps]
    if rng.random() < 0.25 and n_steps >= 24:
        stride = int(rng.integers(2, max(3, n_steps // 8) + 1))
        values = values[:, (n_steps - 1) % stride :: stride]
    finals = values[:, -1]
    keep = np.ones(len(values), dtype=bool)
    if rng.random() < 0.25:
        keep &= finals <= np.quantile(finals, rng.uniform(0.7, 0.97))
    if rng.random() < 0.25 and configurations.shape[1] > 0:
        column = configurations[:, rng.integers(configurations.shape[1])]
        sign = rng.choice([-1.0, 1.0])
        keep &= sign * column <= np.median(sign * column)
    if rng.random() < 0.2:
        keep &= finals >= np.quantile(finals, rng.uniform(0.1, 0.5))
    if keep.sum() >= 50:
        values, configurations = values[keep], configurations[keep]
    if rng.random() < 0.3:
        values = _rescale(values, rng)
    if rng.random() < 0.2 and configurations.shape[1] > 1:
        configurations = configurations[:, rng.random(configurations.shape[1]) < 0.6]
    return Curves(configurations, values)


def _rescale(values: Floats, rng: np.random.Generator) -> Floats:
    low, high = np.quantile(values, [0.01, 0.999])
    scaled = np.clip((values - low) / max(high - low, 1e-300), -50.0, 50.0)
    kind = rng.integers(3)
    if kind == 0:
        return -np.log1p(np.maximum(0.0, 1.0 - scaled) * rng.uniform(1.0, 30.0))
    if kind == 1:
        return np.expm1(np.clip(scaled * rng.uniform(0.5, 3.0), -20.0, 20.0))
    return -np.log(np.maximum(1.02 - scaled, 1e-4))


class History:
    """A study in which the configurations of a set are drawn in some order."""

    def __init__(self, curves: Curves, rng: np.random.Generator) -> None:
        self._set = curves
        self._rng = rng
        self._finals = curves.finals
        n = len(self._finals)
        self._order = rng.permutation(n)
        self._next = n
        if rng.random() < 0.2:
            # A sampler that learns: better configurations tend to come later.
            ranks = np.argsort(np.argsort(self._finals))
            self._order = np.argsort(rng.uniform(0.0, 4.0) * ranks / n + rng.normal(size=n))
            self._next = 40
        self._recent = np.full((n, curves.curves.shape[1]), np.nan)
        self._complete: list[int] = []
        self._learned: tuple[int, int] = (0, -1)
        self._completed: CompletedTrials | None = None

    def decisions(self, probability: Probability | None) -> list[Decisions]:
        """Run the history and describe trials.

        Args:
            probability:
                The rule by which trials are pruned. If `None`, an ideal pruner, which completes
                the records, some of the other good ones and a random share.
        """
        rng = self._rng
        n_trials = int(min(LONGEST_HISTORY, 0.8 * len(self._finals)))
        compared = {t for t in TRIALS if t < n_trials and rng.random() < 0.6}
        compared |= set(rng.integers(1, n_trials, 3).tolist())
        caution = rng.choice(CAUTIONS)
        audit_rate = rng.choice(AUDIT_RATES)
        completion_rate = rng.choice([1.0, 0.5, 0.2, 0.08])
        decisions = []
        for number in range(n_trials):
            row = self._order[number]
            if number in compared and self._complete:
                decisions += self._compare(number, probability, caution)
            if probability is None:
                stop = self._ideal_stop(row, completion_rate)
            elif rng.random() < audit_rate or not self._complete:
                stop = None
            else:
                described = self._describe(number, row)
                stop = _first_stop(described, probability, caution, number)
            end = self._recent.shape[1] if stop is None else stop + 1
            self._recent[number, :end] = self._set.curves[row, :end]
            if stop is None:
                self._complete.append(row)
        return decisions

    def _compare(
        self, number: int, probability: Probability | None, caution: float
    ) -> list[Decisions]:
        rng = self._rng
        following = self._order[number : number + self._next]
        better = self._finals[following] > self._finals[self._complete].max()
        records = rng.permutation(following[better])[: N_CANDIDATES // 3]
        others = rng.permutation(following[~better])[: N_CANDIDATES - len(records)]
        decisions = []
        for rows, n_rows in ((records, better.sum()), (others, (~better).sum())):
            for row in rows:
                described = self._describe(number, row)
                at = self._steps(described, number, probability, caution)
                weight = n_rows / len(rows) / len(following) / len(at)
                decisions.append(
                    Decisions(
                        described[at].astype(np.float32),
                        np.full(len(at), rows is records),
                        np.full(len(at), weight),
                    )
                )
        return decisions

    def _steps(
        self, described: Floats, number: int, probability: Probability | None, caution: float
    ) -> npt.NDArray[np.int64]:
        """Draw steps, most of them before the one at which the trial would be pruned."""
        rng = self._rng
        last = len(described) - 1
        drawn = (last + 1) * rng.random(N_STEPS) ** 1.3
        if probability is not None:
            bar = caution * rng.choice([0.3, 1.0, 1.0])
            stop = _first_stop(described, probability, bar, number)
            if stop is not None:
                before = rng.random(N_STEPS) < 0.75
                drawn = np.where(before, (stop + 1) * rng.random(N_STEPS), drawn)
        return np.unique(np.minimum(drawn, last).astype(np.int64))

    def _describe(self, number: int, row: int) -> Floats:
        completed = self._completed_trials()
        curve = self._set.curves[row, :-1]
        return features(
            completed,
            curve,
            self._set.configurations[row],
            self._recent[max(0, number - N_RECENT) : number],
            number,
            np.arange(len(curve)),
        )

    def _completed_trials(self) -> CompletedTrials:
        n = n_learned_from(len(self._complete))
        best = max(self._complete, key=lambda row: self._finals[row])
        if self._completed is None or (n, best) != self._learned:
            rows = self._complete[:n]
            if best not in rows:
                rows = [*rows, best]
            self._completed = CompletedTrials(
                self._set.curves[rows], self._finals[rows], self._set.configurations[rows]
            )
            self._learned = (n, best)
        return self._completed

    def _ideal_stop(self, row: int, completion_rate: float) -> int | None:
        rng = self._rng
        finals = self._finals[self._complete]
        good = len(finals) > 3 and self._finals[row] > np.quantile(finals, 0.8)
        if (
            len(finals) < 2
            or self._finals[row] > finals.max()
            or (good and rng.random() < 0.7)
            or rng.random() < completion_rate
        ):
            return None
        return int(0.8 * (self._recent.shape[1] - 1) * rng.random() ** 2)


def _first_stop(
    described: Floats, probability: Probability, caution: float, number: int
) -> int | None:
    """Find the step at which a trial is pruned. Most are early, so few steps are asked first."""
    n_steps = len(described) + 1
    remaining = 1.0 - np.arange(1, n_steps) / n_steps
    for first, last in itertools.pairwise((0, 6, 24, 100)):
        part = slice(first, last)
        if first < len(described):
            chance = relative_chance(probability(described[part]), remaining[part], number)
            if (stops := np.flatnonzero(chance < caution)).size:
                return first + int(stops[0])
    return None
