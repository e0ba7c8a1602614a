from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import logging
import signal
import time
from typing import Any
from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from optuna_perfpred.distributed import _exit_codes
from optuna_perfpred.distributed._patient_storage import is_storage_error
from optuna_perfpred.distributed._patient_storage import PatientStorage
from optuna_perfpred.distributed._retry import retried
from optuna_perfpred.history import continued_number
from optuna_perfpred.pruners import PerformancePredictionPruner


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.storages import BaseStorage

    from optuna_perfpred.distributed._progress import Progress
    from optuna_perfpred.distributed._retry import Retry
    from optuna_perfpred.distributed._signals import StopSignals

_logger = logging.getLogger(__name__)
# A broken objective shall not burn a thousand trials, and an unlucky one may fail twice.
_MAX_FAILURES_IN_A_ROW = 5
_SECONDS_WITHOUT_STORAGE = 600.0
_MAX_DELAY = 30.0
_MAX_REFUSALS_IN_A_ROW = 20
_POP = "_pop_waiting_trial_id"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Limits:
    """When a worker is done; :obj:`None` is no limit.

    Attributes:
        n_trials:
            Trials that this worker starts.
        max_trials:
            Completed and pruned trials of the study.
        timeout:
            Seconds after which no trial is started.
    """

    n_trials: int | None
    max_trials: int | None
    timeout: float | None


@dataclass
class _Running:
    """A trial, and how its objective ended.

    Attributes:
        trial:
            The trial.
        state:
            The state to tell, or :obj:`None` if the value decides.
        value:
            What the objective returned.
        error:
            What the objective raised.
        is_stopped:
            Whether a signal ended it.
        is_retried:
            Whether another trial shall go on with it.
    """

    trial: optuna.Trial
    state: TrialState | None = TrialState.FAIL
    value: Any = None
    error: BaseException | None = None
    is_stopped: bool = False
    is_retried: bool = False


class _UntoldError(BaseException):
    """Leaves Optuna's loop without telling it how the trial ended: the worker does it itself."""


