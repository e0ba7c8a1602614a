from __future__ import annotations

from dataclasses import replace
import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.history import find_trial
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_reported
from optuna_perfpred.history import report_values
from optuna_perfpred.history import ReportedTrials
from optuna_perfpred.pruners._assessment import Assessment
from optuna_perfpred.pruners._assessment import percent
from optuna_perfpred.pruners._assessment import share_of_chance


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial
    from optuna.trial import Trial

    from optuna_perfpred._warn_once import WarnOnce
    from optuna_perfpred.forecasts import StudySettings
    from optuna_perfpred.history import ReportedCurve
    from optuna_perfpred.predictors import CurvePredictor


# If none of so many trials satisfies the constraints, the user is told.
_N_TO_TELL = 10


def report_constraints(trial: Trial, values: Mapping[str, float], step: int) -> None:
    """Report what constraints come to during a training, for the pruner to forecast their ends.

    A constraint that is known for good is told by :meth:`optuna.trial.Trial.set_constraint`, which
    keeps the first value that it is given. One that changes as a trial is trained, such as the
    memory or the latency of a network that grows, is reported here at each step, before
    ``should_prune`` is asked, and set when the training ends. Report all constraints of a step at
    once. With one attribute in the storage for each step, it costs what ``trial.report`` does.

    Args:
        trial:
            The running trial.
        values:
            The values of the constraints by their names: those given to ``set_constraint``. They
            are satisfied at zero and below. NaN counts as not reported.
        step:
            The step.

    Raises:
        ValueError:
            If a value is no number, a name no string, or the step no integer of at least 0.
    """
    report_values(trial, values, step)


class _Forecast(NamedTuple):
    """How likely a trial satisfies all constraints, and what of that one tells."""

    probability: float
    reason: str


class ConstraintForecasts:
    """Whether the running trials of one study will satisfy their constraints.

    Args:
        rule:
            What the trials are assessed by.
        settings:
            The pruner's arguments.
        warn:
            Told once if no trial satisfies the constraints.
    """

    def __init__(
        self, rule: StoppingRule | CurvePredictor, settings: StudySettings, warn: WarnOnce
    ) -> None:
        self._rule = rule
        self._settings = replace(
            settings,
            sign=-1.0,
            n_startup_trials=1,
            top_n=1,
            offset=0.0,
            earlier=FinishedTrials(),
        )
        self._warn = warn
        self._forecasts: dict[str, tuple[ReportedTrials, StudyForecast]] = {}

    def weigh(
        self,
        assessment: Assessment | None,
        trial: FrozenTrial,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
    ) -> Assessment | None:
        """Take into account that a trial which breaks a constraint cannot become the best.

        Args:
            assessment:
                The assessment of the trial, as if it satisfied all constraints.
            trial:
                The trial, which has reported.
            finished:
                The finished trials of the study.
            trials:
                All trials of the study, by ascending number. What they have set and reported is
                taken from here: the trial that asks would read the storage once more.

        Returns:
            The assessment. It is as given as long as no trial satisfies the constraints: which of
            them comes closest is then the best that the study has.
        """
        stored = find_trial(trials, trial.number)
        forecast = None if stored is None else self._forecast(stored, trial, finished, trials)
        if forecast is None or forecast.probability >= 1.0:
            return assessment
        if not any(record.feasible for record in finished.completed):
            if len(finished) >= _N_TO_TELL:
                self._warn(
                    f"None of the first {_N_TO_TELL} trials satisfies the constraints: as long as "
                    "that is so, no trial is stopped because it breaks them."
                )
            return assessment
        if assessment is None:
            return _hopeless(trial, forecast) if forecast.probability == 0.0 else None
        relative = assessment.relative_chance
        if relative is not None:
            relative *= forecast.probability
        return replace(
            assessment,
            probability=(
                assessment.probability * forecast.probability
                if relative is None
                else share_of_chance(relative)
            ),
            probability_of_beating_best=(
                assessment.probability_of_beating_best * forecast.probability
            ),
            relative_chance=relative,
            # What decides is told.
            reason=assessment.reason if assessment.is_hopeless else forecast.reason,
        )

    def _forecast(
        self,
        stored: FrozenTrial,
        trial: FrozenTrial,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
    ) -> _Forecast | None:
        known, last = stored.constraints, max(trial.intermediate_values)
        broken = {name: value for name, value in known.items() if value > 0.0}
        if broken:
            name, value = max(broken.items(), key=lambda item: item[1])
            return _Forecast(0.0, tell_broken(last, name, value))
        chances = {
            name: self._chance(name, _until(curve, last), stored, finished, trials)
            for name, curve in read_reported(stored).items()
            if name not in known
        }
        if not chances:
            return None
        name = min(chances, key=lambda name: chances[name])
        return _Forecast(
            math.prod(chances.values()),
            f"At step {last}: {percent(chances[name])} chance to satisfy the constraint {name!r}.",
        )

    def _chance(
        self,
        name: str,
        curve: ReportedCurve,
        trial: FrozenTrial,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
    ) -> float:
        """Give the probability that a constraint is satisfied at the end; 1 if nobody knows."""
        if name not in self._forecasts:
            rule = self._rule if isinstance(self._rule, StoppingRule) else StoppingRule()
            self._forecasts[name] = (
                ReportedTrials(name, lambda trial: trial.constraints.get(name)),
                StudyForecast(rule, self._settings),
            )
        reported, forecast = self._forecasts[name]
        learned = forecast.learned_from(
            reported.of(finished, lambda number: find_trial(trials, number))
        )
        # A few trials tell nothing of how far a forecast may be wrong.
        completed = None if learned is None else learned.completed
        if learned is None or completed is None or completed.regression is None:
            return 1.0
        configuration = read_configuration(trial, self._settings.feature_attrs)
        known, observed = learned.observe([Curve(configuration, *curve)])
        if len(known) == 0:
            return 1.0
        # On the scale of the regression, on which its errors are as large everywhere. Values are
        # oriented so that larger is better.
        predicted = completed.predict(observed.curves, observed.configurations)[0, observed.at[0]]
        std = completed.regression.std[observed.at[0]]
        return float(special.ndtr((predicted - completed.transform(np.zeros(1))[0]) / std))


def tell_broken(step: int, name: str, value: float) -> str:
    """Tell that a trial breaks a constraint."""
    return f"At step {step}: it breaks the constraint {name!r}, which is {value:.4g} > 0."


def _until(curve: ReportedCurve, step: int) -> ReportedCurve:
    """Give the curve as it was at a step, of a trial that is looked at again."""
    n = int(curve.steps.searchsorted(step, side="right"))
    return type(curve)(curve.steps[:n], curve.values[:n])


def _hopeless(trial: FrozenTrial, forecast: _Forecast) -> Assessment | None:
    """Assess a trial of which it is only known that it breaks a constraint."""
    step = max(trial.intermediate_values)
    value = trial.intermediate_values[step]
    if not math.isfinite(value):
        return None
    return Assessment(
        step=step,
        predicted_value=value,
        predicted_std=0.0,
        probability=0.0,
        least_probability=1.0,
        probability_of_beating_best=0.0,
        reference=value,
        reason=forecast.reason,
    )
