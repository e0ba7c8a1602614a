"""What was foreseen, saved and risked, in optuna-dashboard and as one page."""

from optuna_perfpred.dashboard._panels import publish_figures
from optuna_perfpred.dashboard._report import write_report


__all__ = ["publish_figures", "write_report"]
