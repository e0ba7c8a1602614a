from __future__ import annotations

from itertools import product
from itertools import starmap
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._arguments import check_integers
from optuna_perfpred.nas._block_space import BlockSpace
from optuna_perfpred.nas._block_space import BlockState
from optuna_perfpred.nas._cost import Cost
from optuna_perfpred.nas._layers import Convolution
from optuna_perfpred.nas._layers import FullyConnected
from optuna_perfpred.nas._layers import GlobalAveragePooling
from optuna_perfpred.nas._layers import Layer
from optuna_perfpred.nas._layers import Pooling
from optuna_perfpred.nas._layers import Softmax


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.nas._architecture import Architecture


class ConvNetSpace(BlockSpace):
    """Convolutional networks of Baker et al. 2017, "Designing Neural Network Architectures".

    The defaults are the vocabulary and the rules of that paper (section 4): convolutions, max-
    pooling that never comes first nor twice in a row, at most two fully connected layers of non-
    increasing width once the representation is small, and a classifier, with global average
    pooling before it or not. No filter and no window exceeds the representation.

    Example:

        .. code-block:: python

            space = ConvNetSpace((1, 28, 28), num_classes=10, max_depth=6)


            def objective(trial):
                architecture = space.suggest(trial)
                ...

    Args:
        input_shape:
            Channels, height and width of an image.
        num_classes:
            Number of classes.
        max_depth:
            Most layers before the classifier; at this depth only termination is legal. The
            default is that of the paper; it used 18 on CIFAR-10.
        filters:
            Numbers of filters of a convolution.
        filter_sizes:
            Heights and widths of a filter, odd.
        strides:
            Strides of a convolution.
        poolings:
            Sizes and strides of the pooling windows.
        fully_connected:
            Widths of a fully connected layer; empty for none.
        max_fully_connected:
            Most fully connected layers.
        max_fully_connected_size:
            Fully connected layers are legal once the representation's shorter side is at most
            this.
        terminations:
            ``"GAP"`` (global average pooling, then the softmax), ``"SM"`` (softmax on all values)
            or both.
        size_bins:
            The representation size enters what a learning agent sees in bins with these upper
            bounds, in any order; the last bin is open.

    Raises:
        :exc:`ValueError`:
            If an argument is out of range, if no layer is small enough for the input, or if the
            networks could not end.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        max_depth: int = 12,
        filters: Sequence[int] = (64, 128, 256, 512),
        filter_sizes: Sequence[int] = (1, 3, 5),
        strides: Sequence[int] = (1,),
        poolings: Sequence[tuple[int, int]] = ((5, 3), (3, 2), (2, 2)),
        fully_connected: Sequence[int] = (512, 256, 128),
        max_fully_connected: int = 2,
        max_fully_connected_size: int = 8,
        terminations: Sequence[str] = ("GAP", "SM"),
        size_bins: Sequence[int] = (8, 4),
    ) -> None:
        image = check_integers("input_shape", input_shape, length=3)
        num_classes = check_at_least("num_classes", num_classes, 2)
        max_depth = check_at_least("max_depth", max_depth, 1)
        filters = check_integers("filters", filters)
        filter_sizes = check_integers("filter_sizes", filter_sizes)
        strides = check_integers("strides", strides)
        pairs = [check_integers("poolings", pair, length=2) for pair in poolings]
        poolings = tuple((size, stride) for size, stride in dict.fromkeys(pairs))
        fully_connected = check_integers("fully_connected", fully_connected)
        max_fully_connected = check_at_least("max_fully_connected", max_fully_connected, 0)
        max_fully_connected_size = check_at_least(
            "max_fully_connected_size", max_fully_connected_size, 0
        )
        self._max_fully_connected = max_fully_connected
        self._max_fully_connected_size = max_fully_connected_size
        self._size_bins = tuple(sorted(check_integers("size_bins", size_bins)))
        softmax = Softmax(num_classes)
        ends: dict[str, list[Layer]]
        ends = {"GAP": [GlobalAveragePooling(num_classes), softmax], "SM": [softmax]}
        if not terminations or not set(terminations) <= set(ends):
            raise ValueError(
                "The space cannot end: `terminations` must be 'GAP', 'SM' or both, but got "
                f"{terminations=}."
            )
        if fully_connected and max_fully_connected and "SM" not in terminations:
            raise ValueError(
                "The space cannot end after a fully connected layer, which only 'SM' may follow: "
                f"add it to `terminations` or pass `fully_connected=()`, but got {terminations=}."
            )
        terminations = tuple(dict.fromkeys(terminations))
        # Legal layers change at these representation sizes only.
        self._size_edges = sorted(
            {1, max_fully_connected_size + 1}
            | {bound + 1 for bound in self._size_bins}
            | set(filter_sizes)
            | {size for size, _ in poolings}
        )
        blocks = [
            *starmap(Convolution, product(filters, filter_sizes, strides)),
            *starmap(Pooling, poolings),
            *map(FullyConnected, fully_connected),
        ]
        self._arguments = (
            f"input_shape={image}, {num_classes=}, {max_depth=}, {filters=}, {filter_sizes=}, "
            f"{strides=}, {poolings=}, {fully_connected=}, {max_fully_connected=}, "
            f"{max_fully_connected_size=}, {terminations=}, size_bins={self._size_bins}"
        )
        heads = [ends[name] for name in terminations]
        super().__init__(image, blocks, heads=heads, max_depth=max_depth)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._arguments})"

    def violation(self, state: BlockState, layer: Layer) -> str | None:
        if isinstance(layer, GlobalAveragePooling | Softmax):
            return self._violation_of_end(state, layer)
        if state.position == self._max_depth:
            return f"at the maximum depth of {self._max_depth} only termination is legal"
        size = _size(state)
        if isinstance(layer, FullyConnected):
            return self._violation_of_fully_connected(state, layer)
        if isinstance(state.last, FullyConnected):
            return "after a fully connected layer only fully connected ones and SM are legal"
        if isinstance(layer, Convolution) and layer.size > size:
            return f"its filter exceeds the representation size of {size}"
        if isinstance(layer, Pooling):
            if state.last is None:
                return "pooling is never first"
            if isinstance(state.last, Pooling):
                return "pooling never follows pooling"
            if layer.size > size:
                return f"its window exceeds the representation size of {size}"
        return None

    def next_state(self, state: BlockState, layer: Layer) -> BlockState:
        consecutive = state.consecutive + 1 if isinstance(layer, FullyConnected) else 0
        return super().next_state(state, layer)._replace(consecutive=consecutive)

    def situation(self, state: BlockState) -> str:
        """Name the kind of the last layer and the range of the representation size.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            For instance ``"C,5-8"``; after fully connected layers their last width and number.
        """
        if isinstance(state.last, FullyConnected):
            return f"{state.last},{state.consecutive}"
        size = _size(state)
        low = max(edge for edge in self._size_edges if edge <= size)
        above = [edge for edge in self._size_edges if edge > size]
        if not above:
            sizes = f">{low - 1}"
        else:
            sizes = f"{low}-{above[0] - 1}" if low < above[0] - 1 else f"{low}"
        return f"{state.last.code if state.last else 'input'},{sizes}"

    def agent_state(self, state: BlockState) -> tuple[int, str, str]:
        """The published state: the position, the last layer and the size's bin (table 1).

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            For instance ``(3, "C(64,3,1)", "<=8")``; the position is the number of layers so far.
            After fully connected layers their number takes the place of the size's bin.
        """
        if isinstance(state.last, FullyConnected):
            return state.position, str(state.last), f"{state.consecutive} in a row"
        size = _size(state)
        bins = [f"<={bound}" for bound in self._size_bins if size <= bound]
        last = str(state.last) if state.last else "input"
        return state.position, last, bins[0] if bins else f">{max(self._size_bins, default=0)}"

    def cost(self, state: BlockState, layer: Layer) -> Cost:
        # The softmax after global average pooling costs nothing.
        return Cost.of((layer,), state.shape)

    def chosen(self, architecture: Architecture) -> tuple[Layer, ...]:
        """Leave out dropout, and the softmax after global average pooling.

        Args:
            architecture:
                An architecture, legal or not.
        """
        return super().chosen(architecture.without_dropout())

    def _violation_of_end(self, state: BlockState, layer: Layer) -> str | None:
        if state.last is None:
            return "a network has at least one layer before the classifier"
        if isinstance(layer, GlobalAveragePooling) and isinstance(state.last, FullyConnected):
            return "global average pooling needs an image, not a fully connected layer"
        return None

    def _violation_of_fully_connected(
        self, state: BlockState, layer: FullyConnected
    ) -> str | None:
        if state.consecutive >= self._max_fully_connected:
            return f"at most {self._max_fully_connected} fully connected layers are legal"
        if isinstance(state.last, FullyConnected):
            if layer.units > state.last.units:
                return f"it is wider than {state.last} before it"
        elif _size(state) > self._max_fully_connected_size:
            return (
                "fully connected layers are legal at representation sizes up to "
                f"{self._max_fully_connected_size}, and this one is {_size(state)}"
            )
        return None


def _size(state: BlockState) -> int:
    return min(state.shape[1:], default=1)
