"""Every table of `benchmarks/README.md`, printed again on the code as it is.

    python benchmarks/all.py --curves DIR --new-kinds DIR --rules RULES [--wild FOLDER] [--quick]
        [--only NAME ...] [--jobs 2]

`--curves` holds the sets of known kinds, `--new-kinds` those that the rules in `RULES` were
trained without, `--wild` files of Optuna's users (left out if it is not given). What is printed
begins with the date, the versions and the machine; each table with its command, in which the seeds
are, and ends with its time. With `--quick` each has fewer sets, seeds or trials: its figures are
for a look, under half an hour in all on two cores. In full it takes a night. A command that fails
is told, and the others run.
"""

from __future__ import annotations

import argparse
from datetime import datetime
import importlib.metadata
import os
from pathlib import Path
import platform
import subprocess
import sys
import time
from typing import NamedTuple


BENCHMARKS = Path(__file__).parent
SIX = (
    "alexnet_imagenet deep_resnets_tinyimagenet naap440 fashion_convnets kjv_language_models "
    "diamonds_perceptrons"
)
IN_LOOP = (
    "none median median_warmup halving hyperband ours ours_predicted ours_checkpoint ours_retrain"
)
PACKAGES = ("optuna", "numpy", "scipy", "scikit-learn", "torch")


class Table(NamedTuple):
    """A table: its name, its command and what is added to that for a quick look."""

    name: str
    command: str
    quick: str


TABLES = [
    Table(
        "in-loop",
        f"in_loop.py --curves {{curves}} --rules {{rules}} --seeds 12 --sets {SIX} "
        f"--pruners {IN_LOOP}",
        "--seeds 2 --sets naap440 diamonds_perceptrons",
    ),
    Table(
        "in-loop-gp",
        "in_loop.py --curves {curves} --rules {rules} --seeds 3 --sets alexnet_imagenet naap440 "
        "deep_resnets_tinyimagenet fashion_convnets --samplers gp "
        "--pruners none median_warmup hyperband ours ours_predicted",
        "--seeds 1 --sets naap440 --budgets 10",
    ),
    Table(
        "in-loop-workers",
        f"in_loop.py --curves {{curves}} --rules {{rules}} --seeds 6 --sets {SIX} --workers 8 "
        "--pruners none median_warmup hyperband ours ours_predicted",
        "--seeds 1 --sets naap440",
    ),
    Table(
        "in-loop-live",
        "in_loop_live.py --seeds 5 --pruners median_warmup hyperband ours ours_predicted "
        "--rules {rules}",
        "--seeds 1 --seconds 15",
    ),
    Table(
        "new-kinds",
        "pruners.py --curves {new_kinds} --rules {rules} --n-orders 2 --pruners median "
        "median_warmup hyperband ours",
        "--n-orders 1 --n-trials 50",
    ),
    Table(
        "max-risk",
        "max_risk.py --curves {new_kinds} --rules {rules}",
        "--n-orders 1 --workers 1 --samplers none --confidences 0.8 --sets lcdb_36_segment "
        "stepback_mnist_mlp finetune_llm_flan",
    ),
    Table("known-kinds", "pruners.py --curves {curves} --rules {rules}", "--n-orders 1"),
    Table("wild", "wild.py {wild}", "--n-orders 1"),
    Table(
        "second-chances",
        "second_chances.py --curves {new_kinds} --rules {rules} --n-orders 1",
        "--sets lcdb_36_segment stepback_mnist_mlp dopamine_boxing",
    ),
    Table("second-chances-wild", "second_chances.py --studies {wild}", "--n-orders 1"),
    Table(
        "cost",
        "cost.py --curves {curves} --rules {rules} --sets fashion_convnets diamonds_perceptrons "
        "kjv_language_models naap440 --prices machine recorded size --budgets 5 10 20 --every 3 "
        "--seeds 6",
        "--seeds 1 --sets naap440 --budgets 5",
    ),
    Table("multi-objective", "multi_objective.py --every 3 --seeds 6", "--seeds 1"),
    Table("second-chances-cost", "second_chances.py --cost", ""),
    Table(
        "stop-study",
        "stop_study.py --curves benchmarks/curves {curves} --rules {rules} --every 20",
        "--sets naap440 kjv_language_models --no-terminator",
    ),
    Table("cross-validation", "cross_validation.py", "--n-configs 15 --n-orders 2"),
    Table("evidence", "evidence.py all --curves {curves}", "--n-splits 1 --n-orders 1"),
    Table("live", "live.py --output {output}", "--n-seeds 1 --n-trials 20"),
    Table(
        "nas-tabular",
        "nas.py tabular --n-gp-seeds 3 --first-seed 20000",
        "--n-seeds 2 --n-gp-seeds 1 --n-trials 50",
    ),
    Table(
        "nas-surrogate",
        "nas.py surrogate --curves {curves}/metaqnn_cifar10 --rule {rules}/metaqnn_cifar10.npz "
        "--n-trials 500 --n-seeds 8 --first-seed 30000 --samplers TPE ArchitectureSampler",
        "--n-seeds 1 --n-trials 60",
    ),
    Table("nas-digits", "nas.py digits", "--n-seeds 1 --n-trials 20"),
    Table("import-time", "import_time.py", ""),
    Table("nas-cost", "nas_cost.py --n-finished 1000", "--n-finished 100"),
    Table("hyperband", "hyperband.py --curves {curves} --rules {rules}", "--n-orders 1"),
    Table(
        "earlier-studies",
        "warm_start.py --curves {curves} --rules {rules} --n-orders 6",
        "--n-orders 1",
    ),
    Table("overhead", "overhead.py", "--storages in-memory SQLite --n-trials 1"),
    Table("overhead-steps", "overhead_steps.py --processor", "--storages in-memory --most 20000"),
    Table("import-time", "import_time.py", ""),
    Table("scale-workers", "scale.py workers", "--workers 1 2 --n-trials 8"),
    Table(
        "scale-replay",
        "scale.py replay --curves {curves} --sets alexnet_imagenet deep_resnets_tinyimagenet "
        "--workers 1 4 16 64 256",
        "--n-orders 1 --n-trials 100",
    ),
]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--curves", "--new-kinds", "--rules"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--wild", type=Path)
    parser.add_argument("--output", type=Path, default=Path("live"), help="what trainings leave")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", choices=[table.name for table in TABLES])
    args = parser.parse_args()
    print(f"{datetime.now():%Y-%m-%d}, Python {platform.python_version()}", end="")
    for package in PACKAGES:
        print(f", {package} {importlib.metadata.version(package)}", end="")
    print(f", {os.cpu_count()} cores; {_commit()}", flush=True)
    failed = []
    for table in TABLES:
        if args.only is not None and table.name not in args.only:
            continue
        if "{wild}" in table.command and args.wild is None:
            continue
        command = table.command.format(**vars(args))
        if args.quick:
            command += f" {table.quick}"
        print(f"\n## {table.name}\n\n    python benchmarks/{command}\n", flush=True)
        start = time.perf_counter()
        script, *arguments = command.split()
        done = subprocess.run([sys.executable, str(BENCHMARKS / script), *arguments], check=False)
        if done.returncode != 0:
            failed.append(table.name)
            print(f"\nFailed with exit code {done.returncode}.")
        print(f"\n{time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


def _commit() -> str:
    git = ["git", "-C", str(BENCHMARKS), "log", "-1", "--format=commit %h"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
