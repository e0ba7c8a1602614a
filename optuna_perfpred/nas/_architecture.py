from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred.nas._layers import Dropout
from optuna_perfpred.nas._layers import FEED_FORWARD
from optuna_perfpred.nas._layers import GlobalAveragePooling
from optuna_perfpred.nas._layers import Layer
from optuna_perfpred.nas._layers import parse_layer
from optuna_perfpred.nas._layers import Shape
from optuna_perfpred.nas._layers import Softmax
from optuna_perfpred.nas._layers import split_notation


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator


class LayerShapes(NamedTuple):
    """What an architecture knows of one of its layers.

    Attributes:
        layer:
            The layer.
        input_shape:
            Shape of what it is given, without the batch dimension.
        output_shape:
            Shape of what it gives.
        num_weights:
            Number of its weights, biases not counted.
    """

    layer: Layer
    input_shape: Shape
    output_shape: Shape
    num_weights: int


@dataclass(frozen=True)
class Architecture:
    """A network as a sequence of layers.

    It is immutable, hashable, and prints as in the published notation, for instance
    ``[C(64,3,1), P(2,2), FC(128), SM(10)]``. Sizes and weights are known without building it.

    Args:
        layers:
            The layers in order. What ends a network is the business of a
            :class:`~optuna_perfpred.nas.LayerSpace`.
        input_shape:
            Shape of an input: ``(channels, height, width)`` of an image, or
            ``(vocabulary_size,)`` if the inputs are tokens.

    Raises:
        :exc:`ValueError`:
            If there are no layers, or a layer cannot be applied.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("An architecture must have layers, but got none.")
        if not self.input_shape or min(self.input_shape) < 1:
            raise ValueError(
                f"The input shape must be positive numbers, but got {self.input_shape}."
            )
        _ = self.shapes  # Raises if a layer cannot be applied.

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.layers))}]"

    @classmethod
    def parse(
        cls,
        notation: str,
        input_shape: Shape = (3, 32, 32),
        parse_layer: Callable[[str], Layer] = parse_layer,
    ) -> Architecture:
        """Parse the published notation.

        Args:
            notation:
                An architecture as it prints. Dropout layers may be part of it, or not.
            input_shape:
                Shape of an input. The default is that of the published networks' images.
            parse_layer:
                Parses a layer; the default knows the published ones.

        Returns:
            The architecture. It prints as ``notation``, spaces aside.

        Raises:
            :exc:`ValueError`:
                If the notation holds an unknown layer, or is no architecture.
        """
        text = notation.strip()
        if not (text.startswith("[") and text.endswith("]")):
            raise ValueError(f"An architecture is written in brackets, but got {notation!r}.")
        layers = [parse_layer(layer) for layer in split_notation(text[1:-1])]
        return cls(tuple(layers), tuple(input_shape))

    @property
    def num_layers(self) -> int:
        """Number of layers, dropout not counted."""
        return sum(not isinstance(layer, Dropout) for layer in self.layers)

    @cached_property
    def num_weights(self) -> int:
        """Number of weights, biases not counted."""
        return sum(shapes.num_weights for shapes in self.shapes)

    @cached_property
    def multiply_adds(self) -> int:
        """Number of multiplications with a weight, of one image or one token."""
        return sum(
            layer.multiply_adds(input_shape)
            for layer, input_shape, _, num_weights in self.shapes
            if num_weights > 0 or not isinstance(layer, Softmax)
        )

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """Shape of what each layer gives, without the batch dimension."""
        return tuple(shapes.output_shape for shapes in self.shapes)

    @cached_property
    def shapes(self) -> tuple[LayerShapes, ...]:
        """Shapes and weights of each layer."""
        return tuple(self._infer_shapes())

    def with_dropout(self) -> Architecture:
        """Add the published dropout schedule.

        After every second layer there is a dropout layer; the i-th of n has the probability
        ``i / (2n)`` (Baker et al. 2017, "Designing Neural Network Architectures using
        Reinforcement Learning", section 5). The classifier is not counted.

        Returns:
            The architecture with dropout layers; itself if it has some already, or if it is no
            network of the published layers for images.
        """
        if any(isinstance(la, Dropout) or not isinstance(la, FEED_FORWARD) for la in self.layers):
            return self
        ends = (GlobalAveragePooling, Softmax)
        total = sum(not isinstance(layer, ends) for layer in self.layers) // 2
        layers: list[Layer] = []
        for position, layer in enumerate(self.layers, start=1):
            layers.append(layer)
            if position % 2 == 0 and position // 2 <= total:
                layers.append(Dropout(position // 2, total))
        return Architecture(tuple(layers), self.input_shape)

    def without_dropout(self) -> Architecture:
        """Remove the dropout layers.

        Returns:
            The architecture without :class:`~optuna_perfpred.nas.Dropout`.
        """
        layers = tuple(layer for layer in self.layers if not isinstance(layer, Dropout))
        return Architecture(layers, self.input_shape)

    def _infer_shapes(self) -> Iterator[LayerShapes]:
        shape = self.input_shape
        previous: Layer | None = None
        for layer in self.layers:
            # Global average pooling ends with one value for each class: only the softmax is left.
            is_softmax_alone = isinstance(layer, Softmax) and isinstance(
                previous, GlobalAveragePooling
            )
            output_shape = layer.output_shape(shape)
            if is_softmax_alone and output_shape != shape:
                raise ValueError(f"{layer} must have the classes of {previous} before it.")
            num_weights = 0 if is_softmax_alone else layer.num_weights(shape)
            yield LayerShapes(layer, shape, output_shape, num_weights)
            shape = output_shape
            if not isinstance(layer, Dropout):
                previous = layer
