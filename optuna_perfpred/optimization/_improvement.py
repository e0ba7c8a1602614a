"""What more trials of a study are worth, and when to stop it."""

from __future__ import annotations

import logging
import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import TrialState
from scipy import special

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._warn_once import WarnOnce
from optuna_perfpred.history import PerStudy
from optuna_perfpred.samplers._predicted_study import StoppedTrials


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred._arrays import Floats


_logger = logging.getLogger(__name__)

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Fewer values than this have no tail to speak of.
_MIN_VALUES = 10
# The tail: this share of the values, but not fewer nor more than so many.
_TAIL = 0.2
_MIN_TAIL, _MAX_TAIL = 4, 40
# Near a smooth optimum in d dimensions, the share of configurations that are better than a value
# falls with the power d/2 of the distance from the optimum: a generalized Pareto tail with the
# shape -2/d, here for eight. Four promise too little where TPE proposes, and none (an exponential
# tail) three times too much.
_SHAPE = -0.25
# It is that of the last half of the trials, as samplers learn, but not of fewer than this.
_MIN_LAST = 20
# What a trial costs by now is taken from this many that ended last.
_N_RECENT = 20
# The share of the interquartile range below which an improvement is not worth the steps.
_LEAST_SHARE = 0.005


class ExpectedImprovement(NamedTuple):
    """What the next trials of a study are expected to bring.

    Attributes:
        improvement:
            How much better the best value is expected to be after them, in the unit of the
            objective, at least 0.
        probability:
            The probability that it is better at all.
        n_trials:
            The number of new trials that are paid for, as trials of the study cost by now.
        best_value:
            The best value so far.
        spread:
            The interquartile range of the values of all trials, those of stopped ones predicted.
    """

    improvement: float
    probability: float
    n_trials: float
    best_value: float
    spread: float


def expected_improvement(
    study: Study, *, n_trainings: float = 10.0, seconds: float | None = None
) -> ExpectedImprovement | None:
    """Tell what it is worth to go on with a study.

    The values of the last half of the trials, those of the stopped ones as they are predicted by
    now, show how thinly good values are sown: to the best fifth of them a generalized Pareto
    distribution is fitted, of which the next trials are further draws. After *n* trials, a new
    one is better than all before with a probability of ``1 / (n + 1)``. The expected improvement
    of the best value by the next ones follows.

    Args:
        study:
            A study with one objective.
        n_trainings:
            How much is spent, in whole trainings. Where trials are stopped, this pays for several
            times as many trials.
        seconds:
            How much is spent, in seconds, at the pace of the last trials and with as many workers
            as they had; ``3600`` asks what another hour is worth. It comes in the place of
            ``n_trainings``.

    Returns:
        What is expected, or :obj:`None` if nothing can be told: fewer than ten trials have a
        value, none that is completed is feasible, or ``seconds`` is given and the trials have no
        duration.

    Raises:
        ValueError:
            If the study has several objectives or an argument is out of its range.
    """
    _check(n_trainings, seconds)
    if not isinstance(study, Study):
        raise ValueError(f"`study` must be an Optuna study, but got {study!r}.")
    check_single_objective(study, "told how far they would improve")
    return _expected_improvement(study, StoppedTrials(study, 1), n_trainings, seconds)


