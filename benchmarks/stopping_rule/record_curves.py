"""Records the learning curves of many small trainings, one folder a study.

    pip install ".[record]"
    python benchmarks/stopping_rule/record_curves.py --output DIR [--sets NAME ...] [--jobs 2]

Needs the Debian packages dataset-fashion-mnist and bible-kjv; nothing is downloaded. A set that
is already in DIR is kept. `--summary` prints a table of the sets of DIR instead of recording.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import time


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy and torch are imported.

from _registry import STUDIES
from _study import summary
from _study import timed
from _study import write
from joblib import delayed
from joblib import Parallel
import pandas as pd


def _timed(name: str, index: int) -> tuple[dict, list[float], float]:
    return timed(STUDIES[name], index)


def record(name: str, output: Path, n_curves: int | None, jobs: int) -> None:
    """Trains all the configurations of a study and writes the set."""
    study = STUDIES[name]
    start = time.perf_counter()
    tasks = (delayed(_timed)(name, i) for i in range(n_curves or study.n_curves))
    runs = Parallel(n_jobs=jobs, batch_size=4 if jobs > 1 else 1)(tasks)
    write(study, [(config, curve) for config, curve, _ in runs], output / name)
    slowest = max(seconds for *_, seconds in runs)
    wall = time.perf_counter() - start
    row = summary(output / name)
    print(f"{wall:6.1f} s, slowest {slowest:.1f} s: {row}", flush=True)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--n-curves", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    if not args.summary:
        for name in args.sets:
            if not (args.output / name / "meta.json").exists():
                record(name, args.output, args.n_curves, args.jobs)
        return
    rows = [summary(p.parent) for p in sorted(args.output.glob("*/meta.json"))]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
