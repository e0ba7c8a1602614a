"""Decisions to stop trials by their forecasts."""

from optuna_perfpred.pruners._assessment import Assessment
from optuna_perfpred.pruners._audit import AuditReport
from optuna_perfpred.pruners._fast_hyperband import FastHyperbandPruner
from optuna_perfpred.pruners._performance_prediction import PerformancePredictionPruner
from optuna_perfpred.pruners._stopping_rule import StoppingRule


__all__ = [
    "Assessment",
    "AuditReport",
    "FastHyperbandPruner",
    "PerformancePredictionPruner",
    "StoppingRule",
]
