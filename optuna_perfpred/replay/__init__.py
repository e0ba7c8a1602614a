"""What would a pruner have saved on a finished study, and what would it have lost?"""

from optuna_perfpred.replay._recording import load_curves
from optuna_perfpred.replay._replay import replay
from optuna_perfpred.replay._report import ReplayReport


__all__ = ["ReplayReport", "load_curves", "replay"]
