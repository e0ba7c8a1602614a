from __future__ import annotations

import bisect
import copy
from dataclasses import dataclass
import heapq
import itertools
import logging
import math
from numbers import Integral
from pathlib import Path
import time
from typing import Any
from typing import Literal
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna import Study
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import Trial
from optuna.trial import TrialState
from tqdm.auto import tqdm

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._attributes import read_number
from optuna_perfpred._attributes import read_text
from optuna_perfpred.history import continued_number
from optuna_perfpred.history import REPORTED
from optuna_perfpred.pruners._assessment import PREDICTED_STD
from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.pruners._assessment import PROBABILITY_OF_BEATING_BEST
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._forecasters import learns
from optuna_perfpred.replay._recording import load_curves
from optuna_perfpred.replay._recording import read_recording
from optuna_perfpred.replay._report import RepeatResult
from optuna_perfpred.replay._report import ReplayedTrial
from optuna_perfpred.replay._report import ReplayReport


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred.replay._recording import RecordedTrial
    from optuna_perfpred.replay._recording import Recording
    from optuna_perfpred.replay._recording import StepTime


_TIME_UNITS = {"unit": "steps", "recorded": "seconds"}


def replay(
    study_or_curves: Study | str | Path,
    pruner: BasePruner,
    *,
    order: Literal["number", "random"] = "number",
    n_repeats: int = 1,
    seed: int | None = None,
    n_trials: int | None = None,
    budget: float | None = None,
    n_workers: int = 1,
    step_time: StepTime = "unit",
    show_progress_bar: bool = False,
) -> ReplayReport:
    """Tell what a pruner would have saved on a finished study, and what it would have lost.

    Each completed trial is run again in a real Optuna study in memory, with its parameters and
    user attributes: its intermediate values are reported one after the other, and
    ``should_prune`` is asked after each, the last one included. Constraints are set at its end.
    The sampler is not part of it: which trials there are, and in which order, does not depend on
    what was pruned. A pruner may ask whether it is one that learns; in a random order, none is.

    Only completed trials with intermediate values can be replayed, since the end of all others is
    not known; the report tells how many are left out. The study is not changed.

    Example:

        .. testcode::

            import optuna

            from optuna_perfpred.replay import replay


            def objective(trial):
                rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
                for step in range(20):
                    trial.report(rate * 0.9**step, step)
                return rate * 0.9**19


            study = optuna.create_study()
            study.optimize(objective, n_trials=30)

            report = replay(study, optuna.pruners.MedianPruner(), order="random", n_repeats=5)
            print(report)

    Args:
        study_or_curves:
            A study in any storage, or a folder of recorded curves (see
            :func:`~optuna_perfpred.replay.load_curves`).
        pruner:
            The pruner. Each repeat uses a copy of it; it is not changed itself.
        order:
            ``"number"`` for the order of the trials in their study, ``"random"`` for another
            order in each repeat.
        n_repeats:
            The number of times the study is run.
        seed:
            Seed of the random orders. It is also part of the names of the replayed studies, from
            which :class:`~optuna.pruners.HyperbandPruner` derives the bracket of a trial. Equal
            seeds give the same orders for all pruners. If :obj:`None`, a random one, which the
            report tells.
        n_trials:
            The number of trials that are drawn at most. If :obj:`None`, all.
        budget:
            The cost that is spent at most, in full trainings: a full training is as many steps as
            the longest recorded curve. A trial that it cuts off is not completed. If
            :obj:`None`, all drawn trials are run.
        n_workers:
            The number of workers that train at the same time, on a virtual clock; each takes the
            next trial when it has finished one.
        step_time:
            The virtual time that a step takes: ``"unit"`` for 1, ``"recorded"`` for the duration
            of the recorded trial divided by the number of its reports, or a function of a
            recorded trial and a step, as the ``cost`` of
            :class:`~optuna_perfpred.PerformancePredictionPruner`, in any unit. A pruner with
            ``cost="time"`` is told of this time.
        show_progress_bar:
            Whether to show the progress over all trials of all repeats.

    Returns:
        The report. ``print`` gives its summary.

    Raises:
        FileNotFoundError:
            If there is no such folder of curves.
        ValueError:
            If an argument is out of its range, the study has several objectives, or none of its
            trials can be replayed.
    """
    _check(study_or_curves, pruner, order=order, step_time=step_time, seed=seed, budget=budget)
    check_at_least("n_repeats", n_repeats, 1)
    check_at_least("n_workers", n_workers, 1)
    if n_trials is not None:
        check_at_least("n_trials", n_trials, 1)
    study = study_or_curves if isinstance(study_or_curves, Study) else load_curves(study_or_curves)
    recording = read_recording(study, step_time=step_time)
    step_budget = math.inf
    if budget is not None:
        # The product may be short of the whole number that is meant by a rounding error.
        step_budget = math.floor(budget * recording.horizon + 1e-9)
        if step_budget < 1:
            raise ValueError(
                f"`budget` must pay for at least one step, which is 1/{recording.horizon} of a "
                f"full training, but got {budget=}."
            )
    if seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    n_drawn = min(n_trials or len(recording.trials), len(recording.trials))
    repeats = []
    with tqdm(total=n_repeats * n_drawn, disable=not show_progress_bar, unit="trial") as bar:
        for repeat in range(n_repeats):
            simulation = Simulation(
                recording,
                pruner,
                study_name=f"replay-{seed}-{repeat}",
                # In another order than theirs, proposals are as good as random.
                sampler_learns=order == "number" and learns(study.sampler),
                n_workers=n_workers,
                step_budget=step_budget,
            )
            drawn = _order(recording, order, seed, repeat)[:n_drawn]
            repeats.append(simulation.run(repeat, drawn, bar.update))
            bar.update((repeat + 1) * n_drawn - bar.n)
    return ReplayReport(
        study_name=recording.study_name,
        pruner=type(pruner).__name__,
        direction=recording.direction,
        order=order,
        seed=seed,
        n_workers=n_workers,
        time_unit="units of cost" if callable(step_time) else _TIME_UNITS[step_time],
        budget=budget,
        values=np.array([t.value if t.feasible else np.nan for t in recording.trials]),
        horizon=recording.horizon,
        iqr=recording.iqr,
        left_out=recording.left_out,
        repeats=tuple(repeats),
    )


