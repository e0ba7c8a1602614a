from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.predictors._base import check_training_arrays
from optuna_perfpred.predictors._base import CurvePredictor
from optuna_perfpred.predictors._base import fill_gaps
from optuna_perfpred.predictors._base import Forecast
from optuna_perfpred.predictors._base import observed_lengths


if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self


class LastSeenValue(CurvePredictor):
    """Predict that a curve ends with the last value seen.

    The baseline of Baker et al. (2017, section 3): a predictor that does not beat it has learned
    nothing from the curve. The standard error is the root mean square of the difference between
    the final value and the value at the same step, over the curves that reached that step.
    """

    def fit(
        self,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        finals: npt.NDArray[np.float64],
    ) -> Self:
        """Learn the size of the error at each step. See :meth:`CurvePredictor.fit`."""
        check_training_arrays(configurations, curves, finals)
        lengths = observed_lengths(curves)
        usable = lengths > 0
        errors = finals[usable, np.newaxis] - fill_gaps(curves[usable])
        errors[np.arange(curves.shape[1]) >= lengths[usable, np.newaxis]] = np.nan
        count = (~np.isnan(errors)).sum(axis=0)
        with np.errstate(invalid="ignore"):
            self._std = np.sqrt(np.nansum(errors**2, axis=0) / count)
        self._df = np.maximum(count, 1).astype(float)
        return self

    def predict(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> Forecast:
        """Give the last values seen. See :meth:`CurvePredictor.predict`."""
        last = observed_lengths(curves) - 1
        known = last >= 0
        mean = np.full(len(curves), np.nan)
        std = np.full(len(curves), np.nan)
        df = np.ones(len(curves))
        mean[known] = curves[known, last[known]]
        std[known] = self._std[last[known]]
        df[known] = self._df[last[known]]
        return Forecast(mean, std, df)
