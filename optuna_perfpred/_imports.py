from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str, extra: str, user: str) -> Any:
    """Import a module of a library that only some users need.

    Args:
        module:
            Its name.
        extra:
            The extra of this package that has it.
        user:
            Who needs it, to begin a sentence with.

    Returns:
        The module.

    Raises:
        ImportError:
            If it is not installed; names the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0].replace("_", "-")
        raise ImportError(
            f"{user} needs {library}, which is not installed or is too old: "
            f'`pip install "optuna_perfpred[{extra}]"`.'
        ) from error
