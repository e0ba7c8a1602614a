"""What more workers are worth: on a real server, and on a simulated clock.

`workers`: processes on one PostgreSQL study, whose steps take half a second of sleep. Each runs
the same number of trials, sampled by TPE; after each step it reports and asks the pruner, which
has 200 completed trials to compare with, and trains on whatever the answer, so that all trials
take the same time. What is missing to a perfect speed-up is what the workers cost each other.

`replay`: recorded curves on the simulated clock of `optuna_perfpred.replay`. The more workers, the
fewer trials have finished when another one has to be judged: with 1,000 of them the first 1,000
trials know of none, and on curves of equal length none of them is pruned. The speed-up is the
time that the same workers would have taken without pruning, divided by what they took.

    python benchmarks/scale.py workers [--url URL] [--workers 1 2 4 8 16] [--n-trials 6]
    python benchmarks/scale.py replay --curves DIR [--rules RULES] [--sets NAME ...]
        [--workers 1 4 16 64 256 1000] [--n-trials N] [--n-orders 1] [--jobs 2]

Without `--url` a PostgreSQL server is started, if it is installed. `DIR` and `RULES` are those of
`benchmarks/pruners.py`. By default each recorded trial is run once; of a set with less than N
trials, each is drawn several times, which halves our speed-up: an equal of the best one is rarely
pruned.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
import math
import multiprocessing
import os
from pathlib import Path
import time
from typing import NamedTuple
from typing import TYPE_CHECKING
import uuid
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: workers have one core each.

from _overhead_studies import fill_database
from _overhead_studies import make_curves
from _overhead_studies import make_trials
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.replay import load_curves
from optuna_perfpred.replay import replay
from tests.servers import postgresql_server


if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from optuna.pruners import BasePruner


STEP_SECONDS = 0.5
N_COMPLETED = 200


class Shares(NamedTuple):
    """The seconds of one worker."""

    total: float
    sleep: float
    prune: float
    report: float


def work(
    url: str, name: str, worker: int, n_trials: int, n_steps: int, barrier: Barrier
) -> Shares:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)  # The heartbeat's.
    study = optuna.load_study(
        study_name=name,
        storage=RDBStorage(url, heartbeat_interval=60, grace_period=120),
        sampler=optuna.samplers.TPESampler(seed=worker),
        pruner=PerformancePredictionPruner(),
    )
    curves = make_curves(1 + n_trials, n_steps, seed=1 + worker)
    sleep, prune, report = 0.0, 0.0, 0.0

    def objective(trial: optuna.Trial) -> float:
        nonlocal sleep, prune, report
        trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
        trial.suggest_int("layers", 1, 9)
        trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
        curve = next(curves)[1]
        for step, value in enumerate(curve):
            times = [time.perf_counter()]
            time.sleep(STEP_SECONDS if is_warm else 0.0)
            times.append(time.perf_counter())
            trial.report(value, step)
            times.append(time.perf_counter())
            trial.should_prune()
            times.append(time.perf_counter())
            sleep, report, prune = np.array([sleep, report, prune]) + np.diff(times)
        return curve[-1]

    is_warm = False
    study.optimize(objective, n_trials=1)  # Imports, reads the study and fits.
    is_warm, sleep, prune, report = True, 0.0, 0.0, 0.0
    barrier.wait()
    # Workers are not in step.
    time.sleep(STEP_SECONDS * np.random.default_rng(worker).random())
    start = time.perf_counter()
    study.optimize(objective, n_trials=n_trials)
    return Shares(time.perf_counter() - start, sleep, prune, report)


def run_workers(url: str, n_workers: int, n_trials: int, n_steps: int) -> list[Shares]:
    name = f"scale-{uuid.uuid4().hex}"
    fill_database(url, name, make_trials(N_COMPLETED, 0, n_steps))
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(n_workers) as pool:
        barrier = manager.Barrier(n_workers)
        tasks = [(url, name, worker, n_trials, n_steps, barrier) for worker in range(n_workers)]
        return pool.starmap(work, tasks, chunksize=1)


def print_workers(args: argparse.Namespace) -> None:
    print(
        f"{args.n_trials} trials a worker, {args.n_steps} steps of {STEP_SECONDS} s, "
        f"{os.cpu_count()} cores\n"
    )
    print("| workers | trials a second | speed-up | pruner | `report` | sampler and storage |")
    print("| --- | --- | --- | --- | --- | --- |")
    with postgresql_server() if args.url is None else nullcontext() as server:
        first = None
        for n_workers in args.workers:
            url = server.url if server is not None else args.url
            shares = run_workers(url, n_workers, args.n_trials, args.n_steps)
            rate = sum(args.n_trials / worker.total for worker in shares)
            first = first or rate / n_workers
            total = sum(worker.total for worker in shares)
            prune = sum(worker.prune for worker in shares) / total
            report = sum(worker.report for worker in shares) / total
            rest = 1.0 - sum(worker.sleep for worker in shares) / total - prune - report
            cells = [str(n_workers), f"{rate:.3f}", f"{rate / first:.2f}×"]
            cells += [f"{100.0 * share:.2f} %" for share in (prune, report, rest)]
            print("|", " | ".join(cells), "|", flush=True)


class Replayed(NamedTuple):
    log_speed_up: float
    regret: float


def run_replay(
    folder: Path,
    rule: Path | None,
    pruner_name: str,
    n_workers: int,
    n_trials: int | None,
    seed: int,
) -> Replayed:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # MedianPruner's.
    pruner: BasePruner = (
        MedianPruner()
        if pruner_name == "Median"
        else PerformancePredictionPruner(StoppingRule(rule))
    )
    report = replay(draw_trials(folder, n_trials, seed), pruner, seed=seed, n_workers=n_workers)
    return Replayed(
        math.log(report.wall_clock_without_pruning / report.wall_clock),
        min(1.0, report.regret_iqr),
    )


def draw_trials(folder: Path, n_trials: int | None, seed: int) -> optuna.Study:
    """Draw each recorded trial once, in a random order, before any is drawn again."""
    recorded = load_curves(folder)
    trials = recorded.get_trials(deepcopy=False)
    n_trials = n_trials or len(trials)
    rng = np.random.default_rng(seed)
    n_rounds = -(-n_trials // len(trials))
    order = np.concatenate([rng.permutation(len(trials)) for _ in range(n_rounds)])[:n_trials]
    study = optuna.create_study(
        storage=InMemoryStorage(), direction=recorded.direction, sampler=RandomSampler()
    )
    for position in order:
        study._storage.create_new_trial(study._study_id, template_trial=trials[position])
    return study


def print_replays(args: argparse.Namespace) -> None:
    names = args.sets or sorted(path.parent.name for path in args.curves.glob("*/meta.json"))
    pruners = ("ours", "Median")
    tasks = [
        (args.curves / name, None if args.rules is None else args.rules / f"{name}.npz", pruner)
        for name in names
        for pruner in pruners
    ]
    print(
        f"{args.n_trials or 'All'} trials of each of {len(names)} sets: speed-up on the clock "
        "(geometric mean), the share of it that is kept, and regret in interquartile ranges\n"
    )
    print("| workers |", " | ".join(f"{p} | kept | regret" for p in pruners), "|")
    print("|", " | ".join(["---"] * (1 + 3 * len(pruners))), "|")
    first: dict[str, float] = {}
    with Parallel(args.jobs) as parallel:
        for n_workers in args.workers:
            runs = [(*task, seed) for task in tasks for seed in range(args.n_orders)]
            results = parallel(
                delayed(run_replay)(folder, rule, pruner, n_workers, args.n_trials, seed)
                for folder, rule, pruner, seed in runs
            )
            cells = [f"{n_workers:,}"]
            for pruner in pruners:
                of_pruner = [
                    result for run, result in zip(runs, results, strict=True) if run[2] == pruner
                ]
                speed_up = math.exp(np.mean([result.log_speed_up for result in of_pruner]))
                kept = speed_up / first.setdefault(pruner, speed_up)
                regret = np.mean([result.regret for result in of_pruner])
                cells += [f"{speed_up:.2f}×", f"{100.0 * kept:.0f} %", f"{regret:.4f}"]
            print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    workers = commands.add_parser("workers", help="processes on a PostgreSQL server")
    workers.add_argument("--url", help="of an empty database")
    workers.add_argument("--workers", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    workers.add_argument("--n-trials", type=int, default=6)
    workers.add_argument("--n-steps", type=int, default=10)
    simulated = commands.add_parser("replay", help="recorded curves on a simulated clock")
    simulated.add_argument("--curves", type=Path, required=True)
    simulated.add_argument("--sets", nargs="*", help="default: all folders in DIR")
    simulated.add_argument("--rules", type=Path, help="rules that were not trained on a set")
    simulated.add_argument("--workers", nargs="*", type=int, default=[1, 4, 16, 64, 256, 1000])
    simulated.add_argument("--n-trials", type=int, help="default: all of the set")
    simulated.add_argument("--n-orders", type=int, default=1)
    simulated.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if args.command == "workers":
        print_workers(args)
    else:
        print_replays(args)


if __name__ == "__main__":
    main()
