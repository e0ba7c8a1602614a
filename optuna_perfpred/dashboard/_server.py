from __future__ import annotations

import logging
import math
from socketserver import ThreadingMixIn
import sys
import threading
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer

from optuna_perfpred._redact import Redactor
from optuna_perfpred._storages import open_storage
from optuna_perfpred.dashboard._imports import import_optuna_dashboard
from optuna_perfpred.dashboard._served_storage import serve_from
from optuna_perfpred.dashboard._updates import Updates
from optuna_perfpred.distributed._log import worker_log
from optuna_perfpred.distributed._signals import StopSignals
from optuna_perfpred.visualization._drawing import import_to_plot


if TYPE_CHECKING:
    from collections.abc import Sequence
    import io

_logger = logging.getLogger(__name__)


def serve(
    storage: str, *, study_names: Sequence[str], host: str, port: int, interval: float
) -> None:
    """Serve optuna-dashboard, with our figures and note in it, until SIGTERM or SIGINT.

    Args:
        storage:
            The storage, as :func:`~optuna_perfpred._storages.open_storage` takes it.
        study_names:
            The studies of which figures are shown; if empty, all of the storage.
        host:
            The address to listen on.
        port:
            The port; 0 for any that is free.
        interval:
            Seconds from one look at the storage to the next, at least.

    Raises:
        ImportError:
            If optuna-dashboard or plotly is not installed.
        ValueError:
            If the storage cannot be read, or has no such study.
        OSError:
            If nothing can listen there.
    """
    dashboard = import_optuna_dashboard()
    import_to_plot("plotly")
    redact = Redactor(storage)
    with worker_log(redact), StopSignals() as signals:
        served = serve_from(open_storage(storage, study_names))
        # Before the figures: an address that is in use is told at once.
        with make_server(host, port, dashboard.wsgi(served), _Server, _handler(redact)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            Updates(served, study_names, interval).start()
            _logger.info(f"The dashboard is at http://{host}:{server.server_port}/")
            signals.sleep(math.inf)
            server.shutdown()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def _handler(redact: Redactor) -> type[WSGIRequestHandler]:
    """Make a handler that logs no requests, and hides passwords in the errors it tells."""

    class Handler(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def get_stderr(self) -> io.TextIOBase:
            return _Redacted(redact)  # type: ignore[return-value]

    return Handler


class _Redacted:
    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def write(self, text: str) -> int:
        return sys.stderr.write(self._redact(text))

    def flush(self) -> None:
        sys.stderr.flush()
