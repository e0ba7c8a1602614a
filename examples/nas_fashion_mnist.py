"""Search the architecture of a convolutional network, layer by layer, in several processes.

Q-learning chooses the layers and a forecast ends hopeless trainings early, as in Baker et al. 2017
(MetaQNN). Scikit-learn's digits need no download and take a minute on two CPU cores:

    pip install ".[nas]" && python examples/nas_fashion_mnist.py --data digits --workers 2

For Fashion-MNIST, give a folder that holds `FashionMNIST/raw` as torchvision leaves it, or the
four *.gz files, as /usr/share/datasets/fashion-mnist of Debian's package dataset-fashion-mnist
does. With a GPU, search the published space on all training images:

    python examples/nas_fashion_mnist.py --data DIR --space published --n-train 50000 --trials 500

Each process is a worker that reads and writes the study in the storage, and nothing else connects
them: run the script again to add trials, also while it is running.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
import multiprocessing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
import torch
from torch import Tensor
from torch.utils.data import BatchSampler
from torch.utils.data import DataLoader
from torch.utils.data import RandomSampler
from torch.utils.data import SequentialSampler
from torch.utils.data import TensorDataset
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import extract_archive

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import QLearningSampler
from optuna_perfpred.nas import build
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import train


N_VALID = 10_000

SPACES: dict[str, dict[str, Any]] = {
    # Networks that a CPU trains in seconds.
    "small": {
        "max_depth": 4,
        "filters": (8, 16, 32),
        "filter_sizes": (1, 3),
        "poolings": ((3, 2), (2, 2)),
        "fully_connected": (64, 32),
    },
    "published": {},
}


def load_data(data: str, n_train: int) -> tuple[Tensor, ...]:
    """Give training images and labels, and validation images and labels."""
    if data == "digits":
        images, labels = load_digits(return_X_y=True)
        X, largest = torch.tensor(images).view(-1, 1, 8, 8), 16.0
        y = torch.tensor(labels)
        train_part, valid_part = train_test_split(
            range(len(y)), test_size=0.4, random_state=0, stratify=labels
        )
    else:
        dataset = load_fashion_mnist(Path(data))
        X, y, largest = dataset.data[:, None], dataset.targets, 255.0
        n_valid = min(N_VALID, len(y) // 2)
        train_part = slice(min(n_train, len(y) - n_valid))
        valid_part = slice(len(y) - n_valid, None)
    X_train, X_valid = X[train_part].float() / largest, X[valid_part].float() / largest
    return X_train, y[train_part], X_valid, y[valid_part]


def load_fashion_mnist(folder: Path) -> FashionMNIST:
    archives = sorted(folder.glob("*-ubyte.gz"))
    if not archives:
        return FashionMNIST(str(folder))
    with TemporaryDirectory() as extracted:
        raw = Path(extracted, "FashionMNIST", "raw")
        raw.mkdir(parents=True)
        for archive in archives:
            extract_archive(str(archive), str(raw))
        return FashionMNIST(extracted)


def make_batches(
    images: Tensor, labels: Tensor, batch_size: int, *, shuffle: bool
) -> DataLoader[tuple[Tensor, ...]]:
    # The images are in memory: a whole batch is indexed at once, which is faster than one by one.
    dataset = TensorDataset(images, labels)
    order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
    batches = BatchSampler(order, batch_size, drop_last=False)
    return DataLoader(dataset, sampler=batches, batch_size=None)


def make_space(args: argparse.Namespace) -> ConvNetSpace:
    size = 8 if args.data == "digits" else 28
    return ConvNetSpace((1, size, size), num_classes=10, **SPACES[args.space])


def open_storage(storage: str) -> BaseStorage | str:
    # A path is a journal file, which several processes of one host may write at the same time, as
    # an SQLite file is not meant to be; many hosts share the URL of a database server.
    return storage if "://" in storage else JournalStorage(JournalFileBackend(storage))


def show(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    value = "" if trial.value is None else f"{trial.value:.4f}"
    architecture = trial.user_attrs.get("architecture", "")
    print(f"{trial.number:5} {trial.state.name:8} {value:6} {architecture}", flush=True)


def work(args: argparse.Namespace, study_name: str, worker: int) -> None:
    """Run a worker's share of the trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Small networks gain little from more threads, and the workers would fight for the cores.
    torch.set_num_threads(1)
    n_gpus = torch.cuda.device_count()
    device = torch.device("cuda", worker % n_gpus) if n_gpus else torch.device("cpu")
    X_train, y_train, X_valid, y_valid = (
        part.to(device) for part in load_data(args.data, args.n_train)
    )
    # The published size, and one that makes as many steps of an epoch of the few digits.
    batch_size = 16 if args.data == "digits" else 128
    training_batches = make_batches(X_train, y_train, batch_size, shuffle=True)
    validation_batches = make_batches(X_valid, y_valid, batch_size, shuffle=False)
    space = make_space(args)
    sampler = QLearningSampler(
        space,
        n_trials=args.trials,
        reuse_known=True,
        seed=args.seed + worker,  # With the same one, all workers would try the same networks.
    )

    def objective(trial: optuna.Trial) -> float:
        architecture = space.suggest(trial)
        known_value = sampler.known_value(trial, architecture)
        if known_value is not None:
            return known_value
        return train(
            trial,
            partial(build, architecture),
            training_batches,
            validation_batches,
            num_epochs=args.epochs,
            device=device,
            seed=args.seed + trial.number,
        )

    study = optuna.load_study(
        study_name=study_name,
        storage=open_storage(args.storage),
        sampler=sampler,
        pruner=PerformancePredictionPruner(),
    )
    share = args.trials // args.workers + (worker < args.trials % args.workers)
    study.optimize(objective, n_trials=share, callbacks=[show])


