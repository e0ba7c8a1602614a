"""The regressors of sequential regression models, each with its leave-one-out residuals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings

import numpy as np
from optuna._imports import _LazyImport
from scipy import stats
from scipy.optimize import nnls
from sklearn.base import BaseEstimator
from sklearn.base import TransformerMixin
from sklearn.exceptions import ConvergenceWarning


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna_perfpred._arrays import Flags
    from optuna_perfpred._arrays import Floats


# A fifth of what it takes to import the package, and the default pruner needs none of them.
ensemble = _LazyImport("sklearn.ensemble")
kernel_ridge = _LazyImport("sklearn.kernel_ridge")
linear_model = _LazyImport("sklearn.linear_model")
model_selection = _LazyImport("sklearn.model_selection")
pairwise = _LazyImport("sklearn.metrics.pairwise")
pipeline = _LazyImport("sklearn.pipeline")
preprocessing = _LazyImport("sklearn.preprocessing")
svm = _LazyImport("sklearn.svm")

# How strongly weights are drawn to equal ones, in units of the best member's squared error. With
# little data, or members that are nearly as good as one another, equal weights are hard to beat.
_SHRINKAGE = 0.5
# Weight of the equation by which the weights add up to one.
_SUM_WEIGHT = 1e4
_EXPONENTS = (0.0, 0.5, 1.0)
# Features are scaled to a total variance of one.
_GAMMAS = np.logspace(-2.0, 1.0, 7)
_ALPHAS = np.logspace(-4.0, 1.0, 11)
# A decomposition costs the cube of the number of curves, and there is one for each kernel.
_MAX_TUNED_CURVES = 300
_MAX_FOLDS = 100
# Keeps a draw that hardly converges (a linear kernel with a large C) from stalling a trial.
_MAX_SVR_ITERATIONS = 100_000


@dataclass(frozen=True)
class Stack:
    """The weighted mean of fitted regressors.

    Attributes:
        members:
            The regressors.
        weights:
            Their weights. Shape: ``(len(members),)``.
        bounds:
            No member's prediction counts as less than the first or more than the second number.
    """

    members: Sequence[Any]
    weights: Floats
    bounds: tuple[float, float]

    def predict(self, X: Floats) -> Floats:
        """Predict for rows of shape ``(m, p)``."""
        predictions = np.column_stack([member.predict(X) for member in self.members])
        weighted: Floats = np.clip(predictions, *self.bounds) @ self.weights
        return weighted


def fit_stack(fits: Sequence[tuple[Any, Floats]], y: Floats) -> tuple[Stack, Floats]:
    """Weight regressors by how they predict rows that they were not trained with.

    Weights are not negative, add up to one and minimize the squared leave-one-out error (Breiman
    1996, "Stacked regressions").

    Args:
        fits:
            Regressors and their leave-one-out residuals, each of shape ``(n,)``.
        y:
            The target. Shape: ``(n,)``.

    Returns:
        The regressor and its leave-one-out residuals, of shape ``(n,)``.
    """
    low, high = plausible_range(y)
    residuals = np.column_stack([y - np.clip(y - r, low, high) for _, r in fits])
    n, k = residuals.shape
    smallest = float(np.mean(residuals**2, axis=0).min())
    scale = np.sqrt(max(smallest, np.finfo(float).tiny))
    penalty = np.sqrt(_SHRINKAGE * n)
    weights, _ = nnls(
        np.vstack([residuals / scale, np.full((1, k), _SUM_WEIGHT), penalty * np.eye(k)]),
        np.concatenate([np.zeros(n), [_SUM_WEIGHT], np.full(k, penalty / k)]),
    )
    weights /= weights.sum()
    return Stack([member for member, _ in fits], weights, (low, high)), residuals @ weights


def plausible_range(y: Floats) -> tuple[float, float]:
    """Give the range in which predictions of a gain are credible.

    A model that lets a curve fall further than any fell before it has failed; one that lets it
    rise further may be right, up to the whole range of what was seen.

    Args:
        y:
            The gains of training curves. Shape: ``(n,)``.
    """
    return float(y.min()), float(2.0 * y.max() - y.min())


class FeatureWeights(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Weight standardized features by their importance.

    Args:
        importances:
            A number for each feature, negative only by rounding.
        exponent:
            The power of its importance that is a feature's share of the expected squared distance
            between two rows; 0 for equal shares.
    """

    def __init__(self, importances: Floats, exponent: float = 0.0) -> None:
        self.importances = importances
        self.exponent = exponent

    def fit(self, X: Floats, y: object = None) -> FeatureWeights:
        """Compute the weights; they do not depend on the rows."""
        # Rounding gives a feature that tells nothing an importance of less than zero.
        shares = np.maximum(self.importances, 0.0) ** self.exponent
        # Of features that are all constant, none has an importance.
        self.weights_ = np.sqrt(shares / max(shares.sum(), np.finfo(float).tiny))
        return self

    def transform(self, X: Floats) -> Floats:
        """Weight the columns of a matrix of shape ``(n, p)``."""
        weighted: Floats = X * self.weights_
        return weighted


