from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import json
from pathlib import Path
import re
from typing import TYPE_CHECKING

import optuna
from optuna.cli import _get_storage
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
import sqlalchemy

from optuna_perfpred._redact import Redactor
from optuna_perfpred._redact import shown


if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Sequence

_SQLITE_MAGIC = b"SQLite format 3\x00"
_MAX_NAMES = 20
_SCHEMES = ("grpc://", "redis://", "rediss://")
# In the name of a file that is to be made, these are a mistyped URL.
_IN_URLS = re.compile("[=@:]")
_MAX_LINE = 2**20


def open_study(storage: str, study_name: str | None) -> optuna.Study:
    """Open an existing study, and create nothing if there is none.

    Args:
        storage:
            The URL of a database, as :func:`optuna.load_study` takes it, the URL of a Redis
            server with a journal, or the path of a journal file or of an SQLite database.
        study_name:
            The study's name, or :obj:`None` for the only study of the storage.

    Returns:
        The study.

    Raises:
        ValueError:
            If the storage cannot be read or has no such study.
    """
    opened = open_storage(storage, () if study_name is None else (study_name,))
    with _reading(storage):
        names = optuna.get_all_study_names(opened) if study_name is None else [study_name]
        if not names:
            raise _missing(storage, study_name, names)
        if len(names) > 1:
            raise _StorageError(
                f"The storage holds several studies, choose one by its name: {_listed(names)}."
            )
        return optuna.load_study(study_name=names[0], storage=opened)


def open_storage(storage: str, study_names: Sequence[str] = ()) -> BaseStorage:
    """Open an existing storage, and create nothing if there is none.

    Args:
        storage:
            As for :func:`open_study`.
        study_names:
            Studies that must be there.

    Returns:
        The storage.

    Raises:
        ValueError:
            If the storage cannot be read or lacks one of the studies.
    """
    with _reading(storage):
        opened = _open_storage(storage)
        names = optuna.get_all_study_names(opened)
        for name in study_names:
            if name not in names:
                raise _missing(storage, name, names)
    return opened


def check_storage(storage: str) -> None:
    """Check that a text can be meant as a storage.

    Raises:
        ValueError:
            If it is neither a URL of a known kind nor a path whose folder exists. The text is not
            repeated: what is mistyped may hold a password.
    """
    with suppress(OSError, ValueError):  # Too long for a path, for example.
        path = Path(storage)
        if path.exists() or (not _IN_URLS.search(path.name) and path.parent.is_dir()):
            return
    with suppress(sqlalchemy.exc.ArgumentError, ImportError):
        if storage.startswith(_SCHEMES) or sqlalchemy.make_url(storage).get_backend_name() in (
            sqlalchemy.dialects.__all__
        ):
            return
    raise ValueError(
        "What was given is neither the URL of a storage nor a path whose folder exists. It is not "
        "repeated here, as it may hold a password. A URL begins as postgresql+psycopg://."
    )


def is_journal_file(file: Path) -> bool:
    """Tell whether a file is a journal of Optuna: lines of JSON, each an operation."""
    with file.open("rb") as opened:
        try:
            return "op_code" in json.loads(opened.readline(_MAX_LINE))
        except (ValueError, TypeError, RecursionError):
            return False


def has_other_tables(engine: sqlalchemy.Engine) -> bool:
    """Tell whether a database has tables, but not those of Optuna."""
    names = sqlalchemy.inspect(engine).get_table_names()
    return bool(names) and "studies" not in names


def is_sqlite_file(file: Path) -> bool:
    """Tell whether a file is an SQLite database, whatever its name."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC


class _StorageError(ValueError):
    pass


@contextmanager
def _reading(storage: str) -> Generator[None]:
    try:
        yield
    except _StorageError:
        raise
    # Drivers of databases raise errors of their own, and ImportError if they are missing.
    except Exception as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        # Not `from error`: a driver's message may hold the password.
        raise ValueError(
            f"The storage {shown(storage)} cannot be read: {Redactor(storage)(cause[0])}"
        ) from None


def _missing(storage: str, study_name: str | None, names: Sequence[str]) -> _StorageError:
    if not names:
        return _StorageError(f"The storage {shown(storage)} holds no study.")
    return _StorageError(f"There is no study {study_name!r}; the storage holds {_listed(names)}.")


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:_MAX_NAMES])
    if len(names) > _MAX_NAMES:
        listed += f" and {len(names) - _MAX_NAMES} more"
    return listed


def _open_storage(storage: str) -> BaseStorage:
    path = Path(storage)
    if path.is_file():
        if is_sqlite_file(path):
            return _open_database(sqlalchemy.make_url(f"sqlite:///{storage}"))
        if not is_journal_file(path):
            raise _StorageError(f"{storage!r} is neither an SQLite database nor a journal.")
        return JournalStorage(JournalFileBackend(storage))
    if path.exists():
        raise _StorageError(f"{storage!r} is not a regular file.")
    if storage.startswith("redis"):
        return _get_storage(storage, None)
    try:
        url = sqlalchemy.make_url(storage)
    except sqlalchemy.exc.ArgumentError:
        raise _StorageError(
            f"{shown(storage)} is neither the URL of a storage nor an existing file."
        ) from None
    return _open_database(url)


def _open_database(url: sqlalchemy.URL) -> BaseStorage:
    """Open a database that is there; Optuna would create the file and the tables."""
    if url.get_backend_name() == "sqlite":
        # An SQLite URI, file:...?uri=true, is a path as well.
        file = (url.database or "").removeprefix("file:")
        if not Path(file).is_file():
            raise _StorageError(f"There is no SQLite database {file!r}.")
    engine = sqlalchemy.create_engine(url)
    try:
        has_studies = sqlalchemy.inspect(engine).has_table("studies")
    finally:
        engine.dispose()
    if not has_studies:
        raise _StorageError(
            f"The database {shown(url.render_as_string())} is not a storage of Optuna."
        )
    return RDBStorage(url.render_as_string(hide_password=False))
