"""Forecasts of final values from the first steps of learning curves."""

from optuna_perfpred.predictors._base import CurvePredictor
from optuna_perfpred.predictors._base import Forecast
from optuna_perfpred.predictors._bayesian_curve_network import BayesianCurveNetwork
from optuna_perfpred.predictors._in_context import InContextPredictor
from optuna_perfpred.predictors._last_seen_value import LastSeenValue
from optuna_perfpred.predictors._parametric_ensemble import ParametricEnsemble
from optuna_perfpred.predictors._sequential_regression import SequentialRegression


__all__ = [
    "BayesianCurveNetwork",
    "CurvePredictor",
    "Forecast",
    "InContextPredictor",
    "LastSeenValue",
    "ParametricEnsemble",
    "SequentialRegression",
]
