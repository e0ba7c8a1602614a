"""Results of many tasks, computed by several processes and kept in a file as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING
import warnings

from joblib import delayed
from joblib import Parallel
import optuna
from tqdm import tqdm


if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from collections.abc import Sequence


Result = dict[str, Any]
"""What a task gives: numbers and lists of them."""


class Results:
    """Computes tasks and remembers their results, so that an interrupted run goes on.

    A task is a named tuple of texts and numbers. The file holds one JSON object a line. Tasks
    carry a digest of their curves and of their predictor's source (`version`), so that results of
    other versions are not taken.

    Args:
        file: Where results are kept; `None`: nowhere.
        n_jobs: Number of processes.
    """

    def __init__(self, file: Path | None, n_jobs: int) -> None:
        self._file = file
        self._n_jobs = n_jobs
        self._known: dict[str, Result] = {}
        if file is not None and file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:  # The line at which the last run was cut off.
                    continue
                self._known[entry["task"]] = entry["result"]

    def of(self, function: Callable[..., Result], tasks: Sequence[Any]) -> list[Result]:
        """Give the result of `function(task)` for each task."""
        keys = [json.dumps([function.__name__, *task]) for task in tasks]
        missing = [i for i, key in enumerate(keys) if key not in self._known]
        calls = (delayed(_run)(function, i, tasks[i]) for i in missing)
        done = Parallel(self._n_jobs, return_as="generator_unordered")(calls)
        for i, result in tqdm(done, total=len(missing), mininterval=5.0, disable=not missing):
            self._known[keys[i]] = result
            self._append(keys[i], result)
        return [self._known[key] for key in keys]

    def _append(self, key: str, result: Result) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as opened:
            # The first newline ends what an interrupted run may have left.
            opened.write("\n" + json.dumps({"task": key, "result": result}) + "\n")


def _run(function: Callable[..., Result], index: int, task: Any) -> tuple[int, Result]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return index, function(task)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, help="file in which results are kept, so that a run can go on"
    )
