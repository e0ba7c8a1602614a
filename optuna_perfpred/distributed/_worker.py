from __future__ import annotations

from dataclasses import dataclass
import logging
import time
from typing import Any
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred._redact import Redactor
from optuna_perfpred.distributed import _exit_codes
from optuna_perfpred.distributed._log import worker_log
from optuna_perfpred.distributed._objective import UserModule
from optuna_perfpred.distributed._progress import Progress
from optuna_perfpred.distributed._retry import Retry
from optuna_perfpred.distributed._signals import StopSignals
from optuna_perfpred.distributed._storage import open_storage
from optuna_perfpred.distributed._storage import StorageUnavailableError
from optuna_perfpred.pruners._arguments import check_at_least


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import optuna
    from optuna.trial import FrozenTrial

_logger = logging.getLogger(__name__)
_MAX_FAILURES_IN_A_ROW = 5
_SECONDS_WITHOUT_STORAGE = 600.0
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def run_worker(
    objective: str,
    *,
    storage: str,
    study_name: str,
    n_trials: int | None = None,
    max_trials: int | None = None,
    timeout: float | None = None,
    config: str | Path | None = None,
    heartbeat_interval: int = 60,
    grace_period: int = 120,
    max_retry: int = 3,
) -> int:
    """Run trials of a study that other workers may run as well, in this process.

    The study is created, or joined, by the function ``create_study(storage, study_name)`` beside
    the objective if there is one, or by the configuration file. SIGTERM and SIGINT stop the
    worker: the running trial fails, and waits as a new one for the next free worker. The trial of
    a worker that died is tried again likewise once the grace period is over.

    What an objective raises fails its trial. The worker stops if that happens five times in a row.

    Args:
        objective:
            ``"module:function"`` or ``"path/file.py:function"``; nothing else is imported.
        storage:
            The URL of a database (``postgresql+psycopg://``, ``mysql+pymysql://``,
            ``sqlite:///``), of Optuna's gRPC proxy (``grpc://host:port``) or of a Redis server
            with a journal, or the path of a journal file. Only a database URL has a heartbeat.
        study_name:
            The study's name.
        n_trials:
            How many trials this worker starts. If :obj:`None`, it is not limited.
        max_trials:
            The worker stops once the study has so many completed and pruned trials. Those that
            other workers then run are finished, so that there may be more, by one a worker.
        timeout:
            No trial is started after so many seconds.
        config:
            A TOML file with the study's ``direction``, ``sampler`` and ``pruner``.
        heartbeat_interval:
            Seconds between two signs of life of a running trial.
        grace_period:
            Seconds without one after which a trial counts as dead. Two intervals, as in Optuna:
            one missed beat is no death.
        max_retry:
            How often a trial is tried again after its worker died; clean stops do not count.

    Returns:
        The exit code for the process: 0 when done, 3 if the objective failed again and again, 4
        if the storage was lost, 130 or 143 after SIGINT or SIGTERM.

    Raises:
        ValueError:
            If an argument, the configuration or the objective's module is wrong.
        OSError:
            If a file cannot be read.
    """
    for name, count in (("n_trials", n_trials), ("max_trials", max_trials)):
        if count is not None:
            check_at_least(name, count, 1)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"`timeout` must be above 0, but got {timeout=}.")
    check_at_least("heartbeat_interval", heartbeat_interval, 1)
    check_at_least("grace_period", grace_period, heartbeat_interval + 1)
    check_at_least("max_retry", max_retry, 0)
    limits = _Limits(n_trials, max_trials, timeout)
    retry = Retry(max_retry)
    with worker_log(Redactor(storage)), StopSignals() as signals:
        user_module = UserModule(objective)
        try:
            opened = open_storage(
                storage,
                heartbeat_interval=heartbeat_interval,
                grace_period=grace_period,
                retry=retry,
            )
            study = user_module.create_study(opened, study_name, config)
            return _Worker(study, user_module.objective, limits, retry, signals).run()
        except StorageUnavailableError as error:
            _logger.error(str(error))
            return _exit_codes.BROKEN


@dataclass(frozen=True)
class _Limits:
    n_trials: int | None
    max_trials: int | None
    timeout: float | None


class _Worker:
    def __init__(
        self,
        study: optuna.Study,
        objective: Callable[[optuna.Trial], Any],
        limits: _Limits,
        retry: Retry,
        signals: StopSignals,
    ) -> None:
        self._study = study
        self._objective = objective
        self._limits = limits
        self._retry = retry
        self._signals = signals
        self._progress = Progress()

    def run(self) -> int:
        _logger.info(f"Joined the study {self._study.study_name!r}.")
        end = None if self._limits.timeout is None else time.monotonic() + self._limits.timeout
        while not self._is_enough(end):
            try:
                self._study.optimize(
                    self._call, n_trials=1, catch=(Exception,), callbacks=[self._progress]
                )
            except KeyboardInterrupt:
                if self._signals.signum is None:
                    raise
            if self._signals.signum is not None:
                return 128 + self._signals.signum
            if self._progress.n_failures_in_a_row >= _MAX_FAILURES_IN_A_ROW:
                return _exit_codes.OBJECTIVE_FAILED
            if self._study._stop_flag:
                break
        if self._signals.signum is not None:
            return 128 + self._signals.signum
        return _exit_codes.DONE

    def _is_enough(self, end: float | None) -> bool:
        if self._signals.signum is not None:
            return True
        if end is not None and time.monotonic() >= end:
            return True
        n_trials, max_trials = self._limits.n_trials, self._limits.max_trials
        if n_trials is not None and self._progress.n_started >= n_trials:
            return True
        if max_trials is None:
            return False
        return len(self._study.get_trials(deepcopy=False, states=_FINISHED)) >= max_trials

    def _call(self, trial: optuna.Trial) -> Any:
        self._progress.start(trial)
        try:
            with self._signals.in_objective():
                return self._objective(trial)
        except KeyboardInterrupt:
            # Before Optuna tells this one as failed: if the worker is killed now, there are two.
            self._retry.after_stop(self._study, self._frozen(trial))
            raise
        except SystemExit as error:
            raise RuntimeError(f"The objective called sys.exit({error.code!r}).") from error

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self._study._storage.get_trial(trial._trial_id)
