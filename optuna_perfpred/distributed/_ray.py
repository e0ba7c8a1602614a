from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.distributed import _exit_codes
from optuna_perfpred.distributed._worker import run_worker


if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)
# A worker stops within a step, unless the step holds Python's lock all the time.
_SECONDS_TO_STOP = 60.0


def run_on_ray(
    objective: str,
    *,
    storage: str,
    study_name: str,
    n_workers: int,
    n_trials: int | None = None,
    max_trials: int | None = None,
    timeout: float | None = None,
    config: str | Path | None = None,
    heartbeat_interval: int = 60,
    grace_period: int = 120,
    max_retry: int = 3,
    num_gpus: float = 1.0,
    num_cpus: float = 1.0,
    max_restarts: int = 10,
    address: str | None = None,
) -> None:
    """Run workers of a study on a Ray cluster, and wait until they are done.

    Each worker is a Ray actor that calls :func:`run_worker`. Ray places the actors where their
    resources are, gives each its GPUs in ``CUDA_VISIBLE_DEVICES``, and starts one again, on the
    same or on another host, when its process or its host dies. Those for which there is no room
    wait for it. Ctrl-C stops all of them cleanly; a second one ends them at once.

    If Ray is not initialised, it is: with ``address``, and shut down at the end. Call
    ``ray.init(runtime_env=...)`` before to have the objective's code carried to all hosts;
    otherwise it must be found on each, at the same path or by the same name.

    The storage's URL goes to the actors as an argument of a method. Ray does not show, store
    or log these, unlike environment variables of a ``runtime_env`` and arguments of constructors.

    Args:
        objective:
            As for :func:`run_worker`, and so are those not named here.
        storage:
            The storage, as seen from the hosts.
        study_name:
            The study's name.
        n_workers:
            How many workers there are.
        n_trials:
            How many trials each worker starts; one that Ray had to start again begins anew. Use
            ``max_trials`` where the whole matters.
        max_trials:
            The workers stop once the study has so many completed and pruned trials.
        timeout:
            No trial is started so many seconds after the call.
        config:
            A TOML file, on each host.
        heartbeat_interval:
            Seconds between two signs of life of a running trial.
        grace_period:
            Seconds without one after which a trial counts as dead.
        max_retry:
            How often a trial is tried again after its worker died.
        num_gpus:
            GPUs of a worker. A fraction lets workers share one.
        num_cpus:
            CPUs of a worker.
        max_restarts:
            How often Ray starts each worker again; -1 for no limit. The default lets a worker
            outlive some hosts that are taken back, and ends if it crashes at each start.
        address:
            The address of a cluster, as :func:`ray.init` takes it. If :obj:`None`, the cluster
            that is known to this host, and if there is none, one is started on this host.

    Raises:
        ImportError:
            If Ray is not installed.
        ValueError:
            If an argument is wrong.
        RuntimeError:
            If a worker failed for good, after the others were done, with the reason.
    """
    check_at_least("n_workers", n_workers, 1)
    check_at_least("max_restarts", max_restarts, -1)
    for name, amount in (("num_gpus", num_gpus), ("num_cpus", num_cpus)):
        if amount < 0 or (amount > 1 and amount != int(amount)):
            raise ValueError(
                f"`{name}` must be a fraction of 1 or a whole number, but got {amount!r}."
            )
    if timeout is not None and not timeout > 0:
        raise ValueError(f"`timeout` must be above 0, but got {timeout=}.")
    try:
        import ray
    except ImportError:
        raise ImportError('Ray is not installed: pip install "optuna_perfpred[ray]".') from None
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(address=address)
    elif address is not None:
        raise ValueError(
            f"Ray is initialised already, so `address` must be None, got {address!r}."
        )
    arguments = {
        "storage": storage,
        "study_name": study_name,
        "n_trials": n_trials,
        "max_trials": max_trials,
        "config": config,
        "heartbeat_interval": heartbeat_interval,
        "grace_period": grace_period,
        "max_retry": max_retry,
    }
    try:
        workers = _Workers(n_workers, num_gpus, num_cpus, max_restarts, timeout)
        failures = workers.run(objective, arguments)
    finally:
        if is_ours:
            ray.shutdown()
    if failures:
        told = "\n".join(f"  worker {number}: {reason}" for number, reason in failures.items())
        raise RuntimeError(f"{len(failures)} of {n_workers} workers failed:\n{told}")


