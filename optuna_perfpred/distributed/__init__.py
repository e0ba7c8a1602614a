"""Workers that share one study."""

from optuna_perfpred.checkpoints import Checkpoint
from optuna_perfpred.distributed._ray import run_on_ray
from optuna_perfpred.distributed._worker import run_worker


__all__ = ["Checkpoint", "run_on_ray", "run_worker"]
