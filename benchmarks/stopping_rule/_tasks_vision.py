"""Image classification with various learning-rate schedules and optimizers."""

from __future__ import annotations

from functools import cache
from functools import partial

from _data import digits
from _data import fashion
from _data import Split
from _data import with_label_noise
from _models import cnn
from _models import mlp
from _study import Config
from _study import Draw
from _study import Study
from _training import classifier


def _mlp_shape(draw: Draw) -> Config:
    return {"width": draw.log_integer(4, 128), "depth": draw.integer(1, 3)}


def _constant_mlp(draw: Draw) -> Config:
    optimizer = draw.choice("sgd", "momentum", "adam")
    return {
        **_mlp_shape(draw),
        "optimizer": optimizer,
        "lr": draw.log(1e-5, 0.1) if optimizer == "adam" else draw.log(1e-4, 1.0),
        "momentum": draw.uniform(0.5, 0.99) if optimizer == "momentum" else None,
        "batch_size": draw.choice(16, 32, 64, 128),
        "activation": draw.choice("relu", "tanh"),
    }


def _constant_cnn(draw: Draw) -> Config:
    return {
        "filters": draw.log_integer(2, 12),
        "kernel": draw.choice(3, 5),
        "optimizer": "adam",
        "lr": draw.log(3e-5, 0.05),
        "weight_decay": draw.log(1e-6, 1e-2),
        "dropout": draw.uniform(0.0, 0.6),
        "batch_size": draw.choice(32, 64, 128),
        "dense": draw.choice(None, 16, 32),
        "epoch_size": 400,
    }


def _late_drop_cnn(draw: Draw) -> Config:
    return {
        "filters": draw.log_integer(3, 10),
        "optimizer": "nesterov",
        "momentum": draw.choice(0.9, 0.95),
        "lr": draw.log(0.03, 1.0),
        "schedule": "step",
        "drop_1": draw.uniform(0.5, 0.85),
        "drop_factor": draw.choice(0.2, 0.1, 0.03),
        "weight_decay": draw.log(1e-5, 1e-2),
        "norm": "batch",
        "batch_size": draw.choice(16, 32, 64),
        "epoch_size": 320,
    }


def _fixed_drop_mlp(draw: Draw) -> Config:
    return {
        "width": draw.log_integer(16, 128),
        "depth": draw.integer(1, 3),
        "norm": "batch",
        "optimizer": "momentum",
        "momentum": draw.uniform(0.8, 0.97),
        "lr": draw.log(0.05, 1.0),
        "schedule": "step",
        "drop_1": 0.5,
        "drop_2": 0.75,
        "dropout": draw.choice(None, 0.1, 0.3),
        "weight_decay": draw.log(1e-5, 1e-2),
        "batch_size": draw.choice(16, 32),
        "epoch_size": 500,
    }


def _resnet_like(draw: Draw) -> Config:
    """Noise at a high rate hides everything until the rate drops at 70 % of the training."""
    return {
        "width": draw.log_integer(12, 160),
        "depth": draw.integer(1, 3),
        "norm": "batch",
        "optimizer": "nesterov",
        "momentum": 0.9,
        "lr": draw.log(0.1, 0.8),
        "schedule": "step",
        "drop_1": 0.7,
        "drop_factor": 0.02,
        "weight_decay": draw.log(3e-4, 1e-2),
        "batch_size": 16,
        "epoch_size": 480,
    }


def _drop_loss_mlp(draw: Draw) -> Config:
    return {
        "width": draw.log_integer(8, 96),
        "depth": draw.integer(1, 3),
        "activation": draw.choice("relu", "tanh", "gelu"),
        "optimizer": "momentum",
        "lr": draw.log(0.01, 0.5),
        "schedule": "step",
        "drop_1": draw.choice(0.6, 0.7, 0.8),
        "drop_factor": draw.log(0.01, 0.5),
        "weight_decay": draw.log(1e-5, 1e-2),
        "batch_size": draw.choice(16, 32, 64),
        "epoch_size": 600,
    }


