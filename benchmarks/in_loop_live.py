"""What a pruner finds in a given time, with TPE in the loop and real trainings.

Nothing is recorded or replayed: each study trains its own proposals for a minute, and all that the
sampler, the pruner and the storage take is time lost for training.

    python benchmarks/in_loop_live.py [--objectives digits fashion text] [--pruners NAME ...]
        [--seconds 60] [--seeds 10] [--rules RULES] [--jobs 2]

- digits: perceptrons of scikit-learn, cross-entropy. See `_in_loop_digits.py`.
- fashion: convolutional networks on Fashion-MNIST, accuracy (Debian package
  dataset-fashion-mnist).
- text: language models of the King James Bible, perplexity per character (bible-kjv).

Fashion and text are those of `record_curves.py` with fewer examples, so that on one core 30 to 60
full trainings take a minute. They need what `pip install ".[record]"` installs.

A training that is under way when the time is over is ended, and counts for nothing. Machines are
noisy: the pruners take turns, in another order with each seed. Studies of the same seed begin with
the same proposals, and the n-th trials of all have the same random numbers for their weights.

- best completed: the best value when the time is over, mean ± standard error over the seeds; nan
  if a study completed nothing.
- trials begun and completed, and the shares of the time spent in `should_prune` and for saving and
  loading checkpoints, which are saved after each epoch: means.
- paused in memory: by `optimize`, to which the trainings yield. Its pruner is not timed.

The stopping rule that comes with the package has learned from other trainings on the same data.
`--rules` gives for each objective one that has not: `RULES/digits_perceptrons.npz`,
`RULES/fashion_convnets.npz` and `RULES/kjv_language_models.npz`, as
`benchmarks/stopping_rule/train.py` writes them.

With the default options it takes 75 minutes.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
import dataclasses
import math
import os
from pathlib import Path
import tempfile
import time
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy and torch are imported.

from _in_loop_digits import FAMILY as DIGITS
from _in_loop_search import CONTINUES
from _recording_fashion import FAMILY as FASHION
from _recording_kjv import FAMILY as KJV
from _recording_study import seed_of
from in_loop import create_study
from in_loop import label
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.trial import TrialState

from optuna_perfpred import Checkpoint
from optuna_perfpred import optimize


if TYPE_CHECKING:
    from collections.abc import Iterator

    from _recording_family import Family


def smaller(family: Family, n_train: int, n_valid: int) -> Family:
    """The same trainings on fewer examples."""
    sizes = dataclasses.replace(family.sizes, n_train=n_train, n_valid=n_valid)
    return dataclasses.replace(family, sizes=sizes)


OBJECTIVES = {
    "digits": DIGITS,
    "fashion": smaller(FASHION, n_train=600, n_valid=1000),
    "text": smaller(KJV, n_train=320, n_valid=160),
}
CHECKPOINT, PAUSED = "ours_checkpoint", "ours_paused"
NAMES = ("none", "median_warmup", "hyperband", "ours", "ours_predicted", CHECKPOINT, PAUSED)


class OutOfTimeError(Exception):
    """Ends the training that is under way."""


class Clock:
    """Adds up the time spent inside of it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start


class Result(NamedTuple):
    """What a study has found."""

    best_value: float  # NaN if it completed nothing.
    n_trials: int
    n_completed: int
    pruner_share: float
    checkpoint_share: float


