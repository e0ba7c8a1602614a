"""Record the learning curves of real trainings, which the other benchmarks and tests replay.

    pip install ".[record]"
    python benchmarks/record_curves.py --output DIR [--families NAME ...] [--jobs 2]

Each family is an Optuna study in `DIR/NAME.journal`, whose trainings are shared by the processes:
convolutional networks on Fashion-MNIST (Debian package dataset-fashion-mnist), language models on
the King James Bible (bible-kjv) and perceptrons on prices of diamonds (in the package plotnine);
nothing is downloaded. A configuration depends only on its number, so that any number of processes
gives the same curves. Start the command again to go on with what a killed one has left.

A family that is complete is exported to `DIR/NAME`, in the format that
`optuna_perfpred.replay.load_curves` reads. `benchmarks/curves` was made so.

The sizes may be chosen, for instance to train larger networks on a GPU (not tried by the authors):

    python benchmarks/record_curves.py --output DIR --families fashion_convnets --device cuda \
        --n-train 10000 --n-valid 10000 --n-epochs 60
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
import time


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy and torch are imported.

from _recording_export import export
from _recording_families import FAMILIES
from _recording_study import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--families", nargs="*", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--jobs", type=int, default=2, help="number of processes")
    parser.add_argument("--n-trials", type=int, help="number of configurations")
    parser.add_argument("--n-epochs", type=int, help="length of the curves")
    parser.add_argument("--n-train", type=int, help="training examples of an epoch")
    parser.add_argument("--n-valid", type=int, help="validation examples")
    parser.add_argument("--device", help="of PyTorch: cpu or cuda")
    args = parser.parse_args()

    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.families:
        start = time.perf_counter()
        chosen = {
            field.name: getattr(args, field.name)
            for field in dataclasses.fields(FAMILIES[name].sizes)
            if getattr(args, field.name) is not None
        }
        sizes = dataclasses.replace(FAMILIES[name].sizes, **chosen)
        study = record(name, sizes, args.output / f"{name}.journal", args.jobs)
        seconds = export(study, sizes, args.output / name)
        wall = time.perf_counter() - start
        print(
            f"{name}: {sizes.n_trials} curves of {sizes.n_epochs} epochs, "
            f"{seconds:.0f} s of training, {wall:.0f} s now",
            flush=True,
        )


if __name__ == "__main__":
    main()
