from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Hashable
    from collections.abc import Sequence

    from optuna_perfpred.nas import Layer


class Step(NamedTuple):
    """A layer of a trajectory.

    Attributes:
        state:
            What the agent saw before it chose the layer.
        layer:
            The layer.
        legal:
            The layers from which it was chosen.
    """

    state: Hashable
    layer: Layer
    legal: tuple[Layer, ...]


Episode = list[tuple[int, "Callable[[Sequence[float]], tuple[float, ...]] | None"]]
"""A trajectory from its last layer to its first: the cell of each layer, and what reads the cells
of the layers that could follow; :obj:`None` for the last layer."""


class QTable:
    """The values of layers in states, by tabular Q-learning.

    Values are in one list of cells, so that an update costs a microsecond and a copy of the table
    no more than a copy of the list.

    Args:
        learning_rate:
            The share of a new value that enters a cell.
        discount:
            The factor by which a value counts one layer earlier.
        initial_q:
            The value of a layer that was never updated.
    """

    def __init__(self, learning_rate: float, discount: float, initial_q: float) -> None:
        self._learning_rate = learning_rate
        self._discount = discount
        self._initial_q = initial_q
        self._cells: dict[tuple[Hashable, Layer], int] = {}
        self._values: list[float] = []

    def episode(self, trajectory: Sequence[Step]) -> Episode:
        """Prepare a trajectory for :meth:`update`.

        Args:
            trajectory:
                The layers of a network, in order.
        """
        episode: Episode = []
        following: Step | None = None
        for step in reversed(trajectory):
            cells = [self._cell(step.state, layer) for layer in step.legal]
            reader = None
            if following is not None:
                after = [self._cell(following.state, layer) for layer in following.legal]
                # With a single index an itemgetter gives no tuple.
                reader = itemgetter(after[0], *after)
            episode.append((cells[step.legal.index(step.layer)], reader))
            following = step
        return episode

    def update(self, episode: Episode, reward: float) -> None:
        """Learn from a trajectory, from its last layer to its first.

        The last layer's value moves towards the reward, that of an earlier one towards the best
        value of a layer that could follow it.

        Args:
            episode:
                A trajectory as prepared by :meth:`episode`.
            reward:
                Its reward.
        """
        values, rate, discount = self._values, self._learning_rate, self._discount
        for cell, following in episode:
            target = reward if following is None else discount * max(following(values))
            values[cell] += rate * (target - values[cell])

    def value(self, state: Hashable, layer: Layer) -> float:
        """The value of a layer in a state.

        Args:
            state:
                What the agent sees.
            layer:
                A layer that is legal in it.
        """
        cell = self._cells.get((state, layer))
        return self._initial_q if cell is None else self._values[cell]

    def snapshot(self) -> tuple[float, ...]:
        """Remember the values, for :meth:`restore`."""
        return tuple(self._values)

    def restore(self, snapshot: Sequence[float]) -> None:
        """Return to remembered values.

        Args:
            snapshot:
                What :meth:`snapshot` gave; cells that are newer than it take the initial value.
        """
        newer = len(self._values) - len(snapshot)
        self._values[:] = [*snapshot, *[self._initial_q] * newer]

    def _cell(self, state: Hashable, layer: Layer) -> int:
        cell = self._cells.setdefault((state, layer), len(self._values))
        if cell == len(self._values):
            self._values.append(self._initial_q)
        return cell
