"""A Lightning training that goes on where it was stopped.

    pip install ".[nas]" lightning && python examples/checkpoints/lightning_training.py

The state is Lightning's own checkpoint, read with `weights_only=True`. A callback may add to it:
this one adds the state of the generator, so that the batches are those of a training that was not
stopped.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
import warnings

import lightning
import optuna
from sklearn.datasets import load_digits
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_perfpred import Checkpoint
from optuna_perfpred import PerformancePredictionPruner


FOLDER = "checkpoints"
N_EPOCHS = 15

images, labels = load_digits(return_X_y=True)
X = torch.tensor(images / 16.0, dtype=torch.float32)
y = torch.tensor(labels)
train = TensorDataset(X[:1200], y[:1200])
valid = TensorDataset(X[1200:], y[1200:])


class Network(lightning.LightningModule):
    def __init__(self, learning_rate: float, dropout: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.layers = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10)
        )

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        is_right = self.layers(batch[0]).argmax(dim=1) == batch[1]
        self.log("accuracy", is_right.float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class SaveAndReport(lightning.Callback):
    def __init__(self, trial: optuna.Trial, checkpoint: Checkpoint) -> None:
        self.trial, self.checkpoint = trial, checkpoint

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        epoch = trainer.current_epoch
        self.trial.report(trainer.callback_metrics["accuracy"].item(), epoch)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "lightning.ckpt"
            trainer.save_checkpoint(path)
            self.checkpoint.save(path.read_bytes(), epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def state_dict(self) -> dict[str, Any]:
        return {"generator": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["generator"])


def objective(trial: optuna.Trial) -> float:
    torch.manual_seed(0)
    network = Network(
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        trial.suggest_float("dropout", 0.0, 0.5),
    )
    with Checkpoint(trial, FOLDER) as checkpoint, TemporaryDirectory() as folder:
        state = checkpoint.load()
        if checkpoint.start == N_EPOCHS:
            return checkpoint.value
        path = Path(folder) / "lightning.ckpt"
        if state is not None:
            path.write_bytes(state)
        trainer = lightning.Trainer(
            max_epochs=N_EPOCHS,
            accelerator="cpu",
            callbacks=[SaveAndReport(trial, checkpoint)],
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            network,
            DataLoader(train, batch_size=64, shuffle=True),
            DataLoader(valid, batch_size=len(valid)),
            ckpt_path=path if path.exists() else None,
            weights_only=True,
        )
        return trainer.callback_metrics["accuracy"].item()


def main(n_trials: int = 10) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=n_trials)
    Checkpoint.clear(study, FOLDER)
    print(f"Best accuracy {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
