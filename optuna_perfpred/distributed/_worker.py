from __future__ import annotations

import logging
import os
import traceback
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._redact import Redactor
from optuna_perfpred._redact import shown
from optuna_perfpred.distributed import _exit_codes
from optuna_perfpred.distributed._config import no_study_yet
from optuna_perfpred.distributed._log import worker_log
from optuna_perfpred.distributed._objective import UserModule
from optuna_perfpred.distributed._patient_storage import is_storage_error
from optuna_perfpred.distributed._progress import Progress
from optuna_perfpred.distributed._retry import Retry
from optuna_perfpred.distributed._run import Limits
from optuna_perfpred.distributed._run import WorkerRun
from optuna_perfpred.distributed._signals import StopSignals
from optuna_perfpred.distributed._storage import open_storage


if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)
# Names a file in which a supervisor finds how many trials were started.
COUNT_VARIABLE = "OPTUNA_PERFPRED_COUNT_FILE"


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

    A worker that has reached a limit, and finds that no other is at work, is the last one: it
    waits until the trials of workers that died count as dead, and runs what waits to be tried
    again, though these trials come on top of the limits ``n_trials`` and ``max_trials``. Once the
    study has ``max_trials``, it also goes on with the stopped trials that are worth more than a
    new one, see ``second_chance`` of :class:`~optuna_perfpred.PerformancePredictionPruner`.

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
            The worker stops once the study has so many completed and pruned trials, one that goes
            on with a stopped one counted once. Those that other workers then run are finished, so
            that there may be more, by one a worker.
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
    # Taken away, as it is not meant for processes of the objective.
    count_file = os.environ.pop(COUNT_VARIABLE, None)
    # A supervisor has one settle what others left that have had all their trials.
    for name, count, least in (
        ("n_trials", n_trials, 1 if count_file is None else 0),
        ("max_trials", max_trials, 1),
    ):
        if count is not None:
            check_at_least(name, count, least)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"`timeout` must be above 0, but got {timeout=}.")
    check_at_least("heartbeat_interval", heartbeat_interval, 1)
    check_at_least("grace_period", grace_period, heartbeat_interval + 1)
    check_at_least("max_retry", max_retry, 0)
    limits = Limits(n_trials, max_trials, timeout)
    progress = Progress(count_file)
    retry = Retry(max_retry)
    redact = Redactor(storage)
    with worker_log(redact), StopSignals() as signals:
        try:
            user_module = UserModule(objective)
            may_create = config is not None or user_module.has_hook
            opened = open_storage(
                storage,
                heartbeat_interval=heartbeat_interval,
                grace_period=grace_period,
                retry=retry,
                missing=None if may_create else no_study_yet(study_name),
            )
            study = user_module.create_study(opened, study_name, config)
            _logger.info(f"Joined the study {study_name!r} in {shown(storage)}.")
            run = WorkerRun(study, opened, user_module.objective, limits, retry, signals, progress)
            return run.run()
        except (ValueError, OSError, ImportError) as error:
            told = "".join(traceback.format_exception(error))
            if redact(told) == told:
                raise
            # Not `from error`: the password would be shown with it.
            raise ValueError(redact(str(error))) from None
        except Exception as error:
            if is_storage_error(error):
                _logger.error(f"The storage {shown(storage)} failed: {error.__cause__ or error}")
            else:
                _logger.error("The worker broke.", exc_info=error)
            return _exit_codes.BROKEN
