"""Learning curves of configurations that were never trained, from those that were."""

from __future__ import annotations

import hashlib

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict
from sklearn.model_selection import KFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR


class CurveModel:
    """A forecast of the whole curve plus the out-of-sample residual of a near recorded one.

    The same features and key give the same curve in every process.

    Args:
        features:
            Features of the recorded configurations. Shape: ``(n, d)``.
        curves:
            Their curves. Shape: ``(n, n_steps)``.
        n_neighbours:
            Number of nearest recorded configurations of which one gives its residual.
        decimals:
            To which curves are rounded, as the last bits of a forecast depend on the computer.
        limits:
            The least and the largest value that there can be. If :obj:`None`, forecasts are kept
            within the range, step by step, of those of cross-validation, and curves within that
            of the recorded ones: then no curve ends better than any that was recorded.

    Attributes:
        r2_by_step:
            R² of the forecast at each step in 5-fold cross-validation.
        n_clipped:
            Number of curves so far for which no residual kept the curve in the recorded range.
    """

    def __init__(
        self,
        features: np.ndarray,
        curves: np.ndarray,
        n_neighbours: int,
        *,
        decimals: int | None = None,
        limits: tuple[float, float] | None = None,
    ) -> None:
        self._n_neighbours = n_neighbours
        self._decimals = decimals
        self._range = limits or (curves.min(axis=0), curves.max(axis=0))
        self._regressor = _regressor(features.shape[1])
        folds = KFold(5, shuffle=True, random_state=0)
        forecasts = cross_val_predict(self._regressor, features, curves, cv=folds)
        self._forecast_range = limits or (forecasts.min(axis=0), forecasts.max(axis=0))
        self._residuals = curves - forecasts
        self.r2_by_step = r2_score(curves, forecasts, multioutput="raw_values")
        self._regressor.fit(features, curves)
        self._scaler = self._regressor.regressor_[0]
        self._scaled_features = self._scaler.transform(features)
        self.n_clipped = 0

    def curve(self, features: np.ndarray, key: str) -> np.ndarray:
        """Make the curve of a configuration.

        Args:
            features:
                Its features. Shape: ``(d,)``.
            key:
                What tells it from all others. Its hash picks the residual.

        Returns:
            The curve. Shape: ``(n_steps,)``.
        """
        (forecast,) = self._regressor.predict(features[np.newaxis])
        forecast = np.clip(forecast, *self._forecast_range)
        offsets = self._scaled_features - self._scaler.transform(features[np.newaxis])
        distances = np.linalg.norm(offsets, axis=1)
        nearest = np.argsort(distances, kind="stable")[: self._n_neighbours]
        # Not hash(), which differs between processes.
        digest = hashlib.sha256(key.encode()).digest()
        order = np.random.default_rng(list(digest)).permutation(nearest)
        candidates = forecast + self._residuals[order]
        if self._decimals is not None:
            candidates = candidates.round(self._decimals)
        low, high = self._range
        is_within = ((low <= candidates) & (candidates <= high)).all(axis=1)
        self.n_clipped += not is_within.any()
        return np.clip(candidates[is_within.argmax()], low, high)


def _regressor(n_features: int) -> TransformedTargetRegressor:
    smooth = SVR(C=3.0, gamma=1 / (3 * n_features))
    trees = GradientBoostingRegressor(
        n_estimators=250, learning_rate=0.06, max_depth=5, min_samples_leaf=5, random_state=0
    ).set_params(subsample=0.5, max_features=0.15)
    average = MultiOutputRegressor(VotingRegressor([("smooth", smooth), ("trees", trees)]))
    return TransformedTargetRegressor(
        make_pipeline(StandardScaler(), average),
        transformer=PCA(3, whiten=True),
        check_inverse=False,
    )
