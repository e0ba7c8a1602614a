"""Workers that share one study."""

from optuna_perfpred.distributed._checkpoint import Checkpoint
from optuna_perfpred.distributed._checkpoint import Resumed
from optuna_perfpred.distributed._ray import run_on_ray
from optuna_perfpred.distributed._worker import run_worker


__all__ = ["Checkpoint", "Resumed", "run_on_ray", "run_worker"]
