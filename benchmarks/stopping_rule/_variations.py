"""Sets of recorded learning curves, and other studies that could have been recorded instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred.history import read_record
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


# Of the studies that are simulated, those that are of a set as recorded; the others vary it.
SHARE_AS_RECORDED = 0.4
# A part of a set with fewer curves than this tells too little.
MIN_PART = 50
N_PROPOSALS = 300


@dataclass(frozen=True)
class Curves:
    """A set of curves without gaps. Larger is better.

    Attributes:
        configurations:
            Encoded configurations. Shape: `(n, n_features)`.
        curves:
            The curves; after the end of a training they stay at its last value. Shape:
            `(n, n_steps)`.
        lengths:
            How many steps each was trained. Shape: `(n,)`.
    """

    configurations: Floats
    curves: Floats
    lengths: npt.NDArray[np.intp]

    @property
    def finals(self) -> Floats:
        return self.curves[:, -1]

    @property
    def n_steps(self) -> int:
        return self.curves.shape[1]


def read_curves(folder: Path) -> Curves:
    """Read a set as the pruner reads a study."""
    study = load_curves(folder)
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    training_set = TrainingSet([read_record(trial) for trial in trials], sign=sign)
    curves = training_set.curves
    lengths = np.empty(len(curves), dtype=np.intp)
    for row, curve in enumerate(curves):
        known = np.flatnonzero(~np.isnan(curve))
        lengths[row] = known[-1] + 1
        curve[:] = np.interp(np.arange(len(curve)), known, curve[known])
    return Curves(training_set.configurations, curves, lengths)


def recorded_or_varied(
    curves: Curves, rng: np.random.Generator, *, as_recorded: float, min_curves: int
) -> Curves:
    """Give the set itself, with the given probability, or a variation with enough curves."""
    varied = curves if rng.random() < as_recorded else vary(curves, rng)
    return curves if len(varied.finals) < min_curves or varied.n_steps < 3 else varied


def vary(curves: Curves, rng: np.random.Generator) -> Curves:
    """Give another study that could have been recorded.

    Shorter trainings, fewer reports, a part of the space, without the best or the worst of it,
    another scale of the metric, parameters that are not told.
    """
    values, configurations, lengths = curves.curves, curves.configurations, curves.lengths
    n_steps = curves.n_steps
    if rng.random() < 0.35 and n_steps >= 16:
        n_steps = int(n_steps * rng.uniform(0.3, 0.95))
        values, lengths = values[:, :n_steps], np.minimum(lengths, n_steps)
    if rng.random() < 0.25 and n_steps >= 24:
        stride = int(rng.integers(2, max(3, n_steps // 8) + 1))
        reported = np.arange((n_steps - 1) % stride, n_steps, stride)
        values = values[:, reported]
        lengths = np.minimum(reported.searchsorted(lengths - 1) + 1, len(reported))
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
    if keep.sum() >= MIN_PART:
        values, configurations, lengths = values[keep], configurations[keep], lengths[keep]
    if rng.random() < 0.3:
        values = _rescale(values, rng)
    if rng.random() < 0.2 and configurations.shape[1] > 1:
        configurations = configurations[:, rng.random(configurations.shape[1]) < 0.6]
    return Curves(configurations, values, lengths)


def _rescale(values: Floats, rng: np.random.Generator) -> Floats:
    low, high = np.quantile(values, [0.01, 0.999])
    scaled = np.clip((values - low) / max(high - low, 1e-300), -50.0, 50.0)
    kind = rng.integers(3)
    if kind == 0:
        return -np.log1p(np.maximum(0.0, 1.0 - scaled) * rng.uniform(1.0, 30.0))
    if kind == 1:
        return np.expm1(np.clip(scaled * rng.uniform(0.5, 3.0), -20.0, 20.0))
    return -np.log(np.maximum(1.02 - scaled, 1e-4))


def vary_returned_value(
    curves: Curves, rng: np.random.Generator, *, best: float, early_stopping: float
) -> Curves:
    """Let trials return the best value of their curve, and perhaps stop when it stays the same.

    Args:
        curves:
            The set.
        rng:
            The generator.
        best:
            The probability that trials return the best value.
        early_stopping:
            The probability that they also stop early.
    """
    drawn = rng.random()
    if drawn < best:
        return best_so_far(curves)
    if drawn < best + early_stopping and curves.n_steps >= 8:
        patience = int(rng.integers(2, max(3, curves.n_steps // 4) + 1))
        return best_so_far(curves, patience)
    return curves


def best_so_far(curves: Curves, patience: int | None = None) -> Curves:
    """Give the best value so far at each step, up to `patience` steps without a better one."""
    highest = np.maximum.accumulate(curves.curves, axis=1)
    if patience is None:
        return Curves(curves.configurations, highest, curves.lengths)
    step = np.arange(curves.n_steps)
    improved = np.diff(highest, axis=1, prepend=highest[:, :1]) > 0.0
    since = step - np.maximum.accumulate(np.where(improved, step, 0), axis=1)
    impatient = (since >= patience) & (step < curves.lengths[:, np.newaxis])
    stopped = impatient.any(axis=1)
    lengths = np.where(stopped, impatient.argmax(axis=1) + 1, curves.lengths)
    ends = highest[np.arange(len(highest)), lengths - 1][:, np.newaxis]
    after = stopped[:, np.newaxis] & (step >= lengths[:, np.newaxis])
    return Curves(curves.configurations, np.where(after, ends, highest), lengths)


def crowd(curves: Curves, rng: np.random.Generator) -> Curves:
    """Give a set of proposals, each between a recorded curve and two that ended near it.

    A sampler that has learned proposes what lies close to its best trials, so the trials of the
    end of a study are closer together than any that were drawn at random.
    """
    n, n_steps = curves.curves.shape
    order = np.argsort(curves.finals)
    rank = np.empty(n, dtype=int)
    rank[order] = np.arange(n)
    anchor = rng.integers(0, n, N_PROPOSALS)
    reach = max(2, n // 25)
    shift = rng.integers(-reach, reach + 1, (N_PROPOSALS, 2))
    near = np.clip(rank[anchor][:, np.newaxis] + shift, 0, n - 1)
    rows = np.column_stack([anchor, order[near]])
    weight = rng.dirichlet([2.0, 0.7, 0.7], N_PROPOSALS)
    mixed = curves.curves[rows]
    mean = np.einsum("nk,nkt->nt", weight, mixed)
    std = np.sqrt(np.einsum("nk,nkt->nt", weight, (mixed - mean[:, np.newaxis]) ** 2))
    # How a proposal departs from the mean changes from the start to the end.
    at_start, at_end = rng.normal(scale=0.5, size=(N_PROPOSALS, 2)).T[:, :, np.newaxis]
    progress = np.linspace(0.0, 1.0, n_steps)
    proposed = mean + std * (at_start * (1.0 - progress) + at_end * progress)
    return Curves(
        np.einsum("nk,nkd->nd", weight, curves.configurations[rows]),
        np.clip(proposed, mixed.min(axis=1), mixed.max(axis=1)),
        np.full(N_PROPOSALS, n_steps),
    )
