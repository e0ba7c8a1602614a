from __future__ import annotations

from dataclasses import dataclass
import threading
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from optuna_perfpred.history import read_curve
from optuna_perfpred.pruners._assessment import RelativeAssessment
from optuna_perfpred.pruners._earlier_studies import EarlierStudies
from optuna_perfpred.pruners._learned import Learned
from optuna_perfpred.pruners._learned import Situation
from optuna_perfpred.pruners._schedule import n_learned_from
from optuna_perfpred.pruners._stopping_rule import N_RECENT
from optuna_perfpred.pruners._stopping_rule import relative_chance
from optuna_perfpred.pruners._study_settings import BestTrials


if TYPE_CHECKING:
    import numpy.typing as npt
    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners._stopping_rule import StoppingRule
    from optuna_perfpred.pruners._study_settings import StudySettings


# More completed trials than this are thinned evenly: their quantiles hardly change.
_MAX_COMPLETED = 500


class RuleAssessor:
    """Assesses the running trials of one study by a pretrained rule. Safe with threads.

    What it tells of a trial is a function of the trial and of the finished ones in the storage,
    so that every process that reads the same storage tells the same.

    Args:
        rule:
            The rule.
        settings:
            The pruner's arguments.
        earlier:
            The earlier studies, if others ask for them too: they are refused with one warning.
    """

    def __init__(
        self, rule: StoppingRule, settings: StudySettings, earlier: EarlierStudies | None = None
    ) -> None:
        self._rule = rule
        self._settings = settings
        self._best = BestTrials(settings)
        self._earlier = EarlierStudies(settings) if earlier is None else earlier
        self._lock = threading.Lock()
        self._latest: _Lesson | None = None
        self._is_learning = False
        self._recent = _Recent(None, None, {}, np.empty((0, 0)))

    def assess(self, finished: FinishedTrials, trial: FrozenTrial) -> RelativeAssessment | None:
        """Assess a running trial.

        Args:
            finished:
                The finished trials of the study.
            trial:
                The running trial, which has reported.

        Returns:
            The assessment, or :obj:`None` if nothing can be told: too few trials are complete,
            the trial has reported no number yet, or it has reached the end of a full curve.
        """
        situation = self.situation(finished, trial)
        if situation is None:
            return None
        settings = self._settings
        known = situation.learned.completed
        chance = situation.chance(self._rule)
        remaining = situation.remaining
        relative = float(relative_chance(chance, remaining, situation.n_finished))
        mean, std = known.forecast(situation.curve, situation.configuration)
        # The completed trials are the survivors, from which the regression learns that all end
        # well. The rule knows of that: the forecast promises no more than it, nor a fall.
        agreed = known.best_value + std * float(special.ndtri(max(chance, 1e-12)))
        mean = min(mean, max(agreed, float(situation.curve[-1])))
        return RelativeAssessment(
            step=situation.step,
            predicted_value=settings.sign * mean,
            predicted_std=std,
            probability=relative / (1.0 + relative),
            probability_of_beating_best=chance,
            reference=settings.sign * known.best_value,
            rank=settings.top_n,
            offset=settings.offset,
            relative_chance=relative,
        )

    def situation(self, finished: FinishedTrials, trial: FrozenTrial) -> Situation | None:
        """Find what the rule is told of a running trial.

        Args:
            finished:
                As of :meth:`assess`.
            trial:
                As of :meth:`assess`.

        Returns:
            The situation, or :obj:`None` where :meth:`assess` gives none.
        """
        settings = self._settings
        completed = finished.completed
        best = self._best.of(completed)
        steps, values = read_curve(trial)
        # All trials in one sequence only for those who look at them: there may be many.
        trials = tuple(finished) if len(self._earlier) > 0 else ()
        earlier = self._earlier.unless_refused(trials, steps, values)
        if len(completed) + len(earlier) < settings.n_startup_trials:
            return None
        n_finished = len(finished)
        reference = self._reference(best, earlier, n_finished)
        learned = self._learn(completed, reference, earlier) if reference else None
        if learned is None:
            return None
        observed = learned.observe(trial, settings.feature_attrs)
        if observed is None:
            return None
        curve, configuration = observed
        return Situation(
            learned=learned,
            step=int(steps[-1]),
            curve=curve,
            configuration=configuration,
            recent=self._recent_curves(finished, learned),
            n_finished=n_finished + earlier.worth,
        )

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
            records = earlier.records(n) + completed[:n]
            learned = _learn_from(records, reference, self._settings)
        finally:
            if learns:
                self._is_learning = False
        with self._lock:
            self._latest = _Lesson(n, last, reference, len(earlier), learned)
        return learned

    def _recent_curves(
        self, finished: FinishedTrials, learned: Learned
    ) -> npt.NDArray[np.float64]:
        known = self._recent
        if known.finished is finished and known.learned is learned:
            return known.curves
        rows = known.rows if known.learned is learned else {}
        latest = finished.latest(N_RECENT)
        new = [record for record in latest if id(record) not in rows]
        aligned = {id(r): (r, row) for r, row in zip(new, learned.align(new), strict=True)}
        found = rows | aligned
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


def _learn_from(
    records: tuple[CurveRecord, ...], reference: CurveRecord, settings: StudySettings
) -> Learned | None:
    # Trials better than the one to beat would show the rule a study in which it is not best.
    worse = [r for r in records if settings.sign * (reference.value - r.value) >= 0.0]
    worse = [r for r in worse if r is not reference]
    thinning = -(-len(worse) // _MAX_COMPLETED) or 1
    return Learned.of(
        [*worse[::thinning], reference],
        best_value=settings.sign * reference.value - settings.offset,
        sign=settings.sign,
        horizon=settings.horizon,
    )
