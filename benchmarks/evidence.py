"""What the paper claims, measured again, beside other curve predictors.

    python benchmarks/evidence.py SECTION --curves DIR [DIR ...] [--sets NAME ...]

A section prints the tables of one claim: `accuracy`, `cost`, `stopping`, `features`, `sizes` or
`transfer`; `all` prints all of them. `SECTION --help` tells what is measured and how. A DIR has
one folder a set, such as `benchmarks/curves`; `optuna_perfpred.replay.load_curves` tells their
format. `--cache FILE` keeps results as they come, so that an interrupted run goes on.

Means are given with their standard errors. "The paper" is Baker et al. 2017, arXiv:1705.10823.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

import _evidence_accuracy
import _evidence_cost
import _evidence_features
import _evidence_sizes
import _evidence_stopping
import _evidence_transfer
import optuna


if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


SECTIONS: dict[str, ModuleType] = {
    "accuracy": _evidence_accuracy,
    "cost": _evidence_cost,
    "stopping": _evidence_stopping,
    "features": _evidence_features,
    "sizes": _evidence_sizes,
    "transfer": _evidence_transfer,
}
EVERYTHING = "all"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="section", required=True, metavar="SECTION")
    for name, section in SECTIONS.items():
        assert section.__doc__ is not None
        section.add_arguments(
            commands.add_parser(
                name,
                help=section.__doc__.splitlines()[0],
                description=section.__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    commands.add_parser(EVERYTHING, help="all sections, each with the arguments that it knows")
    args, rest = parser.parse_known_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen = {args.section: args}
    if args.section == EVERYTHING:
        parsed = {name: parser.parse_known_args([name, *rest]) for name in SECTIONS}
        chosen = {name: of_section for name, (of_section, _) in parsed.items()}
        rest = [text for text in rest if all(text in unknown for _, unknown in parsed.values())]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    for name, of_section in chosen.items():
        start = time.perf_counter()
        print(f"# {SECTIONS[name].__doc__}", flush=True)
        SECTIONS[name].run(of_section)
        print(f"{name}: {time.perf_counter() - start:.0f} s.\n", flush=True)


if __name__ == "__main__":
    main()
