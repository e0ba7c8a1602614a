from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Hashable
    from collections.abc import Sequence
    import random

    from optuna_perfpred.nas import Layer
    from optuna_perfpred.nas import LayerSpace


Network = tuple[int, ...]
"""The layers that were chosen, each by its number in the vocabulary."""


class NetworkGraph:
    """The states of a space and the layers that lead from one to another.

    What a space says of a state is asked for once, so that thousands of networks can be imagined
    in the time that suggesting a few would take.

    Args:
        space:
            The space.
    """

    def __init__(self, space: LayerSpace[Any]) -> None:
        self.space = space
        self.numbers = {layer: number for number, layer in enumerate(space.vocabulary)}
        self._states: list[Any] = [space.initial_state]
        self._known: dict[Hashable, int] = {space.initial_state: 0}
        self._legal: list[Network | None] = [None]
        self._next: list[dict[int, int]] = [{}]

    def state(self, node: int) -> Any:
        """The state of a node; that of node 0 is the one before the first layer."""
        return self._states[node]

    def legal(self, node: int) -> Network:
        """The layers that may follow; none if the network has ended."""
        legal = self._legal[node]
        if legal is None:
            state = self._states[node]
            ended = self.space.is_end(state)
            layers = () if ended else self.space.legal_layers(state)
            legal = self._legal[node] = tuple(self.numbers[layer] for layer in layers)
        return legal

    def follow(self, node: int, layer: int) -> int:
        """The node that a legal layer leads to."""
        following = self._next[node].get(layer)
        if following is None:
            state = self.space.next_state(self._states[node], self.space.vocabulary[layer])
            following = self._known.setdefault(state, len(self._states))
            if following == len(self._states):
                self._states.append(state)
                self._legal.append(None)
                self._next.append({})
            self._next[node][layer] = following
        return following

    def number(self, layers: Sequence[Layer]) -> Network:
        """Give layers by their numbers."""
        return tuple(self.numbers[layer] for layer in layers)

    def complete(self, wanted: Sequence[int | None], rng: random.Random) -> Network:
        """Make a legal network of wanted layers.

        Args:
            wanted:
                The layers wanted, :obj:`None` for any. One that is illegal where its turn comes
                is left out if the next one is legal there, and replaced by any other if not.
                After the last one, layers are drawn until the network ends.
            rng:
                Draws layers.
        """
        network: list[int] = []
        node, turn = 0, 0
        while legal := self.legal(node):
            layer = wanted[turn] if turn < len(wanted) else None
            if layer is not None and layer not in legal:
                following = wanted[turn + 1] if turn + 1 < len(wanted) else None
                if following in legal:
                    turn += 1
                layer = following if following in legal else None
            if layer is None:
                layer = legal[int(rng.random() * len(legal))]
            turn += 1
            network.append(layer)
            node = self._next[node].get(layer) or self.follow(node, layer)
        return tuple(network)