class WorkerRun:
    """Runs one trial after another until a limit is reached, a signal comes or nothing works.

    Args:
        study:
            The study.
        storage:
            Its storage, without the cache that the study has for a database.
        objective:
            The objective.
        limits:
            When the run is done.
        retry:
            What makes another trial of one that was stopped or died.
        signals:
            The signals that stop the run.
        progress:
            What counts and tells the trials.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        objective: Callable[[optuna.Trial], Any],
        limits: Limits,
        retry: Retry,
        signals: StopSignals,
        progress: Progress,
    ) -> None:
        self._study = study
        self._storage = storage
        self._objective = objective
        self._limits = limits
        self._retry = retry
        self._signals = signals
        self._progress = progress
        self._running: _Running | None = None
        self._n_refusals = 0
        self._n_taken = 0

    def run(self) -> int:
        """Run trials; give the exit code of the worker."""
        timeout = self._limits.timeout
        end = None if timeout is None else time.monotonic() + timeout
        code = None
        while code is None and self._signals.signum is None:
            code = self._run_trial(end)
        if self._signals.signum is not None:
            _logger.info("Stopped by a signal.")
            return 128 + self._signals.signum
        assert code is not None
        return code

    def _run_trial(self, end: float | None) -> int | None:
        """Run a trial; give the exit code if it was the last."""
        self._running = None
        vars(self._study).pop(_POP, None)
        try:
            is_enough = self._study._stop_flag or self._is_enough(end)
            if is_enough and not self._take_left(end):
                return self._code_when_done()
            # One at a time, as what follows a trial depends on how it ended.
            self._study.optimize(self._call, n_trials=1, catch=(Exception,))
            self._settle(None)
        except _UntoldError:
            if not self._settle_patiently(None):
                return _exit_codes.BROKEN
        except Exception as error:  # Of the storage or the sampler: the objective's are caught.
            if not self._settle_patiently(error):
                return _exit_codes.BROKEN
            if self._running is None and is_storage_error(error):
                return self._wait_after_refusal(error)
        self._n_refusals = 0
        if self._progress.n_failures_in_a_row >= _MAX_FAILURES_IN_A_ROW:
            _logger.error(f"{_MAX_FAILURES_IN_A_ROW} trials in a row failed: no more are tried.")
            return _exit_codes.OBJECTIVE_FAILED
        if self._running is not None and _is_gpu_lost(self._running.error):
            _logger.error("This process cannot use its GPU any more.")
            return _exit_codes.BROKEN
        return None

    def _code_when_done(self) -> int:
        failed = self._progress.n_failures_in_a_row > 0 and self._progress.n_finished == 0
        return _exit_codes.OBJECTIVE_FAILED if failed else _exit_codes.DONE

    def _is_enough(self, end: float | None) -> bool:
        if _is_over(end):
            return True
        n_trials = self._limits.n_trials
        if n_trials is not None and self._progress.n_started >= n_trials:
            return True
        return self._has_study_enough()

    def _has_study_enough(self) -> bool:
        max_trials = self._limits.max_trials
        if max_trials is None:
            return False
        finished = self._study.get_trials(deepcopy=False, states=_FINISHED)
        # One that goes on with a stopped trial is no other trial.
        return sum(continued_number(trial) is None for trial in finished) >= max_trials

    def _wait_after_refusal(self, error: Exception) -> int | None:
        """Wait before another trial is asked for; give the exit code after many vain attempts."""
        self._n_refusals += 1
        if self._n_refusals > _MAX_REFUSALS_IN_A_ROW:
            _logger.error("The storage answers, but no trial can be made.", exc_info=error)
            return _exit_codes.BROKEN
        delay = min(0.25 * 2**self._n_refusals, _MAX_DELAY)
        cause = error.__cause__ or error
        _logger.warning(f"No trial could be made, trying again in {delay:g} s: {cause!r}")
        self._signals.sleep(delay)
        return None

    def _take_left(self, end: float | None) -> bool:
        """Take a trial that others left, if this is the last worker, though it has enough.

        Returns:
            Whether there is one. Optuna runs it next.
        """
        if not self._is_last() or self._study._stop_flag or _is_over(end):
            return False
        storage, pruner = self._study._storage, self._study.pruner
        # What was stopped is compared with new trials as long as others may begin some.
        is_over = self._has_study_enough()
        if is_over and isinstance(pruner, PerformancePredictionPruner):
            pruner.enqueue_stopped(self._study)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            goes_on = is_over and continued_number(trial) is not None
            if retried(trial.system_attrs) is None and not goes_on:
                continue  # The user's, and not begun yet.
            with suppress(UpdateFinishedTrialError):
                if storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    # Optuna would run the first that waits, or make one.
                    vars(self._study)[_POP] = lambda taken=trial._trial_id: taken
                    return True
        return False

    def _is_last(self) -> bool:
        """Settle the trials of dead workers, and tell whether no other worker is at work.

        Waits until a trial that runs elsewhere gives a sign of life, or until none is left.
        """
        if not isinstance(self._storage, PatientStorage):
            return True
        first = None
        while self._signals.signum is None:
            self._storage.settle_dead(self._study._study_id)
            now = self._storage.heartbeats(self._study._study_id)
            if not now:
                return True
            if first is None:
                first = now
                _logger.info(f"Waiting for a sign of life of {len(now)} trials of other workers.")
            if any(now[trial] != first.get(trial) for trial in now):
                return False
            self._signals.sleep(1.0)
        return False

    def _call(self, trial: optuna.Trial) -> Any:
        """Call the objective, and remember how it ended."""
        self._running = running = _Running(trial)
        try:
            with self._signals.in_objective():
                self._progress.start()
                running.value = self._objective(trial)
            running.state = None
            return running.value
        except optuna.TrialPruned:
            running.state = TrialState.PRUNED
            raise
        except KeyboardInterrupt:
            running.is_stopped = running.is_retried = True
            self._signals.signum = self._signals.signum or signal.SIGINT
            raise _UntoldError from None
        except (Exception, SystemExit) as error:
            running.error = error
            running.is_retried = is_storage_error(error) or _is_gpu_lost(error)
            if running.is_retried:
                raise _UntoldError from None
            if isinstance(error, SystemExit):
                raise RuntimeError(f"The objective called sys.exit({error.code!r}).") from error
            raise

    def _settle_patiently(self, error: Exception | None) -> bool:
        """Settle a trial, and wait for the storage if it is away.

        Args:
            error:
                What Optuna raised.

        Returns:
            Whether the worker can go on. If it cannot, the trial is left without a heartbeat, so
            that another worker tries it again.
        """
        end = time.monotonic() + _SECONDS_WITHOUT_STORAGE
        delay = 0.5
        while True:
            try:
                self._settle(error)
                return True
            except Exception as raised:
                error = raised
            if (
                not is_storage_error(error)
                or self._signals.signum is not None
                or time.monotonic() > end
            ):
                _logger.error("The worker cannot go on.", exc_info=error)
                return False
            _logger.warning(f"The storage does not answer, trying again in {delay:g} s: {error!r}")
            self._signals.sleep(delay)
            delay = min(2 * delay, _MAX_DELAY)

    def _settle(self, error: Exception | None) -> None:
        """Bring the trial to the state in which its objective left it, and tell of it."""
        study, running = self._study, self._running
        if running is None:
            # Raises if the storage is still away.
            _ = study.user_attrs
            if is_storage_error(error):
                _logger.warning(
                    f"The storage failed, what it should have done comes next: {error!r}"
                )
            elif error is not None:
                self._progress.fail("No trial could be made", error)
            return
        frozen = self._frozen(running.trial)
        if not frozen.state.is_finished():
            if running.is_retried:
                # Before this one fails: if the worker is killed now there are two, not none.
                self._retry(study, frozen, is_stopped=running.is_stopped)
            # It may have been taken for dead meanwhile.
            study.tell(running.trial, running.value, running.state, skip_if_finished=True)
            frozen = self._frozen(running.trial)
        elif frozen.state == TrialState.FAIL and (
            running.is_retried
            or running.state == TrialState.PRUNED
            or isinstance(running.error, UpdateFinishedTrialError)
            or (error is not None and running.state is None)
        ):
            self._n_taken += 1
            _logger.warning(
                f"Trial {frozen.number} was taken for dead, as its heartbeat did not arrive: it "
                "is tried again, and what it reached here is dropped. These were "
                f"{self._n_taken} of {self._progress.n_started} trials of this worker; a longer "
                "grace period makes them fewer."
            )
            return
        self._progress.end(study, frozen, running.error, is_stopped=running.is_stopped)

    def _frozen(self, trial: optuna.Trial) -> optuna.trial.FrozenTrial:
        return self._study._storage.get_trial(trial._trial_id)


def _is_over(end: float | None) -> bool:
    return end is not None and time.monotonic() >= end


def _is_gpu_lost(error: BaseException | None) -> bool:
    """Tell whether CUDA failed so that each later call in the process fails as well."""
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)
