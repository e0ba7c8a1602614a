from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from optuna.study import Study


def check_at_least(name: str, value: int, minimum: int) -> None:
    """Raise a ValueError unless a value is an integer and large enough."""
    if not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"`{name}` must be an integer of at least {minimum}, but got {value!r}.")


def check_single_objective(study: Study, used: str) -> None:
    """Raise a ValueError if a study has several objectives: Optuna refuses to prune there.

    Args:
        study:
            The study.
        used:
            What is to be done with it, as in "can be explained".
    """
    if len(study.directions) != 1:
        raise ValueError(
            f"Only single-objective studies can be {used}, but {study.study_name!r} has "
            f"{len(study.directions)} objectives."
        )
