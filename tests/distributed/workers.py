"""Real worker processes on one study, and ways to end them."""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta
from datetime import timezone
import itertools
import multiprocessing
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any
from typing import TYPE_CHECKING
import uuid

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
import time_machine

from optuna_perfpred.distributed import run_worker
from tests.distributed import objectives
from tests.distributed.objectives import Event


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence


ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("optuna-perfpred"))
OBJECTIVE = "tests.distributed.objectives:objective"
# Short for a test, and yet longer than a loaded machine stops a process for.
GRACE_PERIOD = 3
CLOCK_ERROR = "PERFPRED_TEST_CLOCK_ERROR"  # Seconds by which the clock of a worker is wrong.
FREEZES = "PERFPRED_TEST_FREEZES"  # The worker stops dead while it makes its third trial.
WAIT_SECONDS = 120.0

# Forked from a process that has imported everything, a worker begins at once.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.distributed.workers", "psycopg", "pymysql"])


class Worker:
    """A process that runs trials.

    Args:
        process:
            The process.
        log:
            The log in which its end is noted, since nothing it does comes later.
    """

    def __init__(self, process: Any, log: Path) -> None:
        self._process = process
        self._log = log
        self.pid: int = process.pid

    def is_frozen(self) -> bool:
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it without a chance to clean up, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """Wait for its end; give its exit code."""
        if isinstance(self._process, subprocess.Popen):
            code: int | None = self._process.wait(WAIT_SECONDS)
        else:
            self._process.join(WAIT_SECONDS)
            code = self._process.exitcode
        assert code is not None, "The worker did not end."
        objectives.append(self._log, Event(self.pid, -1, "gone"))
        return code

    def is_running(self) -> bool:
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll() is None
        return bool(self._process.is_alive())

    def clean_up(self) -> None:
        if self.is_running():
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


class Crew:
    """The workers of one study, which is created here.

    Args:
        url:
            The URL of the storage.
        folder:
            Where the log of the workers is written.
        grace_period:
            Seconds without a heartbeat, due each second, after which a trial is failed.
        max_retry:
            How often a trial whose worker died is tried again.
    """

    def __init__(
        self, url: str, folder: Path, grace_period: int = GRACE_PERIOD, max_retry: int = 3
    ) -> None:
        self.url = url
        self._heartbeat = {
            "heartbeat_interval": 1,
            "grace_period": grace_period,
            "max_retry": max_retry,
        }
        self.name = f"study-{uuid.uuid4().hex}"
        self.log = folder / f"{self.name}.log"
        # The test goes on when its server was restarted.
        storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        self.study = optuna.create_study(
            study_name=self.name, storage=storage, direction="maximize"
        )
        self._workers: list[Worker] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.clean_up()

    def start(self, n_trials: int, *, config: Path | None = None, **environment: str) -> Worker:
        """Start a worker in a process that is forked from one with everything imported."""
        environment = {objectives.LOG: str(self.log), **environment}
        arguments = {
            "storage": self.url,
            "study_name": self.name,
            "n_trials": n_trials,
            "config": config,
            **self._heartbeat,
        }
        process = _context.Process(target=_work, args=(environment, arguments))
        process.start()
        return self._started(process)

    def start_command(
        self,
        n_trials: int,
        *,
        url: str | None = None,
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> Worker:
        """Start a worker by its command line."""
        command = [*prefix, COMMAND, "worker", f"{objectives.__file__}:objective"]
        command += ["--study-name", self.name, "--n-trials", str(n_trials)]
        for name, value in self._heartbeat.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        environment = {
            "OPTUNA_STORAGE": self.url if url is None else url,
            objectives.LOG: str(self.log),
            **environment,
        }
        return self._started(
            subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})
        )

    def events(self) -> list[Event]:
        return objectives.read_log(self.log)

    def wait_for(self, condition: Callable[[list[Event]], bool]) -> None:
        """Wait until the log of the workers fulfils a condition."""

        def is_fulfilled() -> bool:
            at_work = any(worker.is_running() for worker in self._workers)
            fulfilled = condition(self.events())
            assert fulfilled or at_work, "No worker is left."
            return fulfilled

        wait_until(is_fulfilled)

    def failed(self) -> list[int]:
        """Give the numbers of the failed trials."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return [trial.number for trial in trials]

    def last_trial(self, worker: Worker) -> int:
        """Give the number of the trial that a worker began last."""
        own = [e for e in self.events() if e.process == worker.pid and e.kind == "began"]
        return own[-1].number

    def wait_until_training(self, worker: Worker, n_ended: int) -> None:
        """Wait until a worker has ended some trials, and is between two steps of another one."""

        def is_training(events: list[Event]) -> bool:
            own = [event for event in events if event.process == worker.pid]
            ended = sum(event.kind == "ending" for event in own)
            return ended >= n_ended and own[-1:] != [] and own[-1].is_between_steps

        self.wait_for(is_training)

    def wait_until_stale(self) -> None:
        """Wait until trials without a worker count as dead."""
        # A second more, as MariaDB's clock has no fractions.
        time.sleep(self._heartbeat["grace_period"] + 1.0)

    def _started(self, process: Any) -> Worker:
        worker = Worker(process, self.log)
        self._workers.append(worker)
        return worker


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "What the test waits for did not happen."
        time.sleep(0.01)


def _work(environment: dict[str, str], arguments: dict[str, Any]) -> None:
    os.environ.update(environment)
    if CLOCK_ERROR in environment:
        # Of all of Python's clocks that tell the time of the day, and of none other.
        seconds = timedelta(seconds=float(environment[CLOCK_ERROR]))
        time_machine.travel(datetime.now(timezone.utc) + seconds).start()
    if FREEZES in environment:
        _freeze_in_transaction()
    sys.exit(run_worker(OBJECTIVE, **arguments))


def _freeze_in_transaction() -> None:
    make = RDBStorage._get_prepared_new_trial
    calls = itertools.count(1)

    def make_and_freeze(*args: Any) -> Any:
        trial = make(*args)
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGSTOP)
        return trial

    RDBStorage._get_prepared_new_trial = make_and_freeze
