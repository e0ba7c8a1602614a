"""A study: a search space, a training that returns its curve, and how both are recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import json
import math
import time
from typing import TYPE_CHECKING
from typing import TypeVar
import zlib

import numpy as np
import pandas as pd


if TYPE_CHECKING:
    from pathlib import Path


Config = dict[str, float | int | str | None]
T = TypeVar("T")


class Draw:
    """Draws hyperparameter values from a seeded generator."""

    def __init__(self, seed: list[int]) -> None:
        self._rng = np.random.default_rng(seed)

    def uniform(self, low: float, high: float) -> float:
        """A real number, uniformly."""
        return float(self._rng.uniform(low, high))

    def log(self, low: float, high: float) -> float:
        """A real number, uniformly on the logarithmic scale."""
        return float(math.exp(self._rng.uniform(math.log(low), math.log(high))))

    def normal_log(self, centre: float, spread: float) -> float:
        """A log-normal number, as a sampler that has found a good region suggests it."""
        return float(centre * math.exp(spread * self._rng.normal()))

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self._rng.integers(low, high + 1))

    def log_integer(self, low: int, high: int) -> int:
        """An integer from low to high, uniformly on the logarithmic scale."""
        return round(self.log(low, high))

    def choice(self, *options: T) -> T:
        """One of the options."""
        return options[int(self._rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """Whether an event of this probability happens."""
        return bool(self._rng.random() < probability)


Space = Callable[[Draw], Config]
Train = Callable[[Config, int, int], list[float]]


@dataclass(frozen=True)
class Study:
    """A hyperparameter study with random configurations.

    Args:
        name: Name of the recorded set.
        direction: "maximize" or "minimize".
        metric: What the curves show.
        source: One sentence on the data and the model.
        n_steps: Number of values of each curve.
        space: Draws a configuration. Columns that never vary are not recorded.
        train: Trains a configuration with a seed for a number of steps, returns its curve.
        n_curves: How many configurations are recorded unless told otherwise.
    """

    name: str
    direction: str
    metric: str
    source: str
    n_steps: int
    space: Space
    train: Train
    n_curves: int = 120

    def run(self, index: int) -> tuple[Config, list[float]]:
        """Trains the configuration of this index."""
        key = zlib.crc32(self.name.encode())
        config = self.space(Draw([key, index]))
        curve = self.train(config, (key + 7919 * index) % 2**31, self.n_steps)
        if len(curve) != self.n_steps or not np.isfinite(curve).all():
            raise ValueError(f"{self.name} {index}: {len(curve)} values, {config}")
        return config, [float(value) for value in curve]


def write(study: Study, runs: list[tuple[Config, list[float]]], folder: Path) -> None:
    """Writes curves.csv, configs.csv and meta.json (the last one marks the set as complete)."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = pd.DataFrame([curve for _, curve in runs], columns=range(1, study.n_steps + 1))
    configs = pd.DataFrame([config for config, _ in runs])
    configs = configs.loc[:, configs.nunique(dropna=False) > 1]
    flags = configs.select_dtypes(bool).columns
    configs = configs.astype(dict.fromkeys(flags, int))
    for table, name in ((curves, "curves.csv"), (configs, "configs.csv")):
        table.rename_axis("curve_id").to_csv(folder / name, float_format="%.7g")
    meta = {"direction": study.direction, "metric": study.metric, "source": study.source}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def summary(folder: Path) -> dict[str, object]:
    """What a recorded set looks like.

    Returns:
        Its size, quantiles of the final values, the share of curves that end no better than they
        began (`flat`), Spearman's correlation with the final values after 10, 25 and 50 % of all
        curves and after 25 % of the better half (`top25`), and the rank after 25 % of the curve
        that ends best (`best@25`).
    """
    curves = pd.read_csv(folder / "curves.csv", index_col=0).to_numpy()
    direction = json.loads((folder / "meta.json").read_text())["direction"]
    sign = 1.0 if direction == "maximize" else -1.0
    final = pd.Series(sign * curves[:, -1])

    def early(share: float) -> pd.Series:
        return pd.Series(sign * curves[:, max(0, round(share * curves.shape[1]) - 1)])

    row: dict[str, object] = {"set": folder.name, "n": len(curves), "T": curves.shape[1]}
    row["dir"] = direction[:3]
    for level in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0):
        row[f"q{round(100 * level)}"] = f"{np.quantile(curves[:, -1], level):.4g}"
    row["flat"] = round(float((final <= sign * curves[:, 0]).mean()), 2)
    for share in (0.1, 0.25, 0.5):
        row[f"rho{round(100 * share)}"] = round(early(share).corr(final, method="spearman"), 2)
    better = final >= final.median()
    varies = final[better].nunique() > 1
    row["top25"] = (
        round(early(0.25)[better].corr(final[better], method="spearman"), 2) if varies else None
    )
    row["best@25"] = int(early(0.25).rank(ascending=False, method="min")[final.idxmax()])
    return row


def timed(study: Study, index: int) -> tuple[Config, list[float], float]:
    """Like Study.run, with the seconds it took."""
    start = time.perf_counter()
    config, curve = study.run(index)
    return config, curve, time.perf_counter() - start
