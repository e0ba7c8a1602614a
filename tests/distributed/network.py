"""A second host, so to say: a network namespace that is connected by a cable that can be cut."""

from __future__ import annotations

from contextlib import contextmanager
import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.servers import unavailable


if TYPE_CHECKING:
    from collections.abc import Iterator


class Host:
    """A network namespace.

    Args:
        name:
            Its name, and that of the cable.
        network:
            The first three numbers of the addresses at both ends of the cable.
    """

    def __init__(self, name: str, network: str) -> None:
        self._cable = name
        self.server_address = f"{network}.1"
        self.prefix = ("ip", "netns", "exec", name)
        _ip("netns", "add", name)
        try:
            _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("address", "add", f"{network}.1/24", "dev", name)
            _ip("link", "set", name, "up")
            _ip("-n", name, "address", "add", f"{network}.2/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.remove()
            raise

    def cut_off(self) -> None:
        _ip("link", "set", self._cable, "down")

    def reconnect(self) -> None:
        _ip("link", "set", self._cable, "up")

    def remove(self) -> None:
        _ip("netns", "delete", self._cable)


@contextmanager
def second_host() -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("Only root can make a network namespace.")
    if shutil.which("ip") is None:
        unavailable("The program ip is not installed (Debian: apt-get install iproute2)")
    number = random.SystemRandom().randrange(256)
    try:
        # Addresses of which RFC 2544 says that they are for tests.
        host = Host(f"perfpred-{os.getpid() % 10**6}", f"198.18.{number}")
    except subprocess.CalledProcessError as error:
        unavailable(f"No network namespace can be made: {error.stderr}")
    try:
        yield host
    finally:
        host.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
