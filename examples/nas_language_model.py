"""Search the architecture of a recurrent language model, layer by layer.

Networks of LSTM and GRU layers learn to predict the next character of a text; what is minimised is
the perplexity on the text's last tenth. A model of what makes networks good chooses the layers and
the learning rate together, and a forecast ends hopeless trainings early. By default the text is
the reference of the Python language, which every Python brings along:

    pip install ".[nas]" && python examples/nas_language_model.py

Uses a GPU if there is one. On a CPU an epoch of the default 100,000 characters takes one to
five seconds. Any other text will do, for instance that of Debian's package bible-kjv:

    bible gen1:1-rev22:21 > bible.txt && python examples/nas_language_model.py --text bible.txt

Run the script again to add trials.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics

import optuna
from optuna.trial import TrialState
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_perfpred import ArchitectureSampler
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.nas import build
from optuna_perfpred.nas import RecurrentSpace
from optuna_perfpred.nas import train


def make_batches(tokens: Tensor, length: int, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    """Cut a text into pieces; the target of each character is the one after it."""
    pieces = tokens.unfold(0, length + 1, length)
    dataset = TensorDataset(pieces[:, :-1], pieces[:, 1:])
    return DataLoader(dataset, batch_size=32, shuffle=shuffle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="a text file")
    parser.add_argument("--n-characters", type=int, default=100_000, help="how much to read of it")
    parser.add_argument("--length", type=int, default=50, help="characters of a piece")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--storage", default="sqlite:///nas_language_model.db")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    text = args.text.read_text(encoding="utf-8") if args.text else "\n\n".join(topics.values())
    text = text[: args.n_characters]
    characters = sorted(set(text))
    indices = {character: index for index, character in enumerate(characters)}
    tokens = torch.tensor([indices[character] for character in text])
    n_valid = len(tokens) // 10
    training_batches = make_batches(tokens[:-n_valid], args.length, shuffle=True)
    validation_batches = make_batches(tokens[-n_valid:], args.length, shuffle=False)
    print(f"{len(text)} characters, {len(characters)} different ones")

    # Small enough for a CPU; the defaults of the space are larger.
    space = RecurrentSpace(
        len(characters), max_depth=2, embeddings=(16, 32), units=(32, 64, 128), dropouts=(0.0, 0.2)
    )

    def objective(trial: optuna.Trial) -> float:
        architecture = space.suggest(trial)
        return train(
            trial,
            partial(build, architecture),
            training_batches,
            validation_batches,
            num_epochs=args.epochs,
            learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True),
            metric="perplexity",
            seed=args.seed + trial.number,
        )

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="language-model",
        storage=args.storage,
        load_if_exists=True,
        direction="minimize",
        sampler=ArchitectureSampler(space, seed=args.seed),
        pruner=PerformancePredictionPruner(),
    )
    study.optimize(objective, n_trials=args.trials, show_progress_bar=True)

    trained = sum(len(trial.intermediate_values) for trial in study.trials)
    possible = args.epochs * len(study.trials)
    n_pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
    best = study.best_trial
    print(f"\nBest perplexity {best.value:.3f} per character, trial {best.number}")
    print(f"Best architecture: {best.user_attrs['architecture']}")
    print(f"Its learning rate: {best.params['learning_rate']:.2g}")
    print(f"Trials stopped early: {n_pruned} of {len(study.trials)}")
    print(f"Epochs trained: {trained} of {possible} ({1 - trained / possible:.0%} saved)")


if __name__ == "__main__":
    main()
