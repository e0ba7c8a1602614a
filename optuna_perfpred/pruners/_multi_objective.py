from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import math
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna._hypervolume import compute_hypervolume
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from scipy import stats

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._attributes import finite
from optuna_perfpred._warn_once import WarnOnce
from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.forecasts import StudySettings
from optuna_perfpred.history import find_trial
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import FinishedTrialsReader
from optuna_perfpred.history import is_due
from optuna_perfpred.history import PerStudy
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import report_values
from optuna_perfpred.history import ReportedTrials
from optuna_perfpred.pruners._assessment import beside_new_trials
from optuna_perfpred.pruners._assessment import PREDICTED_VALUES
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._assessment import STEP
from optuna_perfpred.pruners._constraints import tell_broken


if TYPE_CHECKING:
    import numpy.typing as npt
    from optuna.study import Study
    from optuna.trial import Trial

    from optuna_perfpred._arrays import Flags
    from optuna_perfpred._arrays import Floats


# Fewer complete trials give no regression, and hardly a front.
_N_STARTUP = 5
# A trial is stopped if its expected improvement for each step is less than this multiple of what a
# new trial's is if that is trained to its end. It hardly ever is: most are stopped at once, and
# cost a third or less. It is less than half of that until so many trials have finished.
_LEAST_RATIO = 3.0
_N_CAREFUL = 10
# By their mean the improvement is known to a tenth of it, which is little beside the forecast's
# own error.
_N_DRAWS = 128
# By how much the worst point that counts lies behind the worst one of the front, as a share of
# the front's range.
_MARGIN = 0.1


class MultiObjectivePruning:
    """Stops a trial of a study with several objectives by what all of them are foreseen to be.

    Optuna refuses :meth:`optuna.trial.Trial.report` and
    :meth:`~optuna.trial.Trial.should_prune` where a study has several objectives. These two do
    the same here, by an object for each trial. What is reported is kept in the trial's system
    attributes, one for each step.

    After a report, the end of each objective's curve is forecast by a regression on the complete
    trials' curves and parameters. The trial is stopped if the hypervolume by which it is expected
    to improve the Pareto front, for each step still to train, is less than a fraction of what a
    new trial improves it by: what those of the front add to it, shared among all that have
    finished. The fraction is small as long as few trials have finished. Nothing is stopped before
    five trials are complete, and never while an objective is neither reported nor known.

    A stopped trial has no values. NSGA-II breeds from complete trials; TPE takes a stopped one as
    worse than any complete one.

    Example:

        .. testcode::

            import optuna

            from optuna_perfpred.pruners import MultiObjectivePruning


            def objective(trial):
                width = trial.suggest_int("width", 1, 100)
                pruning = MultiObjectivePruning(trial, ["error", "width"], known={"width": width})
                for step in range(20):
                    error = 1.0 / width + 0.8**step
                    pruning.report({"error": error}, step)
                    if pruning.should_prune():
                        raise optuna.TrialPruned
                return error, width


            study = optuna.create_study(directions=["minimize", "minimize"])
            study.optimize(objective, n_trials=20)

    Args:
        trial:
            The running trial.
        names:
            A name for each objective, in the order of the study's directions and of what the
            objective returns. The same ones in all trials.
        known:
            The values of objectives that are known before the training, by their names: the
            number of weights, a latency that was measured.
        n_warmup_steps:
            The trial is not stopped before this step.
        interval_steps:
            Interval in number of steps between the checks, as of
            :class:`~optuna_perfpred.PerformancePredictionPruner`.

    Raises:
        ValueError:
            If there is not one name for each objective, a known value is no finite number or of
            none of them, or another argument is out of its range.
    """

    def __init__(
        self,
        trial: Trial,
        names: Sequence[str],
        *,
        known: Mapping[str, float] | None = None,
        n_warmup_steps: int = 0,
        interval_steps: int = 1,
    ) -> None:
        n = len(trial.study.directions)
        if n < 2:
            raise ValueError(
                "The study must have several objectives, but has one: call `trial.report` and "
                "`trial.should_prune`."
            )
        if isinstance(names, str) or len({*names}) != n or len(names) != n:
            raise ValueError(
                f"`names` must be {n} different strings, one for each objective of the study, but "
                f"got {names=}."
            )
        known = {} if known is None else known
        for name, value in known.items():
            if name not in names or finite(value) is None:
                raise ValueError(
                    "`known` must be finite numbers by names of objectives, "
                    f"{', '.join(map(repr, names))}, but got {value!r} for {name!r}."
                )
        check_at_least("n_warmup_steps", n_warmup_steps, 0)
        check_at_least("interval_steps", interval_steps, 1)
        self._trial = trial
        self._names = tuple(names)
        self._known = {name: float(value) for name, value in known.items()}
        self._n_warmup_steps = n_warmup_steps
        self._interval_steps = interval_steps
        # By step: what was reported then.
        self._reports: dict[int, Mapping[str, float]] = {}

    def report(self, values: Mapping[str, float], step: int) -> None:
        """Report the values of objectives at a step.

        Args:
            values:
                The values by the names of their objectives. NaN counts as not reported, an
                infinite one as very large. Those that are known need not be reported.
            step:
                The step. A later report at the same step replaces it.

        Raises:
            ValueError:
                If a value is no number or of no objective, or the step no integer of at least 0.
        """
        if isinstance(values, Mapping) and not {*values} <= {*self._names}:
            raise ValueError(
                f"`values` must be of objectives, {', '.join(map(repr, self._names))}, but got "
                f"{values!r}."
            )
        report_values(self._trial, values, step)
        self._reports[int(step)] = {name: float(value) for name, value in values.items()}

    def should_prune(self) -> bool:
        """Tell whether the trial should be stopped, as after ``trial.report``.

        Never raises: if anything fails, a warning tells its cause once, and the trial goes on.

        Returns:
            Whether to raise :exc:`optuna.TrialPruned`.
        """
        study, trial = self._trial.study, self._trial
        forecaster = _forecasters.of(study)
        try:
            # The order of the steps is that of the reports, as in Optuna's intermediate values.
            if not is_due(
                dict.fromkeys(self._reports, 0.0), self._n_warmup_steps, self._interval_steps
            ):
                return False
            attributes = forecaster.tell_hopeless(trial, self._names, self._known, self._reports)
            if attributes is None:
                return False
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
        except UpdateFinishedTrialError:
            return True  # Another process has ended it.
        except Exception as error:
            forecaster.warn_once("The trial is not pruned because its forecast failed", error)
            return False
        return True


