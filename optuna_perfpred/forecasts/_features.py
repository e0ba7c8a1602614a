from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from optuna_perfpred._arrays import Floats
    from optuna_perfpred._arrays import Places
    from optuna_perfpred.forecasts._completed_trials import CompletedTrials

    Features = dict[str, Floats]


# A trial is ranked among this many of the trials that finished last, pruned ones included.
N_RECENT = 60
# No feature says more beyond this.
_LARGEST_FEATURE = 50.0
# The noise of a curve is that of this many of its last steps.
_NOISE_WINDOW = 8
# Keeps spreads of nothing from being divided by.
_TINY = 1e-12

STUDY = "the study"
PARAMETERS = "its parameters"
DISTANCE = "its distance from the value to beat"
PLACE = "its place among their curves"
TREND = "the trend of its curve"
NOISE = "the noise of its curve"
REGRESSION = "how a regression continues its curve"
FEATURES = {
    "progress": STUDY,
    "log_n_steps": STUDY,
    "log_n_completed": STUDY,
    "log_n_finished": STUDY,
    "log_spread_ratio": STUDY,
    "from_best": DISTANCE,
    "highest_from_best": DISTANCE,
    "from_best_curve": PLACE,
    "from_best_in_top_spreads": DISTANCE,
    "from_best_curve_in_top_spreads": PLACE,
    "highest_from_best_curve": PLACE,
    "from_top_min": PLACE,
    "from_top_mean": PLACE,
    "from_top_three_min": PLACE,
    "from_median": PLACE,
    "spread_at_step": STUDY,
    "largest_gain_beyond_need": DISTANCE,
    "median_gain_beyond_need": DISTANCE,
    "high_gain_beyond_need": DISTANCE,
    "near_gain_beyond_need": DISTANCE,
    "share_gaining_enough": DISTANCE,
    "largest_gain": STUDY,
    "median_gain": STUDY,
    "rank": PLACE,
    "rank_at_half": PLACE,
    "rank_of_mean": PLACE,
    "rank_in_recent": PLACE,
    "from_best_recent": PLACE,
    "n_recent": STUDY,
    "trend_of_recent": STUDY,
    "rank_correlation": STUDY,
    "top_rank_correlation": STUDY,
    "rank_of_best": STUDY,
    "least_rank_of_top_three": STUDY,
    "largest_climb": STUDY,
    "slope_beyond_need": TREND,
    "log_growth_beyond_need": TREND,
    "median_growth_beyond_need": TREND,
    "largest_growth_beyond_need": TREND,
    "second_half_gain": TREND,
    "noise": NOISE,
    "since_highest": TREND,
    "behind_best": PLACE,
    "behind_slowest_of_top": PLACE,
    "rank_of_nearest": PARAMETERS,
    "distance_to_best": PARAMETERS,
    "forecast_score": REGRESSION,
    "forecast": REGRESSION,
    "log_forecast_std": STUDY,
    "unexplained": STUDY,
    "largest_residual": STUDY,
    "forecast_plus_largest_residual": REGRESSION,
    "forecast_plus_top_residual": REGRESSION,
    "forecast_plus_largest_top_residual": REGRESSION,
    "band": STUDY,
    "highest_forecast_score": REGRESSION,
    "mean_forecast_score": REGRESSION,
    "share_going_on": STUDY,
    "log_mean_length": STUDY,
    "noise_of_completed": STUDY,
    "lead_of_best": STUDY,
}
"""What each feature tells of a trial; of the study, all trials are alike at the same step."""

FEATURE_NAMES = tuple(FEATURES)
"""The columns of :func:`features`, in the order in which stored rules ask for them."""


class Observed(NamedTuple):
    """Trials as far as they are known, to be described together.

    Attributes:
        curves:
            Learning curves without gaps; what is after the end of a trial is not looked at.
            Shape: ``(m, t)``, ``t`` up to ``n_steps``.
        configurations:
            Encoded configurations. Shape: ``(m, n_features)``.
        row:
            Which trial each description is of. Shape: ``(k,)``.
        at:
            The column of its curve after which it is described. Shape: ``(k,)``.
    """

    curves: Floats
    configurations: Floats
    row: Places
    at: Places

    @classmethod
    def of_one(cls, curve: Floats, configuration: Floats, at: Places | None = None) -> Observed:
        """Observe one trial, of shape ``(t,)``, at its last step or at some of its steps."""
        at = np.array([len(curve) - 1]) if at is None else at
        row = np.zeros(len(at), dtype=np.intp)
        return cls(curve[np.newaxis], configuration[np.newaxis], row, at)

    @property
    def value(self) -> Floats:
        """The last value of each. Shape: ``(k,)``."""
        value: Floats = self.curves[self.row, self.at]
        return value


