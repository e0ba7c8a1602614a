"""Architectures that are built layer by layer, and the PyTorch networks they describe."""

from importlib import import_module
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.nas._architecture import Architecture
from optuna_perfpred.nas._architecture import LayerShapes
from optuna_perfpred.nas._block_space import BlockSpace
from optuna_perfpred.nas._block_space import BlockState
from optuna_perfpred.nas._blocks import AveragePooling
from optuna_perfpred.nas._blocks import BatchNormalization
from optuna_perfpred.nas._blocks import ConvolutionBlock
from optuna_perfpred.nas._blocks import GlobalPooling
from optuna_perfpred.nas._blocks import InvertedBottleneck
from optuna_perfpred.nas._blocks import LayerNormalization
from optuna_perfpred.nas._blocks import Linear
from optuna_perfpred.nas._blocks import PatchEmbedding
from optuna_perfpred.nas._blocks import Positions
from optuna_perfpred.nas._blocks import ResidualBlock
from optuna_perfpred.nas._blocks import SeparableConvolution
from optuna_perfpred.nas._blocks import Stem
from optuna_perfpred.nas._blocks import TransformerBlock
from optuna_perfpred.nas._budget_space import BudgetSpace
from optuna_perfpred.nas._cells import Cell
from optuna_perfpred.nas._cells import CellSpace
from optuna_perfpred.nas._cells import Identity
from optuna_perfpred.nas._cells import SameConvolution
from optuna_perfpred.nas._cells import Zero
from optuna_perfpred.nas._conv_net import ConvNetSpace
from optuna_perfpred.nas._cost import Cost
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
from optuna_perfpred.nas._space import LayerSpace


if TYPE_CHECKING:
    from optuna_perfpred.nas._build import build
    from optuna_perfpred.nas._train import train


__all__ = [
    "GRU",
    "LSTM",
    "Architecture",
    "AveragePooling",
    "BatchNormalization",
    "BlockSpace",
    "BlockState",
    "BudgetSpace",
    "Cell",
    "CellSpace",
    "ConvNetSpace",
    "Convolution",
    "ConvolutionBlock",
    "Cost",
    "Dropout",
    "Embedding",
    "FullyConnected",
    "GlobalAveragePooling",
    "GlobalPooling",
    "Identity",
    "InvertedBottleneck",
    "Layer",
    "LayerNormalization",
    "LayerShapes",
    "LayerSpace",
    "Linear",
    "PatchEmbedding",
    "Pooling",
    "Positions",
    "RecurrentSpace",
    "ResidualBlock",
    "SameConvolution",
    "SeparableConvolution",
    "Softmax",
    "Stem",
    "TransformerBlock",
    "Zero",
    "build",
    "parse_layer",
    "train",
]

# PyTorch is imported when a network is built or trained, not when an architecture is suggested.
_MODULES_WITH_TORCH = {"build": "_build", "train": "_train"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES_WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_MODULES_WITH_TORCH[name]}")
    except ImportError as error:
        raise ImportError(
            "Networks are built and trained with PyTorch: `pip install optuna_perfpred[nas]`."
        ) from error
    return getattr(module, name)
