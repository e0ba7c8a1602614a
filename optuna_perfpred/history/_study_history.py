from __future__ import annotations

import bisect
import threading
from typing import TYPE_CHECKING

from optuna_perfpred.history._records import read_record


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.trial import FrozenTrial

    from optuna_perfpred.history._records import CurveRecord


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
            bisect.insort(records, record, key=_completion_order)
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


def _completion_order(record: CurveRecord) -> tuple[datetime, int]:
    return record.completed, record.number
