"""The curves of "Accelerating Neural Architecture Search using Performance Prediction"."""

from __future__ import annotations

import re
from typing import NamedTuple
from typing import TYPE_CHECKING

from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import read_rows
from _curve_set import Run


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Table(NamedTuple):
    direction: str
    metric: str
    columns: str  # How the headings of the values begin; a number follows.
    first: int  # The step of the column 0.
    every: int  # Only every so many steps are kept.
    params: tuple[str, ...]
    what: str


_ACCURACY = ("maximize", "validation accuracy", "acc_")
_TABLES = {
    "metaqnn_cifar10": _Table(
        *_ACCURACY, 0, 1, ("net", "num_params", "depth", "lr"), "convolutional networks, CIFAR-10"
    ),
    "deep_resnets_tinyimagenet": _Table(
        *_ACCURACY,
        0,
        5,
        ("num_blocks", "num_filters", "filter_size", "lr", "ss"),
        "ResNets with late drops of the learning rate, TinyImageNet",
    ),
    "lstm_ptb": _Table(
        "minimize",
        "validation perplexity",
        "ep_",
        1,
        1,
        ("n_layer", "n_inputs", "base_lr", "ss"),
        "LSTM language models, Penn Treebank",
    ),
    "alexnet_imagenet": _Table(*_ACCURACY, 0, 10, ("lr", "ss"), "AlexNet, ImageNet"),
}


def _runs(rows: list[dict[str, str]], table: _Table) -> Iterator[Run]:
    for row in rows:
        found = {name: re.fullmatch(rf"{table.columns}(\d+)", name) for name in row}
        steps = {name: int(match[1]) + table.first for name, match in found.items() if match}
        curve = {
            step: float(row[name])
            for name, step in steps.items()
            if step > 0 and step % table.every == 0
        }
        yield Run({name: row[name] for name in table.params}, curve)


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    for name, table in _TABLES.items():
        rows = read_rows(clone / "data" / f"{name}.csv", *table.params)
        which = "" if table.every == 1 else f", every {table.every}th"
        source = f"data/{name}.csv: {table.what}, step = an epoch{which} (Baker et al. 2017)"
        runs = list(_runs(rows, table))
        yield CurveSet(name, table.direction, table.metric, source, runs)


FAMILY = Family(
    "accelerating_nas",
    "architectures and learning rates: convolutional networks, ResNets, LSTMs, AlexNet",
    {"MITAutoML/accelerating_nas": "82ed099d"},
    "MIT",
    tuple(_TABLES),
    convert,
)
