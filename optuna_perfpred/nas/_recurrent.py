from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._arguments import check_integers
from optuna_perfpred.nas._block_space import BlockSpace
from optuna_perfpred.nas._layers import Embedding
from optuna_perfpred.nas._layers import GRU
from optuna_perfpred.nas._layers import Layer
from optuna_perfpred.nas._layers import LSTM
from optuna_perfpred.nas._layers import Softmax


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna_perfpred.nas._block_space import BlockState


class RecurrentSpace(BlockSpace):
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
        vocabulary_size = check_at_least("vocabulary_size", vocabulary_size, 2)
        max_depth = check_at_least("max_depth", max_depth, 1)
        embeddings = check_integers("embeddings", embeddings)
        units = check_integers("units", units)
        cells = tuple(dict.fromkeys(cells))
        dropouts = tuple(dict.fromkeys(map(float, dropouts)))
        if not set(cells) <= set(kinds):
            raise ValueError(f"`cells` must be among {sorted(kinds)}, but got {cells=}.")
        if not (embeddings and units and cells and dropouts):
            raise ValueError(
                "The space cannot end: `embeddings`, `units`, `cells` and `dropouts` must not be "
                f"empty, but got {embeddings=}, {units=}, {cells=}, {dropouts=}."
            )
        layers = (kinds[cell](n, rate) for cell, n, rate in product(cells, units, dropouts))
        self._arguments = (
            f"{vocabulary_size=}, {max_depth=}, {embeddings=}, {cells=}, {units=}, {dropouts=}"
        )
        super().__init__(
            (vocabulary_size,),
            [*map(Embedding, embeddings), *layers],
            heads=[[Softmax(vocabulary_size)]],
            max_depth=1 + max_depth,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._arguments})"

    def violation(self, state: BlockState, layer: Layer) -> str | None:
        if state.last is None:
            return None if isinstance(layer, Embedding) else "the embedding comes first"
        if isinstance(layer, Embedding):
            return "the embedding comes first and only there"
        if isinstance(layer, Softmax):
            if isinstance(state.last, Embedding):
                return "a network has at least one recurrent layer"
            return None
        if state.position == self._max_depth:
            return f"at most {self._max_depth - 1} recurrent layers are legal"
        return None

    def situation(self, state: BlockState) -> str:
        """Name the kind of the last layer.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            For instance ``"LSTM"``; ``"input"`` before the first layer.
        """
        return state.last.code if state.last else "input"

    def agent_state(self, state: BlockState) -> tuple[int, str]:
        """The position and the last layer.

        Args:
            state:
                A state in which the network has not ended.

        Returns:
            For instance ``(2, "LSTM(256,0.2)")``; the position is the number of layers so far.
        """
        return state.position, str(state.last) if state.last else "input"
