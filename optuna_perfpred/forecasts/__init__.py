"""The forecast of a study: how each of its trials would end, from all that is known by now.

A rule that was trained on other studies, regressions on the completed trials of this one, and
what the study shows of how far to trust them are parts of one forecast. Pruners, samplers,
explanations and figures ask it.
"""

from optuna_perfpred.forecasts._completed_trials import CompletedTrials
from optuna_perfpred.forecasts._features import FEATURE_NAMES
from optuna_perfpred.forecasts._features import features
from optuna_perfpred.forecasts._features import N_RECENT
from optuna_perfpred.forecasts._features import Observed
from optuna_perfpred.forecasts._features import PEER_FEATURE_NAMES
from optuna_perfpred.forecasts._features import peer_features
from optuna_perfpred.forecasts._learned import Curve
from optuna_perfpred.forecasts._learned import Learned
from optuna_perfpred.forecasts._learned import RuleInputs
from optuna_perfpred.forecasts._schedule import Fits
from optuna_perfpred.forecasts._schedule import is_first_of
from optuna_perfpred.forecasts._schedule import n_learned_from
from optuna_perfpred.forecasts._stopping_rule import BoostedTrees
from optuna_perfpred.forecasts._stopping_rule import relative_chance
from optuna_perfpred.forecasts._stopping_rule import StoppingRule
from optuna_perfpred.forecasts._study_forecast import StudyForecast
from optuna_perfpred.forecasts._study_forecast import TrialForecasts
from optuna_perfpred.forecasts._study_settings import BestTrials
from optuna_perfpred.forecasts._study_settings import EarlierStudies
from optuna_perfpred.forecasts._study_settings import StudySettings


__all__ = [
    "FEATURE_NAMES",
    "N_RECENT",
    "PEER_FEATURE_NAMES",
    "BestTrials",
    "BoostedTrees",
    "CompletedTrials",
    "Curve",
    "EarlierStudies",
    "Fits",
    "Learned",
    "Observed",
    "RuleInputs",
    "StoppingRule",
    "StudyForecast",
    "StudySettings",
    "TrialForecasts",
    "features",
    "is_first_of",
    "n_learned_from",
    "peer_features",
    "relative_chance",
]
