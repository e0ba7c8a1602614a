from __future__ import annotations

import copy
import math
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.pruners._assessment import STEP


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Container


_LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED)


class _Finish(NamedTuple):
    pruned: FrozenTrial
    finished: FrozenTrial | None
    constraints: frozenset[str]


class Finishes:
    """The pruned trials of one study as they would have finished. Safe with threads.

    Each is made once, as trials do not change after their end.

    Args:
        n_startup_trials:
            The number of completed trials from which on they are shown.
    """

    def __init__(self, n_startup_trials: int) -> None:
        self._n_startup_trials = n_startup_trials
        # By number. Two threads may make the same one at once: it doesn't matter whose is kept.
        self._made: dict[int, _Finish] = {}

    def apply(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Replace the pruned trials that have a predicted value.

        Args:
            trials:
                All completed and pruned trials of the study, maybe among others. They are not
                changed.

        Returns:
            The trials in the same order.
        """
        completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if len(completed) < max(1, self._n_startup_trials):
            return trials
        # An objective may set its constraints after the training. Samplers refuse completed
        # trials of which some lack them.
        constraints = frozenset(completed[-1].constraints)
        return [
            self._finish(trial, constraints) if trial.state == TrialState.PRUNED else trial
            for trial in trials
        ]

    def _finish(self, trial: FrozenTrial, constraints: frozenset[str]) -> FrozenTrial:
        made = self._made.get(trial.number)
        if made is None or made.pruned is not trial:
            value = _read_predicted_value(trial)
            finished = None
            if value is not None:
                finished = copy.copy(trial)
                finished.state = TrialState.COMPLETE
                finished.values = [value]
            made = _Finish(trial, finished, frozenset(trial.constraints))
            self._made[trial.number] = made
        return made.finished if made.finished and made.constraints == constraints else trial


class PredictedStudy(Study):
    """A study as it would be if its pruned trials had finished at their predicted values.

    Reading trials is what differs. All else is the study itself, also what is written to it or to
    its storage; the best trial is the best one that was completed.

    Args:
        study:
            The study, or what a pruner shows of it.
        finishes:
            Its pruned trials as they would have finished.
    """

    def __init__(self, study: Study, finishes: Finishes) -> None:
        # The attributes of a study are looked up in the one that is shown, by `__getattr__`.
        self.__dict__.update(_shown=study, _finishes=finishes)

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Give the trials. See :meth:`optuna.Study.get_trials`."""
        return self._read(self._shown.get_trials, deepcopy, states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        # Of a bracket of Hyperband, this gives the trials of all brackets.
        return self._read(self._shown._get_trials, deepcopy, states, use_cache=use_cache)

    def stop(self) -> None:
        """Stop the study itself. See :meth:`optuna.Study.stop`."""
        self._shown.stop()

    def _read(
        self,
        read: Callable[..., list[FrozenTrial]],
        deepcopy: bool,
        states: Container[TrialState] | None,
        **options: bool,
    ) -> list[FrozenTrial]:
        if states is None:
            trials = self._finishes.apply(read(deepcopy=False, **options))
        elif any(state in states for state in _LEARNED_FROM):
            wanted = tuple(s for s in TrialState if s in states or s in _LEARNED_FROM)
            trials = self._finishes.apply(read(deepcopy=False, states=wanted, **options))
            trials = [trial for trial in trials if trial.state in states]
        else:
            return read(deepcopy=deepcopy, states=states, **options)
        return copy.deepcopy(trials) if deepcopy else trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_shown"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._shown, name, value)


def _read_predicted_value(trial: FrozenTrial) -> float | None:
    value = trial.user_attrs.get(PREDICTED_VALUE)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    # A retried trial starts with the attributes of the one that died, which may have got further.
    step = trial.user_attrs.get(STEP)
    if isinstance(step, int) and (trial.last_step is None or step > trial.last_step):
        return None
    return float(value)
