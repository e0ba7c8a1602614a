"""Workers that share one study."""

from optuna_perfpred.distributed._worker import run_worker


__all__ = ["run_worker"]
