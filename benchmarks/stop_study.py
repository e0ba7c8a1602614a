"""What more trials of a study are said to be worth, what they were worth, and when to stop it.

Each set of recorded curves is a study of Optuna's with the default pruner, in a random order, and
in one like TPE's: TPE proposes, and the nearest recorded configuration that was not drawn yet is
trained, until half of them are drawn. After each trial `ExpectedImprovementCallback` is asked.

    python benchmarks/stop_study.py [--curves DIR ...] [--rules RULES] [--sets NAME ...]
        [--orders random tpe] [--seeds 1] [--every 5] [--no-terminator] [--jobs 1]

- Promised and real: the improvement of the best value by the next 10 whole trainings, as it was
  expected and as it came, where the study went on for that long; fifths by what was promised.
- Stopped: the share of the steps that is saved by stopping at the first answer below a share of
  the interquartile range of the values so far, and by how much the best value is worse than at
  the end, mean and largest one of all studies.
- Optuna's terminator, deprecated, is asked after the same trials (each `--every`-th, as it takes
  seconds): the regret bound beside the median of its first ones, its way without cross-validation,
  and the number of trials without a new best. It counts completed trials alone, of which a pruner
  leaves few, so it also stands beside a study without pruning.
- All values are in interquartile ranges of the set's final values. `--rules` as in
  `benchmarks/pruners.py`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from _in_loop_surrogate import NeighbourSurrogate
from _in_loop_surrogate import UnsuitableSetError
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.terminator import BestValueStagnationEvaluator
from optuna.terminator import MedianErrorEvaluator
from optuna.terminator import RegretBoundEvaluator
from optuna.terminator import Terminator
from optuna.trial import TrialState

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.optimization import expected_improvement
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


CURVES = Path(__file__).parent / "curves"
N_TRIALS = 200
N_TRAININGS = 10
N_STARTUP_TRIALS = 20
THRESHOLDS = (0.005, 0.01, 0.02)
STAGNATION = (30, 50)
TERMINATOR = "Optuna's terminator, regret bound"


class Answer(NamedTuple):
    """What was known after a trial; values in interquartile ranges, larger is better."""

    n_steps: int
    best: float
    promised: float
    threshold_unit: float
    stop: dict[str, bool]


class Outcome(NamedTuple):
    name: str
    order: str
    pruned: bool
    n_steps: int  # Of one whole training.
    answers: list[Answer]


class Recorded:
    """An objective that answers from recorded trials: in an order, or the nearest to a proposal.

    Args:
        trials: The trials.
        surrogate: Scales configurations; None for the order of the trials.
    """

    def __init__(self, trials: list[FrozenTrial], surrogate: NeighbourSurrogate | None) -> None:
        self.trials = trials
        self.surrogate = surrogate
        self.n_steps = 0
        if surrogate is not None:
            self.points = np.array([surrogate._point(trial.params) for trial in trials])
            self.is_left = np.ones(len(trials), dtype=bool)

    def _draw(self, trial: optuna.Trial) -> FrozenTrial:
        if self.surrogate is None:
            recorded = self.trials[trial.number]
            for name, distribution in recorded.distributions.items():
                trial._suggest(name, distribution)
            return recorded
        space = self.surrogate.distributions
        params = {name: trial._suggest(name, space[name]) for name in space}
        distances = ((self.points - self.surrogate._point(params)) ** 2).sum(axis=1)
        nearest = int(np.argmin(np.where(self.is_left, distances, np.inf)))
        self.is_left[nearest] = False
        return self.trials[nearest]

    def __call__(self, trial: optuna.Trial) -> float:
        recorded = self._draw(trial)
        reports = sorted(recorded.intermediate_values.items())
        for number, (step, value) in enumerate(reports, 1):
            self.n_steps += 1
            trial.report(value, step)
            if number < len(reports) and trial.should_prune():
                raise optuna.TrialPruned
        return recorded.value


def terminators() -> dict[str, Terminator]:
    found = {
        f"no new best in {n} completed trials": Terminator(BestValueStagnationEvaluator(n))
        for n in STAGNATION
    }
    bound = RegretBoundEvaluator(seed=0)
    return {TERMINATOR: Terminator(bound, MedianErrorEvaluator(bound)), **found}


def run(
    path: Path, order: str, seed: int, rule: Path | None, *, pruned: bool, every: int | None
) -> Outcome | None:
    """Run one study; None if the set does not suit."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    curves = load_curves(path)
    trials = curves.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    finals = np.array([trial.value for trial in trials])
    sign = 1.0 if curves.direction.name == "MAXIMIZE" else -1.0
    spread = float(np.subtract(*np.quantile(finals, [0.75, 0.25])))
    surrogate = None
    if order == "tpe":
        try:
            surrogate = NeighbourSurrogate(path)
        except UnsuitableSetError:
            return None
        trials = [t for t in trials if all(name in t.params for name in surrogate.distributions)]
    n_drawn = min(N_TRIALS, len(trials) // (2 if order == "tpe" else 1))
    if n_drawn < 2 * N_STARTUP_TRIALS or not spread > 0.0:
        return None
    if order == "random":
        drawn = np.random.default_rng(seed).permutation(len(trials))[:n_drawn]
        trials = [trials[number] for number in drawn]
    study = optuna.create_study(
        direction=curves.direction,
        sampler=RandomSampler(seed=seed) if order == "random" else TPESampler(seed=seed),
        pruner=PerformancePredictionPruner(StoppingRule(rule)) if pruned else NopPruner(),
    )
    if order == "random":
        for trial in trials:
            study.enqueue_trial(trial.params)
    objective, answers, asked = Recorded(trials, surrogate), [], terminators()

    def note(study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.number + 1 < N_STARTUP_TRIALS:
            return
        expected = expected_improvement(study, n_trainings=N_TRAININGS)
        stop = {}
        if every is not None and trial.number % every == 0:
            for name, terminator in asked.items():
                try:
                    stop[name] = terminator.should_terminate(study)
                except ValueError:  # No parameter that all trials have.
                    stop[name] = False
        if expected is None:
            return
        answers.append(
            Answer(
                objective.n_steps,
                sign * expected.best_value / spread,
                expected.improvement / spread,
                expected.spread / spread,
                stop,
            )
        )

    study.optimize(objective, n_trials=n_drawn, callbacks=[note])
    n_steps = max(len(trial.intermediate_values) for trial in trials)
    return Outcome(path.name, order, pruned, n_steps, answers) if answers else None


def print_promises(outcomes: list[Outcome]) -> None:
    print(f"\nThe next {N_TRAININGS} trainings, in interquartile ranges of the final values\n")
    print("| order | | all | by fifths of what was promised |")
    print("| --- | --- | --- | --- |")
    for order in dict.fromkeys(o.order for o in outcomes):
        pairs = []
        for outcome in (o for o in outcomes if o.order == order and o.pruned):
            steps = np.array([answer.n_steps for answer in outcome.answers])
            best = np.array([answer.best for answer in outcome.answers])
            then = steps + N_TRAININGS * outcome.n_steps
            for row in np.flatnonzero(then <= steps[-1]):
                at = int(np.searchsorted(steps, then[row], side="right")) - 1
                pairs.append((outcome.answers[row].promised, best[at] - best[row]))
        if not pairs:
            continue
        ascending = np.array(sorted(pairs))
        fifths = [part.mean(axis=0) for part in np.array_split(ascending, 5)]
        for column, name in enumerate(("promised", "real")):
            cells = " / ".join(f"{part[column]:.4f}" for part in fifths)
            print(f"| {order} | {name} | {ascending[:, column].mean():.4f} | {cells} |")


def print_stops(outcomes: list[Outcome]) -> None:
    print("\nStopping the study\n")
    print("| order | pruner | rule | steps saved | regret | largest | studies stopped |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for order, pruned in dict.fromkeys((o.order, o.pruned) for o in outcomes):
        chosen = [o for o in outcomes if (o.order, o.pruned) == (order, pruned)]
        rules = {
            f"expected improvement < {share:.2%} of the spread": [
                [a.promised < share * a.threshold_unit for a in o.answers] for o in chosen
            ]
            for share in THRESHOLDS
        }
        for name in {name: None for o in chosen for a in o.answers for name in a.stop}:
            rules[name] = [[a.stop.get(name, False) for a in o.answers] for o in chosen]
        for name, stops in rules.items():
            found = []
            for outcome, stop in zip(chosen, stops, strict=True):
                last = outcome.answers[-1]
                at = outcome.answers[stop.index(True)] if any(stop) else last
                found.append((1.0 - at.n_steps / last.n_steps, last.best - at.best, any(stop)))
            saved, regret, stopped = np.array(found, dtype=float).T
            print(
                f"| {order} | {'ours' if pruned else 'none'} | {name} | {saved.mean():.0%} "
                f"| {regret.mean():.4f} | {regret.max():.3f} "
                f"| {stopped.mean():.0%} of {len(found)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, nargs="*", default=[CURVES])
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--orders", nargs="*", default=["random", "tpe"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--no-terminator", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    paths = [p.parent for folder in args.curves for p in sorted(folder.glob("*/meta.json"))]
    paths = [p for p in paths if args.sets is None or p.name in args.sets]
    every = None if args.no_terminator else args.every
    rules = {p: args.rules and args.rules / f"{p.name}.npz" for p in paths}
    results = Parallel(n_jobs=args.jobs)(
        delayed(run)(path, order, seed, rules[path], pruned=pruned, every=every)
        for order in args.orders
        for pruned in ((True,) if args.no_terminator else (True, False))
        for path in paths
        for seed in range(args.seeds)
    )
    outcomes = [outcome for outcome in results if outcome is not None]
    print(f"{len(paths)} sets, {args.seeds} seeds, {len(outcomes)} studies")
    print_promises(outcomes)
    print_stops(outcomes)


if __name__ == "__main__":
    main()
