"""Synthetic problems that are learned after a plateau: parity, modular sums, spirals, sorting."""

from __future__ import annotations

from functools import cache
import itertools
import math

from _data import Split
from _data import split
from _models import mlp
from _study import Config
from _study import Draw
from _study import Study
from _training import batches
from _training import classifier
from _training import make_optimizer
from _training import number
from _training import rate
from _training import regressor
import numpy as np
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional


@cache
def _parity(bits: int, relevant: int, n_train: int) -> Split:
    x = np.random.default_rng(0).choice([-1.0, 1.0], size=(n_train + 1000, bits))
    y = (x[:, :relevant].prod(axis=1) > 0).astype(int)
    return split(x, y, n_train, 1000)


def _parity_space(draw: Draw) -> Config:
    optimizer = draw.choice("momentum", "adam", "adamw")
    return {
        "optimizer": optimizer,
        "lr": draw.log(0.005, 0.3) if optimizer == "momentum" else draw.log(3e-4, 0.02),
        "width": draw.log_integer(8, 128),
        "depth": draw.integer(1, 2),
        "activation": draw.choice("relu", "gelu", "tanh"),
        "weight_decay": draw.log(1e-5, 0.03),
        "batch_size": draw.choice(32, 64),
        "epoch_size": 640,
    }


def _rare_space(draw: Draw) -> Config:
    """A space in which only a few configurations find the rule at all."""
    optimizer = draw.choice("sgd", "momentum", "adam", "rmsprop")
    return {
        "optimizer": optimizer,
        "lr": draw.log(1e-5, 1.0) if optimizer in ("adam", "rmsprop") else draw.log(1e-3, 10.0),
        "width": draw.log_integer(8, 128),
        "depth": draw.integer(1, 3),
        "activation": draw.choice("relu", "tanh", "sigmoid"),
        "weight_decay": draw.log(1e-6, 0.1),
        "batch_size": draw.choice(32, 64),
        "epoch_size": 480,
    }


@cache
def _modular(p: int) -> Split:
    a, b = np.divmod(np.arange(p * p), p)
    eye = np.eye(p)
    x = np.concatenate([eye[a], eye[b]], axis=1)
    return split(x, (a + b) % p, int(0.8 * p * p), p * p - int(0.8 * p * p))


def _modular_space(draw: Draw) -> Config:
    return {
        "optimizer": "adamw",
        "lr": draw.log(1e-3, 0.05),
        "weight_decay": draw.log(0.03, 5.0),
        "beta2": draw.choice(0.98, 0.999),
        "width": draw.log_integer(24, 96),
        "depth": draw.choice(1, 1, 2),
        "init_scale": draw.log(0.5, 2.0),
        "activation": draw.choice("relu", "gelu"),
        "batch_size": draw.choice(64, 128, 230),
        "epoch_size": 700,
    }


@cache
def _spirals() -> Split:
    rng = np.random.default_rng(0)
    t = np.sqrt(rng.random(1800)) * 3.2 * math.pi
    y = rng.integers(2, size=len(t))
    x = np.stack([t * np.cos(t + math.pi * y), t * np.sin(t + math.pi * y)], axis=1) / 5.0
    return split(x + rng.normal(scale=0.04, size=x.shape), y, 800, 1000)


def _spiral_space(draw: Draw) -> Config:
    return {
        "optimizer": draw.choice("adam", "momentum", "rmsprop"),
        "lr": draw.log(3e-4, 0.1),
        "width": draw.log_integer(4, 64),
        "depth": draw.integer(1, 4),
        "activation": draw.choice("relu", "tanh", "elu"),
        "init_scale": draw.log(0.5, 2.0),
        "batch_size": draw.choice(16, 32, 64),
        "epoch_size": 480,
    }


@cache
def _noisy_xor() -> Split:
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(1000, 3))
    y = (x.prod(axis=1) > 0).astype(int)
    return split(x + rng.normal(scale=0.4, size=x.shape), y, 600, 400)


def _xor_space(draw: Draw) -> Config:
    """Networks that are just large enough and often caught in a poor optimum."""
    return {
        "optimizer": draw.choice("sgd", "momentum"),
        "lr": draw.log(0.01, 2.0),
        "width": draw.integer(2, 8),
        "depth": draw.integer(1, 2),
        "activation": draw.choice("tanh", "sigmoid", "relu"),
        "init_scale": draw.log(0.2, 5.0),
        "batch_size": draw.choice(16, 32),
        "weight_decay": draw.choice(0.0, 1e-4),
        "epoch_size": 320,
    }


