from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState
from scipy.stats import binomtest

from optuna_perfpred._attributes import finite
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._recorded_decision import forecast_horizon
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.replay import ReplayReport
from optuna_perfpred.replay._calibration import Calibration
from optuna_perfpred.visualization._studies import asks_for_log_axis
from optuna_perfpred.visualization._studies import axis_range
from optuna_perfpred.visualization._studies import check_single_objective
from optuna_perfpred.visualization._studies import maximizes
from optuna_perfpred.visualization._studies import metric_name
from optuna_perfpred.visualization._studies import of_study
from optuna_perfpred.visualization._style import BLUE
from optuna_perfpred.visualization._style import GREEN
from optuna_perfpred.visualization._style import ORANGE
from optuna_perfpred.visualization._thinning import evenly


if TYPE_CHECKING:
    from optuna.study import Study


COMPLETED = "completed"
AUDITED = "let finish on purpose"
REPLAYED = "replayed"
COLORS = {COMPLETED: BLUE, AUDITED: GREEN, REPLAYED: ORANGE}
# With more, error bars hide each other.
MAX_ERROR_BARS = 100

_MAX_POINTS = 1000
_CONFIDENCE_LEVEL = 0.95


class _PredictionInfo(NamedTuple):
    number: int
    kind: str
    predicted: float
    std: float | None
    final: float


class _BinInfo(NamedTuple):
    """Stated probabilities between two bounds, beside what happened.

    Attributes:
        low: The smallest probability of the bin.
        high: The largest one.
        n: The number of forecasts.
        stated: The mean of the stated probabilities.
        share: The share of the forecasts that came true.
        interval: The 95 % confidence interval of the share, by Wilson's score.
    """

    low: float
    high: float
    n: int
    stated: float
    share: float
    interval: tuple[float, float]


class _CalibrationInfo(NamedTuple):
    title: str
    metric_name: str
    predictions: list[_PredictionInfo]
    n_predictions: int
    bins: list[_BinInfo]
    log: bool
    value_range: tuple[float, float] | None
    message: str | None


def _get_calibration_info(study: Study | ReplayReport) -> _CalibrationInfo:
    if isinstance(study, ReplayReport):
        title = f"Forecasts by {study.pruner} and outcomes{of_study(study.study_name)}"
        predictions, calibration = _of_report(study), study.calibration
        name, maximize = "Objective Value", study.direction == StudyDirection.MAXIMIZE
        message = f"{study.pruner} has left no forecast of a final value in the replay."
    else:
        check_single_objective(study)
        title = f"Forecasts and outcomes{of_study(study.study_name)}"
        predictions, calibration = _of_study(study)
        name, maximize = metric_name(study), maximizes(study)
        message = (
            "No trial with a forecast of its final value has completed yet:\n"
            "let some finish on purpose (`audit_rate`, `shadow`), or replay the study."
        )
    shown = evenly(predictions, _MAX_POINTS)
    if len(shown) < len(predictions):
        title += f" ({len(shown)} of {len(predictions)} trials)"
    values = [value for one in shown for value in (one.predicted, one.final)]
    log = asks_for_log_axis(values, maximize=maximize)
    return _CalibrationInfo(
        title=title,
        metric_name=name,
        predictions=shown,
        n_predictions=len(predictions),
        bins=_read_bins(calibration),
        log=log,
        value_range=axis_range([*values, *_ends_of_bars(shown)], log=log),
        message=None if predictions or calibration.count > 0 else message,
    )


def _ends_of_bars(predictions: list[_PredictionInfo]) -> list[float]:
    if len(predictions) > MAX_ERROR_BARS:
        return []
    return [
        one.predicted + sign * one.std
        for one in predictions
        if one.std is not None
        for sign in (-1.0, 1.0)
    ]


def _of_study(study: Study) -> tuple[list[_PredictionInfo], Calibration]:
    became_best = {wrong.number for wrong in audit_study(study).false_prunes}
    predictions = []
    stated, happened = [], []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        decision = read_decision(trial)
        if decision is None or decision.horizon is not None:
            continue
        # Of those that were not chosen to finish, only those that did well are here.
        if decision.audit and decision.probability is not None:
            stated.append(decision.probability)
            happened.append(trial.number in became_best)
        final = finite(trial.value)
        if decision.predicted_value is not None and final is not None:
            predictions.append(
                _PredictionInfo(
                    number=trial.number,
                    kind=AUDITED if decision.audit else COMPLETED,
                    predicted=decision.predicted_value,
                    std=decision.predicted_std,
                    final=final,
                )
            )
    return predictions, Calibration.of(np.array(stated, float), np.array(happened, bool))


def _of_report(report: ReplayReport) -> list[_PredictionInfo]:
    predictions = []
    for trial in report.trials:
        predicted, final = finite(trial.predicted_value), finite(trial.value)
        is_final = forecast_horizon(trial.reason or "") is None
        if predicted is not None and final is not None and is_final:
            std = finite(trial.predicted_std)
            predictions.append(_PredictionInfo(trial.number, REPLAYED, predicted, std, final))
    return predictions


def _read_bins(calibration: Calibration) -> list[_BinInfo]:
    bins = []
    for one in calibration.bins:
        bounds = binomtest(round(one.frequency * one.count), one.count).proportion_ci(
            confidence_level=_CONFIDENCE_LEVEL, method="wilson"
        )
        bins.append(
            _BinInfo(
                low=one.low,
                high=one.high,
                n=one.count,
                stated=one.mean_forecast,
                share=one.frequency,
                interval=(float(bounds.low), float(bounds.high)),
            )
        )
    return bins
