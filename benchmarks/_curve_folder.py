"""Recorded learning curves as an Optuna study.

A folder holds `curves.csv` (one row a curve: `curve_id`, then a column per step), `configs.csv`
(one row a curve: its hyperparameters or architecture features) and `meta.json` (`direction`).
Empty cells are values that a run never reported, or parameters that it did not have.
"""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution


if TYPE_CHECKING:
    from pathlib import Path

    from optuna.distributions import BaseDistribution


# A positive parameter that spans two decades was most likely searched on a log scale.
LOG_RATIO = 100.0


def load_study(folder: Path) -> optuna.Study:
    """Read a folder as a study of completed trials, in the order of the rows.

    Columns of text with a different value in nearly every row, such as a network's notation,
    identify a run instead of describing it and are left out.
    """
    study = optuna.create_study(
        study_name=folder.name,
        direction=json.loads((folder / "meta.json").read_text())["direction"],
    )
    with (folder / "configs.csv").open() as file:
        rows = {row.pop("curve_id"): row for row in csv.DictReader(file)}
    columns = {name: [row[name] for row in rows.values()] for name in next(iter(rows.values()))}
    distributions = {
        name: distribution
        for name, cells in columns.items()
        if (distribution := _distribution([cell for cell in cells if cell])) is not None
    }
    with (folder / "curves.csv").open() as file:
        for curve in csv.DictReader(file):
            row = rows[curve.pop("curve_id")]
            reports = {int(step): float(cell) for step, cell in curve.items() if cell}
            present = {name: dist for name, dist in distributions.items() if row[name]}
            study.add_trial(
                optuna.trial.create_trial(
                    value=reports[max(reports)],
                    params={
                        name: float(row[name])
                        if isinstance(dist, FloatDistribution)
                        else row[name]
                        for name, dist in present.items()
                    },
                    distributions=present,
                    intermediate_values=reports,
                )
            )
    return study


def _distribution(cells: list[str]) -> BaseDistribution | None:
    numbers = [_number(cell) for cell in cells]
    if all(math.isfinite(number) for number in numbers):
        low, high = min(numbers), max(numbers)
        return FloatDistribution(low, high, log=low > 0.0 and high >= LOG_RATIO * low)
    choices = sorted(set(cells))
    return CategoricalDistribution(choices) if len(choices) <= len(cells) / 2 else None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
