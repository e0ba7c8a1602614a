"""Architectures that are built layer by layer, and the PyTorch networks they describe."""

from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.nas._architecture import Architecture
from optuna_perfpred.nas._architecture import LayerShapes
from optuna_perfpred.nas._conv_net import ConvNetSpace
from optuna_perfpred.nas._conv_net import ConvNetState
from optuna_perfpred.nas._layers import Convolution
from optuna_perfpred.nas._layers import Dropout
from optuna_perfpred.nas._layers import Embedding
from optuna_perfpred.nas._layers import FullyConnected
from optuna_perfpred.nas._layers import GlobalAveragePooling
from optuna_perfpred.nas._layers import GRU
from optuna_perfpred.nas._layers import Layer
from optuna_perfpred.nas._layers import LSTM
from optuna_perfpred.nas._layers import parse_layer
from optuna_perfpred.nas._layers import Pooling
from optuna_perfpred.nas._layers import Softmax
from optuna_perfpred.nas._recurrent import RecurrentSpace
from optuna_perfpred.nas._recurrent import RecurrentState
from optuna_perfpred.nas._space import LayerSpace


if TYPE_CHECKING:
    from optuna_perfpred.nas._build import build


__all__ = [
    "GRU",
    "LSTM",
    "Architecture",
    "ConvNetSpace",
    "ConvNetState",
    "Convolution",
    "Dropout",
    "Embedding",
    "FullyConnected",
    "GlobalAveragePooling",
    "Layer",
    "LayerShapes",
    "LayerSpace",
    "Pooling",
    "RecurrentSpace",
    "RecurrentState",
    "Softmax",
    "build",
    "parse_layer",
]


def __getattr__(name: str) -> Any:
    # PyTorch is imported when a network is built, not when an architecture is suggested.
    if name == "build":
        from optuna_perfpred.nas._build import build

        return build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