def fit_rbf_kernel_ridge(
    X: Floats, y: Floats, importances: Floats, *, seed: int
) -> tuple[Any, Floats]:
    """Fit kernel ridge regression with an RBF kernel.

    Penalty, kernel width and the weights of the features are chosen by the leave-one-out error,
    which is a closed form: with a penalty ``a``, the residual of row ``i`` is that element of
    ``(K + aI)⁻¹y`` over that of the diagonal of ``(K + aI)⁻¹`` (Rasmussen and Williams 2006,
    section 5.4.2). One decomposition of a kernel serves all penalties, so that the search costs
    hundredths of a second for 100 curves.

    Args:
        X:
            Standardized features. Shape: ``(n, p)``.
        y:
            The target, of mean zero. Shape: ``(n,)``.
        importances:
            How much each feature tells, not negative. Shape: ``(p,)``.
        seed:
            Seed of the draw of at most 300 rows by which the choice is made.

    Returns:
        The regressor and its leave-one-out residuals, of shape ``(n,)``.
    """
    rows = np.arange(len(y))
    if len(rows) > _MAX_TUNED_CURVES:
        rows = np.random.default_rng(seed).choice(rows, _MAX_TUNED_CURVES, replace=False)
    best = (np.inf, 0.0, 1.0, 1.0)
    for exponent in _EXPONENTS:
        weighted = FeatureWeights(importances, exponent).fit(X).transform(X[rows])
        distances = pairwise.euclidean_distances(weighted, squared=True)
        for gamma in _GAMMAS:
            errors = [np.mean(r**2) for r in _residuals(np.exp(-gamma * distances), y[rows])]
            at = int(np.argmin(errors))
            best = min(best, (float(errors[at]), exponent, float(gamma), float(_ALPHAS[at])))
    _, exponent, gamma, alpha = best
    weights = FeatureWeights(importances, exponent)
    model = pipeline.make_pipeline(
        weights, kernel_ridge.KernelRidge(alpha=alpha, kernel="rbf", gamma=gamma)
    ).fit(X, y)
    distances = pairwise.euclidean_distances(weights.transform(X), squared=True)
    inverse = np.linalg.inv(np.exp(-gamma * distances) + alpha * np.eye(len(y)))
    return model, inverse @ y / np.diag(inverse)


def _residuals(kernel: Floats, y: Floats) -> list[Floats]:
    """Give the leave-one-out residuals for each penalty, each of shape ``(n,)``."""
    eigenvalues, eigenvectors = np.linalg.eigh(kernel)
    projected = eigenvectors.T @ y
    residuals = []
    for alpha in _ALPHAS:
        # Rounding makes eigenvalues that are zero negative.
        inverse = 1.0 / (np.maximum(eigenvalues, 0.0) + alpha)
        residuals.append(eigenvectors @ (inverse * projected) / (eigenvectors**2 @ inverse))
    return residuals


FittedRegressor = tuple[Any, "Floats"]
"""A fitted scikit-learn regressor and its leave-one-out residuals, shape ``(n,)``."""


def fit_ridge(X: Floats, y: Floats, *, squarable: Flags, **_: object) -> FittedRegressor:
    """Fit ridge regression, its penalty chosen by the closed form of the leave-one-out error."""
    return _fit_linear(X, y, np.logspace(-3.0, 4.0, 15), squarable)


def fit_ols(X: Floats, y: Floats, *, squarable: Flags, **_: object) -> FittedRegressor:
    """Fit ordinary least squares.

    A penalty that is negligible for standardized features selects the solution of smallest norm
    where differences of curve values make the features collinear.
    """
    return _fit_linear(X, y, np.array([1e-8]), squarable)


