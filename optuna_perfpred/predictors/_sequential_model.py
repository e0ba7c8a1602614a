"""The models of :class:`SequentialRegression`, each for one observed length of curves."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import math
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize
from scipy import special

from optuna_perfpred.predictors._regressors import plausible_range
from optuna_perfpred.predictors._regressors import REGRESSORS


if TYPE_CHECKING:
    from optuna_perfpred._arrays import Floats


# The interval that the errors are made to fit.
_COVERAGE = 0.9
# Of two degrees of freedom the variance is infinite.
_SMALLEST_DF = 2.05


def fit_errors(residuals: Floats, n_tuned: int) -> tuple[float, float]:
    """Fit Student's t distribution to leave-one-out residuals.

    Its central 90 % interval holds 90 % of them, with the correction for their number by which
    an interval around a new prediction is right (conformal prediction; Vovk et al. 2005), and its
    standard deviation is their root mean square, as far as a t distribution has such tails: a few
    diverged trainings among many ordinary ones make the tails heavy and not the interval wide.

    Args:
        residuals:
            Leave-one-out residuals. Shape: ``(n,)``.
        n_tuned:
            Number of hyperparameters that were chosen by these residuals. As if they were
            coefficients, the errors to come are taken to be larger by ``n / (n - n_tuned)`` in
            the mean square.

    Returns:
        The scale and the degrees of freedom, at most ``n - 1``.
    """
    n = len(residuals)
    sizes = np.sort(np.abs(residuals)) * math.sqrt(n / max(n - n_tuned, 0.5 * n))
    rms = float(np.sqrt(np.mean(sizes**2)))
    half_width = float(sizes[min(math.ceil(_COVERAGE * (n + 1)), n) - 1])
    if half_width == 0.0:
        return rms, n - 1.0

    def excess(df: float) -> float:
        return rms / half_width - math.sqrt(df / (df - 2.0)) / _half_width(df)

    df = n - 1.0
    if excess(df) > 0.0:
        df = (
            optimize.brentq(excess, _SMALLEST_DF, df) if excess(_SMALLEST_DF) < 0 else _SMALLEST_DF
        )
    return half_width / _half_width(df), df


def _half_width(df: float) -> float:
    return float(special.stdtrit(df, 0.5 + _COVERAGE / 2.0))


def published_features(curves: Floats) -> Floats:
    """Give every value of the curves, their first and their second differences.

    These are the time-series features of Baker et al. (2017, section 3.1).

    Args:
        curves:
            The first ``t`` values of the curves, without NaN. Shape: ``(n, t)``.

    Returns:
        Features of shape ``(n, t + max(t - 1, 0) + max(t - 2, 0))``.
    """
    orders = range(min(3, curves.shape[1]))
    return np.hstack([np.diff(curves, n=order, axis=1) for order in orders])


def summary_features(curves: Floats) -> Floats:
    """Summarize curves of any length by the same eight numbers.

    As many features as steps drown the configuration in a distance between trials (an RBF kernel)
    and outnumber the trials: measured with 100 curves of AlexNet at a quarter of their length,
    ν-SVR's R² is 0.29 with all values and differences and 0.78 by default (the benchmark
    ``evidence.py accuracy``).

    Args:
        curves:
            The first ``t`` values of the curves, without NaN. Shape: ``(n, t)``.

    Returns:
        The first value, the last, the largest, the smallest, the mean, the mean of the last
        three, the gain since the middle and the gain of the last step. Shape: ``(n, 8)``.
    """
    length = curves.shape[1]
    last = curves[:, -1]
    return np.column_stack(
        [
            curves[:, 0],
            last,
            curves.max(axis=1),
            curves.min(axis=1),
            curves.mean(axis=1),
            curves[:, -3:].mean(axis=1),
            last - curves[:, length // 2],
            last - curves[:, max(length - 2, 0)],
        ]
    )


class Standardizer:
    """Center and scale columns, and keep single extreme rows from ruling them.

    Args:
        X:
            The rows to learn from. Shape: ``(n, p)``.
        robust:
            Whether values are drawn in to within three times the distance between the 10th and
            the 90th percentile beyond them. Perplexities and diverged losses need it; so does an
            isotropic kernel, for which a row far away is a row without neighbours.
    """

    def __init__(self, X: Floats, *, robust: bool) -> None:
        self._robust = robust
        low, high = extremes(X) if robust else (X.min(axis=0), X.max(axis=0))
        self._low: Floats = low
        self._high: Floats = high
        drawn_in = np.clip(X, low, high)
        self.mean = drawn_in.mean(axis=0)
        std = drawn_in.std(axis=0)
        # A column that does not vary, but for rounding, must not be blown up to noise.
        varies = std > 1e-10 * np.abs(self.mean)
        self.scale = np.where(varies, std, 1.0)
        self._varies = varies

    def transform(self, X: Floats) -> Floats:
        """Standardize rows of shape ``(m, p)``; a column that did not vary becomes zero."""
        drawn_in = np.clip(X, self._low, self._high) if self._robust else X
        standardized: Floats = (drawn_in - self.mean) / self.scale * self._varies
        return standardized


def extremes(X: Floats) -> tuple[Floats, Floats]:
    """Give the ends of each column without outliers, as :class:`Standardizer` draws them in."""
    q10, q90 = np.quantile(X, [0.1, 0.9], axis=0)
    margin = 3.0 * (q90 - q10)
    # With nearly all values equal there is no scale to judge an extreme by.
    low = np.where(margin > 0.0, q10 - margin, X.min(axis=0))
    high = np.where(margin > 0.0, q90 + margin, X.max(axis=0))
    return low, high


@dataclass(frozen=True)
class SequentialModel:
    """The regression for one observed length of curves.

    Attributes:
        predicted:
            The finals of the training curves, each predicted by the others. Shape: ``(n,)``.
        std:
            The scale of the errors.
        df:
            Their degrees of freedom.
    """

    estimator: Any
    features: Features
    target: Standardizer
    range: tuple[float, float]
    smallest_move: float
    worst: float
    predicted: Floats
    std: float
    df: float

    @classmethod
    def fit(
        cls,
        configurations: Floats,
        curves: Floats,
        finals: Floats,
        *,
        regressor: str,
        published: bool = False,
        n_iter: int | None = None,
        seed: int,
    ) -> SequentialModel:
        """Fit it to training curves of shape ``(n, length)``, without NaN."""
        raw = (finals if published else finals - curves[:, -1])[:, np.newaxis]
        target = Standardizer(raw, robust=not published)
        y = target.transform(raw)[:, 0]
        features = Features(configurations, curves, published=published)
        fit, default_n_iter, n_tuned = REGRESSORS[regressor]
        estimator, residuals = fit(
            features.transform(configurations, curves),
            y,
            squarable=features.squarable,
            published=published,
            n_iter=n_iter or default_n_iter,
            seed=seed,
        )
        residuals *= target.scale[0]
        if published:
            std, df = float(np.sqrt(np.mean(residuals**2))), np.inf
        else:
            std, df = fit_errors(residuals, n_tuned)
        return cls(
            estimator=estimator,
            features=features,
            target=target,
            range=plausible_range(y),
            smallest_move=float(np.ptp(curves, axis=1).min()),
            worst=float(finals.min()),
            predicted=finals - residuals,
            std=std,
            df=df,
        )

    def predict(self, configurations: Floats, curves: Floats) -> tuple[Floats, Floats]:
        """Give predictions and the scale of their errors for curves of shape ``(m, length)``."""
        mean = self._predict(configurations, curves)
        return mean, np.full(len(mean), self.std)

    def _predict(self, configurations: Floats, curves: Floats) -> Floats:
        y = self.estimator.predict(self.features.transform(configurations, curves))
        if not self.features.published:
            y = np.clip(y, *self.range)
        predicted: Floats = y * self.target.scale + self.target.mean
        if self.features.published:
            return predicted
        if self.smallest_move > 0.0:
            predicted *= np.minimum(np.ptp(curves, axis=1) / self.smallest_move, 1.0)
        # Accuracies do not end below zero: none ends worse than all before it and than it stands.
        last = curves[:, -1]
        return np.maximum(last + predicted, np.minimum(last, self.worst))


@dataclass(frozen=True)
class BlendedModel:
    """Two stacks: one of the values as they are, one of compressed values.

    Where some trainings diverge, squared errors are those of the diverged ones, and a model that
    minimizes them orders the others badly: with 100 of the language models in
    ``benchmarks/curves`` at a quarter of their curves, the rank correlation with the final
    perplexities is .89 as they are and .94 compressed, and R² is .77 and .61. So the compressed
    values tell among ordinary trainings and the others far from them.

    Attributes:
        df:
            The degrees of freedom of the errors.
    """

    plain: SequentialModel
    compressed: SequentialModel
    center: float
    spread: float
    std: float
    df: float

    @classmethod
    def fit(
        cls, configurations: Floats, curves: Floats, finals: Floats, *, seed: int
    ) -> BlendedModel | SequentialModel:
        """Fit it; without a spread of the final values there is nothing to compress."""
        plain = SequentialModel.fit(configurations, curves, finals, regressor="stacked", seed=seed)
        low, center, high = np.quantile(finals, [0.1, 0.5, 0.9])
        spread = high - low
        if spread <= 1e-10 * abs(center):
            return plain
        compressed = SequentialModel.fit(
            configurations,
            np.arcsinh((curves - center) / spread),
            np.arcsinh((finals - center) / spread),
            regressor="stacked",
            seed=seed,
        )
        unscaled = cls(plain, compressed, center, spread, 1.0, 1.0)
        predicted = unscaled._blend(plain.predicted, compressed.predicted)
        residuals = (finals - predicted) / unscaled._relative_std(predicted)
        # The center and the spread were chosen by these finals, too.
        std, df = fit_errors(residuals, REGRESSORS["stacked"].n_tuned + 2)
        return replace(unscaled, std=std, df=df)

    def predict(self, configurations: Floats, curves: Floats) -> tuple[Floats, Floats]:
        """Give predictions and the scale of their errors for curves of shape ``(m, length)``."""
        plain, _ = self.plain.predict(configurations, curves)
        compressed_curves = np.arcsinh((curves - self.center) / self.spread)
        compressed, _ = self.compressed.predict(configurations, compressed_curves)
        mean = self._blend(plain, compressed)
        return mean, self.std * self._relative_std(mean)

    def _blend(self, plain: Floats, compressed: Floats) -> Floats:
        ordinary = self.center + self.spread * np.sinh(compressed)
        distance = np.maximum(np.abs(plain - self.center), np.abs(ordinary - self.center))
        share = 1.0 / (1.0 + (distance / (2.0 * self.spread)) ** 4)
        return share * ordinary + (1.0 - share) * plain

    def _relative_std(self, predicted: Floats) -> Floats:
        # Errors of one size on the compressed scale grow with the distance from the center.
        return np.hypot(1.0, (predicted - self.center) / self.spread)


class Features:
    """Curves and configurations as standardized features of a regression.

    Attributes:
        squarable:
            Which features' squares may tell more: none of the curve's, nor of those with two
            values, which their squares are again. Shape: ``(p,)``.
    """

    def __init__(self, configurations: Floats, curves: Floats, *, published: bool) -> None:
        self.published = published
        of_curve = self._of_curve(curves)
        self._curve = Standardizer(of_curve, robust=not published)
        self._configuration = Standardizer(configurations, robust=not published)
        self._lowest = configurations.min(axis=0)
        self._highest = configurations.max(axis=0)
        varied = [not published and len(np.unique(column)) > 2 for column in configurations.T]
        self.squarable = np.array([False] * of_curve.shape[1] + varied, dtype=bool)

    def transform(self, configurations: Floats, curves: Floats) -> Floats:
        if not self.published:
            configurations = np.clip(configurations, self._lowest, self._highest)
        return np.hstack(
            [
                self._curve.transform(self._of_curve(curves)),
                self._configuration.transform(configurations),
            ]
        )

    def _of_curve(self, curves: Floats) -> Floats:
        return published_features(curves) if self.published else summary_features(curves)
