from __future__ import annotations

import bisect
from dataclasses import dataclass
import functools
import heapq
import operator
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from optuna_perfpred.history._records import identify
from optuna_perfpred.history._records import read_record


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial

    from optuna_perfpred.history._records import CurveRecord
    from optuna_perfpred.history._records import Identity


# A read is repeated when this many times its duration have passed, so that at most a tenth of the
# time is spent on reading, whatever the storage and however large the study.
_READING_INTERVAL = 10.0
# Trials are forgotten after this many others have asked; one that asks again reads once more.
_N_REMEMBERED = 1000
# Trials are longer by design, and not by chance, if as many as this were all but of one length,
_MIN_OF_FORMER_HORIZON = 5
_MOST = 0.8
# and those after them are longer by at least this factor.
_RAISED = 1.2


class StudyHistory:
    """The trials of one study that have finished in one way, each read once. Safe with threads.

    Records are kept in the order in which the trials finished. A set of trials therefore always
    gives the same sequence, whichever process reads them and in whatever order it learned of
    them, and trials that finish later come later.

    Args:
        feature_attrs:
            Names of user attributes that are features beside the parameters.
    """

    def __init__(self, feature_attrs: Sequence[str] = ()) -> None:
        self._feature_attrs = feature_attrs
        self._lock = threading.Lock()
        self._by_number: dict[int, CurveRecord] = {}
        self._records: tuple[CurveRecord, ...] = ()

    def update(self, trials: Sequence[FrozenTrial]) -> tuple[CurveRecord, ...]:
        """Take in what is new.

        Args:
            trials:
                The completed trials of the study, or the pruned ones, as
                ``study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))`` returns them.

        Returns:
            The records of all trials taken in so far, in the order in which they finished. At
            least those of ``trials``; more if another thread has seen more.
        """
        with self._lock:
            if trials and not self._is_same_study(trials[0]):
                self._by_number = {}
                self._records = ()
            # Trials never leave the state, so an equal number means nothing new.
            if len(trials) > len(self._by_number):
                self._add(trials)
            return self._records

    def add(self, trials: Iterable[FrozenTrial]) -> tuple[CurveRecord, ...]:
        """Take in trials of the same study.

        Args:
            trials:
                Trials that have finished. Those that are known already are passed over.

        Returns:
            As :meth:`update`.
        """
        with self._lock:
            self._add(trials)
            return self._records

    def _add(self, trials: Iterable[FrozenTrial]) -> None:
        new = [trial for trial in trials if trial.number not in self._by_number]
        if not new:
            return
        records = list(self._records)
        for trial in new:
            record = read_record(trial, self._feature_attrs)
            self._by_number[trial.number] = record
            bisect.insort(records, record, key=operator.attrgetter("order"))
        self._records = tuple(records)

    def _is_same_study(self, trial: FrozenTrial) -> bool:
        """Whether a trial is the one remembered under its number.

        A deleted study's identifiers may be given to a new study by the storage.
        """
        known = self._by_number.get(trial.number)
        if known is None:
            return True
        assert trial.datetime_complete is not None
        return (
            known.trial_id == trial._trial_id
            and known.completed == trial.datetime_complete.replace(tzinfo=None)
        )


@dataclass(frozen=True)
class FinishedTrials:
    """The finished trials of a study, or of several, in the order of their ends.

    Attributes:
        completed:
            Those that were completed.
        pruned:
            Those that were pruned.
    """

    completed: tuple[CurveRecord, ...] = ()
    pruned: tuple[CurveRecord, ...] = ()

    @classmethod
    def of(
        cls, completed: tuple[CurveRecord, ...], pruned: tuple[CurveRecord, ...]
    ) -> FinishedTrials:
        """Count a trial that was stopped and gone on with once, as the one that went on.

        Args:
            completed:
                All completed trials.
            pruned:
                All pruned ones.

        Returns:
            The trials without those that others have gone on with, and beyond.
        """
        going_on = [(r, r.continues) for r in (*completed, *pruned) if r.continues is not None]
        if not going_on:
            return cls(completed, pruned)
        by_number = {record.number: record for record in pruned}
        superseded = {n for r, n in going_on if n in by_number and r.supersedes(by_number[n])}
        return cls(completed, tuple(r for r in pruned if r.number not in superseded))

    def __len__(self) -> int:
        return len(self.completed) + len(self.pruned)

    def __iter__(self) -> Iterator[CurveRecord]:
        """Give the completed trials, then the pruned ones."""
        yield from self.completed
        yield from self.pruned

    @functools.cached_property
    def of_present_horizon(self) -> FinishedTrials:
        """The trials since the horizon was raised, if it was and one of them is complete.

        Whoever goes on with a study of 30 epochs a trial at 100 has trials that were completed at
        30. They tell nothing of what is gained from there on, and seem to tell that nothing is.
        """
        ends = np.array([r.steps[-1] if len(r.steps) > 0 else -1 for r in self.completed])
        highest = np.maximum.accumulate(ends) if len(ends) > 0 else ends
        begin = 0
        for first in np.flatnonzero(highest[1:] >= _RAISED * highest[:-1]) + 1:
            former = highest[first - 1]
            if (
                first - begin >= _MIN_OF_FORMER_HORIZON
                and former > 0
                and np.mean(ends[begin:first] == former) >= _MOST
                and np.mean(ends[first:] > former) >= _MOST
            ):
                begin = int(first)
        if begin == 0:
            return self
        last_before = self.completed[begin - 1].order
        pruned = tuple(r for r in self.pruned if r.order > last_before)
        return FinishedTrials(self.completed[begin:], pruned)

    def latest(self, n: int) -> tuple[CurveRecord, ...]:
        """Give the ``n`` trials that finished last, the latest one last."""
        last = (*self.completed[-n:], *self.pruned[-n:])
        return tuple(heapq.nlargest(n, last, key=operator.attrgetter("order"))[::-1])

    def earliest(self, n: int) -> tuple[CurveRecord, ...]:
        """Give the ``n`` trials that finished first, in the order of their ends."""
        first = (*self.completed[:n], *self.pruned[:n])
        return tuple(heapq.nsmallest(n, first, key=operator.attrgetter("order")))


