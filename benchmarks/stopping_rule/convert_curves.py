"""Converts public learning curves into the sets that the stopping rule is trained on.

    git clone https://github.com/OWNER/NAME CLONE
    python benchmarks/stopping_rule/convert_curves.py FAMILY --clone CLONE --output DIR

`--list` prints the families, with repository, commit, licence and sets. DIR gets one folder a
set, in the format of `optuna_perfpred.replay.load_curves`; `train.py --curves DIR` reads them.
Nothing is downloaded, and no pickled file is opened.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from _converters import FAMILIES
from _curve_set import CloneError
from _curve_set import Family
from _curve_set import write_set


def convert(family: Family, clone: Path, output: Path) -> None:
    """Converts all sets of a family.

    Raises:
        CloneError: If the clone is not one of the family's repository.
    """
    if not clone.is_dir():
        raise CloneError(f"There is no folder {clone}.")
    for curve_set in family.convert(clone):
        write_set(curve_set, family, output)
        n_steps = len({step for run in curve_set.runs for step in run.curve})
        print(f"{curve_set.name}: {len(curve_set.runs)} curves, {n_steps} steps", flush=True)


def description(family: Family) -> str:
    """What `--list` prints of a family."""
    lines = [f"{family.name}: {family.what}"]
    lines += [
        f"  https://github.com/{name} at {commit}" for name, commit in family.repositories.items()
    ]
    lines += [f"  {family.licence}", f"  {len(family.sets)} sets: {' '.join(family.sets)}"]
    return "\n".join(lines)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", nargs="?", choices=list(FAMILIES))
    parser.add_argument("--clone", type=Path, help="folder of the clone, or of several clones")
    parser.add_argument("--output", type=Path, help="folder for the sets")
    parser.add_argument("--list", action="store_true", help="print the families")
    args = parser.parse_args()
    if args.list:
        print("\n\n".join(map(description, FAMILIES.values())))
        return
    if args.family is None or args.clone is None or args.output is None:
        parser.error("FAMILY, --clone and --output are required, or --list")
    try:
        convert(FAMILIES[args.family], args.clone, args.output)
    except CloneError as error:
        sys.exit(f"convert_curves.py: {error}")


if __name__ == "__main__":
    main()
