"""Image classification with random architectures and one training recipe."""

from __future__ import annotations

from _data import digits
from _data import fashion
from _models import cnn
from _models import mlp
from _models import n_parameters
from _study import Config
from _study import Draw
from _study import Study
from _training import fit
import torch


def _architecture_cnn(draw: Draw) -> Config:
    n_blocks = draw.integer(1, 4)
    config: Config = {"n_blocks": n_blocks, "optimizer": "adam", "lr": 3e-3, "epoch_size": 400}
    for i in range(1, 5):
        used = i <= n_blocks
        config[f"filters_{i}"] = draw.log_integer(2, 20) if used else None
        config[f"kernel_{i}"] = draw.choice(1, 3, 5) if used else None
        config[f"pool_{i}"] = draw.choice("max", "avg", "none") if used else None
    config["norm"] = draw.choice("none", "batch")
    config["activation"] = draw.choice("relu", "tanh", "sigmoid")
    config["dense"] = draw.choice(None, 16, 48)
    return config


def _architecture_mlp(draw: Draw) -> Config:
    depth = draw.integer(1, 6)
    config: Config = {"depth": depth, "optimizer": "adam", "lr": 2e-3, "batch_size": 32}
    for i in range(1, 7):
        config[f"width_{i}"] = draw.log_integer(2, 64) if i <= depth else None
    config["activation"] = draw.choice("relu", "sigmoid", "tanh", "elu")
    return config


def _sized_cnn(config: Config, seed: int, n_steps: int) -> list[float]:
    """Adds the number of weights to the recorded features."""
    torch.manual_seed(seed)
    data = fashion(1600, 800, seed=4, flat=False)
    model = cnn(config, data)
    config["n_weights"] = n_parameters(model)
    return fit(model, data, config, seed, n_steps)


def _sized_mlp(config: Config, seed: int, n_steps: int) -> list[float]:
    torch.manual_seed(seed)
    data = digits(1000, 700, seed=3)
    model = mlp(config, data)
    config["n_weights"] = n_parameters(model)
    return fit(model, data, config, seed, n_steps, "error")


STUDIES = (
    Study(
        "fashion_cnn_architectures",
        "maximize",
        "validation accuracy",
        "Fashion-MNIST at 14x14, random convolutional architectures, one training recipe",
        20,
        _architecture_cnn,
        _sized_cnn,
    ),
    Study(
        "digits_mlp_architectures",
        "minimize",
        "validation error rate",
        "digits, random MLP architectures, one training recipe",
        25,
        _architecture_mlp,
        _sized_mlp,
    ),
)
