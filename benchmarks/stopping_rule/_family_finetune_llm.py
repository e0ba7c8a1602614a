"""Language models fine-tuned on more and more examples: a step is a training of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import read_rows
from _curve_set import Run


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_TASKS = {"flan": "FLAN", "gigaword": "Gigaword", "wmt19": "WMT19"}
_PARAMS = {"model": "config name", "params": "size", "family": "family"}


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    for task, title in _TASKS.items():
        file = clone / "benchmark" / f"{task}.csv"
        rows = read_rows(file, *_PARAMS.values(), "0")
        headings = [name for name in rows[0] if name.isdigit()] if rows else []
        runs = [
            Run(
                {name: row[column] for name, column in _PARAMS.items()},
                {step: float(row[h]) for step, h in enumerate(headings, start=1) if row[h]},
            )
            for row in rows
        ]
        source = f"benchmark/{task}.csv: step k is a fine-tuning on anchors[k-1] examples"
        metric = f"test loss after fine-tuning on {title}"
        facts = {"anchors": [int(heading) for heading in headings]}
        yield CurveSet(f"finetune_llm_{task}", "minimize", metric, source, runs, facts)


FAMILY = Family(
    "finetune_llm",
    "language models fine-tuned, loss over the number of examples",
    {"linhaowei1/Fine-tuning-Scaling-Law": "52145680"},
    "Apache-2.0",
    tuple(f"finetune_llm_{task}" for task in _TASKS),
    convert,
)
