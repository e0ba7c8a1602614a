"""How good forecasts are, and how sure that is."""

from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from sklearn.metrics import r2_score


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence


# In units of the final values' standard deviation. A forecast that claims more would be wrong by
# the rounding of what was recorded.
SMALLEST_SCALE = 1e-3
# Keeps a single curve from deciding the mean logarithm of the density.
SMALLEST_LOG_DENSITY = -20.0
N_BOOTSTRAP = 300


class Metric(NamedTuple):
    title: str
    factor: float
    decimals: int


METRICS = {
    "r2": Metric("R² × 100", 100.0, 1),
    "rank": Metric("rank correlation × 100", 100.0, 1),
    "error": Metric("mean absolute error", 1.0, 3),
    "density": Metric("mean log predictive density", 1.0, 2),
    "coverage": Metric("final values in the 90 % interval, %", 100.0, 1),
}


class Forecasts(NamedTuple):
    """Forecasts beside what happened, in units of the standard deviation of the final values.

    Attributes:
        finals: The final values. Shape: ``(n,)``.
        mean: Location of Student's t distribution. Shape: ``(n,)``.
        std: Its scale. Shape: ``(n,)``.
        df: Its degrees of freedom, infinite for a normal distribution. Shape: ``(n,)``.
    """

    finals: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    df: np.ndarray

    def rows(self, rows: np.ndarray | slice) -> Forecasts:
        return Forecasts(*(column[rows] for column in self))

    def scores(self, *, few: bool = False) -> dict[str, float]:
        """Give the score of each metric.

        Args:
            few: Whether these are few curves of a set. Then R² is of the variance of the set,
                which is one, as that of few curves hardly tells it.
        """
        scale = np.maximum(self.std, SMALLEST_SCALE)
        density = stats.t.logpdf(self.finals, self.df, self.mean, scale)
        half_width = stats.t.ppf(0.95, self.df) * scale
        distance = np.abs(self.finals - self.mean)
        r2 = 1.0 - np.mean(distance**2) if few else r2_score(self.finals, self.mean)
        return {
            "r2": float(r2),
            "rank": self._rank_correlation(),
            "error": float(distance.mean()),
            "density": float(np.maximum(density, SMALLEST_LOG_DENSITY).mean()),
            "coverage": float((distance <= half_width).mean()),
        }

    def _rank_correlation(self) -> float:
        if np.ptp(self.mean) == 0.0 or np.ptp(self.finals) == 0.0:
            return 0.0  # What does not vary ranks nothing.
        return float(stats.spearmanr(self.finals, self.mean)[0])


class Estimate(NamedTuple):
    """A mean with its standard error, NaN if that is unknown."""

    mean: float
    error: float

    def text(self, factor: float = 1.0, decimals: int = 1) -> str:
        # Adding 0 to a rounded -0.0 takes its sign away.
        mean = f"{round(factor * self.mean, decimals) + 0.0:.{decimals}f}"
        if np.isnan(self.error):
            return mean
        return f"{mean} ± {factor * self.error:.{decimals}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Average over repeats."""
    n = len(values)
    error = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return Estimate(float(np.mean(values)), error)


def bootstrap(n_rows: int, score: Callable[[np.ndarray], np.ndarray]) -> list[Estimate]:
    """Give scores of all rows with their standard errors over rows drawn with replacement.

    Args:
        n_rows: Number of rows.
        score: Gives scores, shape ``(k,)``, of rows by their positions.
    """
    rng = np.random.default_rng(0)
    drawn = [score(rng.integers(n_rows, size=n_rows)) for _ in range(N_BOOTSTRAP)]
    means = score(np.arange(n_rows))
    return [
        Estimate(float(m), float(e)) for m, e in zip(means, np.std(drawn, axis=0), strict=True)
    ]


class Comparison(NamedTuple):
    """Ours beside the best of the others.

    Attributes:
        ours: Our score.
        best: Its name and score.
        difference: How much better it is, with the standard error of the paired difference.
    """

    ours: Estimate
    rival: str
    best: Estimate
    difference: Estimate

    @property
    def within_paired(self) -> bool:
        return self.difference.mean <= np.nan_to_num(self.difference.error)

    @property
    def within_raw(self) -> bool:
        return self.difference.mean <= np.nan_to_num(self.best.error)