class _DeepLinear(nn.Module):
    """A product of matrices; its loss falls in stairs, one singular value after the other."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        depth, scale = int(number(config, "depth")), number(config, "init_scale")
        width = int(number(config, "width"))
        sizes = [12, *[width] * (depth - 1), 8]
        self.factors = nn.ParameterList(
            scale * torch.randn(a, b) / math.sqrt(b) for a, b in itertools.pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        for factor in self.factors:
            x = x @ factor
        return x


@cache
def _linear_map() -> Split:
    rng = np.random.default_rng(0)
    u, _ = np.linalg.qr(rng.normal(size=(12, 8)))
    v, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    x = rng.normal(size=(800, 12))
    y = x @ (u * np.array([4, 2.5, 1.5, 1, 0.6, 0.4, 0.2, 0.1])) @ v
    return split(x, y + 0.02 * rng.normal(size=y.shape), 300, 500)


def _deep_linear_space(draw: Draw) -> Config:
    return {
        "optimizer": draw.choice("sgd", "momentum"),
        "momentum": 0.8,
        "lr": draw.log(1e-3, 0.2),
        "depth": draw.integer(2, 5),
        "width": draw.log_integer(4, 24),
        "init_scale": draw.log(0.03, 1.0),
        "batch_size": draw.choice(16, 64),
        "epoch_size": 400,
    }


def _bleu(outputs: Tensor, targets: Tensor) -> float:
    """Geometric mean of the shares of correct words, pairs and triples, in percent."""
    right = (outputs.argmax(2) == targets).float()
    pairs = right[:, 1:] * right[:, :-1]
    triples = pairs[:, 1:] * right[:, :-2]
    product = right.mean() * pairs.mean() * triples.mean()
    return 100.0 * float(product) ** (1 / 3)


@cache
def _sequences(length: int, symbols: int) -> Split:
    """One-hot sequences and the same sequences in ascending order."""
    values = np.random.default_rng(0).integers(symbols, size=(4000, length))
    x = np.eye(symbols)[values].reshape(len(values), -1)
    return split(x, np.sort(values, axis=1), 3200, 800)


def _sorting_space(draw: Draw) -> Config:
    optimizer = draw.choice("adam", "rmsprop", "nadam", "momentum")
    return {
        "optimizer": optimizer,
        "lr": draw.log(0.03, 3.0) if optimizer == "momentum" else draw.log(1e-4, 0.05),
        "width": draw.log_integer(16, 192),
        "depth": draw.integer(1, 3),
        "batch_size": draw.choice(32, 64, 128),
        "schedule": draw.choice("constant", "cosine"),
        "dropout": draw.choice(0.0, 0.2),
        "epoch_size": 800,
    }


def _sorting(config: Config, seed: int, n_steps: int) -> list[float]:
    """Sorts sequences of 6 letters; the score needs several right letters in a row."""
    torch.manual_seed(seed)
    data = _sequences(6, 7)
    model = mlp({**config, "n_outputs": 6 * 7}, data)
    optimizer = make_optimizer(config, model.parameters())
    size = int(number(config, "batch_size"))
    sampler = torch.Generator().manual_seed(seed)
    curve = []
    for step in range(n_steps):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = number(config, "lr") * rate(config, step / n_steps)
        for chosen in batches(len(data.x), size, 800 // size, sampler):
            outputs = model(data.x[chosen]).view(-1, 6, 7)
            loss = functional.cross_entropy(outputs.transpose(1, 2), data.y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            curve.append(_bleu(model(data.x_valid).view(-1, 6, 7), data.y_valid))
    return curve


STUDIES = (
    Study(
        "parity_plateau",
        "maximize",
        "validation accuracy",
        "Parity of 3 of 20 bits, MLP, chance level and then a jump",
        60,
        _parity_space,
        classifier(lambda: _parity(20, 3, 5000), mlp),
    ),
    Study(
        "parity_rare_success",
        "minimize",
        "validation log loss",
        "Parity of 3 of 30 bits, MLP, wide optimizer search in which few configurations work",
        40,
        _rare_space,
        classifier(lambda: _parity(30, 3, 2500), mlp, "log_loss"),
        180,
    ),
    Study(
        "modular_sum_grokking",
        "maximize",
        "validation accuracy",
        "Sums modulo 17, MLP, generalisation long after memorisation",
        120,
        _modular_space,
        classifier(lambda: _modular(17), mlp),
    ),
    Study(
        "spirals_logloss",
        "minimize",
        "validation log loss",
        "Two spirals, MLP",
        50,
        _spiral_space,
        classifier(_spirals, mlp, "log_loss"),
    ),
    Study(
        "deep_linear_stairs_mse",
        "minimize",
        "validation mean squared error",
        "A linear map, deep linear networks, the loss falls in stairs, many diverge",
        80,
        _deep_linear_space,
        regressor(_linear_map, lambda config, _: _DeepLinear(config)),
    ),
    Study(
        "sorting_bleu",
        "maximize",
        "BLEU-like score",
        "Sorting of sequences of 6 letters, MLP",
        30,
        _sorting_space,
        _sorting,
    ),
    Study(
        "xor_error",
        "minimize",
        "validation error rate",
        "Noisy XOR of 3 bits, tiny MLPs that are often stuck",
        60,
        _xor_space,
        classifier(_noisy_xor, mlp, "error"),
    ),
)
