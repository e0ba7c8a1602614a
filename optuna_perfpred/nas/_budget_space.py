from __future__ import annotations

import sys
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.nas._cost import Cost
from optuna_perfpred.nas._space import LayerSpace


if TYPE_CHECKING:
    from collections.abc import Hashable

    from optuna_perfpred.nas._architecture import Architecture
    from optuna_perfpred.nas._layers import Layer


class BudgetState(NamedTuple):
    """A network being built, and what it costs so far.

    Attributes:
        inner:
            The state in the space that the budget is for.
        spent:
            What the layers so far cost.
    """

    inner: Any
    spent: Cost


class BudgetSpace(LayerSpace[BudgetState]):
    """The networks of a space that keep within a budget.

    A layer is legal if some network that begins with it keeps within the budget, so every network
    that is suggested does, by whatever sampler. For what a space cannot tell in advance, such as
    a latency that is measured, give a sampler constraints instead.

    Args:
        space:
            A space whose :meth:`~optuna_perfpred.nas.LayerSpace.cost` tells what layers cost, as
            those of this package do.
        max_weights:
            Most weights, if not :obj:`None`.
        max_multiply_adds:
            Most multiply-adds of one image or token, if not :obj:`None`.

    Raises:
        :exc:`ValueError`:
            If a budget is no positive integer, none is given, or no network keeps within it.
    """

    def __init__(
        self,
        space: LayerSpace[Any],
        *,
        max_weights: int | None = None,
        max_multiply_adds: int | None = None,
    ) -> None:
        if max_weights is None and max_multiply_adds is None:
            raise ValueError("`max_weights` or `max_multiply_adds` must be given.")
        self._budget = Cost(
            _limit("max_weights", max_weights), _limit("max_multiply_adds", max_multiply_adds)
        )
        self._space = space
        self._arguments = f"{max_weights=}, {max_multiply_adds=}"
        self._cheapest: dict[Any, tuple[Cost, ...]] = {}
        self.input_shape = space.input_shape
        self.vocabulary = space.vocabulary
        self.initial_state = BudgetState(space.initial_state, Cost(0, 0))
        if not self._can_end(self.initial_state):
            smallest = self._ends(space.initial_state)
            raise ValueError(
                f"No network of {space!r} keeps within {self._arguments}: the fewest weights of "
                f"one are {min(cost.num_weights for cost in smallest)}, the fewest multiply-adds "
                f"{min(cost.multiply_adds for cost in smallest)}."
            )

    def __repr__(self) -> str:
        return f"BudgetSpace({self._space!r}, {self._arguments})"

    def violation(self, state: BudgetState, layer: Layer) -> str | None:
        broken = self._space.violation(state.inner, layer)
        if broken is None and not self._can_end(self.next_state(state, layer)):
            return f"no network that begins so keeps within {self._arguments}"
        return broken

    def next_state(self, state: BudgetState, layer: Layer) -> BudgetState:
        spent = state.spent + self._space.cost(state.inner, layer)
        return BudgetState(self._space.next_state(state.inner, layer), spent)

    def is_end(self, state: BudgetState) -> bool:
        return self._space.is_end(state.inner)

    def position(self, state: BudgetState) -> int:
        return self._space.position(state.inner)

    def situation(self, state: BudgetState) -> str:
        """Name the situation in the space, and the layers that are too expensive if there are any.

        Args:
            state:
                A state in which the network has not ended.
        """
        situation = self._space.situation(state.inner)
        legal = self.legal_layers(state)
        if legal == self._space.legal_layers(state.inner):
            return situation
        return f"{situation};{self.name_choices(legal)}"

    def agent_state(self, state: BudgetState) -> Hashable:
        return self._space.agent_state(state.inner), self.name_choices(self.legal_layers(state))

    def cost(self, state: BudgetState, layer: Layer) -> Cost:
        return self._space.cost(state.inner, layer)

    def complete(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        return self._space.complete(layers)

    def chosen(self, architecture: Architecture) -> tuple[Layer, ...]:
        return self._space.chosen(architecture)

    def parse_layer(self, notation: str) -> Layer:
        return self._space.parse_layer(notation)

    def _can_end(self, state: BudgetState) -> bool:
        ends = self._ends(state.inner)
        return any((state.spent + end).within(self._budget) for end in ends)

    def _ends(self, inner: Any) -> tuple[Cost, ...]:
        """The costs of ends of networks that no other end undercuts in both respects."""
        if self._space.is_end(inner):
            return (Cost(0, 0),)
        if inner not in self._cheapest:
            steps = [
                (self._space.cost(inner, layer), self._space.next_state(inner, layer))
                for layer in self._space.vocabulary
                if self._space.violation(inner, layer) is None
            ]
            # Ends of the network first, and cheap layers, so that few others need be followed.
            steps.sort(key=lambda step: (not self._space.is_end(step[1]), step[0].num_weights))
            found: list[Cost] = []
            for cost, following in steps:
                if not any(end.within(cost) for end in found):
                    found += [cost + end for end in self._ends(following)]
            self._cheapest[inner] = tuple(
                end
                for end in dict.fromkeys(found)
                if not any(other.within(end) for other in found if other != end)
            )
        return self._cheapest[inner]


def _limit(name: str, value: int | None) -> int:
    return sys.maxsize if value is None else check_at_least(name, value, 1)
