"""Tune a convolutional network on Fashion-MNIST and stop the hopeless runs early.

The data are read through torchvision from `DIR/FashionMNIST/raw`; `--download` fetches them
there first. On Debian they are in the package dataset-fashion-mnist:

    mkdir -p data/FashionMNIST/raw
    for file in /usr/share/datasets/fashion-mnist/*.gz; do
        gunzip -c $file > data/FashionMNIST/raw/$(basename $file .gz)
    done

    pip install ".[nas]" && python examples/pytorch_fashion_mnist.py data

Uses a GPU if there is one. On a CPU the default 10,000 training images take about two seconds an
epoch. Run it several times at once with one PostgreSQL or MySQL storage to share the work.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna
import torch
from torch import nn
from torch import Tensor
from torchvision.datasets import FashionMNIST

from optuna_perfpred import PerformancePredictionPruner


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
N_VALID = 10_000


def load_data(folder: Path, *, n_train: int, download: bool) -> tuple[Tensor, ...]:
    """Give training images and labels, and validation images and labels, on the device."""
    data = FashionMNIST(str(folder), train=True, download=download)
    images = data.data[:, None].float().div(255.0).to(DEVICE)
    labels = data.targets.to(DEVICE)
    n_valid = min(N_VALID, len(images) // 2)
    train = slice(0, min(n_train, len(images) - n_valid))
    valid = slice(len(images) - n_valid, None)
    return images[train], labels[train], images[valid], labels[valid]


def build_network(trial: optuna.Trial) -> nn.Module:
    """Build convolutions that double their width at each pooling, and one hidden layer."""
    width = trial.suggest_int("width", 4, 32, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.6)
    layers: list[nn.Module] = []
    channels, size = 1, 28
    for _ in range(trial.suggest_int("blocks", 1, 3)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, size, width = width, size // 2, width * 2
    hidden = trial.suggest_int("hidden", 16, 256, log=True)
    layers += [nn.Flatten(), nn.Dropout(dropout)]
    layers += [nn.Linear(channels * size * size, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
    return nn.Sequential(*layers).to(DEVICE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--download", action="store_true", help="download the data if missing")
    parser.add_argument("--storage", default="sqlite:///fashion_mnist.db")
    parser.add_argument("--n-trials", type=int, default=60)
    parser.add_argument("--n-epochs", type=int, default=15)
    parser.add_argument("--n-train", type=int, default=10_000, help="number of training images")
    args = parser.parse_args()

    X_train, y_train, X_valid, y_valid = load_data(
        args.data, n_train=args.n_train, download=args.download
    )

    def objective(trial: optuna.Trial) -> float:
        torch.manual_seed(trial.number)
        network = build_network(trial)
        # The number of weights is a feature of the forecast, beside the parameters.
        trial.set_user_attr("num_weights", sum(p.numel() for p in network.parameters()))
        learning_rate = trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        batch_size = trial.suggest_int("batch_size", 32, 512, log=True)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        accuracy = 0.0
        for epoch in range(args.n_epochs):
            network.train()
            for batch in torch.randperm(len(X_train), device=DEVICE).split(batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(X_train[batch]), y_train[batch]).backward()
                optimizer.step()
            network.eval()
            with torch.no_grad():
                correct = sum(
                    int((network(images).argmax(dim=1) == labels).sum())
                    for images, labels in zip(
                        X_valid.split(1000), y_valid.split(1000), strict=True
                    )
                )
            accuracy = correct / len(y_valid)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    study = optuna.create_study(
        study_name="fashion-mnist",
        storage=args.storage,
        load_if_exists=True,
        direction="maximize",
        pruner=PerformancePredictionPruner(feature_attrs=["num_weights"]),
    )
    study.optimize(objective, n_trials=args.n_trials, show_progress_bar=True)

    trained = sum(len(trial.intermediate_values) for trial in study.trials)
    possible = args.n_epochs * len(study.trials)
    print(f"\nBest accuracy {study.best_value:.4f}, trial {study.best_trial.number}")
    print(f"Epochs trained: {trained} of {possible}")
    print(f"Epochs saved: {possible - trained} ({1 - trained / possible:.0%})")
    for trial in study.trials:
        if trial.user_attrs.get("perfpred:reason"):
            print(f"  Trial {trial.number}. {trial.user_attrs['perfpred:reason']}")


if __name__ == "__main__":
    main()
