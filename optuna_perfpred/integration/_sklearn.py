from __future__ import annotations

import inspect
import math
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import BaseTrial
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring

from optuna_perfpred._arguments import check_at_least


if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike


class SklearnPruning:
    """Trains an estimator of scikit-learn step by step, and stops it when the pruner says so.

    A step is a call of ``partial_fit`` or, for estimators that have ``warm_start`` and no
    ``partial_fit``, a call of ``fit`` that adds trees or iterations. For ``partial_fit`` with
    cross-validation there is ``optuna_integration.OptunaSearchCV(enable_pruning=True)``.

    Example:

        .. testcode::

            import optuna
            from sklearn.datasets import load_digits
            from sklearn.linear_model import SGDClassifier

            from optuna_perfpred import PerformancePredictionPruner
            from optuna_perfpred.integration import SklearnPruning

            X, y = load_digits(return_X_y=True)


            def objective(trial):
                model = SGDClassifier(alpha=trial.suggest_float("alpha", 1e-6, 1.0, log=True))
                pruning = SklearnPruning(trial, X[600:], y[600:])
                return pruning.fit(model, X[:600], y[:600], n_steps=5)


            study = optuna.create_study(
                direction="maximize", pruner=PerformancePredictionPruner()
            )
            study.optimize(objective, n_trials=3)

    Args:
        trial:
            The trial.
        X_valid:
            What the estimator is scored on after each step.
        y_valid:
            Its targets.
        scoring:
            As for :func:`sklearn.model_selection.cross_val_score`: a scorer or its name;
            :obj:`None` is the estimator's own score. All are to be maximized.

    Raises:
        ValueError:
            If ``trial`` is not a trial.
    """

    def __init__(
        self,
        trial: BaseTrial,
        X_valid: ArrayLike,
        y_valid: ArrayLike,
        *,
        scoring: str | Callable[..., float] | None = None,
    ) -> None:
        if not isinstance(trial, BaseTrial):
            raise ValueError(f"`trial` must be an Optuna trial, but got {trial!r}.")
        self._trial = trial
        self._X_valid, self._y_valid = X_valid, y_valid
        self._scoring = scoring

    def fit(
        self, estimator: Any, X: ArrayLike, y: ArrayLike, *, n_steps: int, step_size: int = 1
    ) -> float:
        """Train, and report the score after each step: steps 0, 1, 2 and so on.

        Args:
            estimator:
                What to train, in place.
            X:
                What to train on.
            y:
                Its targets.
            n_steps:
                How many steps a full training has.
            step_size:
                The calls of ``partial_fit`` in a step, or the trees or iterations that it adds.

        Returns:
            The last score.

        Raises:
            ValueError:
                If the estimator cannot be trained step by step, or a number is too small.
            :exc:`optuna.TrialPruned`:
                If the pruner stops the trial.
        """
        check_at_least("n_steps", n_steps, 1)
        check_at_least("step_size", step_size, 1)
        train = _training(estimator, X, y)
        scorer = check_scoring(estimator, self._scoring)
        score = math.nan
        for step in range(n_steps):
            train(step, step_size)
            score = float(scorer(estimator, self._X_valid, self._y_valid))
            self._trial.report(score, step)
            if self._trial.should_prune():
                raise optuna.TrialPruned(f"Trial was pruned at step {step}.")
        return score


def _training(estimator: Any, X: ArrayLike, y: ArrayLike) -> Callable[[int, int], None]:
    """Give what trains a step, given its number and size."""
    if hasattr(estimator, "partial_fit"):
        has_classes = "classes" in inspect.signature(estimator.partial_fit).parameters
        options = {"classes": np.unique(y)} if has_classes and is_classifier(estimator) else {}

        def fit_parts(step: int, step_size: int) -> None:
            for _ in range(step_size):
                estimator.partial_fit(X, y, **options)

        return fit_parts
    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    count = next((name for name in ("n_estimators", "max_iter") if name in params), None)
    if count is None or "warm_start" not in params:
        raise ValueError(
            "`estimator` must have `partial_fit`, or `warm_start` and `n_estimators` or "
            f"`max_iter`, but got {estimator!r}."
        )

    def fit_more(step: int, step_size: int) -> None:
        # Iterations are counted anew by each call; trees are not.
        total = (step + 1) * step_size
        is_total = count == "n_estimators" or type(estimator).__name__.startswith("HistGradient")
        estimator.set_params(warm_start=True, **{count: total if is_total else step_size})
        estimator.fit(X, y)

    return fit_more
