"""A recorded study as a folder of curves, in the format of optuna_perfpred.replay.load_curves."""

from __future__ import annotations

import dataclasses
import gzip
from importlib.metadata import version
import json
import platform
from typing import TYPE_CHECKING

from _recording_families import FAMILIES
from _recording_study import completed
from _recording_study import SECONDS
import pandas as pd


if TYPE_CHECKING:
    from pathlib import Path

    from _recording_family import Sizes
    from optuna import Study
    from optuna.trial import FrozenTrial


FEATURES = ("num_layers", "num_weights")  # User attributes that describe an architecture.
PACKAGES = ("optuna", "numpy", "scikit-learn", "torch")


def export(study: Study, sizes: Sizes, folder: Path) -> float:
    """Writes curves.csv.gz, configs.csv.gz, seconds.csv.gz and meta.json.

    Args:
        study: A recorded study.
        sizes: Its sizes. Configurations beyond their number are left out.
        folder: Where to write.

    Returns:
        The duration of all epochs, in seconds.
    """
    trials = {n: t for n, t in completed(study).items() if n < sizes.n_trials}
    family = FAMILIES[study.study_name]
    seconds = {number: _by_epoch(trial) for number, trial in trials.items()}
    tables = {
        "curves": {number: trial.intermediate_values for number, trial in trials.items()},
        "configs": {number: _configuration(trial) for number, trial in trials.items()},
        # Apart, for a column of the configurations would be a feature.
        "seconds": seconds,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("curve_id")
        # Without a time, the same recording gives the same file.
        packed = gzip.compress(table.to_csv(lineterminator="\n").encode(), mtime=0)
        (folder / f"{name}.csv.gz").write_bytes(packed)
    total = sum(sum(of_epochs.values()) for of_epochs in seconds.values())
    meta = {
        "direction": family.direction,
        "metric": family.metric,
        "source": family.source,
        **dataclasses.asdict(sizes),
        "training_seconds": round(total, 1),
        "versions": {package: version(package) for package in PACKAGES},
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    return total


def _by_epoch(trial: FrozenTrial) -> dict[int, float]:
    return dict(enumerate(trial.user_attrs[SECONDS], start=1))


def _configuration(trial: FrozenTrial) -> dict[str, object]:
    features = {name: trial.user_attrs[name] for name in FEATURES if name in trial.user_attrs}
    return {**features, **trial.params}
