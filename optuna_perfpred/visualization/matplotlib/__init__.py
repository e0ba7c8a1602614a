"""The figures of :mod:`optuna_perfpred.visualization`, drawn by matplotlib."""

from optuna_perfpred.visualization.matplotlib._calibration import plot_calibration
from optuna_perfpred.visualization.matplotlib._forecasts import plot_forecasts
from optuna_perfpred.visualization.matplotlib._policy import plot_policy
from optuna_perfpred.visualization.matplotlib._replay import plot_replay
from optuna_perfpred.visualization.matplotlib._savings import plot_savings


__all__ = ["plot_calibration", "plot_forecasts", "plot_policy", "plot_replay", "plot_savings"]
