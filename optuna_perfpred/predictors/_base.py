from __future__ import annotations

import abc
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special
from sklearn.base import BaseEstimator


if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self

    from optuna_perfpred._arrays import Floats


@dataclass(frozen=True)
class Forecast:
    """The distribution of the final values of ``n`` trials.

    Student's t distribution with location ``mean`` and scale ``std``; a normal distribution,
    which Baker et al. (2017, section 4) use, if ``df`` is infinite. Of an error that is estimated
    from ``k`` residuals, ``df`` is at most ``k - 1``; it is less where the tails are heavier.

    Attributes:
        mean:
            The predicted final values. NaN where no forecast is possible. Shape: ``(n,)``.
        std:
            The standard errors of the predictions, in the unit of the values. NaN where no
            forecast is possible. Shape: ``(n,)``.
        df:
            Degrees of freedom. Shape: ``(n,)``, or a number for all.
    """

    mean: Floats
    std: Floats
    df: Floats | float = math.inf

    def probability_of_beating(self, value: float) -> Floats:
        """Give the probability that the final value is larger than a given one.

        Args:
            value:
                The value to beat, oriented like the forecast: larger is better.

        Returns:
            Probabilities of shape ``(n,)``; NaN where no forecast is possible. Where the standard
            error is zero: 1 if the mean is larger, 0 if it is smaller and 0.5 if it is equal.
        """
        gap = self.mean - value
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(gap == 0.0, 0.0, gap / self.std)
        probability: Floats = special.stdtr(self.df, z)
        return np.where(np.isnan(self.std), np.nan, probability)

    def interval(self, confidence: float = 0.9) -> tuple[Floats, Floats]:
        """Give the central interval that holds the final value with a given probability.

        Args:
            confidence:
                The probability, between 0 and 1. The default is the common 90 % band.

        Returns:
            The lower and the upper ends, each of shape ``(n,)``.

        Raises:
            ValueError:
                If ``confidence`` is not between 0 and 1.
        """
        if not 0.0 < confidence < 1.0:
            raise ValueError(f"`confidence` must be between 0 and 1, but got {confidence=}.")
        half_width = special.stdtrit(self.df, 0.5 + confidence / 2.0) * self.std
        return self.mean - half_width, self.mean + half_width


class CurvePredictor(BaseEstimator, abc.ABC):  # type: ignore[misc]
    """Predict how learning curves end, from completed ones.

    A subclass implements :meth:`fit` and :meth:`predict` and stores its constructor's arguments
    under their names, as scikit-learn's estimators do: pruners make an unfitted copy of it with
    :func:`sklearn.base.clone` for each study and each refit. :meth:`predict` may be called by
    several threads at once.

    All values are oriented so that larger is better; whoever minimizes negates them. Rows are
    trials, columns are steps that all rows share.
    """

    @abc.abstractmethod
    def fit(self, configurations: Floats, curves: Floats, finals: Floats) -> Self:
        """Learn from completed trials.

        Args:
            configurations:
                Their encoded parameters, finite. Shape: ``(n, d)``; ``d`` may be 0.
            curves:
                Their values at each step, NaN where nothing was reported. Shape: ``(n, t)``.
            finals:
                The values that they ended with, finite. Shape: ``(n,)``.

        Returns:
            The predictor itself.
        """
        raise NotImplementedError

    @abc.abstractmethod
    def predict(self, configurations: Floats, curves: Floats) -> Forecast:
        """Forecast the final values of trials.

        Args:
            configurations:
                Their encoded parameters, in the columns given to :meth:`fit`. Shape: ``(m, d)``.
            curves:
                Their values up to the last step that each has reached, NaN from there on. Shape:
                ``(m, t)``.

        Returns:
            A forecast of shape ``(m,)``, NaN where the predictor cannot tell.
        """
        raise NotImplementedError


def check_training_arrays(configurations: Floats, curves: Floats, finals: Floats) -> None:
    """Check the shapes and the finiteness that :meth:`CurvePredictor.fit` asks for.

    Raises:
        ValueError:
            If the arrays do not fit together, or configurations or finals are not finite.
    """
    if configurations.ndim != 2 or curves.ndim != 2 or finals.ndim != 1:
        raise ValueError(
            "`configurations` and `curves` must be matrices and `finals` a vector, but got shapes "
            f"{configurations.shape}, {curves.shape} and {finals.shape}."
        )
    if not len(configurations) == len(curves) == len(finals):
        raise ValueError(
            "`configurations`, `curves` and `finals` must have one row per trial, but got "
            f"{len(configurations)}, {len(curves)} and {len(finals)} rows."
        )
    if not (np.isfinite(configurations).all() and np.isfinite(finals).all()):
        raise ValueError("`configurations` and `finals` must be finite.")


def observed_lengths(curves: Floats) -> npt.NDArray[np.int64]:
    """Give the number of columns up to each row's last value; 0 for a row of NaN.

    Args:
        curves:
            Learning curves, NaN where nothing was reported. Shape: ``(n, t)``.

    Returns:
        Lengths of shape ``(n,)``.
    """
    reversed_known = ~np.isnan(curves[:, ::-1])
    first = reversed_known.argmax(axis=1) if curves.shape[1] else np.zeros(len(curves), dtype=int)
    return np.where(reversed_known.any(axis=1), curves.shape[1] - first, 0)


def fill_gaps(curves: Floats) -> Floats:
    """Interpolate linearly between known columns; the outermost known values continue outwards.

    Args:
        curves:
            Learning curves with at least one known value in each row. Shape: ``(n, t)``.

    Returns:
        Learning curves without NaN, of the same shape.
    """
    columns = np.arange(curves.shape[1])
    last = observed_lengths(curves)[:, np.newaxis] - 1
    # Most curves have no gap but that after their end.
    filled: Floats = np.where(columns > last, np.take_along_axis(curves, last, axis=1), curves)
    for index in np.flatnonzero(np.isnan(filled).any(axis=1)):
        known = ~np.isnan(filled[index])
        filled[index] = np.interp(columns, columns[known], filled[index, known])
    return filled
