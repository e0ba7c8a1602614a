"""Tune a neural network on handwritten digits and stop the hopeless runs early.

Trains scikit-learn's `MLPClassifier` epoch by epoch on scikit-learn's own digits, so nothing is
downloaded and nothing but the package is needed. The study is kept in an SQLite file; run the
script again to add to it, or look at it with `optuna-dashboard sqlite:///quickstart.db`.

    python examples/quickstart.py
"""

from __future__ import annotations

import argparse

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils import gen_batches
from sklearn.utils import shuffle

from optuna_perfpred import PerformancePredictionPruner


N_EPOCHS = 30

images, labels = load_digits(return_X_y=True)
X_train, X_valid, y_train, y_valid = train_test_split(
    images / 16.0, labels, test_size=0.4, random_state=0, stratify=labels
)

PRUNERS = {
    "ours": PerformancePredictionPruner(),
    "median": optuna.pruners.MedianPruner(),
    "none": optuna.pruners.NopPruner(),
}


def objective(trial: optuna.Trial) -> float:
    solver = trial.suggest_categorical("solver", ["adam", "sgd"])
    momentum = trial.suggest_float("momentum", 0.0, 0.99) if solver == "sgd" else 0.9
    network = MLPClassifier(
        hidden_layer_sizes=[trial.suggest_int("width", 4, 64, log=True)]
        * trial.suggest_int("layers", 1, 3),
        solver=solver,
        momentum=momentum,
        learning_rate_init=trial.suggest_float("learning_rate", 1e-5, 1.0, log=True),
        alpha=trial.suggest_float("alpha", 1e-6, 1e-1, log=True),
        random_state=trial.number,
    )
    batch_size = trial.suggest_int("batch_size", 32, 256, log=True)
    accuracy = 0.0
    for epoch in range(N_EPOCHS):
        X, y = shuffle(X_train, y_train, random_state=epoch)
        for batch in gen_batches(len(X), batch_size):
            network.partial_fit(X[batch], y[batch], classes=range(10))
        accuracy = network.score(X_valid, y_valid)
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", default="sqlite:///quickstart.db")
    parser.add_argument("--n-trials", type=int, default=70)
    parser.add_argument("--pruner", choices=PRUNERS, default="ours", help="to compare")
    args = parser.parse_args()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="digits",
        storage=args.storage,
        load_if_exists=True,
        direction="maximize",
        # The setting of the paper; the default sampler works the same way.
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=PRUNERS[args.pruner],
    )
    study.optimize(objective, n_trials=args.n_trials, show_progress_bar=True)

    trained = sum(len(trial.intermediate_values) for trial in study.trials)
    possible = N_EPOCHS * len(study.trials)
    print(f"\nBest accuracy {study.best_value:.4f}, trial {study.best_trial.number}")
    print(f"Epochs trained: {trained} of {possible}")
    print(f"Epochs saved: {possible - trained} ({1 - trained / possible:.0%})")
    pruned = [t for t in study.trials if t.state == optuna.trial.TrialState.PRUNED]
    print(f"Trials stopped early: {len(pruned)} of {len(study.trials)}, for instance")
    for trial in pruned[:: max(1, len(pruned) // 3)][:3]:
        print(f"  Trial {trial.number}. {trial.user_attrs.get('perfpred:reason', 'no reason')}")


if __name__ == "__main__":
    main()
