from __future__ import annotations

import warnings


class WarnOnce:
    """Warns of each kind of trouble once, as who is asked after every step must."""

    def __init__(self) -> None:
        self._told: set[tuple[str, type]] = set()

    def __call__(self, message: str, error: Exception | None = None) -> None:
        """Warn, unless that was done before.

        Args:
            message:
                What happened.
            error:
                Its cause. Of errors of one type only the first is told: their texts may hold
                times and addresses.
        """
        key = (message, type(error))
        if key not in self._told:
            self._told.add(key)
            warnings.warn(message if error is None else f"{message}: {error!r}", stacklevel=3)
