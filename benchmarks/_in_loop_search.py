"""A study on a virtual clock, whose trainings are those of a surrogate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred.history import CONTINUES


if TYPE_CHECKING:
    from collections.abc import Sequence

    from _in_loop_surrogate import NeighbourSurrogate
    from optuna import Study
    from optuna import Trial


class Outcome(NamedTuple):
    """What a search has found.

    Args:
        misses: When each of the budgets is spent, per cent of random configurations that end
            better than the best completed one.
        n_trials: Number of trials begun.
        n_completed: Number of trials completed.
        n_new_best: Number of trials that were a new best, or would have been when they were
            stopped.
        n_stopped_new_best: How many of these were stopped and never completed.
    """

    misses: tuple[float, ...]
    n_trials: int
    n_completed: int
    n_new_best: int
    n_stopped_new_best: int


@dataclass
class _Training:
    trial: Trial
    curve: list[float]
    n_steps: int = 0  # So far.


class Search:
    """A search by one study. It can be run once.

    Each worker trains one step of its trial a tick; all begin together, and a worker whose trial
    has ended asks for the next one in the same tick.

    Args:
        study:
            An empty study, with the sampler and the pruner.
        surrogate:
            What answers.
        checkpoints:
            Whether a trial that continues an earlier one begins where that one was stopped, at no
            cost. Otherwise it is trained from its first step again.
    """

    def __init__(
        self, study: Study, surrogate: NeighbourSurrogate, *, checkpoints: bool = False
    ) -> None:
        self._study = study
        self._surrogate = surrogate
        self._checkpoints = checkpoints
        self._curves: dict[int, list[float]] = {}  # By number of the trial.
        self._best: float | None = None
        self._n_completed = 0
        self._n_completed_new_best = 0
        self._stopped_new_best: set[int] = set()

    def run(self, budgets: Sequence[int], n_workers: int = 1) -> Outcome:
        """Search until the largest of the budgets, numbers of full trainings, is spent."""
        ends = [budget * self._surrogate.n_steps for budget in budgets]
        best_at = {}
        trainings = [self._begin() for _ in range(n_workers)]
        for n_spent in range(1, max(ends) + 1):
            worker = (n_spent - 1) % n_workers
            has_ended = self._train_step(trainings[worker])
            if n_spent in ends:
                best_at[n_spent] = self._best
            if has_ended and n_spent < max(ends):
                trainings[worker] = self._begin()
        return Outcome(
            tuple(100.0 * self._surrogate.share_better_than(best_at[end]) for end in ends),
            len(self._curves),
            self._n_completed,
            self._n_completed_new_best + len(self._stopped_new_best),
            len(self._stopped_new_best),
        )

    def _begin(self) -> _Training:
        trial = self._study.ask(self._surrogate.distributions)
        earlier = trial.user_attrs.get(CONTINUES)
        if earlier is None:
            curve = self._surrogate.curve(trial.params).tolist()
        else:
            curve = self._curves[earlier]
            self._stopped_new_best.discard(earlier)
        self._curves[trial.number] = curve
        training = _Training(trial, curve)
        if earlier is not None and self._checkpoints:
            reports = self._study.get_trials(deepcopy=False)[earlier].intermediate_values
            for step, value in sorted(reports.items()):
                trial.report(value, step)
            training.n_steps = len(reports)
        return training

    def _train_step(self, training: _Training) -> bool:
        """Train a trial's next step, and tell whether it was its last."""
        trial, final_value = training.trial, training.curve[-1]
        training.n_steps += 1
        trial.report(training.curve[training.n_steps - 1], training.n_steps)
        is_new_best = self._surrogate.is_better(final_value, self._best)
        if training.n_steps == self._surrogate.n_steps:
            self._study.tell(trial, final_value)
            self._n_completed += 1
            if is_new_best:
                self._n_completed_new_best += 1
                self._best = final_value
            return True
        if trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            if is_new_best:
                self._stopped_new_best.add(trial.number)
            return True
        return False