def features(
    completed: CompletedTrials, observed: Observed, recent: Floats, n_finished: int
) -> Floats:
    """Describe trials, after some of their steps, in terms that have no unit.

    What is learned from such features on some studies holds on others. Distances are counted in
    the spread of the final values of the study and drawn in by the inverse hyperbolic sine.

    Args:
        completed:
            The completed trials.
        observed:
            The trials to describe.
        recent:
            The curves of the trials that finished last, NaN after the end of each, at most
            :data:`N_RECENT`. Shape: ``(n_recent, n_steps)``.
        n_finished:
            The number of all trials that have finished.

    Returns:
        The features, NaN where one is not known. Shape: ``(k, len(FEATURE_NAMES))``.
    """
    highest = np.maximum.accumulate(observed.curves, axis=1)
    described = {
        **_study(completed, n_finished, observed.at),
        **_distances(completed, observed, highest),
        **_gains(completed, observed),
        **_ranks(completed, observed, recent),
        **_dynamics(completed, observed, highest),
        **_lags(completed, observed, highest),
        **_configuration(completed, observed),
        **_regression(completed, observed),
    }
    rows = np.full((len(observed.at), len(FEATURE_NAMES)), np.nan)
    for column, name in enumerate(FEATURE_NAMES):
        if name in described:
            rows[:, column] = described[name]
    return np.clip(rows, -_LARGEST_FEATURE, _LARGEST_FEATURE, out=rows)


def _study(completed: CompletedTrials, n_finished: int, at: Places) -> Features:
    """How far the trial and the study are, and what the study is like."""
    n, n_steps = completed.curves.shape
    return {
        "progress": (at + 1) / n_steps,
        "log_n_steps": np.log(n_steps),
        "log_n_completed": np.log(n),
        "log_n_finished": np.log(n_finished + 1),
        "log_spread_ratio": np.log(completed.spread / completed.top_spread),
        "share_going_on": completed.share_going_on[at],
        "log_mean_length": np.log(completed.relative_length),
        "noise_of_completed": np.arcsinh(10.0 * completed.noise / completed.spread),
        "lead_of_best": np.arcsinh(completed.lead_of_best / completed.spread),
    }


def _distances(completed: CompletedTrials, observed: Observed, highest: Floats) -> Features:
    """How far the trial is from the value to beat, and from other curves at the same step."""
    at, value = observed.at, observed.value
    highest = highest[observed.row, at]

    def in_spreads(distance: Floats) -> Floats:
        return np.arcsinh(distance / completed.spread)

    def in_top_spreads(distance: Floats) -> Floats:
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


def _gains(completed: CompletedTrials, observed: Observed) -> Features:
    """What completed trials still gained after this step, less what this one needs."""
    at, value = observed.at, observed.value
    needed = completed.best_value - value
    gains = completed.gains.T[at]
    n = gains.shape[1]
    n_near = max(1, math.ceil(0.3 * n))
    distance = np.abs(completed.curves.T[at] - value[:, np.newaxis])
    nearest = np.argpartition(distance, n_near - 1, axis=1)[:, :n_near]
    gain_near = np.take_along_axis(gains, nearest, axis=1).max(axis=1)
    n_enough = np.count_nonzero(gains >= needed[:, np.newaxis], axis=1)
    spread = completed.spread
    return {
        "largest_gain_beyond_need": np.arcsinh((completed.gain_max[at] - needed) / spread),
        "median_gain_beyond_need": np.arcsinh((completed.gain_median[at] - needed) / spread),
        "high_gain_beyond_need": np.arcsinh((completed.gain_90[at] - needed) / spread),
        "near_gain_beyond_need": np.arcsinh((gain_near - needed) / spread),
        "share_gaining_enough": n_enough / n,
        "largest_gain": np.arcsinh(completed.gain_max[at] / spread),
        "median_gain": np.arcsinh(completed.gain_median[at] / spread),
    }


