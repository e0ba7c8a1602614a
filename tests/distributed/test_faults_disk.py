"""A disk that becomes full under an SQLite database."""

from __future__ import annotations

from contextlib import contextmanager
import os
import sqlite3
import subprocess
import time

import pytest

from tests.distributed.checks import check
from tests.distributed.workers import Crew
from tests.distributed.workers import wait_until
from tests.servers import unavailable


@contextmanager
def small_disk(folder):
    if os.geteuid() != 0:
        pytest.skip("Only root can mount a small file system.")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        unavailable(f"No file system can be mounted: {mounted.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file):
    """Write until nothing more can be written."""
    with file.open("ab", buffering=0) as opened, pytest.raises(OSError, match="No space"):
        write_forever(opened)


def write_forever(opened):
    while True:
        opened.write(bytes(4096))


def test_a_full_disk_loses_nothing(tmp_path):
    with (
        small_disk(tmp_path / "disk") as disk,
        Crew(f"sqlite:///{disk}/study.db", tmp_path) as crew,
    ):
        worker = crew.start(8)
        crew.wait_for(lambda events: sum(event.kind == "ending" for event in events) >= 3)
        n_events, since = 0, time.monotonic()

        def is_at_a_standstill():
            nonlocal n_events, since
            fill(disk / "other")  # Also with what the database no longer needs.
            if len(crew.events()) != n_events:
                n_events, since = len(crew.events()), time.monotonic()
            return time.monotonic() > since + 1.0

        wait_until(is_at_a_standstill)
        assert worker.is_running()
        (disk / "other").unlink()
        assert worker.wait() == 0
        assert crew.start(3).wait() == 0
        check(crew.study, crew.events())
        with sqlite3.connect(disk / "study.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
