"""An objective for workers that may die, and the log in which they tell what they did."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
import json
import math
import os
from pathlib import Path
import time

import optuna


LOG = "PERFPRED_TEST_LOG"  # The variables of the environment that the objectives read.
STEP_SECONDS = "PERFPRED_TEST_STEP_SECONDS"
MEETING = "PERFPRED_TEST_MEETING"
N_STEPS = 8


@dataclass(frozen=True)
class Event:
    """What a worker is about to do, or has just done.

    Attributes:
        process: The process's identifier.
        number: The trial's number.
        kind: "began", "reporting" (a value), "asking" (whether to stop), "asked", "ending"; of
            a process, that it is "gone".
        value: The value that is reported or returned.
        step: The step that is reported.
        pruned: Whether the pruner stopped the trial.
        seconds: The time on a clock that all processes of the machine share.
    """

    process: int
    number: int
    kind: str
    value: float | None = None
    step: int | None = None
    pruned: bool = False
    seconds: float = field(default_factory=time.monotonic)

    @property
    def is_between_steps(self) -> bool:
        """Whether training goes on after it."""
        return self.kind == "asked" and not self.pruned and self.step != N_STEPS - 1


def curve(x: float) -> list[float]:
    """The intermediate values of a configuration, the last of which is its final value."""
    return [
        x * (1.0 - 0.6 ** (step + 1)) + 0.02 * math.sin(97.0 * x + 3.0 * step)
        for step in range(N_STEPS)
    ]


def objective(trial: optuna.Trial) -> float:
    log("began", trial.number)
    values = curve(trial.suggest_float("x", 0.0, 1.0))
    for step, value in enumerate(values):
        time.sleep(float(os.environ.get(STEP_SECONDS, "0.02")))
        log("reporting", trial.number, value=value, step=step)
        trial.report(value, step)
        log("asking", trial.number, step=step)
        pruned = trial.should_prune()
        log("asked", trial.number, step=step, pruned=pruned)
        if pruned:
            log("ending", trial.number, value=value, pruned=True)
            _meet()
            raise optuna.TrialPruned
    log("ending", trial.number, value=values[-1])
    _meet()
    return values[-1]


def read_log(path: Path) -> list[Event]:
    if not path.exists():
        return []
    # A worker writes a line at once, so that none is cut off by its death.
    return [Event(**json.loads(line)) for line in path.read_text().splitlines()]


def log(
    kind: str,
    number: int,
    *,
    value: float | None = None,
    step: int | None = None,
    pruned: bool = False,
) -> None:
    append(Path(os.environ[LOG]), Event(os.getpid(), number, kind, value, step, pruned))


def append(path: Path, event: Event) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, json.dumps(asdict(event)).encode() + b"\n")
    finally:
        os.close(file)


def _meet() -> None:
    """Wait until the other of two workers ends its trial as well."""
    if MEETING not in os.environ:
        return
    file = os.open(os.environ[MEETING], os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, b".")
        # Each round adds two marks; the position tells which one was written here.
        wanted = os.lseek(file, 0, os.SEEK_CUR) + 1 & ~1
        deadline = time.monotonic() + 60.0
        while os.fstat(file).st_size < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError("The other worker did not come.")
            time.sleep(0.0005)
    finally:
        os.close(file)
