"""Convolutional networks on Fashion-MNIST, chosen layer by layer."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import TYPE_CHECKING

from _recording_family import Family
from _recording_family import Sizes
from _recording_schedule import suggest_schedule
import torch
from torch import nn
from torch import Tensor

from optuna_perfpred.nas import build
from optuna_perfpred.nas import ConvNetSpace


sys.path.append(str(Path(__file__).parent / "stopping_rule"))

from _data import fashion
from _data import Split
from _training import Epochs


if TYPE_CHECKING:
    from collections.abc import Iterator

    from _study import Config
    from optuna import Trial


SIZE = 14  # Images are scaled to a quarter of their area: a training is a matter of seconds.
CHUNK = 250
SPACE = ConvNetSpace(
    (1, SIZE, SIZE),
    num_classes=10,
    max_depth=4,
    filters=(4, 8, 16),
    filter_sizes=(1, 3),
    poolings=((3, 2), (2, 2)),
    fully_connected=(64, 32),
)
RATES = {"momentum": (0.003, 0.3), "adam": (3e-4, 0.03), "rmsprop": (3e-4, 0.03)}


def load(sizes: Sizes) -> Split:
    data = fashion(sizes.n_train, sizes.n_valid, SIZE, seed=11, flat=False)
    return Split(*(part.to(sizes.device) for part in data))


class _InChunks(nn.Module):
    """A network that is given a few images at a time, whose representations stay in the cache."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.network(chunk) for chunk in images.split(CHUNK)])


def train(trial: Trial, data: Split, sizes: Sizes, seed: int) -> Iterator[float]:
    architecture = SPACE.suggest(trial)
    optimizer = trial.suggest_categorical("optimizer", tuple(RATES))
    config: Config = {
        "optimizer": optimizer,
        "lr": trial.suggest_float("lr", *RATES[optimizer], log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", (16, 32, 64)),
        **suggest_schedule(trial),
    }
    if optimizer == "momentum":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.97)
    dropout = trial.suggest_float("dropout_share", 0.0, 1.0)  # Of the published probabilities.
    torch.manual_seed(seed)
    network = _InChunks(build(architecture)).to(sizes.device)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p *= dropout
    return Epochs(network, data, config, seed, sizes.n_epochs)


FAMILY = Family(
    "fashion_convnets",
    "maximize",
    "validation accuracy",
    f"Fashion-MNIST at {SIZE}x{SIZE}, convolutional networks of ConvNetSpace; in half of the "
    "trainings the learning rate drops once",
    Sizes(n_trials=300, n_epochs=30, n_train=800, n_valid=2000),
    load,
    train,
)
