from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import clone


if TYPE_CHECKING:
    from optuna_perfpred.history import TrainingSet
    from optuna_perfpred.predictors import CurvePredictor


# Forecasts are checked at these shares of the curves.
_SHARES = (0.25, 0.5, 0.75)
# How much closer than the median a forecast must be. Noise is never closer but by chance, which
# makes a tenth of few curves.
_LEAST_SKILL = 0.2
# Fewer curves than this do not show a skill; a half of them is learned from.
_MIN_CURVES = 10


def has_skill(predictor: CurvePredictor, training_set: TrainingSet) -> bool:
    """Tell whether a predictor foresees the ends of curves that it did not learn from.

    It learns from each half of the trials and forecasts the other one. An honest standard error
    does not keep a predictor without skill from pruning: that most trials are not among the best
    is true, and no reason to prune this one.

    Args:
        predictor:
            A predictor, of which unfitted copies are fitted.
        training_set:
            The trials.

    Returns:
        Whether its absolute errors are smaller than those of the median of the trials that it
        learned from, by a fifth.
    """
    n, n_steps = training_set.curves.shape
    if n < _MIN_CURVES:
        return False
    halves = np.arange(n) % 2 == 0
    errors, errors_of_median = 0.0, 0.0
    for learned in (halves, ~halves):
        fitted = clone(predictor).fit(
            training_set.configurations[learned],
            training_set.curves[learned],
            training_set.finals[learned],
        )
        finals = training_set.finals[~learned]
        median = np.median(training_set.finals[learned])
        for share in _SHARES:
            curves = training_set.curves[~learned].copy()
            curves[:, max(1, int(share * n_steps)) :] = np.nan
            forecast = fitted.predict(training_set.configurations[~learned], curves)
            known = ~np.isnan(forecast.mean)
            errors += float(np.abs(forecast.mean - finals)[known].sum())
            errors_of_median += float(np.abs(median - finals)[known].sum())
    return errors < (1.0 - _LEAST_SKILL) * errors_of_median
