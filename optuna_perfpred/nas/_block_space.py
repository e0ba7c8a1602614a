from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._arguments import check_integers
from optuna_perfpred.nas._cost import Cost
from optuna_perfpred.nas._space import LayerSpace


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.nas._architecture import Architecture
    from optuna_perfpred.nas._layers import Layer
    from optuna_perfpred.nas._layers import Shape


class BlockState(NamedTuple):
    """A network of blocks being built.

    Attributes:
        position:
            Number of blocks so far.
        last:
            The last block; :obj:`None` before the first one.
        shape:
            Shape of the representation.
        consecutive:
            Number of layers of one kind at the end, where the rules of a subclass ask for it.
    """

    position: int
    last: Layer | None
    shape: Shape
    consecutive: int = 0


class BlockSpace(LayerSpace[BlockState]):
    """Networks of any layers: a stem, some blocks, and a head.

    What is searched is the number of blocks, which one comes where, and which head ends the
    network if there are several. A layer is legal where it can be applied; a subclass adds rules
    by overriding :meth:`violation`.

    Example:

        .. code-block:: python

            space = BlockSpace(
                (1, 28, 28),
                stem=[ConvolutionBlock(16)],
                blocks=[ResidualBlock(16), SeparableConvolution(32, 3, 2), ResidualBlock(32)],
                heads=[[GlobalPooling(), Linear(10)]],
                max_depth=6,
            )

    Args:
        input_shape:
            Shape of an input, see :class:`~optuna_perfpred.nas.Architecture`.
        blocks:
            The layers to choose from.
        stem:
            The layers that all networks begin with.
        heads:
            The layers that a network may end with; the first layers of heads tell them apart.
            Empty if networks end with their last block: they then all have ``max_depth`` blocks.
        min_depth:
            Fewest blocks.
        max_depth:
            Most blocks.

    Raises:
        :exc:`ValueError`:
            If an argument is out of range, if two choices print alike, or if no network can be
            built.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        blocks: Sequence[Layer],
        *,
        stem: Sequence[Layer] = (),
        heads: Sequence[Sequence[Layer]] = (),
        min_depth: int = 1,
        max_depth: int = 8,
    ) -> None:
        self.input_shape = check_integers("input_shape", input_shape, len(tuple(input_shape)))
        self._blocks = tuple(blocks)
        self._stem = tuple(stem)
        self._heads = {head[0]: tuple(head) for head in heads if head}
        self._max_depth = check_at_least("max_depth", max_depth, 1)
        self._min_depth = check_at_least("min_depth", min_depth, 0)
        if not self._blocks or len(self._heads) != len(heads):
            raise ValueError(
                "`blocks` and each of the `heads` must have layers, and no two heads the same "
                f"first one, but got {blocks=}, {heads=}."
            )
        if self._min_depth > self._max_depth:
            raise ValueError(
                f"`min_depth` must be at most `max_depth`, but got {min_depth=}, {max_depth=}."
            )
        self.vocabulary = (*self._blocks, *self._heads)
        self._fixed_cost = Cost.of(self._stem, self.input_shape)
        shape = self.input_shape
        for layer in self._stem:
            shape = layer.output_shape(shape)
        self.initial_state = BlockState(0, None, shape)
        self.legal_layers(self.initial_state)

    def __repr__(self) -> str:
        heads = [f"[{', '.join(map(str, head))}]" for head in self._heads.values()]
        return (
            f"{type(self).__name__}(input_shape={self.input_shape}, "
            f"blocks=[{', '.join(map(str, self._blocks))}], "
            f"stem=[{', '.join(map(str, self._stem))}], heads=[{', '.join(heads)}], "
            f"min_depth={self._min_depth}, max_depth={self._max_depth})"
        )

    def violation(self, state: BlockState, layer: Layer) -> str | None:
        if layer in self._heads:
            if state.position < self._min_depth:
                return f"a network has at least {self._min_depth} blocks"
        elif state.position == self._max_depth:
            return f"a network has at most {self._max_depth} blocks"
        try:
            self._apply(state.shape, layer)
        except ValueError as error:
            return f"it cannot be applied: {error}"
        return None

    def next_state(self, state: BlockState, layer: Layer) -> BlockState:
        return BlockState(state.position + 1, layer, self._apply(state.shape, layer))

    def is_end(self, state: BlockState) -> bool:
        if not self._heads:
            return state.position == self._max_depth
        return state.last in self._heads

    def position(self, state: BlockState) -> int:
        return state.position

    def cost(self, state: BlockState, layer: Layer) -> Cost:
        added = Cost.of(self._heads.get(layer, (layer,)), state.shape)
        return added + self._fixed_cost if state.position == 0 else added

    def complete(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Add the stem, and the head that the last layer begins.

        Args:
            layers:
                The layers that were chosen.
        """
        *body, last = layers
        return (*self._stem, *body, *self._heads.get(last, (last,)))

    def chosen(self, architecture: Architecture) -> tuple[Layer, ...]:
        """Leave out the stem, and all but the first layer of the head.

        Args:
            architecture:
                An architecture, legal or not.
        """
        layers = architecture.layers[len(self._stem) :]
        # A head may end as another one does.
        for first, head in sorted(self._heads.items(), key=lambda head: -len(head[1])):
            if layers[-len(head) :] == head:
                return (*layers[: -len(head)], first)
        return layers

    def implied_layers(self) -> tuple[Layer, ...]:
        return (*self._stem, *(layer for head in self._heads.values() for layer in head))

    def _apply(self, shape: Shape, layer: Layer) -> Shape:
        for applied in self._heads.get(layer, (layer,)):
            shape = applied.output_shape(shape)
        return shape
