"""The optimizer comparisons of step-back on vision models.

The output of single runs is JSON, the records of repeated runs are CSV. The rule was trained on
the files named below; larger output files of the same experiments are left out.
"""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from _curve_set import CloneError
from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import read_json
from _curve_set import read_rows
from _curve_set import Run


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_OUTPUTS = {
    "cifar100_resnet110": ("ResNet110 on CIFAR-100", ("-2", "-3", "-5")),
    "cifar10_resnet20": ("ResNet20 on CIFAR-10", ("-3", "-4")),
    "cifar10_vgg16": ("VGG16 on CIFAR-10", ("-2",)),
    "imagenet32_resnet18": ("ResNet18 on ImageNet32", ("",)),
}
_RECORDS = {"cifar10_vit": "ViT on CIFAR-10", "mnist_mlp": "MLP on MNIST"}
_HYPERPARAMETERS = {"name", "lr", "lr_schedule", "weight_decay", "lb"}
_HYPERPARAMETERS |= {"beta", "bias_correction", "dampening", "momentum"}
_METRIC = "validation accuracy"


def _param(name: str) -> str:
    return "optimizer" if name == "name" else name


def _output_run(run: dict[str, Any], file: Path) -> Run:
    try:
        optimizer = {_param(name): value for name, value in run["config"]["opt"].items()}
        curve = {int(row["epoch"]) + 1: float(row["val_score"]) for row in run["history"]}
        return Run({**optimizer, "run": run["config"]["run_id"]}, curve)
    except (KeyError, TypeError) as error:
        raise CloneError(f"{file} holds a run without {error}.") from error


def _record_runs(file: Path) -> list[Run]:
    configs: dict[str, dict[str, str | None]] = {}
    curves: dict[str, dict[int, float]] = {}
    for row in read_rows(file, "id", "epoch", "val_score", "name", "lr"):
        if row["id"] not in configs:
            configs[row["id"]] = {
                _param(name): None if value == "none" else value
                for name, value in row.items()
                if name in _HYPERPARAMETERS
            }
        curves.setdefault(row["id"], {})[int(row["epoch"]) + 1] = float(row["val_score"])
    return [Run(config, curves[key]) for key, config in configs.items()]


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    for name, (what, endings) in _OUTPUTS.items():
        outputs = [clone / "output" / f"{name}{ending}.json" for ending in endings]
        runs = [_output_run(run, file) for file in outputs for run in read_json(file)]
        named = ", ".join(f"output/{file.name}" for file in outputs)
        source = f"{named}: {what}, optimizers and learning rates, single runs, step = an epoch"
        yield CurveSet(f"stepback_{name}", "maximize", _METRIC, source, runs)
    for name, what in _RECORDS.items():
        path = f"stepback/records/{name}.csv"
        source = f"{path}: {what}, optimizers and learning rates, mean of the repeated runs"
        runs = _record_runs(clone / path)
        yield CurveSet(f"stepback_{name}", "maximize", _METRIC, source, runs)


FAMILY = Family(
    "stepback",
    "optimizers and learning rates on vision models",
    {"fabian-sp/step-back": "6d033ec9"},
    "BSD-3-Clause",
    tuple(f"stepback_{name}" for name in (*_OUTPUTS, *_RECORDS)),
    convert,
)
