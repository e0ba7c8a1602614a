"""Learning curves of any configuration of a search space, from recorded ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from _curve_model import CurveModel
import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from optuna_perfpred.history import ConfigurationEncoder
from optuna_perfpred.history import read_configuration
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    from pathlib import Path

    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


MAX_NEIGHBOURS = 20
MIN_CURVES = 50
# A training that diverges may end at any loss; beyond so many interquartile ranges it counts as
# no worse, or the regression would fit nothing else.
MAX_OUTLIER = 3.0


class Surrogate:
    """A search space and a curve for each of its configurations, the same in every process.

    The space has the columns of ``configs.csv`` as parameters: text as choices, whole numbers as
    integers, and a log scale where a positive number spans two decades. A parameter that some
    rows lack is suggested after the choices with which it was recorded.

    The curve of a configuration is a forecast plus a residual, see ``_curve_model.py``:

    - The forecast is an average of a support vector regression and boosted trees for each of
      three principal components of the curves. It is kept within the range, step by step, of the
      forecasts that cross-validation made for the recorded configurations.
    - The residual is that of a recorded configuration in cross-validation, hence what the
      parameters do not explain of a real training. A hash picks it among the nearest ones. The
      first of them that keeps the curve within the range of recorded curves counts; if none does,
      the curve is clipped to it. So no value is better than the best recorded one.

    Args:
        folder:
            A folder as :func:`optuna_perfpred.replay.load_curves` reads it.

    Attributes:
        direction: The direction of the study.
        steps: The steps of a curve.
        best_value: The best recorded final value.
        iqr: The interquartile range of the recorded final values.
        r2: R² of the forecast of the final value in 5-fold cross-validation.
    """

    def __init__(self, folder: Path) -> None:
        study = load_curves(folder)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        curves, self.steps = _read_curves(trials)
        if len(curves) < MIN_CURVES:
            raise ValueError(f"{folder} must hold at least {MIN_CURVES} curves.")
        low, high = np.percentile(curves, [25.0, 75.0], axis=0)
        outlier = MAX_OUTLIER * (high - low)
        curves = np.clip(curves, low - outlier, high + outlier)
        self.direction = study.direction
        self.iqr = float(high[-1] - low[-1])
        sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
        self.best_value = sign * float((sign * curves[:, -1]).max())
        self._space = _Space(trials)

        configurations = [read_configuration(trial) for trial in trials]
        self._encoder = ConfigurationEncoder()
        features = self._encoder.fit_transform(configurations)
        self._model = CurveModel(features, curves, min(MAX_NEIGHBOURS, len(curves) // 15))
        self.r2 = float(self._model.r2_by_step[-1])

    def suggest(self, trial: optuna.Trial) -> np.ndarray:
        """Draw a configuration and give its curve."""
        self._space.suggest(trial)
        (features,) = self._encoder.transform([read_configuration(trial)])
        return self._model.curve(features, key=json.dumps(trial.params, sort_keys=True))


class _Space:
    def __init__(self, trials: list[FrozenTrial]) -> None:
        names = dict.fromkeys(name for trial in trials for name in trial.params)
        self._distributions = {name: _distribution(name, trials) for name in names}
        in_all = [name for name in names if all(name in trial.params for trial in trials)]
        # First the choices, on which it depends what else there is.
        self._common = sorted(in_all, key=lambda name: not self._is_choice(name))
        self._conditions: dict[str, set[tuple[str, ...]]] = {
            name: {self._choices(t) for t in trials if name in t.params}
            for name in names
            if name not in in_all
        }

    def suggest(self, trial: optuna.Trial) -> None:
        for name in self._common:
            trial._suggest(name, self._distributions[name])
        for name, choices in self._conditions.items():
            if self._choices(trial) in choices:
                trial._suggest(name, self._distributions[name])

    def _choices(self, trial: optuna.Trial | FrozenTrial) -> tuple[str, ...]:
        return tuple(trial.params[name] for name in self._common if self._is_choice(name))

    def _is_choice(self, name: str) -> bool:
        return isinstance(self._distributions[name], CategoricalDistribution)


def _distribution(name: str, trials: list[FrozenTrial]) -> BaseDistribution:
    distribution = next(t.distributions[name] for t in trials if name in t.params)
    if not isinstance(distribution, FloatDistribution):
        return distribution
    if all(t.params[name].is_integer() for t in trials if name in t.params):
        return IntDistribution(int(distribution.low), int(distribution.high), distribution.log)
    return distribution


def _read_curves(trials: list[FrozenTrial]) -> tuple[np.ndarray, list[int]]:
    steps = sorted({step for trial in trials for step in trial.intermediate_values})
    curves = np.full((len(trials), len(steps)), np.nan)
    for row, trial in enumerate(trials):
        reports = trial.intermediate_values
        # A step that was not reported has the value of the one before it, or of the first one.
        value = reports[min(reports)]
        for column, step in enumerate(steps):
            value = reports.get(step, value)
            curves[row, column] = value
    return curves, steps
