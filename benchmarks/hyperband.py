"""Compare f-Hyperband with Hyperband on recorded learning curves.

Prints, for each set and over all of them, what `FastHyperbandPruner` saves of the steps that
`HyperbandPruner` trains on equal configurations in equal random orders, and what it loses: how far
the best completed trial is from the best of all trials (regret, in interquartile ranges of the
final values), and how often the best trial was completed. `keep` is κ of the paper.

"Warm" is started with an earlier study: half of the set's curves at random, trained in full
without pruning. The new study runs the other half, and so does the Hyperband it is compared with.
"Of both" is the regret of one who then takes the better one of the earlier study's best trial and
the new one's, beside the best trial of both: what an earlier study's best trial already is worth
need not be found again.

    python benchmarks/hyperband.py --curves DIR --rules RULES

The stopping rule that comes with the package was trained on the public sets that the README
names. On these, `--rules` gives for each set one that was not trained on it, `RULES/NAME.npz`, as
`benchmarks/stopping_rule/train.py` writes them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from functools import lru_cache
import math
import os
from pathlib import Path
import time
from typing import NamedTuple
from typing import TYPE_CHECKING


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred import FastHyperbandPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred import StoppingRule
from optuna_perfpred.replay import load_curves
from optuna_perfpred.replay import replay


if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner


N_TRIALS = 200
KEEPS = (1.0, 0.5, 0.1)
HYPERBAND = "Hyperband"


class Variant(NamedTuple):
    keep: float | None
    warm: bool
    predictor: str = "rule"

    @property
    def name(self) -> str:
        start = "warm" if self.warm else "cold"
        if self.keep is None:
            return f"{HYPERBAND}, {start}'s trials"
        regression = ", ridge" if self.predictor == "ridge" else ""
        return f"f-Hyperband, κ = {self.keep:g}, {start}{regression}"


VARIANTS = [Variant(keep, warm) for warm in (False, True) for keep in (None, *KEEPS)]
VARIANTS.insert(4, Variant(1.0, False, "ridge"))
VARIANTS.append(Variant(1.0, True, "ridge"))


class Result(NamedTuple):
    steps: float
    speed_up: float
    best: float
    regret: float
    regret_of_both: float
    best_kept: float
    ms_a_check: float


@lru_cache(maxsize=1)
def load(folder: Path) -> Study:
    return load_curves(folder)


def split(study: Study, seed: int) -> tuple[Study, Study]:
    """Draw half of a study's completed trials as an earlier study; the rest is the new one."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    drawn = np.random.default_rng([seed, 1]).permutation(len(trials))
    halves = drawn[: len(trials) // 2], drawn[len(trials) // 2 :]
    studies = []
    for half in halves:
        studies.append(optuna.create_study(direction=study.direction, sampler=study.sampler))
        studies[-1].add_trials([trials[i] for i in sorted(half)])
    return studies[0], studies[1]


def regret_of_both(study: Study, earlier: Study | None, found: float | None) -> float:
    """Tell what the best of the earlier and of the new study lacks of the best of all trials.

    In a cold start all trials are of the new study.
    """
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    finals = oriented(study, sign)
    known = [*oriented(earlier, sign), *([] if found is None else [sign * found])]
    best = max(known, default=-math.inf)
    return min(1.0, float((max(finals) - best) / np.subtract(*np.percentile(finals, [75, 25]))))


def oriented(study: Study | None, sign: float) -> list[float]:
    values = [trial.value for trial in study.get_trials(deepcopy=False)] if study else []
    return [sign * value for value in values if value is not None and math.isfinite(value)]


def run(
    folder: Path, variant: Variant, seed: int, n_trials: int, confidence: float, rule: Path | None
) -> Result:
    """Replay one set in one order."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = load(folder)
    steps = [trial.intermediate_values.keys() for trial in study.get_trials(deepcopy=False)]
    last_step = max(map(max, filter(None, steps)))
    earlier, new = split(study, seed) if variant.warm else (None, study)
    pruner: BasePruner = HyperbandPruner(1, last_step, 3)
    if variant.keep is not None:
        ridge = variant.predictor == "ridge"
        pruner = FastHyperbandPruner(
            1,
            last_step,
            3,
            confidence=confidence,
            keep=variant.keep,
            predictor=SequentialRegression("ridge") if ridge else StoppingRule(rule),
            warm_start=[] if earlier is None else [earlier],
        )
    report = replay(new, pruner, order="random", seed=seed, n_trials=n_trials)
    result = report.repeats[0]
    best = result.best_completed
    return Result(
        result.steps_trained,
        math.nan,
        math.nan if best is None else best,
        min(1.0, report.regret_iqr),
        regret_of_both(study, earlier, best),
        float(result.best_kept),
        1000.0 * result.pruner_seconds / result.n_checks,
    )


def combine(results: list[Result], hyperband: list[Result]) -> Result:
    """Combine the orders of one set: geometric means of steps and of the speed-up."""
    steps = math.exp(np.mean([math.log(r.steps) for r in results]))
    steps_of_hyperband = math.exp(np.mean([math.log(r.steps) for r in hyperband]))
    return Result(
        steps,
        steps_of_hyperband / steps,
        *(float(np.mean([r[i] for r in results])) for i in range(2, len(Result._fields))),
    )


def combine_sets(results: list[Result]) -> Result:
    """Combine the sets: geometric means of steps and of speed-ups, else the mean."""
    return Result(
        *(math.exp(np.mean([math.log(r[i]) for r in results])) for i in range(2)),
        *(float(np.mean([r[i] for r in results])) for i in range(2, len(Result._fields))),
    )


def print_table(title: str, results: dict[Variant, Result], *, with_best: bool) -> None:
    header = ["pruner", "steps", "speed-up", "best value", "regret / IQR", "of both", "best kept"]
    header.append("ms a check")
    if not with_best:
        header.remove("best value")
    print(f"\n**{title}**\n")
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for variant, result in results.items():
        cells = [
            variant.name,
            f"{result.steps:.0f}",
            f"{result.speed_up:.2f}",
            *([f"{result.best:.4g}"] if with_best else []),
            f"{result.regret:.3f}",
            f"{result.regret_of_both:.3f}" if variant.warm else "",
            f"{result.best_kept:.2f}",
            f"{result.ms_a_check:.2f}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", help="default: all folders in DIR")
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a set")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--n-orders", type=int, default=10)
    parser.add_argument("--n-trials", type=int, default=N_TRIALS)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()

    names = args.sets or sorted(path.parent.name for path in args.curves.glob("*/meta.json"))
    orders = range(args.n_orders)
    by_variant: dict[Variant, list[Result]] = defaultdict(list)
    # Not loky, whose workers would read the set again for each task.
    with Parallel(args.jobs, backend="multiprocessing") as parallel:
        for name in names:
            rule = None if args.rules is None else args.rules / f"{name}.npz"
            tasks = [(variant, order) for variant in VARIANTS for order in orders]
            results = parallel(
                delayed(run)(args.curves / name, *task, args.n_trials, args.confidence, rule)
                for task in tasks
            )
            by_task = dict(zip(tasks, results, strict=True))
            of = {variant: [by_task[variant, o] for o in orders] for variant in VARIANTS}
            of_set = {v: combine(of[v], of[Variant(None, v.warm)]) for v in VARIANTS}
            for variant, result in of_set.items():
                by_variant[variant].append(result)
            print_table(name, of_set, with_best=True)
    of_all = {variant: combine_sets(results) for variant, results in by_variant.items()}
    print_table(f"All {len(names)} sets", of_all, with_best=False)
    print(
        f"\n{args.n_orders} random orders each of at most {args.n_trials} trials, confidence "
        f"{args.confidence:g}. Steps and speed-ups are geometric means, the others means."
    )
    if args.rules is not None:
        print("On each set with a stopping rule that was trained without it.")
    print(f"{time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
