"""What a decision costs: milliseconds per `should_prune`, in each storage and at each size.

A study has so many completed trials of 50 steps, and so many trials that other workers run at the
same time. In it, trials are trained whose steps take no time: each reports and asks after each of
50 steps, and none is pruned, whatever the answer. The pruners take turns, a trial each. A time is
the mean over the steps of a trial, so that the reads and the fits that only some steps pay for are
shared by all; of several trials, the median. What a process does once, to read a study that it
meets for the first time, is left out.

    python benchmarks/overhead.py [--storages NAME ...] [--completed N ...] [--running N ...]
        [--server NAME=URL ...] [--all] [--n-trials 5] [--n-steps 50]

PostgreSQL and MariaDB are started if they are installed, unless URLs of empty databases are given.
By default 1,000 and 10,000 completed trials without other workers, and 1,000 with 127 of them;
with `--all` 100 to 10,000 completed trials with 0 to 127 other workers. `--memory`, `--replay` and
`--wide`, which is a random search over ever more parameters, print only what their names say, and
with chosen sizes only the table is printed.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import nullcontext
import itertools
import os
import time
import tracemalloc
from typing import TYPE_CHECKING
from unittest import mock
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: workers have one core each.

from _overhead_studies import make_curves
from _overhead_studies import make_trials
from _overhead_studies import SPACE
from _overhead_studies import start_storages
from _overhead_studies import STORAGES
import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.forecasts import n_learned_from
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.history import FinishedTrialsReader
from optuna_perfpred.history import read_record
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.replay import replay


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage


# No probability is smaller than what this leaves over: all decisions are taken, none is to prune.
NEVER = 1.0 - 2.0**-53
OURS = "ours"
PARTS = ("storage", "history", "fit", "predict")
FIT = PARTS.index("fit")
N_PARAMETERS = (30, 100, 300, 1_000, 2_000, 5_000)
DEFAULT_SIZES = ((1_000, 1), (10_000, 1), (1_000, 128))
ALL_COMPLETED = (100, 1_000, 10_000)
ALL_RUNNING = (1, 32, 128)


def make_pruners() -> dict[str, BasePruner]:
    return {
        "Nop": NopPruner(),
        "Median": MedianPruner(),
        "Hyperband": HyperbandPruner(),
        OURS: PerformancePredictionPruner(confidence=NEVER),
    }


class Stopwatch:
    """Adds up the time in some functions."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("prune", "read", "storage", "fit"), 0.0)

    def timed(self, part: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.perf_counter() - start

        return call

    @contextmanager
    def attached(self, study: optuna.Study) -> Iterator[None]:
        """Measure what our pruner does for a study."""
        functions = (
            ("prune", PerformancePredictionPruner, "prune"),
            ("read", FinishedTrialsReader, "read"),
            ("storage", study, "get_trials"),
            ("fit", StudyForecast, "_learn_from"),
        )
        with ExitStack() as patches:
            for part, owner, name in functions:
                timed = self.timed(part, getattr(owner, name))
                patches.enter_context(mock.patch.object(owner, name, timed))
            yield

    def parts(self) -> np.ndarray:
        """Give the seconds in each of `PARTS`, all 0 if it was not attached."""
        total, read, storage, fit = self.seconds.values()
        return np.array([storage, read - storage, fit, total - read - fit])


def run_trial(study: optuna.Study, curve: list[float]) -> tuple[float, float]:
    """Give the mean milliseconds of a report and of a decision."""
    trial = study.ask(SPACE)
    reports, decisions = 0.0, 0.0
    for step, value in enumerate(curve):
        start = time.perf_counter()
        trial.report(value, step)
        reported = time.perf_counter()
        trial.should_prune()
        decisions += time.perf_counter() - reported
        reports += reported - start
    study.tell(trial, curve[-1], state=TrialState.COMPLETE)
    return 1000.0 * reports / len(curve), 1000.0 * decisions / len(curve)


def measure(
    storage: BaseStorage, name: str, n_completed: int, n_trials: int, n_steps: int
) -> tuple[float, dict[str, float], np.ndarray]:
    """Give the milliseconds of a report, of a decision of each pruner, and of ours by parts."""
    studies = {
        pruner: optuna.load_study(
            study_name=name, storage=storage, sampler=RandomSampler(seed=0), pruner=made
        )
        for pruner, made in make_pruners().items()
    }
    reports: list[float] = []
    decisions: dict[str, list[float]] = {pruner: [] for pruner in studies}
    parts: list[np.ndarray] = []
    fit = 0.0
    curves = make_curves((1 + n_trials) * len(studies), n_steps, seed=1)
    for turn, (pruner, study) in itertools.product(range(1 + n_trials), studies.items()):
        stopwatch = Stopwatch()
        with stopwatch.attached(study) if pruner == OURS else nullcontext():
            report, decision = run_trial(study, next(curves)[1])
        milliseconds = 1000.0 * stopwatch.parts() / n_steps
        if turn == 0:  # Reads the study and fits for the first time.
            fit = max(fit, milliseconds[FIT])
            continue
        reports.append(report)
        if pruner == OURS:
            # Whether a fit falls into these trials is chance: all pay their share of one.
            decision -= milliseconds[FIT]
            milliseconds[FIT] = fit / trials_per_fit(n_completed)
            decision += milliseconds[FIT]
            parts.append(milliseconds)
        decisions[pruner].append(decision)
    medians = {pruner: float(np.median(times)) for pruner, times in decisions.items()}
    return float(np.median(reports)), medians, np.median(parts, axis=0)


def trials_per_fit(n_completed: int) -> int:
    """Give the number of trials from one fit to the next one."""
    following = n_completed
    while n_learned_from(following) == n_learned_from(n_completed):
        following += 1
    return following - n_learned_from(n_completed)


def print_decisions(args: argparse.Namespace, sizes: list[tuple[int, int]]) -> None:
    names = list(make_pruners())
    print(f"Milliseconds per `should_prune`, {args.n_steps} steps a trial\n")
    header = ["storage", "completed", "running", "`report`", *names, "ours beside Median"]
    header += [f"ours: {' + '.join(PARTS)}"]
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    with start_storages(args.storages, dict(args.server)) as storages:
        for kind, (n_completed, n_running) in itertools.product(args.storages, sizes):
            # The trial that asks is one of those that run.
            with storages.study(kind, n_completed, n_running - 1, args.n_steps) as (storage, name):
                report, times, parts = measure(
                    storage, name, n_completed, args.n_trials, args.n_steps
                )
            cells = [kind, f"{n_completed:,}", str(n_running), f"{report:.2f}"]
            cells += [f"{times[pruner]:.2f}" for pruner in names]
            cells += [f"{times[OURS] / times['Median']:.2f}×"]
            cells += [" + ".join(f"{part:.2f}" for part in parts)]
            print("|", " | ".join(cells), "|", flush=True)


def print_memory(n_trials: int = 10_000, n_steps: int = 100) -> None:
    """Print what our pruner remembers of a large study, beside Optuna's own copy of it."""
    tracemalloc.start()
    pruner = PerformancePredictionPruner(confidence=NEVER)
    study = optuna.create_study(
        storage=InMemoryStorage(), sampler=RandomSampler(seed=0), pruner=pruner
    )
    for trial in make_trials(n_trials, 0, n_steps):
        study._storage.create_new_trial(study._study_id, template_trial=trial)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    run_trial(study, next(make_curves(1, n_steps))[1])
    after, peak = (size - before for size in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    print(
        f"\nMemory at {n_trials:,} trials × {n_steps} steps: ours {after / 2**20:.0f} MiB, while "
        f"it fits {peak / 2**20:.0f} MiB; Optuna's own copy of the study {before / 2**20:.0f} MiB"
    )


def print_wide(n_trials: int = 30, n_steps: int = 10) -> None:
    """Print what a decision takes in a random search over many parameters of all kinds."""
    print(
        f"\nMilliseconds per `should_prune`, random search, {n_trials} trials x {n_steps} steps\n"
    )
    print("| parameters | mean | median | largest |\n| --- | --- | --- | --- |")
    for n_parameters in N_PARAMETERS:
        rng = np.random.default_rng(0)
        weights = rng.normal(size=n_parameters) / np.sqrt(n_parameters)
        times = []

        def objective(trial: optuna.Trial, rng=rng, weights=weights, times=times) -> float:
            x = [
                trial.suggest_float(f"x{i}", 0.0, 1.0)
                if i % 3 == 0
                else trial.suggest_int(f"x{i}", 1, 512, log=True) / 512.0
                if i % 3 == 1
                else float(trial.suggest_categorical(f"x{i}", ["a", "b", "c"]) == "a")
                for i in range(len(weights))
            ]
            for step in range(n_steps):
                value = float(weights @ x) * (1.0 - 0.7 ** (step + 1)) + 0.01 * rng.normal()
                trial.report(value, step)
                start = time.perf_counter()
                is_pruned = trial.should_prune()
                times.append(1000.0 * (time.perf_counter() - start))
                if is_pruned:
                    raise optuna.TrialPruned
            return value

        study = optuna.create_study(
            direction="maximize",
            sampler=RandomSampler(seed=0),
            pruner=PerformancePredictionPruner(),
        )
        study.optimize(objective, n_trials)
        cells = (f"{n_parameters:,}", np.mean(times), np.median(times), np.max(times))
        print("| {} | {:.2f} | {:.2f} | {:.1f} |".format(*cells), flush=True)


def print_replay(n_trials: int = 1000, n_steps: int = 50) -> None:
    """Print what it takes to replay a long study against five pruners, and a refit."""
    study = optuna.create_study(direction="maximize")
    for trial in make_trials(n_trials, 0, n_steps):
        study.add_trial(trial)
    pruners = (
        MedianPruner(),
        optuna.pruners.PercentilePruner(75.0),
        optuna.pruners.SuccessiveHalvingPruner(),
        HyperbandPruner(),
        PerformancePredictionPruner(),
    )
    start = time.perf_counter()
    reports = [replay(study, pruner) for pruner in pruners]
    seconds = time.perf_counter() - start
    ours = reports[-1]
    print(
        f"\nReplay of {n_trials} trials × {n_steps} steps against five pruners: {seconds:.1f} s; "
        f"ours in it: {1000.0 * ours.pruner_seconds / ours.n_checks:.2f} ms a check"
    )
    refit, slowest = time_refit(study.get_trials(deepcopy=False)[:200], n_steps)
    print(
        f"One refit of ridge regression on 200 trials, all {n_steps - 1} models: "
        f"{refit:.3f} s; the longest that one decision waits for: {1000.0 * slowest:.1f} ms"
    )


def time_refit(trials: list[optuna.trial.FrozenTrial], n_steps: int) -> tuple[float, float]:
    """Give the seconds to fit all models of ridge regression, and the slowest one."""
    start = time.perf_counter()
    data = TrainingSet([read_record(trial) for trial in trials], sign=1.0)
    predictor = SequentialRegression("ridge").fit(data.configurations, data.curves, data.finals)
    slowest = time.perf_counter() - start
    for length in range(1, n_steps):
        model_start = time.perf_counter()
        partial = data.curves[:1].copy()
        partial[:, length:] = np.nan
        predictor.predict(data.configurations[:1], partial)
        slowest = max(slowest, time.perf_counter() - model_start)
    return time.perf_counter() - start, slowest


def server(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if name not in ("PostgreSQL", "MariaDB") or not url:
        raise argparse.ArgumentTypeError("must be PostgreSQL=URL or MariaDB=URL")
    return name, url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storages", nargs="*", choices=STORAGES, default=list(STORAGES))
    parser.add_argument("--completed", nargs="*", type=int)
    parser.add_argument("--running", nargs="*", type=int)
    parser.add_argument("--server", nargs="*", type=server, default=[], metavar="NAME=URL")
    parser.add_argument("--all", action="store_true", help="each size, not only three")
    parser.add_argument("--memory", action="store_true", help="only the memory")
    parser.add_argument("--replay", action="store_true", help="only the time of a replay")
    parser.add_argument("--wide", action="store_true", help="only the cost of many parameters")
    parser.add_argument("--n-trials", type=int, default=5)
    parser.add_argument("--n-steps", type=int, default=50)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # MedianPruner's, of steps that nobody has reported.
    warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
    sizes = list(DEFAULT_SIZES)
    if args.all or args.completed or args.running:
        completed = args.completed or (ALL_COMPLETED if args.all else (1_000,))
        running = args.running or (ALL_RUNNING if args.all else (1,))
        sizes = list(itertools.product(completed, running))
    chosen = args.memory or args.replay or args.wide
    everything = not (chosen or args.completed or args.running)
    if not chosen:
        print_decisions(args, sizes)
    if everything or args.memory:
        print_memory()
    if everything or args.replay:
        print_replay()
    if everything or args.wide:
        print_wide()


if __name__ == "__main__":
    main()