def _order(recording: Recording, order: str, seed: int, repeat: int) -> Sequence[int]:
    n_trials = len(recording.trials)
    if order == "number":
        return range(n_trials)
    permutation: list[int] = np.random.default_rng([seed, repeat]).permutation(n_trials).tolist()
    return permutation


def _check(
    study_or_curves: Any, pruner: Any, *, order: Any, step_time: Any, seed: Any, budget: Any
) -> None:
    if not isinstance(study_or_curves, Study | str | Path):
        raise ValueError(
            f"`study_or_curves` must be an Optuna study or a folder, but got {study_or_curves!r}."
        )
    if not isinstance(pruner, BasePruner):
        raise ValueError(f"`pruner` must be an Optuna pruner, but got {pruner!r}.")
    if order not in ("number", "random"):
        raise ValueError(f'`order` must be "number" or "random", but got {order=}.')
    if not callable(step_time) and step_time not in _TIME_UNITS:
        raise ValueError(
            '`step_time` must be "unit", "recorded" or a function of trial and step, but got '
            f"{step_time=}."
        )
    if seed is not None and (not isinstance(seed, Integral) or seed < 0):
        raise ValueError(f"`seed` must be an integer of at least 0 or None, but got {seed=}.")
    if budget is not None and (not isinstance(budget, int | float) or not 0.0 < budget < math.inf):
        raise ValueError(f"`budget` must be a positive number or None, but got {budget=}.")


@dataclass
class _Running:
    recorded: RecordedTrial
    trial: Trial
    n_reports: int = 0
    # Trained by the trials that it goes on with, less what it need not train again.
    steps_before: int = 0
    time_before: float = 0.0

    @property
    def time(self) -> float:
        """The time of the steps that it has reported."""
        return sum(self.recorded.step_times[: self.n_reports])

    @property
    def next_step_time(self) -> float:
        return self.recorded.step_times[self.n_reports]


