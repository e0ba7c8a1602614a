from __future__ import annotations

import math
from typing import Literal
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    import numpy.typing as npt

    from optuna_perfpred.pruners._stopping_rule._completed_trials import CompletedTrials

    Features = dict[str, npt.NDArray[np.float64]]


# A trial is ranked among this many of the trials that finished last, pruned ones included.
N_RECENT = 60
# No feature says more beyond this.
_LARGEST_FEATURE = 50.0
# The noise of a curve is that of this many of its last steps.
_NOISE_WINDOW = 8

FEATURE_NAMES = (
    "progress",
    "log_n_steps",
    "log_n_completed",
    "log_n_finished",
    "log_spread_ratio",
    "from_best",
    "highest_from_best",
    "from_best_curve",
    "from_best_in_top_spreads",
    "from_best_curve_in_top_spreads",
    "highest_from_best_curve",
    "from_top_min",
    "from_top_mean",
    "from_top_three_min",
    "from_median",
    "spread_at_step",
    "largest_gain_beyond_need",
    "median_gain_beyond_need",
    "high_gain_beyond_need",
    "near_gain_beyond_need",
    "share_gaining_enough",
    "largest_gain",
    "median_gain",
    "rank",
    "rank_at_half",
    "rank_of_mean",
    "rank_in_recent",
    "from_best_recent",
    "n_recent",
    "trend_of_recent",
    "rank_correlation",
    "top_rank_correlation",
    "rank_of_best",
    "least_rank_of_top_three",
    "largest_climb",
    "slope_beyond_need",
    "log_growth_beyond_need",
    "median_growth_beyond_need",
    "largest_growth_beyond_need",
    "second_half_gain",
    "noise",
    "since_highest",
    "behind_best",
    "behind_slowest_of_top",
    "rank_of_nearest",
    "distance_to_best",
    "forecast_score",
    "forecast",
    "log_forecast_std",
    "unexplained",
    "largest_residual",
    "forecast_plus_largest_residual",
    "forecast_plus_top_residual",
    "forecast_plus_largest_top_residual",
    "band",
    "highest_forecast_score",
    "mean_forecast_score",
)
"""The columns of :func:`features`, in the order in which stored rules ask for them."""


