"""A private Slurm cluster of two nodes on this machine, started by the tests that need it."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
import getpass
import os
from pathlib import Path
import shutil
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from tests.servers import free_port
from tests.servers import LOOPBACK
from tests.servers import unavailable


if TYPE_CHECKING:
    from collections.abc import Iterator


NODES = ("n1", "n2")
_PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
_SECONDS = 120.0

# A job of the partition `urgent` takes the nodes of jobs in `long`, which get a
# SIGTERM and are requeued. Slurm holds a requeued job back until its credential expires.
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={port}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1,preempt_youngest_first
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
GresTypes=gpu
PartitionName=long Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
_NODE = """
NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs=4 RealMemory=64000 \\
Gres=gpu:1
"""


class Slurm:
    """The clients' side of a cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": _PATH,
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def run(self, *command: str, **environment: str) -> str:
        """Run one of Slurm's programs; give what it printed."""
        result = subprocess.run(
            command,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert result.returncode == 0, f"{command}:\n{result.stderr}\n{self.logs()}"
        return result.stdout.strip()

    def job(self, job_id: str) -> dict[str, str]:
        """Give the fields that Slurm shows of one job."""
        text = self.run("scontrol", "--oneliner", "show", "job", job_id)
        return dict(field.split("=", 1) for field in text.split() if "=" in field)

    def logs(self) -> str:
        return "\n".join(
            f"{log.name}:\n{log.read_text(errors='replace')[-5000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def slurm_cluster() -> Iterator[Slurm]:
    """Run a controller and two nodes, with a GPU by name on each, as long as the context lasts."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        packages = "slurmctld slurmd slurm-client munge"
        unavailable(f"{missing[0]} is not installed (Debian: apt-get install {packages})")
    # The paths of its sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix="perfpred-slurm-"))
    folder.chmod(0o755)
    slurm = Slurm(folder)
    _configure(folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _start(stack, slurm, "munged", "-F", *_munge_options(folder))
        _start(stack, slurm, "slurmctld", "-D", "-c")
        for name in NODES:
            _start(stack, slurm, "slurmd", "-D", "-c", "-N", name)
        _wait_for_nodes(slurm)
        try:
            yield slurm
        finally:
            _cancel_jobs(slurm)


def _cancel_jobs(slurm: Slurm) -> None:
    """End what still runs: it would outlive its node."""
    slurm.run("scancel", "--full", "--user", getpass.getuser())
    deadline = time.monotonic() + _SECONDS
    while slurm.run("squeue", "--noheader"):
        assert time.monotonic() < deadline, slurm.logs()
        time.sleep(0.1)


def _configure(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    text = _CONFIGURATION.format(
        host=host, address=LOOPBACK, port=free_port(), folder=folder, user=getpass.getuser()
    )
    for name in NODES:
        text += _NODE.format(name=name, host=host, address=LOOPBACK, port=free_port())
    (folder / "slurm.conf").write_text(text)
    # Slurm wants a device that is there. Without control groups it guards nothing.
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")


def _munge_options(folder: Path) -> list[str]:
    key = str(folder / "munge.key")
    subprocess.run(["mungekey", "--create", "--keyfile", key], check=True, env={"PATH": _PATH})
    files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return [f"--key-file={key}", *(f"--{k}={folder}/munge.{v}" for k, v in files.items())]


def _start(stack: ExitStack, slurm: Slurm, program: str, *args: str) -> None:
    path = shutil.which(program, path=_PATH)
    assert path is not None
    with (slurm.folder / "output.log").open("ab") as log:
        process = subprocess.Popen([path, *args], env=slurm.environment, stdout=log, stderr=log)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_nodes(slurm: Slurm) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        result = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--partition=long", "--format=%T"],
            env=slurm.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.stdout.split() == ["idle"] * len(NODES):
            return
        assert time.monotonic() < deadline, f"{result.stdout}{result.stderr}{slurm.logs()}"
        time.sleep(0.1)