class Simulation:
    """One study that is run again, on a virtual clock.

    The study, its storage and its trials are Optuna's own, in memory; what is simulated is only
    the training. Workers are entries of a queue of events: each takes the next trial of the draw
    as soon as it has finished one, and a step of a trial takes the trial's ``step_time``. What
    happens at the same moment happens in the order of the draw, so that a simulation is
    reproducible. With one worker it is the ordinary loop over trials and steps. A trial that the
    pruner has go on with a stopped one comes before the next of the draw; it is trained from its
    first step again, unless the pruner says that there are checkpoints.

    Args:
        recording:
            What is replayed.
        pruner:
            The pruner, of which a copy is used.
        study_name:
            The name of the study that is made. Some pruners derive decisions from it.
        sampler_learns:
            Whether the trials were proposed by a sampler that learns.
        n_workers:
            The number of workers.
        step_budget:
            The number of steps after which the study ends; trials that run then stay unfinished.
    """

    def __init__(
        self,
        recording: Recording,
        pruner: BasePruner,
        *,
        study_name: str,
        sampler_learns: bool = False,
        n_workers: int = 1,
        step_budget: float = math.inf,
    ) -> None:
        self._recording = recording
        self._n_workers = n_workers
        self._step_budget = step_budget
        copied = copy.deepcopy(pruner)
        self._study = _create_study(study_name, recording, copied, sampler_learns)
        # What it foresees of a running trial, whether it prunes it or not.
        self._assessment = getattr(copied, "assessment", None)
        self._keeps_checkpoints = getattr(copied, "second_chance", None) == "checkpoint"
        self._recorded: dict[int, RecordedTrial] = {}  # By its number in the study.
        if getattr(copied, "cost", None) == "time":
            copied.cost = self._step_time  # type: ignore[attr-defined]
        # By their numbers in the study: the place in the draw, and the training.
        self._ended: dict[int, tuple[int, _Running]] = {}
        self._best_score = -math.inf
        self._steps_trained = 0
        self._pruner_seconds = 0.0
        self._n_checks = 0
        self._forecasts: list[float] = []
        self._outcomes: list[bool] = []

    def run(
        self, repeat: int, order: Iterable[int], on_trial: Callable[[], None] = lambda: None
    ) -> RepeatResult:
        """Run the study to its end.

        Args:
            repeat:
                The number that the result is given.
            order:
                The positions of the trials in the recording, in the order in which they are
                drawn.
            on_trial:
                Called whenever a trial has ended.

        Returns:
            The result, with its trials in the order in which they were drawn.
        """
        draw = enumerate(order)
        queue: list[tuple[float, int, _Running]] = []
        replayed: dict[int, ReplayedTrial] = {}
        for _ in range(self._n_workers):
            self._start_next(draw, queue, 0.0)
        now = 0.0
        while queue and self._steps_trained < self._step_budget:
            now, index, running = queue[0]
            state = self._train_one_step(running)
            if state == TrialState.RUNNING:
                later = now + running.next_step_time
                heapq.heapreplace(queue, (later, index, running))
                continue
            heapq.heappop(queue)
            self._ended[running.trial.number] = index, running
            replayed[index] = self._describe(running, state, now, repeat)
            if state == TrialState.COMPLETE:
                self._best_score = max(self._best_score, running.recorded.score)
            on_trial()
            if self._steps_trained < self._step_budget:
                self._start_next(draw, queue, now)
        for _, index, running in queue:
            replayed[index] = self._describe(running, TrialState.RUNNING, now, repeat)
        trials = tuple(replayed[index] for index in sorted(replayed))
        return RepeatResult(
            trials=trials,
            direction=self._recording.direction,
            forecasts=np.array(self._forecasts, dtype=float),
            outcomes=np.array(self._outcomes, dtype=bool),
            pruner_seconds=self._pruner_seconds,
            n_checks=self._n_checks,
            wall_clock=now,
            wall_clock_without_pruning=self._wall_clock_without_pruning(trials),
        )

    def _start_next(
        self, draw: Iterator[tuple[int, int]], queue: list[tuple[float, int, _Running]], now: float
    ) -> None:
        if self._continue_stopped(queue, now):
            return
        index, position = next(draw, (None, None))
        if index is None or position is None:
            return
        recorded = self._recording.trials[position]
        # `study.ask` with an enqueued trial would come to the same, at several times the cost.
        trial_id = self._study._storage.create_new_trial(
            self._study._study_id, template_trial=recorded.template()
        )
        running = _Running(recorded, Trial(self._study, trial_id))
        self._recorded[running.trial.number] = recorded
        heapq.heappush(queue, (now + running.next_step_time, index, running))

    def _continue_stopped(self, queue: list[tuple[float, int, _Running]], now: float) -> bool:
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        number = continued_number(waiting[0]) if waiting else None
        if number is None:
            return False
        index, stopped = self._ended[number]
        template = stopped.recorded.template()
        running = _Running(stopped.recorded, self._study.ask(template.distributions))
        self._recorded[running.trial.number] = stopped.recorded
        for name, value in template.user_attrs.items():
            running.trial.set_user_attr(name, value)
        running.steps_before = stopped.steps_before + stopped.n_reports
        running.time_before = stopped.time_before + stopped.time
        if self._keeps_checkpoints:
            running.n_reports = stopped.n_reports
            running.steps_before -= stopped.n_reports
            running.time_before -= stopped.time
            reported = zip(stopped.recorded.steps, stopped.recorded.values, strict=True)
            for step, value in itertools.islice(reported, stopped.n_reports):
                running.trial.report(value, step)
        heapq.heappush(queue, (now + running.next_step_time, index, running))
        return True

    def _step_time(self, trial: FrozenTrial, step: int) -> float:
        recorded = self._recorded[trial.number]
        # A trial may train on for longer than its recording tells.
        at = min(bisect.bisect_left(recorded.steps, step), len(recorded.steps) - 1)
        return recorded.step_times[at]

    def _train_one_step(self, running: _Running) -> TrialState:
        recorded, trial = running.recorded, running.trial
        step = recorded.steps[running.n_reports]
        trial.report(recorded.values[running.n_reports], step)
        key = f"{REPORTED}{step}"
        if key in recorded.source.system_attrs:
            reported = recorded.source.system_attrs[key]
            self._study._storage.set_trial_system_attr(trial._trial_id, key, reported)
        running.n_reports += 1
        self._steps_trained += 1
        start = time.perf_counter()
        pruned = trial.should_prune()
        self._pruner_seconds += time.perf_counter() - start
        self._n_checks += 1
        self._note_forecast(running, step)
        # Also after the last report, as in a live training: the pruned trial then loses its value
        # although it costs as much as a completed one.
        if pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
            return TrialState.PRUNED
        if running.n_reports == len(recorded.steps):
            for name, constraint in recorded.source.constraints.items():
                trial.set_constraint(name, constraint)
            self._study.tell(trial, recorded.value)
            return TrialState.COMPLETE
        return TrialState.RUNNING

    def _note_forecast(self, running: _Running, step: int) -> None:
        if self._assessment is None:
            return
        frozen = self._study._storage.get_trial(running.trial._trial_id)
        assessment = self._assessment(self._study, frozen)
        # An assessment of an earlier step is one that was counted there.
        if assessment is not None and assessment.step == step:
            self._forecasts.append(assessment.probability_of_beating_best)
            self._outcomes.append(running.recorded.score > self._best_score)

    def _describe(
        self, running: _Running, state: TrialState, now: float, repeat: int
    ) -> ReplayedTrial:
        recorded, best = running.recorded, self._best_score
        attrs = self._study._storage.get_trial(running.trial._trial_id).user_attrs
        n_reports = running.n_reports
        return ReplayedTrial(
            repeat=repeat,
            number=recorded.source.number,
            state=state,
            n_steps=len(recorded.steps),
            steps_trained=running.steps_before + n_reports,
            time_trained=running.time_before + running.time,
            time_recorded=sum(recorded.step_times),
            step=recorded.steps[n_reports - 1] if n_reports > 0 else None,
            value=recorded.value,
            feasible=recorded.feasible,
            best_so_far=None if best == -math.inf else self._recording.sign * best,
            would_be_best=recorded.score > best,
            ended=now,
            predicted_value=read_number(attrs, PREDICTED_VALUE),
            predicted_std=read_number(attrs, PREDICTED_STD),
            probability_of_beating_best=read_number(attrs, PROBABILITY_OF_BEATING_BEST),
            reason=read_text(attrs, REASON) or None,
        )

    def _wall_clock_without_pruning(self, trials: Sequence[ReplayedTrial]) -> float:
        """Give the time at which the workers would have finished the same trials unpruned."""
        workers = [0.0] * self._n_workers
        for trial in trials:
            heapq.heapreplace(workers, workers[0] + trial.time_unpruned)
        return max(workers)


def _create_study(
    study_name: str, recording: Recording, pruner: BasePruner, sampler_learns: bool
) -> Study:
    # Never asked to propose anything; our pruner looks at its kind.
    sampler = TPESampler(seed=0) if sampler_learns else RandomSampler(seed=0)
    # A study in memory is an implementation detail here, not worth a line in the log each time.
    logger = logging.getLogger("optuna.storages._in_memory")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return optuna.create_study(
            storage=InMemoryStorage(),
            sampler=sampler,
            pruner=pruner,
            study_name=study_name,
            direction=recording.direction,
        )
    finally:
        logger.setLevel(level)
