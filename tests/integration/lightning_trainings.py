"""A small Lightning training, in one or several processes."""

from __future__ import annotations

import lightning.pytorch as pl
from sklearn.datasets import load_digits
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from tests.integration.studies import N_EPOCHS


class Network(pl.LightningModule):
    """Logs the accuracy on the digits, unless told otherwise."""

    def __init__(self, rate, *, log=None, fail=None):
        super().__init__()
        self.rate, self.log_accuracy, self.fail = rate, log, fail
        self.layer = nn.Linear(64, 10)

    def training_step(self, batch):
        if self.fail is not None and self.fail == (self.global_rank, self.current_epoch):
            raise ArithmeticError("This rank has failed.")
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch):
        accuracy = (self.layer(batch[0]).argmax(dim=1) == batch[1]).float().mean()
        if self.log_accuracy is not None:
            self.log_accuracy(self, accuracy)
        else:
            self.log("accuracy", accuracy, sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.rate)


def fit(network, callback, *, n_epochs=N_EPOCHS, n_batches=6, more=(), **options):
    """Train, and give the trainer."""
    images, labels = load_digits(return_X_y=True)
    X, y = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(labels)
    trainer = pl.Trainer(
        max_epochs=n_epochs,
        accelerator="cpu",
        callbacks=[callback, *more],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(
        network,
        DataLoader(TensorDataset(X[: 64 * n_batches], y[: 64 * n_batches]), 64, shuffle=True),
        DataLoader(TensorDataset(X[-200:], y[-200:]), 200),
        ckpt_path=getattr(callback, "ckpt_path", None),
        weights_only=True,
    )
    return trainer
