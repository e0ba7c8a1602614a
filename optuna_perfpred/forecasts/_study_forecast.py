from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from optuna_perfpred.forecasts._features import MIN_PEERS
from optuna_perfpred.forecasts._features import N_RECENT
from optuna_perfpred.forecasts._features import peer_features
from optuna_perfpred.forecasts._learned import Curve
from optuna_perfpred.forecasts._learned import Learned
from optuna_perfpred.forecasts._learned import Returned
from optuna_perfpred.forecasts._learned import ReturnedValues
from optuna_perfpred.forecasts._learned import RuleInputs
from optuna_perfpred.forecasts._schedule import Fits
from optuna_perfpred.forecasts._schedule import is_first_of
from optuna_perfpred.forecasts._schedule import n_learned_from
from optuna_perfpred.forecasts._stopping_rule import relative_chance
from optuna_perfpred.forecasts._study_settings import BestTrials
from optuna_perfpred.forecasts._study_settings import EarlierStudies
from optuna_perfpred.predictors._base import fill_gaps


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna_perfpred._arrays import Floats
    from optuna_perfpred.forecasts._stopping_rule import StoppingRule
    from optuna_perfpred.forecasts._study_settings import StudySettings
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials


# More completed trials than this are thinned evenly: their quantiles hardly change.
_MAX_COMPLETED = 500
# Longer curves are compared at this many steps.
_MAX_STEPS = 100
# The first and the last third of the trials are compared, at most this many of each.
_MAX_COMPARED = 30
# Fewer than this tell nothing.
_MIN_COMPARED = 4
# Nearly all of them have come to the step at which they are compared.
_REACHED = 0.2
# A sampler that has learned the most is not trusted with more than this.
_LARGEST_ODDS = 3.0


# What was learned: the number of completed trials that it was learned from and the last one of
# them, the number of trials of earlier studies, and the trial to beat.
_LearnedFrom = tuple[int, "CurveRecord | None", int, "CurveRecord"]


class TrialForecasts(NamedTuple):
    """How ``m`` trials would end, in the values of their objective.

    Attributes:
        mean:
            The means of the forecasts of their final values. Shape: ``(m,)``, as of all arrays;
            NaN for a trial of which nothing can be told.
        std:
            The standard errors.
        chance:
            The probabilities of beating the value to beat.
        relative_chance:
            These probabilities for each step still to train, as multiples of a new trial's.
        share_left:
            What is still to train of the whole trial.
        to_beat:
            The value to beat.
        n_finished:
            The number of trials that had finished, by which a new one is judged.
        odds_of_improvement:
            How much better the sampler proposes now than when the study began, see
            :func:`odds_of_improvement`.
        inputs:
            What the rule was told of those that can be forecast.
    """

    mean: Floats
    std: Floats
    chance: Floats
    relative_chance: Floats
    share_left: Floats
    to_beat: float
    n_finished: int
    odds_of_improvement: float
    inputs: RuleInputs


class PeerForecast(NamedTuple):
    """How a trial compares with those that have come as far, before any is complete.

    Attributes:
        chance:
            The probability that it ends as the best of them.
        rank:
            Its rank among them at the same step, 1 for the best.
        n_peers:
            Their number, itself included.
        best:
            The best value at that step, as it was reported.
        spread:
            The distance from the 20th to the 80th percentile of their values there.
    """

    chance: float
    rank: int
    n_peers: int
    best: float
    spread: float


