from __future__ import annotations

from collections import Counter
import contextlib
from dataclasses import dataclass
from dataclasses import field
import logging
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO
from typing import TYPE_CHECKING

from optuna_perfpred.distributed import _exit_codes
from optuna_perfpred.distributed._worker import COUNT_VARIABLE


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping
    from collections.abc import Sequence
    from types import FrameType

_logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_SECONDS_TO_READ = 5.0


@dataclass
class _Slot:
    """A device, and the worker on it.

    Attributes:
        label:
            The name by which the worker is told.
        device:
            The value of ``CUDA_VISIBLE_DEVICES``, or :obj:`None` to leave it.
        count_file:
            Has a byte for each trial that was started here.
        process:
            The worker, or :obj:`None` before the first start and while it waits for another.
        starts_at:
            When the worker is to be started.
        started_at:
            When it was.
        n_crashes:
            How many workers crashed soon after their start, one after the other.
        has_nothing_left:
            Whether the worker only settles what others left.
        code:
            The exit code, once no worker is to be started again.
    """

    label: str
    device: str | None
    count_file: Path
    process: subprocess.Popen[str] | None = None
    starts_at: float = 0.0
    started_at: float = 0.0
    n_crashes: int = 0
    has_nothing_left: bool = False
    code: int | None = None
    readers: list[threading.Thread] = field(default_factory=list)


class Supervisor:
    """Runs a worker on each device, and starts one that crashes again.

    Args:
        command:
            Gives a worker's command for the trials and the seconds left to it, each :obj:`None`
            if not limited.
        devices:
            A value of ``CUDA_VISIBLE_DEVICES`` for each worker; an empty list is one worker
            that keeps the present value.
        n_trials:
            How many trials each worker starts, its restarts included.
        timeout:
            No trial is started after so many seconds.
        environ:
            The workers' environment.
        redact:
            Hides passwords in what the workers print.
        first_delay:
            Seconds before the first restart. Doubled with each further quick crash, up to a
            minute.
        max_crashes:
            A worker that crashed more often in a row, each time soon after its start, is given up.
        seconds_of_quick_crash:
            A crash is quick if it comes sooner.
    """

    def __init__(
        self,
        command: Callable[[int | None, float | None], Sequence[str]],
        devices: Sequence[str],
        *,
        n_trials: int | None,
        timeout: float | None,
        environ: Mapping[str, str],
        redact: Callable[[str], str],
        first_delay: float = 1.0,
        max_crashes: int = 5,
        seconds_of_quick_crash: float = 60.0,
    ) -> None:
        self._command = command
        self._devices = devices
        self._n_trials = n_trials
        self._timeout = timeout
        self._environ = environ
        self._redact = redact
        self._first_delay = first_delay
        self._max_crashes = max_crashes
        self._seconds_of_quick_crash = seconds_of_quick_crash
        self._slots: list[_Slot] = []
        self._signum: int | None = None
        self._begin = time.monotonic()
        self._printing = threading.Lock()

    def run(self) -> int:
        """Run the workers until all have ended; give the worst of their exit codes."""
        with tempfile.TemporaryDirectory(prefix="optuna-perfpred-") as folder:
            self._slots = self._make_slots(Path(folder))
            numbers = (signal.SIGTERM, signal.SIGINT)
            previous = {number: signal.signal(number, self._forward) for number in numbers}
            try:
                while any(slot.code is None for slot in self._slots):
                    for slot in self._slots:
                        self._watch(slot)
                    time.sleep(_POLL_SECONDS)
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)
        for slot in self._slots:
            for reader in slot.readers:
                # A process that the objective left behind may hold the pipe open.
                reader.join(_SECONDS_TO_READ)
        return max((slot.code or 0 for slot in self._slots), key=_exit_codes.severity)

    def _make_slots(self, folder: Path) -> list[_Slot]:
        if not self._devices:
            return [_Slot("cpu", None, folder / "0")]
        n_workers = Counter(self._devices)
        seen: Counter[str] = Counter()
        slots = []
        for number, device in enumerate(self._devices):
            seen[device] += 1
            label = f"gpu {device}"
            if n_workers[device] > 1:
                label += f" #{seen[device]}"
            slots.append(_Slot(label, device, folder / str(number)))
        return slots

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        self._signum = self._signum or signum
        for slot in self._slots:
            if slot.process is not None and slot.process.poll() is None:
                slot.process.send_signal(signum)

    def _watch(self, slot: _Slot) -> None:
        if slot.code is not None:
            return
        if slot.process is None:
            if self._signum is not None:
                slot.code = 128 + self._signum
            elif time.monotonic() >= slot.starts_at:
                self._start(slot)
            return
        code = slot.process.poll()
        if code is None:
            return
        assert slot.process.stdin is not None
        slot.process.stdin.close()
        slot.process = None
        code = code if code >= 0 else 128 - code
        if self._signum is not None or code in _exit_codes.FINAL:
            slot.code = code
        else:
            self._plan_restart(slot, code)

    def _start(self, slot: _Slot) -> None:
        environ = {"PYTHONUNBUFFERED": "1", **self._environ}
        environ[COUNT_VARIABLE] = str(slot.count_file)
        if slot.device is not None:
            environ["CUDA_VISIBLE_DEVICES"] = slot.device
        slot.started_at = time.monotonic()
        process = subprocess.Popen(
            self._command(self._trials_left(slot), self._seconds_left()),
            env=environ,
            # Held open: a worker stops once it is closed, as when this process is killed.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        assert process.stderr is not None
        slot.process = process
        for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            reader = threading.Thread(
                target=self._print, args=(slot.label, source, target), daemon=True
            )
            reader.start()
            slot.readers.append(reader)
        if self._signum is not None:  # It came while the process was started.
            process.send_signal(self._signum)

    def _print(self, label: str, source: IO[str], target: IO[str]) -> None:
        with contextlib.suppress(ValueError, OSError):  # Closed at the end.
            for line in source:
                with self._printing:
                    target.write(f"[{label}] {self._redact(line.rstrip())}\n")
                    target.flush()

    def _plan_restart(self, slot: _Slot, code: int) -> None:
        now = time.monotonic()
        is_quick = now - slot.started_at < self._seconds_of_quick_crash
        slot.n_crashes = slot.n_crashes + 1 if is_quick else 1
        told = f"The worker [{slot.label}] ended with the code {code}"
        if self._seconds_left() == 0 or slot.has_nothing_left:
            _logger.warning(f"{told}; there is nothing left for it.")
            slot.code = code
        elif slot.n_crashes > self._max_crashes:
            _logger.error(f"{told}, {slot.n_crashes} times in a row; it is given up.")
            slot.code = code
        else:
            delay = min(self._first_delay * 2 ** (slot.n_crashes - 1), 60.0)
            _logger.warning(f"{told}; it is started again in {delay:g} s.")
            # Once more without a trial of its own: to settle the one with which it died.
            slot.has_nothing_left = self._trials_left(slot) == 0
            slot.starts_at = now + delay

    def _trials_left(self, slot: _Slot) -> int | None:
        if self._n_trials is None:
            return None
        started = slot.count_file.stat().st_size if slot.count_file.exists() else 0
        return max(0, self._n_trials - started)

    def _seconds_left(self) -> float | None:
        if self._timeout is None:
            return None
        return max(0.0, self._timeout - (time.monotonic() - self._begin))


def stop_with_supervisor() -> None:
    """Have this process stopped as by SIGTERM once its supervisor is gone, however it ended.

    The supervisor holds the other end of the standard input, and writes nothing.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="watch of the supervisor", daemon=True).start()
