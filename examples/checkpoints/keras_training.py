"""A Keras training that goes on where it was stopped.

    pip install ".[nas]" keras && KERAS_BACKEND=torch python examples/checkpoints/keras_training.py

The state is a `.keras` file, with the optimizer, which Keras reads without unpickling. The seed
of an epoch is its number, as the generators are not in the file.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import optuna
from sklearn.datasets import load_digits

from optuna_perfpred import Checkpoint
from optuna_perfpred import PerformancePredictionPruner


FOLDER = "checkpoints"
N_EPOCHS = 15

images, labels = load_digits(return_X_y=True)
X = images.astype("float32") / 16.0
X_train, X_valid, y_train, y_valid = X[:1200], X[1200:], labels[:1200], labels[1200:]


def to_bytes(model: keras.Model) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def from_bytes(state: bytes) -> keras.Model:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(state)
        return keras.saving.load_model(path, safe_mode=True)


class SaveAndReport(keras.callbacks.Callback):
    def __init__(self, trial: optuna.Trial, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.trial, self.checkpoint = trial, checkpoint

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        keras.utils.set_random_seed(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.trial.report(logs["val_accuracy"], epoch)
        self.checkpoint.save(to_bytes(self.model), epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def new_model(trial: optuna.Trial) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    learning_rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def objective(trial: optuna.Trial) -> float:
    model = new_model(trial)
    with Checkpoint(trial, FOLDER) as checkpoint:
        state = checkpoint.load()
        if state is not None:
            model = from_bytes(state)
        if checkpoint.start == N_EPOCHS:
            return checkpoint.value
        history = model.fit(
            X_train,
            y_train,
            validation_data=(X_valid, y_valid),
            batch_size=64,
            initial_epoch=checkpoint.start,
            epochs=N_EPOCHS,
            callbacks=[SaveAndReport(trial, checkpoint)],
            verbose=0,
        )
    return history.history["val_accuracy"][-1]


def main(n_trials: int = 10) -> None:
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=n_trials)
    Checkpoint.clear(study, FOLDER)
    print(f"Best accuracy {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
