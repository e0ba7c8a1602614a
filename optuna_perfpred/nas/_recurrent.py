from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred.nas._checks import check_integer
from optuna_perfpred.nas._checks import check_integers
from optuna_perfpred.nas._cost import Cost
from optuna_perfpred.nas._layers import Embedding
from optuna_perfpred.nas._layers import GRU
from optuna_perfpred.nas._layers import Layer
from optuna_perfpred.nas._layers import LSTM
from optuna_perfpred.nas._layers import Softmax
from optuna_perfpred.nas._space import LayerSpace


if TYPE_CHECKING:
    from collections.abc import Sequence


class RecurrentState(NamedTuple):
    """A recurrent network being built.

    Attributes:
        position:
            Number of layers so far, the embedding included.
        last:
            The last layer; :obj:`None` before the first one.
    """

    position: int
    last: Layer | None


class RecurrentSpace(LayerSpace[RecurrentState]):
    """Stacked recurrent layers for language models.

    A network is an embedding, one or more LSTM or GRU layers, each with its width and dropout,
    and a softmax over the vocabulary, for instance
    ``[E(128), LSTM(256,0.2), GRU(128,0), SM(65)]``.

    Args:
        vocabulary_size:
            Number of tokens.
        max_depth:
            Most recurrent layers.
        embeddings:
            Widths of the embedding.
        cells:
            ``"LSTM"``, ``"GRU"`` or both.
        units:
            Widths of a recurrent layer.
        dropouts:
            Dropout probabilities of a recurrent layer's outputs.

    Raises:
        :exc:`ValueError`:
            If an argument is out of range.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        max_depth: int = 3,
        embeddings: Sequence[int] = (64, 128, 256),
        cells: Sequence[str] = ("LSTM", "GRU"),
        units: Sequence[int] = (64, 128, 256, 512),
        dropouts: Sequence[float] = (0.0, 0.2, 0.5),
    ) -> None:
        kinds: dict[str, type[LSTM | GRU]] = {"LSTM": LSTM, "GRU": GRU}
        self._vocabulary_size = check_integer("vocabulary_size", vocabulary_size, minimum=2)
        self._max_depth = check_integer("max_depth", max_depth, minimum=1)
        self._embeddings = check_integers("embeddings", embeddings)
        self._units = check_integers("units", units)
        self._cells = tuple(dict.fromkeys(cells))
        self._dropouts = tuple(dict.fromkeys(float(dropout) for dropout in dropouts))
        if not set(self._cells) <= set(kinds):
            raise ValueError(f"`cells` must be among {sorted(kinds)}, but got {cells=}.")
        if not (self._embeddings and self._units and self._cells and self._dropouts):
            raise ValueError(
                "The space cannot end: `embeddings`, `units`, `cells` and `dropouts` must not be "
                f"empty, but got {embeddings=}, {units=}, {cells=}, {dropouts=}."
            )
        self.input_shape = (self._vocabulary_size,)
        self.vocabulary = (
            *(Embedding(width) for width in self._embeddings),
            *(
                kinds[cell](width, dropout)
                for cell in self._cells
                for width in self._units
                for dropout in self._dropouts
            ),
            Softmax(self._vocabulary_size),
        )
        self.initial_state = RecurrentState(0, None)

    def __repr__(self) -> str:
        return (
            f"RecurrentSpace(vocabulary_size={self._vocabulary_size}, "
            f"max_depth={self._max_depth}, embeddings={self._embeddings}, cells={self._cells}, "
            f"units={self._units}, dropouts={self._dropouts})"
        )

    def violation(self, state: RecurrentState, layer: Layer) -> str | None:
        if state.last is None:
            return None if isinstance(layer, Embedding) else "the embedding comes first"
        if isinstance(layer, Embedding):
            return "the embedding comes first and only there"
        if isinstance(layer, Softmax):
            if isinstance(state.last, Embedding):
                return "a network has at least one recurrent layer"
            return None
        if state.position > self._max_depth:
            return f"at most {self._max_depth} recurrent layers are legal"
        return None

    def next_state(self, state: RecurrentState, layer: Layer) -> RecurrentState:
        return RecurrentState(state.position + 1, layer)

    def is_end(self, state: RecurrentState) -> bool:
        return isinstance(state.last, Softmax)

    def position(self, state: RecurrentState) -> int:
        return state.position

    def situation(self, state: RecurrentState) -> str:
        """Name the kind of the last layer.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            For instance ``"LSTM"``; ``"input"`` before the first layer.
        """
        return state.last.code if state.last else "input"

    def cost(self, state: RecurrentState, layer: Layer) -> Cost:
        shape = self.input_shape if state.last is None else state.last.output_shape((1,))
        return Cost.of((layer,), shape)

    def agent_state(self, state: RecurrentState) -> tuple[int, str]:
        """The position and the last layer.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            For instance ``(2, "LSTM(256,0.2)")``; the position is the number of layers so far.
        """
        return state.position, str(state.last) if state.last else "input"
