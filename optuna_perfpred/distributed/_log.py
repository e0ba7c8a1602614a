from __future__ import annotations

from contextlib import contextmanager
import logging
import threading
from typing import TYPE_CHECKING
import warnings

import optuna


if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from optuna_perfpred._redact import Redactor

_logger = logging.getLogger(__name__)
_PACKAGE = "optuna_perfpred"


@contextmanager
def worker_log(redact: Redactor) -> Generator[None]:
    """Log what a worker does, and hide passwords in whatever this process logs.

    In warnings they are hidden as well, and the errors of threads are logged. If nothing was set
    up for the log of this package, it goes to the standard error. All is as before after the
    block.
    """
    make_record = logging.getLogRecordFactory()
    formatter = logging.Formatter()

    def make_redacted_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        try:
            text = record.getMessage()
        except Exception:  # Arguments that do not fit are no reason to stop a training.
            text = f"{record.msg} {record.args}"
        record.msg, record.args = redact(text), ()
        if record.exc_info and record.exc_info[0] is not None:
            # Formatters take this text if it is there.
            record.exc_text = redact(formatter.formatException(record.exc_info))
            record.exc_info = None
        return record

    show = warnings.showwarning

    def show_warning(message: Any, *args: Any, **kwargs: Any) -> None:
        text = redact(str(message))
        show(message if text == str(message) else text, *args, **kwargs)

    package = logging.getLogger(_PACKAGE)
    handler = None if package.hasHandlers() else logging.StreamHandler()
    level = package.level
    # Optuna logs a trial that was stopped as one that failed; the worker tells of both itself.
    optimize = logging.getLogger("optuna.study._optimize")
    levels = optuna.logging.get_verbosity(), optimize.level
    thread_hook = threading.excepthook

    logging.setLogRecordFactory(make_redacted_record)
    warnings.showwarning = show_warning
    threading.excepthook = _log_thread_error
    optuna.logging.set_verbosity(max(levels[0], optuna.logging.WARNING))
    optimize.setLevel(logging.CRITICAL)
    if handler is not None:
        handler.setFormatter(optuna.logging.create_default_formatter())
        package.addHandler(handler)
        package.setLevel(logging.INFO)
    try:
        yield
    finally:
        if handler is not None:
            package.removeHandler(handler)
            package.setLevel(level)
        optimize.setLevel(levels[1])
        optuna.logging.set_verbosity(levels[0])
        threading.excepthook = thread_hook
        warnings.showwarning = show
        logging.setLogRecordFactory(make_record)


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit and args.exc_value is not None:
        name = args.thread.name if args.thread is not None else "a thread"
        _logger.error(
            f"{name} ended by an error.",
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )
