"""Decisions to stop trials by their forecasts."""

from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.pruners._assessment import Assessment
from optuna_perfpred.pruners._audit import AuditReport
from optuna_perfpred.pruners._constraints import report_constraints
from optuna_perfpred.pruners._fast_hyperband import FastHyperbandPruner
from optuna_perfpred.pruners._multi_objective import MultiObjectivePruning
from optuna_perfpred.pruners._performance_prediction import PerformancePredictionPruner


__all__ = [
    "Assessment",
    "AuditReport",
    "FastHyperbandPruner",
    "MultiObjectivePruning",
    "PerformancePredictionPruner",
    "StoppingRule",
    "report_constraints",
]
