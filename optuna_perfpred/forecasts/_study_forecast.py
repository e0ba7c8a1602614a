from __future__ import annotations

from dataclasses import dataclass
import threading
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from optuna_perfpred.forecasts._earlier_studies import EarlierStudies
from optuna_perfpred.forecasts._features import N_RECENT
from optuna_perfpred.forecasts._learned import Curve
from optuna_perfpred.forecasts._learned import Learned
from optuna_perfpred.forecasts._learned import Situation
from optuna_perfpred.forecasts._peers import MIN_PEERS
from optuna_perfpred.forecasts._peers import peer_features
from optuna_perfpred.forecasts._proposals import odds_of_improvement
from optuna_perfpred.forecasts._returned_values import Returned
from optuna_perfpred.forecasts._returned_values import ReturnedValues
from optuna_perfpred.forecasts._schedule import n_learned_from
from optuna_perfpred.forecasts._stopping_rule import relative_chance
from optuna_perfpred.forecasts._study_settings import BestTrials
from optuna_perfpred.predictors._base import fill_gaps


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.forecasts._stopping_rule import StoppingRule
    from optuna_perfpred.forecasts._study_settings import StudySettings
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials


# More completed trials than this are thinned evenly: their quantiles hardly change.
_MAX_COMPLETED = 500
# Longer curves are compared at this many steps.
_MAX_STEPS = 100


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
            :func:`~optuna_perfpred.forecasts.odds_of_improvement`.
        end_alike:
            Whether the completed trials are all as long and return their last report.
    """

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    chance: npt.NDArray[np.float64]
    relative_chance: npt.NDArray[np.float64]
    share_left: npt.NDArray[np.float64]
    to_beat: float
    n_finished: int
    odds_of_improvement: float
    end_alike: bool


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
        self._lock = threading.Lock()
        self._latest: _Lesson | None = None
        self._is_learning = False
        self._improvement: tuple[FinishedTrials | None, float] = (None, 1.0)
        self._recent = _Recent(None, None, {}, np.empty((0, 0)))

    def of(
        self,
        finished: FinishedTrials,
        trials: Sequence[Curve],
    ) -> TrialForecasts | None:
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
        situation, known = self.situation(finished, trials)
        if situation is None:
            return None
        sign = self._settings.sign
        chance = situation.chance(self._rule)
        mean, std = situation.forecast(chance)
        relative = relative_chance(chance, situation.remaining, situation.n_finished)

        def of_all(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            found = np.full(len(trials), np.nan)
            found[known] = values
            return found

        return TrialForecasts(
            mean=of_all(sign * mean),
            std=of_all(std),
            chance=of_all(chance),
            relative_chance=of_all(relative),
            share_left=of_all(situation.remaining / situation.length),
            to_beat=sign * situation.learned.completed.best_value,
            n_finished=situation.n_finished,
            odds_of_improvement=self._odds_of_improvement(finished),
            end_alike=situation.learned.end_alike,
        )

    def situation(
        self,
        finished: FinishedTrials,
        trials: Sequence[Curve],
    ) -> tuple[Situation | None, npt.NDArray[np.intp]]:
        """Find what the rule is told of trials.

        Args:
            finished:
                As of :meth:`of`, as all.
            trials:
                The trials.

        Returns:
            The situation, :obj:`None` where :meth:`of` gives none or no trial can be forecast;
            and which of the trials can.
        """
        none = None, np.empty(0, dtype=np.intp)
        earlier = self._earlier_studies(finished, trials)
        learned = self._learned_from(finished, earlier)
        if learned is None:
            return none
        known, observed = learned.observe(trials)
        if len(known) == 0:
            return none
        n_finished = len(finished)
        recent = self._recent_curves(finished, learned)
        return Situation(learned, observed, recent, n_finished + earlier.worth), known

    def learned_from(self, finished: FinishedTrials) -> Learned | None:
        """Give what is learned from the completed trials; the same object until it is renewed."""
        return self._learned_from(finished, self._earlier_studies(finished, ()))

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
        curves = curves[known]
        curves = fill_gaps(curves)
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

    def _learned_from(self, finished: FinishedTrials, earlier: EarlierStudies) -> Learned | None:
        completed = finished.completed
        if len(completed) + len(earlier) < max(1, self._settings.n_startup_trials):
            return None
        best = self._best.of(completed)
        reference = self._reference(best, earlier, len(finished))
        return self._learn(completed, reference, earlier) if reference else None

    def _earlier_studies(
        self, finished: FinishedTrials, trials: Sequence[Curve]
    ) -> EarlierStudies:
        if len(self._earlier) == 0:
            return self._earlier
        earlier = self._earlier
        # All trials in one sequence only for those who look at them: there may be many.
        records = tuple(finished)
        for trial in trials:
            earlier = earlier.unless_refused(records, trial.steps, trial.values)
        return earlier

    def _reference(
        self, best: list[CurveRecord] | None, earlier: EarlierStudies, n_finished: int
    ) -> CurveRecord | None:
        """The trial to beat: of the study, unless earlier studies promise a better one."""
        own = None if best is None else best[-1]
        stand_in = earlier.stand_in(n_finished)
        if own is None or stand_in is None:
            return own or stand_in
        return max(own, stand_in, key=lambda record: self._settings.sign * record.value)

    def _learn(
        self, completed: tuple[CurveRecord, ...], reference: CurveRecord, earlier: EarlierStudies
    ) -> Learned | None:
        """Take the statistics of the completed trials, if they are not known already."""
        n = n_learned_from(len(completed))
        last = completed[n - 1] if n > 0 else None
        with self._lock:
            known = self._latest
            if known is not None:
                if known.is_of(n, last, reference, len(earlier)):
                    return known.learned
                # Another thread is learning anew: until then the last lesson will do.
                if self._is_learning and known.is_of_same_study(completed, len(earlier)):
                    return known.learned
            learns = not self._is_learning
            self._is_learning = True
        try:
            # Outside of the lock: other threads go on.
            learned = self._learn_from(earlier.records(n) + completed[:n], reference)
        finally:
            if learns:
                self._is_learning = False
        with self._lock:
            self._latest = _Lesson(n, last, reference, len(earlier), learned)
        return learned

    def _learn_from(
        self, records: tuple[CurveRecord, ...], reference: CurveRecord
    ) -> Learned | None:
        settings = self._settings
        # Trials better than the one to beat would show the rule a study in which it is not best.
        worse = [r for r in records if settings.sign * (reference.value - r.value) >= 0.0]
        worse = [r for r in worse if r is not reference]
        thinning = -(-len(worse) // _MAX_COMPLETED) or 1
        compared = [*worse[::thinning], reference]
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

    def _recent_curves(
        self, finished: FinishedTrials, learned: Learned
    ) -> npt.NDArray[np.float64]:
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
    rows: dict[int, tuple[CurveRecord, npt.NDArray[np.float64]]]
    curves: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Lesson:
    """What was learned, and from what."""

    n: int
    last: CurveRecord | None
    reference: CurveRecord
    n_earlier: int
    learned: Learned | None

    def is_of(
        self, n: int, last: CurveRecord | None, reference: CurveRecord, n_earlier: int
    ) -> bool:
        # A history only grows, so its n first trials are known by the last one of them: the clocks
        # of workers differ, and a trial that becomes known later may have ended before it. Records
        # of a deleted study with the same identifiers are other objects.
        return (
            self.n == n
            and self.last is last
            and self.reference is reference
            and self.n_earlier == n_earlier
        )

    def is_of_same_study(self, completed: tuple[CurveRecord, ...], n_earlier: int) -> bool:
        return (
            0 < self.n <= len(completed)
            and completed[self.n - 1] is self.last
            and self.n_earlier == n_earlier
        )
