"""Whether `max_risk` keeps what it promises, and what it buys.

`max_risk` bounds the probability that a stopped trial would have become the best of its study.
Each study here is one whose trials' ends are all known, so that it can be told whether its best
trial was stopped: the share of studies in which it was is the realised risk.

- Random order: recorded curves, replayed through a real Optuna study.
- Sampler in the loop: a sampler proposes, a surrogate of the curves answers, as in `in_loop.py`.

    python benchmarks/max_risk.py --curves DIR [--rules RULES] [--sets NAME ...]
        [--max-risks 0.05 0.1 0.2] [--confidences 0.5 0.7 0.8 0.9] [--workers 1 8]
        [--samplers none tpe] [--n-orders 8] [--n-trials 60] [--budget 20] [--jobs 2]

`DIR` is a folder with one folder a set. `--rules` gives for each set a stopping rule that was
trained without its kind, `RULES/NAME.npz`: to promise something of studies that the rule was
trained on is no art. The sets of a family begin with the same word, as `dopamine_boxing`.

- Speed-up: steps of the trials without pruning by those that were trained. With a sampler in the
  loop, which spends a budget of full trainings whatever is pruned: trials begun and ended by full
  trainings spent.
- The best trial counts as kept if it, or one that ended as well, was completed.
- `confidence` is what one sets by hand. What it reaches at the realised risk of a `max_risk` is
  interpolated between the rows, the logarithm of the speed-up linearly in the realised risk.
- Curves of more than 20 steps are looked at about 20 times.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
import os
from pathlib import Path
import time
from typing import NamedTuple
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from _in_loop_search import Search
from _in_loop_surrogate import UnsuitableSetError
from in_loop import load as load_surrogate
from in_loop import SAMPLERS
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.trial import TrialState
from pruners import load as load_recording

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.replay import replay


N_CHECKS = 20


class Row(NamedTuple):
    """The one argument of the pruner that differs between rows; both None for its defaults."""

    max_risk: float | None = None
    confidence: float | None = None

    def __str__(self) -> str:
        if self.max_risk is not None:
            return f"**`max_risk={self.max_risk:g}`**"
        return "default" if self.confidence is None else f"`confidence={self.confidence:g}`"


class Result(NamedTuple):
    log_speed_up: float
    is_best_stopped: bool


class Args(argparse.Namespace):
    curves: Path
    rules: Path | None
    sets: list[str] | None
    max_risks: list[float]
    confidences: list[float]
    workers: list[int]
    samplers: list[str]
    n_orders: int
    n_trials: int
    budget: int
    jobs: int


def make_pruner(row: Row, n_steps: int, rule: Path | None) -> PerformancePredictionPruner:
    return PerformancePredictionPruner(
        StoppingRule(rule),
        interval_steps=max(1, n_steps // N_CHECKS),
        max_risk=row.max_risk,
        confidence=row.confidence,
    )


def replay_once(folder: Path, row: Row, n_workers: int, seed: int, args: Args) -> Result:
    """Replay a set once in a random order."""
    study, curves = load_recording(folder)
    report = replay(
        study,
        make_pruner(row, curves.n_reports, rule_of(folder, args)),
        order="random",
        seed=seed,
        n_trials=args.n_trials,
        n_workers=n_workers,
    )
    return Result(float(np.log(report.speed_up)), not report.repeats[0].best_kept)


def search_once(
    folder: Path, row: Row, sampler: str, n_workers: int, seed: int, args: Args
) -> Result:
    """Search a surrogate of a set once."""
    surrogate = load_surrogate(folder)
    study = optuna.create_study(
        study_name=f"{folder.name}-{seed}",
        direction=surrogate.direction,
        sampler=SAMPLERS[sampler][1](seed=seed),
        pruner=make_pruner(row, surrogate.n_steps, rule_of(folder, args)),
    )
    budget = args.budget * max(1, n_workers // 4)
    Search(study, surrogate).run([budget], n_workers)
    sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
    ended = [trial for trial in study.trials if trial.state.is_finished()]
    ends = {
        state: [sign * float(surrogate.curve(t.params)[-1]) for t in ended if t.state == state]
        for state in (TrialState.COMPLETE, TrialState.PRUNED)
    }
    n_steps = sum(len(trial.intermediate_values) for trial in ended)
    best_stopped = max(ends[TrialState.PRUNED], default=-np.inf)
    return Result(
        float(np.log(len(ended) * surrogate.n_steps / n_steps)),
        bool(best_stopped > max(ends[TrialState.COMPLETE])),
    )


def run(folder: Path, row: Row, sampler: str, n_workers: int, seed: int, args: Args) -> Result:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if sampler == "none":
        return replay_once(folder, row, n_workers, seed, args)
    return search_once(folder, row, sampler, n_workers, seed, args)


def rule_of(folder: Path, args: Args) -> Path | None:
    return None if args.rules is None else args.rules / f"{folder.name}.npz"


def family(folder: Path) -> str:
    return folder.name.partition("_")[0]


def print_table(
    title: str, rows: dict[Row, dict[Path, list[Result]]]
) -> dict[Row, tuple[float, float]]:
    """Print promised and realised risk by family; give the realised one and the speed-up."""
    folders = next(iter(rows.values()))
    families = sorted({family(folder) for folder in folders})
    n_studies = {f: sum(len(r) for p, r in folders.items() if family(p) == f) for f in families}
    print(f"\n**{title}**\n")
    header = [f"{f} ({n})" for f, n in n_studies.items()]
    print("| pruner | speed-up | best stopped |", " | ".join(header), "|")
    print("|", " | ".join(["---"] * (3 + len(families))), "|")
    reached = {}
    for row, by_folder in rows.items():
        of_family = defaultdict(list)
        for folder, results in by_folder.items():
            of_family[family(folder)] += results
        everything = [result for results in by_folder.values() for result in results]
        speed_up = float(np.exp(np.mean([result.log_speed_up for result in everything])))
        risk = float(np.mean([result.is_best_stopped for result in everything]))
        reached[row] = risk, speed_up
        cells = [
            f"{100.0 * np.mean([r.is_best_stopped for r in of_family[f]]):.1f} % "
            f"({np.exp(np.mean([r.log_speed_up for r in of_family[f]])):.2f} x)"
            for f in families
        ]
        told = [str(row), f"{speed_up:.2f}", f"{100.0 * risk:.1f} %", *cells]
        print("|", " | ".join(told), "|", flush=True)
    return reached


def compare(reached: dict[Row, tuple[float, float]]) -> None:
    """Print what `confidence` reaches at the realised risks of `max_risk`."""
    by_hand = sorted(v for row, v in reached.items() if row.confidence is not None)
    if len(by_hand) < 2:
        return
    risks, speed_ups = np.array(by_hand).T
    for row, (risk, speed_up) in reached.items():
        if row.max_risk is not None:
            at_same = float(np.exp(np.interp(risk, risks, np.log(speed_ups))))
            print(
                f"\n{row}: {speed_up:.2f} times as fast, best stopped in {100.0 * risk:.1f} %; "
                f"`confidence` set by hand to stop it as often: {at_same:.2f} "
                f"(ratio {speed_up / at_same:.2f})."
            )


def find_sets(args: Args, sampler: str) -> list[Path]:
    folders = sorted(path.parent for path in args.curves.glob("*/meta.json"))
    folders = [f for f in folders if args.sets is None or f.name in args.sets]
    suitable = []
    for folder in folders:
        try:
            if sampler != "none":
                load_surrogate(folder)  # Processes are forked and so have it.
        except UnsuitableSetError:
            continue
        suitable.append(folder)
    if not suitable:
        raise ValueError(f"There is no set to search in {str(args.curves)!r}.")
    return suitable


def parse_args() -> Args:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a set's kind")
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--max-risks", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    parser.add_argument("--confidences", type=float, nargs="*", default=[0.5, 0.7, 0.8, 0.9])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--samplers", nargs="*", default=["none", "tpe"])
    parser.add_argument("--n-orders", type=int, default=8, help="studies of a set")
    parser.add_argument("--n-trials", type=int, default=60)
    parser.add_argument("--budget", type=int, default=20, help="full trainings of a search")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(namespace=Args())


def main() -> None:
    args = parse_args()
    start = time.perf_counter()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = [Row(max_risk=risk) for risk in args.max_risks]
    rows += [Row(confidence=confidence) for confidence in args.confidences]
    rows += [Row()]
    for sampler in args.samplers:
        folders = find_sets(args, sampler)
        for n_workers in args.workers:
            # One set after the other, which is read once.
            tasks = [
                (f, row, seed) for f in folders for row in rows for seed in range(args.n_orders)
            ]
            results = Parallel(args.jobs, backend="multiprocessing")(
                delayed(run)(folder, row, sampler, n_workers, seed, args)
                for folder, row, seed in tasks
            )
            table: dict[Row, dict[Path, list[Result]]] = {
                row: {folder: [] for folder in folders} for row in rows
            }
            for (folder, row, _), result in zip(tasks, results, strict=True):
                table[row][folder].append(result)
            name = "random order" if sampler == "none" else f"{SAMPLERS[sampler][0]} in the loop"
            workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"
            compare(print_table(f"{name}, {workers}: {len(folders)} sets", table))
    print(f"\n{args.n_orders} studies of each set. {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
