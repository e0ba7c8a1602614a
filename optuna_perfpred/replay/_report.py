from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred.replay._calibration import Calibration


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping

    import pandas as pd

    from optuna_perfpred._arrays import Flags
    from optuna_perfpred._arrays import Floats


_MAX_LISTED = 10


@dataclass(frozen=True)
class ReplayedTrial:
    """How one recorded trial went in one repeat.

    Attributes:
        repeat:
            The repeat, counted from 0.
        number:
            The trial's number in the recorded study.
        state:
            ``COMPLETE``, ``PRUNED``, or ``RUNNING`` for a trial that the end of the budget cut
            off.
        n_steps:
            The number of its recorded reports.
        steps_trained:
            The number of them that were made in the replay.
        time_trained:
            The time that they took, in the unit of the replay.
        time_recorded:
            The time of all its recorded reports.
        step:
            The last step at which it reported; :obj:`None` if the budget ended before the first.
        value:
            The recorded final value, whether the replay came to it or not.
        feasible:
            Whether the recorded trial satisfied all constraints.
        best_so_far:
            The best value that was completed when the trial ended; :obj:`None` if there was none.
        would_be_best:
            Whether the recorded final value is better than that.
        ended:
            The virtual time at which it ended.
        predicted_value:
            The forecast of the final value that the pruner left on the trial, if any.
        predicted_std:
            Its standard error, likewise.
        probability_of_beating_best:
            The forecast probability to beat the best value, likewise.
        reason:
            The pruner's reason, likewise.
    """

    repeat: int
    number: int
    state: TrialState
    n_steps: int
    steps_trained: int
    time_trained: float
    time_recorded: float
    step: int | None
    value: float
    feasible: bool
    best_so_far: float | None
    would_be_best: bool
    ended: float
    predicted_value: float | None = None
    predicted_std: float | None = None
    probability_of_beating_best: float | None = None
    reason: str | None = None

    @property
    def cost_unpruned(self) -> int:
        """The steps it would have been trained by a pruner that never prunes.

        A trial that the budget cut off counts with the steps it was trained.
        """
        return self.steps_trained if self.state == TrialState.RUNNING else self.n_steps

    @property
    def time_unpruned(self) -> float:
        """The time that these steps would take, likewise."""
        return self.time_trained if self.state == TrialState.RUNNING else self.time_recorded

    @property
    def wrongly_pruned(self) -> bool:
        """Whether it was pruned although it would have become the best by then.

        So it is if the pruner prunes before any trial is complete.
        """
        return self.state == TrialState.PRUNED and self.would_be_best


@dataclass(frozen=True)
class RepeatResult:
    """One run of a recorded study.

    Attributes:
        trials:
            The trials, in the order in which they were drawn.
        direction:
            The study's direction.
        forecasts:
            The forecast probabilities to beat the best value, of each check at which the pruner
            had one. Shape: ``(n_forecasts,)``.
        outcomes:
            Whether the trial's recorded final value did beat it. Shape: ``(n_forecasts,)``.
        pruner_seconds:
            The seconds spent in ``should_prune``.
        n_checks:
            The number of its calls.
        wall_clock:
            The virtual time at which the last worker stopped.
        wall_clock_without_pruning:
            The virtual time at which the workers would have stopped without pruning.
    """

    trials: tuple[ReplayedTrial, ...]
    direction: StudyDirection
    forecasts: Floats
    outcomes: Flags
    pruner_seconds: float
    n_checks: int
    wall_clock: float
    wall_clock_without_pruning: float

    @property
    def steps_trained(self) -> int:
        """The number of steps that were trained."""
        return sum(trial.steps_trained for trial in self.trials)

    @property
    def total_steps(self) -> int:
        """The number of steps of the same trials without pruning.

        A trial that the budget cut off counts with the steps it was trained.
        """
        return sum(trial.cost_unpruned for trial in self.trials)

    @property
    def steps_saved(self) -> int:
        """The number of steps that pruning has saved."""
        return self.total_steps - self.steps_trained

    @property
    def speed_up(self) -> float:
        """Total steps per trained step."""
        return self.total_steps / self.steps_trained

    @property
    def best_value(self) -> float | None:
        """The best recorded value of the trials that were completed or pruned."""
        return self._best(TrialState.COMPLETE, TrialState.PRUNED)

    @property
    def best_completed(self) -> float | None:
        """The best value that was completed; :obj:`None` if all trials were pruned."""
        return self._best(TrialState.COMPLETE)

    @property
    def best_kept(self) -> bool:
        """Whether the best recorded value, or an equal one, was completed.

        There is nothing to keep if all trials diverged.
        """
        worst = -math.inf if self.direction == StudyDirection.MAXIMIZE else math.inf
        return self.best_value in (self.best_completed, worst)

    @property
    def regret(self) -> float:
        """How much better the best value is than the best completed one, at least 0.

        Infinite if pruning left no value at all.
        """
        if self.best_kept or self.best_value is None:
            return 0.0
        if self.best_completed is None:
            return math.inf
        return abs(self.best_value - self.best_completed)

    def _best(self, *states: TrialState) -> float | None:
        values = [t.value for t in self.trials if t.state in states and t.feasible]
        best = max if self.direction == StudyDirection.MAXIMIZE else min
        return best(values, default=None)


