"""A study as arrays: each finished trial is read once, its curve and its configuration encoded."""

from optuna_perfpred.history._continued import CHECKPOINT
from optuna_perfpred.history._continued import continued_number
from optuna_perfpred.history._continued import CONTINUES
from optuna_perfpred.history._continued import find_trial
from optuna_perfpred.history._continued import gone_on_with
from optuna_perfpred.history._continued import have_same_params
from optuna_perfpred.history._continued import joined_curve
from optuna_perfpred.history._continued import RESUMED_AT
from optuna_perfpred.history._continued import SECOND_CHANCE
from optuna_perfpred.history._continued import stopped_before
from optuna_perfpred.history._continued import stopped_trial
from optuna_perfpred.history._continued import tell_why_continued
from optuna_perfpred.history._continued import trained_steps
from optuna_perfpred.history._finished_trials import FinishedTrials
from optuna_perfpred.history._finished_trials import FinishedTrialsReader
from optuna_perfpred.history._finished_trials import StudyHistory
from optuna_perfpred.history._per_study import PerStudy
from optuna_perfpred.history._records import Configuration
from optuna_perfpred.history._records import CurveRecord
from optuna_perfpred.history._records import identify
from optuna_perfpred.history._records import Identity
from optuna_perfpred.history._records import LAYER_PARAMETER
from optuna_perfpred.history._records import read_configuration
from optuna_perfpred.history._records import read_curve
from optuna_perfpred.history._records import read_record
from optuna_perfpred.history._training_set import ConfigurationEncoder
from optuna_perfpred.history._training_set import TrainingSet


__all__ = [
    "CHECKPOINT",
    "CONTINUES",
    "LAYER_PARAMETER",
    "RESUMED_AT",
    "SECOND_CHANCE",
    "Configuration",
    "ConfigurationEncoder",
    "CurveRecord",
    "FinishedTrials",
    "FinishedTrialsReader",
    "Identity",
    "PerStudy",
    "StudyHistory",
    "TrainingSet",
    "continued_number",
    "find_trial",
    "gone_on_with",
    "have_same_params",
    "identify",
    "joined_curve",
    "read_configuration",
    "read_curve",
    "read_record",
    "stopped_before",
    "stopped_trial",
    "tell_why_continued",
    "trained_steps",
]
