"""A study as arrays: each finished trial is read once, its curve and its configuration encoded."""

from optuna_perfpred.history._continued import CHECKPOINT as CHECKPOINT
from optuna_perfpred.history._continued import continued_number as continued_number
from optuna_perfpred.history._continued import CONTINUES as CONTINUES
from optuna_perfpred.history._continued import find_trial as find_trial
from optuna_perfpred.history._continued import gone_on_with as gone_on_with
from optuna_perfpred.history._continued import have_same_params as have_same_params
from optuna_perfpred.history._continued import joined_curve as joined_curve
from optuna_perfpred.history._continued import LEAST_RATIO as LEAST_RATIO
from optuna_perfpred.history._continued import least_ratio as least_ratio
from optuna_perfpred.history._continued import RESUMED_AT as RESUMED_AT
from optuna_perfpred.history._continued import SECOND_CHANCE as SECOND_CHANCE
from optuna_perfpred.history._continued import stopped_before as stopped_before
from optuna_perfpred.history._continued import stopped_trial as stopped_trial
from optuna_perfpred.history._continued import tell_why_continued as tell_why_continued
from optuna_perfpred.history._continued import trained_steps as trained_steps
from optuna_perfpred.history._finished_trials import FinishedTrials as FinishedTrials
from optuna_perfpred.history._finished_trials import FinishedTrialsReader as FinishedTrialsReader
from optuna_perfpred.history._finished_trials import StudyHistory as StudyHistory
from optuna_perfpred.history._per_study import LearnsAnew as LearnsAnew
from optuna_perfpred.history._per_study import PerStudy as PerStudy
from optuna_perfpred.history._records import AUDIT as AUDIT
from optuna_perfpred.history._records import Configuration as Configuration
from optuna_perfpred.history._records import CurveRecord as CurveRecord
from optuna_perfpred.history._records import identify as identify
from optuna_perfpred.history._records import Identity as Identity
from optuna_perfpred.history._records import LAYER_PARAMETER as LAYER_PARAMETER
from optuna_perfpred.history._records import (
    PROBABILITY_OF_BEATING_BEST as PROBABILITY_OF_BEATING_BEST,
)
from optuna_perfpred.history._records import read_configuration as read_configuration
from optuna_perfpred.history._records import read_curve as read_curve
from optuna_perfpred.history._records import read_record as read_record
from optuna_perfpred.history._records import RISK as RISK
from optuna_perfpred.history._reported_values import read_reported as read_reported
from optuna_perfpred.history._reported_values import report_values as report_values
from optuna_perfpred.history._reported_values import REPORTED as REPORTED
from optuna_perfpred.history._reported_values import ReportedCurve as ReportedCurve
from optuna_perfpred.history._reported_values import ReportedTrials as ReportedTrials
from optuna_perfpred.history._thinning import is_due as is_due
from optuna_perfpred.history._thinning import last_step as last_step
from optuna_perfpred.history._training_set import ConfigurationEncoder as ConfigurationEncoder
from optuna_perfpred.history._training_set import TrainingSet as TrainingSet
