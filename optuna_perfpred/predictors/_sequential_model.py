"""The models of :class:`SequentialRegression`, each for one observed length of curves."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.predictors._errors import fit_errors
from optuna_perfpred.predictors._features import published_features
from optuna_perfpred.predictors._features import Standardizer
from optuna_perfpred.predictors._features import summary_features
from optuna_perfpred.predictors._regressors import REGRESSORS
from optuna_perfpred.predictors._stack import plausible_range


if TYPE_CHECKING:
    import numpy.typing as npt


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
    predicted: npt.NDArray[np.float64]
    std: float
    df: float

    @classmethod
    def fit(
        cls,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        finals: npt.NDArray[np.float64],
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

    def predict(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Give predictions and the scale of their errors for curves of shape ``(m, length)``."""
        mean = self._predict(configurations, curves)
        return mean, np.full(len(mean), self.std)

    def _predict(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        y = self.estimator.predict(self.features.transform(configurations, curves))
        if not self.features.published:
            y = np.clip(y, *self.range)
        predicted: npt.NDArray[np.float64] = y * self.target.scale + self.target.mean
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
        cls,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        finals: npt.NDArray[np.float64],
        *,
        seed: int,
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

    def predict(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Give predictions and the scale of their errors for curves of shape ``(m, length)``."""
        plain, _ = self.plain.predict(configurations, curves)
        compressed_curves = np.arcsinh((curves - self.center) / self.spread)
        compressed, _ = self.compressed.predict(configurations, compressed_curves)
        mean = self._blend(plain, compressed)
        return mean, self.std * self._relative_std(mean)

    def _blend(
        self, plain: npt.NDArray[np.float64], compressed: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        ordinary = self.center + self.spread * np.sinh(compressed)
        distance = np.maximum(np.abs(plain - self.center), np.abs(ordinary - self.center))
        share = 1.0 / (1.0 + (distance / (2.0 * self.spread)) ** 4)
        return share * ordinary + (1.0 - share) * plain

    def _relative_std(self, predicted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Errors of one size on the compressed scale grow with the distance from the center.
        return np.hypot(1.0, (predicted - self.center) / self.spread)


class Features:
    """Curves and configurations as standardized features of a regression.

    Attributes:
        squarable:
            Which features' squares may tell more: none of the curve's, nor of those with two
            values, which their squares are again. Shape: ``(p,)``.
    """

    def __init__(
        self,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        *,
        published: bool,
    ) -> None:
        self.published = published
        of_curve = self._of_curve(curves)
        self._curve = Standardizer(of_curve, robust=not published)
        self._configuration = Standardizer(configurations, robust=not published)
        self._lowest = configurations.min(axis=0)
        self._highest = configurations.max(axis=0)
        varied = [not published and len(np.unique(column)) > 2 for column in configurations.T]
        self.squarable = np.array([False] * of_curve.shape[1] + varied, dtype=bool)

    def transform(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        if not self.published:
            configurations = np.clip(configurations, self._lowest, self._highest)
        return np.hstack(
            [
                self._curve.transform(self._of_curve(curves)),
                self._configuration.transform(configurations),
            ]
        )

    def _of_curve(self, curves: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return published_features(curves) if self.published else summary_features(curves)
