"""The logs of the AlgoPerf benchmark of training algorithms.

One folder a run, with its evaluations in a CSV file and, where it was tuned, its hyperparameters
in a JSON file. Runs stop when they reach a target, run out of time or crash.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

from _curve_set import CloneError
from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import read_json
from _curve_set import read_rows
from _curve_set import Run
import numpy as np


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Task(NamedTuple):
    direction: str
    metric: str
    what: str


_TASKS = {
    "criteo1tb": _Task("minimize", "loss", "DLRM click-through prediction"),
    "fastmri": _Task("maximize", "ssim", "U-Net MRI reconstruction"),
    "imagenet_resnet": _Task("maximize", "accuracy", "ResNet-50 on ImageNet"),
    "imagenet_vit": _Task("maximize", "accuracy", "ViT on ImageNet"),
    "librispeech_deepspeech": _Task("minimize", "wer", "DeepSpeech speech recognition"),
    "ogbg": _Task("maximize", "mean_average_precision", "graph network on ogbg-molpcba"),
    "wmt": _Task("maximize", "bleu", "Transformer translation WMT17 de-en"),
}
# Workload and framework; a workload is a task or a variant of it.
_WORKLOADS = (
    "criteo1tb_embed_init_pytorch",
    "criteo1tb_jax",
    "fastmri_jax",
    "fastmri_pytorch",
    "fastmri_tanh_jax",
    "imagenet_resnet_jax",
    "imagenet_resnet_large_bn_init_jax",
    "imagenet_resnet_large_bn_init_pytorch",
    "imagenet_resnet_pytorch",
    "imagenet_vit_pytorch",
    "librispeech_deepspeech_pytorch",
    "ogbg_jax",
    "ogbg_model_size_jax",
    "ogbg_model_size_pytorch",
    "ogbg_pytorch",
    "wmt_jax",
    "wmt_pytorch",
)
_LOGS = {
    "external": "algoperf_v05/logs/external_tuning",
    "self": "algoperf_v05/logs/self_tuning",
    "v06_external": "algoperf_v06/logs/external_tuning",
    "v06_self": "algoperf_v06/logs/self_tuning",
}
_N_STEPS = 40
_FEWEST_EVALUATIONS = 8


class _Log(NamedTuple):
    config: dict[str, object]
    steps: np.ndarray
    values: np.ndarray


def _logs(clone: Path, workload: str, column: str) -> Iterator[_Log]:
    for kind, folder in _LOGS.items():
        root = clone / "previous_leaderboards" / folder
        for file in sorted(root.glob(f"*/study_*/{workload}/trial_*/eval_measurements.csv")):
            reports = [
                (float(row["global_step"]), float(row[column]))
                for row in read_rows(file, "global_step", column)
                if row["global_step"] and row[column]
            ]
            steps, values = np.array([r for r in reports if not math.isnan(r[1])]).reshape(-1, 2).T
            if len(steps) < _FEWEST_EVALUATIONS:
                continue
            config: dict[str, object] = {
                "submission": f"{kind}_{file.parts[-5]}",
                "study": file.parts[-4].removeprefix("study_"),
            }
            tuned = file.parent / "hparams.json"
            if tuned.is_file():
                config |= {f"hp_{name}": value for name, value in read_json(tuned).items()}
            yield _Log(config, steps, values)


def _curve(log: _Log, width: float) -> dict[int, float]:
    """The mean of the evaluations in each step; without one, linear between its neighbours."""
    step_of = np.ceil(log.steps / width)
    curve = {}
    for step in range(1, _N_STEPS + 1):
        inside = log.values[step_of == step]
        between = np.interp(step * width, log.steps, log.values)
        curve[step] = float(inside.mean() if len(inside) else between)
    return curve


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    for workload in _WORKLOADS:
        name = max((task for task in _TASKS if workload.startswith(task)), key=len)
        task = _TASKS[name]
        logs = list(_logs(clone, workload, f"validation/{task.metric}"))
        if not logs:
            raise CloneError(f"{clone} has no logs of the workload {workload}.")
        ends = [float(log.steps.max()) for log in logs]
        # As many runs as long as possible.
        end = max(sorted(set(ends)), key=lambda e: e * sum(other >= e for other in ends))
        width = end / _N_STEPS
        runs = [Run(log.config, _curve(log, width)) for log in logs if log.steps.max() >= end]
        source = (
            f"AlgoPerf {task.what}, workload {workload}; step = 1/{_N_STEPS} of {end:.0f} "
            "optimizer steps (mean of the evaluations in it, or linear between); runs that "
            "stopped before (target reached, time out or crash) are left out"
        )
        facts = {"optimizer_steps_per_step": width}
        metric = f"validation {task.metric}"
        yield CurveSet(f"algoperf_{workload}", task.direction, metric, source, runs, facts)


FAMILY = Family(
    "algoperf",
    "training algorithms on ResNet, ViT, DLRM, U-Net, DeepSpeech, graphs, translation",
    {"mlcommons/submissions_algorithms": "12c8e4ea"},
    "Apache-2.0",
    tuple(f"algoperf_{workload}" for workload in _WORKLOADS),
    convert,
)