class StudyForecast:
    """How the trials of one study would end, from all evidence of the moment. Safe with threads.

    A rule that was trained on other studies tells the chance to beat the best completed trial; a
    regression on the completed trials of this one tells the value. What is told of a trial is a
    function of it and of the trials in the storage, so that every process that reads the same
    storage tells the same. It is learned anew when the number of completed trials has grown by a
    tenth, or when one is better than all before.

    Args:
        rule:
            The rule.
        settings:
            What applies to the study.
        earlier:
            The earlier studies, if others ask for them too: they are refused with one warning.
        warn:
            Told once if the reported values do not order the trials as the returned ones do.
    """

    def __init__(
        self,
        rule: StoppingRule,
        settings: StudySettings,
        earlier: EarlierStudies | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._rule = rule
        self._settings = settings
        self._warn = warn
        self._best = BestTrials(settings)
        self._earlier = EarlierStudies(settings) if earlier is None else earlier
        self._fits: Fits[_LearnedFrom, Learned | None] = Fits(1)
        self._improvement: tuple[FinishedTrials | None, float] = (None, 1.0)
        self._recent = _Recent(None, None, {}, np.empty((0, 0)))

    def of(self, finished: FinishedTrials, trials: Sequence[Curve]) -> TrialForecasts | None:
        """Forecast how trials would end.

        Args:
            finished:
                The finished trials of the study.
            trials:
                The trials to forecast, running or stopped.

        Returns:
            The forecasts, or :obj:`None` if nothing can be told: too few trials are complete, or
            what they returned is not what their reports tell of.
        """
        learned, earlier = self._learn(finished, trials)
        if learned is None:
            return None
        known, observed = learned.observe(trials)
        if len(known) == 0:
            return None
        finished = finished.of_present_horizon
        n_finished = len(finished) + earlier.n_equivalent
        recent = self._recent_curves(finished, learned)
        inputs = RuleInputs(self._rule, learned, observed, recent, n_finished)
        sign = self._settings.sign
        chance = inputs.chance
        mean, std = inputs.forecast(chance)

        def of_all(values: Floats) -> Floats:
            found = np.full(len(trials), np.nan)
            found[known] = values
            return found

        return TrialForecasts(
            mean=of_all(sign * mean),
            std=of_all(std),
            chance=of_all(chance),
            relative_chance=of_all(relative_chance(chance, inputs.remaining, n_finished)),
            share_left=of_all(inputs.remaining / inputs.length),
            to_beat=sign * learned.completed.best_value,
            n_finished=n_finished,
            odds_of_improvement=self._odds_of_improvement(finished),
            inputs=inputs,
        )

    def learned_from(self, finished: FinishedTrials) -> Learned | None:
        """Give what is learned from the completed trials; the same object until it is renewed."""
        return self._learn(finished, ())[0]

    def among_peers(self, trial: Curve, others: Sequence[Curve]) -> PeerForecast | None:
        """Compare a running trial with those that have come as far, where none is complete.

        Args:
            trial:
                The trial.
            others:
                All other trials that have reported, running or stopped.

        Returns:
            The comparison, or :obj:`None` if there are too few such trials, or nothing tells them
            apart.
        """
        came_as_far = [o for o in others if len(o.steps) and o.steps[-1] >= trial.steps[-1]]
        if len(came_as_far) + 1 < MIN_PEERS:
            return None
        sign = self._settings.sign
        steps = np.unique(np.linspace(0, len(trial.steps) - 1, _MAX_STEPS).astype(int))
        curves = np.full((1 + len(came_as_far), len(steps)), np.nan)
        for row, curve in zip(curves, (trial, *came_as_far), strict=True):
            finite = np.isfinite(curve.values)
            if finite.any():
                row[:] = np.interp(
                    trial.steps[steps],
                    curve.steps[finite],
                    sign * curve.values[finite],
                    left=np.nan,
                    right=np.nan,
                )
        known = ~np.isnan(curves[:, -1])
        if not known[0] or np.count_nonzero(known) < MIN_PEERS:
            return None
        curves = fill_gaps(curves[known])
        now = curves[:, -1]
        if np.ptp(now) == 0.0:
            return None
        described = peer_features(curves, np.array([0]))
        low, high = np.quantile(now, [0.2, 0.8])
        return PeerForecast(
            chance=float(special.expit(self._rule.peer_log_odds(described))[0]),
            rank=1 + int(np.count_nonzero(now > now[0])),
            n_peers=len(curves),
            best=float(sign * now.max()),
            spread=float(high - low),
        )

    def _odds_of_improvement(self, finished: FinishedTrials) -> float:
        known_of, odds = self._improvement
        if known_of is not finished:
            odds = odds_of_improvement(finished, self._settings.sign)
            self._improvement = finished, odds
        return odds

    def _learn(
        self, finished: FinishedTrials, trials: Sequence[Curve]
    ) -> tuple[Learned | None, EarlierStudies]:
        """Take the statistics of the completed trials, if they are not known already.

        Args:
            finished:
                The finished trials of the study.
            trials:
                Trials to forecast, which may tell that the earlier studies are of another kind.

        Returns:
            What was learned, and the earlier studies that are part of it.
        """
        earlier, completed = self._earlier, finished.of_present_horizon.completed
        # All trials in one sequence only for those who look at them: there may be many.
        records = tuple(finished) if len(earlier) > 0 else ()
        for trial in trials:
            earlier = earlier.unless_refused(records, trial.steps, trial.values)
        if len(completed) + len(earlier) < max(1, self._settings.n_startup_trials):
            return None, earlier
        best = self._best.of(finished.completed)
        stand_in = earlier.stand_in(len(finished))
        to_beat = [record for record in (best and best[-1], stand_in) if record]
        if not to_beat:
            return None, earlier
        # The study's own, unless earlier studies promise a better one.
        reference = max(to_beat, key=lambda record: self._settings.sign * record.value)
        n = n_learned_from(len(completed))
        learned = self._fits.get(
            (n, completed[n - 1] if n > 0 else None, len(earlier), reference),
            lambda: self._learn_from(
                earlier.records(n) + completed[:n],
                reference,
                is_compared=reference in completed or reference not in finished.completed,
            ),
            lambda known: is_first_of(*known[:2], completed) and known[2] == len(earlier),
        )
        return learned, earlier

    def _learn_from(
        self, records: tuple[CurveRecord, ...], reference: CurveRecord, *, is_compared: bool
    ) -> Learned | None:
        settings = self._settings
        # Trials better than the one to beat would show the rule a study in which it is not best.
        worse = [r for r in records if settings.sign * (reference.value - r.value) >= 0.0]
        worse = [r for r in worse if r is not reference]
        thinning = -(-len(worse) // _MAX_COMPLETED) or 1
        # The best one may have been trained for less than the others are.
        compared = [*worse[::thinning], *([reference] if is_compared else [])]
        returned = ReturnedValues.of(compared, settings.sign)
        if self._warn is not None and returned.returned in (Returned.OPPOSITE, Returned.UNRELATED):
            self._warn(
                "No trial is pruned by what it reports: the completed trials return "
                f"{returned.returned.value}. Report the value that the objective returns."
            )
        return Learned.of(
            compared,
            best_value=settings.sign * reference.value - settings.offset,
            sign=settings.sign,
            horizon=settings.horizon,
            returned=returned,
        )

    def _recent_curves(self, finished: FinishedTrials, learned: Learned) -> Floats:
        known = self._recent
        if known.finished is finished and known.learned is learned:
            return known.curves
        rows = known.rows if known.learned is learned else {}
        latest = finished.latest(N_RECENT)
        new = [record for record in latest if id(record) not in rows]
        curves = learned.align([Curve.of(record) for record in new])
        found = rows | {id(r): (r, row) for r, row in zip(new, curves, strict=True)}
        rows = {id(record): found[id(record)] for record in latest}
        curves = np.array([row for _, row in rows.values()]).reshape(
            -1, len(learned.training_set.steps)
        )
        self._recent = _Recent(finished, learned, rows, curves)
        return curves


class _Recent(NamedTuple):
    """The curves of the trials that finished last, in the columns of what was learned."""

    finished: FinishedTrials | None
    learned: Learned | None
    # By the identity of the record, which is kept with its row so that no other gets the same.
    rows: dict[int, tuple[CurveRecord, Floats]]
    curves: Floats


def odds_of_improvement(finished: FinishedTrials, sign: float) -> float:
    """Tell how much better the sampler proposes now than when the study began.

    A new trial is worth what the sampler proposes now. If it proposes at random, trials are as
    good as those before them; one that learns proposes better ones. The trials that finished last
    are compared with the first ones at a step that nearly all of them have reached.

    Args:
        finished:
            The finished trials of the study.
        sign:
            ``1.0`` if values are to be maximized, ``-1.0`` if to be minimized.

    Returns:
        The odds that a trial of now is better than one of then, less a standard error of the
        comparison (that of the Mann-Whitney statistic), between 1 and 3.
    """
    n = min(len(finished) // 3, _MAX_COMPARED)
    if n < _MIN_COMPARED:
        return 1.0
    first, last = finished.earliest(n), finished.latest(n)
    ends = [int(r.steps[-1]) for r in (*first, *last) if len(r.steps) > 0]
    if not ends:
        return 1.0
    step = float(np.quantile(ends, _REACHED, method="lower"))
    then, now = (_values_at(step, records, sign) for records in (first, last))
    n_then, n_now = len(then), len(now)
    if min(n_then, n_now) < _MIN_COMPARED:
        return 1.0
    share = float(np.heaviside(np.subtract.outer(now, then), 0.5).sum()) / (n_then * n_now)
    share -= math.sqrt((n_then + n_now + 1) / (12.0 * n_then * n_now))
    if share >= 1.0:
        return _LARGEST_ODDS
    return min(max(share / (1.0 - share), 1.0), _LARGEST_ODDS)


def _values_at(step: float, records: Sequence[CurveRecord], sign: float) -> list[float]:
    values = []
    for record in records:
        finite = np.isfinite(record.values)
        steps = record.steps[finite]
        if len(steps) > 0 and steps[0] <= step <= steps[-1]:
            values.append(sign * float(np.interp(step, steps, record.values[finite])))
    return values