def run(objective: str, pruner: str, seed: int, seconds: float, rule: Path | None) -> Result:
    """Run one study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    family = OBJECTIVES[objective]
    sizes = family.sizes
    data = family.load(sizes)  # Takes no time of the study.
    study = create_study(
        family.name,
        family.direction,
        sizes.n_epochs,
        sampler="tpe",
        pruner="ours" if pruner == PAUSED else pruner,
        seed=seed,
        rule=rule,
    )
    in_pruner, in_checkpoint = Clock(), Clock()
    end = time.perf_counter() + seconds

    def begin(trial: optuna.Trial) -> Iterator[float]:
        number = trial.user_attrs.get(CONTINUES, trial.number)
        return family.train(trial, data, sizes, seed_of(family.name, seed, number))

    def end_if_late() -> None:
        if time.perf_counter() >= end:
            study.stop()
            raise OutOfTimeError

    def train(trial: optuna.Trial) -> float:
        values = begin(trial)
        with ExitStack() as stack:
            checkpoint, first, value = None, 1, math.nan
            if pruner == CHECKPOINT:
                with in_checkpoint:
                    checkpoint = stack.enter_context(Checkpoint(trial, folder))
                    state = checkpoint.load()
                    if state is not None:
                        values.load_state_dict(state)
                        first, value = checkpoint.start, checkpoint.value
            for epoch, value in enumerate(values, start=first):
                end_if_late()
                trial.report(value, epoch)
                if checkpoint is not None:
                    with in_checkpoint:
                        checkpoint.save(values.state_dict(), epoch)
                with in_pruner:
                    should_prune = trial.should_prune()
                if should_prune:
                    raise optuna.TrialPruned
        return value

    def pausing(trial: optuna.Trial) -> Iterator[tuple[int, float]]:
        for epoch, value in enumerate(begin(trial), start=1):
            end_if_late()
            yield epoch, value

    with tempfile.TemporaryDirectory() as folder:
        if pruner == PAUSED:
            optimize(study, pausing, timeout=seconds, catch=(OutOfTimeError,))
        else:
            study.optimize(train, timeout=seconds, catch=(OutOfTimeError,))
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return Result(
        study.best_value if completed else math.nan,
        len(study.get_trials(deepcopy=False)),
        len(completed),
        math.nan if pruner == PAUSED else in_pruner.seconds / seconds,
        in_checkpoint.seconds / seconds,
    )


def print_table(objective: str, n_seeds: int, results: dict[str, list[Result]]) -> None:
    family = OBJECTIVES[objective]
    header = [
        "pruner",
        "best completed",
        "trials begun",
        "completed",
        "time in the pruner",
        "saving and loading",
    ]
    seeds = "1 study" if n_seeds == 1 else f"{n_seeds} studies"
    print(f"\n**{objective}: {family.metric}, to {family.direction}; {seeds} a pruner**\n")
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for pruner, of_pruner in results.items():
        values, *numbers = np.array(of_pruner).T
        n_trials, n_completed, pruner_share, saving = (column.mean() for column in numbers)
        cells = [
            "ours, paused in memory" if pruner == PAUSED else label(pruner),
            mean_and_error(values),
            f"{n_trials:.1f}",
            f"{n_completed:.1f}",
            "" if math.isnan(pruner_share) else f"{pruner_share:.1%}",
            f"{saving:.1%}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


def mean_and_error(values: np.ndarray) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return f"{values.mean():.3f} ± {error:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objectives", nargs="*", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--pruners", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a study")
    parser.add_argument("--seeds", type=int, default=10, help="number of studies of a pruner")
    parser.add_argument("--rules", type=Path, help="rules that were not trained on an objective")
    parser.add_argument("--jobs", type=int, default=2, help="number of studies at a time")
    args = parser.parse_args()
    start = time.perf_counter()

    for objective in args.objectives:
        name = OBJECTIVES[objective].name
        rule = None if args.rules is None else args.rules / f"{name}.npz"
        tasks = [
            (str(pruner), seed)
            for seed in range(args.seeds)
            for pruner in np.random.default_rng(seed).permutation(args.pruners)
        ]
        results = Parallel(args.jobs, batch_size=1)(
            delayed(run)(objective, pruner, seed, args.seconds, rule) for pruner, seed in tasks
        )
        by_task = dict(zip(tasks, results, strict=True))
        by_pruner = {
            pruner: [by_task[pruner, seed] for seed in range(args.seeds)]
            for pruner in args.pruners
        }
        print_table(objective, args.seeds, by_pruner)
    print(f"\n{args.seconds:g} s a study, {args.jobs} at a time. Mean ± standard error.", end=" ")
    if args.rules is not None:
        print("Stopping rules that were trained without the objective.", end=" ")
    print(f"{time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
