from __future__ import annotations

from dataclasses import fields
from dataclasses import is_dataclass
import math
from typing import Any
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.nas import Layer
    from optuna_perfpred.samplers._network_graph import Network
    from optuna_perfpred.samplers._network_graph import NetworkGraph


class NetworkFeatures:
    """Networks as rows of numbers.

    Args:
        graph:
            The graph of the space, or of the one that a budget is for.
    """

    def __init__(self, graph: NetworkGraph) -> None:
        self._graph = graph
        vocabulary = graph.space.vocabulary
        self._codes = sorted({layer.code for layer in vocabulary})
        self._code_of = np.array([self._codes.index(layer.code) for layer in vocabulary])
        self._arguments = _arguments(vocabulary)
        # What a layer in a state adds to a network, by its number.
        self._steps: dict[tuple[int, int], int] = {}
        self._layers: list[int] = [0]
        self._costs: list[tuple[float, float]] = [(0.0, 0.0)]
        self._situations: list[str] = [""]

    def situations(self, networks: Sequence[Network]) -> list[str]:
        """The kinds of layers in the situations in which networks have them, sorted.

        Args:
            networks:
                Some networks.
        """
        steps = {step for network in networks for step in self._follow(network)}
        return sorted({self._situations[step] for step in steps})

    def places(self, networks: Sequence[Network], max_length: int) -> npt.NDArray[np.float32]:
        """Which layer comes where.

        Args:
            networks:
                ``n`` networks.
            max_length:
                How many layers to tell of each.

        Returns:
            Ones and zeros of shape ``(n, max_length * len(vocabulary))``.
        """
        n_layers = len(self._graph.space.vocabulary)
        places = np.zeros((len(networks), max_length * n_layers), dtype=np.float32)
        for row, network in zip(places, networks, strict=True):
            row[[i * n_layers + layer for i, layer in enumerate(network[:max_length])]] = 1.0
        return places

    def summary(
        self, networks: Sequence[Network], situations: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """What networks are made of.

        Args:
            networks:
                ``n`` networks.
            situations:
                The situations to tell of, as :meth:`situations` gives them.

        Returns:
            Depth; logarithms of the weights and multiply-adds; how often there is each layer, each
            kind of layers, each kind after each other one and in each situation; and the mean
            logarithm of each argument of each kind. Shape: ``(n, d)``.
        """
        lengths = np.array([len(network) for network in networks], dtype=np.intp)
        rows = np.repeat(np.arange(len(networks)), lengths)
        steps = np.array([step for network in networks for step in self._follow(network)], np.intp)
        layers = np.array(self._layers)[steps]
        codes = self._code_of[layers]

        def count(columns: npt.NDArray[np.intp], n_columns: int) -> npt.NDArray[np.float64]:
            cells = np.bincount(rows * n_columns + columns, minlength=len(networks) * n_columns)
            return cells.reshape(len(networks), n_columns).astype(float)

        def total(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.bincount(rows, weights=values, minlength=len(networks))

        of_layer = count(layers, len(self._code_of))
        of_code = count(codes, len(self._codes))
        starts = np.zeros(len(steps), dtype=bool)
        starts[np.cumsum(lengths)[:-1]] = True
        starts[:1] = True
        before = np.where(starts, len(self._codes), np.roll(codes, 1))
        n_pairs = len(self._codes) * (len(self._codes) + 1)
        columns = {name: column for column, name in enumerate(situations)}
        column_of = np.array([columns.get(name, len(columns)) for name in self._situations])
        costs = np.array(self._costs)[steps]
        means = [
            of_layer @ logarithms / np.maximum(1.0, of_layer @ present)
            for logarithms, present in self._arguments
        ]
        parts = [
            lengths,
            np.log2(1.0 + total(costs[:, 0])),
            np.log2(1.0 + total(costs[:, 1])),
            of_layer,
            of_code,
            count(before * len(self._codes) + codes, n_pairs),
            count(column_of[steps], len(columns) + 1)[:, :-1],
            *means,
        ]
        return np.column_stack(parts).astype(np.float32)

    def _follow(self, network: Network) -> list[int]:
        node, steps = 0, []
        for layer in network:
            step = self._steps.get((node, layer))
            if step is None:
                step = self._steps[node, layer] = len(self._layers)
                state, chosen = self._graph.state(node), self._graph.space.vocabulary[layer]
                self._layers.append(layer)
                self._costs.append(_cost(self._graph.space, state, chosen))
                self._situations.append(f"{self._graph.space.situation(state)} {chosen.code}")
            steps.append(step)
            node = self._graph.follow(node, layer)
        return steps


def _cost(space: Any, state: Any, layer: Layer) -> tuple[float, float]:
    try:
        cost = space.cost(state, layer)
    except ValueError:  # The space cannot tell.
        return 0.0, 0.0
    return float(cost.num_weights), float(cost.multiply_adds)


def _arguments(
    vocabulary: Sequence[Layer],
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Of each argument its logarithm by layer, and which layers have it."""
    logarithms: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    present: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    for number, layer in enumerate(vocabulary):
        for field in fields(layer) if is_dataclass(layer) else ():
            value = getattr(layer, field.name)
            if isinstance(value, int | float) and value >= 0 and math.isfinite(value):
                key = layer.code, field.name
                zeros = np.zeros(len(vocabulary))
                logarithms.setdefault(key, zeros.copy())[number] = math.log2(1.0 + value)
                present.setdefault(key, zeros)[number] = 1.0
    return [(logarithms[key], present[key]) for key in sorted(logarithms)]
