from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from optuna_perfpred._arrays import Floats


_PENALTIES = 10.0 ** np.arange(-1, 5)
# Standardized features are drawn in to this: a curve unlike all others must not be extrapolated.
_LARGEST_SCORE = 4.0
# A relative error below this is rounding.
_SMALLEST_ERROR = 1e-4


class GainRegression:
    """Ridge regressions of the gain that is still to come, one for each step, fitted in one go.

    The same idea as :class:`~optuna_perfpred.predictors.SequentialRegression` with ridge
    regression, in a form that is fitted again whenever a trial is complete: the regressions of
    all steps share one call of each linear algebra routine, and the penalty of each is the one
    with the least leave-one-out error, which is a closed form (Hastie, Tibshirani, Friedman, "The
    Elements of Statistical Learning", 2nd edition, section 7.10).

    Args:
        curves:
            Learning curves without gaps. Shape: ``(n, n_steps)``.
        finals:
            Final values. Shape: ``(n,)``.
        configurations:
            Encoded configurations. Shape: ``(n, n_features)``.

    Attributes:
        residuals:
            Actual minus predicted final values, leaving out the trial itself. Shape:
            ``(n_steps - 1, n)``.
        std:
            Root mean squares of the residuals. Shape: ``(n_steps - 1,)``.
        unexplained:
            ``std`` as a share of the standard deviation of the gains. Shape: ``(n_steps - 1,)``.
    """

    def __init__(self, curves: Floats, finals: Floats, configurations: Floats) -> None:
        n, n_steps = curves.shape
        self._encoding = _Encoding(configurations)
        raw = _curve_features(curves)[:, : n_steps - 1].transpose(1, 0, 2)
        self._mean = raw.mean(axis=1)
        self._scale = np.maximum(raw.std(axis=1), 1e-9)
        of_curves = self._standardize(raw, self._mean[:, np.newaxis], self._scale[:, np.newaxis])
        self._center = of_curves.mean(axis=1)
        of_curves = of_curves - self._center[:, np.newaxis]
        encoded = self._encoding.transform(configurations)

        gains = (finals[:, np.newaxis] - curves[:, : n_steps - 1]).T
        self._mean_gain = gains.mean(axis=1)
        centered = gains - self._mean_gain[:, np.newaxis]
        # One eigendecomposition of the smaller Gram matrix gives the fits of all penalties.
        n_of_curves = of_curves.shape[2]
        is_wide = n_of_curves + encoded.shape[1] > n
        if is_wide:
            # Of the trials: the configurations' part is the same at each step.
            gram = of_curves @ of_curves.transpose(0, 2, 1) + encoded @ encoded.T
        else:
            shape = (n_steps - 1, n, encoded.shape[1])
            features = np.concatenate([of_curves, np.broadcast_to(encoded, shape)], axis=2)
            gram = features.transpose(0, 2, 1) @ features
        eigenvalues, eigenvectors = np.linalg.eigh(gram)
        eigenvalues = np.maximum(eigenvalues, 0.0)
        if is_wide:
            rotated = eigenvectors * np.sqrt(eigenvalues)[:, np.newaxis]
            projected = np.einsum("tnp,tn->tp", eigenvectors, centered)
            scale = np.sqrt(eigenvalues)
        else:
            rotated = features @ eigenvectors
            projected = np.einsum("tnp,tn->tp", rotated, centered)
            scale = np.ones_like(eigenvalues)
        errors = np.full(n_steps - 1, np.inf)
        self.residuals = centered
        best = np.zeros_like(projected)
        squared = rotated**2
        for penalty in _PENALTIES:
            shrinkage = 1.0 / (eigenvalues + penalty)
            leverage = np.einsum("tnp,tp->tn", squared, shrinkage) + 1.0 / n
            fitted = np.einsum("tnp,tp->tn", rotated, scale * shrinkage * projected)
            residuals = (centered - fitted) / np.maximum(1.0 - leverage, 1e-3)
            error = np.mean(residuals**2, axis=1)
            better = error < errors
            errors = np.where(better, error, errors)
            self.residuals = np.where(better[:, np.newaxis], residuals, self.residuals)
            best = np.where(better[:, np.newaxis], shrinkage * projected, best)
        weights = np.einsum("tip,tp->ti", eigenvectors, best)
        if is_wide:  # Those of the trials.
            self._of_curves = np.einsum("tnp,tn->tp", of_curves, weights)
            self._of_encoded = weights @ encoded
        else:
            self._of_curves, self._of_encoded = np.hsplit(weights, [n_of_curves])
        self.std = np.maximum(np.sqrt(errors * n / max(n - 1, 1)), _SMALLEST_ERROR)
        self.unexplained = self.std / np.maximum(gains.std(axis=1), 1e-9)
        # No curve falls further than any fell before it; one may rise further than any did.
        self._range = (gains.min(axis=1), 2.0 * gains.max(axis=1) - gains.min(axis=1))

    def predict(self, curves: Floats, configurations: Floats) -> Floats:
        """Predict the final values of trials from each of their steps so far.

        Args:
            curves:
                Their learning curves so far, without gaps. Shape: ``(m, t)``, ``t < n_steps``.
            configurations:
                Their encoded configurations. Shape: ``(m, n_features)``.

        Returns:
            Predictions of shape ``(m, t)``.
        """
        t = curves.shape[1]
        raw = _curve_features(curves)
        of_curves = self._standardize(raw, self._mean[:t], self._scale[:t]) - self._center[:t]
        gains = np.einsum("mtp,tp->mt", of_curves, self._of_curves[:t]) + self._mean_gain[:t]
        gains += self._encoding.transform(configurations) @ self._of_encoded[:t].T
        predicted: Floats = curves + np.clip(gains, self._range[0][:t], self._range[1][:t])
        return predicted

    @staticmethod
    def _standardize(raw: Floats, mean: Floats, scale: Floats) -> Floats:
        return np.clip((raw - mean) / scale, -_LARGEST_SCORE, _LARGEST_SCORE)


