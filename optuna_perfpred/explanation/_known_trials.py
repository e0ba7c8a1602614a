from __future__ import annotations

import bisect
from datetime import datetime
import operator
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import StudyHistory


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial


class KnownTrials:
    """The finished trials of a study as they were known at some time before.

    Args:
        trials:
            All trials of the study.
        feature_attrs:
            Names of user attributes that are features beside the parameters.
    """

    def __init__(self, trials: Sequence[FrozenTrial], feature_attrs: Sequence[str]) -> None:
        self._completed, self._pruned = (
            StudyHistory(feature_attrs).add(t for t in trials if t.state == state)
            for state in (TrialState.COMPLETE, TrialState.PRUNED)
        )
        self._latest: tuple[tuple[int, int], FinishedTrials] = (0, 0), FinishedTrials()

    def at(self, time: datetime, number: int) -> FinishedTrials:
        """Give the trials that had ended.

        Args:
            time:
                The time, without time zone.
            number:
                The number of the trial that asked. Of trials that ended at that very time, as
                the clocks of some databases go by the second, those with smaller numbers had.

        Returns:
            The trials; the same object as before if they are the same.
        """
        n_completed, n_pruned = (
            bisect.bisect_left(records, (time, number), key=operator.attrgetter("order"))
            for records in (self._completed, self._pruned)
        )
        (n_known, _), latest = self._latest
        if (n_completed, n_pruned) != self._latest[0]:
            # The part that has not changed stays the same tuple, by which others know it.
            completed = self._completed[:n_completed]
            latest = FinishedTrials.of(
                latest.completed if n_completed == n_known else completed, self._pruned[:n_pruned]
            )
            self._latest = (n_completed, n_pruned), latest
        return latest

    def n_ended_while_running(self, trial: FrozenTrial) -> int:
        """Count the trials of other workers that ended while a trial was running."""
        if trial.datetime_start is None:
            return 0
        start = trial.datetime_start.replace(tzinfo=None)
        return sum(
            bisect.bisect_left(
                records, (time_of_report(trial), trial.number), key=operator.attrgetter("order")
            )
            - bisect.bisect_left(records, (start, trial.number), key=operator.attrgetter("order"))
            for records in (self._completed, self._pruned)
        )


def time_of_report(trial: FrozenTrial, step: int | None = None) -> datetime:
    """Estimate when a trial reported, which storages do not tell.

    Args:
        trial:
            A trial.
        step:
            A step at which it reported, or :obj:`None` for its end.

    Returns:
        The time, without time zone. Of the last report, the trial's end; of another one, the part
        of the trial's duration that is the part of its reports.
    """
    reports = trial.intermediate_values
    if step is None or trial.datetime_start is None or step == trial.last_step:
        # All that is known of a running trial is known, whatever the clocks of others say.
        return (trial.datetime_complete or datetime.max).replace(tzinfo=None)
    start = trial.datetime_start.replace(tzinfo=None)
    end = (trial.datetime_complete or datetime.now()).replace(tzinfo=None)
    return start + sum(s <= step for s in reports) / len(reports) * (end - start)
