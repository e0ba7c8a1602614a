from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
import math
from typing import Any
from typing import Literal
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_perfpred._attributes import finite
from optuna_perfpred.forecasts import N_RECENT
from optuna_perfpred.history import find_trial
from optuna_perfpred.history import identify
from optuna_perfpred.history import trained_steps


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study

    from optuna_perfpred._arrays import Floats
    from optuna_perfpred._warn_once import WarnOnce
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.history import Identity


Cost = Literal["time"] | Callable[[FrozenTrial, int], float]
"""What a step costs: the seconds that it takes, or what a function of trial and step gives."""

# How many reports a trial had made when it first asked, and how many seconds it had run by then.
FIRST_CHECK = "perfpred:first_check"
# The first checks of this many trials are kept for those that run.
_N_REMEMBERED = 1000


def check_cost(cost: object, is_predictor: bool) -> None:
    """Raise a :exc:`ValueError` unless a pruner can count it, with a predictor or without."""
    if cost != "time" and not callable(cost):
        raise ValueError(
            f'`cost` must be "time", a function of trial and step, or None, but got {cost=}.'
        )
    if is_predictor:
        raise ValueError(
            "`cost` must be None with a CurvePredictor, which does not compare a trial with a new "
            f"one, but got {cost=}."
        )


class RelativeCosts:
    """What a step of a trial costs, as a multiple of what one of a new trial does.

    What the sampler proposes costs what the trials that finished last did, and the trial itself,
    so that few others do not have all the say. What a trial costs is known soon after it has
    begun: whoever looks for a cheap one pays for the first steps of the dear ones that are given
    up. So a new trial costs what one costs to the best of such seekers, see
    :func:`cost_of_new_trial`.

    Args:
        cost:
            What a step costs.
        n_warmup_steps:
            No trial is given up before this step.
        warn:
            Told once of a cost that is not known.
    """

    def __init__(self, cost: Cost, n_warmup_steps: int, warn: WarnOnce) -> None:
        self._cost = cost
        self._n_warmup_steps = n_warmup_steps
        self._warn = warn
        self._first_checks: dict[Identity, tuple[int, float]] = {}
        # The costs of finished trials, at the steps at which they were asked for.
        self._known: tuple[tuple[int, ...], dict[Identity, float | None]] = ((), {})

    @property
    def unit(self) -> str:
        """The unit, in the singular."""
        return "second" if self._cost == "time" else "unit of cost"

    def note_check(self, study: Study, trial: FrozenTrial) -> None:
        """Leave on a trial, when it first asks, how long it has taken until then.

        What comes before the first report may take long and tells nothing of a step: data are
        loaded, a network is compiled. It is written once for each trial, and not after each step.
        """
        identity = identify(trial)
        if self._cost != "time" or identity in self._first_checks:
            return
        seconds = _seconds(trial)
        if seconds is None:
            return
        check = len(trial.intermediate_values), seconds
        self._first_checks[identity] = check
        while len(self._first_checks) > _N_REMEMBERED:
            self._first_checks.pop(next(iter(self._first_checks)), None)
        study._storage.set_trial_user_attr(trial._trial_id, FIRST_CHECK, list(check))

    def of(
        self, trial: FrozenTrial, finished: FinishedTrials, trials: Sequence[FrozenTrial]
    ) -> float:
        """Give the relative cost of a step of a trial.

        Args:
            trial:
                The trial, running or stopped, which has reported.
            finished:
                The finished trials of its study.
            trials:
                All trials of the study, by ascending number.

        Returns:
            The multiple; 1 if the cost of the trial, or that of all others, is not known.
        """
        latest = [find_trial(trials, record.number) for record in finished.latest(N_RECENT)]
        others = [other for other in latest if other is not None]
        others = others or [t for t in trials if t.state == TrialState.RUNNING]
        others = [other for other in others if other.number != trial.number]
        steps = max((r.steps for r in finished.completed), key=len, default=np.empty(0, int))
        grid = tuple(steps.tolist()) or tuple(sorted(trial.intermediate_values))
        first = max(1, sum(step <= self._n_warmup_steps for step in grid)) / len(grid)
        if self._cost == "time":
            return _relative(*self._of_time(trial, others, trials), first)
        last = max(trial.intermediate_values)
        own = self._mean_cost(trial, [s for s in grid if s > last] or [last])
        return _relative(own, [self._of_finished(other, grid) for other in others], first)

    def _of_time(
        self, trial: FrozenTrial, others: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]
    ) -> tuple[float | None, list[float | None]]:
        stored = find_trial(trials, trial.number)
        own = self._seconds_per_step(trial if stored is None else _latest(trial, stored), trials)
        if own is not None:
            return own, [self._seconds_per_step(other, trials) for other in others]
        # It has asked for the first time: as yet only the ways to there can be compared.
        first_checks = (self._first_check(other) for other in (trial, *others))
        own, *known = (check and check[1] / check[0] for check in first_checks)
        return own, known

    def _seconds_per_step(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> float | None:
        paced = seconds_per_step(trial, self._first_check(trial))
        if paced is not None or not trial.state.is_finished() or self._first_check(trial):
            return paced
        # Whoever ran it did not ask; what came before the first report is not known.
        seconds, n_trained = _seconds(trial), len(trained_steps(trial, trials))
        return seconds / n_trained if seconds is not None and n_trained > 1 else None

    def _first_check(self, trial: FrozenTrial) -> tuple[int, float] | None:
        known = self._first_checks.get(identify(trial))
        return read_first_check(trial) if known is None else known

    def _of_finished(self, trial: FrozenTrial, steps: tuple[int, ...]) -> float | None:
        if self._known[0] != steps:
            self._known = (steps, {})
        known = self._known[1]
        identity = identify(trial)
        if identity not in known:
            cost = self._mean_cost(trial, steps)
            if not trial.state.is_finished():
                return cost
            known[identity] = cost
        return known[identity]

    def _mean_cost(self, trial: FrozenTrial, steps: Sequence[int]) -> float | None:
        assert callable(self._cost)
        try:
            costs = [finite(self._cost(trial, step)) for step in steps]
        except Exception as error:
            self._warn("Trials count with the mean cost of a step, as `cost` failed", error)
            return None
        known = [cost for cost in costs if cost is not None and cost > 0.0]
        if len(known) < len(costs):
            self._warn(
                "Trials count with the mean cost of a step, as `cost` gave something else than a "
                "finite positive number."
            )
            return None
        return sum(known) / len(known)


def seconds_per_step(trial: FrozenTrial, first: tuple[int, float] | None) -> float | None:
    """Give what a step of a trial has taken since it first asked whether to stop.

    Args:
        trial:
            The trial.
        first:
            How many reports it had made then, and how many seconds it had run. See
            :func:`read_first_check`.

    Returns:
        The seconds; :obj:`None` if it has not reported since, or it is not known.
    """
    seconds, n_reports = _seconds(trial), len(trial.intermediate_values)
    if first is None or seconds is None or n_reports <= first[0]:
        return None
    return max(seconds - first[1], 0.0) / (n_reports - first[0])


def cost_of_new_trial(costs: Floats, first: float) -> float:
    """Give what a step of a new trial costs, if the dear ones are given up early.

    Args:
        costs:
            What a step of each of the trials costs, of which a new one is drawn. Shape: ``(n,)``.
        first:
            The share of a training that is trained before it can be given up.

    Returns:
        The least cost of one that is not given up, over all limits above which one is.
    """
    ascending = np.sort(costs)
    kept = np.cumsum(ascending)
    given_up = first * (kept[-1] - kept)
    return float(np.min((kept + given_up) / np.arange(1, len(costs) + 1)))


def _relative(own: float | None, others: Sequence[float | None], first: float) -> float:
    known = [cost for cost in others if cost is not None]
    if own is None or not known:
        return 1.0
    new = cost_of_new_trial(np.array([*known, own]), first)
    # Steps that take no time that a clock can tell cost nothing, whoever trains them.
    return own / new if own > 0.0 and 0.0 < new < math.inf else 1.0


def _latest(trial: FrozenTrial, stored: FrozenTrial) -> FrozenTrial:
    """Give a trial as it asks; one that has ended, and is looked at again, as it was stored."""
    return stored if stored.state.is_finished() else trial


def _seconds(trial: FrozenTrial) -> float | None:
    """Give the seconds that a trial has run, until now or until its end."""
    start, end = trial.datetime_start, trial.datetime_complete
    if start is None:
        return None
    now = datetime.now(start.tzinfo) if end is None else end
    # Trials added by hand may carry a time zone at one end only; clocks may be set back.
    return max(0.0, (now.replace(tzinfo=None) - start.replace(tzinfo=None)).total_seconds())


def read_first_check(trial: FrozenTrial) -> tuple[int, float] | None:
    """Read what a trial that is priced by its time had done when it first asked, if it is told."""
    value: Any = trial.user_attrs.get(FIRST_CHECK)
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    n_reports, seconds = map(finite, value)
    if n_reports is None or seconds is None or n_reports < 1.0 or seconds < 0.0:
        return None
    return int(n_reports), seconds
