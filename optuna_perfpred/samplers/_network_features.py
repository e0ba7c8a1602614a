from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.samplers._network_graph import Network
    from optuna_perfpred.samplers._network_graph import NetworkGraph

    Block = npt.NDArray[np.float32]


_N_COSTS_KEPT = 20_000


class NetworkFeatures:
    """Networks as rows of numbers, described in three ways.

    Counts of pairs of neighbours, of layers at each representation size, and means of arguments
    were tried as well: they made the model's forecasts of recorded networks worse.

    Args:
        graph:
            The graph of the space.
    """

    def __init__(self, graph: NetworkGraph) -> None:
        self._graph = graph
        codes = [layer.code for layer in graph.space.vocabulary]
        self._is_of_kind = np.array([[code == c for c in sorted(set(codes))] for code in codes])
        # What a layer costs at a node, and the node that it leads to.
        self._steps: dict[tuple[int, int], tuple[float, float, int]] = {}
        # Those that have values are described at each proposal.
        self._cost = lru_cache(_N_COSTS_KEPT)(self._sum_costs)

    def describe(self, networks: Sequence[Network], max_length: int) -> list[Block]:
        """Describe networks.

        Args:
            networks:
                ``n`` networks.
            max_length:
                Of how many layers their places are told.

        Returns:
            Three matrices with ``n`` rows: which layer comes where, with ones and zeros; how
            often there is each layer; and depth, the logarithms of the weights and multiply-adds
            (if the space tells them), and how often there is each kind of layers.
        """
        n_layers = len(self._is_of_kind)
        lengths = np.array([len(network) for network in networks], dtype=np.intp)
        rows = np.repeat(np.arange(len(networks)), lengths)
        layers = np.array([layer for network in networks for layer in network], dtype=np.intp)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.arange(len(layers)) - starts
        told = places < max_length
        where = np.zeros((len(networks), max_length * n_layers), dtype=np.float32)
        where[rows[told], places[told] * n_layers + layers[told]] = 1.0
        cells = np.bincount(rows * n_layers + layers, minlength=len(networks) * n_layers)
        counts = cells.reshape(len(networks), n_layers).astype(np.float32)
        costs = np.array([self._cost(network) for network in networks]).reshape(-1, 2)
        amounts = np.column_stack([lengths, np.log2(1.0 + costs), counts @ self._is_of_kind])
        return [where, counts, amounts.astype(np.float32)]

    def _sum_costs(self, network: Network) -> tuple[float, float]:
        node, num_weights, multiply_adds = 0, 0.0, 0.0
        for layer in network:
            step = self._steps.get((node, layer))
            if step is None:
                following = self._graph.follow(node, layer)
                step = self._steps[node, layer] = (*self._read_cost(node, layer), following)
            num_weights += step[0]
            multiply_adds += step[1]
            node = step[2]
        return num_weights, multiply_adds

    def _read_cost(self, node: int, layer: int) -> tuple[float, float]:
        space = self._graph.space
        try:
            cost = space.cost(self._graph.state(node), space.vocabulary[layer])
        except ValueError:  # The space cannot tell.
            return 0.0, 0.0
        return float(cost.num_weights), float(cost.multiply_adds)
