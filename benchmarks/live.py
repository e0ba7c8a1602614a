"""What the pruner saves of real trainings, which are repeated here and not replayed.

All configurations of a recording (`benchmarks/record_curves.py`) are trained anew in a random
order, in a study with the default pruner, one process a study:

    python benchmarks/live.py --output DIR [--curves benchmarks/curves] [--families NAME ...]
        [--rules RULES] [--n-seeds 5] [--n-trials N] [--jobs 2]

- speed-up: epochs of all trainings in full, over the epochs trained. In time: the duration that
  the trainings would have had in full, from the mean duration of their own epochs, over the
  duration of the study with all that the pruner and the storage take.
- regret: the distance between the best recorded value and the best completed one, in
  interquartile ranges of the recorded values; best kept: whether there is none.
- curves as recorded: the share of the trials whose values are, up to where they were stopped,
  exactly the recorded ones. On another machine a network's values may differ.

The stopping rule that comes with the package has learned from other trainings on the same data.
`--rules` gives for each family one that has not, `RULES/NAME.npz`, as
`benchmarks/stopping_rule/train.py` writes them. The result of each study is kept in `DIR`: start
the command again to go on with an interrupted run.
"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
import json
import math
import os
from pathlib import Path
import time
from typing import NamedTuple
from typing import TYPE_CHECKING


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy and torch are imported.

from _recording_families import FAMILIES
from _recording_family import Sizes
from _recording_study import CONFIGURATION
from _recording_study import NumberedSampler
from _recording_study import run_training
from _recording_study import SECONDS
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.trial import TrialState

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


CURVES = Path(__file__).parent / "curves"
HEADER = (
    "seed",
    "epochs",
    "speed-up",
    "speed-up in time",
    "best recorded",
    "best live",
    "regret / IQR",
    "best kept",
    "pruned",
    "curves as recorded",
)
FORMATS = (".0f", ".1f", ".1f", ".4f", ".4f", ".3f", ".2f", ".0%", ".0%")


class Training(NamedTuple):
    """A trial of a live study, beside the recorded one of the same configuration."""

    recorded: float
    value: float | None  # None if it was pruned.
    epochs: int
    seconds: float
    is_as_recorded: bool

    @classmethod
    def compare(cls, live: FrozenTrial, recorded: FrozenTrial) -> Training:
        values = live.intermediate_values
        return cls(
            float(recorded.values[0]),
            live.value if live.state == TrialState.COMPLETE else None,
            len(values),
            sum(live.user_attrs[SECONDS]),
            all(recorded.intermediate_values[step] == value for step, value in values.items()),
        )


class Result(NamedTuple):
    """A live study, beside the same trainings in full."""

    epochs: int
    full_epochs: int
    seconds: float
    full_seconds: float
    best_recorded: float
    best_live: float
    regret: float
    share_pruned: float
    share_as_recorded: float

    @property
    def numbers(self) -> list[float]:
        """The columns of the table, from the epochs on."""
        return [
            self.epochs,
            self.full_epochs / self.epochs,
            self.full_seconds / self.seconds,
            self.best_recorded,
            self.best_live,
            self.regret,
            float(self.regret <= 0.0),
            self.share_pruned,
            self.share_as_recorded,
        ]


def assess(trainings: list[Training], n_epochs: int, sign: float, seconds: float) -> Result:
    """Sum up a study that took so many seconds; the sign is -1 if values are minimized."""
    recorded = np.array([training.recorded for training in trainings])
    completed = [t.value for t in trainings if t.value is not None]
    best_recorded = sign * float(np.max(sign * recorded))
    best_live = sign * max(sign * value for value in completed)
    lower, upper = np.quantile(recorded, (0.25, 0.75))
    return Result(
        sum(training.epochs for training in trainings),
        n_epochs * len(trainings),
        seconds,
        sum(training.seconds / training.epochs for training in trainings) * n_epochs,
        best_recorded,
        best_live,
        sign * (best_recorded - best_live) / float(upper - lower) + 0.0,  # Not -0.0.
        1.0 - len(completed) / len(trainings),
        float(np.mean([training.is_as_recorded for training in trainings])),
    )


def run(folder: Path, seed: int, n_trials: int | None, rule: Path | None) -> Result:
    """Train the configurations of one recording in one order, with the pruner."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    sizes = Sizes(**{field.name: meta[field.name] for field in dataclasses.fields(Sizes)})
    family = FAMILIES[folder.name]
    recorded = load_curves(folder).get_trials(deepcopy=False)
    order = np.random.default_rng(seed).permutation(len(recorded))[:n_trials].tolist()
    pruner = PerformancePredictionPruner(None if rule is None else StoppingRule(rule))
    study = optuna.create_study(
        study_name=family.name,
        direction=family.direction,
        sampler=NumberedSampler(),
        pruner=pruner,
    )
    for configuration in order:
        study.enqueue_trial({}, user_attrs={CONFIGURATION: configuration})
    family.load(sizes)  # Whatever is trained, it takes the same time.
    start = time.perf_counter()
    study.optimize(partial(run_training, family=family, sizes=sizes), n_trials=len(order))
    seconds = time.perf_counter() - start
    pairs = zip(study.get_trials(deepcopy=False), order, strict=True)
    trainings = [
        Training.compare(trial, recorded[configuration]) for trial, configuration in pairs
    ]
    return assess(
        trainings, sizes.n_epochs, 1.0 if family.direction == "maximize" else -1.0, seconds
    )


