from __future__ import annotations

from dataclasses import dataclass
import re
from typing import ClassVar
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._arguments import check_integers
from optuna_perfpred.nas._blocks import AveragePooling
from optuna_perfpred.nas._blocks import BatchNormalization
from optuna_perfpred.nas._blocks import Convolutions
from optuna_perfpred.nas._blocks import GlobalPooling
from optuna_perfpred.nas._blocks import Linear
from optuna_perfpred.nas._blocks import Part
from optuna_perfpred.nas._blocks import ResidualBlock
from optuna_perfpred.nas._blocks import Stem
from optuna_perfpred.nas._cost import Cost
from optuna_perfpred.nas._layers import Layer
from optuna_perfpred.nas._layers import Shape
from optuna_perfpred.nas._layers import split_notation
from optuna_perfpred.nas._space import LayerSpace
from optuna_perfpred.nas._torch import modules
from optuna_perfpred.nas._torch import nn


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.nas._architecture import Architecture


_CELL = re.compile(r"Cell\((.*)\)")


@dataclass(frozen=True)
class Zero(Layer):
    """No connection: an edge of a cell that is not there."""

    code: ClassVar[str] = "none"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@dataclass(frozen=True)
class Identity(Layer):
    """Gives what it is given."""

    code: ClassVar[str] = "skip"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class SameConvolution(Convolutions):
    """A ReLU, a convolution with as many filters as it is given channels, and normalisation.

    Args:
        size:
            Height and width of a filter, odd.
    """

    code: ClassVar[str] = "conv"
    odd: ClassVar[tuple[str, ...]] = ("size",)
    size: int

    def _parts(self, channels: int) -> list[Part]:
        return [Part(channels, self.size, before="ReLU")]


@dataclass(frozen=True)
class Cell(Layer):
    """Some equal cells, one after another.

    A cell is a graph of nodes: each one is the sum of what the edges to it make of all nodes
    before it, the first one is what the cell is given, the last one what it gives.

    Args:
        repeats:
            Number of cells.
        operations:
            What the edges (0, 1), (0, 2), (1, 2), (0, 3) and so on apply, layers that keep the
            shape; :class:`~optuna_perfpred.nas.Zero` where there is no edge.
    """

    repeats: int
    operations: tuple[Layer, ...]

    def __str__(self) -> str:
        return f"Cell({self.repeats},{','.join(map(str, self.operations))})"

    def output_shape(self, input_shape: Shape) -> Shape:
        for operation in self.operations:
            if operation.output_shape(input_shape) != input_shape:
                raise ValueError(f"The operations of a cell keep the shape, but got {operation}.")
        return input_shape

    def num_weights(self, input_shape: Shape) -> int:
        return self.repeats * sum(layer.num_weights(input_shape) for layer in self.operations)

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.repeats * sum(layer.multiply_adds(input_shape) for layer in self.operations)

    def build(self, input_shape: Shape, *, bias: bool) -> nn.Module:
        return nn.Sequential(
            *(
                modules.Graph(
                    [
                        None if isinstance(layer, Zero) else layer.build(input_shape, bias=bias)
                        for layer in self.operations
                    ]
                )
                for _ in range(self.repeats)
            )
        )


