"""NAAP-440: small convolutional networks on CIFAR-10, described by features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import read_rows
from _curve_set import Run


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# The second version describes the same trainings by two features more.
_FILE = "naap440v2.csv"
_N_EPOCHS = 90
_FEATURES = (
    "NumParams",
    "NumMACs",
    "NumLayers",
    "NumStages",
    "FirstLayerWidth",
    "LastLayerWidth",
    "NumSkipConnections",
    "NumPartialRFLayers",
)


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the set of a clone."""
    columns = {epoch: f"e{epoch}Accuracy" for epoch in range(1, _N_EPOCHS + 1)}
    rows = read_rows(clone / _FILE, *_FEATURES, *columns.values())
    runs = [
        Run(
            {name: row[name] for name in _FEATURES},
            {epoch: float(row[column]) for epoch, column in columns.items()},
        )
        for row in rows
    ]
    source = f"{_FILE}: 440 small convolutional networks on CIFAR-10, step = an epoch"
    yield CurveSet("naap440", "maximize", "CIFAR-10 test accuracy", source, runs)


FAMILY = Family(
    "naap440",
    "small convolutional networks on CIFAR-10, 8 features of the architecture",
    {"talcs/NAAP-440": "c3b22b9"},
    "MIT",
    ("naap440",),
    convert,
)
