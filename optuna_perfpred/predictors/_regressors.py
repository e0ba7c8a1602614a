"""The regressors of sequential regression models, each with its leave-one-out residuals."""

from __future__ import annotations

from typing import Any
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
from sklearn.svm import NuSVR


if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt


FittedRegressor = tuple[Any, "npt.NDArray[np.float64]"]
"""A fitted scikit-learn regressor and its leave-one-out residuals, shape ``(n,)``."""

_MAX_FOLDS = 100
# Keeps a draw that hardly converges (a linear kernel with a large C) from stalling a trial.
_MAX_SVR_ITERATIONS = 100_000


def fit_ridge(
    X: npt.NDArray[np.float64], y: npt.NDArray[np.float64], **_: object
) -> FittedRegressor:
    """Fit ridge regression, its penalty chosen by the closed form of the leave-one-out error."""
    return _fit_linear(X, y, np.logspace(-3.0, 4.0, 15))


def fit_ols(
    X: npt.NDArray[np.float64], y: npt.NDArray[np.float64], **_: object
) -> FittedRegressor:
    """Fit ordinary least squares.

    A penalty that is negligible for standardized features selects the solution of smallest norm
    where differences of curve values make the features collinear.
    """
    return _fit_linear(X, y, np.array([1e-8]))


def fit_nu_svr(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    *,
    kernel: str,
    published: bool,
    n_iter: int,
    seed: int,
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
        forest = RandomForestRegressor(
            100, max_features=0.4, min_samples_leaf=2, random_state=seed
        ).fit(X, y)
        pipeline = make_pipeline(_FeatureWeights(forest.feature_importances_), svr)
        space = {
            "_featureweights__exponent": stats.uniform(0.0, 1.0),
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


REGRESSORS: dict[str, tuple[Callable[..., FittedRegressor], dict[str, Any], int]] = {
    "ols": (fit_ols, {}, 0),
    "ridge": (fit_ridge, {}, 0),
    "nu_svr_linear": (fit_nu_svr, {"kernel": "linear"}, 100),
    "nu_svr_rbf": (fit_nu_svr, {"kernel": "rbf"}, 100),
    "random_forest": (fit_random_forest, {}, 8),
}
"""Each regressor's fit function, its arguments, and its default number of random-search draws."""


class _FeatureWeights(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Weight standardized features by their importance.

    Args:
        importances:
            A non-negative number for each feature.
        exponent:
            The power of its importance that is a feature's share of the expected squared distance
            between two rows; 0 for equal shares.
    """

    def __init__(self, importances: npt.NDArray[np.float64], exponent: float = 0.0) -> None:
        self.importances = importances
        self.exponent = exponent

    def fit(self, X: npt.NDArray[np.float64], y: object = None) -> _FeatureWeights:
        """Compute the weights; they do not depend on the rows."""
        shares = self.importances**self.exponent
        # Of features that are all constant, none has an importance.
        self.weights_ = np.sqrt(shares / max(shares.sum(), np.finfo(float).tiny))
        return self

    def transform(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Weight the columns of a matrix of shape ``(n, p)``."""
        weighted: npt.NDArray[np.float64] = X * self.weights_
        return weighted


def _fit_linear(
    X: npt.NDArray[np.float64], y: npt.NDArray[np.float64], alphas: npt.NDArray[np.float64]
) -> FittedRegressor:
    model = RidgeCV(alphas=alphas, store_cv_results=True).fit(X, y)
    best = int(np.flatnonzero(alphas == model.alpha_)[0])
    # Squared errors, of which only the magnitude is needed.
    return model, np.sqrt(model.cv_results_[:, best])


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
