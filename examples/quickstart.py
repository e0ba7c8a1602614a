"""Tune a network that foresees the next letter of a text, and stop the hopeless runs early.

Trains scikit-learn's `MLPClassifier` epoch by epoch on the text of Python's own documentation, so
nothing is downloaded and nothing but the package is needed. The study is kept in an SQLite file;
run the script again to add to it, or look at it with `optuna-dashboard sqlite:///quickstart.db`.

    python examples/quickstart.py
"""

from __future__ import annotations

import argparse
from pydoc_data.topics import topics

import numpy as np
import optuna
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import OneHotEncoder

from optuna_perfpred import PerformancePredictionPruner


N_EPOCHS = 20
N_TRIALS = 70
N_TRAIN, N_VALID = 10_000, 3_000
# What `--pruner none` prints, with Python 3.11.
UNPRUNED = "1400 epochs, best loss 0.0000"

text = np.array(list(" ".join(" ".join(topics.values()).lower().split())))
places = np.random.default_rng(0).permutation(np.arange(8, len(text)))[: N_TRAIN + N_VALID]
y_train, y_valid = np.split(text[places], [N_TRAIN])
letters = np.unique(text)

PRUNERS = {
    "ours": PerformancePredictionPruner(),
    "median": optuna.pruners.MedianPruner(),
    "none": optuna.pruners.NopPruner(),
}


def objective(trial: optuna.Trial) -> float:
    n_letters = trial.suggest_int("n_letters", 1, 8)
    before = text[places[:, np.newaxis] - np.arange(1, n_letters + 1)]
    X = OneHotEncoder(categories=[letters] * n_letters).fit_transform(before)
    network = MLPClassifier(
        hidden_layer_sizes=[trial.suggest_int("width", 8, 256, log=True)]
        * trial.suggest_int("layers", 1, 2),
        learning_rate_init=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        alpha=trial.suggest_float("alpha", 1e-6, 1.0, log=True),
        batch_size=trial.suggest_int("batch_size", 32, 512, log=True),
        random_state=trial.number,
    )
    loss = np.inf
    for epoch in range(N_EPOCHS):
        network.partial_fit(X[:N_TRAIN], y_train, classes=letters)
        loss = log_loss(y_valid, network.predict_proba(X[N_TRAIN:]), labels=letters)
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", default="sqlite:///quickstart.db")
    parser.add_argument("--n-trials", type=int, default=N_TRIALS)
    parser.add_argument("--pruner", choices=PRUNERS, default="ours", help="to compare")
    args = parser.parse_args()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="letters",
        storage=args.storage,
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=PRUNERS[args.pruner],
    )
    study.optimize(objective, n_trials=args.n_trials, show_progress_bar=True)

    trained = sum(len(trial.intermediate_values) for trial in study.trials)
    possible = N_EPOCHS * len(study.trials)
    print(f"\nBest loss {study.best_value:.4f}, trial {study.best_trial.number}")
    print(f"Epochs trained: {trained} of {possible}")
    print(f"Epochs saved: {possible - trained} ({1 - trained / possible:.0%})")
    if args.pruner != "none" and len(study.trials) == N_TRIALS:
        print(f"The same study without a pruner, recorded: {UNPRUNED}")
    pruned = [t for t in study.trials if t.state == optuna.trial.TrialState.PRUNED]
    print(f"Trials stopped early: {len(pruned)} of {len(study.trials)}, for instance")
    for trial in pruned[:: max(1, len(pruned) // 3)][:3]:
        print(f"  Trial {trial.number}. {trial.user_attrs.get('perfpred:reason', 'no reason')}")


if __name__ == "__main__":
    main()
