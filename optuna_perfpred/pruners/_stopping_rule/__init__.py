"""The pretrained stopping rule: will a running trial become the best of its study?"""

from optuna_perfpred.pruners._stopping_rule._completed_trials import CompletedTrials
from optuna_perfpred.pruners._stopping_rule._features import FEATURE_NAMES
from optuna_perfpred.pruners._stopping_rule._features import features
from optuna_perfpred.pruners._stopping_rule._features import N_RECENT
from optuna_perfpred.pruners._stopping_rule._rule import relative_chance
from optuna_perfpred.pruners._stopping_rule._rule import StoppingRule
from optuna_perfpred.pruners._stopping_rule._trees import BoostedTrees


__all__ = [
    "FEATURE_NAMES",
    "N_RECENT",
    "BoostedTrees",
    "CompletedTrials",
    "StoppingRule",
    "features",
    "relative_chance",
]
