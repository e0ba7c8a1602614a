"""Stop Optuna trials by their predicted final performance, and search architectures."""

from optuna_perfpred import _interrupt  # noqa: F401  # The first one.
from optuna_perfpred.checkpoints import Checkpoint
from optuna_perfpred.explanation import explain
from optuna_perfpred.optimization import finish
from optuna_perfpred.optimization import optimize
from optuna_perfpred.predictors import CurvePredictor
from optuna_perfpred.predictors import SequentialRegression
from optuna_perfpred.pruners import FastHyperbandPruner
from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.pruners import StoppingRule
from optuna_perfpred.samplers import ArchitectureSampler
from optuna_perfpred.samplers import PredictedValueSampler
from optuna_perfpred.samplers import QLearningSampler


__version__ = "0.1.0"

__all__ = [
    "ArchitectureSampler",
    "Checkpoint",
    "CurvePredictor",
    "FastHyperbandPruner",
    "PerformancePredictionPruner",
    "PredictedValueSampler",
    "QLearningSampler",
    "SequentialRegression",
    "StoppingRule",
    "explain",
    "finish",
    "optimize",
]
