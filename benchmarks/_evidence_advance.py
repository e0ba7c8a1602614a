"""Forecasts that are computed before a study is replayed, once for all of its orders."""

from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

from _evidence_predictors import PREDICTORS
from _evidence_predictors import source_digest
from _evidence_replays import checked_lengths
from _evidence_replays import load_study
from _evidence_sets import as_arrays
from _evidence_sets import digest
import numpy as np

from optuna_perfpred import CurvePredictor
from optuna_perfpred.predictors import Forecast


if TYPE_CHECKING:
    from _evidence_replays import ReplayTask
    from _evidence_results import Result
    from _evidence_results import Results


Key = tuple[float, ...]
"""The beginning of a curve."""

Table = dict[Key, tuple[float, float, float]]
"""Mean, standard error and degrees of freedom of the forecasts of beginnings."""


class ForecastsInAdvance(CurvePredictor):
    """Looks forecasts up."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __sklearn_clone__(self) -> ForecastsInAdvance:
        return self  # scikit-learn's copy would copy the table.

    def fit(
        self, configurations: np.ndarray, curves: np.ndarray, finals: np.ndarray
    ) -> ForecastsInAdvance:
        return self

    def predict(self, configurations: np.ndarray, curves: np.ndarray) -> Forecast:
        found = np.array([self.table[key_of(curve)] for curve in curves])
        return Forecast(*found.T)


class AdvanceTask(NamedTuple):
    """The forecasts of one trial of a subset.

    Attributes:
        folder: Of the set.
        predictor: Its name.
        subset: Number of curves in the subset.
        trial: Position of the trial.
        lengths: The numbers of steps after which it is forecast.
        version: Of the curves and of the predictor's source.
    """

    folder: str
    predictor: str
    subset: int
    trial: int
    lengths: tuple[int, ...]
    version: str


def forecast_in_advance(task: ReplayTask, results: Results, n_checks: int) -> Table:
    """Forecast all trials of the subset that a task replays, at all checks."""
    lengths = tuple(checked_lengths(task.folder, task.subset, n_checks))
    version = f"{digest(task.folder)} {source_digest(task.pruner)}"
    tasks = [
        AdvanceTask(task.folder, task.pruner, task.subset, trial, lengths, version)
        for trial in range(task.subset)
    ]
    return {
        tuple(key): tuple(forecast)
        for result in results.of(forecast_trial, tasks)
        for key, forecast in result["forecasts"]
    }


def forecast_trial(task: AdvanceTask) -> Result:
    configurations, curves, finals, _ = as_arrays(load_study(task.folder, task.subset)[0])
    others = np.arange(len(finals)) != task.trial
    predictor = PREDICTORS[task.predictor].make()
    predictor.fit(configurations[others], curves[others], finals[others])
    seen = np.repeat(curves[[task.trial]], len(task.lengths), axis=0)
    for row, length in zip(seen, task.lengths, strict=True):
        row[length:] = np.nan
    same = np.repeat(configurations[[task.trial]], len(task.lengths), axis=0)
    forecast = predictor.predict(same, seen)
    columns = (forecast.mean, forecast.std, np.broadcast_to(forecast.df, len(seen)))
    numbers = [list(map(float, row)) for row in zip(*columns, strict=True)]
    return {"forecasts": list(zip(map(key_of, seen), numbers, strict=True))}


def key_of(curve: np.ndarray) -> Key:
    # Rounded, as interpolation may change the last bits.
    return tuple(float(f"{value:.9g}") for value in curve[~np.isnan(curve)])
