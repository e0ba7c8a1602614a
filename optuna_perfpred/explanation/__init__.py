"""Why a trial was stopped, and what of its curve and its parameters drove that."""

from optuna_perfpred.explanation._contributions import Contribution
from optuna_perfpred.explanation._explain import explain
from optuna_perfpred.explanation._explanation import Explanation
from optuna_perfpred.explanation._explanation import NearTrial
from optuna_perfpred.explanation._explanation import Standing


__all__ = ["Contribution", "Explanation", "NearTrial", "Standing", "explain"]
