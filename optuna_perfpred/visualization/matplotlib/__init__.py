"""The figures of :mod:`optuna_perfpred.visualization`, drawn by matplotlib."""

from optuna_perfpred.visualization.matplotlib._figures import plot_calibration
from optuna_perfpred.visualization.matplotlib._figures import plot_forecasts
from optuna_perfpred.visualization.matplotlib._figures import plot_policy
from optuna_perfpred.visualization.matplotlib._figures import plot_replay
from optuna_perfpred.visualization.matplotlib._figures import plot_savings


__all__ = ["plot_calibration", "plot_forecasts", "plot_policy", "plot_replay", "plot_savings"]
