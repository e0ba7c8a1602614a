from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import copy
from dataclasses import dataclass
import functools
import math
import statistics
import threading
import time
from typing import Any
from typing import cast
from typing import Literal
from typing import NamedTuple
from typing import TYPE_CHECKING
import weakref

from optuna import Study
from optuna import Trial
from optuna import TrialPruned
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from optuna_perfpred.history import continued_number
from optuna_perfpred.history import FinishedTrialsReader
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.optimization._training import GeneratorObjective
from optuna_perfpred.optimization._training import is_generator_function
from optuna_perfpred.optimization._training import Training
from optuna_perfpred.pruners._second_chance import be_patient_with
from optuna_perfpred.pruners._second_chance import go_on_with
from optuna_perfpred.pruners._second_chance import LEAST_WORTH
from optuna_perfpred.pruners._second_chance import limit_at_end
from optuna_perfpred.pruners._second_chance import SecondChances


if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners import PerformancePredictionPruner
    from optuna_perfpred.pruners._second_chance import Chance


Objective = Callable[[Trial], float] | GeneratorObjective
Callback = Callable[["Study", "FrozenTrial"], None]

# If its end could not be told to the storage, others do not wait longer for it.
_SECONDS_TO_TELL = 60.0


class Limits(NamedTuple):
    """When a search is done; :obj:`None` is no limit.

    Attributes:
        n_new:
            New trials.
        n_continued:
            Stopped trials that go on.
        steps:
            Steps that these train. The one that trains the last of them is not interrupted.
        timeout:
            Seconds after which no trial begins.
    """

    n_new: int | None = None
    n_continued: int | None = None
    steps: int | None = None
    timeout: float | None = None


@dataclass
class _Running:
    """A trial that was begun here.

    Attributes:
        trained:
            The last step that it need not train again, -1 if it begins with step 0.
        stopped:
            The trial that it goes on with.
        training:
            What was paused of that one.
        returned:
            When its objective has returned.
    """

    trained: int
    stopped: FrozenTrial | None
    training: Training | None
    returned: float = math.inf


class _DoneError(Exception):
    """Leaves Optuna's loop: no trial is to begin any more."""


class _Asked(Study):
    """A study of which Optuna's loop asks for trials, and gets others than the study gives.

    All else is the study's own, with which it shares its attributes. The study itself is left
    alone: whoever asks it for a trial meanwhile gets one as always.

    Args:
        study:
            The study.
        ask:
            What gives the trials, which belong to the study.
    """

    __slots__ = ("_ask",)

    def __init__(self, study: Study, ask: Callable[[], Trial]) -> None:
        self.__dict__ = study.__dict__
        self._ask = ask

    def ask(self, fixed_distributions: dict[str, BaseDistribution] | None = None) -> Trial:
        """Give the next trial."""
        return self._ask()


def _call_back(callback: Callback, study: Study, _: Study, trial: FrozenTrial) -> None:
    callback(study, trial)


_searched: weakref.WeakSet[Study] = weakref.WeakSet()