class _Workers:
    """The actors, as seen by the process that started them."""

    def __init__(
        self,
        n_workers: int,
        num_gpus: float,
        num_cpus: float,
        max_restarts: int,
        timeout: float | None,
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Beside this process: if its host is lost, so is all.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._control: Any = (
            ray.remote(_Control)
            .options(num_cpus=0, scheduling_strategy=here, max_concurrency=n_workers + 100)
            .remote(timeout)
        )
        actor = ray.remote(_RayWorker).options(
            num_gpus=num_gpus,
            num_cpus=num_cpus,
            max_restarts=max_restarts,
            max_task_retries=-1,  # Limited by the restarts.
        )
        self._actors: list[Any] = [actor.remote() for _ in range(n_workers)]

    def run(self, objective: str, arguments: dict[str, Any]) -> dict[int, str]:
        """Run all workers to their ends; give the reasons of those that failed."""
        import ray

        pending = {
            actor.run.remote(number, self._control, objective, arguments): number
            for number, actor in enumerate(self._actors)
        }
        failures = {}
        try:
            while pending:
                done, _ = ray.wait(list(pending))
                for reference in done:
                    number = pending.pop(reference)
                    try:
                        reason = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        # The last line tells the cause, those before who and where.
                        reason = f"Ray gave it up: {str(error).strip().splitlines()[-1]}"
                    if reason is not None:
                        _logger.warning(f"Worker {number} failed: {reason}")
                        failures[number] = reason
                    # Gives its GPU to one that waits for it.
                    ray.kill(self._actors[number])
        except BaseException:
            _logger.warning("The workers are told to stop.")
            self._stop(pending)
            raise
        finally:
            for actor in [*self._actors, self._control]:
                ray.kill(actor)
        return failures

    def _stop(self, pending: dict[Any, int]) -> None:
        import ray

        try:
            begun = ray.get(self._control.stop.remote(), timeout=_SECONDS_TO_STOP)
        except ray.exceptions.RayError:
            return
        # The others wait for room, or for a host in the place of a lost one.
        running = [reference for reference, number in pending.items() if number in begun]
        if not running:
            return
        _, late = ray.wait(running, num_returns=len(running), timeout=_SECONDS_TO_STOP)
        if late:
            _logger.warning(f"{len(late)} workers did not stop in time, and are ended.")


class _Control:
    """Tells the workers on all hosts when to stop; an actor."""

    def __init__(self, timeout: float | None) -> None:
        # One clock for all.
        self._end = None if timeout is None else time.monotonic() + timeout
        self._begun: set[int] = set()
        self._stop = asyncio.Event()

    async def begin(self, number: int) -> tuple[bool, float | None]:
        """Note that a worker is there; tell whether it is to stop, and the seconds left."""
        self._begun.add(number)
        seconds = None if self._end is None else self._end - time.monotonic()
        return self._stop.is_set() or (seconds is not None and seconds <= 0.0), seconds

    async def stop(self) -> set[int]:
        """Tell all to stop; give those that are there."""
        self._stop.set()
        return self._begun

    async def wait(self) -> None:
        """Wait until all are told to stop."""
        await self._stop.wait()


class _RayWorker:
    """One worker; an actor, by whose name Ray's log calls it."""

    def run(
        self, number: int, control: Any, objective: str, arguments: dict[str, Any]
    ) -> str | None:
        """Run the worker in this process; give the reason if it failed for good."""
        import ray

        is_over, seconds = ray.get(control.begin.remote(number))
        if is_over:
            return None
        stopper = _Stopper(control)
        stopper.start()
        try:
            code = run_worker(objective, timeout=seconds, **arguments)
        except (ValueError, OSError, ImportError) as error:
            return f"{type(error).__name__}: {error}"
        if code == _exit_codes.DONE or stopper.is_told:
            return None
        if code == _exit_codes.OBJECTIVE_FAILED:
            return "The objective failed again and again, as the log tells."
        # A new process, maybe on another host, may do better: Ray starts one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Stopper(threading.Thread):
    """Ends the worker in this process by the signal that it understands, once told."""

    def __init__(self, control: Any) -> None:
        super().__init__(daemon=True)
        self._control = control
        self.is_told = False

    def run(self) -> None:
        import ray

        try:
            ray.get(self._control.wait.remote())
        except ray.exceptions.RayError:
            return
        self.is_told = True
        os.kill(os.getpid(), signal.SIGTERM)
