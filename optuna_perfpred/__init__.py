"""Stop Optuna trials by their predicted final performance, and search architectures.

What is not a word of Optuna's or of the field:

===============  ===============================================================================
stopping rule    A classifier, trained on other studies, of the trials that become a new best
relative chance  That chance for each step still to train, as a multiple of a new trial's
peers            Trials that began together, compared as long as none is complete
forecaster       What assesses the trials of a study: by a rule, a predictor or in a rung
assessment       What a forecaster tells of a trial at one step, and from which inputs
audited          Of a trial: let finish, though it would be pruned, to measure the errors
second chance    A stopped trial goes on as another one, as it is worth more than a new one
record           A finished trial as arrays: its configuration, its curve and its value
place            Where an architecture has a choice: a layer, a block, an edge of a cell
recording        Finished trials that are run again by ``replay``
===============  ===============================================================================
"""

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
