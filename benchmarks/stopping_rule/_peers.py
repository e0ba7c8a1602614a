"""Decisions on trials that began together while none is complete, to learn a rule from.

Several workers begin together. Until the first trial is complete, trials can be compared only
with others that have come as far. A number of configurations of a set is drawn and described at
a step, with the features of such a comparison. Whether each ends as the best of them is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _histories import Decisions
from _variations import recorded_or_varied
from _variations import vary_returned_value
import numpy as np

from optuna_perfpred.forecasts import peer_features


if TYPE_CHECKING:
    from collections.abc import Sequence

    from _variations import Curves


FEWEST_PEERS = 4
MOST_PEERS = 128
N_CANDIDATES = 12
SHARE_AS_RECORDED = 0.5


def simulate_peers(curves: Curves, n_draws: int, seed: Sequence[int]) -> Decisions:
    """Describe trials of one set beside others that began at the same time."""
    rng = np.random.default_rng(seed)
    decisions = []
    for _ in range(n_draws):
        study = recorded_or_varied(curves, rng, as_recorded=SHARE_AS_RECORDED, min_curves=8)
        study = vary_returned_value(study, rng, best=0.15, early_stopping=0.1)
        decisions.append(_draw(study, rng))
    return Decisions.of_set(decisions)


def _draw(curves: Curves, rng: np.random.Generator) -> Decisions:
    n = len(curves.finals)
    n_peers = round(np.exp(rng.uniform(np.log(FEWEST_PEERS), np.log(MOST_PEERS))))
    rows = rng.permutation(n)[: min(n, n_peers)]
    n_peers = len(rows)
    step = int(0.9 * curves.n_steps * rng.random() ** 2)
    finals = curves.finals[rows]
    best = finals == finals.max()
    # The best one is described in each draw, the others stand for more than themselves.
    others = rng.permutation(n_peers)[: min(N_CANDIDATES, n_peers)]
    described = np.array(list(dict.fromkeys([int(np.argmax(best)), *others.tolist()])))
    return Decisions(
        peer_features(curves.curves[rows, : step + 1], described).astype(np.float32),
        best[described],
        np.where(best[described], 1.0, (n_peers - 1) / max(1, len(others))),
    )