class _Front(NamedTuple):
    """The Pareto front of a study, on a scale on which it spans from 0 to 1 in each objective.

    Attributes:
        losses:
            Its points, less is better. Shape: ``(n, n_objectives)``.
        ideal:
            The best value of each objective, as a loss. Shape: ``(n_objectives,)``.
        extent:
            What is 1 on the scale. Shape: ``(n_objectives,)``.
        reference_point:
            The worst point that counts. Shape: ``(n_objectives,)``.
        hypervolume:
            Its hypervolume.
        gain:
            By how much a new trial improves it, on the average.
    """

    losses: Floats
    ideal: Floats
    extent: Floats
    reference_point: Floats
    hypervolume: float
    gain: float

    @classmethod
    def of(cls, losses: Floats, n_finished: int) -> _Front | None:
        """Take the front of complete trials; :obj:`None` if an objective has no extent.

        Args:
            losses:
                Their values, less is better. Shape: ``(n, n_objectives)``.
            n_finished:
                The number of all trials that have finished.
        """
        front = np.unique(losses[~_are_dominated(losses, losses)], axis=0)
        ideal, worst = front.min(axis=0), front.max(axis=0)
        # Where the front is one point, the distance to the middle of all trials stands in.
        is_point = worst == ideal
        extent = np.where(is_point, np.median(losses, axis=0), worst) - ideal
        if not (np.isfinite(extent) & (extent > 0.0)).all():
            return None
        scaled = (front - ideal) / extent
        reference_point = np.where(is_point, 1.0, 1.0 + _MARGIN)
        whole = compute_hypervolume(scaled, reference_point, assume_pareto=True)
        rests = [np.delete(scaled, i, axis=0) for i in range(len(scaled))]
        parts = [whole - compute_hypervolume(rest, reference_point) for rest in rests]
        # As trials are exchangeable, the next one adds what any one adds to all others.
        gain = sum(parts) / n_finished
        return cls(scaled, ideal, extent, reference_point, whole, gain) if gain > 0.0 else None

    def improvement(self, losses: Floats) -> float:
        """Give by how much draws of a trial's end would improve it, on the average.

        Args:
            losses:
                The draws. Shape: ``(n_draws, n_objectives)``.
        """
        scaled = (losses - self.ideal) / self.extent
        counts = np.all(scaled < self.reference_point, axis=1)
        counts &= ~_are_dominated(scaled, self.losses)
        improved = [
            compute_hypervolume(np.vstack([self.losses, row]), self.reference_point)
            for row in scaled[counts]
        ]
        return (sum(improved) - self.hypervolume * len(improved)) / len(losses)


def _are_dominated(losses: Floats, others: Floats) -> Flags:
    """Tell of each row whether one of the others is better. Shapes: ``(n, d)`` and ``(m, d)``."""
    rows = losses[:, np.newaxis]
    dominated: Flags = (np.all(others <= rows, axis=2) & np.any(others < rows, axis=2)).any(axis=1)
    return dominated


