"""How well the end of a learning curve is predicted from its beginning.

For each folder of recorded curves: 100 curves train, all others are predicted from their first
5, 10, 25 and 50 %, and R² × 100 of the final values is averaged over 10 random splits (two thirds
train where there are fewer than 150 curves). Each regressor of `SequentialRegression` stands
beside `LastSeenValue`, and, at 25 %, beside itself as published (`published=True`) and the figure
in the paper (Baker et al. 2017, table 1).

    python benchmarks/prediction.py --curves DIR [--sets NAME ...] [--n-splits 10]

`DIR` is a folder with one folder a set; `optuna_perfpred.replay.load_curves` tells their format.
About 20 minutes for the four sets of the README on two cores.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from typing import TYPE_CHECKING

from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from sklearn.metrics import r2_score

from optuna_perfpred import LastSeenValue
from optuna_perfpred import SequentialRegression
from optuna_perfpred.history import read_record
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from optuna_perfpred import CurvePredictor


N_TRAIN = 100
FRACTIONS = (0.05, 0.1, 0.25, 0.5)
PUBLISHED_FRACTION = 0.25
REGRESSORS = ("ols", "ridge", "nu_svr_linear", "nu_svr_rbf", "random_forest")
# Baker et al. 2017, table 1: R² × 100 at 25 % of the curve.
PAPER = {
    "metaqnn_cifar10": (93.22, None, 94.44, 94.22, 92.27),
    "deep_resnets_tinyimagenet": (90.15, None, 91.8, 85.78, 91.37),
    "lstm_ptb": (89.8, None, 98.59, 83.29, 91.38),
}


class Task(NamedTuple):
    set_name: str
    predictor: str
    published: bool
    fraction: float
    split: int


def score(task: Task, training_set: TrainingSet) -> float:
    """Train on one random split and give R² × 100 on the rest of it."""
    configurations, curves, finals = (
        training_set.configurations,
        training_set.curves,
        training_set.finals,
    )
    n_train = min(N_TRAIN, 2 * len(finals) // 3)
    order = np.random.default_rng(task.split).permutation(len(finals))
    train, test = order[:n_train], order[n_train:]
    predictor: CurvePredictor = (
        LastSeenValue()
        if task.predictor == "last_seen_value"
        else SequentialRegression(task.predictor, published=task.published)
    )
    predictor.fit(configurations[train], curves[train], finals[train])
    seen = curves[test]
    seen[:, max(1, round(task.fraction * curves.shape[1])) :] = np.nan
    forecast = predictor.predict(configurations[test], seen)
    return 100.0 * float(r2_score(finals[test], forecast.mean))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", help="default: all folders in DIR")
    parser.add_argument("--n-splits", type=int, default=10)
    parser.add_argument("--n-jobs", type=int, default=2)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    names = args.sets or sorted(path.parent.name for path in args.curves.glob("*/meta.json"))
    for name in names:
        study = load_curves(args.curves / name)
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
        training_set = TrainingSet([read_record(trial) for trial in study.trials], sign=sign)
        variants = [("last_seen_value", False, fraction) for fraction in FRACTIONS]
        for regressor in REGRESSORS:
            variants += [(regressor, False, fraction) for fraction in FRACTIONS]
            variants.append((regressor, True, PUBLISHED_FRACTION))
        tasks = [
            Task(name, *variant, split) for variant in variants for split in range(args.n_splits)
        ]
        scores = Parallel(args.n_jobs)(delayed(score)(task, training_set) for task in tasks)
        by_variant: dict[tuple[str, bool, float], list[float]] = defaultdict(list)
        for task, value in zip(tasks, scores, strict=True):
            by_variant[task.predictor, task.published, task.fraction].append(value)
        print_table(name, len(study.trials), by_variant)


def print_table(
    name: str, n_curves: int, scores: dict[tuple[str, bool, float], list[float]]
) -> None:
    def cell(predictor: str, published: bool, fraction: float) -> str:
        values = scores.get((predictor, published, fraction))
        if values is None:
            return "-"
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        return f"{np.mean(values):.1f} ± {error:.1f}"

    print(f"\n**{name}** ({n_curves} curves), R² × 100\n")
    header = [f"{fraction:.0%}" for fraction in FRACTIONS]
    print("|", " | ".join(["predictor", *header, "25% as published", "25% in the paper"]), "|")
    print("|", " | ".join(["---"] * (len(header) + 3)), "|")
    paper = dict(zip(REGRESSORS, PAPER.get(name, ()), strict=False))
    for predictor in ("last_seen_value", *REGRESSORS):
        cells = [cell(predictor, False, fraction) for fraction in FRACTIONS]
        cells.append(cell(predictor, True, PUBLISHED_FRACTION))
        cells.append(str(paper.get(predictor) or "-"))
        print(f"| `{predictor}` |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
