from __future__ import annotations

from hypothesis import settings
import optuna
import pytest

from tests import servers


# How long an example takes depends on what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="session")
def postgresql_server():
    """Start a private PostgreSQL server, one for each process of pytest-xdist."""
    with servers.postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server():
    """Start a private MariaDB server, one for each process of pytest-xdist."""
    with servers.mariadb_server() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server):
    """Give the URL of an empty database."""
    return postgresql_server.new_database()


@pytest.fixture
def mariadb_url(mariadb_server):
    """Give the URL of an empty database."""
    return mariadb_server.new_database()
