from __future__ import annotations

import csv
import gzip
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING
from typing import TypeVar
import zlib

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import create_trial
from optuna.trial import TrialState

from optuna_perfpred._files import check_file
from optuna_perfpred._files import read_text


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from optuna.distributions import BaseDistribution


T = TypeVar("T")
# A positive parameter that spans two decades was most likely searched on a log scale.
_LOG_RATIO = 100.0
_ID = "curve_id"
# The largest of the recorded sets unpack to a tenth of it.
_MAX_BYTES = 2**28


def load_curves(path: str | Path) -> optuna.Study:
    """Read a folder of recorded learning curves as a study of finished trials.

    The folder holds three files:

    - ``curves.csv``: one row a curve, with a column ``curve_id`` and one column for each step,
      whose heading is the step. An empty cell is a value that the run never reported.
    - ``configs.csv``: one row a curve, with a column ``curve_id`` and one column for each
      hyperparameter or feature of its architecture. An empty cell is one that the run did not
      have. Without this file the trials have no parameters.
    - ``meta.json``: an object with ``"direction"``, either ``"minimize"`` or ``"maximize"``.

    The tables may be compressed: ``curves.csv.gz`` and ``configs.csv.gz`` are read where there is
    no ``curves.csv`` or ``configs.csv``.

    A trial's value is the last one it reported; a curve that is empty or ends in NaN becomes a
    failed trial, as it does in Optuna. Columns of numbers become float parameters, with a log
    distribution if they are positive and span two decades; columns of text become categorical
    ones. Text with a different value in nearly every row, such as a network's notation,
    identifies a run instead of describing it and is left out.

    Args:
        path:
            The folder.

    Returns:
        A study in memory with the folder's name. Its trials are in the order of the rows.

    Raises:
        FileNotFoundError:
            If the folder or one of the files that it must hold is missing.
        ValueError:
            If a file is not in this format.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    study = optuna.create_study(study_name=folder.name, direction=_read_direction(folder))
    rows = _read_configs(folder)
    names = dict.fromkeys(name for row in rows.values() for name in row)
    columns = {name: [row[name] for row in rows.values()] for name in names}
    distributions = {
        name: distribution
        for name, cells in columns.items()
        if (distribution := _distribution([cell for cell in cells if cell])) is not None
    }
    for curve_id, reports in _read_curves(folder).items():
        if rows and curve_id not in rows:
            raise ValueError(f"{folder / 'configs.csv'} has no row for curve {curve_id!r}.")
        row = rows.get(curve_id, {})
        present = {name: dist for name, dist in distributions.items() if row.get(name)}
        params: dict[str, Any] = {
            name: float(row[name]) if isinstance(dist, FloatDistribution) else row[name]
            for name, dist in present.items()
        }
        value = reports[max(reports)] if reports else math.nan
        ended = not math.isnan(value)
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if ended else TrialState.FAIL,
                value=value if ended else None,
                params=params,
                distributions=present,
                intermediate_values=reports,
            )
        )
    return study


def _read_direction(folder: Path) -> StudyDirection:
    file = folder / "meta.json"
    if not file.is_file():
        raise FileNotFoundError(f"{str(folder)!r} is not a curve folder: it has no meta.json.")
    text = read_text(file)
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}.") from error
    direction = meta.get("direction") if isinstance(meta, dict) else None
    if direction not in ("minimize", "maximize"):
        raise ValueError(
            f'`direction` in {file} must be "minimize" or "maximize", but is {direction!r}.'
        )
    return StudyDirection[direction.upper()]


def _read_configs(folder: Path) -> dict[str, dict[str, str]]:
    file = _find(folder, "configs.csv")
    return {} if file is None else _read_rows(file, dict)


def _read_curves(folder: Path) -> dict[str, dict[int, float]]:
    file = _find(folder, "curves.csv")
    if file is None:
        raise FileNotFoundError(f"{str(folder)!r} is not a curve folder: it has no curves.csv.")
    return _read_rows(file, _reports)


def _reports(row: dict[str, str]) -> dict[int, float]:
    try:
        return {_step(step): float(cell) for step, cell in row.items() if cell}
    except ValueError as error:
        raise ValueError(f"what is neither a step nor a value: {error}") from error


def _find(folder: Path, name: str) -> Path | None:
    files = (folder / name, folder / f"{name}.gz")
    return next((file for file in files if file.is_file()), None)


def _read_rows(file: Path, convert: Callable[[dict[str, str]], T]) -> dict[str, T]:
    check_file(file, _MAX_BYTES)
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} cannot be decompressed: {error}.") from error
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{file} unpacks to more than {_MAX_BYTES:,} bytes.")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text: {error}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = {}
    try:
        if _ID not in (reader.fieldnames or ()):
            raise ValueError(f"no column `{_ID}`")
        for row in reader:
            curve_id = str(row.pop(_ID))
            # Rows may be cut short by a crash: `None` marks the cells that are missing.
            rows[curve_id] = convert({n: cell or "" for n, cell in row.items() if n is not None})
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{file}, line {reader.line_num}, has {error}.") from error
    return rows


def _step(heading: str) -> int:
    step = int(heading)
    if step < 0:
        raise ValueError(f"step {step} is negative")
    return step


def _distribution(cells: list[str]) -> BaseDistribution | None:
    numbers = [_number(cell) for cell in cells]
    if all(math.isfinite(number) for number in numbers):
        if not numbers:
            return None
        low, high = min(numbers), max(numbers)
        return FloatDistribution(low, high, log=low > 0.0 and high >= _LOG_RATIO * low)
    choices = sorted(set(cells))
    return CategoricalDistribution(choices) if len(choices) <= len(cells) / 2 else None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
