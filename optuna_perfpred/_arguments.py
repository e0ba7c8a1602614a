from __future__ import annotations

import numpy as np


def check_at_least(name: str, value: int, minimum: int) -> None:
    """Raise a ValueError unless a value is an integer and large enough."""
    if not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"`{name}` must be an integer of at least {minimum}, but got {value!r}.")
