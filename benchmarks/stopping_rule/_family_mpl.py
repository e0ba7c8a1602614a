"""Language models pre-trained under many learning-rate schedules, of the multi-power law."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import files
from _curve_set import read_rows
from _curve_set import Run
import numpy as np


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_FIRST, _EVERY = 2304, 256
_TWO_STAGE_STEPS = 16000  # The names of the files of these schedules do not tell.


def _run(file: Path) -> Run:
    rows = read_rows(file, "step", "loss")
    steps = [int(row["step"]) for row in rows]
    grid = range(_FIRST, steps[-1] + 1, _EVERY)
    losses = np.interp(grid, steps, [float(row["loss"]) for row in rows])
    # constant_24000, cosine_72000, wsd_20000_24000 and wsdcon_9.
    words = file.stem.split("_")
    two_stage = words[0] == "wsdcon"
    config = {
        "size_million": re.sub(r"\D", "", file.parent.name),
        "schedule": file.stem if two_stage else words[0],
        "planned_steps": _TWO_STAGE_STEPS if two_stage else int(words[-1]),
    }
    return Run(config, dict(zip(grid, losses.tolist(), strict=True)))


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the set of a clone."""
    runs = [_run(file) for file in files(clone, "loss_curve_repo/csv_*/*.csv")]
    source = (
        "loss_curve_repo: model sizes x learning-rate schedules, each to its own end; runs of a "
        "size share their beginnings; linear between the reports, at multiples of 256 steps"
    )
    metric = "validation loss of LLM pre-training"
    yield CurveSet("mpl_llm", "minimize", metric, source, runs)


FAMILY = Family(
    "mpl",
    "language models pre-trained under 9 learning-rate schedules; unequal lengths",
    {"thu-yao-01-luo/MultiPowerLaw": "8da9f190"},
    "MIT",
    ("mpl_llm",),
    convert,
)
