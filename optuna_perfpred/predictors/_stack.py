from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls
from sklearn.base import BaseEstimator
from sklearn.base import RegressorMixin


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


# How strongly weights are drawn to equal ones, in units of the best member's squared error. With
# little data, or members that are nearly as good as one another, equal weights are hard to beat.
_SHRINKAGE = 0.5
# Weight of the equation by which the weights add up to one.
_SUM_WEIGHT = 1e4


class Stack(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The weighted mean of fitted regressors.

    Args:
        members:
            The regressors.
        weights:
            Their weights. Shape: ``(len(members),)``.
        range:
            No member's prediction counts as less than the first or more than the second number.
    """

    def __init__(
        self,
        members: Sequence[Any],
        weights: npt.NDArray[np.float64],
        range: tuple[float, float],  # noqa: A002
    ) -> None:
        self.members = members
        self.weights = weights
        self.range = range

    def predict(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Predict for rows of shape ``(m, p)``."""
        predictions = np.column_stack([member.predict(X) for member in self.members])
        weighted: npt.NDArray[np.float64] = np.clip(predictions, *self.range) @ self.weights
        return weighted


def fit_stack(
    fits: Sequence[tuple[Any, npt.NDArray[np.float64]]], y: npt.NDArray[np.float64]
) -> tuple[Stack, npt.NDArray[np.float64]]:
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


def plausible_range(y: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Give the range in which predictions of a gain are credible.

    A model that lets a curve fall further than any fell before it has failed; one that lets it
    rise further may be right, up to the whole range of what was seen.

    Args:
        y:
            The gains of training curves. Shape: ``(n,)``.
    """
    return float(y.min()), float(2.0 * y.max() - y.min())