def _cosine_warmup(draw: Draw) -> Config:
    optimizer = draw.choice("adamw", "momentum")
    return {
        "width": draw.log_integer(16, 128),
        "depth": draw.integer(1, 4),
        "norm": draw.choice("none", "batch", "layer"),
        "optimizer": optimizer,
        "lr": draw.log(1e-4, 0.1) if optimizer == "adamw" else draw.log(1e-3, 1.0),
        "schedule": "cosine",
        "warmup": draw.choice(0.02, 0.1, 0.3),
        "label_smoothing": draw.choice(0.0, 0.1),
        "dropout": draw.uniform(0.0, 0.5),
        "batch_size": draw.choice(32, 64),
        "epoch_size": 600,
    }


def _one_cycle(draw: Draw) -> Config:
    return {
        **_mlp_shape(draw),
        "optimizer": draw.choice("momentum", "nesterov"),
        "momentum": draw.uniform(0.85, 0.98),
        "lr": draw.log(0.01, 3.0),
        "schedule": "one_cycle",
        "peak": draw.uniform(0.1, 0.7),
        "div": draw.log(3, 100),
        "weight_decay": draw.log(1e-6, 1e-2),
        "batch_size": draw.choice(32, 64),
        "epoch_size": 600,
    }


def _restarts(draw: Draw) -> Config:
    return {
        "width": draw.log_integer(8, 96),
        "depth": draw.integer(1, 3),
        "norm": draw.choice("none", "batch"),
        "optimizer": "momentum",
        "lr": draw.log(0.003, 0.3),
        "schedule": "restarts",
        "cycles": draw.integer(1, 6),
        "dropout": draw.uniform(0.0, 0.4),
        "batch_size": draw.choice(16, 32, 64),
        "epoch_size": 400,
    }


def _overfit(draw: Draw) -> Config:
    optimizer = draw.choice("adam", "rmsprop", "momentum")
    return {
        "width": draw.log_integer(16, 192),
        "depth": draw.integer(1, 4),
        "optimizer": optimizer,
        "lr": draw.log(0.003, 0.3) if optimizer == "momentum" else draw.log(1e-4, 0.01),
        "weight_decay": draw.choice(0.0, 1e-4, 1e-2),
        "dropout": draw.choice(0.0, 0.0, 0.3),
        "batch_size": draw.choice(32, 64),
    }


def _label_noise(draw: Draw) -> Config:
    return {
        "width": draw.log_integer(32, 256),
        "depth": draw.integer(1, 2),
        "optimizer": draw.choice("adam", "adamax", "nadam"),
        "lr": draw.log(1e-4, 0.02),
        "weight_decay": draw.log(1e-6, 1e-2),
        "dropout": draw.uniform(0.0, 0.6),
        "label_smoothing": draw.uniform(0.0, 0.3),
        "batch_size": draw.choice(64, 128),
    }


def _wide_optimizers(draw: Draw) -> Config:
    """Learning rates over many orders of magnitude, optimizers with parameters of their own."""
    optimizer = draw.choice(
        "sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "adadelta"
    )
    heavy = optimizer in ("momentum", "nesterov")
    return {
        "optimizer": optimizer,
        "lr": draw.log(1e-5, 100.0),
        "momentum": draw.choice(0.5, 0.9, 0.99) if heavy else None,
        "beta1": draw.choice(0.8, 0.9, 0.99) if optimizer == "adam" else None,
        "eps": draw.log(1e-10, 1e-2) if optimizer == "adam" else None,
        "alpha": draw.choice(0.9, 0.99) if optimizer == "rmsprop" else None,
        "width": 32,
        "depth": 2,
        "batch_size": 64,
        "epoch_size": 1000,
    }


