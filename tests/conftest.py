from __future__ import annotations

import os
from pathlib import Path
import shutil
import socket
import subprocess
import tempfile
import uuid

import optuna
import pytest


@pytest.fixture(autouse=True)
def _quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="session")
def postgresql_server():
    """Start a private PostgreSQL server on a free port; give a function that runs its tools."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        reason = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # The server refuses to run as root, and its user must reach the folder.
    folder = Path(tempfile.mkdtemp(prefix="perfpred-postgresql-"))
    prefix = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def tool(name, *args):
        subprocess.run(
            [*prefix, str(programs[-1] / name), *args], check=True, stdout=subprocess.DEVNULL
        )

    data = str(folder / "data")
    tool("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    options += " -c fsync=off -c max_connections=200"
    tool("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield port, tool
    finally:
        tool("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server):
    """Give the URL of an empty database."""
    port, tool = postgresql_server
    name = f"optuna_{uuid.uuid4().hex}"
    tool("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", name)
    return f"postgresql+psycopg://postgres@127.0.0.1:{port}/{name}"
