"""What it costs to ask for an architecture of 12 layers.

    python benchmarks/nas_cost.py [--n-finished 100 1000 3000 10000]

Milliseconds that `study.ask` and `space.suggest` take together in a study with that many finished
trials, the mean of 20 trials, each of which is finished before the next one is asked for, and in
brackets those of them in which the processor worked for it. With the GP sampler 3 trials, and at
most 1,000 finished ones; as what is legal changes, it leaves most layers to random search. Beside
them what reading the finished trials costs, as `MedianPruner` does at each check; and the seconds
in which a worker that starts learns them all.
"""

from __future__ import annotations

import argparse
import os
from tempfile import TemporaryDirectory
import time


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported.

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import create_trial
from optuna.trial import TrialState

from optuna_perfpred import ArchitectureSampler
from optuna_perfpred import QLearningSampler
from optuna_perfpred.nas import BlockState
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import Layer
from optuna_perfpred.nas import Softmax


N_ASKED = 20
N_ASKED_OF_GP, N_FINISHED_OF_GP = 3, 1000
DEPTH = 12


class DeepSpace(ConvNetSpace):
    """Networks that all have as many layers."""

    def violation(self, state: BlockState, layer: Layer) -> str | None:
        if isinstance(layer, Softmax) and state.position < DEPTH - 1:
            return f"a network has {DEPTH} layers"
        return super().violation(state, layer)


def finished_trials(space: DeepSpace, n_trials: int) -> list[optuna.trial.FrozenTrial]:
    """Random architectures with random values."""
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(n_trials):
        params, distributions = {}, {}
        state = space.initial_state
        while not space.is_end(state):
            legal = space.legal_layers(state)
            layer = legal[rng.integers(len(legal))]
            name = space.parameter_name(state)
            params[name] = str(layer)
            distributions[name] = CategoricalDistribution([str(la) for la in legal])
            state = space.next_state(state, layer)
        trials.append(
            create_trial(value=rng.uniform(), params=params, distributions=distributions)
        )
    return trials


def seconds_to_ask(study: optuna.Study, space: DeepSpace) -> tuple[float, float]:
    """Of the clock and of the processor."""
    start, of_processor = time.perf_counter(), time.process_time()
    trial = study.ask()
    architecture = space.suggest(trial)
    seconds = time.perf_counter() - start, time.process_time() - of_processor
    assert architecture.num_layers == DEPTH
    study.tell(trial, trial.number % 7)
    return seconds


def seconds_to_read(study: optuna.Study) -> float:
    start = time.perf_counter()
    study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return time.perf_counter() - start


def measure(space: DeepSpace, storage: str | None, n_finished: int) -> list[str]:
    study = optuna.create_study(storage=storage)
    study.add_trials(finished_trials(space, n_finished))
    cells = []
    firsts = []
    for sampler in (
        RandomSampler(seed=0),
        TPESampler(seed=0),
        GPSampler(seed=0, warn_independent_sampling=False),
        QLearningSampler(space, seed=0),
        ArchitectureSampler(space, seed=0),
    ):
        if isinstance(sampler, GPSampler) and n_finished > N_FINISHED_OF_GP:
            cells.append("")
            continue
        n_asked = N_ASKED_OF_GP if isinstance(sampler, GPSampler) else N_ASKED
        study.sampler = sampler
        firsts.append(seconds_to_ask(study, space)[0])
        clock, processor = 1e3 * np.mean(
            [seconds_to_ask(study, space) for _ in range(n_asked)], axis=0
        )
        cells.append(f"{clock:.1f} ({processor:.1f})")
    study.sampler = RandomSampler(seed=0)
    reading = []
    for _ in range(N_ASKED):
        seconds_to_ask(study, space)
        reading.append(seconds_to_read(study))  # One trial is new, as for a pruner.
    return [*cells, f"{1e3 * np.mean(reading):.1f}", *(f"{first:.1f}" for first in firsts[-2:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-finished", type=int, nargs="+", default=[100, 1000, 3000, 10000])
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = DeepSpace(
        (3, 32, 32), 10, max_depth=DEPTH - 1, fully_connected=(), terminations=("SM",)
    )
    header = ["storage", "finished trials", "random, ms", "TPE, ms", "GP, ms"]
    header += ["Q-learning, ms", "ArchitectureSampler, ms", "reading the trials, ms"]
    header += ["a new worker's first with Q-learning, s", "with ArchitectureSampler, s"]
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for name in ("in memory", "SQLite"):
        for n_finished in args.n_finished:
            with TemporaryDirectory() as folder:
                storage = None if name == "in memory" else f"sqlite:///{folder}/study.db"
                cells = measure(space, storage, n_finished)
            print("|", " | ".join([name, str(n_finished), *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
