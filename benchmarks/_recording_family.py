"""A family of trainings: a search space, and a training that tells its value epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from optuna import Trial


@dataclass(frozen=True)
class Sizes:
    """What a recording costs.

    Args:
        n_trials: Number of configurations.
        n_epochs: Number of values of each curve.
        n_train: Training examples of an epoch.
        n_valid: Validation examples.
        device: Where PyTorch trains.
    """

    n_trials: int
    n_epochs: int
    n_train: int
    n_valid: int
    device: str = "cpu"


@dataclass(frozen=True)
class Family:
    """Trainings of one kind of model on one data set.

    Args:
        name: Name of the family, of its study and of its folder.
        direction: "maximize" or "minimize".
        metric: What the curves show.
        source: One sentence on the data and the models.
        sizes: Sizes of the recording that is part of the repository.
        load: Gives the data; called before the time is taken, and keeps what it has read.
        train: Suggests a configuration to a trial, makes a model of it, and gives an iterator that
            trains it for an epoch at a time and yields the metric. Given the same configuration,
            data and seed it yields the same.
    """

    name: str
    direction: str
    metric: str
    source: str
    sizes: Sizes
    load: Callable[[Sizes], Any]
    train: Callable[[Trial, Any, Sizes, int], Iterator[float]]
