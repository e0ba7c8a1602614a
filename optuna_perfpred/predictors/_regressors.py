"""The regressors of sequential regression models, each with its leave-one-out residuals."""

from __future__ import annotations

from functools import partial
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.base import TransformerMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.model_selection import KFold
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.pipeline import Pipeline
from sklearn.svm import NuSVR

from optuna_perfpred.predictors._kernel_ridge import FeatureWeights
from optuna_perfpred.predictors._kernel_ridge import fit_rbf_kernel_ridge
from optuna_perfpred.predictors._stack import fit_stack


if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt


FittedRegressor = tuple[Any, "npt.NDArray[np.float64]"]
"""A fitted scikit-learn regressor and its leave-one-out residuals, shape ``(n,)``."""

_MAX_FOLDS = 100
# Keeps a draw that hardly converges (a linear kernel with a large C) from stalling a trial.
_MAX_SVR_ITERATIONS = 100_000


def fit_ridge(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    squarable: npt.NDArray[np.bool_],
    **_: object,
) -> FittedRegressor:
    """Fit ridge regression, its penalty chosen by the closed form of the leave-one-out error."""
    return _fit_linear(X, y, np.logspace(-3.0, 4.0, 15), squarable)


def fit_ols(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    squarable: npt.NDArray[np.bool_],
    **_: object,
) -> FittedRegressor:
    """Fit ordinary least squares.

    A penalty that is negligible for standardized features selects the solution of smallest norm
    where differences of curve values make the features collinear.
    """
    return _fit_linear(X, y, np.array([1e-8]), squarable)


