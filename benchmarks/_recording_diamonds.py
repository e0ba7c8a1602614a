"""Perceptrons of scikit-learn that tell the price of a diamond."""

from __future__ import annotations

from functools import cache
import importlib.util
import math
from pathlib import Path
import sys
from typing import TYPE_CHECKING
import warnings

from _recording_family import Family
from _recording_family import Sizes
import numpy as np
import pandas as pd
from sklearn.neural_network import MLPRegressor


sys.path.append(str(Path(__file__).parent / "stopping_rule"))

from _data import arrays
from _data import Split
from _data import split
from _data import standardize


if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna import Trial


CEILING = 10.0  # Errors of diverged trainings are cut here; that of the mean price is 1.
RATES = {"adam": (1e-4, 0.03), "sgd": (1e-3, 0.3)}


def data_file() -> Path:
    """The table, which comes with the package plotnine."""
    # Without importing it, which takes seconds.
    spec = importlib.util.find_spec("plotnine")
    if spec is None or spec.origin is None:
        raise ImportError(
            'The diamonds come with plotnine: `pip install "optuna_perfpred[record]"`.'
        )
    return Path(spec.origin).parent / "data" / "diamonds.csv"


@cache
def load(sizes: Sizes) -> Split:
    table = pd.read_csv(data_file())
    price = standardize(np.log(table.pop("price").to_numpy(dtype=float)))
    features = standardize(pd.get_dummies(table, dtype=float).to_numpy())
    return split(features, price, sizes.n_train, sizes.n_valid, seed=11)


def train(trial: Trial, data: Split, sizes: Sizes, seed: int) -> Iterator[float]:
    solver = trial.suggest_categorical("solver", tuple(RATES))
    width = trial.suggest_int("width", 4, 96, log=True)
    depth = trial.suggest_int("depth", 1, 3)
    model = MLPRegressor(
        hidden_layer_sizes=(width,) * depth,
        activation=trial.suggest_categorical("activation", ("relu", "tanh", "logistic")),
        solver=solver,
        alpha=trial.suggest_float("alpha", 1e-6, 1.0, log=True),
        batch_size=trial.suggest_categorical("batch_size", (32, 64, 128)),
        learning_rate_init=trial.suggest_float("lr", *RATES[solver], log=True),
        # Not a number, with which each epoch would shuffle its batches alike.
        random_state=np.random.RandomState(seed),
    )
    if solver == "sgd":
        model.momentum = trial.suggest_float("momentum", 0.0, 0.97)
    return _errors(model, data, sizes.n_epochs)


def _errors(model: MLPRegressor, data: Split, n_epochs: int) -> Iterator[float]:
    error = math.nan
    for _ in range(n_epochs):
        if error != CEILING:
            error = _train_epoch(model, data)
        yield error


def _train_epoch(model: MLPRegressor, data: Split) -> float:
    x, y, x_valid, y_valid = arrays(data)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # Of overflows on the way to infinity.
        try:
            model.partial_fit(x, y)
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            return CEILING
        squared = float(np.mean((model.predict(x_valid) - y_valid) ** 2))
    return min(math.sqrt(squared), CEILING) if math.isfinite(squared) else CEILING


FAMILY = Family(
    "diamonds_perceptrons",
    "minimize",
    "validation root mean squared error of the standardised logarithm of the price",
    "prices of diamonds, scikit-learn's MLPRegressor",
    Sizes(n_trials=300, n_epochs=40, n_train=3000, n_valid=5000),
    load,
    train,
)
