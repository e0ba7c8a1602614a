"""Gemstones: language models of many widths and depths, pre-trained at two learning rates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from _curve_set import CloneError
from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import Run


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_FILES = {
    "standard": "wandb_df_for_fitting_hot_477.jsonl",
    "reduced": "wandb_df_for_fitting_lr_ablation_hot_477.jsonl",
}


def _curves(file: Path, rate: str) -> Iterator[tuple[dict[str, object], dict[int, float]]]:
    if not file.is_file():
        raise CloneError(f"There is no {file.name} in {file.parent}.")
    configs: dict[str, dict[str, object]] = {}
    curves: dict[str, dict[int, float]] = {}
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            configs[row["run_name"]] = {
                "width": row["width"],
                "depth": row["depth"],
                "params": row["params_active_precise"],
                "lr": rate,
            }
            curves.setdefault(row["run_name"], {})[int(row["step"])] = float(row["final_loss"])
    except (KeyError, ValueError) as error:
        raise CloneError(f"{file} holds a line that is not a report: {error}.") from error
    yield from ((configs[name], curves[name]) for name in configs)


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the set of a clone."""
    recorded = [
        pair for rate, name in _FILES.items() for pair in _curves(clone / "wandb_dfs" / name, rate)
    ]
    steps = sorted(set.intersection(*(set(curve) for _, curve in recorded)))
    runs = [
        Run(config, {k: curve[step] for k, step in enumerate(steps, start=1)})
        for config, curve in recorded
    ]
    source = (
        f"wandb_dfs/{_FILES['standard']} and {_FILES['reduced']}: step k = optimizer step "
        "steps[k-1], 4.2M tokens each; only steps that all runs have"
    )
    metric = "training loss (smoothed by the authors)"
    yield CurveSet("gemstone_llm", "minimize", metric, source, runs, {"steps": steps})


FAMILY = Family(
    "gemstone",
    "language models pre-trained, width x depth x learning rate",
    {"mcleish7/gemstone-scaling-laws": "5f420478"},
    "MIT",
    ("gemstone_llm",),
    convert,
)