class _Forecaster:
    """What is known of one study, for all its trials of this process. Safe with threads."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._signs = [1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in study.directions]
        self._reader = FinishedTrialsReader()
        self._objectives: dict[str, tuple[ReportedTrials, StudyForecast]] = {}
        self._front: tuple[FinishedTrials | None, _Front | None] = (None, None)
        self.warn_once = WarnOnce()

    def tell_hopeless(
        self,
        trial: Trial,
        names: Sequence[str],
        known: Mapping[str, float],
        reports: Mapping[int, Mapping[str, float]],
    ) -> dict[str, Any] | None:
        """Tell in user attributes why a trial is to be stopped; :obj:`None` if it is not.

        Args:
            trial:
                The trial.
            names:
                The names of the objectives.
            known:
                The values of some of them.
            reports:
                What was reported of the others, by step.
        """
        finished, step = self._reader.read(self._study, trial), max(reports)
        stored = find_trial(self._reader.trials, trial.number)
        front = self._front_of(finished)
        if front is None or stored is None:
            return None
        for name, value in stored.constraints.items():
            if value > 0.0:
                return {STEP: step, REASON: tell_broken(step, name, value)}
        configuration = read_configuration(stored)
        losses, remaining = np.empty((_N_DRAWS, len(names))), []
        for at, (name, sign) in enumerate(zip(names, self._signs, strict=True)):
            if name in known:
                losses[:, at] = -sign * known[name]
                continue
            forecast = self._draw(at, name, Curve(configuration, *_curve(reports, name)), finished)
            if forecast is None:
                return None
            losses[:, at] = forecast.losses
            remaining.append(forecast.remaining)
        if not remaining:
            return None  # All is known, and nothing tells how long it trains.
        relative = front.improvement(losses) / (max(remaining) * front.gain)
        n = len(finished)
        if relative >= _LEAST_RATIO * n / (n + _N_CAREFUL):
            return None
        ends = [-sign * float(np.median(losses[:, at])) for at, sign in enumerate(self._signs)]
        told = ", ".join(f"{name} {end:.4g}" for name, end in zip(names, ends, strict=True))
        beside = beside_new_trials(relative, what="expected hypervolume")
        reason = f"At step {step}: predicted to end at {told}; {beside}."
        return {STEP: step, PREDICTED_VALUES: ends, REASON: reason}

    def _front_of(self, finished: FinishedTrials) -> _Front | None:
        known, front = self._front
        if known is not finished:
            trials = [find_trial(self._reader.trials, r.number) for r in finished.completed]
            values = [
                trial.values
                for trial in trials
                if trial is not None
                and all(constraint <= 0.0 for constraint in trial.constraints.values())
            ]
            losses = -np.array(self._signs) * np.array(values).reshape(-1, len(self._signs))
            losses = losses[np.isfinite(losses).all(axis=1)]
            front = _Front.of(losses, len(finished)) if len(losses) >= _N_STARTUP else None
            self._front = (finished, front)
        return front

    def _draw(
        self, at: int, name: str, curve: Curve, finished: FinishedTrials
    ) -> _EndOfCurve | None:
        if name not in self._objectives:
            settings = StudySettings(
                sign=self._signs[at],
                n_startup_trials=_N_STARTUP,
                top_n=1,
                offset=0.0,
                horizon=None,
                feature_attrs=(),
                earlier=FinishedTrials(),
            )
            self._objectives[name] = (
                ReportedTrials(name, lambda trial: trial.values[at]),
                StudyForecast(StoppingRule(), settings),
            )
        reported, forecast = self._objectives[name]
        learned = forecast.learned_from(
            reported.of(finished, lambda number: find_trial(self._reader.trials, number))
        )
        if learned is None or learned.completed.regression is None:
            return None
        known, observed = learned.observe([curve])
        if len(known) == 0:
            return None
        completed, end = learned.completed, int(observed.at[0])
        predicted = completed.predict(observed.curves, observed.configurations)[0, end]
        draws = predicted + learned.completed.regression.std[end] * _draws(len(self._signs))[:, at]
        # The regression is on a scale on which far values are logarithmic.
        oriented = completed.best_value + completed.top_spread * np.sinh(draws)
        return _EndOfCurve(-oriented, float(completed.remaining[end] / completed.mean_length))


class _EndOfCurve(NamedTuple):
    """Draws of how an objective's curve will end, and what is still to train until then."""

    losses: Floats
    remaining: float


def _curve(
    reports: Mapping[int, Mapping[str, float]], name: str
) -> tuple[npt.NDArray[np.int64], Floats]:
    known = {step: reports[step][name] for step in sorted(reports) if name in reports[step]}
    known = {step: value for step, value in known.items() if not math.isnan(value)}
    return np.array(list(known), dtype=np.int64), np.array(list(known.values()), dtype=float)


@functools.cache
def _draws(n_objectives: int) -> Floats:
    """Give draws of standard normal variables, the same ones in every process."""
    uniform = stats.qmc.Sobol(n_objectives, seed=0).random(_N_DRAWS)
    draws: Floats = stats.norm.ppf(uniform)
    return draws


_forecasters = PerStudy(_Forecaster)
