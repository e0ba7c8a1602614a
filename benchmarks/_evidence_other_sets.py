"""Curves of one set train, those of another are forecast."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple
from typing import TYPE_CHECKING

from _evidence_forecasts import forecast_rows
from _evidence_predictors import LAST_SEEN_VALUE
from _evidence_predictors import OURS
from _evidence_predictors import PREDICTORS
from _evidence_predictors import source_digest
from _evidence_scores import estimate
from _evidence_sets import CurveSet
from _evidence_sets import digest
from _evidence_sets import load_set
from _evidence_sets import n_seen
from _evidence_sets import N_TRAIN
from _evidence_tables import percent
from _evidence_tables import print_table
import numpy as np


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from _evidence_results import Result
    from _evidence_results import Results


FRACTION = 0.25
N_TIMES = 10
TRAINED = (OURS, "ridge", "nu_svr_rbf")
PAIRS = {
    "one data set to another": (
        ("deepobs_cifar10_3c3d", "deepobs_fmnist_2c2d"),
        ("deepobs_fmnist_2c2d", "deepobs_cifar10_3c3d"),
    ),
    "one model class to another": (
        ("metaqnn_cifar10", "deep_resnets_tinyimagenet"),
        ("deep_resnets_tinyimagenet", "metaqnn_cifar10"),
        ("metaqnn_cifar10", "naap440"),
        ("fashion_convnets", "diamonds_perceptrons"),
        ("diamonds_perceptrons", "fashion_convnets"),
    ),
    "vision to language and back": (
        ("metaqnn_cifar10", "lstm_ptb"),
        ("lstm_ptb", "metaqnn_cifar10"),
        ("fashion_convnets", "kjv_language_models"),
        ("kjv_language_models", "fashion_convnets"),
    ),
}


class TransferTask(NamedTuple):
    """One draw of training curves in the source and of test curves in the target.

    Attributes:
        source: Folder of the set that is learned from.
        target: Folder of the set that is forecast.
        predictor: Its name.
        split: Number of the random split.
        version: Of both sets and of the predictor's source.
    """

    source: str
    target: str
    predictor: str
    split: int
    version: str


def find_pairs(
    sets: Mapping[str, str], asked: Sequence[str] | None
) -> list[tuple[str, tuple[str, str]]]:
    """Give the pairs whose sets are both there, each with its kind."""
    kinds = dict(PAIRS)
    if asked is not None:
        kinds = {"asked for": tuple(tuple(pair.split(":", 1)) for pair in asked)}
    return [
        (kind, pair) for kind, pairs in kinds.items() for pair in pairs if set(pair) <= sets.keys()
    ]


def print_transfers(
    sets: Mapping[str, str],
    asked: Sequence[str] | None,
    names: Sequence[str],
    results: Results,
    n_splits: int,
) -> None:
    pairs = find_pairs(sets, asked)
    trained = [name for name in TRAINED if name in names]
    predictors = (*trained, LAST_SEEN_VALUE)
    tasks = [
        TransferTask(
            sets[source],
            sets[target],
            name,
            split,
            f"{digest(sets[source])} {digest(sets[target])} {source_digest(name)}",
        )
        for _, pair in pairs
        # The source of what is trained on the target is the target.
        for source, target in (pair, (pair[1], pair[1]))
        for name in predictors
        for split in range(n_splits)
    ]
    tasks = list(dict.fromkeys(tasks))
    scores: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
    for task, result in zip(tasks, results.of(forecast_target, tasks), strict=True):
        scores[task.source, task.target, task.predictor].append(result["scores"])
    for metric, title in (("r2", "R² × 100"), ("rank", "rank correlation × 100")):
        rows = []
        for kind, (source, target) in pairs:
            columns = [(place, name) for name in trained for place in (sets[source], sets[target])]
            columns.append((sets[target], LAST_SEEN_VALUE))
            cells = [
                estimate([s[metric] for s in scores[place, sets[target], name]]).text(100.0)
                for place, name in columns
            ]
            rows.append([kind, source, target, *cells])
        header = ["", "source", "target"]
        for name in trained:
            header += [f"{PREDICTORS[name].label}, source", "target itself"]
        header.append(PREDICTORS[LAST_SEEN_VALUE].label)
        note = f"{percent(FRACTION)} of the curve, time series only"
        print_table(f"From one set to another, {title}, {note}", header, rows)


def forecast_target(task: TransferTask) -> Result:
    target, known = on_common_scale(load_set(task.target))
    train, test = target.split(N_TRAIN, task.split)
    n_source = 0
    joined = target
    if task.source != task.target:
        source, source_known = on_common_scale(load_set(task.source))
        drawn, _ = source.split(N_TRAIN, task.split)
        known = np.concatenate([source_known, known])
        n_source = len(source.finals)
        joined = CurveSet(
            np.empty((n_source + len(target.finals), 0)),
            np.concatenate([source.curves, target.curves]),
            np.concatenate([source.finals, target.finals]),
            target.unit,
        )
        train = drawn
    train, test = train[known[train]], n_source + test
    # All that is in these curves is seen.
    return forecast_rows(joined, task.predictor, 1.0, train, test[known[test]])


def on_common_scale(curve_set: CurveSet) -> tuple[CurveSet, np.ndarray]:
    """Read the seen parts of curves at common times and on a scale that they tell themselves.

    Returns:
        The set, whose curves are the seen parts; and which of them have values.
    """
    n = n_seen(FRACTION, curve_set.curves.shape[1])
    steps = np.arange(1, n + 1)
    times = np.arange(1, N_TIMES + 1) / N_TIMES * n
    curves = np.full((len(curve_set.finals), N_TIMES), np.nan)
    for row, seen in zip(curves, curve_set.curves[:, :n], strict=True):
        present = ~np.isnan(seen)
        if present.any():
            row[:] = np.interp(times, steps[present], seen[present])
    known = ~np.isnan(curves[:, -1])
    low, centre, high = np.quantile(curves[known, -1], [0.1, 0.5, 0.9])
    scale = high - low or 1.0
    finals = (curve_set.finals - centre) / scale
    no_features = np.empty((len(finals), 0))
    return CurveSet(no_features, (curves - centre) / scale, finals, finals.std() or 1.0), known
