"""Small networks whose architecture is told by a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _training import number
import torch
from torch import nn
from torch import Tensor


if TYPE_CHECKING:
    from _data import Split
    from _study import Config


ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "leaky": nn.LeakyReLU,
}


class Scaled(nn.Module):
    """Multiplies the initial weights of a module (a good, poor or dead initialisation)."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner = inner
        with torch.no_grad():
            for parameter in inner.parameters():
                parameter.mul_(factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _outputs(config: Config, data: Split) -> int:
    fixed = config.get("n_outputs")
    if fixed is not None:
        return int(fixed)
    return 1 if data.y.is_floating_point() else int(data.y.max()) + 1


def mlp(config: Config, data: Split) -> nn.Module:
    """A perceptron with `depth` hidden layers of `width` units, or widths width_1, width_2, ..."""
    widths = [int(number(config, f"width_{i}")) for i in range(1, 7) if config.get(f"width_{i}")]
    if not widths:
        widths = [int(number(config, "width", 32))] * int(number(config, "depth", 1))
    activation = ACTIVATIONS[str(config.get("activation", "relu"))]
    layers: list[nn.Module] = []
    if number(config, "input_dropout"):
        layers.append(nn.Dropout(number(config, "input_dropout")))
    last = data.x.shape[1]
    for width in widths:
        layers.append(nn.Linear(last, width))
        if config.get("norm") == "batch":
            layers.append(nn.BatchNorm1d(width))
        elif config.get("norm") == "layer":
            layers.append(nn.LayerNorm(width))
        layers.append(activation())
        if number(config, "dropout"):
            layers.append(nn.Dropout(number(config, "dropout")))
        last = width
    layers.append(nn.Linear(last, _outputs(config, data)))
    return Scaled(nn.Sequential(*layers), number(config, "init_scale", 1.0))


def cnn(config: Config, data: Split) -> nn.Module:
    """Blocks of convolution, normalisation, activation and pooling, then a dense head."""
    activation = ACTIVATIONS[str(config.get("activation", "relu"))]
    layers: list[nn.Module] = []
    last, size = data.x.shape[1], data.x.shape[2]
    for i in range(1, int(number(config, "n_blocks", 2)) + 1):
        filters = int(number(config, f"filters_{i}", number(config, "filters", 8) * i))
        kernel = int(number(config, f"kernel_{i}", number(config, "kernel", 3)))
        layers.append(nn.Conv2d(last, filters, kernel, padding=kernel // 2))
        if config.get("norm") == "batch":
            layers.append(nn.BatchNorm2d(filters))
        layers.append(activation())
        if size >= 4 and config.get(f"pool_{i}", "max") != "none":
            kind = nn.AvgPool2d if config.get(f"pool_{i}") == "avg" else nn.MaxPool2d
            layers.append(kind(2))
            size //= 2
        last = filters
    layers.append(nn.Flatten())
    last *= size * size
    if config.get("dense"):
        layers += [nn.Linear(last, int(number(config, "dense"))), activation()]
        last = int(number(config, "dense"))
    if number(config, "dropout"):
        layers.append(nn.Dropout(number(config, "dropout")))
    layers.append(nn.Linear(last, _outputs(config, data)))
    return nn.Sequential(*layers)


def autoencoder(config: Config, data: Split) -> nn.Module:
    """A dense autoencoder with a bottleneck of `code` units."""
    n, width, code = data.x.shape[1], int(number(config, "width", 64)), int(number(config, "code"))
    activation = ACTIVATIONS[str(config.get("activation", "relu"))]
    net = nn.Sequential(
        nn.Linear(n, width),
        activation(),
        nn.Linear(width, code),
        activation(),
        nn.Linear(code, width),
        activation(),
        nn.Linear(width, n),
    )
    return Scaled(net, number(config, "init_scale", 1.0))


def n_parameters(model: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())
