"""Perceptrons of scikit-learn that read handwritten digits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import pickle
import sys
from typing import TYPE_CHECKING
import warnings

from _recording_family import Family
from _recording_family import Sizes
import numpy as np
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier


sys.path.append(str(Path(__file__).parent / "stopping_rule"))

from _data import arrays
from _data import digits
from _data import Split


if TYPE_CHECKING:
    from optuna import Trial


RATES = {"adam": (1e-4, 0.03), "sgd": (1e-3, 0.3)}
CEILING = 10.0  # Losses of diverged trainings are cut here; that of a guess is 2.3.


def load(sizes: Sizes) -> Split:
    return digits(sizes.n_train, sizes.n_valid)


def train(trial: Trial, data: Split, sizes: Sizes, seed: int) -> Iterator[float]:
    solver = trial.suggest_categorical("solver", tuple(RATES))
    model = MLPClassifier(
        hidden_layer_sizes=(trial.suggest_int("width", 16, 512, log=True),)
        * trial.suggest_int("depth", 1, 3),
        activation=trial.suggest_categorical("activation", ("relu", "tanh", "logistic")),
        solver=solver,
        alpha=trial.suggest_float("alpha", 1e-6, 1.0, log=True),
        batch_size=trial.suggest_categorical("batch_size", (8, 16, 32)),
        learning_rate_init=trial.suggest_float("lr", *RATES[solver], log=True),
        # Not a number, with which each epoch would shuffle its batches alike.
        random_state=np.random.RandomState(seed),
    )
    if solver == "sgd":
        model.momentum = trial.suggest_float("momentum", 0.0, 0.97)
    return Losses(model, data, sizes.n_epochs)


class Losses(Iterator[float]):
    """The losses of a training, epoch by epoch."""

    def __init__(self, model: MLPClassifier, data: Split, n_epochs: int) -> None:
        self._model, self._data = model, data
        self._n_left, self._loss = n_epochs, 0.0

    def __next__(self) -> float:
        if self._n_left == 0:
            raise StopIteration
        if self._loss < CEILING:
            self._loss = min(_train_epoch(self._model, self._data), CEILING)
        self._n_left -= 1
        return self._loss

    def state_dict(self) -> bytes:
        """All that the training needs to go on as if it had not stopped."""
        return pickle.dumps((self._model, self._n_left, self._loss))

    def load_state_dict(self, state: bytes) -> None:
        """Go on where a training of the same configuration was."""
        self._model, self._n_left, self._loss = pickle.loads(state)  # Of this very process.


def _train_epoch(model: MLPClassifier, data: Split) -> float:
    x, y, x_valid, y_valid = arrays(data)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # Of overflows on the way to infinity.
        try:
            model.partial_fit(x, y, classes=range(10))
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            return CEILING
        probabilities = model.predict_proba(x_valid)
    return log_loss(y_valid, probabilities) if np.isfinite(probabilities).all() else CEILING


FAMILY = Family(
    "digits_perceptrons",
    "minimize",
    "validation cross-entropy",
    "scikit-learn's digits and MLPClassifier",
    Sizes(n_trials=300, n_epochs=50, n_train=1000, n_valid=797),
    load,
    train,
)
