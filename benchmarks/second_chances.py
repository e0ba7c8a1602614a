"""What it brings and costs to go on with stopped trials.

Each set of recorded curves is a study of 200 trials in random order, by a plain Optuna study with
the default pruner. Then `finish` goes on with the stopped trials that are worth it. What is
printed, without and with the steps of `finish`: how many times fewer steps were trained than in
full, how often the best trial was completed, and how far the best completed value is from the
best one, in interquartile ranges of the final values (at most 1).

    python benchmarks/second_chances.py --curves DIR [--rules RULES] [--sets NAME ...]
        [--second-chances checkpoint retrain] [--n-orders 2] [--jobs 2]
    python benchmarks/second_chances.py --studies FOLDER [the same]
    python benchmarks/second_chances.py --cost

With checkpoints, a trial that goes on costs what is left of it; without, its whole training again.
`--studies` takes the Optuna files in a folder, those of `wild.py`: the trials that completed, with
the values that they returned. `--rules` as in `benchmarks/pruners.py`. `--cost` prints the
processor's time to assess stopped trials again, which is done once for each trial that ends where
stopped ones may go on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import tempfile
import time
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import create_trial
from optuna.trial import TrialState
from wild import find
from wild import without_repeated

from optuna_perfpred import finish
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import read_record
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


N_TRIALS = 200
SECOND_CHANCES = ("checkpoint", "retrain")
ORIGINAL = "original"


class Result(NamedTuple):
    speed_up: float
    best_kept: bool
    regret: float
    n_continued: int


class Recorded:
    """An objective that answers from recorded trials.

    Args:
        trials: The trials, in the order in which they are asked for.
        from_checkpoint: Whether a continued trial begins where the stopped one ended.
    """

    def __init__(self, trials: list[FrozenTrial], *, from_checkpoint: bool) -> None:
        self.trials = trials
        self.from_checkpoint = from_checkpoint
        self.n_steps = 0

    def __call__(self, trial: optuna.Trial) -> float:
        stopped = trial.user_attrs.get("perfpred:continues")
        earlier = None if stopped is None else trial.study.trials[stopped]
        number = trial.number if earlier is None else earlier.user_attrs[ORIGINAL]
        recorded = self.trials[number]
        trial.set_user_attr(ORIGINAL, number)
        for name, distribution in recorded.distributions.items():
            trial._suggest(name, distribution)
        known = {}
        if earlier is not None and self.from_checkpoint:
            known = earlier.intermediate_values
        for step, value in known.items():
            trial.report(value, step)
        steps = sorted(recorded.intermediate_values)
        for step in steps[len(known) :]:
            self.n_steps += 1
            trial.report(recorded.intermediate_values[step], step)
            if step != steps[-1] and trial.should_prune():
                raise optuna.TrialPruned
        return recorded.value


class Recording(NamedTuple):
    """Completed trials, and the rule that has not learned from them if another one than ours."""

    trials: list[FrozenTrial]
    direction: StudyDirection
    rule: Path | None = None


def measure(recording: Recording, second_chance: str, order: int) -> list[Result]:
    """Run a study of recorded trials in one order, and finish it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    trials = recording.trials
    drawn = np.random.default_rng(order).permutation(len(trials))[:N_TRIALS]
    trials = [trials[number] for number in drawn]
    rule = StoppingRule(recording.rule)
    study = optuna.create_study(
        direction=recording.direction,
        sampler=RandomSampler(seed=0),
        pruner=PerformancePredictionPruner(rule, second_chance="never"),
    )
    objective = Recorded(trials, from_checkpoint=second_chance == "checkpoint")
    for trial in trials:
        study.enqueue_trial(trial.params)
    study.optimize(objective, n_trials=len(trials))
    finals = np.array([trial.value for trial in trials])
    n_steps = sum(len(trial.intermediate_values) for trial in trials)

    def result(n_continued: int) -> Result:
        best = max(finals) if study.direction == StudyDirection.MAXIMIZE else min(finals)
        spread = float(np.subtract(*np.quantile(finals, [0.75, 0.25]))) or 1e-9
        regret = min(1.0, abs(best - study.best_value) / spread)
        return Result(n_steps / objective.n_steps, regret <= 1e-9, regret, n_continued)

    before = result(0)
    study.pruner = PerformancePredictionPruner(rule, second_chance=second_chance)
    finished = finish(study, objective)
    return [before, result(finished.n_trials)]


