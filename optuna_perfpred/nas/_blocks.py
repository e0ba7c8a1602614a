"""Layers and blocks of later networks than the published ones.

Normalisations always have a scale and a shift, and both are counted.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
import math
from typing import ClassVar
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred.nas._layers import image_shape
from optuna_perfpred.nas._layers import PositiveLayer
from optuna_perfpred.nas._layers import Shape
from optuna_perfpred.nas._torch import modules
from optuna_perfpred.nas._torch import nn


if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class BatchNormalization(PositiveLayer):
    """Batch normalisation of images (Ioffe and Szegedy, 2015), followed by a ReLU."""

    code: ClassVar[str] = "BN"

    def output_shape(self, input_shape: Shape) -> Shape:
        return image_shape(self, input_shape)

    def num_weights(self, input_shape: Shape) -> int:
        return 2 * image_shape(self, input_shape)[0]

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(input_shape[0]), nn.ReLU())


@dataclass(frozen=True)
class LayerNormalization(PositiveLayer):
    """Layer normalisation: of the features at each position, of an image's values as a whole."""

    code: ClassVar[str] = "LN"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def num_weights(self, input_shape: Shape) -> int:
        return 2 * _num_features(input_shape)

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        if len(input_shape) == 3:
            return nn.GroupNorm(1, input_shape[0])
        return nn.LayerNorm(input_shape[-1])


