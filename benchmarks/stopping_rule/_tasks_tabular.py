"""Tabular data: linear models, small networks and factorisations trained by gradients."""

from __future__ import annotations

from functools import cache
from functools import partial
import math

from _data import arrays
from _data import classification
from _data import digits
from _data import friedman
from _data import Split
from _data import split
from _data import table
from _models import mlp
from _study import Config
from _study import Draw
from _study import Study
from _training import CEILING
from _training import classifier
from _training import number
from _training import regressor
import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPRegressor
import torch
from torch import nn
from torch import Tensor


def _linear_space(draw: Draw) -> Config:
    schedule = draw.choice("optimal", "constant", "invscaling", "pa1")
    own_rate = schedule in ("constant", "invscaling")
    penalized = schedule != "pa1"
    return {
        "loss": draw.choice("hinge", "log_loss", "perceptron", "modified_huber")
        if penalized
        else "hinge",
        "learning_rate": schedule,
        "eta0": draw.log(1e-5, 10.0) if own_rate or not penalized else 0.01,
        "alpha": draw.log(1e-7, 0.3),
        "penalty": draw.choice("l1", "l2", "elasticnet") if penalized else None,
        "power_t": draw.uniform(0.1, 0.9) if schedule == "invscaling" else 0.5,
        "average": draw.chance(0.3),
    }


def _linear(config: Config, seed: int, n_steps: int) -> list[float]:
    """Online linear classification of digits, a few examples a step."""
    x, y, x_valid, y_valid = arrays(digits(1000, 700, 5))
    model = SGDClassifier(random_state=seed, **config)
    rng = np.random.default_rng(seed)
    curve = []
    for _ in range(n_steps):
        chosen = rng.integers(len(x), size=100)
        model.partial_fit(x[chosen], y[chosen], classes=np.arange(10))
        curve.append(
            float(np.mean(np.nan_to_num(model.decision_function(x_valid)).argmax(1) == y_valid))
        )
    return curve


def _mlp_regressor_space(draw: Draw) -> Config:
    solver = draw.choice("adam", "sgd")
    return {
        "solver": solver,
        "learning_rate_init": draw.log(1e-5, 0.3),
        "momentum": draw.uniform(0.3, 0.99) if solver == "sgd" else 0.9,
        "alpha": draw.log(1e-6, 10.0),
        "batch_size": draw.choice(16, 32, 64),
        "activation": draw.choice("relu", "tanh", "logistic", "identity"),
        "width": draw.log_integer(4, 64),
        "depth": draw.integer(1, 2),
    }


def _mlp_regressor(config: Config, seed: int, n_steps: int) -> list[float]:
    data = friedman(400, 500)
    x, y, x_valid, y_valid = arrays(data)
    options = {k: v for k, v in config.items() if k not in ("width", "depth")}
    sizes = [int(number(config, "width"))] * int(number(config, "depth"))
    model = MLPRegressor(hidden_layer_sizes=sizes, random_state=seed, **options)
    curve: list[float] = []
    while len(curve) < n_steps:
        try:
            with np.errstate(all="ignore"):
                for _ in range(2):
                    model.partial_fit(x, y)
                score = float(model.score(x_valid, y_valid))
        except ValueError:  # Weights are no longer finite.
            score = -CEILING
        curve.append(max(score, -CEILING) if math.isfinite(score) else -CEILING)
    return curve


