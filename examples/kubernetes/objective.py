"""Tune a small network on scikit-learn's digits, on the GPU of the worker's pod if it has one.

Put your own objective in its place; what it needs belongs into the image.
"""

from __future__ import annotations

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
import torch
from torch import nn

from optuna_perfpred import PerformancePredictionPruner


N_EPOCHS = 30
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def create_study(storage: optuna.storages.BaseStorage, study_name: str) -> optuna.Study:
    """Create the study, or join it; each worker calls this when it starts."""
    return optuna.create_study(
        storage=storage,
        study_name=study_name,
        load_if_exists=True,
        direction="maximize",
        pruner=PerformancePredictionPruner(),
    )


def objective(trial: optuna.Trial) -> float:
    """Train one network; give its validation accuracy."""
    X, y = load_digits(return_X_y=True)
    split = train_test_split(X / 16.0, y, test_size=0.3, random_state=0, stratify=y)
    X_train, X_valid, y_train, y_valid = (torch.as_tensor(part, device=DEVICE) for part in split)
    X_train, X_valid = X_train.float(), X_valid.float()

    torch.manual_seed(trial.number)
    width = trial.suggest_int("width", 8, 256, log=True)
    network = nn.Sequential(
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Dropout(trial.suggest_float("dropout", 0.0, 0.6)),
        nn.Linear(width, 10),
    ).to(DEVICE)
    learning_rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    accuracy = 0.0
    for epoch in range(N_EPOCHS):
        network.train()
        for batch in torch.randperm(len(X_train), device=DEVICE).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(X_train[batch]), y_train[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            accuracy = float((network(X_valid).argmax(dim=1) == y_valid).float().mean())
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy
