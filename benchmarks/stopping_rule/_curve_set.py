"""Sets of public curves, and how they are written in the format of `load_curves`."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import csv
from dataclasses import dataclass
from dataclasses import field
import json
import math
from typing import Any
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from pathlib import Path


Config = Mapping[str, object]
Curve = Mapping[int, float]
# Runs that ended earlier, as a share of the longest run, are left out of a set with equal ends.
SHORTEST = 0.8


class CloneError(Exception):
    """A clone lacks a file, or a file is not what the converter reads. One line."""


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        config: Its hyperparameters or features; None is one that it did not have.
        curve: Its value after each step; NaN and missing steps become empty cells.
    """

    config: Config
    curve: Curve


@dataclass(frozen=True)
class CurveSet:
    """The runs of one study.

    Args:
        name: Name of the folder.
        direction: "maximize" or "minimize".
        metric: What the curves show.
        source: One sentence: the files, what was trained, what a step is.
        runs: The runs in the order of the rows.
        facts: Further entries of meta.json, such as the training-set size of each step.
    """

    name: str
    direction: str
    metric: str
    source: str
    runs: list[Run]
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """Sets that come from the same clone, or from clones side by side.

    Args:
        name: What the command line calls it.
        what: A few words on the trainings.
        repositories: Owner and name on github.com, and the commit that was converted.
        licence: The licence of the curves.
        sets: Names of the sets.
        convert: Takes the folder of the clone and yields the sets. With several repositories it
            is the folder that holds a clone of each, named like its repository.
    """

    name: str
    what: str
    repositories: Mapping[str, str]
    licence: str
    sets: tuple[str, ...]
    convert: Callable[[Path], Iterator[CurveSet]]


def write_set(curve_set: CurveSet, family: Family, output: Path) -> None:
    """Writes curves.csv, configs.csv and meta.json (the last one marks the set as complete).

    Columns of the configurations that never vary are left out.
    """
    folder = output / curve_set.name
    folder.mkdir(parents=True, exist_ok=True)
    steps = sorted({step for run in curve_set.runs for step in run.curve})
    names = dict.fromkeys(name for run in curve_set.runs for name in run.config)
    configs = {name: [_cell(run.config.get(name)) for run in curve_set.runs] for name in names}
    varying = {name: cells for name, cells in configs.items() if len(set(cells)) > 1}
    curves = {str(s): [_value(run.curve.get(s)) for run in curve_set.runs] for s in steps}
    for file, columns in (("curves.csv", curves), ("configs.csv", varying)):
        with (folder / file).open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(["curve_id", *columns])
            writer.writerows(
                [i, *(cells[i] for cells in columns.values())] for i in range(len(curve_set.runs))
            )
    commits = ", ".join(f"{name} {commit}" for name, commit in family.repositories.items())
    meta = {
        "direction": curve_set.direction,
        "metric": curve_set.metric,
        "source": curve_set.source,
        "origin": commits,
        "licence": family.licence,
        **curve_set.facts,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


def _value(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def with_equal_ends(runs: Iterable[Run]) -> list[Run]:
    """Leaves out runs that ended early and cuts the others to the steps that all of them have."""
    long = [run for run in runs if run.curve]
    last = max((max(run.curve) for run in long), default=0)
    kept = [run for run in long if max(run.curve) >= SHORTEST * last]
    end = min((max(run.curve) for run in kept), default=0)
    return [
        Run(run.config, {step: value for step, value in run.curve.items() if step <= end})
        for run in kept
    ]


def files(folder: Path, pattern: str) -> list[Path]:
    """The files of a clone that match a pattern, in the order of their paths.

    Raises:
        CloneError: If there are none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise CloneError(f"There is no {pattern} in {folder}.")
    return found


def read_json(file: Path) -> Any:
    """Reads a JSON file of a clone.

    Raises:
        CloneError: If it is missing or not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CloneError(f"There is no {file.name} in {file.parent}.") from error
    except ValueError as error:
        raise CloneError(f"{file} is not valid JSON: {error}.") from error


def read_rows(file: Path, *columns: str) -> list[dict[str, str]]:
    """Reads a CSV file of a clone.

    Args:
        file: The file.
        *columns: Columns that it must have.

    Raises:
        CloneError: If it is missing or lacks one of the columns.
    """
    if not file.is_file():
        raise CloneError(f"There is no {file.name} in {file.parent}.")
    with file.open(encoding="utf-8", newline="") as opened:
        reader = csv.DictReader(opened)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise CloneError(f"{file} has no column {missing[0]!r}.")
        return list(reader)
