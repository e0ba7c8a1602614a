"""The task that most sections share: train on a random split, forecast the rest."""

from __future__ import annotations

import time
from typing import NamedTuple
from typing import TYPE_CHECKING

from _evidence_predictors import PREDICTORS
from _evidence_predictors import source_digest
from _evidence_scores import Forecasts
from _evidence_sets import ALL_FEATURES
from _evidence_sets import CurveSet
from _evidence_sets import digest
from _evidence_sets import load_set
from _evidence_sets import N_TRAIN
import numpy as np


if TYPE_CHECKING:
    from _evidence_results import Result

    from optuna_perfpred import CurvePredictor
    from optuna_perfpred.predictors import Forecast


# Of these test curves the forecasts are kept, for comparisons with predictors that are too slow
# to forecast all.
N_SAMPLE = 30


class ForecastTask(NamedTuple):
    """One training and the forecasts of its test curves.

    Attributes:
        folder: Of the set.
        predictor: Its name in `PREDICTORS`.
        fraction: Of the test curves that is seen.
        split: Number of the random split.
        n_train: Number of training curves.
        features: Kinds of features: time series (TS), architecture (AP), hyperparameters (HP).
        n_test: Number of test curves; -1: all that there are.
        version: Of the curves and of the predictor's source.
    """

    folder: str
    predictor: str
    fraction: float
    split: int
    n_train: int
    features: str
    n_test: int
    version: str


def forecast_task(
    folder: str,
    predictor: str,
    fraction: float,
    split: int,
    *,
    n_train: int = N_TRAIN,
    features: str = ALL_FEATURES,
    n_test: int = -1,
) -> ForecastTask:
    version = f"{digest(folder)} {source_digest(predictor)}"
    return ForecastTask(folder, predictor, fraction, split, n_train, features, n_test, version)


def evaluate(task: ForecastTask) -> Result:
    """Give the scores on all test curves, and the forecasts of the first ones."""
    curve_set = load_set(task.folder, task.features)
    train, test = curve_set.split(task.n_train, task.split)
    if task.n_test >= 0:
        test = test[: task.n_test]
    if "TS" not in task.features:
        # A curve of which all are equal tells nothing.
        curve_set = curve_set._replace(curves=np.zeros((len(curve_set.finals), 1)))
    return forecast_rows(curve_set, task.predictor, task.fraction, train, test)


def forecast_rows(
    curve_set: CurveSet, predictor_name: str, fraction: float, train: np.ndarray, test: np.ndarray
) -> Result:
    """Train on some curves of a set and forecast others from their beginnings."""
    start = time.perf_counter()
    predictor: CurvePredictor = PREDICTORS[predictor_name].make()
    predictor.fit(
        curve_set.configurations[train], curve_set.curves[train], curve_set.finals[train]
    )
    forecast = predictor.predict(curve_set.configurations[test], curve_set.first(fraction, test))
    seconds = time.perf_counter() - start
    forecasts, missing = _in_units(forecast, curve_set, train, test)
    sample = forecasts.rows(slice(N_SAMPLE))
    return {
        "scores": forecasts.scores(),
        "sample": [column.tolist() for column in sample],
        "missing": missing,
        "seconds": seconds,
    }


def _in_units(
    forecast: Forecast, curve_set: CurveSet, train: np.ndarray, test: np.ndarray
) -> tuple[Forecasts, float]:
    """Put forecasts beside the final values, and tell the share of those that are missing.

    Instead of a missing forecast stand the mean and the standard deviation of the training
    curves' final values.
    """
    known = np.isfinite(forecast.mean) & np.isfinite(forecast.std)
    of_train = curve_set.finals[train]
    unit = curve_set.unit
    return Forecasts(
        curve_set.finals[test] / unit,
        np.where(known, forecast.mean, of_train.mean()) / unit,
        np.where(known, forecast.std, of_train.std()) / unit,
        np.where(known, np.broadcast_to(forecast.df, known.shape), np.inf),
    ), float(1.0 - known.mean())


def sampled(results: list[Result], n_curves: int) -> Forecasts:
    """Join the kept forecasts of several splits, the first ones of each."""
    columns = [[column[:n_curves] for column in result["sample"]] for result in results]
    return Forecasts(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))
