"""Test cases that any Optuna pruner can be held to; they need pytest."""

from optuna_perfpred.testing._pruners import ComparingPrunerTestCase
from optuna_perfpred.testing._pruners import IntervalStepsTestCase
from optuna_perfpred.testing._pruners import PrunerTestCase
from optuna_perfpred.testing._pruners import StartupTrialsTestCase
from optuna_perfpred.testing._pruners import ThreadsTestCase
from optuna_perfpred.testing._pruners import WarmupStepsTestCase


__all__ = [
    "ComparingPrunerTestCase",
    "IntervalStepsTestCase",
    "PrunerTestCase",
    "StartupTrialsTestCase",
    "ThreadsTestCase",
    "WarmupStepsTestCase",
]
