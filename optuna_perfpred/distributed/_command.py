from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
import sys
from typing import Any

from optuna_perfpred._redact import Redactor
from optuna_perfpred._storage_arguments import add_storage_arguments
from optuna_perfpred._storage_arguments import read_storage_arguments
from optuna_perfpred._storage_arguments import STORAGE_VARIABLE
from optuna_perfpred.distributed import _exit_codes
from optuna_perfpred.distributed._devices import find_devices
from optuna_perfpred.distributed._log import worker_log
from optuna_perfpred.distributed._storage import is_sqlite
from optuna_perfpred.distributed._supervisor import stop_with_supervisor
from optuna_perfpred.distributed._supervisor import Supervisor
from optuna_perfpred.distributed._worker import COUNT_VARIABLE
from optuna_perfpred.distributed._worker import run_worker


_logger = logging.getLogger(__name__)
_SETTINGS = (
    "study_name",
    "n_trials",
    "max_trials",
    "timeout",
    "config",
    "heartbeat_interval",
    "grace_period",
    "max_retry",
)
_DESCRIPTION = """\
Run trials of a study that other workers, here and on other hosts, may run as well.
SIGTERM and SIGINT stop the worker cleanly: another one goes on with its trial.
"""


def add_worker_command(commands: Any) -> None:
    """Add ``worker`` to the commands."""
    command = commands.add_parser(
        "worker",
        help="run trials of a study that many workers share",
        description=_DESCRIPTION,
        epilog=_exit_codes.EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "objective",
        metavar="MODULE_OR_FILE:OBJECTIVE",
        help="the objective, as training.vision:objective or path/train.py:objective",
    )
    add_storage_arguments(
        command,
        "URL of a database, of a gRPC proxy (grpc://HOST:PORT) or of Redis, or the path of a "
        "journal file",
    )
    command.add_argument("--study-name", required=True, metavar="NAME")
    command.add_argument(
        "--n-trials", type=int, metavar="N", help="trials that a worker starts (default: any)"
    )
    command.add_argument(
        "--max-trials",
        type=int,
        metavar="N",
        help="stop once the study has N completed and pruned trials",
    )
    command.add_argument(
        "--timeout", type=float, metavar="S", help="start no trial after S seconds"
    )
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE.toml",
        help="the study's direction, sampler and pruner; else create_study(storage, study_name) "
        "is called if it is defined beside the objective",
    )
    command.add_argument(
        "--devices",
        metavar="0,1,2|auto",
        help="start a worker on each of these GPUs, or on all, and start one that crashes again; "
        "0,0 is two workers on one GPU (default: one worker, in this process)",
    )
    command.add_argument(
        "--heartbeat-interval",
        type=int,
        default=60,
        metavar="S",
        help="seconds between a trial's signs of life (default: 60)",
    )
    command.add_argument(
        "--grace-period",
        type=int,
        default=120,
        metavar="S",
        help="seconds without one until a trial is dead (default: 120)",
    )
    command.add_argument(
        "--max-retry",
        type=int,
        default=3,
        metavar="N",
        help="how often a dead trial is tried again (default: 3)",
    )
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    storage = read_storage_arguments(args)
    if args.devices is not None:
        return _supervise(args, storage)
    if COUNT_VARIABLE in os.environ:
        stop_with_supervisor()
    return run_worker(args.objective, storage=storage, **_settings(args))


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Give the arguments of :func:`run_worker` that are options of the same names."""
    return {name: getattr(args, name) for name in _SETTINGS}


def _supervise(args: argparse.Namespace, storage: str) -> int:
    redact = Redactor(storage)
    devices = find_devices(args.devices)
    with worker_log(redact):
        if not devices:
            _logger.info("There is no GPU: one worker runs on the CPU.")
        if len(devices) > 1 and is_sqlite(storage):
            _logger.warning(
                "SQLite lets its writers wait for one another, and fail if it takes long: "
                "several workers are better served by PostgreSQL, MySQL or a journal file."
            )
        supervisor = Supervisor(
            lambda n_trials, timeout: _command(args, n_trials, timeout),
            devices,
            n_trials=args.n_trials,
            timeout=args.timeout,
            environ={**os.environ, STORAGE_VARIABLE: storage},
            redact=redact,
        )
        return supervisor.run()


def _command(args: argparse.Namespace, n_trials: int | None, timeout: float | None) -> list[str]:
    """Give the command of a worker on one device; its storage is in the environment."""
    settings = {**_settings(args), "n_trials": n_trials, "timeout": timeout}
    given = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in settings.items()
        if value is not None
    ]
    return [sys.executable, "-m", "optuna_perfpred", "worker", args.objective, *given]
