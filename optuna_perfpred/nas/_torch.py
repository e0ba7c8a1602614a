"""PyTorch is imported when a network is built, not when an architecture is suggested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna._imports import _LazyImport


__all__ = ["modules", "nn"]

if TYPE_CHECKING:
    from torch import nn

    from optuna_perfpred.nas import _modules as modules
else:
    nn = _LazyImport("torch.nn")
    modules = _LazyImport("optuna_perfpred.nas._modules")
