"""A small training by the Trainer of Transformers."""

from __future__ import annotations

from sklearn.datasets import load_digits
import torch
from torch import nn
from transformers import set_seed
from transformers import Trainer
from transformers import TrainingArguments

from tests.integration.studies import N_EPOCHS


class Network(nn.Module):
    def __init__(self, *, fail_at=None):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.fail_at, self.n_calls = fail_at, 0

    def forward(self, x, labels):
        self.n_calls += 1
        if self.n_calls == self.fail_at:
            raise ArithmeticError("This rank has failed.")
        logits = self.layer(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def examples(part):
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16.0, dtype=torch.float32)
    return [{"x": x[i], "labels": int(labels[i])} for i in part]


TRAIN, VALID = examples(range(384)), examples(range(1600, 1797))


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def train(
    rate,
    callback,
    folder,
    *,
    network=None,
    n_epochs=N_EPOCHS,
    metrics=accuracy,
    more=(),
    **options,
):
    """Train, and give the trainer."""
    set_seed(0)
    strategy = {"eval_strategy": "epoch", "save_strategy": "no"} | options
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=rate,
        num_train_epochs=n_epochs,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=64,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **strategy,
    )
    trainer = Trainer(
        network or Network(),
        arguments,
        train_dataset=TRAIN,
        eval_dataset=VALID,
        compute_metrics=metrics,
        callbacks=[*(callback if isinstance(callback, list) else [callback]), *more],
    )
    trainer.train(resume_from_checkpoint=getattr(callback, "resume_from_checkpoint", None))
    return trainer
