"""Private PostgreSQL and MariaDB servers, started by the tests that need them."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
import os
from pathlib import Path
import shutil
import socket
import subprocess
import tempfile
import time
from typing import NoReturn
from typing import TYPE_CHECKING
import uuid

import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence


LOOPBACK = "127.0.0.1"
_START_SECONDS = 120.0


class Server:
    """A database server on a free port, with its data in a folder of its own."""

    scheme: str

    def __init__(self, folder: Path, programs: Path, user: str, addresses: Sequence[str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.addresses = addresses
        self._programs = programs
        # The servers refuse to run as root, and their user must reach the folder.
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, user)
            self._prefix = ["runuser", "-u", user, "--"]

    @cached_property
    def url(self) -> str:
        """The URL of one database, which is empty at first."""
        return self.new_database()

    def new_database(self, address: str = LOOPBACK) -> str:
        """Create an empty database; give its URL, as seen by a worker that uses the address."""
        name = f"optuna_{uuid.uuid4().hex}"
        self.create(name)
        return f"{self.scheme}@{address}:{self.port}/{name}"

    def restart(self) -> None:
        """Stop it as a crash does, without a farewell to its clients, and start it again."""
        self.kill()
        self.start()

    def initialise(self) -> None:
        raise NotImplementedError

    def create(self, name: str) -> None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        raise NotImplementedError

    def _run(self, program: str, *args: str) -> None:
        command = [*self._prefix, str(self._programs / program), *args]
        # Into a file: a server that goes on would keep a pipe open.
        with (self.folder / "tools").open("w+") as output:
            result = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
            output.seek(0)
            assert result.returncode == 0, f"{program} failed:\n{output.read()}"


class PostgreSQL(Server):
    scheme = "postgresql+psycopg://postgres"

    def initialise(self) -> None:
        self._run(
            "initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"
        )
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {a} 255.255.255.0 trust\n" for a in self.addresses)

    def start(self) -> None:
        options = {
            "listen_addresses": ",".join(self.addresses),
            "unix_socket_directories": str(self.folder),
            # The machine goes on, so that what was written is there after a crash.
            "fsync": "off",
            "max_connections": "200",
        }
        text = f"-p {self.port} " + " ".join(f"-c {k}={v}" for k, v in options.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", text, "start")

    def kill(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def create(self, name: str) -> None:
        self._run("createdb", "-h", LOOPBACK, "-p", str(self.port), "-U", "postgres", name)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")


class MariaDB(Server):
    scheme = "mysql+pymysql://root"
    _process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        self._run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def start(self) -> None:
        options = [
            f"--datadir={self.folder / 'data'}",
            f"--bind-address={self.addresses[0]}",
            f"--port={self.port}",
            f"--socket={self._socket}",
            f"--pid-file={self.folder / 'pid'}",
            # As for PostgreSQL: written at each commit, but not flushed to the disk.
            "--innodb-flush-log-at-trx-commit=2",
        ]
        program = shutil.which("mariadbd", path=f"/usr/sbin:{os.environ['PATH']}")
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, program, "--no-defaults", *options], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            log_text = (self.folder / "log").read_text(errors="replace")
            assert self._process.poll() is None, log_text
            assert time.monotonic() < deadline, log_text
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        # `runuser` waits for the server and passes no SIGKILL on.
        pid = int((self.folder / "pid").read_text())
        os.kill(pid, 9)
        self._process.wait()

    def create(self, name: str) -> None:
        self._run(
            "mariadb",
            "--no-defaults",
            f"--socket={self._socket}",
            "-uroot",
            "-e",
            f"CREATE DATABASE {name}",
        )

    @property
    def _socket(self) -> str:
        return str(self.folder / "socket")

    def _answers(self) -> bool:
        program = str(self._programs / "mariadb-admin")
        command = [program, "--no-defaults", f"--socket={self._socket}", "-uroot", "ping"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def postgresql_server(addresses: Sequence[str] = (LOOPBACK,)) -> Iterator[PostgreSQL]:
    """Run a PostgreSQL server that listens on the addresses, as long as the context lasts."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with _folder("postgresql") as folder:
        server = PostgreSQL(folder, programs[-1], "postgres", addresses)
        with _running(server):
            yield server


@contextmanager
def mariadb_server() -> Iterator[MariaDB]:
    """Run a MariaDB server, as long as the context lasts."""
    program = shutil.which("mariadb-install-db")
    if program is None:
        unavailable("MariaDB is not installed (Debian: apt-get install mariadb-server)")
    with _folder("mariadb") as folder:
        server = MariaDB(folder, Path(program).parent, "mysql", (LOOPBACK,))
        with _running(server):
            yield server


def unavailable(reason: str) -> NoReturn:
    """Skip the test; where everything must be tested, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"perfpred-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(server: Server) -> Iterator[None]:
    server.initialise()
    server.start()
    try:
        yield
    finally:
        server.kill()
