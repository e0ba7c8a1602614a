from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
import functools
import inspect
import logging
import operator
from typing import Any
from typing import TYPE_CHECKING

from optuna import Trial


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


GeneratorObjective = Callable[[Trial], Generator[Any, None, Any]]
"""An objective that yields a value after each step, or the step and the value."""

# The attributes with this prefix tell of a decision on one trial, not of what it trains.
_OUR_ATTRS = "perfpred:"

_logger = logging.getLogger(__name__)


def is_generator_function(objective: object) -> bool:
    """Whether calling an objective gives a generator; it may be decorated, bound or an object."""
    while isinstance(objective, functools.partial):
        objective = objective.func
    if not callable(objective):
        return False
    call = getattr(objective, "__call__", None)  # noqa: B004
    return any(inspect.isgeneratorfunction(inspect.unwrap(f)) for f in (objective, call) if f)


class Training:
    """A training that can be paused after each step.

    Args:
        objective:
            The objective.
        trial:
            The trial that it trains.
    """

    def __init__(self, objective: GeneratorObjective, trial: Trial) -> None:
        self._trial = trial
        self._generator = objective(trial)
        self._step: int | None = None
        self._value: float | None = None

    def run(self) -> tuple[bool, Any]:
        """Train, and report, until the pruner would stop it or it has ended.

        Returns:
            Whether it was stopped; and the value of the trial if it was not, :obj:`None` if what
            the objective yielded cannot be reported: such a trial fails.
        """
        while True:
            try:
                yielded = next(self._generator)
            except StopIteration as end:
                return False, self._value if end.value is None else end.value
            try:
                step, value = self._read(yielded)
            except ValueError as error:
                _logger.warning("Trial %d fails: %s", self._trial.number, error)
                self.close()
                return False, None
            self._trial.report(value, step)
            self._step, self._value = step, value
            if self._trial.should_prune():
                return True, None

    def go_on_as(self, trial: Trial, stopped: FrozenTrial) -> None:
        """Go on as another trial, which gets all that the stopped one has.

        Args:
            trial:
                The trial that goes on.
            stopped:
                The trial that was stopped.
        """
        for name, distribution in stopped.distributions.items():
            trial._suggest(name, distribution)
        for name, attr in stopped.user_attrs.items():
            if not name.startswith(_OUR_ATTRS):
                trial.set_user_attr(name, attr)
        for key, constraint in stopped.constraints.items():
            trial.set_constraint(key, constraint)
        for step, value in stopped.intermediate_values.items():
            trial.report(value, step)
        # The objective has the trial that was stopped: it is the new one from now on.
        vars(self._trial).update(vars(trial))

    def close(self) -> None:
        """End it for good."""
        try:
            self._generator.close()
        except Exception as error:
            _logger.warning("Trial %d did not end well: %r", self._trial.number, error)

    def _read(self, yielded: Any) -> tuple[int, float]:
        """Read what the objective yielded; raise if it cannot be reported."""
        if self._step is None:
            # It may have gone on from a checkpoint.
            self._step = self._trial.storage.get_trial(self._trial._trial_id).last_step
        following = 0 if self._step is None else self._step + 1
        is_pair = isinstance(yielded, tuple) and len(yielded) == 2
        step, value = yielded if is_pair else (following, yielded)
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            step, value = operator.index(step), float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"its objective must yield a number, or (step, number), but yielded {yielded!r}."
            ) from None
        if step < following:
            raise ValueError(f"its next step must be at least {following}, but it yielded {step}.")
        return step, value