class ExpectedImprovementCallback:
    """Callback that stops a study once more trials are hardly worth it.

    After each trial it asks :func:`~optuna_perfpred.optimization.expected_improvement`, logs the
    answer, and stops the study if it is below a threshold. In studies with several workers, each
    of them has its own callback and all come to the same answer. It never raises into the study:
    what fails is warned of once, and the study goes on.

    Example:

        .. code-block:: python

            study.optimize(objective, n_trials=1000, callbacks=[ExpectedImprovementCallback()])

    Args:
        threshold:
            The study is stopped if the best value is expected to improve by less than this, in the
            unit of the objective. If :obj:`None`, by less than 0.5 % of the interquartile range of
            the values of all trials.
        n_trainings:
            The price of that improvement, in whole trainings.
        seconds:
            The same in seconds, in the place of ``n_trainings``.
        n_startup_trials:
            The study is not stopped before this many trials have finished. The default is that of
            Optuna's terminator.

    Attributes:
        latest:
            The last answer, :obj:`None` before the first one.

    Raises:
        ValueError:
            If an argument is out of its range.
    """

    def __init__(
        self,
        threshold: float | None = None,
        *,
        n_trainings: float = 10.0,
        seconds: float | None = None,
        n_startup_trials: int = 20,
    ) -> None:
        if threshold is not None and not 0.0 <= threshold < math.inf:
            raise ValueError(
                f"`threshold` must be finite and not negative, or None, but got {threshold=}."
            )
        _check(n_trainings, seconds)
        check_at_least("n_startup_trials", n_startup_trials, 1)
        self._threshold = threshold
        self._n_trainings = n_trainings
        self._seconds = seconds
        self._n_startup_trials = n_startup_trials
        self._stopped = PerStudy(lambda study: StoppedTrials(study, 1))
        self._warn_once = WarnOnce()
        self.latest: ExpectedImprovement | None = None

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Stop the study if going on is hardly worth it.

        Args:
            study:
                The study.
            trial:
                The trial that has ended.
        """
        try:
            check_single_objective(study, "stopped by their expected improvement")
            finished = study.get_trials(deepcopy=False, states=_FINISHED)
            if len(finished) < self._n_startup_trials:
                return
            expected = self.latest = _expected_improvement(
                study, self._stopped.of(study), self._n_trainings, self._seconds
            )
        except Exception as error:
            self._warn_once("The study goes on, as it is not known what that is worth", error)
            return
        if expected is None:
            return
        spent = f"{self._n_trainings:g} trainings"
        if self._seconds is not None:
            spent = f"{self._seconds:g} seconds"
        _logger.info(
            "The next %s (%.3g trials) are expected to improve the best value, %g, by %.2g; that "
            "they improve it at all has a probability of %.2g.",
            spent,
            expected.n_trials,
            expected.best_value,
            expected.improvement,
            expected.probability,
        )
        threshold = self._threshold
        if threshold is None:
            threshold = _LEAST_SHARE * expected.spread
        if expected.improvement < threshold or expected.improvement == 0.0:
            _logger.info("The study is stopped, as less than %g is to be expected.", threshold)
            study.stop()


def _check(n_trainings: float, seconds: float | None) -> None:
    if not 0.0 < n_trainings < math.inf:
        raise ValueError(f"`n_trainings` must be positive and finite, but got {n_trainings=}.")
    if seconds is not None and not 0.0 < seconds < math.inf:
        raise ValueError(f"`seconds` must be positive and finite or None, but got {seconds=}.")


def _expected_improvement(
    study: Study, stopped: StoppedTrials, n_trainings: float, seconds: float | None
) -> ExpectedImprovement | None:
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    trials = study.get_trials(deepcopy=False, states=_FINISHED)
    feasible = [t for t in trials if t.state == TrialState.COMPLETE and _is_feasible(t)]
    best = max((sign * t.values[0] for t in feasible), default=-math.inf)
    shown = [t for t in stopped.show(trials) if t.state == TrialState.COMPLETE]
    values = np.array([sign * t.values[0] for t in shown if _is_feasible(t)])
    # A stopped trial is not better than the best one before it is trained.
    values = np.minimum(values[np.isfinite(values)], best)
    price = _trainings_of(trials) if seconds is None else _seconds_of(trials)
    if not math.isfinite(best) or len(values) < _MIN_VALUES or price is None:
        return None
    n_new = (n_trainings if seconds is None else seconds) / price
    n_better = n_new / (len(trials) + 1)
    latest = values[-max(_MIN_LAST, len(values) // 2) :]
    improvement = _scale_at(best, latest) * _improvement_in_scales(n_better)
    return ExpectedImprovement(
        improvement=improvement,
        probability=-math.expm1(-n_better) if improvement > 0.0 else 0.0,
        n_trials=n_new,
        best_value=sign * best,
        spread=float(np.subtract(*np.quantile(values, [0.75, 0.25]))),
    )


def _is_feasible(trial: FrozenTrial) -> bool:
    return all(constraint <= 0.0 for constraint in trial.constraints.values())


def _scale_at(best: float, values: Floats) -> float:
    """Give the scale of a generalized Pareto tail above the best value."""
    n_tail = int(np.clip(round(_TAIL * len(values)), _MIN_TAIL, _MAX_TAIL))
    descending = np.sort(values)[::-1]
    threshold = descending[n_tail]
    # The scale falls linearly towards the end of the tail, which is beyond the best value.
    scale = float(np.mean(descending[:n_tail] - threshold)) * (1.0 - _SHAPE)
    return max(scale + _SHAPE * (best - float(threshold)), 0.1 * scale)


def _improvement_in_scales(n_better: float) -> float:
    """Give the expected excess of the best of the next trials over the best one.

    Args:
        n_better:
            The expected number of the next trials that are better.

    Returns:
        The integral of ``1 - exp(-n_better * S(x))`` over all excesses ``x``, in units of the
        scale, where ``S(x) = (1 + shape * x) ** (-1 / shape)`` is the share of them that is
        larger.
    """
    power = -1.0 / _SHAPE
    none_larger = special.gammainc(1.0 / power, n_better) * n_better ** (-1.0 / power)
    return max(power * (1.0 - math.gamma(1.0 + 1.0 / power) * float(none_larger)), 0.0)


def _trainings_of(trials: Sequence[FrozenTrial]) -> float | None:
    """Give what a trial costs by now, in trainings to the end."""
    whole = [
        len(t.intermediate_values)
        for t in trials
        if t.state == TrialState.COMPLETE and t.intermediate_values
    ]
    if not whole:
        return 1.0
    recent = [max(len(t.intermediate_values), 1) for t in trials[-_N_RECENT:]]
    return float(np.mean(recent) / np.mean(whole[-_N_RECENT:]))


def _seconds_of(trials: Sequence[FrozenTrial]) -> float | None:
    """Give the seconds from the end of one trial to that of the next, but for pauses."""
    ran = sorted(
        (t.datetime_start.timestamp(), t.datetime_complete.timestamp())
        for t in trials[-_N_RECENT:]
        if t.datetime_start is not None and t.datetime_complete is not None
    )
    busy, until = 0.0, -math.inf
    for start, end in ran:
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    return busy / len(ran) if busy > 0.0 else None
