"""Shallow networks train, deeper ones are forecast."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple
from typing import TYPE_CHECKING

from _evidence_forecasts import forecast_rows
from _evidence_predictors import PREDICTORS
from _evidence_predictors import source_digest
from _evidence_scores import estimate
from _evidence_sets import digest
from _evidence_sets import load_set
from _evidence_sets import N_TRAIN
from _evidence_sets import parameter
from _evidence_tables import percent
from _evidence_tables import print_table
import numpy as np


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from _evidence_results import Result
    from _evidence_results import Results


FRACTION = 0.25


class Depth(NamedTuple):
    """How deep the networks of a set are.

    Attributes:
        parameter: The parameter that tells.
        layers_each: Number of layers for each of it.
        layers_more: Number of layers beside these.
        limits: Networks with fewer layers train, those with more are forecast.
    """

    parameter: str
    layers_each: int
    layers_more: int
    limits: tuple[int, ...]


DEPTHS = {
    # Three stages of blocks with two layers each, the first layer and the last.
    "deep_resnets_tinyimagenet": Depth("num_blocks", 6, 2, (32, 62)),
    "metaqnn_cifar10": Depth("depth", 1, 0, (6, 9)),
    "fashion_convnets": Depth("num_layers", 1, 0, (4, 5)),
}
# Baker et al. 2017, section 3: R² × 100 by the limit.
PAPER = {"deep_resnets_tinyimagenet": {32: "80.66 ± 3.8", 62: "84.58 ± 2.7"}}


class DepthTask(NamedTuple):
    """One draw of training curves below a limit."""

    folder: str
    set_name: str
    predictor: str
    limit: int
    split: int
    version: str


def print_depths(
    sets: Mapping[str, str], names: Sequence[str], results: Results, n_splits: int
) -> None:
    for set_name, folder in sets.items():
        if set_name not in DEPTHS:
            continue
        depth = DEPTHS[set_name]
        tasks = [
            DepthTask(
                folder,
                set_name,
                name,
                limit,
                split,
                f"{digest(folder)} {source_digest(name)} {depth}",
            )
            for name in names
            for limit in depth.limits
            for split in range(n_splits)
        ]
        scores: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
        for task, result in zip(tasks, results.of(forecast_deeper, tasks), strict=True):
            scores[task.predictor, task.limit].append(result["scores"])
        header = ["predictor"]
        for limit in depth.limits:
            header += [f"< {limit} → > {limit}: R² × 100", "rank correlation × 100"]
        rows = [
            [
                PREDICTORS[name].label,
                *(
                    estimate([s[metric] for s in scores[name, limit]]).text(100.0)
                    for limit in depth.limits
                    for metric in ("r2", "rank")
                ),
            ]
            for name in names
        ]
        if set_name in PAPER:
            rows.append(["in the paper"])
            for limit in depth.limits:
                rows[-1] += [PAPER[set_name][limit], "-"]
        counts = [map(len, _rows(set_name, folder, limit)) for limit in depth.limits]
        note = ", ".join("{} networks below and {} above".format(*n) for n in counts)
        title = f"{set_name}, deeper networks at {percent(FRACTION)} of the curve ({note})"
        print_table(title, header, rows)


def forecast_deeper(task: DepthTask) -> Result:
    below, above = _rows(task.set_name, task.folder, task.limit)
    train = np.random.default_rng(task.split).permutation(below)[:N_TRAIN]
    return forecast_rows(load_set(task.folder), task.predictor, FRACTION, train, above)


def _rows(set_name: str, folder: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
    name, each, more, _ = DEPTHS[set_name]
    layers = each * parameter(folder, name) + more
    return np.flatnonzero(layers < limit), np.flatnonzero(layers > limit)
