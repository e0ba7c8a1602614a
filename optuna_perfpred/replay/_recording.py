from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
import math
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import joined_curve
from optuna_perfpred.history import trained_steps
from optuna_perfpred.replay._report import count_left_out


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study


# What this package's pruner has left on a trial tells how the trial went.
_OWN_ATTRS = "perfpred:"


@dataclass(frozen=True)
class RecordedTrial:
    """A trial with a whole curve, ready to be run again.

    Attributes:
        source:
            The trial as it was recorded.
        steps:
            The steps at which it reported, ascending.
        values:
            The values that it reported at them; NaN and infinities among them.
        value:
            The value that its objective returned.
        feasible:
            Whether it satisfied all constraints.
        score:
            ``value``, oriented so that larger is better; minus infinity if the trial is not
            feasible, so that it is never the best.
        step_time:
            The time that each of its steps took.
    """

    source: FrozenTrial
    steps: tuple[int, ...]
    values: tuple[float, ...]
    value: float
    feasible: bool
    score: float
    step_time: float

    def template(self) -> FrozenTrial:
        """Give a trial that has started now: configured like this one, with nothing reported.

        System attributes are left behind, since pruners keep their own record there.
        """
        source = self.source
        # `create_trial` would refuse parameters that were enqueued out of their range.
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params=source.params,
            distributions=source.distributions,
            user_attrs={
                key: value
                for key, value in source.user_attrs.items()
                if not key.startswith(_OWN_ATTRS)
            },
            system_attrs={},
            intermediate_values={},
        )
        for key, value in source.constraints.items():
            template.set_constraint(key, value)
        return template


@dataclass(frozen=True)
class Recording:
    """The trials of a study that can be replayed.

    Attributes:
        study_name:
            The study's name.
        direction:
            The study's direction.
        trials:
            The trials, in the order of their numbers.
        horizon:
            The number of reports of the longest curve: the cost of one full training.
        iqr:
            The interquartile range of the finite values of all trials.
        left_out:
            The number of trials that cannot be replayed, by the reason.
    """

    study_name: str
    direction: StudyDirection
    trials: tuple[RecordedTrial, ...]
    horizon: int
    iqr: float
    left_out: dict[str, int]

    @property
    def sign(self) -> float:
        """``1.0`` if the study maximizes, ``-1.0`` if it minimizes."""
        return 1.0 if self.direction == StudyDirection.MAXIMIZE else -1.0


def read_recording(study: Study, *, recorded_time: bool = False) -> Recording:
    """Read the trials of a study that can be replayed.

    A trial that has gone on with a stopped one is one trial, with the curve of both.

    Args:
        study:
            A single-objective study in any storage.
        recorded_time:
            Whether a step takes the trial's duration divided by the number of its reports. A
            trial whose duration is not known then takes the median of the others. If
            :obj:`False`, each step takes 1.

    Returns:
        The recording.

    Raises:
        ValueError:
            If the study has several objectives or no trial that can be replayed, or if the
            recorded time is asked for and no trial has one.
    """
    if len(study.directions) != 1:
        raise ValueError(
            f"Only single-objective studies can be replayed, but {study.study_name!r} has "
            f"{len(study.directions)} objectives."
        )
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    whole: list[FrozenTrial] = []
    left_out: Counter[str] = Counter()
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number)
    gone_on = gone_on_with(trials)
    for trial in trials:
        if trial.number in gone_on:
            continue
        obstacle = _obstacle(trial, sign)
        if obstacle is None:
            whole.append(trial)
        else:
            left_out[obstacle] += 1
    if not whole:
        reasons = count_left_out(left_out)
        raise ValueError(
            f"Study {study.study_name!r} has nothing to replay: it needs completed trials that "
            f"reported intermediate values, but has {reasons or 'no trials'}."
        )
    times = [1.0] * len(whole)
    if recorded_time:
        times = _step_times(whole, trials, study.study_name)
    recorded = tuple(
        _read(trial, joined_curve(trial, trials), time, sign)
        for trial, time in zip(whole, times, strict=True)
    )
    finite = [trial.value for trial in recorded if math.isfinite(trial.value)]
    return Recording(
        study_name=study.study_name,
        direction=study.direction,
        trials=recorded,
        horizon=max(len(trial.steps) for trial in recorded),
        iqr=float(np.subtract(*np.percentile(finite, [75, 25]))) if finite else 0.0,
        left_out=dict(left_out),
    )


def _obstacle(trial: FrozenTrial, sign: float) -> str | None:
    if trial.state != TrialState.COMPLETE:
        return trial.state.name
    if not trial.intermediate_values:
        return "without intermediate values"
    assert trial.value is not None
    # One that diverged the other way is an ordinary bad trial.
    return "with an infinitely good value" if sign * trial.value == math.inf else None


def _read(
    trial: FrozenTrial, curve: dict[int, float], step_time: float, sign: float
) -> RecordedTrial:
    assert trial.value is not None
    reports: list[tuple[Any, float]] = sorted(curve.items())
    feasible = all(constraint <= 0.0 for constraint in trial.constraints.values())
    return RecordedTrial(
        source=trial,
        steps=tuple(step for step, _ in reports),
        values=tuple(value for _, value in reports),
        value=trial.value,
        feasible=feasible,
        score=sign * trial.value if feasible else -math.inf,
        step_time=step_time,
    )


def _step_times(
    whole: Sequence[FrozenTrial], trials: Sequence[FrozenTrial], study_name: str
) -> list[float]:
    times = np.full(len(whole), np.nan)
    for index, trial in enumerate(whole):
        n_steps = len(trained_steps(trial, trials))
        # Trials made by hand start and complete at the same moment.
        if n_steps > 0 and trial.duration is not None and trial.duration.total_seconds() > 0.0:
            times[index] = trial.duration.total_seconds() / n_steps
    if np.isnan(times).all():
        raise ValueError(
            f"Study {study_name!r} has no trial with a recorded duration; replay it with "
            '`step_time="unit"`.'
        )
    return [float(time) for time in np.where(np.isnan(times), np.nanmedian(times), times)]
