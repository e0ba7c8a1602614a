"""Values that trials report beside the one that Optuna keeps: constraints, several objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import sys
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._attributes import finite
from optuna_perfpred.history._finished_trials import FinishedTrials
from optuna_perfpred.history._thinning import thin


if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial

    from optuna_perfpred.history._records import CurveRecord


# Followed by the step. One for each step, as Optuna writes a row for each report: to write the
# whole curve anew each time would cost the square of its length.
REPORTED = "perfpred:reported:"


class ReportedCurve(NamedTuple):
    """A curve beside the one that Optuna keeps.

    Attributes:
        steps:
            The steps at which it was reported, ascending. Shape: ``(n_reports,)``.
        values:
            What was reported. Shape: ``(n_reports,)``.
    """

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


def report_values(trial: Trial, values: Mapping[str, float], step: int) -> None:
    """Keep what a trial reports at a step under names. A later report at a step replaces it.

    Args:
        trial:
            The running trial.
        values:
            The values by their names. NaN counts as not reported.
        step:
            The step.

    Raises:
        ValueError:
            If a value is no number, a name no string, or the step no integer of at least 0.
    """
    check_at_least("step", step, 0)
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"`values` must be a dictionary of numbers by names, but got {values!r}.")
    kept = {}
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name!r} must be a number, but got {value!r}.") from None
        # Neither NaN nor infinity is JSON: not every reader could parse them.
        if number == number:
            kept[name] = min(max(number, -sys.float_info.max), sys.float_info.max)
    trial.storage.set_trial_system_attr(trial._trial_id, f"{REPORTED}{int(step)}", kept)


def read_reported(trial: FrozenTrial) -> dict[str, ReportedCurve]:
    """Read the curves that a trial has reported by :func:`report_values`, by their names."""
    found: dict[str, dict[int, float]] = {}
    for key, values in trial.system_attrs.items():
        step = key.removeprefix(REPORTED)
        if step == key or not step.isdecimal() or not isinstance(values, dict):
            continue
        for name, value in values.items():
            number = finite(value)
            if number is not None:
                found.setdefault(name, {})[int(step)] = number
    curves = {}
    for name, reports in found.items():
        steps = np.array(sorted(reports), dtype=np.int64)
        values = np.array([reports[step] for step in steps.tolist()])
        curves[name] = ReportedCurve(*thin(steps, values))
    return curves


class ReportedTrials:
    """The finished trials of a study, with another curve than the one that Optuna keeps.

    Args:
        name:
            The name under which it is reported.
        final_value:
            Gives what the curve of a complete trial ended as, :obj:`None` for its last report.
    """

    def __init__(self, name: str, final_value: Callable[[FrozenTrial], float | None]) -> None:
        self._name = name
        self._final_value = final_value
        self._records: dict[Any, CurveRecord | None] = {}
        self._known: tuple[FinishedTrials | None, FinishedTrials] = (None, FinishedTrials())

    def of(
        self, finished: FinishedTrials, find: Callable[[int], FrozenTrial | None]
    ) -> FinishedTrials:
        """Give the finished trials that have reported under the name.

        Args:
            finished:
                All finished trials of the study.
            find:
                Finds a trial by its number.

        Returns:
            The trials; the same object as before if ``finished`` is, and the same records.
        """
        known, found = self._known
        if known is not finished:
            found = FinishedTrials(
                *(
                    tuple(r for record in records if (r := self._read(record, find, is_complete)))
                    for records, is_complete in (
                        (finished.completed, True),
                        (finished.pruned, False),
                    )
                )
            )
            self._known = (finished, found)
        return found

    def _read(
        self,
        record: CurveRecord,
        find: Callable[[int], FrozenTrial | None],
        is_complete: bool,
    ) -> CurveRecord | None:
        key = record.trial_id, record.completed
        if key not in self._records:
            self._records[key] = self._with_curve(record, find(record.number), is_complete)
        return self._records[key]

    def _with_curve(
        self, record: CurveRecord, trial: FrozenTrial | None, is_complete: bool
    ) -> CurveRecord | None:
        curve = None if trial is None else read_reported(trial).get(self._name)
        if trial is None or curve is None:
            return None
        final = self._final_value(trial) if is_complete else None
        value = float(curve.values[-1]) if final is None else final
        # Whether it satisfies the constraints is not what this curve is about.
        return replace(record, steps=curve.steps, values=curve.values, value=value, feasible=True)
