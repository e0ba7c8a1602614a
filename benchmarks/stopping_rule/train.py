"""Trains the stopping rule that comes with the package.

    python benchmarks/stopping_rule/train.py --curves DIR [DIR ...] --output FILE [--jobs 2]
        [--leave-out DIR --rules RULES]

Each DIR holds folders of curves: those that `record_curves.py` writes, and the public ones that
the README names. A first rule learns from histories of an ideal pruner, the second one from
histories that the first one has pruned: once pruning starts, the completed trials are the
survivors, and the rule must know how that looks. A third round brought nothing more.

With `--leave-out`, the folders of that DIR are taken one after the other, and a rule trained
without each of them is also written to RULES, for `benchmarks/pruners.py --rules RULES`. Folders
whose names begin with the same word are left out together.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import time
from typing import TYPE_CHECKING


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy and scikit-learn are imported.

from _histories import Curves
from _histories import Decisions
from _histories import History
from _histories import read_curves
from _histories import vary
from joblib import delayed
from joblib import Parallel
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from optuna_perfpred.pruners._stopping_rule import BoostedTrees
from optuna_perfpred.pruners._stopping_rule import FEATURE_NAMES


if TYPE_CHECKING:
    from collections.abc import Sequence


# Of the histories of a set, those that are of the set as recorded; the others vary it.
SHARE_AS_RECORDED = 0.4
N_IDEAL_HISTORIES = 4
N_PRUNED_HISTORIES = 12
# A record that was drawn from very many would decide a leaf by itself.
LARGEST_WEIGHT = 50.0


def simulate(
    curves: Curves, trees: BoostedTrees | None, n_histories: int, seed: list[int]
) -> Decisions:
    """Describe trials of histories of one set; the weights of a set add up to 1."""
    rng = np.random.default_rng(seed)
    decisions: list[Decisions] = []
    for _ in range(n_histories):
        varied = curves if rng.random() < SHARE_AS_RECORDED else vary(curves, rng)
        decisions += History(varied, rng).decisions(None if trees is None else trees.predict)
    weight = np.concatenate([d.weight for d in decisions])
    return Decisions(
        np.concatenate([d.features for d in decisions]),
        np.concatenate([d.best for d in decisions]),
        weight / weight.sum(),
    )


def fit(decisions: list[Decisions]) -> BoostedTrees:
    """Fit the classifier. Few leaves with many decisions each: what holds on other sets."""
    weight = np.concatenate([d.weight for d in decisions])
    weight = np.minimum(weight / weight.mean(), LARGEST_WEIGHT)
    model = HistGradientBoostingClassifier(
        max_iter=150,
        max_leaf_nodes=31,
        min_samples_leaf=200,
        learning_rate=0.1,
        l2_regularization=1.0,
        early_stopping=False,
        max_bins=128,
        random_state=0,
    )
    model.fit(
        np.concatenate([d.features for d in decisions]),
        np.concatenate([d.best for d in decisions]),
        sample_weight=weight,
    )
    return as_arrays(model, FEATURE_NAMES)


def as_arrays(model: HistGradientBoostingClassifier, feature_names: Sequence[str]) -> BoostedTrees:
    """Take the trees out of scikit-learn's classifier."""
    trees = [iteration[0] for iteration in model._predictors]
    n_nodes = max(len(tree.nodes) for tree in trees)

    def padded(name: str) -> np.ndarray:
        return np.array([np.pad(t.nodes[name], (0, n_nodes - len(t.nodes))) for t in trees])

    leaf = padded("is_leaf").astype(bool)
    node = np.arange(n_nodes)
    return BoostedTrees(
        feature=padded("feature_idx").astype(np.uint8),
        threshold=padded("num_threshold").astype(np.float32),
        left=np.where(leaf, node, padded("left")).astype(np.uint8),
        right=np.where(leaf, node, padded("right")).astype(np.uint8),
        missing_left=padded("missing_go_to_left").astype(bool),
        value=padded("value").astype(np.float32),
        depth=np.array(max(tree.get_max_depth() for tree in trees)),
        baseline=np.array(float(np.ravel(model._baseline_prediction)[0])),
        feature_names=np.array(feature_names),
    )


def simulate_all(
    sets: dict[str, Curves], trees: BoostedTrees | None, n_histories: int, seed: int, jobs: int
) -> dict[str, Decisions]:
    """Simulate histories of every set."""
    runs = Parallel(n_jobs=jobs)(
        delayed(simulate)(curves, trees, n_histories, [number, seed])
        for number, curves in enumerate(sets.values())
    )
    return dict(zip(sets, runs, strict=True))


def group(name: str) -> str:
    """Sets of one group are left out together."""
    return name.split("_")[0]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--leave-out", type=Path)
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    start = time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - start:6.0f} s: {what}", flush=True)

    folders = {f.parent.name: f.parent for d in args.curves for f in sorted(d.glob("*/meta.json"))}
    sets = {name: read_curves(folder) for name, folder in folders.items()}
    say(f"{len(sets)} sets, {sum(len(s.curves) for s in sets.values())} curves")
    left_out: list[str] = []
    if args.leave_out is not None:
        left_out = sorted(f.parent.name for f in args.leave_out.glob("*/meta.json"))
        args.rules.mkdir(parents=True, exist_ok=True)

    ideal = simulate_all(sets, None, N_IDEAL_HISTORIES, 1, args.jobs)
    say(f"{sum(len(d.best) for d in ideal.values())} decisions of an ideal pruner")
    # The rule by which histories are pruned has not learned from the sets that are left out.
    first = fit([d for name, d in ideal.items() if name not in left_out])
    pruned = simulate_all(sets, first, N_PRUNED_HISTORIES, 0, args.jobs)
    say(f"{sum(len(d.best) for d in pruned.values())} decisions of the first rule")

    def fit_without(left_out_group: str | None, outputs: list[Path]) -> None:
        fitted = fit([d for name, d in pruned.items() if group(name) != left_out_group])
        for output in outputs:
            fitted.save(output)

    groups = {group(name): [n for n in left_out if group(n) == group(name)] for name in left_out}
    Parallel(n_jobs=args.jobs)(
        [
            delayed(fit_without)(None, [args.output]),
            *(
                delayed(fit_without)(g, [args.rules / f"{name}.npz" for name in names])
                for g, names in groups.items()
            ),
        ]
    )
    say(f"{args.output}: {args.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
