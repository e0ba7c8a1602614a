from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import csv
from dataclasses import dataclass
from datetime import datetime
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any
from typing import Literal
from typing import TYPE_CHECKING
from typing import TypeVar
import zlib

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._attributes import finite
from optuna_perfpred._files import check_file
from optuna_perfpred._files import read_text
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import joined_curve
from optuna_perfpred.history import trained_steps
from optuna_perfpred.replay._report import count_left_out


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study
    from optuna.distributions import BaseDistribution


# What this package's pruner has left on a trial tells how the trial went.
_OWN_ATTRS = "perfpred:"
# A positive parameter that spans two decades was most likely searched on a log scale.
_LOG_RATIO = 100.0
_ID = "curve_id"
# The largest of the recorded sets unpack to a tenth of it.
_MAX_BYTES = 2**28


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
        step_times:
            The time that each of its steps took. Of the length of ``steps``.
    """

    source: FrozenTrial
    steps: tuple[int, ...]
    values: tuple[float, ...]
    value: float
    feasible: bool
    score: float
    step_times: tuple[float, ...]

    def template(self) -> FrozenTrial:
        """Give a trial that has started now: configured like this one, with nothing reported.

        System attributes are left behind, since pruners keep their own record there. So are the
        constraints: when they were known is not known.
        """
        source = self.source
        # `create_trial` would refuse parameters that were enqueued out of their range.
        return FrozenTrial(
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


StepTime = Literal["unit", "recorded"] | Callable[[FrozenTrial, int], float]


def read_recording(study: Study, *, step_time: StepTime = "unit") -> Recording:
    """Read the trials of a study that can be replayed.

    A trial that has gone on with a stopped one is one trial, with the curve of both.

    Args:
        study:
            A single-objective study in any storage.
        step_time:
            ``"recorded"``: a step takes the trial's duration divided by the number of its reports.
            A trial whose duration is not known then takes the median of the others. ``"unit"``:
            each step takes 1. Or a function of trial and step that tells.

    Returns:
        The recording.

    Raises:
        ValueError:
            If the study has several objectives or no trial that can be replayed, or if the
            recorded time is asked for and no trial has one, or if the function gives something
            else than a positive number.
    """
    check_single_objective(study, "replayed")
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
    mean_times = [1.0] * len(whole)
    if step_time == "recorded":
        mean_times = _mean_step_times(whole, trials, study.study_name)
    recorded = []
    for trial, mean_time in zip(whole, mean_times, strict=True):
        curve = joined_curve(trial, trials)
        times = tuple(
            _step_time(step_time, trial, step) if callable(step_time) else mean_time
            for step in sorted(curve)
        )
        recorded.append(_read(trial, curve, times, sign))
    finite = [trial.value for trial in recorded if math.isfinite(trial.value)]
    return Recording(
        study_name=study.study_name,
        direction=study.direction,
        trials=tuple(recorded),
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
    trial: FrozenTrial, curve: dict[int, float], step_times: tuple[float, ...], sign: float
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
        step_times=step_times,
    )


def _step_time(
    function: Callable[[FrozenTrial, int], float], trial: FrozenTrial, step: int
) -> float:
    time = finite(function(trial, step))
    if time is None or time <= 0.0:
        raise ValueError(
            "`step_time` must give a finite positive number for each step, but gave "
            f"{function(trial, step)!r} for step {step} of trial {trial.number}."
        )
    return time


def _mean_step_times(
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


T = TypeVar("T")


def load_curves(path: str | Path) -> optuna.Study:
    """Read a folder of recorded learning curves as a study of finished trials.

    The folder holds three files:

    - ``curves.csv``: one row a curve, with a column ``curve_id`` and one column for each step,
      whose heading is the step. An empty cell is a value that the run never reported.
    - ``configs.csv``: one row a curve, with a column ``curve_id`` and one column for each
      hyperparameter or feature of its architecture. An empty cell is one that the run did not
      have. Without this file the trials have no parameters.
    - ``meta.json``: an object with ``"direction"``, either ``"minimize"`` or ``"maximize"``.

    The tables may be compressed: ``curves.csv.gz`` and ``configs.csv.gz`` are read where there is
    no ``curves.csv`` or ``configs.csv``.

    A trial's value is the last one it reported; a curve that is empty or ends in NaN becomes a
    failed trial, as it does in Optuna. Columns of numbers become float parameters, with a log
    distribution if they are positive and span two decades; columns of text become categorical
    ones. Text with a different value in nearly every row, such as a network's notation,
    identifies a run instead of describing it and is left out.

    Args:
        path:
            The folder.

    Returns:
        A study in memory with the folder's name. Its trials are in the order of the rows, and its
        sampler is a random one.

    Raises:
        FileNotFoundError:
            If the folder or one of the files that it must hold is missing.
        ValueError:
            If a file is not in this format.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    study = optuna.create_study(
        study_name=folder.name, direction=_read_direction(folder), sampler=RandomSampler()
    )
    rows = _read_configs(folder)
    names = dict.fromkeys(name for row in rows.values() for name in row)
    columns = {name: [row[name] for row in rows.values()] for name in names}
    distributions = {
        name: distribution
        for name, cells in columns.items()
        if (distribution := _distribution([cell for cell in cells if cell])) is not None
    }
    for curve_id, reports in _read_curves(folder).items():
        if rows and curve_id not in rows:
            raise ValueError(f"{folder / 'configs.csv'} has no row for curve {curve_id!r}.")
        row = rows.get(curve_id, {})
        present = {name: dist for name, dist in distributions.items() if row.get(name)}
        params: dict[str, Any] = {
            name: float(row[name]) if isinstance(dist, FloatDistribution) else row[name]
            for name, dist in present.items()
        }
        value = reports[max(reports)] if reports else math.nan
        ended = not math.isnan(value)
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if ended else TrialState.FAIL,
                value=value if ended else None,
                params=params,
                distributions=present,
                intermediate_values=reports,
            )
        )
    return study


