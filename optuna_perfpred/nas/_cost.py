from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable

    from optuna_perfpred.nas._layers import Layer
    from optuna_perfpred.nas._layers import Shape


@dataclass(frozen=True)
class Cost:
    """What layers cost.

    Attributes:
        num_weights:
            Their number of weights.
        multiply_adds:
            Their multiplications with a weight, of one image or one token.
    """

    num_weights: int
    multiply_adds: int

    @classmethod
    def of(cls, layers: Iterable[Layer], shape: Shape) -> Cost:
        """Count.

        Args:
            layers:
                The layers in order.
            shape:
                Shape of what the first one is given.
        """
        num_weights = multiply_adds = 0
        for layer in layers:
            num_weights += layer.num_weights(shape)
            multiply_adds += layer.multiply_adds(shape)
            shape = layer.output_shape(shape)
        return cls(num_weights, multiply_adds)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.num_weights + other.num_weights, self.multiply_adds + other.multiply_adds)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.num_weights - other.num_weights, self.multiply_adds - other.multiply_adds)

    def within(self, budget: Cost) -> bool:
        """Tell whether neither number is above that of a budget."""
        return (
            self.num_weights <= budget.num_weights and self.multiply_adds <= budget.multiply_adds
        )