class _Encoding:
    """Standardized configurations and their squares: a learning rate has its optimum inside."""

    def __init__(self, configurations: Floats) -> None:
        mean = configurations.mean(axis=0)
        std = configurations.std(axis=0)
        self._varies = std > 1e-12 * (1.0 + np.abs(mean))
        self._mean = mean[self._varies]
        self._std = std[self._varies]
        scores = (configurations[:, self._varies] - self._mean) / self._std
        # The square of a feature with two values is that feature again.
        between = (scores > scores.min(axis=0)) & (scores < scores.max(axis=0))
        self._squared = between.any(axis=0)
        self._mean_of_encoded, self._std_of_encoded = np.float64(0.0), np.float64(1.0)
        encoded = self.transform(configurations)
        self._mean_of_encoded = encoded.mean(axis=0)
        self._std_of_encoded = np.maximum(encoded.std(axis=0), 1e-9)

    def transform(self, configurations: Floats) -> Floats:
        scores = (configurations[:, self._varies] - self._mean) / self._std
        scores = np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)
        squares = np.minimum(scores[:, self._squared] ** 2, 9.0)
        encoded: Floats = np.hstack([scores, squares]) - self._mean_of_encoded
        return encoded / self._std_of_encoded


def _curve_features(curves: Floats) -> Floats:
    """Summarize curves up to each of their steps.

    Args:
        curves:
            Learning curves without gaps. Shape: ``(n, n_steps)``.

    Returns:
        Last value, total gain, distance of the best from the last value and of the mean of the
        last three, gains over the second half and the last quarter. Shape: ``(n, n_steps, 6)``.
    """
    n, n_steps = curves.shape
    step = np.arange(n_steps)
    sums = np.hstack([np.zeros((n, 1)), np.cumsum(curves, axis=1)])
    first = np.maximum(0, step - 2)
    return np.stack(
        [
            curves,
            curves - curves[:, :1],
            np.maximum.accumulate(curves, axis=1) - curves,
            (sums[:, step + 1] - sums[:, first]) / (step + 1 - first) - curves,
            curves - curves[:, step // 2],
            curves - curves[:, (3 * step) // 4],
        ],
        axis=2,
    )
