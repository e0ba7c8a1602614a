from __future__ import annotations

import importlib
from typing import Any


def import_optuna_dashboard(module: str = "optuna_dashboard") -> Any:
    """Import optuna-dashboard, or a module of it.

    Raises:
        ImportError:
            If it is missing; the message names the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'This needs optuna-dashboard ({error}): pip install "optuna_perfpred[dashboard]"'
        ) from error
