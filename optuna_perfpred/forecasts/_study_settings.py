from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import heapq
import math
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings

import numpy as np

from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import TrainingSet


if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred._arrays import Floats
    from optuna_perfpred.history import CurveRecord


# As many trials of the new study the earlier ones stand in for. They tell what a good value is,
# but the new study may well differ a little, so it soon has the say.
_N_EQUIVALENT = 10
# A handful of trials may be bad by chance.
_MIN_TO_REFUSE = 4

_OTHER_SCALE = "its values are on another scale than those of the earlier studies"


@dataclass(frozen=True)
class StudySettings:
    """The arguments of a pruner as they apply to one study.

    Attributes:
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.
        n_startup_trials:
            The number of completed trials at which trials are assessed at first.
        top_n:
            The rank of the value to beat.
        offset:
            By how much the value to beat is made worse.
        horizon:
            The step at which a full curve ends, or :obj:`None` to learn it.
        feature_attrs:
            Names of user attributes that are features beside the parameters.
        earlier:
            Trials of earlier studies to learn from, see
            :class:`EarlierStudies`.
    """

    sign: float
    n_startup_trials: int
    top_n: int
    offset: float
    horizon: int | None
    feature_attrs: Sequence[str]
    earlier: FinishedTrials


class BestTrials:
    """The best completed trials of a study, looked for once after each completion.

    Args:
        settings:
            The pruner's arguments.
    """

    def __init__(self, settings: StudySettings) -> None:
        self._settings = settings
        self._known: tuple[tuple[CurveRecord, ...], list[CurveRecord] | None] = ((), None)

    def of(self, records: tuple[CurveRecord, ...]) -> list[CurveRecord] | None:
        """Give the ``top_n`` best feasible trials, the best one first.

        Args:
            records:
                The completed trials of the study.

        Returns:
            The trials, or :obj:`None` if there are not enough or a value is infinite.
        """
        known, best = self._known
        if known is not records:
            sign, n = self._settings.sign, self._settings.top_n
            feasible = (record for record in records if record.feasible)
            best = heapq.nlargest(n, feasible, key=lambda record: sign * record.value)
            if len(best) < n or not np.isfinite([record.value for record in best]).all():
                best = None
            self._known = (records, best)
        return best


class _Place(NamedTuple):
    """Where a trial's values are among those of the earlier trials at the same steps."""

    rank: float
    is_far_above: bool


