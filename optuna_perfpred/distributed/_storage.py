from __future__ import annotations

import logging
from pathlib import Path
import random
import time
from typing import Any
from typing import TYPE_CHECKING
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.exceptions import StorageInternalError
from optuna.storages import GrpcStorageProxy
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalRedisBackend
import sqlalchemy

from optuna_perfpred._redact import Redactor
from optuna_perfpred._redact import shown
from optuna_perfpred._storages import check_storage
from optuna_perfpred._storages import has_other_tables
from optuna_perfpred._storages import is_journal_file
from optuna_perfpred._storages import is_sqlite_file
from optuna_perfpred.distributed._patient_storage import PatientStorage


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.storages import BaseStorage

    from optuna_perfpred.distributed._retry import Retry

_logger = logging.getLogger(__name__)
_N_ATTEMPTS = 5
_N_SECONDS_TO_CONNECT = 10


def is_sqlite(storage: str) -> bool:
    """Tell whether a storage is an SQLite database."""
    return storage.startswith("sqlite") or is_sqlite_file(Path(storage))


def open_storage(
    storage: str,
    *,
    heartbeat_interval: int,
    grace_period: int,
    retry: Retry,
    missing: ValueError | None = None,
) -> BaseStorage:
    """Open a worker's storage, and create it if there is none.

    Args:
        storage:
            The URL of a database (``postgresql+psycopg://``, ``mysql+pymysql://``,
            ``sqlite:///``), of Optuna's gRPC proxy (``grpc://host:port``) or of a Redis server
            with a journal (``redis://``), or the path of a journal file or an SQLite database.
        heartbeat_interval:
            Seconds between two signs of life of a trial.
        grace_period:
            Seconds without one after which a trial counts as dead.
        retry:
            What is done with dead trials.
        missing:
            Raised if there is no storage yet; if :obj:`None`, one is created.

    Returns:
        The storage.

    Raises:
        ValueError:
            If no storage can be meant, or a driver is missing.
        sqlalchemy.exc.SQLAlchemyError:
            If the server does not answer.
    """
    check_storage(storage)
    if is_sqlite_file(Path(storage)):
        storage = f"sqlite:///{storage}"
    if "://" not in storage:
        _check_file(Path(storage), missing, is_journal_file, "a journal")
    if "://" not in storage or storage.startswith(("grpc:", "redis")):
        opened = _open_without_heartbeat(storage)
        _logger.info(
            "This storage has no heartbeat: a trial whose worker dies stays RUNNING, and is not "
            "tried again. The URL of a database has one."
        )
        return opened
    try:
        return _open_database(storage, heartbeat_interval, grace_period, retry, missing)
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        # Their cause would be shown with the URL.
        raise ValueError(
            f"The storage {shown(storage)} cannot be opened: {_first_line(error, storage)}"
        ) from None


def _open_database(
    storage: str,
    heartbeat_interval: int,
    grace_period: int,
    retry: Retry,
    missing: ValueError | None,
) -> BaseStorage:
    url = sqlalchemy.make_url(storage)
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError(f"Workers cannot share {shown(storage)}, which is in memory only.")
    engine = sqlalchemy.create_engine(url)  # Raises if a driver is missing.
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database).removeprefix("file:"))
        _check_file(file, missing, is_sqlite_file, "an SQLite database")
        if file.exists() and has_other_tables(engine):
            raise ValueError(f"{str(file)!r} is the database of another program.")
    engine.dispose()
    for attempt in range(1, _N_ATTEMPTS + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return PatientStorage(
                    storage,
                    engine_kwargs=_engine_arguments(url, grace_period),
                    heartbeat_interval=heartbeat_interval,
                    grace_period=grace_period,
                    retry=retry,
                )
        # Workers that start at once all make the tables, and but one fails.
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError):
            if attempt == _N_ATTEMPTS:
                raise
            time.sleep(random.uniform(0.2, 0.6) * attempt)
    raise AssertionError


def _check_file(
    file: Path, missing: ValueError | None, is_storage: Callable[[Path], bool], kind: str
) -> None:
    """Look at a file before anything is written."""
    if not file.exists():
        if missing is not None:
            raise missing
        if not file.parent.is_dir():
            raise ValueError(f"There is no folder {str(file.parent)!r}.")
    elif not file.is_file():
        raise ValueError(f"{str(file)!r} is not a regular file.")
    elif file.stat().st_size > 0 and not is_storage(file):
        raise ValueError(f"{str(file)!r} is not {kind}.")


def _engine_arguments(url: sqlalchemy.URL, grace_period: int) -> dict[str, Any]:
    """Give what lets worker and server notice that the other one is away or the net is cut."""
    if url.get_backend_name() == "sqlite":
        return {}
    limits: dict[str, Any] = {}
    # Whoever makes a trial locks the study: a worker that is cut off then would stop all others.
    limit = ""
    if url.get_driver_name() in ("psycopg", "psycopg2"):
        limit = f"SET idle_in_transaction_session_timeout = {1000 * grace_period}"
        limits = {
            "connect_timeout": _N_SECONDS_TO_CONNECT,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,  # Milliseconds.
        }
    elif url.get_driver_name() in ("pymysql", "mysqldb"):
        limit = f"SET SESSION wait_timeout = {grace_period}"
        # The first read of a large study may take long.
        limits = {
            "connect_timeout": _N_SECONDS_TO_CONNECT,
            "read_timeout": 180,
            "write_timeout": 60,
        }
    given = {key: value for key, value in limits.items() if key not in url.query}

    def set_limit(connection: Any, _: object) -> None:
        connection.cursor().execute(limit)
        connection.commit()

    events = [(set_limit, "connect")] if limit else []
    return {"pool_pre_ping": True, "connect_args": given, "pool_events": events}


def _open_without_heartbeat(storage: str) -> BaseStorage:
    kind, _, rest = storage.partition("://")
    if kind == "grpc":
        host, _, port = rest.rstrip("/").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(
                f"A proxy must be given as grpc://HOST:PORT, but got {shown(storage)}."
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return GrpcStorageProxy(host=host, port=int(port))
        except ImportError:
            raise ImportError(
                'A gRPC proxy needs further packages: pip install "optuna_perfpred[grpc]"'
            ) from None
    if rest:
        return JournalStorage(JournalRedisBackend(storage))
    return JournalStorage(JournalFileBackend(storage))


def _first_line(error: BaseException, storage: str) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Redactor(storage)(lines[0])