def fit_nu_svr(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    kernel: str,
    published: bool,
    n_iter: int,
    seed: int,
    **_: object,
) -> FittedRegressor:
    """Fit ν-SVR by random search.

    Baker et al. (2017, appendix) draw C and γ log-uniformly from [1e-5, 10] and ν uniformly from
    [0, 1]. Unless ``published``, an isotropic kernel is given a metric: features are weighted by
    a power, drawn uniformly from [0, 1], of their importance in a random forest, and scaled to a
    total variance of one. Distances of that scale call for γ in [0.01, 10]; C goes to 100,
    because the best C was often found at the published limit.
    """
    svr = NuSVR(kernel=kernel, max_iter=_MAX_SVR_ITERATIONS)
    nu = stats.uniform(1e-3, 1.0 - 1e-3)
    if published:
        pipeline = make_pipeline(svr)
        space = {
            "nusvr__C": stats.loguniform(1e-5, 10.0),
            "nusvr__nu": nu,
            "nusvr__gamma": stats.loguniform(1e-5, 10.0),
        }
    else:
        forest, _residuals = _fit_plain_forest(X, y, seed)
        pipeline = make_pipeline(FeatureWeights(forest.feature_importances_), svr)
        space = {
            "featureweights__exponent": stats.uniform(0.0, 1.0),
            "nusvr__C": stats.loguniform(1e-2, 100.0),
            "nusvr__nu": nu,
            "nusvr__gamma": stats.loguniform(1e-2, 10.0),
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = _search(pipeline, space, X, y, n_iter=n_iter, seed=seed)
        # Leave-one-out up to 100 curves, the number in all experiments of the paper.
        folds = KFold(min(len(y), _MAX_FOLDS))
        predicted = cross_val_predict(model, X, y, cv=folds)
    return model, y - predicted


def fit_random_forest(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    published: bool,
    n_iter: int,
    seed: int,
    **_: object,
) -> FittedRegressor:
    """Fit a random forest by random search over the published ranges.

    Baker et al. (2017, appendix) draw 10 to 800 trees and 0.1 to 0.5 of the features. Unless
    ``published``, there are 100 trees: more do not change the forecast but its cost. The
    leave-one-out residual of a curve is that of the trees grown without it (out of bag).
    """
    space: dict[str, Any] = {"max_features": stats.uniform(0.1, 0.4)}
    if published:
        space["n_estimators"] = stats.randint(10, 801)
    forest = RandomForestRegressor(100, bootstrap=True, random_state=seed)
    model = _search(forest, space, X, y, n_iter=n_iter, seed=seed, refit=False)
    model.set_params(oob_score=_no_score).fit(X, y)
    return model, y - model.oob_prediction_


def fit_kernel_ridge(
    X: npt.NDArray[np.float64], y: npt.NDArray[np.float64], *, seed: int, **_: object
) -> FittedRegressor:
    """Fit kernel ridge regression, its features weighted by their importance in a forest."""
    forest, _residuals = _fit_plain_forest(X, y, seed)
    return fit_rbf_kernel_ridge(X, y, forest.feature_importances_, seed=seed)


def fit_stacked(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    squarable: npt.NDArray[np.bool_],
    seed: int,
    **_: object,
) -> FittedRegressor:
    """Fit ridge regression, a random forest and kernel ridge regression, and their weights."""
    forest, residuals = _fit_plain_forest(X, y, seed)
    kernel_ridge = fit_rbf_kernel_ridge(X, y, forest.feature_importances_, seed=seed)
    ridge = fit_ridge(X, y, squarable=squarable)
    return fit_stack([ridge, (forest, residuals), kernel_ridge], y)


class Regressor(NamedTuple):
    """A regressor by its name.

    Attributes:
        fit:
            The function that fits it.
        n_iter:
            Number of random-search draws by default; 0 if there is no random search.
        n_tuned:
            Number of hyperparameters that are chosen by the residuals, which flatters these.
    """

    fit: Callable[..., FittedRegressor]
    n_iter: int
    n_tuned: int


REGRESSORS = {
    "stacked": Regressor(fit_stacked, 0, 7),
    "ols": Regressor(fit_ols, 0, 1),
    "ridge": Regressor(fit_ridge, 0, 2),
    "kernel_ridge": Regressor(fit_kernel_ridge, 0, 3),
    "nu_svr_linear": Regressor(partial(fit_nu_svr, kernel="linear"), 100, 3),
    "nu_svr_rbf": Regressor(partial(fit_nu_svr, kernel="rbf"), 100, 4),
    "random_forest": Regressor(fit_random_forest, 8, 1),
}


class _Squares(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Append the squares of columns.

    Args:
        columns:
            Which columns of ``p``. Shape: ``(p,)``.
    """

    def __init__(self, columns: npt.NDArray[np.bool_]) -> None:
        self.columns = columns

    def fit(self, X: npt.NDArray[np.float64], y: object = None) -> _Squares:
        """Do nothing: there is nothing to learn."""
        return self

    def transform(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Append to a matrix of shape ``(n, p)``."""
        return np.hstack([X, X[:, self.columns] ** 2])


def _fit_linear(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    alphas: npt.NDArray[np.float64],
    squarable: npt.NDArray[np.bool_],
) -> FittedRegressor:
    choices = {columns.tobytes(): columns for columns in (np.zeros_like(squarable), squarable)}
    fits = [_fit_linear_model(X, y, alphas, columns) for columns in choices.values()]
    return min(fits, key=lambda fitted: float(np.mean(fitted[1] ** 2)))


def _fit_linear_model(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    alphas: npt.NDArray[np.float64],
    squared: npt.NDArray[np.bool_],
) -> FittedRegressor:
    squares = _Squares(squared)
    X = squares.transform(X)
    model = RidgeCV(alphas=alphas).fit(X, y)
    u, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    leverages = 1.0 / len(y) + u**2 @ (s**2 / (s**2 + model.alpha_))
    residuals = (y - model.predict(X)) / np.maximum(1.0 - leverages, np.finfo(float).eps)
    return Pipeline([("squares", squares), ("ridge", model)]), residuals


def _fit_plain_forest(
    X: npt.NDArray[np.float64], y: npt.NDArray[np.float64], seed: int
) -> FittedRegressor:
    # Twice as many trees cost twice as much, and add a few thousandths to R² at most.
    forest = RandomForestRegressor(
        50, max_features=0.4, min_samples_leaf=2, oob_score=_no_score, random_state=seed
    ).fit(X, y)
    return forest, y - forest.oob_prediction_


def _search(
    estimator: Any,
    space: dict[str, Any],
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    n_iter: int,
    seed: int,
    refit: bool = True,
) -> Any:
    search = RandomizedSearchCV(
        estimator,
        space,
        n_iter=n_iter,
        scoring="neg_mean_squared_error",
        cv=KFold(3, shuffle=True, random_state=seed),
        random_state=seed,
        refit=refit,
    ).fit(X, y)
    return search.best_estimator_ if refit else estimator.set_params(**search.best_params_)


def _no_score(y_true: object, y_pred: object) -> float:
    return 0.0
