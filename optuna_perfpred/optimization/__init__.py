"""Studies whose stopped trials go on, when to stop a study, and trials of several folds."""

from optuna_perfpred.optimization._folds import report_fold
from optuna_perfpred.optimization._improvement import expected_improvement
from optuna_perfpred.optimization._improvement import ExpectedImprovement
from optuna_perfpred.optimization._improvement import ExpectedImprovementCallback
from optuna_perfpred.optimization._optimize import finish
from optuna_perfpred.optimization._optimize import Finished
from optuna_perfpred.optimization._optimize import optimize


__all__ = [
    "ExpectedImprovement",
    "ExpectedImprovementCallback",
    "Finished",
    "expected_improvement",
    "finish",
    "optimize",
    "report_fold",
]
