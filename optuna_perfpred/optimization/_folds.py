"""One learning curve of a trial that trains once in each fold of a cross-validation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
import warnings

from optuna import Trial

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.history import last_step


if TYPE_CHECKING:
    from optuna.trial import FixedTrial
    from optuna.trial import FrozenTrial


def report_fold(
    trial: Trial | FixedTrial | FrozenTrial, value: float, step: int, fold: int, *, n_steps: int
) -> float:
    """Report a value of one fold, as an estimate of the mean over all folds.

    A trial that trains once in each fold has one value in the end, the mean, and one learning
    curve. Reported after each fold, the running mean tells nothing within a fold, and falls and
    rises with how hard the folds are. This reports after each step what the mean of the folds so
    far would be: the finished ones count with their last values, and the one that trains now with
    the mean of these, moved by how far it differs from them at the same step, the more the
    further it has come. In the first fold that is its own curve, and after the last step of each
    fold the running mean. Step ``s`` of fold ``f`` is reported as step ``f * n_steps + s`` of the
    trial, so that any pruner may stop it within a fold or between two.

    What the folds were worth is read back from the reports, so that nothing else is stored, and a
    trial that goes on from a checkpoint, in whichever process, goes on with them.

    Example:

        .. testcode::

            import numpy as np
            import optuna
            from sklearn.datasets import load_digits
            from sklearn.linear_model import SGDClassifier
            from sklearn.model_selection import StratifiedKFold

            from optuna_perfpred import PerformancePredictionPruner
            from optuna_perfpred.optimization import report_fold

            X, y = load_digits(return_X_y=True)
            folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))


            def objective(trial):
                alpha = trial.suggest_float("alpha", 1e-7, 1.0, log=True)
                for fold, (train, valid) in enumerate(folds):
                    model = SGDClassifier(alpha=alpha, random_state=0)
                    for epoch in range(10):
                        model.partial_fit(X[train], y[train], classes=np.arange(10))
                        accuracy = model.score(X[valid], y[valid])
                        mean = report_fold(trial, accuracy, epoch, fold, n_steps=10)
                        if trial.should_prune():
                            raise optuna.TrialPruned()
                return mean


            study = optuna.create_study(
                direction="maximize", pruner=PerformancePredictionPruner()
            )
            study.optimize(objective, n_trials=10)

    Args:
        trial:
            The trial.
        value:
            The value of the fold after this step. A fold that has diverged, whose last value is
            NaN or infinite, makes the mean so.
        step:
            The step within the fold, from 0 to ``n_steps - 1``. A fold that ends earlier should
            report its value for the last step too.
        fold:
            The number of the fold, from 0. Folds are trained one after the other in ascending
            order; a value of an earlier fold than the last one is not reported, with a warning.
        n_steps:
            The number of steps of the longest fold, the same for all trials of a study. With 1,
            for models that are fitted in one go, the running mean is reported after each fold.

    Returns:
        The mean of the last values of the folds so far, this one included. After the last report
        of a trial, what its objective returns.

    Raises:
        ValueError:
            If the step, the fold or the number of steps is out of its range.
    """
    check_at_least("n_steps", n_steps, 1)
    check_at_least("fold", fold, 0)
    check_at_least("step", step, 0)
    if step >= n_steps:
        raise ValueError(f"`step` must be less than {n_steps=}, but got {step=}.")
    value = float(value)
    if not isinstance(trial, Trial):
        trial.report(value, fold * n_steps + step)  # Of a trial that is not optimized: ignored.
        return value
    reports = trial._cached_frozen_trial.intermediate_values
    folds = _Folds(reports, n_steps)
    if reports and last_step(reports) >= (fold + 1) * n_steps:
        last = last_step(reports) // n_steps
        warnings.warn(
            f"The value of fold {fold} is not reported, as trial {trial.number} has reported fold "
            f"{last} already. Report one fold after the other.",
            stacklevel=2,
        )
        return _mean(folds.finals(last + 1))
    finals = folds.finals(fold)
    estimate = _estimate(value, step, finals, folds.at(step, fold), n_steps)
    trial.report(estimate, fold * n_steps + step)
    return _mean([*finals, value])


class _Folds:
    """The values of the folds, as the reports of a trial tell them.

    Args:
        reports:
            The reports of the trial by its steps.
        n_steps:
            The number of steps of the longest fold.
    """

    def __init__(self, reports: dict[int, float], n_steps: int) -> None:
        self._reports = reports
        self._n_steps = n_steps
        self._last_steps: dict[int, int] = {}
        for at in reports:
            fold, step = divmod(at, n_steps)
            self._last_steps[fold] = max(self._last_steps.get(fold, 0), step)
        self._known: dict[tuple[int, int], float] = {}

    def finals(self, before: int) -> list[float]:
        """Give the last values of the folds before one, in their order."""
        ended = sorted((f, step) for f, step in self._last_steps.items() if f < before)
        return [self._value(fold, step) for fold, step in ended]

    def at(self, step: int, before: int) -> list[float]:
        """Give the finite values at a step of the folds before one."""
        earlier = [f for f in self._last_steps if f < before]
        reported = [f for f in earlier if f * self._n_steps + step in self._reports]
        values = [self._value(fold, step) for fold in reported]
        return [value for value in values if math.isfinite(value)]

    def _value(self, fold: int, step: int) -> float:
        """Read a value back from its report: the inverse of :func:`_estimate`."""
        if (fold, step) not in self._known:
            value = self._reports[fold * self._n_steps + step]
            finals = self.finals(fold)
            if finals and math.isfinite(value):
                mean = _mean(finals)
                foreseen = value * (len(finals) + 1) - mean * len(finals)
                share = (step + 1) / self._n_steps
                value = _mean(self.at(step, fold) or finals) + (foreseen - mean) / share
            self._known[fold, step] = value
        return self._known[fold, step]


def _estimate(
    value: float, step: int, finals: list[float], others: list[float], n_steps: int
) -> float:
    """Estimate the mean over the finished folds and the one that trains.

    Args:
        value:
            The value of the latter.
        step:
            Its step.
        finals:
            The last values of the finished folds.
        others:
            Their values at the same step, as far as these are known.
        n_steps:
            The number of steps of the longest fold.
    """
    if not finals or not math.isfinite(value):
        return value
    foreseen = _mean(finals) + (step + 1) / n_steps * (value - _mean(others or finals))
    return _mean([*finals, foreseen])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
