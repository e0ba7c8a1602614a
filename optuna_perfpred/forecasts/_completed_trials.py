from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.forecasts._gain_regression import GainRegression


if TYPE_CHECKING:
    from optuna_perfpred._arrays import Floats
    from optuna_perfpred._arrays import Places

    # A curve, a configuration, and what the regression predicts of them.
    _Predicted = tuple[Floats, Floats, Floats]

# Fewer trials than this give no quantiles and no rank correlation,
_MIN_FOR_RANKS = 4
# and fewer than this no regression.
_MIN_FOR_REGRESSION = 5
# Keeps differences of equal values from being divided by zero.
_TINY = 1e-12


class CompletedTrials:
    """What the completed trials of a study tell of a running one, step by step.

    All values are oriented so that larger is better. Two scales make them comparable between
    studies: the spread of most final values, and the distance from the best one to the best
    quarter, which is the smaller one where few configurations are good.

    Args:
        curves:
            Learning curves without gaps. Shape: ``(n, n_steps)``.
        finals:
            Final values. Shape: ``(n,)``.
        configurations:
            Encoded configurations. Shape: ``(n, n_features)``.
        best_value:
            The value to beat. If :obj:`None`, the largest final one.
        lengths:
            At how many steps each trial had trained when it was complete; later values of its
            curve are its last one. Shape: ``(n,)``. If :obj:`None`, all of them.
        trained:
            How much a trial has trained at each step, in any unit. Shape: ``(n_steps,)``. If
            :obj:`None`, the number of steps.

    Attributes:
        best:
            The row of the best trial.
        best_value:
            The value to beat.
        curves:
            The curves as given. Shape: ``(n, n_steps)``.
        best_curve:
            The curve of the best trial. Shape: ``(n_steps,)``.
        final_ranks:
            The ranks of the final values, from 0 for the worst to 1. Shape: ``(n,)``.
        spread:
            The distance from the 20th to the 80th percentile of the final values.
        top_spread:
            The distance from the best quarter to the best final value.
        gains:
            What each curve still gains after each step. Shape: ``(n, n_steps)``.
        means:
            The mean of each curve up to each step. Shape: ``(n, n_steps)``.
        differs:
            Whether the curves have differed up to each step. Shape: ``(n_steps,)``.
        mean_length:
            How much a trial has trained at its end, on average.
        relative_length:
            The same as a share of the longest training.
        lead_of_best:
            The distance of the best final value from the second one.
        noise:
            The scale of the noise from step to step in the second halves of the curves.
        gain_max, gain_median, gain_90:
            The largest gain, the median and the 90th percentile. Shape: ``(n_steps,)``, as of all
            that follow.
        share_going_on:
            The share of the trials that trained on after each step.
        remaining:
            How much those trained on, on average.
        median_curve, spread_at:
            The median of the values at each step, and the distance from their 20th to their 80th
            percentile.
        top_min, top_mean, top_three_min:
            The least value of the best quarter of the trials, its mean, and the least value of
            the three best trials.
        highest_of_best:
            The best trial's best value so far.
        highest_of_top:
            The same of the trials of the best quarter, at most ten. Shape: ``(k, n_steps)``.
        growth_median:
            What curves gain after a step as a multiple of what they gained over the half before
            it: the median.
        growth_max:
            The same: the maximum.
        rank_correlation:
            Spearman's, of the values at a step with the final ones. NaN for few trials.
        top_rank_correlation:
            The same among the better half.
        best_rank:
            The rank of the best trial's value at each step, from 0 for the worst to 1.
        top_rank:
            The least rank of the three best trials.
        largest_climb:
            The largest rise in rank of any trial from a step to the end.
        regression:
            The regression of the final values on the transformed scale. :obj:`None` for few
            trials.
        residual_max:
            Its largest residual: how far a forecast was too low. Shape: ``(n_steps - 1,)``, as of
            all that follow.
        residual_top:
            Its mean residual among the best quarter.
        residual_top_max:
            Its largest residual among the best third.
        band:
            Its largest standardized residual of any trial at any step so far.
    """

    def __init__(
        self,
        curves: Floats,
        finals: Floats,
        configurations: Floats,
        *,
        best_value: float | None = None,
        lengths: Places | None = None,
        trained: Floats | None = None,
    ) -> None:
        n, n_steps = curves.shape
        descending = np.argsort(-finals, kind="stable")
        quarter = descending[: max(1, n // 4)]
        self._predicted: _Predicted | None = None
        self.curves = curves
        self.best = int(descending[0])
        self.best_value = float(finals[self.best]) if best_value is None else best_value
        self.best_curve = curves[self.best]
        self.final_ranks = _ranks(finals[:, np.newaxis])[:, 0] / max(n - 1, 1)
        self._set_lengths(lengths, trained)
        self.differs = np.maximum.accumulate(np.ptp(curves, axis=0) > 0.0)
        self.lead_of_best = float(finals[descending[0]] - finals[descending[min(1, n - 1)]])
        self._set_scales(finals, descending)

        self.gains = finals[:, np.newaxis] - curves
        self.gain_max = self.gains.max(axis=0)
        self.gain_median = np.median(self.gains, axis=0)
        self.gain_90 = np.quantile(self.gains, 0.9, axis=0)
        self.means = np.cumsum(curves, axis=1) / np.arange(1, n_steps + 1)
        self.median_curve = np.median(curves, axis=0)
        self.spread_at = np.quantile(curves, 0.8, axis=0) - np.quantile(curves, 0.2, axis=0)
        self.top_min = curves[quarter].min(axis=0)
        self.top_mean = curves[quarter].mean(axis=0)
        self.top_three_min = curves[descending[:3]].min(axis=0)
        self.highest_of_best = np.maximum.accumulate(self.best_curve)
        self.highest_of_top = np.maximum.accumulate(curves[quarter[:10]], axis=1)
        self._set_growth()
        self._set_ranks(finals, descending)
        self._set_configurations(configurations)
        self._set_regression(finals, configurations, descending)

    def transform(self, values: Floats) -> Floats:
        """Bring values on a scale on which the best one is 0, and the far ones are logarithmic."""
        transformed: Floats = np.arcsinh((values - self.best_value) / self.top_spread)
        return transformed

    def forecast(
        self, curves: Floats, configurations: Floats, at: Places
    ) -> tuple[Floats, Floats]:
        """Forecast the final values of trials.

        Args:
            curves:
                Their learning curves without gaps. Shape: ``(m, t)``.
            configurations:
                Their encoded configurations. Shape: ``(m, n_features)``.
            at:
                The column of each one's last value. Shape: ``(m,)``.

        Returns:
            The means of the forecasts and their standard errors, of shape ``(m,)``.
        """
        row = np.arange(len(curves))
        if self.regression is None:
            # Too few for a regression: it will gain what the others gained.
            gains = self.gains[:, at]
            std = gains.std(axis=0, ddof=1) if len(gains) > 1 else np.abs(gains[0])
            return curves[row, at] + np.median(gains, axis=0), std
        predicted = self.predict(curves, configurations)[row, at]
        mean = self.best_value + self.top_spread * np.sinh(predicted)
        std = self.top_spread * np.cosh(predicted) * self.regression.std[at]
        return mean, std

    def predict(self, curves: Floats, configurations: Floats) -> Floats:
        """Give the regression's predictions from each step, on the transformed scale.

        Args:
            curves:
                As of :meth:`forecast`. Asked again of the same array, it gives the same answer.
            configurations:
                As of :meth:`forecast`.

        Returns:
            The predictions. Shape: ``(m, t)``, ``t < n_steps``.
        """
        assert self.regression is not None
        # A decision asks twice: for the features and for the forecast.
        known = self._predicted
        if known is None or known[0] is not curves or known[1] is not configurations:
            of_curves = self.transform(curves[:, : self.curves.shape[1] - 1])
            predicted = self.regression.predict(of_curves, configurations)
            known = self._predicted = (curves, configurations, predicted)
        return known[2]

    def squared_distances(self, configurations: Floats) -> Floats:
        """Give squared distances from ``m`` configurations, in standard deviations: ``(m, n)``."""
        scores = (configurations - self._configuration_mean) / self._configuration_std
        difference = scores[:, np.newaxis] - self._configuration_scores
        squared: Floats = np.einsum("mnd,mnd->mn", difference, difference)
        return squared

    def _set_lengths(self, lengths: Places | None, trained: Floats | None) -> None:
        n, n_steps = self.curves.shape
        trained = np.arange(1.0, n_steps + 1.0) if trained is None else trained
        lengths = np.full(n, n_steps) if lengths is None else lengths
        self.trained = trained
        ends = trained[lengths - 1]
        going_on = lengths[:, np.newaxis] > np.arange(1, n_steps + 1)
        left = np.sum(np.where(going_on, ends[:, np.newaxis] - trained, 0.0), axis=0)
        n_going_on = np.count_nonzero(going_on, axis=0)
        self.mean_length = float(np.mean(ends))
        self.relative_length = self.mean_length / float(trained[-1])
        self.share_going_on = n_going_on / n
        self.remaining = np.maximum(left / np.maximum(n_going_on, 1), trained[0])

    def _set_scales(self, finals: Floats, descending: Places) -> None:
        n, n_steps = self.curves.shape
        travel = abs(self.best_value - float(np.median(self.curves[:, 0])))
        if n >= _MIN_FOR_RANKS:
            spread = float(np.quantile(finals, 0.8) - np.quantile(finals, 0.2))
        else:
            spread = 0.1 * travel
        self.spread = max(spread, 1e-3 * travel, _TINY)
        second_half = self.curves[:, n_steps // 2 :]
        noise = 0.0
        if second_half.shape[1] > 2:
            # The median of the absolute second difference of white noise is 1.65 times its scale.
            noise = float(np.median(np.abs(np.diff(second_half, 2, axis=1)))) / 1.65
        quarter = max(1, round(0.25 * n))
        top = self.best_value - float(finals[descending[min(quarter, n - 1)]])
        self.noise = noise
        self.top_spread = max(top, 0.3 * noise, 1e-3 * self.spread, _TINY)
        if n < _MIN_FOR_RANKS:
            self.top_spread = max(self.top_spread, 0.02 * travel)

    def _set_growth(self) -> None:
        step = np.arange(self.curves.shape[1])
        grown = self.curves - self.curves[:, step // 2]
        smallest = 1e-6 * self.spread
        growth = np.where(grown > smallest, self.gains / np.maximum(grown, smallest), np.nan)
        # NaN at steps at which no curve has grown.
        self.growth_median = np.full(len(step), np.nan)
        self.growth_max = np.full(len(step), np.nan)
        known = ~np.isnan(growth).all(axis=0)
        self.growth_median[known] = np.nanmedian(growth[:, known], axis=0)
        self.growth_max[known] = np.nanmax(growth[:, known], axis=0)

    def _set_ranks(self, finals: Floats, descending: Places) -> None:
        n, n_steps = self.curves.shape
        if n < _MIN_FOR_RANKS:
            unknown = np.full(n_steps, np.nan)
            self.rank_correlation = self.top_rank_correlation = unknown
            self.best_rank = self.top_rank = self.largest_climb = unknown
            return
        ranks = _ranks(self.curves)
        final_ranks = _ranks(finals[:, np.newaxis])
        self.rank_correlation = _correlation(ranks, final_ranks)
        better_half = descending[: max(3, (n + 1) // 2)]
        self.top_rank_correlation = _correlation(
            _ranks(self.curves[better_half]), _ranks(finals[better_half, np.newaxis])
        )
        self.best_rank = ranks[descending[0]] / (n - 1)
        self.top_rank = ranks[descending[:3]].min(axis=0) / (n - 1)
        self.largest_climb = (final_ranks - ranks).max(axis=0) / (n - 1)

    def _set_configurations(self, configurations: Floats) -> None:
        mean = configurations.mean(axis=0)
        std = configurations.std(axis=0)
        self._configuration_mean = mean
        # What never varies has no distance.
        self._configuration_std = np.where(std > 1e-12 * (1.0 + np.abs(mean)), std, np.inf)
        self._configuration_scores = (configurations - mean) / self._configuration_std

    def _set_regression(self, finals: Floats, configurations: Floats, descending: Places) -> None:
        n, n_steps = self.curves.shape
        self.regression = None
        if n < _MIN_FOR_REGRESSION or n_steps < 2:
            return
        self.regression = GainRegression(
            self.transform(self.curves), self.transform(finals), configurations
        )
        residuals = self.regression.residuals
        self.residual_max = residuals.max(axis=1)
        self.residual_top = residuals[:, descending[: max(1, n // 4)]].mean(axis=1)
        self.residual_top_max = residuals[:, descending[: max(2, n // 3)]].max(axis=1)
        standardized = residuals / self.regression.std[:, np.newaxis]
        self.band = np.maximum.accumulate(standardized, axis=0).max(axis=1)


def _ranks(values: Floats) -> Floats:
    """Rank each column from 0 to n - 1; the earlier of equals comes first."""
    order = np.argsort(values, axis=0, kind="stable")
    return np.argsort(order, axis=0, kind="stable").astype(np.float64)


def _correlation(ranks: Floats, final_ranks: Floats) -> Floats:
    center = (len(ranks) - 1) / 2
    covariance = np.sum((ranks - center) * (final_ranks - center), axis=0)
    correlation: Floats = covariance / np.sum((ranks - center) ** 2, axis=0)
    return correlation