def read_curves(folder: Path, sets: list[str] | None, rules: Path | None) -> list[Recording]:
    """Read recorded sets, one folder each."""
    recordings = []
    for path in sorted(path.parent for path in folder.glob("*/meta.json")):
        if sets is None or path.name in sets:
            study = load_curves(path)
            trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            rule = None if rules is None else rules / f"{path.name}.npz"
            recordings.append(Recording(trials, study.direction, rule))
    return recordings


def read_studies(folder: Path) -> list[Recording]:
    """Read copies of Optuna's files."""
    with tempfile.TemporaryDirectory() as copies:
        found = [study for study in find(folder, Path(copies)) if study.is_replayable]
    return [Recording(study.curves, study.direction) for study in without_repeated(found)]


def print_results(args: argparse.Namespace) -> None:
    if args.studies is None:
        recordings = read_curves(args.curves, args.sets, args.rules)
    else:
        recordings = read_studies(args.studies)
    print(f"{len(recordings)} sets, {args.n_orders} orders each")
    print("| | speed-up | best kept | regret / IQR | trials that went on |")
    print("| --- | --- | --- | --- | --- |")
    for second_chance in args.second_chances:
        results = Parallel(n_jobs=args.jobs)(
            delayed(measure)(recording, second_chance, order)
            for recording in recordings
            for order in range(args.n_orders)
        )
        for row, name in enumerate(("before", f"`finish`, {second_chance}")):
            if row == 0 and second_chance != args.second_chances[0]:
                continue
            speed_up, kept, regret, n = np.array([r[row] for r in results], dtype=float).T
            print(
                f"| {name} | {np.exp(np.log(speed_up).mean()):.2f} | {kept.mean():.2f} | "
                f"{regret.mean():.3f} | {n.mean():.1f} |",
                flush=True,
            )


def print_cost() -> None:
    """Print what it costs to assess stopped trials again, beside one trial."""
    print("| stopped trials | ms of the processor | after what is learned was learned anew |")
    print("| --- | --- | --- |")
    for n in (1, 10, 100, 1_000):
        study = _pruned_study(n)
        forecaster = study.pruner._forecasters.of(study)
        chances = study.pruner._chances.of(study)
        trials = study.get_trials(deepcopy=False)
        pruned = tuple(read_record(t) for t in trials if t.state == TrialState.PRUNED)
        times = []
        for _ in range(7):
            completed = tuple(read_record(t) for t in trials if t.state == TrialState.COMPLETE)
            finished = FinishedTrials.of(completed, pruned)
            forecaster.forecast.learned_from(finished)
            for _ in range(2):  # Most trials that end change nothing in what is learned.
                start = time.process_time()
                found = chances.of(finished, trials)
                times.append(1e3 * (time.process_time() - start))
        anew, again = np.median(np.reshape(times, (-1, 2)), axis=0)
        print(f"| {len(found)} | {again:.1f} | {anew:.1f} |", flush=True)


def _pruned_study(n_stopped: int) -> optuna.Study:
    rng = np.random.default_rng(0)
    study = optuna.create_study(
        direction="maximize", pruner=PerformancePredictionPruner(second_chance="retrain")
    )
    distributions = {f"x{k}": FloatDistribution(0.0, 1.0) for k in range(7)}
    for number in range(50 + n_stopped):
        params = {name: float(rng.random()) for name in distributions}
        quality = np.mean(list(params.values()))
        curve = quality * (1.0 - 0.9 ** np.arange(1, 51)) + 0.01 * rng.normal(size=50)
        stopped = number >= 50
        curve = curve[: rng.integers(1, 30)] if stopped else curve
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if stopped else TrialState.COMPLETE,
                value=float(curve[-1]),
                params=params,
                distributions=distributions,
                intermediate_values=dict(enumerate(curve.tolist(), 1)),
            )
        )
    return study


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path)
    parser.add_argument("--studies", type=Path)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--rules", type=Path)
    parser.add_argument(
        "--second-chances", nargs="*", choices=SECOND_CHANCES, default=SECOND_CHANCES
    )
    parser.add_argument("--n-orders", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cost", action="store_true")
    args = parser.parse_args()
    if args.cost + (args.curves is not None) + (args.studies is not None) != 1:
        parser.error("give --curves, --studies or --cost")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.cost:
        print_cost()
    else:
        print_results(args)


if __name__ == "__main__":
    main()
