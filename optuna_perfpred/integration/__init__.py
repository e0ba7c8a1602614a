"""Callbacks for training libraries, where optuna-integration's fall short, and for trackers.

Each is imported, with its library, when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.integration._sklearn import SklearnPruning
from optuna_perfpred.integration._trackers import TrackerCallback


if TYPE_CHECKING:
    from optuna_perfpred.integration._lightning import LightningPruningCallback
    from optuna_perfpred.integration._transformers import TransformersPruningCallback


__all__ = [
    "LightningPruningCallback",
    "SklearnPruning",
    "TrackerCallback",
    "TransformersPruningCallback",
]
_LAZY = {
    "LightningPruningCallback": "_lightning",
    "TransformersPruningCallback": "_transformers",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
