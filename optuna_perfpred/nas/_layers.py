from __future__ import annotations

import abc
from dataclasses import dataclass
from dataclasses import fields
import math
import re
from typing import Any
from typing import ClassVar

from optuna_perfpred.nas._torch import modules
from optuna_perfpred.nas._torch import nn


Shape = tuple[int, ...]
"""A representation: ``(channels, height, width)`` of an image, ``(length, features)`` of a
sequence of known length such as an image's patches, else ``(features,)``."""

_NOTATION = re.compile(r"\s*([A-Za-z]+)\(([^()]*)\)\s*")


@dataclass(frozen=True)
class Layer(abc.ABC):
    """A layer of an :class:`~optuna_perfpred.nas.Architecture`.

    Layers are immutable and print as in the published notation, for instance ``C(64,3,1)``. A
    layer of one's own is a frozen dataclass with :meth:`output_shape`, and :meth:`build` if
    networks are built with it; it is known wherever it is in the vocabulary of a space.

    Attributes:
        code:
            What it prints as before its arguments; the name of the class by default.
    """

    code: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            cls.code = cls.__name__

    def __str__(self) -> str:
        arguments = (str(getattr(self, field.name)).removesuffix(".0") for field in fields(self))
        return f"{self.code}({','.join(arguments)})"

    @abc.abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of what the layer gives, without the batch (and time) dimensions.

        Args:
            input_shape:
                Shape of what the layer is given.

        Raises:
            :exc:`ValueError`:
                If the layer cannot be applied to that shape.
        """

    def num_weights(self, input_shape: Shape) -> int:
        """Count the weights; biases are not counted, as in the published networks.

        Args:
            input_shape:
                Shape of what the layer is given.
        """
        return 0

    def multiply_adds(self, input_shape: Shape) -> int:
        """Count the multiplications with a weight, of one image or one token.

        Args:
            input_shape:
                Shape of what the layer is given.

        Returns:
            Unless a layer knows better, its weights at each position of what it gives.
        """
        shape = self.output_shape(input_shape)
        num_positions = math.prod(shape[1:]) if len(shape) == 3 else math.prod(shape[:-1])
        return self.num_weights(input_shape) * num_positions

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        """Build the layer.

        Args:
            input_shape:
                Shape of what it is given.
            bias:
                Whether it has biases. Without them the module has the weights that
                :meth:`num_weights` counts.

        Returns:
            A PyTorch module. See :func:`~optuna_perfpred.nas.build` for what it is given.

        Raises:
            :exc:`ValueError`:
                If the layer has no module.
        """
        raise ValueError(f"No module is known for the layer {self}.")


@dataclass(frozen=True)
class PositiveLayer(Layer):
    """A layer whose arguments are positive numbers.

    Attributes:
        odd:
            The arguments that must be odd, as the sizes of padded windows.
    """

    odd: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if any(getattr(self, field.name) < 1 for field in fields(self)):
            raise ValueError(f"The arguments of a layer must be positive, but got {self}.")
        for name in self.odd:
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"The {name} of a padded window must be odd, but got {self}.")


@dataclass(frozen=True)
class Convolution(PositiveLayer):
    """A convolution, padded so that stride 1 keeps the size, followed by a ReLU.

    Args:
        filters:
            Number of filters.
        size:
            Height and width of a filter, odd.
        stride:
            The stride.
    """

    code: ClassVar[str] = "C"
    odd: ClassVar[tuple[str, ...]] = ("size",)
    filters: int
    size: int
    stride: int = 1

    def output_shape(self, input_shape: Shape) -> Shape:
        _, height, width = image_shape(self, input_shape)
        return self.filters, -(-height // self.stride), -(-width // self.stride)

    def num_weights(self, input_shape: Shape) -> int:
        return image_shape(self, input_shape)[0] * self.filters * self.size**2

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        convolution = nn.Conv2d(
            input_shape[0], self.filters, self.size, self.stride, self.size // 2, bias=bias
        )
        return nn.Sequential(convolution, nn.ReLU())


@dataclass(frozen=True)
class Pooling(PositiveLayer):
    """Max-pooling without padding.

    Args:
        size:
            Height and width of the window.
        stride:
            The stride.
    """

    code: ClassVar[str] = "P"
    size: int
    stride: int

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, *sides = image_shape(self, input_shape)
        if min(sides) < self.size:
            raise ValueError(f"{self} cannot be applied to {sides[0]} × {sides[1]} values.")
        # ceil((side - size + 1) / stride)
        height, width = ((side - self.size) // self.stride + 1 for side in sides)
        return channels, height, width

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return nn.MaxPool2d(self.size, self.stride)


@dataclass(frozen=True)
class FullyConnected(PositiveLayer):
    """A fully connected layer, followed by a ReLU.

    Args:
        units:
            Number of units.
    """

    code: ClassVar[str] = "FC"
    units: int

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.units,)

    def num_weights(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * self.units

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        linear = nn.Linear(math.prod(input_shape), self.units, bias=bias)
        return nn.Sequential(nn.Flatten(), linear, nn.ReLU())


@dataclass(frozen=True)
class Dropout(PositiveLayer):
    """Dropout, the ``index``-th of ``total``, with the probability ``index / (2 total)``.

    Args:
        index:
            Which of the network's dropout layers it is, from 1.
        total:
            How many the schedule counts.
    """

    code: ClassVar[str] = "D"
    index: int
    total: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.index > self.total:
            raise ValueError(f"A dropout layer is the i-th of n, i <= n, but got {self}.")

    @property
    def probability(self) -> float:
        """The probability with which a value is set to zero."""
        return self.index / (2 * self.total)

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return nn.Dropout(self.probability)


@dataclass(frozen=True)
class GlobalAveragePooling(PositiveLayer):
    """A 1 × 1 convolution to one map for each class, averaged over the image.

    Args:
        num_classes:
            Number of classes.
    """

    code: ClassVar[str] = "GAP"
    num_classes: int

    def output_shape(self, input_shape: Shape) -> Shape:
        image_shape(self, input_shape)
        return (self.num_classes,)

    def num_weights(self, input_shape: Shape) -> int:
        return image_shape(self, input_shape)[0] * self.num_classes

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.num_weights(input_shape) * math.prod(input_shape[1:])

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        convolution = nn.Conv2d(input_shape[0], self.num_classes, 1, bias=bias)
        return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@dataclass(frozen=True)
class Softmax(PositiveLayer):
    """The classifier of the published networks.

    After global average pooling it is the softmax alone and has no weights, see
    :class:`~optuna_perfpred.nas.Architecture`; else a linear layer comes before it.

    Args:
        num_classes:
            Number of classes.
    """

    code: ClassVar[str] = "SM"
    num_classes: int

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.num_classes,)

    def num_weights(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * self.num_classes

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        linear = nn.Linear(math.prod(input_shape), self.num_classes, bias=bias)
        return nn.Sequential(nn.Flatten(), linear) if len(input_shape) == 3 else linear


@dataclass(frozen=True)
class Embedding(PositiveLayer):
    """An embedding of tokens; its input shape is ``(vocabulary_size,)``.

    Args:
        units:
            Length of a token's vector.
    """

    code: ClassVar[str] = "E"
    units: int

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.units,)

    def num_weights(self, input_shape: Shape) -> int:
        (vocabulary_size,) = vector_shape(self, input_shape)
        return vocabulary_size * self.units

    def multiply_adds(self, input_shape: Shape) -> int:
        return 0

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return nn.Embedding(input_shape[0], self.units)


@dataclass(frozen=True)
class _Recurrent(Layer):
    gates: ClassVar[int]
    units: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ValueError(f"A layer needs at least one unit, but got {self}.")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"The dropout must be in [0, 1), but got {self}.")

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.units,)

    def num_weights(self, input_shape: Shape) -> int:
        (features,) = vector_shape(self, input_shape)
        return self.gates * self.units * (features + self.units)

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        cells = nn.LSTM if isinstance(self, LSTM) else nn.GRU
        return modules.Recurrent(
            cells(input_shape[0], self.units, bias=bias, batch_first=True), self.dropout
        )


@dataclass(frozen=True)
class LSTM(_Recurrent):
    """A layer of LSTM cells (Hochreiter and Schmidhuber, 1997).

    Args:
        units:
            Number of cells.
        dropout:
            The probability with which an output is set to zero.
    """

    code: ClassVar[str] = "LSTM"
    gates: ClassVar[int] = 4


@dataclass(frozen=True)
class GRU(_Recurrent):
    """A layer of gated recurrent units (Cho et al., 2014).

    Args:
        units:
            Number of cells.
        dropout:
            The probability with which an output is set to zero.
    """

    code: ClassVar[str] = "GRU"
    gates: ClassVar[int] = 3


FEED_FORWARD = (Convolution, Pooling, FullyConnected, Dropout, GlobalAveragePooling, Softmax)
"""The layers of the published networks for images."""

PUBLISHED = (*FEED_FORWARD, Embedding, LSTM, GRU)
"""The layers that are known wherever a notation is parsed, whatever the space."""

_KINDS: dict[str, type[Layer]] = {kind.code: kind for kind in PUBLISHED}


def split_notation(text: str) -> list[str]:
    """Split at the commas that are outside of all parentheses.

    Args:
        text:
            Layers, or the arguments of one.
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def parse_layer(notation: str) -> Layer:
    """Parse a published layer. For all others see :meth:`~optuna_perfpred.nas.LayerSpace.parse`.

    Args:
        notation:
            A layer as it prints, for instance ``C(64,3,1)``.

    Returns:
        The layer.

    Raises:
        :exc:`ValueError`:
            If the layer is not known, or not with these arguments.
    """
    match = _NOTATION.fullmatch(notation)
    kind = _KINDS.get(match[1]) if match else None
    if match is None or kind is None:
        known = ", ".join(f"{code}({_signature(kind)})" for code, kind in _KINDS.items())
        raise ValueError(f"Unknown layer {notation.strip()!r}; the known layers are {known}.")
    texts = match[2].split(",")
    try:
        # Postponed annotations are strings.
        types = [{"int": int, "float": float}[str(field.type)] for field in fields(kind)]
        if len(texts) != len(types):
            raise ValueError
        arguments = [convert(text) for convert, text in zip(types, texts, strict=True)]
    except ValueError:
        raise ValueError(
            f"The layer {notation.strip()!r} must be written {kind.code}({_signature(kind)})."
        ) from None
    return kind(*arguments)


def _signature(kind: type[Layer]) -> str:
    return ",".join(field.name for field in fields(kind))


def image_shape(layer: Layer, shape: Shape) -> Shape:
    """Give the shape that a layer is given; raise :exc:`ValueError` if it is no image's."""
    if len(shape) != 3:
        raise ValueError(f"{layer} needs (channels, height, width), but is given {shape}.")
    return shape


def vector_shape(layer: Layer, shape: Shape) -> Shape:
    """Give the shape that a layer is given; raise :exc:`ValueError` unless it is a vector's."""
    if len(shape) != 1:
        raise ValueError(f"{layer} needs (features,), but is given {shape}.")
    return shape
