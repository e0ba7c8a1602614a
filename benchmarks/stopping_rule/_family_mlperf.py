"""The result logs of MLPerf Training and MLPerf HPC, by benchmark, over several rounds.

Each round is a repository of its own: the clone is a folder that holds a clone of each, named
like its repository. Runs stop at a common target, so quick ones have few reports.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from _curve_set import CloneError
from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import Run
from _mlperf_benchmarks import BENCHMARKS
from _mlperf_benchmarks import COMMITS
import numpy as np


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _mlperf_benchmarks import Benchmark


_FEWEST_EVALUATIONS = 6
# Larger logs were not at hand when the rule was trained; without them the same runs are drawn.
_LARGEST_LOG = 4 * 2**20
# Of a benchmark with more runs, so many are drawn.
_MOST_RUNS = 800
_PREFIX = ":::MLLOG"


class _Log(NamedTuple):
    config: dict[str, object]
    positions: np.ndarray  # In steps.
    values: np.ndarray


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            found = line.find(_PREFIX)
            if found < 0:
                continue
            try:
                entry = json.loads(line[found + len(_PREFIX) :])
            except ValueError:  # Two processes wrote into the same line.
                continue
            if isinstance(entry, dict):
                yield entry


def _read(file: Path, root: Path, benchmark: Benchmark) -> _Log:
    collection, submitter, _, system, *_ = file.relative_to(root).parts
    config: dict[str, object] = {
        "round": collection.replace("_results", ""),
        "submitter": submitter,
        "system": system,
    }
    told: dict[str, object] = {}
    reports: list[tuple[float, float]] = []
    for entry in _entries(file):
        key, value = entry.get("key"), entry.get("value")
        if key == benchmark.evaluation:
            position = (entry.get("metadata") or {}).get(benchmark.position)
            score = value.get("BBOX") if isinstance(value, dict) else value
            if position is not None and score is not None:
                reports.append((benchmark.steps(float(position)), float(score)))
        elif (
            not reports
            and entry.get("event_type") == "POINT_IN_TIME"
            and isinstance(value, int | float | str)
        ):
            told[str(key)] = value
    config |= {name: told.get(name) for name in benchmark.hyperparameters.split()}
    reports.sort(key=lambda report: report[0])
    positions, values = np.array(reports).reshape(-1, 2).T
    return _Log(config, positions, values)


def _logs(root: Path, name: str, benchmark: Benchmark) -> Iterator[_Log]:
    """The logs of all rounds, in the order of their paths; the same run counts once."""
    seen: set[tuple[bytes, bytes]] = set()
    for collection in sorted(benchmark.rounds):
        folder = root / collection
        if not folder.is_dir():
            raise CloneError(f"There is no clone of {collection} in {root}.")
        # HPC results have one folder more, and one for runs that do not count.
        found = {
            file.as_posix(): file
            for pattern in (f"{name}/", f"*/{name}/", f"*/{name}/pruned_results/")
            for file in folder.glob(f"*/results/*/{pattern}result_*.txt")
            if file.stem.removeprefix("result_").isdecimal() and file.stat().st_size < _LARGEST_LOG
        }
        for _, file in sorted(found.items()):
            log = _read(file, root, benchmark)
            key = (log.positions.tobytes(), log.values.tobytes())
            if len(log.positions) >= _FEWEST_EVALUATIONS and key not in seen:
                seen.add(key)
                yield log


def _curve(log: _Log, n_steps: int, benchmark: Benchmark) -> dict[int, float]:
    """The mean of the reports of each step; without one, linear between its neighbours."""
    step_of = np.clip(np.ceil(log.positions - benchmark.nearest - 1e-6), 1, None)
    curve = {}
    for step in range(1, n_steps + 1):
        inside = log.values[step_of == step]
        end = step + benchmark.nearest
        between = np.interp(end, log.positions, log.values, left=math.nan)
        curve[step] = float(inside.mean() if len(inside) else between)
    return curve


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a folder of clones."""
    for name, benchmark in BENCHMARKS.items():
        logs = list(_logs(clone, name, benchmark))
        if not logs:
            raise CloneError(f"{clone} has no logs of the benchmark {name}.")
        ends = np.array([round(float(log.positions.max())) for log in logs])
        # As many runs as long as possible.
        n_steps = max(sorted(set(ends.tolist())), key=lambda end: end * int((ends >= end).sum()))
        long = [log for log, end in zip(logs, ends, strict=True) if end >= n_steps]
        if len(long) > _MOST_RUNS:
            random.Random(0).shuffle(long)
        runs = [Run(log.config, _curve(log, n_steps, benchmark)) for log in long[:_MOST_RUNS]]
        source = (
            f"MLPerf, {benchmark.what}, step = {benchmark.step}; runs stop at a common target, "
            f"so they are cut at {n_steps} steps and those that reached it before are left out"
        )
        # A run that first reports after the last step has nothing to show.
        told = [run for run in runs if not all(map(math.isnan, run.curve.values()))]
        yield CurveSet(f"mlperf_{name}", benchmark.direction, benchmark.metric, source, told)


FAMILY = Family(
    "mlperf",
    "benchmark submissions of the industry; many differ by seed or batch size only",
    {f"mlcommons/{name}": commit for name, commit in COMMITS.items()},
    "Apache-2.0",
    tuple(f"mlperf_{name}" for name in BENCHMARKS),
    convert,
)