def _needle(draw: Draw) -> Config:
    """Deep sigmoid networks: few configurations ever leave the chance level."""
    optimizer = draw.choice("sgd", "momentum", "adam", "rmsprop", "adagrad")
    return {
        "optimizer": optimizer,
        "lr": draw.log(1e-5, 10.0),
        "activation": draw.choice("sigmoid", "tanh"),
        "depth": draw.integer(4, 6),
        "width": draw.log_integer(4, 24),
        "init_scale": draw.log(0.05, 4.0),
        "weight_decay": draw.log(1e-6, 0.1),
        "batch_size": draw.choice(32, 64),
        "epoch_size": 600,
    }


@cache
def _noisy_digits() -> Split:
    return with_label_noise(digits(700, 800, seed=8), 0.4)


_FASHION = "Fashion-MNIST at 14x14"
STUDIES = (
    Study(
        "fashion_resnet_like_drop",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, MLP with batch normalisation, high rate that drops at 70 %",
        30,
        _resnet_like,
        classifier(partial(fashion, 3000, 1000, seed=1), mlp),
        150,
    ),
    Study(
        "digits_mlp_constant",
        "maximize",
        "validation accuracy",
        "digits, MLP, constant learning rates",
        30,
        _constant_mlp,
        classifier(digits, mlp),
        150,
    ),
    Study(
        "fashion_overfit_logloss",
        "minimize",
        "validation log loss",
        f"{_FASHION}, 600 images, MLP, the loss falls and then rises",
        50,
        _overfit,
        classifier(partial(fashion, 600, 1000, seed=2), mlp, "log_loss"),
        150,
    ),
    Study(
        "fashion_wide_optimizers",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, MLP, seven optimizers with rates over seven orders of magnitude",
        60,
        _wide_optimizers,
        classifier(partial(fashion, 2000, 1000, seed=3), mlp),
        160,
    ),
    Study(
        "digits_drop_error",
        "minimize",
        "validation error rate",
        "digits, MLP with batch normalisation, rate drops at 50 % and 75 %",
        60,
        _fixed_drop_mlp,
        classifier(partial(digits, 1000, 500, seed=1), mlp, "error"),
    ),
    Study(
        "fashion_cosine_warmup",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, MLP, warm-up and cosine annealing",
        50,
        _cosine_warmup,
        classifier(partial(fashion, 3000, 1500, seed=5), mlp),
    ),
    Study(
        "digits_label_noise",
        "maximize",
        "validation accuracy",
        "digits with 40 % random training labels, MLP memorises them late",
        80,
        _label_noise,
        classifier(_noisy_digits, mlp),
    ),
    Study(
        "fashion_cnn_late_drop",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, CNN with batch normalisation, one drop of the rate at a random late point",
        24,
        _late_drop_cnn,
        classifier(partial(fashion, 2000, 800, seed=6, flat=False), cnn),
    ),
    Study(
        "fashion_needle",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, deep narrow sigmoid and tanh MLPs, few configurations learn",
        40,
        _needle,
        classifier(partial(fashion, 2000, 1000, seed=7), mlp),
    ),
    Study(
        "fashion_restarts_error",
        "minimize",
        "validation error rate",
        f"{_FASHION}, MLP, cosine annealing with restarts",
        60,
        _restarts,
        classifier(partial(fashion, 2500, 1000, seed=8), mlp, "error"),
    ),
    Study(
        "digits_one_cycle",
        "maximize",
        "validation accuracy",
        "digits, MLP, one-cycle schedule",
        40,
        _one_cycle,
        classifier(partial(digits, 900, 600, seed=2), mlp),
    ),
    Study(
        "fashion_cnn_constant",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, CNN, Adam with constant rates",
        20,
        _constant_cnn,
        classifier(partial(fashion, 2000, 1000, seed=9, flat=False), cnn),
    ),
    Study(
        "fashion_drop_logloss",
        "minimize",
        "validation log loss",
        f"{_FASHION}, MLP, a late drop of the rate by a random factor",
        40,
        _drop_loss_mlp,
        classifier(partial(fashion, 3000, 1000, seed=10), mlp, "log_loss"),
    ),
)
