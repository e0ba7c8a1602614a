"""A PyTorch training that goes on where it was stopped.

pip install ".[nas]" && python examples/checkpoints/pytorch.py
"""

from __future__ import annotations

import optuna
from sklearn.datasets import load_digits
import torch
from torch import nn

from optuna_perfpred import Checkpoint
from optuna_perfpred import PerformancePredictionPruner


FOLDER = "checkpoints"
N_EPOCHS = 20

images, labels = load_digits(return_X_y=True)
X = torch.tensor(images / 16.0, dtype=torch.float32)
y = torch.tensor(labels)
X_train, X_valid, y_train, y_valid = X[:1200], X[1200:], y[:1200], y[1200:]


def objective(trial: optuna.Trial) -> float:
    learning_rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    with Checkpoint(trial, FOLDER) as checkpoint:
        state = checkpoint.load()
        if state is not None:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["generator"])
        accuracy = checkpoint.value
        for epoch in range(checkpoint.start, N_EPOCHS):
            network.train()
            for batch in torch.randperm(len(X_train)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(X_train[batch]), y_train[batch]).backward()
                optimizer.step()
            network.eval()
            with torch.no_grad():
                accuracy = (network(X_valid).argmax(dim=1) == y_valid).float().mean().item()
            trial.report(accuracy, epoch)
            checkpoint.save(
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "generator": torch.get_rng_state(),
                },
                epoch,
            )
            if trial.should_prune():
                raise optuna.TrialPruned
    return accuracy


def main(n_trials: int = 20) -> None:
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=n_trials)
    Checkpoint.clear(study, FOLDER)
    print(f"Best accuracy {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