def fit_nu_svr(
    X: Floats, y: Floats, *, kernel: str, published: bool, n_iter: int, seed: int, **_: object
) -> FittedRegressor:
    """Fit ν-SVR by random search.

    Baker et al. (2017, appendix) draw C and γ log-uniformly from [1e-5, 10] and ν uniformly from
    [0, 1]. Unless ``published``, an isotropic kernel is given a metric: features are weighted by
    a power, drawn uniformly from [0, 1], of their importance in a random forest, and scaled to a
    total variance of one. Distances of that scale call for γ in [0.01, 10]; C goes to 100,
    because the best C was often found at the published limit.
    """
    svr = svm.NuSVR(kernel=kernel, max_iter=_MAX_SVR_ITERATIONS)
    nu = stats.uniform(1e-3, 1.0 - 1e-3)
    if published:
        model = pipeline.make_pipeline(svr)
        space = {
            "nusvr__C": stats.loguniform(1e-5, 10.0),
            "nusvr__nu": nu,
            "nusvr__gamma": stats.loguniform(1e-5, 10.0),
        }
    else:
        forest, _residuals = _fit_plain_forest(X, y, seed)
        model = pipeline.make_pipeline(FeatureWeights(forest.feature_importances_), svr)
        space = {
            "featureweights__exponent": stats.uniform(0.0, 1.0),
            "nusvr__C": stats.loguniform(1e-2, 100.0),
            "nusvr__nu": nu,
            "nusvr__gamma": stats.loguniform(1e-2, 10.0),
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = _search(model, space, X, y, n_iter=n_iter, seed=seed)
        # Leave-one-out up to 100 curves, the number in all experiments of the paper.
        folds = model_selection.KFold(min(len(y), _MAX_FOLDS))
        predicted = model_selection.cross_val_predict(model, X, y, cv=folds)
    return model, y - predicted


def fit_random_forest(
    X: Floats, y: Floats, *, published: bool, n_iter: int, seed: int, **_: object
) -> FittedRegressor:
    """Fit a random forest by random search over the published ranges.

    Baker et al. (2017, appendix) draw 10 to 800 trees and 0.1 to 0.5 of the features. Unless
    ``published``, there are 100 trees: more do not change the forecast but its cost. The
    leave-one-out residual of a curve is that of the trees grown without it (out of bag).
    """
    space: dict[str, Any] = {"max_features": stats.uniform(0.1, 0.4)}
    if published:
        space["n_estimators"] = stats.randint(10, 801)
    forest = _new_forest(100, bootstrap=True, random_state=seed)
    model = _search(forest, space, X, y, n_iter=n_iter, seed=seed, refit=False)
    model.set_params(oob_score=_no_score).fit(X, y)
    return model, y - model.oob_prediction_


def fit_kernel_ridge(X: Floats, y: Floats, *, seed: int, **_: object) -> FittedRegressor:
    """Fit kernel ridge regression, its features weighted by their importance in a forest."""
    forest, _residuals = _fit_plain_forest(X, y, seed)
    return fit_rbf_kernel_ridge(X, y, forest.feature_importances_, seed=seed)


def fit_stacked(
    X: Floats, y: Floats, *, squarable: Flags, seed: int, **_: object
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


def _with_squares(X: Floats, columns: Flags) -> Floats:
    return np.hstack([X, X[:, columns] ** 2])


def _fit_linear(X: Floats, y: Floats, alphas: Floats, squarable: Flags) -> FittedRegressor:
    choices = {columns.tobytes(): columns for columns in (np.zeros_like(squarable), squarable)}
    fits = [_fit_linear_model(X, y, alphas, columns) for columns in choices.values()]
    return min(fits, key=lambda fitted: float(np.mean(fitted[1] ** 2)))


def _fit_linear_model(X: Floats, y: Floats, alphas: Floats, squared: Flags) -> FittedRegressor:
    squares = preprocessing.FunctionTransformer(_with_squares, kw_args={"columns": squared})
    X = _with_squares(X, squared)
    model = linear_model.RidgeCV(alphas=alphas).fit(X, y)
    u, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    leverages = 1.0 / len(y) + u**2 @ (s**2 / (s**2 + model.alpha_))
    residuals = (y - model.predict(X)) / np.maximum(1.0 - leverages, np.finfo(float).eps)
    return pipeline.Pipeline([("squares", squares), ("ridge", model)]), residuals


def _fit_plain_forest(X: Floats, y: Floats, seed: int) -> FittedRegressor:
    # Twice as many trees cost twice as much, and add a few thousandths to R² at most.
    forest = _new_forest(
        50, max_features=0.4, min_samples_leaf=2, oob_score=_no_score, random_state=seed
    ).fit(X, y)
    return forest, y - forest.oob_prediction_


def _new_forest(n_estimators: int, **options: object) -> Any:
    return ensemble.RandomForestRegressor(n_estimators, **options)


def _search(
    estimator: Any,
    space: dict[str, Any],
    X: Floats,
    y: Floats,
    *,
    n_iter: int,
    seed: int,
    refit: bool = True,
) -> Any:
    search = model_selection.RandomizedSearchCV(
        estimator,
        space,
        n_iter=n_iter,
        scoring="neg_mean_squared_error",
        cv=model_selection.KFold(3, shuffle=True, random_state=seed),
        random_state=seed,
        refit=refit,
    ).fit(X, y)
    return search.best_estimator_ if refit else estimator.set_params(**search.best_params_)


def _no_score(y_true: object, y_pred: object) -> float:
    return 0.0