class _Factors(nn.Module):
    """A rating as the product of the factors of user and item, plus their biases."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        rank, scale = int(number(config, "rank")), number(config, "init_scale")
        self.users, self.items = nn.Embedding(200, rank + 1), nn.Embedding(150, rank + 1)
        for table_ in (self.users, self.items):
            nn.init.normal_(table_.weight, std=scale)

    def forward(self, x: Tensor) -> Tensor:
        user, item = self.users(x[:, 0].long()), self.items(x[:, 1].long())
        return (user[:, 1:] * item[:, 1:]).sum(1) + user[:, 0] + item[:, 0]


@cache
def _ratings() -> Split:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(200, 4)), rng.normal(size=(150, 4))
    cells = rng.permutation(200 * 150)[:7000]
    x = np.stack([cells // 150, cells % 150], axis=1)
    y = (users[x[:, 0]] * items[x[:, 1]]).sum(1) / 2 + rng.normal(scale=0.3, size=len(x))
    return split(x, y, 5500, 1500)


def _ratings_space(draw: Draw) -> Config:
    optimizer = draw.choice("adam", "sgd", "momentum", "adagrad")
    return {
        "rank": draw.log_integer(1, 40),
        "init_scale": draw.log(0.003, 1.0),
        "optimizer": optimizer,
        "lr": draw.log(0.03, 10.0) if optimizer in ("sgd", "momentum") else draw.log(1e-3, 0.3),
        "weight_decay": draw.log(1e-6, 1e-2),
        "batch_size": draw.choice(128, 256, 512),
        "schedule": draw.choice("constant", "exponential"),
    }


def _wine_space(draw: Draw) -> Config:
    return {
        "width": draw.log_integer(2, 32),
        "depth": draw.integer(1, 2),
        "optimizer": draw.choice("sgd", "adam"),
        "lr": draw.log(1e-3, 0.3),
        "weight_decay": draw.log(1e-5, 0.1),
        "dropout": draw.uniform(0.0, 0.5),
        "batch_size": draw.choice(4, 8, 16),
    }


def _cancer_space(draw: Draw) -> Config:
    return {
        "depth": 0,
        "optimizer": draw.choice("sgd", "momentum", "adam"),
        "lr": draw.log(1e-4, 1.0),
        "weight_decay": draw.log(1e-6, 1.0),
        "batch_size": draw.choice(8, 16, 32),
        "schedule": draw.choice("constant", "linear", "exponential"),
        "epoch_size": 1500,
    }


def _imbalanced_space(draw: Draw) -> Config:
    return {
        "epoch_size": 800,
        "width": draw.log_integer(4, 64),
        "depth": draw.integer(1, 2),
        "optimizer": draw.choice("sgd", "momentum", "adam"),
        "lr": draw.log(5e-4, 0.2),
        "weight_decay": draw.log(1e-6, 0.03),
        "batch_size": draw.choice(32, 64, 128),
        "activation": draw.choice("relu", "tanh"),
    }


def _wide_regression_space(draw: Draw) -> Config:
    optimizer = draw.choice("sgd", "momentum", "adam", "rmsprop", "adagrad")
    return {
        "optimizer": optimizer,
        "lr": draw.log(1e-6, 10.0),
        "momentum": draw.choice(0.5, 0.9, 0.99) if optimizer == "momentum" else None,
        "width": draw.log_integer(4, 64),
        "depth": draw.integer(1, 3),
        "init_scale": draw.log(0.3, 3.0),
        "batch_size": draw.choice(16, 64),
        "epoch_size": 800,
    }


class _Waves(nn.Module):
    """Sine and cosine features of increasing frequency before a perceptron."""

    def __init__(self, config: Config, data: Split) -> None:
        super().__init__()
        n = int(number(config, "n_waves"))
        self.register_buffer("frequencies", math.pi * torch.arange(1, n + 1).float()[None])
        inner = data._replace(x=torch.zeros(1, 2 * n + 1))
        self.net = mlp(config, inner)

    def forward(self, x: Tensor) -> Tensor:
        angles = x * self.frequencies
        return self.net(torch.cat([x, angles.sin(), angles.cos()], 1))


@cache
def _curve_data() -> Split:
    x = np.random.default_rng(0).uniform(-1.0, 1.0, size=(900, 1))
    y = np.sin(4 * x[:, 0]) + 0.5 * np.sin(19 * x[:, 0]) + 0.3 * np.sign(x[:, 0])
    return split(x, y, 400, 500)


def _waves_space(draw: Draw) -> Config:
    return {
        "n_waves": draw.choice(0, 0, 0, 1, 2, 4),
        "width": draw.log_integer(6, 64),
        "depth": draw.integer(1, 3),
        "activation": draw.choice("relu", "tanh", "sigmoid"),
        "optimizer": draw.choice("adam", "momentum"),
        "lr": draw.log(1e-4, 0.1),
        "schedule": draw.choice("constant", "cosine"),
        "batch_size": 50,
        "epoch_size": 500,
    }


_F1 = partial(classification, 1500, 1500, 2, 0.1, 2)
_AUC = partial(classification, 600, 1000, 2, 0.06, 3)
STUDIES = (
    Study(
        "friedman_wide_mse",
        "minimize",
        "validation mean squared error",
        "Friedman 1, MLP, optimizers with rates over seven orders of magnitude",
        40,
        _wide_regression_space,
        regressor(partial(friedman, 400, 500), mlp),
        140,
    ),
    Study(
        "imbalanced_f1",
        "maximize",
        "validation F1 score",
        "make_classification with 10 % positives, MLP, the score stays 0 and then jumps",
        50,
        _imbalanced_space,
        classifier(_F1, mlp, "f1"),
        140,
    ),
    Study(
        "digits_linear_online",
        "maximize",
        "validation accuracy",
        "digits, linear models trained online (hinge, logistic, perceptron, passive-aggressive)",
        40,
        _linear_space,
        _linear,
    ),
    Study(
        "friedman_sklearn_mlp_r2",
        "maximize",
        "validation R2",
        "Friedman 1, scikit-learn's MLPRegressor",
        30,
        _mlp_regressor_space,
        _mlp_regressor,
    ),
    Study(
        "ratings_factorization_rmse",
        "minimize",
        "validation root mean squared error",
        "synthetic ratings, matrix factorisation",
        40,
        _ratings_space,
        regressor(_ratings, lambda config, _: _Factors(config), "rmse"),
    ),
    Study(
        "wine_tiny_validation",
        "maximize",
        "validation accuracy",
        "wine, MLP, 60 validation examples",
        30,
        _wine_space,
        classifier(partial(table, "wine", 110, 60), mlp),
    ),
    Study(
        "cancer_logistic_logloss",
        "minimize",
        "validation log loss",
        "breast cancer, logistic regression by stochastic gradients, 100 validation examples",
        12,
        _cancer_space,
        classifier(partial(table, "breast_cancer", 400, 100), mlp, "log_loss"),
    ),
    Study(
        "imbalanced_auc",
        "maximize",
        "validation area under the ROC curve",
        "make_classification with 6 % positives, MLP",
        40,
        _imbalanced_space,
        classifier(_AUC, mlp, "auc"),
    ),
    Study(
        "waves_fit_mse",
        "minimize",
        "validation mean squared error",
        "A wavy function of one variable, MLP with or without Fourier features",
        100,
        _waves_space,
        regressor(_curve_data, _Waves),
    ),
)
