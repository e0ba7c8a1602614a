"""Train networks on digits so that they can be killed at any time and go on where they were.

    pip install ".[nas]" && python examples/pytorch_resume.py

Kill it, for instance with `kill -9`, and run it again: the trial that died is retried, from the
epoch that was saved last, once its heart has not beaten for some seconds. Workers on other hosts
would do that at once: give them a PostgreSQL or MySQL storage and a folder for the checkpoints
that they share, or an artifact store of Optuna in its place.
"""

from __future__ import annotations

import argparse
import warnings

import optuna
from optuna.storages import RDBStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
import torch
from torch import nn

from optuna_perfpred import Checkpoint
from optuna_perfpred import PerformancePredictionPruner


DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

images, labels = load_digits(return_X_y=True)
X_train, X_valid, y_train, y_valid = (
    torch.tensor(array, device=DEVICE)
    for array in train_test_split(
        images.astype("float32") / 16.0, labels, test_size=0.4, random_state=0, stratify=labels
    )
)


def train_one_epoch(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    network.train()
    for batch in torch.randperm(len(X_train)).to(DEVICE).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(X_train[batch]), y_train[batch]).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(network: nn.Module) -> float:
    network.eval()
    return float((network(X_valid).argmax(dim=1) == y_valid).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", default="sqlite:///resume.db")
    parser.add_argument("--checkpoints", default="checkpoints", help="folder for the checkpoints")
    parser.add_argument("--n-trials", type=int, default=20, help="number of trials to end")
    parser.add_argument("--n-epochs", type=int, default=30)
    args = parser.parse_args()

    def objective(trial: optuna.Trial) -> float:
        width = trial.suggest_int("width", 8, 128, log=True)
        dropout = trial.suggest_float("dropout", 0.0, 0.5)
        learning_rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        torch.manual_seed(trial.number)
        network = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10)
        ).to(DEVICE)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        # It removes the files when the trial is complete, but not when it fails.
        with Checkpoint(trial, args.checkpoints) as checkpoint:
            state = checkpoint.load()
            start, accuracy = checkpoint.start, checkpoint.value
            if state is not None:
                network.load_state_dict(state["network"])
                optimizer.load_state_dict(state["optimizer"])
                torch.set_rng_state(state["generator"])
                print(f"Trial {trial.number} goes on at epoch {start}", flush=True)
            for epoch in range(start, args.n_epochs):
                train_one_epoch(network, optimizer)
                accuracy = evaluate(network)
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
                print(f"Trial {trial.number}, epoch {epoch}: {accuracy:.4f}", flush=True)
        return accuracy

    # Heartbeats tell other workers, and the next run, which trials have died.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    storage = RDBStorage(
        args.storage,
        heartbeat_interval=1,
        grace_period=3,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
    )
    study = optuna.create_study(
        study_name="resume",
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        pruner=PerformancePredictionPruner(),
    )
    states = [TrialState.COMPLETE, TrialState.PRUNED]

    def stop_at_the_end(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if len(study.get_trials(deepcopy=False, states=states)) >= args.n_trials:
            study.stop()

    study.optimize(objective, callbacks=[stop_at_the_end])
    Checkpoint.clear(study, args.checkpoints)  # Stopped trials have kept theirs.

    n_died = len(study.get_trials(states=[TrialState.FAIL]))
    print(f"\nBest accuracy {study.best_value:.4f}, trial {study.best_trial.number}")
    print(f"Trials that died and were retried: {n_died}")


if __name__ == "__main__":
    main()