def _read_direction(folder: Path) -> StudyDirection:
    file = folder / "meta.json"
    if not file.is_file():
        raise FileNotFoundError(f"{str(folder)!r} is not a curve folder: it has no meta.json.")
    text = read_text(file)
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}.") from error
    direction = meta.get("direction") if isinstance(meta, dict) else None
    if direction not in ("minimize", "maximize"):
        raise ValueError(
            f'`direction` in {file} must be "minimize" or "maximize", but is {direction!r}.'
        )
    return StudyDirection[direction.upper()]


def _read_configs(folder: Path) -> dict[str, dict[str, str]]:
    file = _find(folder, "configs.csv")
    return {} if file is None else _read_rows(file, dict)


def _read_curves(folder: Path) -> dict[str, dict[int, float]]:
    file = _find(folder, "curves.csv")
    if file is None:
        raise FileNotFoundError(f"{str(folder)!r} is not a curve folder: it has no curves.csv.")
    return _read_rows(file, _reports)


def _reports(row: dict[str, str]) -> dict[int, float]:
    try:
        return {_step(step): float(cell) for step, cell in row.items() if cell}
    except ValueError as error:
        raise ValueError(f"what is neither a step nor a value: {error}") from error


def _find(folder: Path, name: str) -> Path | None:
    files = (folder / name, folder / f"{name}.gz")
    return next((file for file in files if file.is_file()), None)


def _read_rows(file: Path, convert: Callable[[dict[str, str]], T]) -> dict[str, T]:
    check_file(file, _MAX_BYTES)
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file} cannot be decompressed: {error}.") from error
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{file} unpacks to more than {_MAX_BYTES:,} bytes.")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text: {error}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = {}
    try:
        if _ID not in (reader.fieldnames or ()):
            raise ValueError(f"no column `{_ID}`")
        for row in reader:
            curve_id = str(row.pop(_ID))
            # Rows may be cut short by a crash: `None` marks the cells that are missing.
            rows[curve_id] = convert({n: cell or "" for n, cell in row.items() if n is not None})
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{file}, line {reader.line_num}, has {error}.") from error
    return rows


def _step(heading: str) -> int:
    step = int(heading)
    if step < 0:
        raise ValueError(f"step {step} is negative")
    return step


def _distribution(cells: list[str]) -> BaseDistribution | None:
    numbers = [_number(cell) for cell in cells]
    if all(math.isfinite(number) for number in numbers):
        if not numbers:
            return None
        low, high = min(numbers), max(numbers)
        return FloatDistribution(low, high, log=low > 0.0 and high >= _LOG_RATIO * low)
    choices = sorted(set(cells))
    return CategoricalDistribution(choices) if len(choices) <= len(cells) / 2 else None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
