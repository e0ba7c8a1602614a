from __future__ import annotations

from bisect import bisect_left
from bisect import bisect_right
from bisect import insort
from dataclasses import dataclass
import math
from operator import attrgetter
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred._attributes import read_number
from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.samplers._q_table import QTable
from optuna_perfpred.samplers._q_table import Step


if TYPE_CHECKING:
    from collections.abc import Hashable

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.nas import Layer
    from optuna_perfpred.nas import LayerSpace
    from optuna_perfpred.samplers._q_table import Episode


# The table is remembered after every fourth trial; of what is remembered the latest 32 are kept,
# and each 32nd of the earlier ones. So a trial that finishes later than its followers costs about
# the learning of the trials since, and memory stays small.
_SNAPSHOT_INTERVAL = 4
_N_SNAPSHOTS = 32

_number = attrgetter("number")


@dataclass(frozen=True)
class Experience:
    """What a finished trial teaches.

    Attributes:
        number:
            The trial's number.
        layers:
            The layers that were chosen.
        trajectory:
            The same with the states in which they were chosen.
        episode:
            The same as the table wants it.
        value:
            The trial's value, the larger the better.
    """

    number: int
    layers: tuple[Layer, ...]
    trajectory: tuple[Step, ...]
    episode: Episode
    value: float


class QLearner:
    """A Q-table that is a function of the finished trials in a study's storage.

    Trials are learned from in the order of their numbers, whatever the order in which they end: a
    trial that ends after others with larger numbers makes the learner return to the table before
    it. The trajectories to replay are drawn with the trial's number as the seed. So any two
    learners that have seen the same finished trials have the same table, bit for bit.

    Args:
        study:
            The study.
        space:
            The space that it searches.
        table:
            An untouched table.
        replay_size:
            Number of trajectories that are replayed after each trial.
    """

    def __init__(
        self, study: Study, space: LayerSpace[Any], table: QTable, replay_size: int
    ) -> None:
        self._sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        self._space = space
        self._replay_size = replay_size
        self.table = table
        self._read: set[int] = set()
        self._experiences: list[Experience] = []
        self._architectures: set[tuple[Layer, ...]] = set()
        self._serves: int | None = None
        self._n_learned = 0
        self._sorted_values: list[float] = []
        self._snapshots: list[tuple[int, tuple[float, ...]]] = [(0, ())]

    @property
    def n_architectures(self) -> int:
        """Number of unique architectures among the finished trials."""
        return len(self._architectures)

    @property
    def states(self) -> dict[Hashable, tuple[Layer, ...]]:
        """The states that finished trials passed, in their order, and what is legal in them."""
        legal: dict[Hashable, dict[Layer, None]] = {}
        for experience in self._experiences:
            for step in experience.trajectory:
                legal.setdefault(step.state, {}).update(dict.fromkeys(step.legal))
        order = self._space.vocabulary.index
        return {state: tuple(sorted(layers, key=order)) for state, layers in legal.items()}

    def learn_before(self, trial_number: int, study: Study) -> None:
        """Learn what is new when a trial chooses its first layer, and keep to it until its last.

        Args:
            trial_number:
                The number of the trial that is about to choose a layer.
            study:
                The study.
        """
        if self._serves != trial_number:
            self.learn(study)
            self._serves = trial_number

    def learn(self, study: Study) -> None:
        """Learn from the trials that have finished since the last call.

        Args:
            study:
                The study.
        """
        finished = study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)
        )
        unread = [trial for trial in finished if trial.number not in self._read]
        if not unread:
            return
        self._read.update(trial.number for trial in unread)
        experiences = [
            experience for trial in unread if (experience := self._experience(trial)) is not None
        ]
        if not experiences:
            return
        self._experiences.extend(experiences)
        self._experiences.sort(key=_number)  # Nearly sorted, which costs linear time.
        first = min(experiences, key=_number)
        position = bisect_left(self._experiences, first.number, key=_number)
        self._architectures.update(experience.layers for experience in experiences)
        if position < self._n_learned:
            self._return_to(position)
        while self._n_learned < len(self._experiences):
            self._learn_next()

    def _learn_next(self) -> None:
        newest = self._experiences[self._n_learned]
        insort(self._sorted_values, newest.value)
        self._n_learned += 1
        self.table.update(newest.episode, self._reward(newest.value))
        rng = np.random.default_rng(newest.number)
        for index in rng.integers(self._n_learned, size=self._replay_size).tolist():
            experience = self._experiences[index]
            self.table.update(experience.episode, self._reward(experience.value))
        if self._n_learned % _SNAPSHOT_INTERVAL == 0:
            self._snapshots.append((self._n_learned, self.table.snapshot()))
            old = len(self._snapshots) - 1 - _N_SNAPSHOTS
            if old > 0 and self._snapshots[old][0] % (_SNAPSHOT_INTERVAL * _N_SNAPSHOTS):
                del self._snapshots[old]

    def _return_to(self, position: int) -> None:
        while self._snapshots[-1][0] > position:
            self._snapshots.pop()
        self._n_learned, values = self._snapshots[-1]
        self.table.restore(values)
        self._sorted_values = sorted(
            experience.value for experience in self._experiences[: self._n_learned]
        )

    def _reward(self, value: float) -> float:
        # The share of the trials so far that it beats, ties counted half.
        values = self._sorted_values
        below, up_to = bisect_left(values, value), bisect_right(values, value)
        return (below + up_to) / (2 * len(values))

    def _experience(self, trial: FrozenTrial) -> Experience | None:
        trajectory = self._space.read_layers(trial.params)
        value = _value(trial, self._sign)
        if not trajectory or value is None:
            return None
        if not self._space.is_end(self._space.next_state(*trajectory[-1])):
            return None
        steps = tuple(
            Step(self._space.agent_state(state), layer, self._space.legal_layers(state))
            for state, layer in trajectory
        )
        layers = tuple(layer for _, layer in trajectory)
        return Experience(trial.number, layers, steps, self.table.episode(steps), value)


def _value(trial: FrozenTrial, sign: float) -> float | None:
    """The larger the better; :obj:`None` if the trial has no value."""
    candidates: list[Any] = [trial.value]
    if trial.state == TrialState.PRUNED:
        candidates.insert(0, read_number(trial.user_attrs, PREDICTED_VALUE))
    for value in candidates:
        if isinstance(value, int | float) and not math.isnan(value):
            # An infeasible trial is worse than all feasible ones.
            feasible = all(constraint <= 0.0 for constraint in trial.constraints.values())
            return sign * value if feasible else -math.inf
    return None