def features(
    completed: CompletedTrials,
    curve: npt.NDArray[np.float64],
    configuration: npt.NDArray[np.float64],
    recent: npt.NDArray[np.float64],
    n_finished: int,
    at: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Describe a running trial, after some of its steps, in terms that have no unit.

    What is learned from such features on some studies holds on others. Distances are counted in
    the spread of the final values of the study and drawn in by the inverse hyperbolic sine.

    Args:
        completed:
            The completed trials.
        curve:
            The trial's learning curve so far, without gaps. Shape: ``(t,)``, ``t < n_steps``.
        configuration:
            Its encoded configuration. Shape: ``(n_features,)``.
        recent:
            The curves of the trials that finished last, NaN after the end of a pruned one, at
            most :data:`N_RECENT`. Shape: ``(n_recent, n_steps)``.
        n_finished:
            The number of all trials that have finished.
        at:
            The columns of the curve after which it is described, ascending. Shape: ``(k,)``.

    Returns:
        The features, NaN where one is not known. Shape: ``(k, len(FEATURE_NAMES))``.
    """
    described = {
        **_progress(completed, n_finished, at),
        **_distances(completed, curve, at),
        **_gains(completed, curve, at),
        **_ranks(completed, curve, recent, at),
        **_dynamics(completed, curve, at),
        **_lags(completed, curve, at),
        **_configuration(completed, configuration),
        **_regression(completed, curve, configuration, at),
    }
    if len(at) == 1:  # Faster, and what a running trial is asked at each of its steps.
        row = [described[name].item() if name in described else np.nan for name in FEATURE_NAMES]
        rows = np.array([row], dtype=np.float64)
    else:
        rows = np.full((len(at), len(FEATURE_NAMES)), np.nan)
        for column, name in enumerate(FEATURE_NAMES):
            if name in described:
                rows[:, column] = described[name]
    return np.clip(rows, -_LARGEST_FEATURE, _LARGEST_FEATURE, out=rows)


def _progress(completed: CompletedTrials, n_finished: int, at: npt.NDArray[np.int64]) -> Features:
    n, n_steps = completed.curves.shape
    return {
        "progress": (at + 1) / n_steps,
        "log_n_steps": np.log(n_steps),
        "log_n_completed": np.log(n),
        "log_n_finished": np.log(n_finished + 1),
        "log_spread_ratio": np.log(completed.spread / completed.top_spread),
    }


def _distances(
    completed: CompletedTrials, curve: npt.NDArray[np.float64], at: npt.NDArray[np.int64]
) -> Features:
    """How far the trial is from the value to beat, and from other curves at the same step."""
    value = curve[at]
    highest = np.maximum.accumulate(curve)[at]

    def in_spreads(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.arcsinh(distance / completed.spread)

    def in_top_spreads(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.arcsinh(distance / completed.top_spread)

    return {
        "from_best": in_spreads(value - completed.best_value),
        "highest_from_best": in_spreads(highest - completed.best_value),
        "from_best_curve": in_spreads(value - completed.best_curve[at]),
        "from_best_in_top_spreads": in_top_spreads(value - completed.best_value),
        "from_best_curve_in_top_spreads": in_top_spreads(value - completed.best_curve[at]),
        "highest_from_best_curve": in_spreads(highest - completed.highest_of_best[at]),
        "from_top_min": in_spreads(value - completed.top_min[at]),
        "from_top_mean": in_spreads(value - completed.top_mean[at]),
        "from_top_three_min": in_spreads(value - completed.top_three_min[at]),
        "from_median": in_spreads(value - completed.median_curve[at]),
        "spread_at_step": in_spreads(completed.spread_at[at]),
    }


def _gains(
    completed: CompletedTrials, curve: npt.NDArray[np.float64], at: npt.NDArray[np.int64]
) -> Features:
    """What completed trials still gained after this step, less what this one needs."""
    value = curve[at]
    needed = completed.best_value - value
    gains = completed.gains[:, at]
    distance = np.abs(completed.curves[:, at] - value)
    n_near = max(1, int(np.ceil(0.3 * len(gains))))
    nearest = np.argpartition(distance, n_near - 1, axis=0)[:n_near]
    gain_near = np.take_along_axis(gains, nearest, axis=0).max(axis=0)
    n_short = _n_below(completed.sorted_gains, at, needed)
    spread = completed.spread
    return {
        "largest_gain_beyond_need": np.arcsinh((completed.gain_max[at] - needed) / spread),
        "median_gain_beyond_need": np.arcsinh((completed.gain_median[at] - needed) / spread),
        "high_gain_beyond_need": np.arcsinh((completed.gain_90[at] - needed) / spread),
        "near_gain_beyond_need": np.arcsinh((gain_near - needed) / spread),
        "share_gaining_enough": (len(gains) - n_short) / len(gains),
        "largest_gain": np.arcsinh(completed.gain_max[at] / spread),
        "median_gain": np.arcsinh(completed.gain_median[at] / spread),
    }


def _ranks(
    completed: CompletedTrials,
    curve: npt.NDArray[np.float64],
    recent: npt.NDArray[np.float64],
    at: npt.NDArray[np.int64],
) -> Features:
    """Ranks from 0 to 1, and what ranks at this step have meant for the end."""
    value = curve[at]
    n = len(completed.curves)
    n_below = _n_below(completed.sorted_curves, at, value)
    n_up_to = _n_below(completed.sorted_curves, at, value, or_equal=True)
    mean_so_far = (np.cumsum(curve) / np.arange(1, len(curve) + 1))[at]
    trend = np.nan
    if len(recent) >= 8:
        above = recent[:, 0] > _median(recent[:, 0])
        half = len(recent) // 2
        later, earlier = above[half:], above[:half]
        trend = np.count_nonzero(later) / len(later) - np.count_nonzero(earlier) / len(earlier)
    seen = recent[:, at]
    n_seen = np.sum(~np.isnan(seen), axis=0)
    beaten = np.sum(seen < value, axis=0) + 0.5 * np.sum(seen == value, axis=0)
    best_seen = np.where(np.isnan(seen), -np.inf, seen).max(axis=0, initial=-np.inf)
    known = n_seen > 0
    gap = np.where(known, value - np.where(known, best_seen, 0.0), np.nan)
    return {
        "rank": 0.5 * (n_below / n + n_up_to / n),
        "rank_at_half": _n_below(completed.sorted_curves, at // 2, curve[at // 2]) / n,
        "rank_of_mean": _n_below(completed.sorted_means, at, mean_so_far) / n,
        "rank_in_recent": np.where(known, beaten / np.maximum(n_seen, 1), np.nan),
        "from_best_recent": np.arcsinh(gap / completed.spread),
        "n_recent": n_seen.astype(np.float64),
        "trend_of_recent": np.asarray(trend),
        "rank_correlation": completed.rank_correlation[at],
        "top_rank_correlation": completed.top_rank_correlation[at],
        "rank_of_best": completed.best_rank[at],
        "least_rank_of_top_three": completed.top_rank[at],
        "largest_climb": completed.largest_climb[at],
    }


def _dynamics(
    completed: CompletedTrials, curve: npt.NDArray[np.float64], at: npt.NDArray[np.int64]
) -> Features:
    """Where the trial's own recent course would lead."""
    n_steps = completed.curves.shape[1]
    spread = completed.spread
    value = curve[at]
    needed = completed.best_value - value
    begun = at > 0
    window = np.maximum(1, np.minimum(at, max(2, n_steps // 10)))
    slope = (value - curve[np.maximum(at - window, 0)]) / window
    second_half = value - curve[at // 2]
    grown = np.maximum(second_half, 0.0)

    def beyond_need(gain: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(begun, np.arcsinh((gain - needed) / spread), np.nan)

    noise = np.full(len(at), np.nan)
    enough = at >= 2
    to = at[enough] - 1
    first = np.maximum(at[enough] - _NOISE_WINDOW, 1) - 1
    jumps = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(curve, 2)))])
    noise[enough] = (jumps[to] - jumps[first]) / np.maximum(to - first, 1)
    latest_high = np.maximum.accumulate(
        np.where(curve >= np.maximum.accumulate(curve), np.arange(len(curve)), 0)
    )
    return {
        "slope_beyond_need": beyond_need(slope * (n_steps - 1 - at)),
        # The gain for each doubling of the steps goes on.
        "log_growth_beyond_need": beyond_need(second_half * np.log2(n_steps / (at + 1))),
        "median_growth_beyond_need": beyond_need(completed.growth_median[at] * grown),
        "largest_growth_beyond_need": beyond_need(completed.growth_max[at] * grown),
        "second_half_gain": np.where(begun, np.arcsinh(second_half / spread), np.nan),
        "noise": np.arcsinh(10.0 * noise / spread),
        "since_highest": (at - latest_high[at]) / n_steps,
    }


def _lags(
    completed: CompletedTrials, curve: npt.NDArray[np.float64], at: npt.NDArray[np.int64]
) -> Features:
    """How long ago others had come as far: the best one, and the slowest of the best quarter."""
    n_steps = completed.curves.shape[1]
    highest = np.maximum.accumulate(curve)[at]
    slowest = np.max([np.searchsorted(c, highest) for c in completed.highest_of_top], axis=0)
    return {
        "behind_best": (at - np.searchsorted(completed.highest_of_best, highest)) / n_steps,
        "behind_slowest_of_top": (at - slowest) / n_steps,
    }


def _configuration(completed: CompletedTrials, configuration: npt.NDArray[np.float64]) -> Features:
    """How the nearest configurations ended."""
    if len(completed.curves) < 3:
        return {}
    squared = completed.squared_distances(configuration)
    nearest = np.argsort(squared, kind="stable")[:3]
    return {
        "rank_of_nearest": np.mean(completed.final_ranks[nearest]),
        "distance_to_best": squared[completed.best] / max(len(configuration), 1),
    }


def _regression(
    completed: CompletedTrials,
    curve: npt.NDArray[np.float64],
    configuration: npt.NDArray[np.float64],
    at: npt.NDArray[np.int64],
) -> Features:
    """The regression's forecast, less the value to beat, which is 0 on the transformed scale."""
    regression = completed.regression
    if regression is None:
        return {}
    t = at[-1] + 1
    predicted = completed.predict(curve if t == len(curve) else curve[:t], configuration)
    scores = predicted / regression.std[:t]
    std = regression.std[at]
    return {
        "forecast_score": scores[at],
        "forecast": predicted[at],
        "log_forecast_std": np.log(std + 1e-9),
        "unexplained": regression.unexplained[at],
        "largest_residual": completed.residual_max[at] / std,
        "forecast_plus_largest_residual": (predicted[at] + completed.residual_max[at]) / std,
        "forecast_plus_top_residual": (predicted[at] + completed.residual_top[at]) / std,
        "forecast_plus_largest_top_residual": (predicted[at] + completed.residual_top_max[at])
        / std,
        "band": completed.band[at],
        "highest_forecast_score": np.maximum.accumulate(scores)[at],
        "mean_forecast_score": (np.cumsum(scores) / np.arange(1, t + 1))[at],
    }


def _n_below(
    columns: npt.NDArray[np.float64],
    at: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
    *,
    or_equal: bool = False,
) -> npt.NDArray[np.intp]:
    """Count the values of sorted columns that are less than given ones. Shape: ``(k,)``."""
    side: Literal["left", "right"] = "right" if or_equal else "left"
    below = [columns[i].searchsorted(v, side) for i, v in zip(at, values, strict=True)]
    return np.array(below)


def _median(values: npt.NDArray[np.float64]) -> float:
    """Give the median of a few values, faster than NumPy, whose time goes into generality."""
    ordered = np.sort(values)  # NaN comes last.
    middle = len(ordered) // 2
    if np.isnan(ordered[-1]):
        return math.nan
    if len(ordered) % 2 == 1:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / 2.0)
