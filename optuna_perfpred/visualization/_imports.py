from __future__ import annotations

import importlib
from typing import Any


def import_to_plot(module: str) -> Any:
    """Import a module of plotly or matplotlib.

    Args:
        module:
            Its name, such as ``"plotly.graph_objects"``.

    Returns:
        The module.

    Raises:
        ImportError:
            If it is not installed; names the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise ImportError(
            f"The figure needs {library}, which is not installed or is too old: "
            '`pip install "optuna_perfpred[plot]"`.'
        ) from error
