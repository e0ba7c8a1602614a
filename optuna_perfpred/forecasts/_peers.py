from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    import numpy.typing as npt


MIN_PEERS = 4
"""Fewer trials than this at the same step tell too little of one another."""

# No feature says more beyond this.
_LARGEST_FEATURE = 50.0
_TINY = 1e-12
# The noise of a curve is that of this many of its last steps.
_NOISE_WINDOW = 8

PEER_FEATURE_NAMES = (
    "log_step",
    "log_peers",
    "rank",
    "rank_at_half",
    "rank_of_mean",
    "from_median",
    "from_best",
    "from_best_at_half",
    "rank_of_growth",
    "noise",
    "agreement",
    "log_spread_ratio",
)
"""The columns of :func:`peer_features`, in the order in which stored rules ask for them."""


def peer_features(
    curves: npt.NDArray[np.float64], rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Describe trials beside others that have come as far, where none is complete yet.

    Several workers begin together: before the first trial ends, nothing is known of how curves
    go on, nor how long they are, but much of how the trials compare.

    Args:
        curves:
            The curves of all trials that have come as far, up to that step, without gaps, larger
            is better. Shape: ``(m, t)``, ``m > 1``.
        rows:
            Which of them are described. Shape: ``(k,)``.

    Returns:
        The features, NaN where one is not known. Shape: ``(k, len(PEER_FEATURE_NAMES))``.
    """
    m, n_steps = curves.shape
    last = n_steps - 1
    now, half, mean = curves[:, last], curves[:, last // 2], curves.mean(axis=1)
    growth = now - half
    low, high = np.quantile(now, [0.2, 0.8])
    spread = max(float(high - low), _TINY)

    def rank(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        own = values[rows, np.newaxis]
        below = np.count_nonzero(values < own, axis=1)
        equal = np.count_nonzero(values == own, axis=1) - 1
        ranks: npt.NDArray[np.float64] = (below + 0.5 * equal) / (m - 1)
        return ranks

    noise, agreement, log_spread_ratio = np.full(len(rows), np.nan), np.nan, np.nan
    if last >= 2:
        window = curves[rows, max(0, last - _NOISE_WINDOW) :]
        noise = np.median(np.abs(np.diff(window, 2, axis=1)), axis=1)
    if last >= 1:
        travel = float(np.median(np.abs(now - curves[:, 0])))
        log_spread_ratio = np.log(spread / max(travel, _TINY))
        half_ranks, ranks = (np.argsort(np.argsort(values)) for values in (half, now))
        agreement = float(np.corrcoef(half_ranks, ranks)[0, 1])
    described = {
        "log_step": np.log(n_steps),
        "log_peers": np.log(m),
        "rank": rank(now),
        "rank_at_half": rank(half),
        "rank_of_mean": rank(mean),
        "from_median": np.arcsinh((now[rows] - np.median(now)) / spread),
        "from_best": np.arcsinh((now[rows] - now.max()) / spread),
        "from_best_at_half": np.arcsinh((half[rows] - half.max()) / spread),
        "rank_of_growth": rank(growth) if last >= 1 else np.nan,
        "noise": np.arcsinh(10.0 * noise / spread),
        "agreement": agreement,
        "log_spread_ratio": log_spread_ratio,
    }
    features = np.empty((len(rows), len(PEER_FEATURE_NAMES)))
    for column, name in enumerate(PEER_FEATURE_NAMES):
        features[:, column] = described[name]
    return np.clip(features, -_LARGEST_FEATURE, _LARGEST_FEATURE, out=features)
