"""What was foreseen of a study's trials, what it saved and how far it can be trusted."""

from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization._calibration import plot_calibration
from optuna_perfpred.visualization._forecasts import plot_forecasts
from optuna_perfpred.visualization._policy import plot_policy
from optuna_perfpred.visualization._replay import plot_replay
from optuna_perfpred.visualization._savings import plot_savings
from optuna_perfpred.visualization._savings import Savings
from optuna_perfpred.visualization._savings import savings


__all__ = [
    "Savings",
    "matplotlib",
    "plot_calibration",
    "plot_forecasts",
    "plot_policy",
    "plot_replay",
    "plot_savings",
    "savings",
]