@dataclass(frozen=True)
class ReplayReport:
    """What a pruner would have saved on a recorded study, and what it would have lost.

    Attributes:
        study_name:
            The name of the recorded study.
        pruner:
            The name of the pruner's class.
        direction:
            The study's direction.
        order:
            ``"number"`` or ``"random"``.
        seed:
            The seed of the orders and of the names of the replayed studies.
        n_workers:
            The number of simulated workers.
        time_unit:
            The unit of the virtual time: ``"steps"``, ``"seconds"`` or ``"units of cost"``.
        budget:
            The budget in full trainings, or :obj:`None`.
        values:
            The values of all trials that can be replayed, infeasible ones as NaN.
            Shape: ``(n_replayable,)``.
        horizon:
            The number of reports of the longest curve: the cost of one full training.
        iqr:
            The interquartile range of the finite values of all trials that can be replayed.
        left_out:
            The number of trials that could not be replayed, by the reason.
        repeats:
            The result of each repeat.
    """

    study_name: str
    pruner: str
    direction: StudyDirection
    order: str
    seed: int
    n_workers: int
    time_unit: str
    budget: float | None
    values: Floats
    horizon: int
    iqr: float
    left_out: dict[str, int]
    repeats: tuple[RepeatResult, ...]

    @property
    def trials(self) -> list[ReplayedTrial]:
        """All trials of all repeats."""
        return [trial for repeat in self.repeats for trial in repeat.trials]

    @property
    def steps_trained(self) -> float:
        """The number of steps that were trained, mean of the repeats."""
        return self._mean(lambda repeat: repeat.steps_trained)

    @property
    def steps_saved(self) -> float:
        """The number of steps that pruning has saved, mean of the repeats."""
        return self._mean(lambda repeat: repeat.steps_saved)

    @property
    def total_steps(self) -> float:
        """The number of steps of the same trials without pruning, mean of the repeats."""
        return self._mean(lambda repeat: repeat.total_steps)

    @property
    def time_trained(self) -> float:
        """The time that was trained, added up over all workers, mean of the repeats."""
        return self._mean(lambda repeat: sum(trial.time_trained for trial in repeat.trials))

    @property
    def total_time(self) -> float:
        """The time of the same trials without pruning, likewise."""
        return self._mean(lambda repeat: sum(trial.time_unpruned for trial in repeat.trials))

    @property
    def speed_up(self) -> float:
        """Total steps per trained step, geometric mean of the repeats."""
        return math.exp(self._mean(lambda repeat: math.log(repeat.speed_up)))

    @property
    def best_value(self) -> float:
        """The best recorded value of the trials that were completed or pruned, likewise.

        NaN if a repeat has none.
        """
        return self._mean(lambda repeat: _or_nan(repeat.best_value))

    @property
    def best_completed(self) -> float:
        """The best value that was completed, likewise; NaN if a repeat completed none."""
        return self._mean(lambda repeat: _or_nan(repeat.best_completed))

    @property
    def regret(self) -> float:
        """How much better the best value is than the best completed one, mean of the repeats."""
        return self._mean(lambda repeat: repeat.regret)

    @property
    def regret_iqr(self) -> float:
        """The regret as a share of the interquartile range, mean of the repeats.

        If that range is 0, it is infinite unless nothing was lost.
        """
        if self.iqr > 0.0:
            return self.regret / self.iqr
        return 0.0 if self.regret == 0.0 else math.inf

    @property
    def best_kept(self) -> float:
        """The share of repeats in which the best value was completed."""
        return self._mean(lambda repeat: repeat.best_kept)

    @property
    def miss(self) -> float:
        """The share of all replayable trials that are better than the best completed one.

        Mean of the repeats; 1 for one in which nothing was completed.
        """
        return self._mean(lambda repeat: self.share_better_than(repeat.best_completed))

    def share_better_than(self, value: float | None) -> float:
        """Give the share of all replayable trials whose value is better.

        Args:
            value:
                A value of the objective, or :obj:`None`, than which every trial is better.
        """
        if value is None:
            return 1.0
        maximize = self.direction == StudyDirection.MAXIMIZE
        return float(np.mean(self.values > value if maximize else self.values < value))

    @property
    def wrongly_pruned(self) -> list[ReplayedTrial]:
        """The trials that were pruned although they would have become the best by then."""
        return [trial for trial in self.trials if trial.wrongly_pruned]

    @property
    def calibration(self) -> Calibration:
        """The pruner's forecasts beside what happened, over all repeats."""
        return Calibration.of(
            np.concatenate([repeat.forecasts for repeat in self.repeats]),
            np.concatenate([repeat.outcomes for repeat in self.repeats]),
        )

    @property
    def pruner_seconds(self) -> float:
        """The seconds spent in ``should_prune``, mean of the repeats."""
        return self._mean(lambda repeat: repeat.pruner_seconds)

    @property
    def n_checks(self) -> float:
        """The number of calls of ``should_prune``, mean of the repeats."""
        return self._mean(lambda repeat: repeat.n_checks)

    @property
    def wall_clock(self) -> float:
        """The virtual time at which the last worker stopped, mean of the repeats."""
        return self._mean(lambda repeat: repeat.wall_clock)

    @property
    def wall_clock_without_pruning(self) -> float:
        """The virtual time at which it would have stopped without pruning, likewise."""
        return self._mean(lambda repeat: repeat.wall_clock_without_pruning)

    def _mean(self, quantity: Callable[[RepeatResult], float]) -> float:
        return float(np.mean([quantity(repeat) for repeat in self.repeats]))

    def to_dataframe(self) -> pd.DataFrame:
        """Give a pandas data frame with one row for each trial of each repeat.

        Returns:
            A data frame whose columns are the attributes of :class:`ReplayedTrial`, ``state`` as
            text, and ``wrongly_pruned``.

        Raises:
            ImportError:
                If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "`to_dataframe` needs pandas, which is not installed: `pip install pandas`."
            ) from error
        rows = [
            vars(trial) | {"state": trial.state.name, "wrongly_pruned": trial.wrongly_pruned}
            for trial in self.trials
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        repeats, n = self.repeats, len(self.repeats)
        order = f"in random order, seed {self.seed}"
        if self.order == "number":
            order = "in the order of numbers"
        workers = f"{self.n_workers} worker" + "s" * (self.n_workers != 1)
        kept = sum(repeat.best_kept for repeat in repeats)
        rows = {
            "trials": _trials(self),
            "repeats": f"{n}, {order}" + "; counts are means of them" * (n > 1),
            "steps trained": f"{self.steps_trained:.0f} of {self.total_steps:.0f}, "
            f"{self.steps_saved:.0f} saved: {self.speed_up:.2f} times as fast",
            **_time_trained(self),
            "wall clock": f"{self.wall_clock:.6g} {self.time_unit} instead of "
            f"{self.wall_clock_without_pruning:.6g} with {workers}",
            "best value": _best_value(self),
            "best kept": f"in {kept} of {n} repeat" + "s" * (n != 1),
            "wrongly pruned": _wrongly_pruned(self),
            "time in the pruner": f"{self.pruner_seconds:.2f} s for {self.n_checks:.0f} checks, "
            f"{1e3 * self.pruner_seconds / max(self.n_checks, 1):.3f} ms each",
            "forecasts": _calibration(self),
        }
        width = max(map(len, rows)) + 2
        margin = "\n" + " " * (width + 2)
        lines = [f"  {key:<{width}}{text}".replace("\n", margin) for key, text in rows.items()]
        return "\n".join([f"Replay of study {self.study_name!r} with {self.pruner}", *lines])


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def count_left_out(left_out: Mapping[str, int]) -> str:
    """Tell how many trials are left out for which reasons."""
    return ", ".join(f"{n} {reason}" for reason, n in sorted(left_out.items()))


def _trials(report: ReplayReport) -> str:
    states = Counter(trial.state for trial in report.trials)
    n_repeats = len(report.repeats)
    parts = [
        f"{states[state] / n_repeats:.4g} {name}"
        for state, name in (
            (TrialState.COMPLETE, "completed"),
            (TrialState.PRUNED, "pruned"),
            (TrialState.RUNNING, "cut off by the budget"),
        )
        if states[state] or state != TrialState.RUNNING
    ]
    text = f"{', '.join(parts)}; {len(report.values)} can be replayed"
    if report.left_out:
        total = sum(report.left_out.values())
        text += f", {total} are left out ({count_left_out(report.left_out)})"
    return text


def _time_trained(report: ReplayReport) -> dict[str, str]:
    trained, total = report.time_trained, report.total_time
    text = f"{trained:.6g} of {total:.6g}, {total - trained:.6g} saved: "
    told = {f"{report.time_unit} trained": f"{text}{total / trained:.2f} times as cheap"}
    return {} if report.time_unit == "steps" else told


def _best_value(report: ReplayReport) -> str:
    values = f"{report.best_completed:.6g} completed of {report.best_value:.6g}"
    if report.regret == 0.0:
        return f"{values}, nothing lost"
    return (
        f"{values}, {report.regret:.4g} lost: {100.0 * report.regret_iqr:.3g} % of the "
        "interquartile range of the values"
    )


def _wrongly_pruned(report: ReplayReport) -> str:
    wrong = report.wrongly_pruned
    pruned = sum(trial.state == TrialState.PRUNED for trial in report.trials)
    lines = [f"{len(wrong)} of {pruned}: their recorded end is better than the best by then"]
    for trial in wrong[:_MAX_LISTED]:
        best = "nothing" if trial.best_so_far is None else f"{trial.best_so_far:.4g}"
        lines.append(
            f"repeat {trial.repeat}, trial {trial.number} at step {trial.step}: ends at "
            f"{trial.value:.4g}, best by then {best}. {trial.reason or ''}".rstrip()
        )
    if len(wrong) > _MAX_LISTED:
        lines.append(f"and {len(wrong) - _MAX_LISTED} more")
    return "\n".join(lines)


def _calibration(report: ReplayReport) -> str:
    calibration = report.calibration
    if calibration.count == 0:
        return "none given by the pruner"
    lines = [
        f"{calibration.count} probabilities to beat the best, Brier score "
        f"{calibration.brier_score:.4f}"
    ]
    lines += [
        f"{100.0 * b.low:3.0f} to {100.0 * b.high:3.0f} %: on average "
        f"{100.0 * b.mean_forecast:.3g} % forecast, {100.0 * b.frequency:.3g} % came true "
        f"({b.count})"
        for b in calibration.bins
    ]
    return "\n".join(lines)
