"""Made-up recordings of networks, in the format of the recorded ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import Convolution


SPACE = ConvNetSpace((3, 32, 32), 10, max_depth=18)
N_RECORDED = 200
N_EPOCHS = 20


def draw_networks(n_networks, seed):
    """Random networks of the space, each one once."""
    rng = np.random.default_rng(seed)
    networks = {}
    while len(networks) < n_networks:
        state, layers = SPACE.initial_state, []
        while not SPACE.is_end(state):
            legal = SPACE.legal_layers(state)
            layers.append(legal[rng.integers(len(legal))])
            state = SPACE.next_state(state, layers[-1])
        networks[Architecture(SPACE.complete(tuple(layers)), SPACE.input_shape)] = None
    return list(networks)


def learn(network, rng):
    """Curves that rise with the number of convolutions that see more than a pixel."""
    wide = [la for la in network.layers if isinstance(la, Convolution) and la.size > 1]
    epochs = np.arange(1, N_EPOCHS + 1)
    value = 0.3 + 0.5 * (1.0 - np.exp(-len(wide) / 3)) + rng.normal(0.0, 0.02)
    curve = value * (1.0 - 0.5 * np.exp(-epochs / 4)) + rng.normal(0.0, 0.003, N_EPOCHS)
    return curve.round(4)


def learn_all(networks):
    rng = np.random.default_rng(1)
    return np.array([learn(network, rng) for network in networks])


def write_recordings(path, networks, curves):
    """Write the first of the networks and curves."""
    recorded = networks[:N_RECORDED]
    configs = pd.DataFrame(
        {
            "net": [str(network.with_dropout()) for network in recorded],
            "num_params": [network.num_weights for network in recorded],
            "depth": [network.num_layers for network in recorded],
        }
    )
    configs.to_csv(path / "configs.csv", index_label="curve_id")
    table = pd.DataFrame(curves[:N_RECORDED], columns=range(1, N_EPOCHS + 1))
    # In another order than the networks.
    table.sample(frac=1.0, random_state=0).to_csv(path / "curves.csv", index_label="curve_id")
