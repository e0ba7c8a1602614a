"""Headless Chromium, as Debian installs it, and a dashboard to look at with it."""

from __future__ import annotations

from contextlib import contextmanager
import importlib
import os
from pathlib import Path
import re
import shutil
from socketserver import ThreadingMixIn
import subprocess
import sys
import threading
from typing import Any
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer

from tests.servers import unavailable


if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.storages import BaseStorage


COMMAND = str(Path(sys.executable).with_name("optuna-perfpred"))
# A loaded machine draws slowly.
WAIT_MS = 90_000
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        unavailable("Chromium is not installed (Debian: apt-get install chromium)")
    try:
        api = importlib.import_module("playwright.sync_api")
    except ImportError:
        unavailable('Playwright is not installed (pip install ".[test]")')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A page of its own, and all that went wrong in it."""

    def __init__(self, browser: Any, *, offline: bool = False) -> None:
        context = browser.new_context(viewport={"width": 1500, "height": 1000}, offline=offline)
        context.set_default_timeout(WAIT_MS)
        self.page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def wait(self, expression: str, *arguments: Any) -> Any:
        """Wait until a function gives something true; give it."""
        found = self.page.wait_for_function(expression, arg=arguments or None, timeout=WAIT_MS)
        return found.json_value()

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)


class Dashboard:
    """A running ``optuna-perfpred dashboard``."""

    def __init__(self, *arguments: str, storage: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "dashboard", "--port=0", "--interval=1", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPTUNA_STORAGE": storage},
        )
        self.log: list[str] = []
        self._has_address = threading.Event()
        self.url = ""
        threading.Thread(target=self._read, daemon=True).start()
        assert self._has_address.wait(WAIT_MS / 1000), self.log
        assert self.url, self.log

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if match := re.search(r"http://[\d.]+:\d+", line):
                self.url = match[0]
                self._has_address.set()
        self._has_address.set()


@contextmanager
def dashboard(*arguments: str, storage: str) -> Iterator[Dashboard]:
    """Run a dashboard, and end it as an operating system does."""
    running = Dashboard(*arguments, storage=storage)
    try:
        yield running
        running.process.terminate()
        assert running.process.wait(WAIT_MS / 1000) == 0, running.log
    finally:
        running.process.kill()
        running.process.wait()


@contextmanager
def served_alone(storage: BaseStorage) -> Iterator[str]:
    """Serve optuna-dashboard as it is; give its URL."""
    app = importlib.import_module("optuna_dashboard").wsgi(storage)
    with make_server("127.0.0.1", 0, app, ThreadingWSGIServer, QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class ThreadingWSGIServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass
