"""Trainings that go on in a later trial."""

from optuna_perfpred.checkpoints._checkpoint import Checkpoint


__all__ = ["Checkpoint"]
