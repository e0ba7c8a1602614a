"""Trainings whose ranks say little until the learning rate drops late."""

from __future__ import annotations

from functools import cache
from functools import partial

from _data import digits
from _data import fashion
from _data import Split
from _data import with_label_noise
from _models import mlp
from _study import Config
from _study import Draw
from _study import Study
from _training import classifier


def _hot_space(draw: Draw) -> Config:
    """All rates are too high for good weights until they drop."""
    return {
        "width": draw.log_integer(24, 96),
        "depth": 1,
        "norm": "batch",
        "optimizer": "momentum",
        "momentum": 0.9,
        "lr": draw.log(0.05, 0.15),
        "schedule": "step",
        "drop_1": draw.choice(0.6, 0.75),
        "drop_factor": draw.choice(0.01, 0.03),
        "weight_decay": draw.log(1e-3, 6e-3),
        "dropout": draw.choice(None, 0.1),
        "batch_size": 16,
        "epoch_size": 320,
    }


def _noisy_labels_space(draw: Draw) -> Config:
    """With wrong labels a high rate averages nothing; a late decay does."""
    schedule = draw.choice("step", "cosine", "linear")
    return {
        "width": draw.log_integer(32, 128),
        "depth": draw.integer(1, 2),
        "norm": "batch",
        "optimizer": "nesterov",
        "momentum": draw.choice(0.9, 0.95),
        "lr": draw.log(0.05, 0.5),
        "schedule": schedule,
        "drop_1": draw.uniform(0.5, 0.85) if schedule == "step" else None,
        "drop_factor": draw.choice(0.02, 0.1) if schedule == "step" else None,
        "weight_decay": draw.log(1e-4, 2e-2),
        "batch_size": draw.choice(16, 32),
        "epoch_size": 320,
    }


def _reversal_space(draw: Draw) -> Config:
    """Rates that are too high for a good loss until they have decayed."""
    return {
        "width": 64,
        "depth": 1,
        "optimizer": "adamw",
        "lr": draw.log(5e-3, 0.05),
        "schedule": draw.choice("linear", "cosine"),
        "weight_decay": draw.log(1e-3, 1.0),
        "dropout": draw.uniform(0.0, 0.15),
        "batch_size": draw.choice(16, 32),
        "epoch_size": 320,
    }


@cache
def _wrong_labels() -> Split:
    return with_label_noise(digits(900, 800, 13), 0.3)


STUDIES = (
    Study(
        "fashion_hot_drop",
        "maximize",
        "validation accuracy",
        "Fashion-MNIST at 14x14, MLP with batch normalisation, high rates, one late drop",
        40,
        _hot_space,
        classifier(partial(fashion, 3000, 1500, seed=30), mlp),
    ),
    Study(
        "digits_wrong_labels_decay",
        "minimize",
        "validation error rate",
        "digits with 30 % random training labels, MLP with batch normalisation, decaying rates",
        36,
        _noisy_labels_space,
        classifier(_wrong_labels, mlp, "error"),
    ),
    Study(
        "fashion_decay_logloss",
        "minimize",
        "validation log loss",
        "Fashion-MNIST at 14x14, MLP, AdamW with high rates that decay",
        45,
        _reversal_space,
        classifier(partial(fashion, 3000, 1500, seed=31), mlp, "log_loss"),
    ),
)
