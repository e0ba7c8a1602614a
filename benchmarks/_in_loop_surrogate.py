"""Learning curves of any numeric configuration, from the nearest recorded ones."""

from __future__ import annotations

from typing import TYPE_CHECKING
import zlib

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from optuna.trial import FrozenTrial


N_NEIGHBOURS = 4
N_DRAWN = 4000  # Random configurations, among which a value is ranked.
# Losses of diverged trainings are cut at this percentile of the first ones, as a user would.
MAX_LOSS_PERCENTILE = 95.0
# A positive parameter that spans two decades was most likely searched on a log scale.
LOG_RATIO = 100.0


class UnsuitableSetError(ValueError):
    """A set of curves from which no surrogate can be made."""


class NeighbourSurrogate:
    """A search space of numbers and a curve for each of its points, the same in every process.

    The parameters are the columns of numbers that all complete curves have, scaled to [0, 1]. The
    curve of a point is the mean of the nearest recorded ones, weighted by the inverse of their
    squared distance, plus a smooth deviation of the size by which they differ, and is kept within
    their range. The deviation is seeded by a hash of the point: no two points have the same curve,
    and their values don't fall on a surface that a sampler could know exactly.

    Args:
        folder:
            A folder as :func:`optuna_perfpred.replay.load_curves` reads it.

    Attributes:
        direction: The direction of the study.
        distributions: The search space.
        n_steps: The length of a curve.

    Raises:
        UnsuitableSetError:
            If the set has no such parameter, or too few complete curves.
    """

    def __init__(self, folder: Path) -> None:
        study = load_curves(folder)
        self.direction = study.direction
        self._sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
        trials, self._curves = _complete(study.get_trials(deepcopy=False))
        if len(trials) <= N_NEIGHBOURS:
            raise UnsuitableSetError(f"{len(trials)} complete curves are too few")
        if self._sign < 0.0:
            max_loss = np.percentile(self._curves[:, 0], MAX_LOSS_PERCENTILE)
            self._curves = np.minimum(self._curves, max_loss)
        self.n_steps = self._curves.shape[1]
        self.distributions = _search_space(trials)
        if not self.distributions:
            raise UnsuitableSetError("no numeric parameter is of all complete curves")
        self._is_log = np.array([d.log for d in self.distributions.values()])
        bounds = [(d.low, d.high) for d in self.distributions.values()]
        low, high = self._to_linear(np.array(bounds).T)
        self._low, self._span = low, high - low
        self._points = np.array([self._point(trial.params) for trial in trials])
        # The legacy generator, whose stream NumPy has promised not to change.
        drawn = np.random.RandomState(1).rand(N_DRAWN, len(self.distributions))
        self._drawn_values = np.array([self._curve_at(point)[-1] for point in drawn])

    def curve(self, params: Mapping[str, float]) -> np.ndarray:
        """Give the curve of a configuration. Shape: ``(n_steps,)``."""
        return self._curve_at(self._point(params))

    def share_better_than(self, value: float | None) -> float:
        """Give the share of random configurations that end better; all of them than None."""
        if value is None:
            return 1.0
        return float(np.mean(self._sign * self._drawn_values > self._sign * value))

    def is_better(self, value: float, other: float | None) -> bool:
        """Whether a value is better than another one. Any is better than None."""
        return other is None or self._sign * value > self._sign * other

    def _point(self, params: Mapping[str, float]) -> np.ndarray:
        values = np.array([params[name] for name in self.distributions], dtype=float)
        return (self._to_linear(values) - self._low) / self._span

    def _to_linear(self, values: np.ndarray) -> np.ndarray:
        return np.where(self._is_log, np.log(np.where(self._is_log, values, 1.0)), values)

    def _curve_at(self, point: np.ndarray) -> np.ndarray:
        squared_distances = ((self._points - point) ** 2).sum(axis=1)
        nearest = np.argsort(squared_distances, kind="stable")[:N_NEIGHBOURS]
        neighbours = self._curves[nearest]
        weights = 1.0 / (squared_distances[nearest] + 1e-6)
        weights /= weights.sum()
        mean = weights @ neighbours
        spread = np.sqrt(weights @ (neighbours - mean) ** 2)
        # Not hash(), which differs between processes.
        seed = zlib.crc32(np.round(point, 9).tobytes())
        first, last = 0.5 * np.random.RandomState(seed).randn(2)
        progress = np.linspace(0.0, 1.0, self.n_steps)
        curve = mean + spread * (first * (1.0 - progress) + last * progress)
        return np.clip(curve, neighbours.min(axis=0), neighbours.max(axis=0))


def _complete(trials: list[FrozenTrial]) -> tuple[list[FrozenTrial], np.ndarray]:
    """The trials that have a finite value at every step of the set, and their curves."""
    steps = sorted({step for trial in trials for step in trial.intermediate_values})
    curves = np.array(
        [[t.intermediate_values.get(step, np.nan) for step in steps] for t in trials]
    )
    is_complete = [
        trial.state == TrialState.COMPLETE and bool(np.isfinite(curve).all())
        for trial, curve in zip(trials, curves, strict=True)
    ]
    kept = [trial for trial, whole in zip(trials, is_complete, strict=True) if whole]
    return kept, curves[is_complete]


def _search_space(trials: list[FrozenTrial]) -> dict[str, FloatDistribution]:
    """The range of each number that all trials have and that varies."""
    space = {}
    for name, distribution in trials[0].distributions.items():
        if not isinstance(distribution, FloatDistribution):
            continue
        if not all(name in trial.params for trial in trials):
            continue
        values = [trial.params[name] for trial in trials]
        low, high = min(values), max(values)
        if low < high:
            is_log = low > 0.0 and high >= LOG_RATIO * low
            space[name] = FloatDistribution(low, high, log=is_log)
    return space
