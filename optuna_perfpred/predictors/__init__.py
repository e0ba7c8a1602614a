"""Forecasts of final values from the first steps of learning curves."""

from optuna_perfpred.predictors._base import CurvePredictor
from optuna_perfpred.predictors._base import Forecast
from optuna_perfpred.predictors._sequential_regression import SequentialRegression


__all__ = ["CurvePredictor", "Forecast", "SequentialRegression"]
