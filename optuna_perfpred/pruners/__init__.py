"""Decisions to stop trials by their forecasts."""

from optuna_perfpred.pruners._performance_prediction import PerformancePredictionPruner


__all__ = ["PerformancePredictionPruner"]