class Part(NamedTuple):
    """A padded convolution and batch normalisation, with PyTorch's name of what is around them."""

    filters: int
    size: int = 1
    stride: int = 1
    groups: int = 1
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Convolutions(PositiveLayer):
    """Padded convolutions one after another, each with batch normalisation."""

    @abc.abstractmethod
    def _parts(self, channels: int) -> list[Part]: ...

    def _steps(self, input_shape: Shape) -> Iterator[tuple[int, Shape]]:
        """Give the weights of each convolution, and the shape of what it gives."""
        channels, height, width = image_shape(self, input_shape)
        for n, size, stride, groups, *_ in self._parts(channels):
            num_weights = channels // groups * n * size**2 + 2 * n
            channels, height, width = n, -(-height // stride), -(-width // stride)
            yield num_weights, (channels, height, width)

    def output_shape(self, input_shape: Shape) -> Shape:
        *_, (_, shape) = self._steps(input_shape)
        return shape

    def num_weights(self, input_shape: Shape) -> int:
        return sum(num_weights for num_weights, _ in self._steps(input_shape))

    def multiply_adds(self, input_shape: Shape) -> int:
        return sum(weights * math.prod(shape[1:]) for weights, shape in self._steps(input_shape))

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for n, size, stride, groups, before, after in self._parts(channels):
            convolution = nn.Conv2d(channels, n, size, stride, size // 2, groups=groups, bias=bias)
            around = [[getattr(nn, name)()] if name else [] for name in (before, after)]
            layers += [*around[0], convolution, nn.BatchNorm2d(n), *around[1]]
            channels = n
        return nn.Sequential(*layers)


@dataclass(frozen=True)
class _Filters(Convolutions):
    odd: ClassVar[tuple[str, ...]] = ("size",)
    filters: int
    size: int = 3
    stride: int = 1


@dataclass(frozen=True)
class Stem(_Filters):
    """A convolution and batch normalisation; arguments as of :class:`Convolution`."""

    code: ClassVar[str] = "S"

    def _parts(self, channels: int) -> list[Part]:
        return [Part(self.filters, self.size, self.stride)]


@dataclass(frozen=True)
class ConvolutionBlock(_Filters):
    """A convolution, batch normalisation and a ReLU; arguments as of :class:`Convolution`."""

    code: ClassVar[str] = "CB"

    def _parts(self, channels: int) -> list[Part]:
        return [Part(self.filters, self.size, self.stride, after="ReLU")]


@dataclass(frozen=True)
class SeparableConvolution(_Filters):
    """A depthwise and a pointwise convolution, each with normalisation and ReLU.

    As in MobileNet (Howard et al., 2017). The size and the stride are those of the depthwise
    convolution.
    """

    code: ClassVar[str] = "SC"

    def _parts(self, channels: int) -> list[Part]:
        return [
            Part(channels, self.size, self.stride, channels, after="ReLU"),
            Part(self.filters, after="ReLU"),
        ]


@dataclass(frozen=True)
class InvertedBottleneck(_Filters):
    """The block of MobileNetV2 (Sandler et al., 2018).

    Widened by a pointwise convolution, filtered by a depthwise one, made narrow again; with a
    skip where the shape stays. The size and the stride are those of the depthwise convolution.

    Args:
        expansion:
            How many times wider it is inside than what it is given.
    """

    code: ClassVar[str] = "IB"
    expansion: int = 4

    def _parts(self, channels: int) -> list[Part]:
        inside = self.expansion * channels
        return [
            Part(inside, after="ReLU6"),
            Part(inside, self.size, self.stride, inside, after="ReLU6"),
            Part(self.filters),
        ]

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        body = super().build(input_shape, bias=bias)
        return modules.Skip(body) if self.output_shape(input_shape) == input_shape else body


@dataclass(frozen=True)
class ResidualBlock(_Filters):
    """Two times a ReLU, a convolution and batch normalisation, and a skip (He et al., 2016).

    Where the shape changes, the skip is average pooling and a pointwise convolution, as in
    NAS-Bench-201. The stride is that of the first convolution.
    """

    code: ClassVar[str] = "RB"

    def _parts(self, channels: int) -> list[Part]:
        return [
            Part(self.filters, self.size, self.stride, before="ReLU"),
            Part(self.filters, self.size, before="ReLU"),
        ]

    def _steps(self, input_shape: Shape) -> Iterator[tuple[int, Shape]]:
        *steps, (num_weights, shape) = super()._steps(input_shape)
        skip = input_shape[0] * self.filters if shape != input_shape else 0
        yield from (*steps, (num_weights + skip, shape))

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        body = super().build(input_shape, bias=bias)
        shortcut: list[nn.Module] = []
        if self.stride > 1:
            shortcut.append(nn.AvgPool2d(self.stride, ceil_mode=True))
        if self.output_shape(input_shape) != input_shape:
            shortcut.append(nn.Conv2d(input_shape[0], self.filters, 1, bias=bias))
        return modules.Skip(body, nn.Sequential(*shortcut))


@dataclass(frozen=True)
class AveragePooling(PositiveLayer):
    """Average pooling, padded so that stride 1 keeps the size; the padding does not count.

    Args:
        size:
            Height and width of the window, odd.
        stride:
            The stride.
    """

    code: ClassVar[str] = "AP"
    odd: ClassVar[tuple[str, ...]] = ("size",)
    size: int
    stride: int = 1

    def output_shape(self, input_shape: Shape) -> Shape:
        channels, height, width = image_shape(self, input_shape)
        return channels, -(-height // self.stride), -(-width // self.stride)

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return nn.AvgPool2d(self.size, self.stride, self.size // 2, count_include_pad=False)


@dataclass(frozen=True)
class GlobalPooling(PositiveLayer):
    """The mean over an image, or over a sequence of known length."""

    code: ClassVar[str] = "GP"

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2:
            raise ValueError(f"{self} needs an image or a sequence, but is given {input_shape}.")
        return (_num_features(input_shape),)

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return modules.Mean((2, 3) if len(input_shape) == 3 else (1,))


@dataclass(frozen=True)
class Linear(PositiveLayer):
    """A linear layer, of all values of an image or of the features at each position.

    Args:
        units:
            Number of units.
    """

    code: ClassVar[str] = "L"
    units: int

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.units,) if len(input_shape) == 3 else (*input_shape[:-1], self.units)

    def num_weights(self, input_shape: Shape) -> int:
        inputs = math.prod(input_shape) if len(input_shape) == 3 else input_shape[-1]
        return inputs * self.units

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        linear = nn.Linear(self.num_weights(input_shape) // self.units, self.units, bias=bias)
        return nn.Sequential(nn.Flatten(), linear) if len(input_shape) == 3 else linear


@dataclass(frozen=True)
class PatchEmbedding(PositiveLayer):
    """Cuts images into square patches and embeds each of them and its place.

    As in the vision transformer (Dosovitskiy et al., 2021).

    Args:
        units:
            Length of a patch's vector.
        size:
            Height and width of a patch.
    """

    code: ClassVar[str] = "PE"
    units: int
    size: int

    def output_shape(self, input_shape: Shape) -> Shape:
        _, *sides = image_shape(self, input_shape)
        if min(sides) < self.size:
            raise ValueError(f"{self} cannot be applied to {sides[0]} × {sides[1]} values.")
        return (sides[0] // self.size) * (sides[1] // self.size), self.units

    def num_weights(self, input_shape: Shape) -> int:
        length, _ = self.output_shape(input_shape)
        return (input_shape[0] * self.size**2 + length) * self.units

    def multiply_adds(self, input_shape: Shape) -> int:
        length, _ = self.output_shape(input_shape)
        return length * input_shape[0] * self.size**2 * self.units

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        length, units = self.output_shape(input_shape)
        return modules.Patches(input_shape[0], units, self.size, length, bias)


@dataclass(frozen=True)
class Positions(PositiveLayer):
    """Adds sine waves to the features of tokens, so that their places can be told apart."""

    code: ClassVar[str] = "POS"

    def output_shape(self, input_shape: Shape) -> Shape:
        return _sequence_shape(self, input_shape)

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return modules.Positions()


@dataclass(frozen=True)
class TransformerBlock(PositiveLayer):
    """Self-attention and two linear layers, each after layer normalisation and with a skip.

    Patches of an image see all others; tokens of a text, whose length is not known, see those
    before them only (Vaswani et al., 2017, with the normalisation first).

    Args:
        heads:
            Number of heads; must divide the number of features.
        ratio:
            How many times wider the first linear layer is than the features.
    """

    code: ClassVar[str] = "T"
    heads: int
    ratio: int = 4

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = _sequence_shape(self, input_shape)
        if shape[-1] % self.heads:
            raise ValueError(f"The heads of {self} must divide the {shape[-1]} features.")
        return shape

    def num_weights(self, input_shape: Shape) -> int:
        features = input_shape[-1]
        return (4 + 2 * self.ratio) * features**2 + 4 * features

    def multiply_adds(self, input_shape: Shape) -> int:
        attention = 0 if len(input_shape) == 1 else 2 * input_shape[0] ** 2 * input_shape[1]
        return super().multiply_adds(input_shape) + attention

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        features = input_shape[-1]
        attention = modules.Attention(
            features, self.heads, causal=len(input_shape) == 1, bias=bias
        )
        return nn.Sequential(
            modules.Skip(nn.Sequential(nn.LayerNorm(features), attention)),
            modules.Skip(
                nn.Sequential(
                    nn.LayerNorm(features),
                    nn.Linear(features, self.ratio * features, bias=bias),
                    nn.GELU(),
                    nn.Linear(self.ratio * features, features, bias=bias),
                )
            ),
        )


def _num_features(shape: Shape) -> int:
    return shape[0] if len(shape) == 3 else shape[-1]


def _sequence_shape(layer: PositiveLayer, shape: Shape) -> Shape:
    if len(shape) > 2:
        raise ValueError(f"{layer} needs a sequence, but is given {shape}.")
    return shape
