from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize
from scipy import special


if TYPE_CHECKING:
    import numpy.typing as npt


# The interval that the errors are made to fit.
_COVERAGE = 0.9
# Of two degrees of freedom the variance is infinite.
_SMALLEST_DF = 2.05


def fit_errors(residuals: npt.NDArray[np.float64], n_tuned: int) -> tuple[float, float]:
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