class Search:
    """Runs new trials and stopped ones, whichever is worth more.

    Optuna's own loop runs them. Only where it asks for a trial, this one gives it: a stopped one
    goes on as another trial, at once, whatever waits in the queue.

    Args:
        study:
            The study.
        pruner:
            The pruner that tells what stopped trials are worth.
        objective:
            The objective.
        limits:
            When it is done.
        n_paused:
            The number of stopped trainings to keep, beside those that run.

    Attributes:
        n_continued:
            The number of stopped trials that have gone on.
        n_steps:
            The number of steps that these have trained.
    """

    def __init__(
        self,
        study: Study,
        pruner: PerformancePredictionPruner,
        objective: Objective,
        limits: Limits,
        n_paused: int,
    ) -> None:
        self.n_continued = 0
        self.n_steps = 0
        self._study = study
        self._goes_on_from = pruner._goes_on_from
        self._pruner = copy.copy(pruner)
        self._pruner.second_chance = "never"  # They are chosen here.
        self._objective = objective
        self._limits = limits
        self._n_paused = n_paused
        self._reader = FinishedTrialsReader(pruner._feature_attrs)
        forecaster = self._pruner._forecasters.of(study)
        self._chances = SecondChances(forecaster.forecast, self._goes_on, forecaster.costs)
        self._is_at_end = False
        self._limit = LEAST_WORTH
        self._ended = threading.Condition()
        self._n_new = 0
        self._running: dict[int, _Running] = {}
        # By the number of the trial that was stopped.
        self._paused: dict[int, Training] = {}
        self._error: Exception | None = None

    def run(
        self,
        n_jobs: int = 1,
        catch: Iterable[type[Exception]] | type[Exception] = (),
        callbacks: Iterable[Callback] | None = None,
    ) -> None:
        """Run trials until a limit is reached and no stopped one is worth it. As of Optuna."""
        study, pruner = self._study, self._study.pruner
        if study in _searched:
            raise RuntimeError("The study is being optimized already.")
        _searched.add(study)
        self._catch = (catch,) if isinstance(catch, type) else tuple(catch)
        self._start = time.monotonic()
        study.pruner = self._pruner
        try:
            _Asked(study, self._ask).optimize(
                self._call,
                timeout=self._limits.timeout,
                n_jobs=n_jobs,
                catch=self._catch,
                callbacks=[
                    self._tell_ended,
                    *(functools.partial(_call_back, call, study) for call in callbacks or ()),
                ],
            )
        except _DoneError:
            if self._error is not None:
                raise self._error from None
        finally:
            study.pruner = pruner
            _searched.discard(study)
            for training in self._paused.values():
                training.close()
            self._paused.clear()

    def worth_finishing(self) -> list[Chance]:
        """Give the stopped trials that are worth it if no new ones come, the best one first."""
        finished = self._reader.read_now(self._study)
        limit = limit_at_end(finished)
        chances = self._chances.of(finished, self._reader.trials)
        return [chance for chance in chances if chance.relative_chance > limit]

    def _ask(self) -> Trial:
        """Give Optuna's loop the next trial."""
        # One thread at a time: SQLite may give a trial that waits to two who ask at once.
        with self._ended:
            while not self._is_over():
                if (trial := self._next_stopped()) is not None:
                    return trial
                if self._limits.n_new is None or self._n_new < self._limits.n_new:
                    trial = self._study.ask()
                    # The pruner of another process may just have enqueued a stopped one.
                    self._n_new += continued_number(trial) is None
                    self._begin(trial)
                    return trial
                if not self._any_runs():
                    break
                # What runs now may be worth to go on when it is stopped.
                self._ended.wait(1.0)
        self._study._storage.remove_session()
        raise _DoneError

    def _is_over(self) -> bool:
        """Whether no trial may begin any more, even if one is worth it."""
        timeout = self._limits.timeout
        is_late = timeout is not None and time.monotonic() >= self._start + timeout
        return is_late or self._study._stop_flag or self._error is not None

    def _next_stopped(self) -> Trial | None:
        finished = self._reader.read_now(self._study)
        if not self._is_at_end and self._is_near_end():
            self._is_at_end = True
            self._limit = limit_at_end(finished)
        if self._is_enough():
            return None
        waiting = (
            continued_number(t) for t in self._reader.trials if t.state == TrialState.WAITING
        )
        trial = next(filter(None, (self._claim(n) for n in waiting if n is not None)), None)
        chances = self._chances.of(finished, self._reader.trials)
        for chance in chances if trial is None else ():
            if not chance.relative_chance > self._limit:
                break
            go_on_with(self._study, chance)
            if (trial := self._claim(chance.trial.number)) is not None:
                break
        if trial is not None:
            self._begin(trial)
        self._drop_trainings(chances)
        return trial

    def _claim(self, number: int) -> Trial | None:
        """Begin the trial that waits to go on with a stopped one, unless others have."""
        study = self._study
        for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if continued_number(trial) == number:
                try:
                    if self._is_at_end:
                        be_patient_with(study, trial._trial_id, self._limit)
                    if study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                        return Trial(study, trial._trial_id)
                except UpdateFinishedTrialError:
                    pass
        return None

    def _begin(self, trial: Trial) -> None:
        frozen = self._study._storage.get_trial(trial._trial_id)
        stopped = stopped_trial(frozen, self._reader.trials)
        training = None
        trained = -1
        if stopped is not None:
            self.n_continued += 1
            if stopped.last_step is not None and self._goes_on(stopped) == "checkpoint":
                trained = stopped.last_step
            # Anybody may have enqueued it, with other parameters.
            if frozen.system_attrs.get("fixed_params") == stopped.params:
                training = self._paused.pop(stopped.number, None)
        self._running[trial._trial_id] = _Running(trained, stopped, training)

    def _call(self, trial: Trial) -> Any:
        running = self._running[trial._trial_id]
        try:
            if not is_generator_function(self._objective):
                return self._objective(trial)
            training = running.training
            if training is None:
                training = Training(cast("GeneratorObjective", self._objective), trial)
            else:
                assert running.stopped is not None
                training.go_on_as(trial, running.stopped)
            is_stopped, value = training.run()
            if is_stopped:
                with self._ended:
                    self._paused[trial.number] = training
                raise TrialPruned
            return value
        except TrialPruned:
            raise
        except Exception as error:
            if not isinstance(error, self._catch):
                self._error = error
            raise
        finally:
            running.returned = time.monotonic()

    def _tell_ended(self, study: Study, trial: FrozenTrial) -> None:
        with self._ended:
            running = self._running.pop(trial._trial_id)
            if running.stopped is not None and trial.last_step is not None:
                self.n_steps += max(0, trial.last_step - running.trained)
            self._ended.notify_all()

    def _any_runs(self) -> bool:
        running = {trial._trial_id for trial in self._reader.running}
        overdue = time.monotonic() - _SECONDS_TO_TELL
        return any(
            trial_id in running and trial.returned > overdue
            for trial_id, trial in self._running.items()
        )

    def _is_near_end(self) -> bool:
        """Whether no new trial will come, or one would not become complete."""
        n_new, timeout = self._limits.n_new, self._limits.timeout
        if n_new is not None and self._n_new >= n_new:
            return True
        if timeout is None:
            return False
        durations = [
            trial.duration.total_seconds()
            for trial in self._reader.trials
            if trial.state == TrialState.COMPLETE
            and trial.duration is not None
            and continued_number(trial) is None
        ]
        left = self._start + timeout - time.monotonic()
        return bool(durations) and left < statistics.median(durations)

    def _is_enough(self) -> bool:
        """Whether no more stopped trials are to go on."""
        n, steps = self._limits.n_continued, self._limits.steps
        return (n is not None and self.n_continued >= n) or (
            steps is not None and self.n_steps >= steps
        )

    def _drop_trainings(self, chances: list[Chance]) -> None:
        """Keep no more than asked for, those that are worth most."""
        rank = {chance.trial.number: at for at, chance in enumerate(chances)}
        while len(self._paused) > self._n_paused:
            # Where nothing can be told of them, the oldest one goes.
            least = max(self._paused, key=lambda number: rank.get(number, len(rank)))
            self._paused.pop(least).close()

    def _goes_on(self, trial: FrozenTrial) -> Literal["checkpoint", "retrain"] | None:
        if trial.number in self._paused:
            return "checkpoint"
        start = self._goes_on_from(trial)
        # When no new trials come, there is nothing better to train.
        is_at_end = self._is_at_end or self._limits.n_new == 0
        return "retrain" if start is None and is_at_end else start