class EarlierStudies:
    """The trials of earlier studies, as far as they tell of a new one.

    They stand in for the first few trials that the new study does not have yet: the best of a few
    of them is what a trial has to beat as long as the new study has nothing better, and all of
    them teach how curves go on. Both fades as the new study grows. They are refused when the
    new study's values are on another scale, or when its trials are worse than chance allows for
    trials of the same kind.

    Args:
        settings:
            The pruner's arguments, the earlier trials among them.
    """

    def __init__(self, settings: StudySettings) -> None:
        sign, records = settings.sign, settings.earlier.completed
        self._top_n = settings.top_n
        self._records = records
        self._none = (
            EarlierStudies(replace(settings, earlier=FinishedTrials())) if records else self
        )
        self._has_told = False
        self._n_finished = len(settings.earlier)
        # Also the pruned ones: those that were completed began better than trials do.
        self._curves = TrainingSet(tuple(settings.earlier), sign=sign)
        finite = [r for r in records if r.feasible and math.isfinite(r.value)]
        self._descending = sorted(finite, key=lambda r: -sign * r.value)
        self._known: tuple[int, dict[int, _Place], str | None] = (0, {}, None)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def n_equivalent(self) -> int:
        """Number of trials of the new study for which they stand."""
        return min(_N_EQUIVALENT, len(self._records))

    def records(self, n_completed: int) -> tuple[CurveRecord, ...]:
        """Give the trials to learn from, the fewer the more the new study has itself.

        Args:
            n_completed:
                Number of completed trials of the new study.
        """
        share = _N_EQUIVALENT / (_N_EQUIVALENT + n_completed)
        n = math.ceil(share * len(self._records))
        rows = np.linspace(0, len(self._records) - 1, n).round().astype(int)
        return tuple(self._records[row] for row in rows)

    def stand_in(self, n_finished: int) -> CurveRecord | None:
        """Give the trial to beat: at first the best of :attr:`n_equivalent` earlier trials.

        If the new study has finished that many and none of them is better, it is a harder one, and
        less and less is asked for: a study in which nothing is completed helps nobody.

        Args:
            n_finished:
                Number of finished trials of the new study.
        """
        if not self._descending:
            return None
        n_trials, n_earlier = self.n_equivalent, self._n_finished
        # The expected rank of the n-th best of m trials among all N is n (N + 1) / (m + 1). The
        # pruned ones are taken to be behind all others.
        rank = self._top_n * (n_earlier + 1) / (n_trials + 1)
        # Trials of the same kind would have found a better one with a probability of 6/7 when the
        # rank is four times as large, and of 19/20 when it is nine times.
        rank *= max(1.0, n_finished / n_trials) ** 2
        return self._descending[min(max(round(rank), 1), len(self._descending)) - 1]

    def unless_refused(
        self, finished: Sequence[CurveRecord], steps: npt.NDArray[np.int64], values: Floats
    ) -> EarlierStudies:
        """Give the earlier studies if they tell of a trial of the new one, else none.

        Args:
            finished:
                Finished trials of the new study; at each call those of the one before, and more.
            steps:
                The steps at which the running trial has reported. Shape: ``(n_reports,)``.
            values:
                What it has reported. Shape: ``(n_reports,)``.

        Returns:
            These earlier studies, or empty ones. The first time the reason is told in a warning.
        """
        if not self._records:
            return self
        n_known, places, refusal = self._known
        if len(finished) != n_known:
            places = {r.number: places.get(r.number) or self._place(r) for r in finished}
            refusal = _why_refused(places.values())
            # In one go: threads may share the pruner, and at worst one of them does this again.
            self._known = (len(finished), places, refusal)
        if self._is_far_above(steps, values):
            refusal = _OTHER_SCALE
        if refusal is None:
            return self
        if not self._has_told:
            self._has_told = True
            warnings.warn(
                f"The studies given as `warm_start` are left out: {refusal}.", stacklevel=2
            )
        return self._none

    def _place(self, record: CurveRecord) -> _Place:
        aligned = self._curves.align(record.steps, record.values)
        known = np.flatnonzero(~np.isnan(aligned))
        if len(known) == 0:
            return _Place(0.5, False)
        # The first value: the last one depends on when the trial was pruned.
        first = self._curves.curves[:, known[0]]
        first = first[~np.isnan(first)]
        value = aligned[known[0]]
        rank = np.mean(first < value) + np.mean(first == value) / 2.0 if len(first) else 0.5
        return _Place(float(rank), self._is_far_above(record.steps, record.values))

    def _is_far_above(self, steps: npt.NDArray[np.int64], values: Floats) -> bool:
        """Whether the last value is far above all of the earlier trials at its step.

        Diverged runs are far below on any scale, so that tells nothing.
        """
        aligned = self._curves.align(steps, values)
        known = np.flatnonzero(~np.isnan(aligned))
        if len(known) == 0:
            return False
        column = self._curves.curves[:, known[-1]]
        column = column[~np.isnan(column)]
        if len(column) == 0:
            return False
        low, high = np.quantile(column, [0.1, 0.9])
        return bool(aligned[known[-1]] > column.max() + 2.0 * (high - low))


def _why_refused(places: Collection[_Place]) -> str | None:
    if any(place.is_far_above for place in places):
        return _OTHER_SCALE
    if len(places) < _MIN_TO_REFUSE:
        return None
    # Ranks of trials of the same kind are uniform, with a variance of 1/12. Three standard errors,
    # as this is asked again with each trial.
    allowed = 0.5 - 3.0 / math.sqrt(12.0 * len(places))
    if np.mean([place.rank for place in places]) < allowed:
        return "its trials are worse than those of the earlier studies"
    return None