def _ranks(completed: CompletedTrials, observed: Observed, recent: Floats) -> Features:
    """Ranks from 0 to 1, and what ranks at this step have meant for the end."""
    row, at = observed.row, observed.at
    value = observed.value[:, np.newaxis]
    n = len(completed.curves)
    same_step = completed.curves.T[at]
    n_below = np.count_nonzero(same_step < value, axis=1)
    n_up_to = np.count_nonzero(same_step <= value, axis=1)
    at_half = observed.curves[row, at // 2][:, np.newaxis]
    means = np.cumsum(observed.curves, axis=1)[row, at] / (at + 1)
    trend = np.nan
    if len(recent) >= 8:
        above = recent[:, 0] > _median(recent[:, 0])
        half = len(recent) // 2
        later, earlier = above[half:], above[:half]
        trend = np.count_nonzero(later) / len(later) - np.count_nonzero(earlier) / len(earlier)
    seen = recent.T[at]
    n_seen = np.count_nonzero(~np.isnan(seen), axis=1)
    beaten = np.count_nonzero(seen < value, axis=1) + 0.5 * np.count_nonzero(seen == value, axis=1)
    best_seen = np.where(np.isnan(seen), -np.inf, seen).max(axis=1, initial=-np.inf)
    known = n_seen > 0
    gap = np.where(known, value[:, 0] - np.where(known, best_seen, 0.0), np.nan)
    return {
        "rank": 0.5 * (n_below / n + n_up_to / n),
        "rank_at_half": np.count_nonzero(completed.curves.T[at // 2] < at_half, axis=1) / n,
        "rank_of_mean": np.count_nonzero(completed.means.T[at] < means[:, np.newaxis], axis=1) / n,
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


def _dynamics(completed: CompletedTrials, observed: Observed, highest: Floats) -> Features:
    """Where the trial's own recent course would lead."""
    row, at, curves, value = observed.row, observed.at, observed.curves, observed.value
    n_steps = completed.curves.shape[1]
    spread = completed.spread
    needed = completed.best_value - value
    begun = at > 0
    window = np.maximum(1, np.minimum(at, max(2, n_steps // 10)))
    slope = (value - curves[row, np.maximum(at - window, 0)]) / window
    second_half = value - curves[row, at // 2]
    grown = np.maximum(second_half, 0.0)

    def beyond_need(gain: Floats) -> Floats:
        return np.where(begun, np.arcsinh((gain - needed) / spread), np.nan)

    noise = np.full(len(at), np.nan)
    enough = at >= 2
    if enough.any():
        to = at[enough] - 1
        first = np.maximum(at[enough] - _NOISE_WINDOW, 1) - 1
        jumps = np.zeros((len(curves), curves.shape[1] - 1))
        np.cumsum(np.abs(np.diff(curves, 2, axis=1)), axis=1, out=jumps[:, 1:])
        of = row[enough]
        noise[enough] = (jumps[of, to] - jumps[of, first]) / np.maximum(to - first, 1)
    columns = np.arange(curves.shape[1])
    latest_high = np.maximum.accumulate(np.where(curves >= highest, columns, 0), axis=1)
    return {
        "slope_beyond_need": beyond_need(slope * (n_steps - 1 - at)),
        # The gain for each doubling of the steps goes on.
        "log_growth_beyond_need": beyond_need(second_half * np.log2(n_steps / (at + 1))),
        "median_growth_beyond_need": beyond_need(completed.growth_median[at] * grown),
        "largest_growth_beyond_need": beyond_need(completed.growth_max[at] * grown),
        "second_half_gain": np.where(begun, np.arcsinh(second_half / spread), np.nan),
        "noise": np.arcsinh(10.0 * noise / spread),
        "since_highest": (at - latest_high[row, at]) / n_steps,
    }


def _lags(completed: CompletedTrials, observed: Observed, highest: Floats) -> Features:
    """How long ago others had come as far: the best one, and the slowest of the best quarter."""
    n_steps = completed.curves.shape[1]
    own = highest[observed.row, observed.at]
    of_best = completed.highest_of_best.searchsorted(own)
    slowest = np.max([c.searchsorted(own) for c in completed.highest_of_top], axis=0)
    return {
        "behind_best": (observed.at - of_best) / n_steps,
        "behind_slowest_of_top": (observed.at - slowest) / n_steps,
    }


def _configuration(completed: CompletedTrials, observed: Observed) -> Features:
    """How the nearest configurations ended."""
    if len(completed.curves) < 3:
        return {}
    squared = completed.squared_distances(observed.configurations)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :3]
    n_features = max(observed.configurations.shape[1], 1)
    row = observed.row
    return {
        "rank_of_nearest": np.mean(completed.final_ranks[nearest], axis=1)[row],
        "distance_to_best": squared[row, completed.best] / n_features,
    }


def _regression(completed: CompletedTrials, observed: Observed) -> Features:
    """The regression's forecast, less the value to beat, which is 0 on the transformed scale."""
    regression = completed.regression
    if regression is None:
        return {}
    row, at = observed.row, observed.at
    predicted = completed.predict(observed.curves, observed.configurations)
    scores = predicted / regression.std[: predicted.shape[1]]
    std = regression.std[at]
    forecast = predicted[row, at]
    return {
        "forecast_score": scores[row, at],
        "forecast": forecast,
        "log_forecast_std": np.log(std + 1e-9),
        "unexplained": regression.unexplained[at],
        "largest_residual": completed.residual_max[at] / std,
        "forecast_plus_largest_residual": (forecast + completed.residual_max[at]) / std,
        "forecast_plus_top_residual": (forecast + completed.residual_top[at]) / std,
        "forecast_plus_largest_top_residual": (forecast + completed.residual_top_max[at]) / std,
        "band": completed.band[at],
        "highest_forecast_score": np.maximum.accumulate(scores, axis=1)[row, at],
        "mean_forecast_score": np.cumsum(scores, axis=1)[row, at] / (at + 1),
    }


def _median(values: Floats) -> float:
    """Give the median of a few values, faster than NumPy, whose time goes into generality."""
    ordered = np.sort(values)  # NaN comes last.
    middle = len(ordered) // 2
    if np.isnan(ordered[-1]):
        return math.nan
    if len(ordered) % 2 == 1:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / 2.0)


MIN_PEERS = 4
"""Fewer trials than this at the same step tell too little of one another."""

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


def peer_features(curves: Floats, rows: Places) -> Floats:
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

    def rank(values: Floats) -> Floats:
        own = values[rows, np.newaxis]
        below = np.count_nonzero(values < own, axis=1)
        equal = np.count_nonzero(values == own, axis=1) - 1
        ranks: Floats = (below + 0.5 * equal) / (m - 1)
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