class CellSpace(LayerSpace[int]):
    """Networks of equal cells: what is searched is the operation of each edge of the cell.

    The defaults are NAS-Bench-201 (Dong and Yang, 2020): cells of four nodes, six edges with one
    of five operations each, in three stages of five cells with 16, 32 and 64 channels. So
    ``CellSpace((3, 32, 32), num_classes=10)`` is that space.

    Args:
        input_shape:
            Channels, height and width of an image.
        num_classes:
            Number of classes.
        operations:
            What an edge may be: layers that keep the shape.
        num_nodes:
            Number of a cell's nodes, the input included.
        num_cells:
            Number of cells of a stage.
        stages:
            The layers that come before the cells of each stage. If :obj:`None`, a convolution
            with 16 filters, and blocks that halve height and width and double the channels.
        head:
            The layers after the last cell. If :obj:`None`, normalisation, global pooling and a
            linear layer.

    Raises:
        :exc:`ValueError`:
            If an argument is out of range, or a layer cannot be applied.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        operations: Sequence[Layer] = (
            Zero(),
            Identity(),
            SameConvolution(1),
            SameConvolution(3),
            AveragePooling(3),
        ),
        num_nodes: int = 4,
        num_cells: int = 5,
        stages: Sequence[Sequence[Layer]] | None = None,
        head: Sequence[Layer] | None = None,
    ) -> None:
        self.input_shape = check_integers("input_shape", input_shape, length=3)
        num_classes = check_at_least("num_classes", num_classes, 2)
        num_nodes = check_at_least("num_nodes", num_nodes, 2)
        self._num_cells = check_at_least("num_cells", num_cells, 1)
        if stages is None:
            stages = [[Stem(16)], [ResidualBlock(32, 3, 2)], [ResidualBlock(64, 3, 2)]]
        if head is None:
            head = [BatchNormalization(), GlobalPooling(), Linear(num_classes)]
        self._stages = tuple(tuple(stage) for stage in stages)
        self._head = tuple(head)
        self._edges = [(i, j) for j in range(1, num_nodes) for i in range(j)]
        self.vocabulary = tuple(operations)
        self.initial_state = 0  # The number of edges so far.
        if not self.vocabulary or not self._stages:
            raise ValueError(
                f"`operations` and `stages` must not be empty, but got {operations=}, {stages=}."
            )
        # Raises if a layer cannot be applied, or an operation changes the shape.
        self._fixed_cost = Cost.of(self.complete(()), self.input_shape)
        self._costs = [
            Cost.of(self.complete((operation,)), self.input_shape) - self._fixed_cost
            for operation in self.vocabulary
        ]

    def __repr__(self) -> str:
        stages = [f"[{', '.join(map(str, stage))}]" for stage in self._stages]
        return (
            f"CellSpace(input_shape={self.input_shape}, num_edges={len(self._edges)}, "
            f"operations=[{', '.join(map(str, self.vocabulary))}], num_cells={self._num_cells}, "
            f"stages=[{', '.join(stages)}], head=[{', '.join(map(str, self._head))}])"
        )

    def violation(self, state: int, layer: Layer) -> str | None:
        return None

    def next_state(self, state: int, layer: Layer) -> int:
        return state + 1

    def is_end(self, state: int) -> bool:
        return state == len(self._edges)

    def position(self, state: int) -> int:
        return state

    def situation(self, state: int) -> str:
        """Name the edge, for instance ``"0-2"``.

        Args:
            state:
                A state in which the cell has not ended.
        """
        return "{}-{}".format(*self._edges[state])

    def cost(self, state: int, layer: Layer) -> Cost:
        added = self._costs[self.vocabulary.index(layer)]
        return added + self._fixed_cost if state == 0 else added

    def complete(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Stack cells into a network.

        Args:
            layers:
                The operations that were chosen.
        """
        cell = Cell(self._num_cells, layers)
        return (*(la for stage in self._stages for la in (*stage, cell)), *self._head)

    def chosen(self, architecture: Architecture) -> tuple[Layer, ...]:
        """Give the operations of the first cell.

        Args:
            architecture:
                An architecture, legal or not.
        """
        for layer in architecture.layers:
            if isinstance(layer, Cell):
                return layer.operations
        return architecture.layers

    def parse_layer(self, notation: str) -> Layer:
        match = _CELL.fullmatch(notation.strip())
        if match is None:
            return super().parse_layer(notation)
        repeats, *operations = split_notation(match[1])
        return Cell(int(repeats), tuple(map(super().parse_layer, operations)))

    def implied_layers(self) -> tuple[Layer, ...]:
        return (*(layer for stage in self._stages for layer in stage), *self._head)
