"""What a decision costs in trainings of 10 to 60,000 steps, beside Optuna's pruners.

A study has so many completed trials of so many steps, with the results of Hyperband's rungs. In
it, trials are trained whose steps take no time. Short ones are asked at each step. Of a long one,
five stretches are asked, evenly spread; what it has reported before is written in one go. Ours do
not check at each step of a long training, so that the mean over a stretch that holds some checks
is what counts: a fiftieth of the steps so far, of the stock pruners ten steps. None is pruned,
whatever the answer. What a process does once, to read a study that it meets for the first time,
is left out.

    python benchmarks/overhead_steps.py [--storages NAME ...] [--completed N ...] [--steps N ...]
        [--most 2000000] [--server NAME=URL ...] [--processor]

With `--processor` the time of the processor is taken, on a machine that does other things too:
what a server takes is not in it. Sizes with more reports than `--most` are left out: they take
minutes only to write.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: workers have one core each.

from _overhead_studies import add_reports
from _overhead_studies import make_curves
from _overhead_studies import SPACE
from _overhead_studies import start_storages
import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from overhead import NEVER
from overhead import server

from optuna_perfpred import FastHyperbandPruner
from optuna_perfpred import PerformancePredictionPruner


if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial


STORAGES = ("in-memory", "journal file", "SQLite", "PostgreSQL")
COMPLETED = (10, 1_000, 10_000)
STEPS = (10, 1_000, 60_000)
MOST = 2_000_000
SHORT = 50  # Trials of no more steps are asked at each of them.
POSITIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
N_ASKED = 10
ETA = 3
PEER = "Median"
clock = time.perf_counter


def make_pruners(n_steps: int) -> dict[str, BasePruner]:
    return {
        PEER: MedianPruner(),
        "Hyperband": HyperbandPruner(1, n_steps, ETA),
        "ours": PerformancePredictionPruner(confidence=NEVER),
        "f-Hyperband": FastHyperbandPruner(1, n_steps, ETA, confidence=NEVER),
    }


def with_results(name: str, trial: FrozenTrial, n_steps: int) -> FrozenTrial:
    """Give a completed trial the results of the rungs of its bracket."""
    pruner = HyperbandPruner(1, n_steps, ETA)
    pruner._try_initialization(SimpleNamespace())
    bracket = pruner._get_bracket_id(SimpleNamespace(study_name=name), trial)
    n_rungs = math.ceil(math.log(n_steps, ETA)) - bracket
    trial.system_attrs = {
        f"completed_rung_{rung}": trial.intermediate_values[ETA ** (bracket + rung)]
        for rung in range(n_rungs)
        if ETA ** (bracket + rung) < n_steps
    }
    return trial


def time_stretch(study: optuna.Study, curve: list[float], first: int, n_asked: int) -> float:
    """Give the mean milliseconds of a decision in a stretch of a training."""
    asked = study.ask(SPACE)
    add_reports(study._storage, asked._trial_id, curve[:first])
    trial = optuna.Trial(study, asked._trial_id)
    reports = trial._cached_frozen_trial.intermediate_values
    seconds = 0.0
    if first > 0:
        trial.should_prune()  # What has passed is judged once: it is not of this stretch.
    for step in range(first, first + n_asked):
        reports[step] = curve[step]
        start = clock()
        trial.should_prune()
        seconds += clock() - start
    study.tell(trial, curve[first + n_asked - 1], state=TrialState.COMPLETE)
    return 1000.0 * seconds / n_asked


def time_trial(study: optuna.Study, curve: list[float], is_stock: bool) -> float:
    if len(curve) <= SHORT:
        return time_stretch(study, curve, 0, len(curve))
    firsts = [int(position * len(curve)) for position in POSITIONS]
    widths = [N_ASKED if is_stock else max(N_ASKED, first // 50) for first in firsts]
    stretches = zip(firsts, widths, strict=True)
    return float(np.mean([time_stretch(study, curve, *stretch) for stretch in stretches]))


def measure(storage: BaseStorage, name: str, n_steps: int) -> dict[str, float]:
    """Give the milliseconds of a decision of each pruner."""
    studies = {
        pruner: optuna.load_study(
            study_name=name, storage=storage, sampler=RandomSampler(seed=0), pruner=made
        )
        for pruner, made in make_pruners(n_steps).items()
    }
    n_trials = 5 if n_steps <= SHORT else 1
    curves = make_curves((1 + n_trials) * len(studies), n_steps, seed=1)
    times: dict[str, list[float]] = {pruner: [] for pruner in studies}
    for turn, (pruner, study) in itertools.product(range(1 + n_trials), studies.items()):
        curve = next(curves)[1]
        if turn == 0:  # Reads the study and fits for the first time.
            time_stretch(study, curve, min(n_steps // 2, SHORT), 2)
        else:
            is_stock = type(study.pruner).__module__.startswith("optuna.")
            times[pruner].append(time_trial(study, curve, is_stock))
    return {pruner: float(np.median(found)) for pruner, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storages", nargs="*", choices=STORAGES, default=list(STORAGES))
    parser.add_argument("--completed", nargs="*", type=int, default=list(COMPLETED))
    parser.add_argument("--steps", nargs="*", type=int, default=list(STEPS))
    parser.add_argument("--most", type=int, default=MOST, help="of reports in a study")
    parser.add_argument("--server", nargs="*", type=server, default=[], metavar="NAME=URL")
    parser.add_argument("--processor", action="store_true", help="time of the processor")
    args = parser.parse_args()
    if args.processor:
        global clock
        clock = time.process_time
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # MedianPruner's, of steps that nobody has reported.
    warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
    names = list(make_pruners(STEPS[0]))
    print("Milliseconds per `should_prune`, mean over a training, and beside Median's\n")
    print("|", " | ".join(["storage", "completed", "steps", *names]), "|")
    print("|", " | ".join(["---"] * (3 + len(names))), "|")
    left_out = set()
    with start_storages(args.storages, dict(args.server)) as storages:
        for kind, n, n_steps in itertools.product(args.storages, args.completed, args.steps):
            if n * n_steps > args.most:
                left_out.add(f"{n:,} x {n_steps:,}")
                continue
            with storages.study(
                kind, n, 0, n_steps, lambda name, trial, t=n_steps: with_results(name, trial, t)
            ) as (storage, name):
                times = measure(storage, name, n_steps)
            cells = [
                f"{ms:.3f}" if name == PEER else f"{ms:.3f} ({ms / times[PEER]:.2f}x)"
                for name, ms in times.items()
            ]
            print("|", " | ".join([kind, f"{n:,}", f"{n_steps:,}", *cells]), "|", flush=True)
    if left_out:
        print(
            "\nLeft out, as they take minutes only to write (`--most`): trials x steps "
            + ", ".join(sorted(left_out))
        )


if __name__ == "__main__":
    main()