def run_once(
    folder: Path, seed: int, n_trials: int | None, rule: Path | None, output: Path
) -> Result:
    """The result of a study, which is run if it has not been yet."""
    settings = {"n_trials": n_trials, "rule": None if rule is None else str(rule)}
    file = output / f"{folder.name}_{seed}.json"
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["settings"] != settings:
            raise ValueError(f"{file} is of a run with {kept['settings']}, not {settings}.")
        return Result(**kept["result"])
    result = run(folder, seed, n_trials, rule)
    text = json.dumps({"settings": settings, "result": result._asdict()}, indent=1)
    file.write_text(text + "\n", encoding="utf-8")
    return result


def print_table(name: str, results: dict[int, Result]) -> None:
    first = next(iter(results.values()))
    print(f"\n**{name}, {first.full_epochs} epochs in full**\n")
    print("|", " | ".join(HEADER), "|")
    print("|", " | ".join(["---"] * len(HEADER)), "|")
    rows = np.array([result.numbers for result in results.values()])
    for seed, row in zip(results, rows, strict=True):
        print("|", " | ".join([str(seed), *map(format, row.tolist(), FORMATS)]), "|")
    errors = rows.std(axis=0, ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0 * rows[0]
    means = [
        f"{format(mean, of)} ± {format(error, of)}"
        for mean, error, of in zip(
            rows.mean(axis=0).tolist(), errors.tolist(), FORMATS, strict=True
        )
    ]
    print("|", " | ".join(["**mean**", *means]), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="where results are kept")
    parser.add_argument("--curves", type=Path, default=CURVES, help="the recording")
    parser.add_argument("--families", nargs="*", choices=FAMILIES, help="default: all recorded")
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a family")
    parser.add_argument("--n-seeds", type=int, default=5)
    parser.add_argument("--n-trials", type=int, help="of each study; default: all recorded")
    parser.add_argument("--jobs", type=int, default=2, help="number of studies at a time")
    args = parser.parse_args()
    start = time.perf_counter()

    args.output.mkdir(parents=True, exist_ok=True)
    recorded = [name for name in FAMILIES if (args.curves / name / "meta.json").exists()]
    for name in args.families or recorded:
        rule = None if args.rules is None else args.rules / f"{name}.npz"
        results = Parallel(args.jobs)(
            delayed(run_once)(args.curves / name, seed, args.n_trials, rule, args.output)
            for seed in range(args.n_seeds)
        )
        print_table(name, dict(enumerate(results)))
    print("\nMeans ± standard errors.", end=" ")
    if args.rules is not None:
        print("Stopping rules that were trained without the family.", end=" ")
    print(f"{time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
