"""The tuned optimizers of DeepOBS on small image classifiers.

One JSON file a run; the hyperparameters are in the name of its folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _curve_set import CloneError
from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import files
from _curve_set import read_json
from _curve_set import Run


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_SETS = {
    "deepobs_cifar10_3c3d": "three convolutional and three dense layers on CIFAR-10",
    "deepobs_fmnist_2c2d": "two convolutional and two dense layers on Fashion-MNIST",
}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _run(file: Path) -> Run:
    recorded = read_json(file)
    accuracies = recorded.get("test_accuracies") if isinstance(recorded, dict) else None
    if not isinstance(accuracies, list):
        raise CloneError(f"{file} has no list test_accuracies.")
    words = file.parent.name.split("__")
    named = dict(zip(words[::2], map(_number, words[1::2]), strict=False))
    # The first accuracy is the one before training.
    return Run({"optimizer": file.parts[-3], **named}, dict(enumerate(accuracies[1:], start=1)))


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    for name, what in _SETS.items():
        problem = name.removeprefix("deepobs_")
        runs = [_run(file) for file in files(clone, f"{problem}/*/*/*.json")]
        source = f"{problem}: {what}, optimizers and learning rates, step = an epoch"
        yield CurveSet(name, "maximize", "test accuracy", source, runs)


FAMILY = Family(
    "deepobs",
    "optimizers and learning rates on small image classifiers; many diverge",
    {"fsschneider/DeepOBS_Baselines": "3da285a"},
    "MIT",
    tuple(_SETS),
    convert,
)
