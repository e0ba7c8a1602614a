from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from optuna_perfpred.nas._layers import PUBLISHED


if TYPE_CHECKING:
    from optuna_perfpred.nas._architecture import Architecture


def build(architecture: Architecture, *, bias: bool = False) -> nn.Module:
    """Build a network.

    Weights of the published layers are drawn by Xavier initialisation from PyTorch's generator,
    their biases are zero; all other layers have the weights that their
    :meth:`~optuna_perfpred.nas.Layer.build` gives them. Dropout follows the published schedule
    (:meth:`~optuna_perfpred.nas.Architecture.with_dropout`) in networks of published layers for
    images, unless the architecture has dropout layers of its own.

    Args:
        architecture:
            What to build.
        bias:
            Whether layers have biases. By default they have none, so that the module has exactly
            the weights that ``architecture.num_weights`` counts.

    Returns:
        A module that gives logits; a softmax is left to the loss. Given images of shape
        ``(n, channels, height, width)`` it gives ``(n, num_classes)``; given tokens of shape
        ``(n, length)`` it gives the logits of the next tokens, ``(n, length, vocabulary_size)``.

    Raises:
        :exc:`ValueError`:
            If no module is known for a layer.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for position, shapes in enumerate(architecture.with_dropout().shapes, start=1):
        layer = shapes.layer
        if shapes.num_weights == 0 and layer.num_weights(shapes.input_shape) > 0:
            module: nn.Module = nn.Identity()  # The softmax after global average pooling.
        else:
            module = layer.build(shapes.input_shape, bias=bias)
        modules[f"{position}_{layer.code}"] = module
    # When all are there, so that a seed gives the weights that it gave before.
    for shapes, module in zip(architecture.with_dropout().shapes, modules.values(), strict=True):
        if isinstance(shapes.layer, PUBLISHED):
            _initialise(module)
    return nn.Sequential(modules)


def _initialise(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif "bias" in name:
            nn.init.zeros_(parameter)
