"""Lets Ctrl-C end the command without a word while its modules, many and large, are imported."""

from __future__ import annotations

from pathlib import Path
import signal
import sys
import threading


_IS_COMMAND = Path(sys.argv[0]).stem == "optuna-perfpred" or sys.orig_argv[1:3] == [
    "-m",
    "optuna_perfpred",
]


def _exchange(present: object, wanted: signal.Handlers | object) -> None:
    # Python takes signals in the main thread only, and who ignores them shall go on to.
    is_main = threading.current_thread() is threading.main_thread()
    if _IS_COMMAND and is_main and signal.getsignal(signal.SIGINT) == present:
        signal.signal(signal.SIGINT, wanted)  # type: ignore[arg-type]


def raise_interrupts() -> None:
    """Have Ctrl-C raise :exc:`KeyboardInterrupt` again."""
    _exchange(signal.SIG_DFL, signal.default_int_handler)


_exchange(signal.default_int_handler, signal.SIG_DFL)
