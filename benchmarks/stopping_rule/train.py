"""Trains the stopping rule that comes with the package.

    python benchmarks/stopping_rule/train.py --curves DIR [DIR ...] --output FILE [--jobs 2]
        [--leave-out-families --rules RULES]

Each DIR holds folders of curves: those that `record_curves.py` and `convert_curves.py` write. A
first rule learns from histories of an ideal pruner, the second one from histories that the first
one has pruned: once pruning starts, the completed trials are the survivors, and the rule must
know how that looks. A third round brought nothing more. A small classifier beside it compares
trials that began together while none is complete.

The sets of a DIR are a family, or several if their names begin with different words: then each
word is one. With `--leave-out-families`, a rule is also trained without each family and written
to `RULES/SET.npz` for each of its sets, for `benchmarks/pruners.py --rules RULES`, and a table
tells what these rules are worth on the families that they do not know.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
import os
from pathlib import Path
import time
from typing import TYPE_CHECKING
import zlib


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy and scikit-learn are imported.

from _classifier import fit
from _classifier import fit_peers
from _classifier import predict
from _classifier import save
from _histories import Decisions
from _histories import simulate
from _peers import simulate_peers
from _table import table
from _variations import read_curves
from joblib import delayed
from joblib import Parallel
import numpy as np


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

    from _variations import Curves
    import numpy.typing as npt

    Simulate = Callable[[Curves, list[int]], Decisions]


N_IDEAL_HISTORIES = 4
N_PRUNED_HISTORIES = 6
N_PEER_DRAWS = 60
# So many sets tell what a family is like, and more take longer.
MOST_SETS = 60


def families_of(folders: Iterable[Path]) -> dict[Path, str]:
    """Find the sets in some folders, and the family of each."""
    families = {}
    for folder in folders:
        sets = [meta.parent for meta in sorted(folder.glob("*/meta.json"))]
        first_words = {path: path.name.split("_")[0] for path in sets}
        one = len(set(first_words.values())) == 1
        families |= {p: folder.absolute().name if one else w for p, w in first_words.items()}
    return families


def thinned(families: dict[Path, str]) -> dict[Path, str]:
    """Take some sets of a large family, evenly spaced."""
    kept = {}
    for family in dict.fromkeys(families.values()):
        sets = [path for path, of in families.items() if of == family]
        places = np.linspace(0, len(sets) - 1, min(len(sets), MOST_SETS)).round().astype(int)
        kept |= {sets[place]: family for place in places}
    return kept


def simulate_sets(sets: dict[str, Curves], simulate_one: Simulate, jobs: int) -> list[Decisions]:
    """Simulate each set. What is drawn depends on its name, not on the other sets."""
    return Parallel(n_jobs=jobs)(
        delayed(simulate_one)(curves, [zlib.crc32(name.encode())]) for name, curves in sets.items()
    )


def weighted(decisions: list[Decisions], families: list[str]) -> Decisions:
    """Put sets together. The weight of a family grows with the root of the number of its sets."""
    n_sets = Counter(families)
    return Decisions.concatenate(
        [
            Decisions(d.features, d.best, d.weight / np.sqrt(n_sets[family]))
            for d, family in zip(decisions, families, strict=True)
        ]
    )


def leave_out(
    decisions: Decisions,
    peers: Decisions,
    known: npt.NDArray[np.bool_],
    known_peers: npt.NDArray[np.bool_],
    outputs: list[Path],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit and write a rule without a family, and give the probabilities of its decisions."""
    rule = fit(decisions.part(known))
    peer_rule = fit_peers(peers.part(known_peers))
    for output in outputs:
        save(output, rule, peer_rule)
    return (
        predict(rule, decisions.features[~known]),
        predict(peer_rule, peers.features[~known_peers]),
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--leave-out-families", action="store_true")
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    if args.leave_out_families != (args.rules is not None):
        parser.error("--leave-out-families needs --rules, and the other way round")
    start = time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - start:6.0f} s: {what}", flush=True)

    all_families = families_of(args.curves)
    used = thinned(all_families)
    families = list(used.values())
    read = Parallel(n_jobs=args.jobs)(delayed(read_curves)(path) for path in used)
    sets = dict(zip([path.name for path in used], read, strict=True))
    say(f"{len(sets)} of {len(all_families)} sets, {sum(len(s.curves) for s in read)} curves")

    def simulate_all(
        probability: partial | None, n_histories: int
    ) -> tuple[Decisions, list[Decisions]]:
        def simulate_one(curves: Curves, seed: list[int]) -> Decisions:
            return simulate(curves, probability, n_histories, [*seed, probability is None])

        decisions = simulate_sets(sets, simulate_one, args.jobs)
        return weighted(decisions, families), decisions

    ideal, _ = simulate_all(None, N_IDEAL_HISTORIES)
    say(f"{len(ideal.best)} decisions of an ideal pruner")
    first = fit(ideal)
    say("the first rule")
    decisions, of_set = simulate_all(partial(predict, first), N_PRUNED_HISTORIES)
    say(f"{len(decisions.best)} decisions of the first rule")

    def draw_peers(curves: Curves, seed: list[int]) -> Decisions:
        return simulate_peers(curves, N_PEER_DRAWS, [*seed, 77])

    peers_of_set = simulate_sets(sets, draw_peers, args.jobs)
    peers = weighted(peers_of_set, families)
    say(f"{len(peers.best)} decisions while no trial is complete")
    save(args.output, fit(decisions), fit_peers(peers))
    say(f"{args.output}: {args.output.stat().st_size / 1e3:.0f} kB")
    if not args.leave_out_families:
        return

    args.rules.mkdir(parents=True, exist_ok=True)
    family = np.repeat(families, [len(d.best) for d in of_set])
    family_of_peers = np.repeat(families, [len(d.best) for d in peers_of_set])
    names = sorted(set(families))
    probabilities = Parallel(n_jobs=args.jobs)(
        delayed(leave_out)(
            decisions,
            peers,
            family != name,
            family_of_peers != name,
            [args.rules / f"{p.name}.npz" for p, of in all_families.items() if of == name],
        )
        for name in names
    )
    say(f"{len(names)} rules without a family")
    n_sets = Counter(all_families.values())
    print(table(decisions, family, [p for p, _ in probabilities], n_sets))


if __name__ == "__main__":
    main()
