from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.base import TransformerMixin
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.pipeline import make_pipeline


if TYPE_CHECKING:
    import numpy.typing as npt


_EXPONENTS = (0.0, 0.5, 1.0)
# Features are scaled to a total variance of one.
_GAMMAS = np.logspace(-2.0, 1.0, 7)
_ALPHAS = np.logspace(-4.0, 1.0, 11)
# A decomposition costs the cube of the number of curves, and there is one for each kernel.
_MAX_TUNED_CURVES = 300


class FeatureWeights(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Weight standardized features by their importance.

    Args:
        importances:
            A number for each feature, negative only by rounding.
        exponent:
            The power of its importance that is a feature's share of the expected squared distance
            between two rows; 0 for equal shares.
    """

    def __init__(self, importances: npt.NDArray[np.float64], exponent: float = 0.0) -> None:
        self.importances = importances
        self.exponent = exponent

    def fit(self, X: npt.NDArray[np.float64], y: object = None) -> FeatureWeights:
        """Compute the weights; they do not depend on the rows."""
        # Rounding gives a feature that tells nothing an importance of less than zero.
        shares = np.maximum(self.importances, 0.0) ** self.exponent
        # Of features that are all constant, none has an importance.
        self.weights_ = np.sqrt(shares / max(shares.sum(), np.finfo(float).tiny))
        return self

    def transform(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Weight the columns of a matrix of shape ``(n, p)``."""
        weighted: npt.NDArray[np.float64] = X * self.weights_
        return weighted


def fit_rbf_kernel_ridge(
    X: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    importances: npt.NDArray[np.float64],
    *,
    seed: int,
) -> tuple[Any, npt.NDArray[np.float64]]:
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
        distances = euclidean_distances(weighted, squared=True)
        for gamma in _GAMMAS:
            errors = [np.mean(r**2) for r in _residuals(np.exp(-gamma * distances), y[rows])]
            at = int(np.argmin(errors))
            best = min(best, (float(errors[at]), exponent, float(gamma), float(_ALPHAS[at])))
    _, exponent, gamma, alpha = best
    weights = FeatureWeights(importances, exponent)
    model = make_pipeline(weights, KernelRidge(alpha=alpha, kernel="rbf", gamma=gamma)).fit(X, y)
    distances = euclidean_distances(weights.transform(X), squared=True)
    inverse = np.linalg.inv(np.exp(-gamma * distances) + alpha * np.eye(len(y)))
    return model, inverse @ y / np.diag(inverse)


def _residuals(
    kernel: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> list[npt.NDArray[np.float64]]:
    """Give the leave-one-out residuals for each penalty, each of shape ``(n,)``."""
    eigenvalues, eigenvectors = np.linalg.eigh(kernel)
    projected = eigenvectors.T @ y
    residuals = []
    for alpha in _ALPHAS:
        # Rounding makes eigenvalues that are zero negative.
        inverse = 1.0 / (np.maximum(eigenvalues, 0.0) + alpha)
        residuals.append(eigenvectors @ (inverse * projected) / (eigenvectors**2 @ inverse))
    return residuals
