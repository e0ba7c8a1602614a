"""Samplers that learn from what the pruner foresees."""

from optuna_perfpred.samplers._architecture import ArchitectureSampler
from optuna_perfpred.samplers._predicted_study import predicted_study
from optuna_perfpred.samplers._predicted_value import PredictedValueSampler
from optuna_perfpred.samplers._q_learning import QLearningSampler


__all__ = ["ArchitectureSampler", "PredictedValueSampler", "QLearningSampler", "predicted_study"]
