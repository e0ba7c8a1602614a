"""The forecast of a study: how each of its trials would end, from all that is known by now.

A rule that was trained on other studies, regressions on the completed trials of this one, and
what the study shows of how far to trust them are parts of one forecast. Pruners, samplers,
explanations and figures ask it.
"""

from optuna_perfpred.forecasts._completed_trials import CompletedTrials as CompletedTrials
from optuna_perfpred.forecasts._features import FEATURE_NAMES as FEATURE_NAMES
from optuna_perfpred.forecasts._features import features as features
from optuna_perfpred.forecasts._features import N_RECENT as N_RECENT
from optuna_perfpred.forecasts._features import Observed as Observed
from optuna_perfpred.forecasts._features import PEER_FEATURE_NAMES as PEER_FEATURE_NAMES
from optuna_perfpred.forecasts._features import peer_features as peer_features
from optuna_perfpred.forecasts._learned import Curve as Curve
from optuna_perfpred.forecasts._learned import Learned as Learned
from optuna_perfpred.forecasts._learned import RuleInputs as RuleInputs
from optuna_perfpred.forecasts._schedule import Fits as Fits
from optuna_perfpred.forecasts._schedule import is_first_of as is_first_of
from optuna_perfpred.forecasts._schedule import n_learned_from as n_learned_from
from optuna_perfpred.forecasts._stopping_rule import BoostedTrees as BoostedTrees
from optuna_perfpred.forecasts._stopping_rule import relative_chance as relative_chance
from optuna_perfpred.forecasts._stopping_rule import StoppingRule as StoppingRule
from optuna_perfpred.forecasts._study_forecast import StudyForecast as StudyForecast
from optuna_perfpred.forecasts._study_forecast import TrialForecasts as TrialForecasts
from optuna_perfpred.forecasts._study_settings import BestTrials as BestTrials
from optuna_perfpred.forecasts._study_settings import EarlierStudies as EarlierStudies
from optuna_perfpred.forecasts._study_settings import StudySettings as StudySettings
