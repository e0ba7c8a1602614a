from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from optuna_perfpred.nas._layers import Convolution
from optuna_perfpred.nas._layers import Dropout
from optuna_perfpred.nas._layers import Embedding
from optuna_perfpred.nas._layers import FullyConnected
from optuna_perfpred.nas._layers import GlobalAveragePooling
from optuna_perfpred.nas._layers import GRU
from optuna_perfpred.nas._layers import LSTM
from optuna_perfpred.nas._layers import Pooling
from optuna_perfpred.nas._layers import Softmax


if TYPE_CHECKING:
    import torch

    from optuna_perfpred.nas._architecture import Architecture
    from optuna_perfpred.nas._architecture import LayerShapes


def build(architecture: Architecture, *, bias: bool = False) -> nn.Module:
    """Build a network.

    Weights are drawn by Xavier initialisation from PyTorch's generator, biases are zero. Dropout
    follows the published schedule (:meth:`~optuna_perfpred.nas.Architecture.with_dropout`) unless
    the architecture has dropout layers of its own.

    Args:
        architecture:
            What to build.
        bias:
            Whether layers have biases. By default they have none, so that the module has exactly
            the weights that ``architecture.num_weights`` counts.

    Returns:
        A module that gives logits; the softmax is left to the loss. Given images of shape
        ``(n, channels, height, width)`` it gives ``(n, num_classes)``; given tokens of shape
        ``(n, length)`` it gives the logits of the next tokens, ``(n, length, vocabulary_size)``.
    """
    network = nn.Sequential(
        OrderedDict(
            (f"{position}_{shapes.layer.code}", _build_layer(shapes, bias))
            for position, shapes in enumerate(architecture.with_dropout().shapes, start=1)
        )
    )
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif "bias" in name:
            nn.init.zeros_(parameter)
    return network


def _build_layer(shapes: LayerShapes, bias: bool) -> nn.Module:
    layer, size = shapes.layer, shapes.input_shape[0]
    match layer:
        case Convolution():
            convolution = nn.Conv2d(
                size, layer.filters, layer.size, layer.stride, layer.size // 2, bias=bias
            )
            return nn.Sequential(convolution, nn.ReLU())
        case Pooling():
            return nn.MaxPool2d(layer.size, layer.stride)
        case FullyConnected():
            return nn.Sequential(nn.Flatten(), _linear(shapes, bias), nn.ReLU())
        case Dropout():
            return nn.Dropout(layer.probability)
        case GlobalAveragePooling():
            return nn.Sequential(
                nn.Conv2d(size, layer.num_classes, 1, bias=bias),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
        case Softmax() if shapes.num_weights == 0:
            return nn.Identity()
        case Softmax() if len(shapes.input_shape) == 3:
            return nn.Sequential(nn.Flatten(), _linear(shapes, bias))
        case Softmax():
            return _linear(shapes, bias)
        case Embedding():
            return nn.Embedding(size, layer.units)
        case LSTM() | GRU():
            return _Recurrent(layer, size, bias)
    raise ValueError(f"No module is known for the layer {layer}.")


def _linear(shapes: LayerShapes, bias: bool) -> nn.Module:
    num_features = 1
    for size in shapes.input_shape:
        num_features *= size
    return nn.Linear(num_features, shapes.output_shape[0], bias=bias)


class _Recurrent(nn.Module):
    # A recurrent layer that gives its outputs and keeps its states to itself.

    def __init__(self, layer: LSTM | GRU, input_size: int, bias: bool) -> None:
        super().__init__()
        cells = nn.LSTM if isinstance(layer, LSTM) else nn.GRU
        self.cells = cells(input_size, layer.units, bias=bias, batch_first=True)
        self.dropout = nn.Dropout(layer.dropout)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.dropout(self.cells(inputs)[0])
        return outputs
