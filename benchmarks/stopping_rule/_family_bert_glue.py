"""BERT fine-tuned on tasks of GLUE, from the experiments of the optimizer Ano.

One JSON file a run; optimizer, hyperparameters and seed are in its name.
"""

from __future__ import annotations

import re
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


_TASKS = ("cola", "mrpc", "qnli", "rte", "sst2", "stsb")
_RUN = re.compile(r"(?P<optimizer>\w+)-seed(?P<seed>\d+)")
_TUNING = "ano_tuning_bert_mrpc"
# Not Anolog: its files hold the accuracy, the others its mean with F1.
_TUNED = re.compile(
    r"(?P<optimizer>(?!Anolog)\w+)_lr(?P<lr>[\d.e-]+)_b1(?P<beta1>[\d.]+)_b2(?P<beta2>[\d.]+)"
    r"-seed(?P<seed>\d+)"
)


def _runs(clone: Path, folder: str, pattern: re.Pattern[str]) -> Iterator[Run]:
    for file in files(clone, f"{folder}/*.json"):
        match = pattern.fullmatch(file.stem)
        if match is None:
            continue
        try:
            # The metric is an object with one entry, named like the metric of the task.
            curve = {
                int(row["epoch"]): float(next(iter(row["aggregated_metric"].values())))
                for row in read_json(file)
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise CloneError(f"{file} holds an epoch without its metric: {error}.") from error
        yield Run(match.groupdict(), curve)


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    for task in _TASKS:
        folder = f"experiments/nlp/logs/{task}"
        source = f"{folder}: BERT-base fine-tuned on {task}, step = an epoch"
        runs = list(_runs(clone, folder, _RUN))
        yield CurveSet(f"ano_bert_{task}", "maximize", "GLUE validation metric", source, runs)
    folder = "experiments/hyperparameters_tuning/logs/mrpc"
    source = f"{folder}: BERT-base fine-tuned on MRPC, step = an epoch"
    runs = list(_runs(clone, folder, _TUNED))
    yield CurveSet(_TUNING, "maximize", "validation (accuracy + F1)/2", source, runs)


FAMILY = Family(
    "bert_glue",
    "BERT fine-tuned on GLUE tasks with several optimizers; very short curves",
    {"Adrienkgz/ano-experiments": "d53839a7"},
    "MIT",
    (*(f"ano_bert_{task}" for task in _TASKS), _TUNING),
    convert,
)
