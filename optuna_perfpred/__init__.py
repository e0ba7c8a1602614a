"""Stop Optuna trials by their predicted final performance."""

from optuna_perfpred.predictors import CurvePredictor
from optuna_perfpred.predictors import Forecast
from optuna_perfpred.predictors import LastSeenValue
from optuna_perfpred.predictors import SequentialRegression
from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.pruners import StoppingRule


__version__ = "0.1.0"

__all__ = [
    "CurvePredictor",
    "Forecast",
    "LastSeenValue",
    "PerformancePredictionPruner",
    "SequentialRegression",
    "StoppingRule",
]