def report(study: optuna.Study, space: ConvNetSpace, n_epochs: int) -> None:
    finished = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    trained = [trial for trial in finished if trial.intermediate_values]
    epochs = sum(len(trial.intermediate_values) for trial in trained)
    possible = n_epochs * len(trained)
    n_pruned = sum(trial.state == TrialState.PRUNED for trial in trained)
    n_unique = len({trial.user_attrs["architecture"] for trial in finished})
    print(f"\nBest accuracy {study.best_value:.4f}, trial {study.best_trial.number}")
    print(f"Best architecture: {study.best_trial.user_attrs['architecture']}")
    # The table is in the storage: any sampler can read it.
    print(f"Greedy architecture: {QLearningSampler(space).best_architecture(study)}")
    print(f"Unique architectures: {n_unique} in {len(finished)} trials")
    print(f"Trials not trained, as their value was known: {len(finished) - len(trained)}")
    print(f"Trials stopped early: {n_pruned} of {len(trained)}")
    print(f"Epochs trained: {epochs} of {possible} ({1 - epochs / possible:.0%} saved)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="'digits', or a folder of Fashion-MNIST")
    parser.add_argument("--n-train", type=int, default=10_000, help="Fashion-MNIST only")
    parser.add_argument("--space", choices=SPACES, default="small")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    parser.add_argument("--trials", type=int, default=60, help="of all workers together")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--storage", default="nas_fashion_mnist.journal", help="a file, or the URL of a database"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="digits" if args.data == "digits" else "fashion-mnist",
        storage=open_storage(args.storage),
        load_if_exists=True,
        direction="maximize",
    )
    run_worker = partial(work, args, study.study_name)
    if args.workers == 1:
        run_worker(0)
    else:
        # A forked process could not use a GPU.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.workers, context) as executor:
            list(executor.map(run_worker, range(args.workers)))  # Raises what a worker raised.
    report(study, make_space(args), args.epochs)


if __name__ == "__main__":
    main()
