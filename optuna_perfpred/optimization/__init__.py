"""Studies whose stopped trials go on, from memory while a study runs, or when it is over."""

from optuna_perfpred.optimization._optimize import finish
from optuna_perfpred.optimization._optimize import Finished
from optuna_perfpred.optimization._optimize import optimize


__all__ = ["Finished", "finish", "optimize"]