class FinishedTrialsReader:
    """Reads the finished trials of one study, no more often than needed. Safe with threads.

    Reading a large or busy study takes longer than deciding: Optuna fetches all running trials
    and goes through all others at each read. So all threads share what was read last. When a
    trial asks for the first time, the storage is read. Later it is read again only when that
    takes at most a tenth of the time that has passed: if a step takes longer than ten reads, at
    each step, else once in several. No trial finishes while the only worker trains another one,
    so that this changes nothing there. A study in memory is read each time, at the cost of a
    list's copy.

    Args:
        feature_attrs:
            Names of user attributes that are features beside the parameters.
        clock:
            Gives the time in seconds.

    Attributes:
        trials:
            All trials of the study, in any state, as they were last read.
        running:
            Those of them that run.
        ended:
            Those of them that have ended, in any state, in the order in which this was learned.
            It only grows: what has been seen of it need not be looked at again.
    """

    def __init__(
        self, feature_attrs: Sequence[str] = (), *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._feature_attrs = feature_attrs
        self._clock = clock
        self.trials: Sequence[FrozenTrial] = ()
        self.running: Sequence[FrozenTrial] = ()
        self.ended: list[FrozenTrial] = []
        self._lock = threading.Lock()
        self._asked: dict[Identity, None] = {}
        self._n_reading = 0
        self._has_read = False
        self._next_read = 0.0
        self._forget()

    def read(self, study: Study, trial: FrozenTrial | Trial) -> FinishedTrials:
        """Give the finished trials of the study.

        Args:
            study:
                The study, the same one at each call.
            trial:
                The trial that is to be compared with them.

        Returns:
            The trials; the same object as before if no other trial has finished.
        """
        asking = identify(trial)
        with self._lock:
            # What another thread is reading now will do for this trial's next step.
            is_due = self._n_reading == 0 and self._clock() >= self._next_read
            if (
                asking in self._asked
                and not is_due
                and not isinstance(study._storage, InMemoryStorage)
            ):
                return self._finished
            self._n_reading += 1
        try:
            start = self._clock()
            trials = study.get_trials(deepcopy=False)
            end = self._clock()
        finally:
            with self._lock:
                self._n_reading -= 1
        with self._lock:
            # The first read fetches everything, and does not tell what the next ones take.
            self._next_read = start + _READING_INTERVAL * (end - start) if self._has_read else end
            self._has_read = True
            self._asked[asking] = None
            while len(self._asked) > _N_REMEMBERED:
                del self._asked[next(iter(self._asked))]
            return self._take_in(trials)

    def read_now(self, study: Study) -> FinishedTrials:
        """Give the finished trials of the study as they are now. See :meth:`read`."""
        trials = study.get_trials(deepcopy=False)
        with self._lock:
            return self._take_in(trials)

    def _take_in(self, trials: Sequence[FrozenTrial]) -> FinishedTrials:
        self.trials = trials
        if not self._unread.is_of_same_study(trials):
            self._forget()
        new = self._unread.newly_finished(trials)
        self.running = self._unread.running(trials)
        if new:
            self.ended.extend(new)
            completed = [trial for trial in new if trial.state == TrialState.COMPLETE]
            pruned = [trial for trial in new if trial.state == TrialState.PRUNED]
            self._finished = FinishedTrials.of(
                self._completed.add(completed), self._pruned.add(pruned)
            )
        return self._finished

    def _forget(self) -> None:
        self._unread = _Unread()
        self.ended = []
        self._completed = StudyHistory(self._feature_attrs)
        self._pruned = StudyHistory(self._feature_attrs)
        self._finished = FinishedTrials()


class _Unread:
    """Finds the trials that have finished since the last look, without looking at all others."""

    def __init__(self) -> None:
        self._first_finished: FrozenTrial | None = None
        # Of the trials looked at so far: their number, the last one, and who was unfinished.
        self._n_trials = 0
        self._last_number = -1
        self._unfinished: list[int] = []

    def is_of_same_study(self, trials: Sequence[FrozenTrial]) -> bool:
        known = self._first_finished
        if known is None:
            return True
        at = bisect.bisect_left(trials, known.number, key=lambda trial: trial.number)
        return at < len(trials) and identify(trials[at]) == identify(known)

    def newly_finished(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Give the trials that were unfinished or not there at the last call.

        Args:
            trials:
                All trials of the study, in any state, by ascending number.
        """
        n = self._n_trials
        if len(trials) < n and self._first_finished is not None:
            return []  # Another thread has read later.
        # The places are the same unless a trial before the last one has become visible late.
        if len(trials) < n or (n > 0 and trials[n - 1].number != self._last_number):
            n, self._unfinished = 0, []
        places = [*self._unfinished, *range(n, len(trials))]
        self._unfinished = [place for place in places if not trials[place].state.is_finished()]
        self._n_trials = len(trials)
        self._last_number = trials[-1].number if trials else -1
        new = [trials[place] for place in places if trials[place].state.is_finished()]
        if new and self._first_finished is None:
            self._first_finished = new[0]
        return new

    def running(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Give the trials that run. Trials as of :meth:`newly_finished`, which comes first."""
        if len(trials) < self._n_trials:
            return []  # Another thread has read later.
        unfinished = (trials[place] for place in self._unfinished)
        return [trial for trial in unfinished if trial.state == TrialState.RUNNING]
