"""Studies with pruned and audited trials, and processes that go on with them."""

from __future__ import annotations

from contextlib import contextmanager
import functools
import math
import multiprocessing
import random
from typing import Any
from typing import TYPE_CHECKING

import optuna

from optuna_perfpred import PerformancePredictionPruner


if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.storages import BaseStorage

N_STEPS = 20
_context = multiprocessing.get_context("spawn")


def objective(trial: optuna.Trial) -> float:
    noise = random.Random(trial.number)
    end = trial.suggest_float("rate", 0.0, 1.0) ** 2 + 0.1
    value = math.nan
    for step in range(1, N_STEPS + 1):
        value = end + math.exp(-step / 5) + noise.gauss(0.0, 0.005)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


def make_study(storage: str | BaseStorage | None = None, *, name: str = "cnn") -> optuna.Study:
    """Make a study of 30 trials, of which some were pruned and some audited."""
    study = optuna.create_study(storage=storage, study_name=name)
    study.add_trials(_trials())
    return study


@functools.cache
def _trials() -> list[optuna.trial.FrozenTrial]:
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=PerformancePredictionPruner(audit_rate=0.3, seed=0),
    )
    study.optimize(objective, n_trials=30)
    return study.trials


@contextmanager
def writing_workers(storage: str, n_workers: int = 2) -> Iterator[Any]:
    """Have processes run trials of the study as long as the context lasts."""
    stop = _context.Event()
    workers = [_context.Process(target=_work, args=(storage, stop)) for _ in range(n_workers)]
    for worker in workers:
        worker.start()
    try:
        yield workers
        stop.set()
        for worker in workers:
            worker.join(120.0)
            assert worker.exitcode == 0
    finally:
        for worker in workers:
            worker.kill()


def _work(storage: str, stop: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(
        storage=storage,
        study_name="cnn",
        pruner=PerformancePredictionPruner(audit_rate=0.3),
    )
    while not stop.is_set():
        study.optimize(objective, n_trials=1)
        stop.wait(0.3)  # Real trainings leave the machine to a browser as well.
