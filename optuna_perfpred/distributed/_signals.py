from __future__ import annotations

from contextlib import contextmanager
import os
import signal
import sys
import threading
import time
from typing import Any
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Schedulers signal the whole group of processes, and a supervisor or a batch script passes the
# signal on, late on a busy machine: only a later signal is a second one.
_SECONDS_OF_ONE_STOP = 5.0
# An interrupted storage would leave a lock held or a transaction open.
_STORAGES = ("optuna.storages.", "sqlalchemy.", "grpc.")
# Asleep until the next attempt, with nothing begun.
_WAITS_FOR_STORAGE = "optuna_perfpred.distributed._patient_storage"
_CALLS_OBJECTIVE = "optuna_perfpred.distributed._run"


class Stopped(KeyboardInterrupt):
    """The worker was told to stop; Optuna tells a trial that raises it as failed."""


class StopSignals:
    """Turns SIGTERM and SIGINT into a clean stop, while a ``with`` block lasts.

    The first signal raises :class:`Stopped` in the objective, but not within a storage: there
    only once the storage has done its work. Outside of the objective it is remembered. A second
    signal ends the process at once. Forked processes, such as those of a data loader, are ended
    by the first.

    Attributes:
        signum:
            The signal that was received, or :obj:`None`.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._first = 0.0
        self._may_interrupt = False
        self._pid = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Python takes signals in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *args: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def in_objective(self) -> Generator[None]:
        """Let a signal interrupt what runs in the block."""
        if self.signum is not None:
            raise Stopped
        self._may_interrupt = True
        try:
            yield
        finally:
            self._may_interrupt = False

    def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than to the first signal."""
        end = time.monotonic() + seconds
        while self.signum is None and (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, 0.1))

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        if self.signum is not None:
            if time.monotonic() - self._first < _SECONDS_OF_ONE_STOP:
                return
            os.write(2, b"Ended at once by a second signal.\n")
            os._exit(128 + signum)
        self.signum = signum
        self._first = time.monotonic()
        if not self._may_interrupt:
            return
        storage = _outermost_storage(frame)
        if storage is None:
            self._interrupt()
        else:
            self._interrupt_after(storage)

    def _interrupt(self) -> None:
        if self._may_interrupt:
            self._may_interrupt = False
            raise Stopped

    def _interrupt_after(self, storage: FrameType) -> None:
        """Interrupt the objective once a call of the storage returns to it."""

        def profile(frame: FrameType, event: str, arg: object) -> None:
            if frame is storage and event == "return":
                sys.setprofile(None)
                self._interrupt()

        sys.setprofile(profile)


def _outermost_storage(frame: FrameType | None) -> FrameType | None:
    """Find the frame by which the objective called a storage that is at work."""
    found = None
    if frame is not None and frame.f_globals.get("__name__") == _WAITS_FOR_STORAGE:
        return None
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name == _CALLS_OBJECTIVE:
            return found
        if name.startswith(_STORAGES):
            found = frame
        frame = frame.f_back
    return found
