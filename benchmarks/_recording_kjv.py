"""Recurrent language models of the King James Bible, character by character."""

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
from optuna_perfpred.nas import RecurrentSpace


sys.path.append(str(Path(__file__).parent / "stopping_rule"))

from _data import characters
from _data import Split
from _tasks_text import sequences
from _training import Epochs


if TYPE_CHECKING:
    from collections.abc import Iterator

    from _study import Config
    from optuna import Trial


LENGTH = 32  # Characters of a piece of text.
N_PIECES = 16_000  # An epoch is drawn from these.
CEILING = 100.0  # Perplexities of diverged trainings are cut here; that of a guess is 31.
RATES = {"momentum": (0.03, 3.0), "adam": (1e-3, 0.1)}


def load(sizes: Sizes) -> tuple[Split, int]:
    """The pieces, and the number of different characters."""
    data = sequences(LENGTH, max(N_PIECES, sizes.n_train), sizes.n_valid)
    return Split(*(part.to(sizes.device) for part in data)), characters()[2]


class _ClassesFirst(nn.Module):
    """The logits in the order that PyTorch's loss functions take."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        return self.network(tokens).transpose(1, 2)


def train(trial: Trial, data: tuple[Split, int], sizes: Sizes, seed: int) -> Iterator[float]:
    pieces, n_characters = data
    space = RecurrentSpace(
        n_characters,
        max_depth=2,
        embeddings=(8, 16, 32),
        units=(16, 32, 64),
        dropouts=(0.0, 0.1, 0.3),
    )
    architecture = space.suggest(trial)
    optimizer = trial.suggest_categorical("optimizer", tuple(RATES))
    config: Config = {
        "optimizer": optimizer,
        "lr": trial.suggest_float("lr", *RATES[optimizer], log=True),
        "batch_size": trial.suggest_categorical("batch_size", (16, 32, 64)),
        "grad_clip": trial.suggest_float("grad_clip", 0.1, 10.0, log=True),
        "epoch_size": sizes.n_train,
        **suggest_schedule(trial),
    }
    torch.manual_seed(seed)
    network = _ClassesFirst(build(architecture, bias=True)).to(sizes.device)
    return Epochs(network, pieces, config, seed, sizes.n_epochs, "perplexity", ceiling=CEILING)


FAMILY = Family(
    "kjv_language_models",
    "minimize",
    "validation perplexity per character",
    "King James Bible, language models of one or two LSTM and GRU layers; in half of the "
    "trainings the learning rate drops once",
    Sizes(n_trials=200, n_epochs=25, n_train=640, n_valid=320),
    load,
    train,
)
