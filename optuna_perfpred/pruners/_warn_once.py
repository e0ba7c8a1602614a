from __future__ import annotations

from typing import TYPE_CHECKING
import warnings


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class WarnOnce:
    """Warns of each kind of trouble once, as a pruner is asked after every step."""

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

    def of_ended(self, trial: FrozenTrial) -> None:
        """Warn of a trial that another process has ended while it trained."""
        self(
            f"Trial {trial.number} is stopped, as another process marked it as finished while it "
            "trained: it has missed its heartbeats. Raise the storage's grace period"
        )
