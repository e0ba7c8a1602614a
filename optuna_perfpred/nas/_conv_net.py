from __future__ import annotations

from itertools import product
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred.nas._checks import check_integer
from optuna_perfpred.nas._checks import check_integers
from optuna_perfpred.nas._cost import Cost
from optuna_perfpred.nas._layers import Convolution
from optuna_perfpred.nas._layers import Dropout
from optuna_perfpred.nas._layers import FullyConnected
from optuna_perfpred.nas._layers import GlobalAveragePooling
from optuna_perfpred.nas._layers import Layer
from optuna_perfpred.nas._layers import Pooling
from optuna_perfpred.nas._layers import Softmax
from optuna_perfpred.nas._space import LayerSpace


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.nas._architecture import Architecture
    from optuna_perfpred.nas._layers import Shape


class ConvNetState(NamedTuple):
    """A convolutional network being built.

    Attributes:
        position:
            Number of layers so far.
        last:
            The last layer; :obj:`None` before the first one.
        shape:
            Shape of the representation.
        consecutive:
            Number of fully connected layers at the end.
    """

    position: int
    last: Layer | None
    shape: Shape
    consecutive: int


class ConvNetSpace(LayerSpace[ConvNetState]):
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
        self.input_shape = check_integers("input_shape", input_shape, length=3)
        self._num_classes = check_integer("num_classes", num_classes, minimum=2)
        self._max_depth = check_integer("max_depth", max_depth, minimum=1)
        self._filters = check_integers("filters", filters)
        self._filter_sizes = check_integers("filter_sizes", filter_sizes)
        self._strides = check_integers("strides", strides)
        pairs = (check_integers("poolings", pair, length=2) for pair in poolings)
        self._poolings = tuple(dict.fromkeys(pairs))
        self._fully_connected = check_integers("fully_connected", fully_connected)
        self._max_fully_connected = check_integer(
            "max_fully_connected", max_fully_connected, minimum=0
        )
        self._max_fully_connected_size = check_integer(
            "max_fully_connected_size", max_fully_connected_size, minimum=0
        )
        self._terminations = tuple(dict.fromkeys(terminations))
        self._size_bins = tuple(sorted(check_integers("size_bins", size_bins)))
        if not self._terminations or not set(self._terminations) <= {"GAP", "SM"}:
            raise ValueError(
                "The space cannot end: `terminations` must be 'GAP', 'SM' or both, but got "
                f"{terminations=}."
            )
        if self._fully_connected and self._max_fully_connected and "SM" not in terminations:
            raise ValueError(
                "The space cannot end after a fully connected layer, which only 'SM' may follow: "
                f"add it to `terminations` or pass `fully_connected=()`, but got {terminations=}."
            )
        self.vocabulary = (
            *(
                Convolution(*arguments)
                for arguments in product(self._filters, self._filter_sizes, self._strides)
            ),
            *(Pooling(*pair) for pair in self._poolings),
            *(FullyConnected(units) for units in self._fully_connected),
            *(
                {"GAP": GlobalAveragePooling, "SM": Softmax}[name](self._num_classes)
                for name in self._terminations
            ),
        )
        # Legal layers change at these representation sizes only.
        self._size_edges = sorted(
            {1, self._max_fully_connected_size + 1}
            | {bound + 1 for bound in self._size_bins}
            | set(self._filter_sizes)
            | {size for size, _ in self._poolings}
        )
        self.initial_state = ConvNetState(0, None, self.input_shape, 0)
        self.legal_layers(self.initial_state)

    def __repr__(self) -> str:
        return (
            f"ConvNetSpace(input_shape={self.input_shape}, num_classes={self._num_classes}, "
            f"max_depth={self._max_depth}, filters={self._filters}, "
            f"filter_sizes={self._filter_sizes}, strides={self._strides}, "
            f"poolings={self._poolings}, fully_connected={self._fully_connected}, "
            f"max_fully_connected={self._max_fully_connected}, "
            f"max_fully_connected_size={self._max_fully_connected_size}, "
            f"terminations={self._terminations}, size_bins={self._size_bins})"
        )

    def violation(self, state: ConvNetState, layer: Layer) -> str | None:
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

    def next_state(self, state: ConvNetState, layer: Layer) -> ConvNetState:
        consecutive = state.consecutive + 1 if isinstance(layer, FullyConnected) else 0
        return ConvNetState(
            state.position + 1, layer, layer.output_shape(state.shape), consecutive
        )

    def is_end(self, state: ConvNetState) -> bool:
        return isinstance(state.last, GlobalAveragePooling | Softmax)

    def position(self, state: ConvNetState) -> int:
        return state.position

    def situation(self, state: ConvNetState) -> str:
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

    def agent_state(self, state: ConvNetState) -> tuple[int, str, str]:
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

    def cost(self, state: ConvNetState, layer: Layer) -> Cost:
        return Cost.of((layer,), state.shape)

    def complete(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Add the softmax after global average pooling.

        Args:
            layers:
                The layers that were chosen.
        """
        if layers and isinstance(layers[-1], GlobalAveragePooling):
            return (*layers, Softmax(self._num_classes))
        return layers

    def chosen(self, architecture: Architecture) -> tuple[Layer, ...]:
        """Leave out dropout, and the softmax after global average pooling.

        Args:
            architecture:
                An architecture, legal or not.
        """
        layers = [layer for layer in architecture.layers if not isinstance(layer, Dropout)]
        if len(layers) > 1 and isinstance(layers[-2], GlobalAveragePooling):
            layers.pop()
        return tuple(layers)

    def _violation_of_end(self, state: ConvNetState, layer: Layer) -> str | None:
        if state.last is None:
            return "a network has at least one layer before the classifier"
        if isinstance(layer, GlobalAveragePooling) and isinstance(state.last, FullyConnected):
            return "global average pooling needs an image, not a fully connected layer"
        return None

    def _violation_of_fully_connected(
        self, state: ConvNetState, layer: FullyConnected
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


def _size(state: ConvNetState) -> int:
    return min(state.shape[1:], default=1)
