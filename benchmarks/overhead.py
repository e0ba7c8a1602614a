"""What a decision costs, and a replay.

All pruners in one run on the same curves, in memory: 200 trials of 50 steps with three
parameters. No trial is pruned, so that each pruner decides 10,000 times and ours refits as often
as it ever does. The curves are made by a formula, because only the time matters here.

    python benchmarks/overhead.py [--n-trials 200] [--n-steps 50]
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import create_trial
from optuna.trial import TrialState

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.history import read_record
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.replay import replay


if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner


SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
    "layers": IntDistribution(1, 9),
    "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
}
# No probability is smaller than what this leaves over: all decisions are taken, none is to prune.
NEVER = 1.0 - 2.0**-53


def make_curves(n_trials: int, n_steps: int) -> Iterator[tuple[dict[str, object], list[float]]]:
    rng = np.random.default_rng(0)
    for _ in range(n_trials):
        exponent = rng.uniform(-4.0, 0.0)
        end = 1.0 - abs(exponent + 2.0) / 4.0
        params: dict[str, object] = {
            "learning_rate": float(10.0**exponent),
            "layers": int(rng.integers(1, 10)),
            "optimizer": str(rng.choice(["adam", "sgd", "rmsprop"])),
        }
        progress = 1.0 - np.exp(-np.arange(1, n_steps + 1) / 10.0)
        yield params, (end * progress + 0.01 * rng.normal(size=n_steps)).tolist()


def time_decisions(pruner: BasePruner, n_trials: int, n_steps: int) -> list[float]:
    """Give the seconds of each `should_prune`."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    seconds = []
    for params, curve in make_curves(n_trials, n_steps):
        study.enqueue_trial(params)
        trial = study.ask(SPACE)
        for step, value in enumerate(curve):
            trial.report(value, step)
            start = time.perf_counter()
            trial.should_prune()
            seconds.append(time.perf_counter() - start)
        study.tell(trial, curve[-1], state=TrialState.COMPLETE)
    return seconds


def recorded_study(n_trials: int, n_steps: int) -> optuna.Study:
    """Give a study in which all trials are complete."""
    study = optuna.create_study(direction="maximize")
    for params, curve in make_curves(n_trials, n_steps):
        study.add_trial(
            create_trial(
                value=curve[-1],
                params=params,
                distributions=SPACE,
                intermediate_values=dict(enumerate(curve)),
            )
        )
    return study


def time_refit(n_trials: int, n_steps: int) -> tuple[float, float]:
    """Give the seconds to fit all models of `SequentialRegression()`, and the slowest one."""
    study = recorded_study(n_trials, n_steps)
    start = time.perf_counter()
    data = TrainingSet([read_record(trial) for trial in study.trials], sign=1.0)
    predictor = SequentialRegression().fit(data.configurations, data.curves, data.finals)
    slowest = time.perf_counter() - start
    for length in range(1, n_steps):
        model_start = time.perf_counter()
        partial = data.curves[:1].copy()
        partial[:, length:] = np.nan
        predictor.predict(data.configurations[:1], partial)
        slowest = max(slowest, time.perf_counter() - model_start)
    return time.perf_counter() - start, slowest


def time_replay(n_trials: int = 1000, n_steps: int = 50) -> None:
    """Print what it takes to replay a long study against five pruners."""
    study = recorded_study(n_trials, n_steps)
    pruners = (
        optuna.pruners.MedianPruner(),
        optuna.pruners.PercentilePruner(75.0),
        optuna.pruners.SuccessiveHalvingPruner(),
        optuna.pruners.HyperbandPruner(),
        PerformancePredictionPruner(),
    )
    start = time.perf_counter()
    reports = [replay(study, pruner) for pruner in pruners]
    seconds = time.perf_counter() - start
    ours = reports[-1]
    print(
        f"Replay of {n_trials} trials × {n_steps} steps against five pruners: {seconds:.1f} s; "
        f"ours in it: {1000.0 * ours.pruner_seconds / ours.n_checks:.2f} ms a check"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-trials", type=int, default=200)
    parser.add_argument("--n-steps", type=int, default=50)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    pruners = {
        "`NopPruner`": optuna.pruners.NopPruner(),
        "`MedianPruner`": optuna.pruners.MedianPruner(n_startup_trials=10),
        "`HyperbandPruner`": optuna.pruners.HyperbandPruner(),
        "`PerformancePredictionPruner`": PerformancePredictionPruner(confidence=NEVER),
        "`PerformancePredictionPruner(SequentialRegression())`": PerformancePredictionPruner(
            SequentialRegression(), confidence=NEVER
        ),
        "`PerformancePredictionPruner`, no decision due": PerformancePredictionPruner(
            n_warmup_steps=args.n_steps
        ),
    }
    print(f"{args.n_trials} trials × {args.n_steps} steps, in memory\n")
    print("| pruner | mean ms per `should_prune` | 99th percentile | beside Median |")
    print("| --- | --- | --- | --- |")
    milliseconds = {
        name: 1000.0 * np.array(time_decisions(pruner, args.n_trials, args.n_steps))
        for name, pruner in pruners.items()
    }
    median = milliseconds["`MedianPruner`"].mean()
    for name, times in milliseconds.items():
        cells = [f"{times.mean():.3f}", f"{np.percentile(times, 99):.2f}"]
        print(f"| {name} |", " | ".join(cells), f"| {times.mean() / median:.2f}× |")
    refit, slowest = time_refit(args.n_trials, args.n_steps)
    print(
        f"\nOne refit of `SequentialRegression()`, all {args.n_steps - 1} models: {refit:.3f} s; "
        f"the longest that one decision waits for: {1000.0 * slowest:.1f} ms"
    )
    time_replay()


if __name__ == "__main__":
    main()
