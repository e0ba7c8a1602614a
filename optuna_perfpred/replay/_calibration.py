from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from optuna_perfpred._arrays import Flags
    from optuna_perfpred._arrays import Floats


# Narrow where the decisions fall.
_EDGES = np.array([0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])


@dataclass(frozen=True)
class CalibrationBin:
    """The forecasts between two probabilities, beside what happened.

    Attributes:
        low:
            The smallest probability of the bin.
        high:
            The largest one; it belongs to the next bin, except for 1.
        count:
            The number of forecasts, at least 1.
        mean_forecast:
            The mean of the forecast probabilities.
        frequency:
            The share of the forecasts after which the trial did end better than the best.
    """

    low: float
    high: float
    count: int
    mean_forecast: float
    frequency: float


@dataclass(frozen=True)
class Calibration:
    """Whether what was forecast with a probability happened as often.

    Each forecast is one of a trial at one step: the probability that the trial beats the best
    value completed by then. It came true if the trial's recorded final value does.

    Attributes:
        count:
            The number of forecasts.
        brier_score:
            The mean squared difference between the probability and what happened (1 or 0): 0 is
            perfect. NaN without forecasts.
        bins:
            The bins with at least one forecast.
    """

    count: int
    brier_score: float
    bins: tuple[CalibrationBin, ...]

    @classmethod
    def of(cls, forecasts: Floats, outcomes: Flags) -> Calibration:
        """Compare forecasts with what happened.

        Args:
            forecasts:
                Probabilities. Shape: ``(n,)``.
            outcomes:
                What happened. Shape: ``(n,)``.
        """
        known = np.isfinite(forecasts)
        forecasts, outcomes = forecasts[known], outcomes[known]
        indices = np.clip(np.searchsorted(_EDGES, forecasts, "right") - 1, 0, len(_EDGES) - 2)
        bins = tuple(
            CalibrationBin(
                low=float(_EDGES[index]),
                high=float(_EDGES[index + 1]),
                count=int((indices == index).sum()),
                mean_forecast=float(forecasts[indices == index].mean()),
                frequency=float(outcomes[indices == index].mean()),
            )
            for index in np.unique(indices)
        )
        score = float(np.mean((forecasts - outcomes) ** 2)) if len(forecasts) else float("nan")
        return cls(len(forecasts), score, bins)
