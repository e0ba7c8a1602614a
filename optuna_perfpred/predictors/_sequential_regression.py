from __future__ import annotations

import threading
from typing import Any
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.predictors._base import check_training_arrays
from optuna_perfpred.predictors._base import CurvePredictor
from optuna_perfpred.predictors._base import fill_gaps
from optuna_perfpred.predictors._base import Forecast
from optuna_perfpred.predictors._base import observed_lengths
from optuna_perfpred.predictors._regressors import REGRESSORS
from optuna_perfpred.predictors._sequential_model import BlendedModel
from optuna_perfpred.predictors._sequential_model import SequentialModel


if TYPE_CHECKING:
    from typing_extensions import Self

    from optuna_perfpred._arrays import Floats


# Fewer curves than this say nothing of a regression's error.
_MIN_CURVES = 5
# Regressors of which the paper knows nothing.
_UNPUBLISHED = ("kernel_ridge", "stacked")


class SequentialRegression(CurvePredictor):
    """Sequential regression models: one regression for each observed length of a curve.

    The method of Baker et al., "Accelerating Neural Architecture Search using Performance
    Prediction", `arXiv:1705.10823 <https://arxiv.org/abs/1705.10823>`__, section 3. The model for
    a length is trained, when a curve of that length is first asked for, on all training curves
    that are at least as long. Its features are the curve so far and the configuration, which
    includes the architecture's attributes if they are given; its error is that of its
    leave-one-out residuals.

    By default it differs from the paper in what was measured to fail there (the benchmark
    ``evidence.py`` prints both):

    * the curve so far is summarized by eight numbers, so that a long curve neither outnumbers the
      trials nor drowns the configuration,
    * the regression predicts the gain from the last value to the final one: what a model cannot
      extrapolate, such as a perplexity beyond its training curves, the last value carries,
    * features and gains are standardized, and drawn in if they lie far outside the others',
    * a configuration outside the range of the training ones counts as the nearest inside, and a
      curve that has moved less than all of them gains less in proportion: a network deeper than
      any before, or one that does not learn at all,
    * least squares and ridge also take the squares of the configuration's features where that
      lowers their leave-one-out error, because a learning rate has its optimum inside its range,
    * kernels weight features by their importance in a random forest, as far as that helps,
    * the forecast is Student's t distribution: its 90 % interval is as wide as 90 % of the
      residuals ask for, its tails are as heavy as theirs, and it knows of few training curves.

    Example:

        .. testcode::

            import numpy as np
            from optuna_perfpred.predictors import SequentialRegression

            rng = np.random.default_rng(0)
            configurations = rng.uniform(size=(50, 1))
            curves = 1 - (1 - 0.5 * configurations) * 0.9 ** np.arange(1, 21)
            predictor = SequentialRegression("ridge")
            predictor.fit(configurations[:40], curves[:40], curves[:40, -1])

            partial = curves[40:].copy()
            partial[:, 5:] = np.nan
            forecast = predictor.predict(configurations[40:], partial)

    Args:
        regressor:
            ``"stacked"``, ``"ridge"``, ``"ols"``, ``"kernel_ridge"``, ``"nu_svr_linear"``,
            ``"nu_svr_rbf"`` or ``"random_forest"``. The default is the mean of ridge regression,
            kernel ridge regression and a random forest, weighted by their leave-one-out errors
            (Breiman 1996), once on the values as they are and once on compressed values, which
            tell ordinary trainings apart where others diverge: none of the others is as good on
            every recorded set. It is fitted to 100 curves in about a quarter of a second, ridge
            regression in a hundredth of that.
        published:
            If :obj:`True`, follow the paper to the letter: all values of the curve with their
            first and second differences as features, the final value itself as target, and a
            normal distribution. Features and target are standardized, of which the paper says
            nothing and without which its results are not reached. Needs a regressor other than
            ``"stacked"`` and ``"kernel_ridge"``.
        n_iter:
            Number of draws of the random search with three-fold cross-validation by which ν-SVR
            and random forest are tuned. If :obj:`None`, 100 for ν-SVR (the paper's 1000 give the
            same R²) and 8 for a random forest, which hardly depends on them.
        max_curves:
            Number of training curves at most, drawn at random from longer histories. The default
            keeps a refit of ν-SVR, whose cost grows with the square of it, within seconds.
        seed:
            Seed of the random search, the forest and the draw of training curves. Equal seeds and
            equal training curves give equal forecasts.

    Raises:
        ValueError:
            If ``regressor`` is unknown or not a published one where that is asked for, or
            ``n_iter`` or ``max_curves`` is too small.
    """

    def __init__(
        self,
        regressor: str = "stacked",
        *,
        published: bool = False,
        n_iter: int | None = None,
        max_curves: int = 1000,
        seed: int = 0,
    ) -> None:
        if regressor not in REGRESSORS:
            raise ValueError(f"`regressor` must be one of {sorted(REGRESSORS)}, got {regressor=}.")
        if published and regressor in _UNPUBLISHED:
            allowed = sorted(set(REGRESSORS) - set(_UNPUBLISHED))
            raise ValueError(
                f"`regressor` must be one of {allowed} if `published` is true, got {regressor=}."
            )
        if n_iter is not None and n_iter < 1:
            raise ValueError(f"`n_iter` must be at least 1 or None, but got {n_iter=}.")
        if max_curves < _MIN_CURVES:
            raise ValueError(f"`max_curves` must be at least {_MIN_CURVES}, got {max_curves=}.")
        self.regressor = regressor
        self.published = published
        self.n_iter = n_iter
        self.max_curves = max_curves
        self.seed = seed

    def fit(self, configurations: Floats, curves: Floats, finals: Floats) -> Self:
        """Take the training curves; the models are fitted when they are first needed.

        See :meth:`CurvePredictor.fit`.
        """
        check_training_arrays(configurations, curves, finals)
        lengths = observed_lengths(curves)
        usable = lengths > 0
        self._lengths = lengths[usable]
        self._configurations = configurations[usable]
        self._curves = fill_gaps(curves[usable])
        self._finals = finals[usable]
        self._models: dict[int, SequentialModel | BlendedModel | None] = {}
        self._locks = [threading.Lock() for _ in range(curves.shape[1] + 1)]
        return self

    def predict(self, configurations: Floats, curves: Floats) -> Forecast:
        """Forecast final values, fitting the models for the curves' lengths where needed.

        See :meth:`CurvePredictor.predict`. A forecast is NaN where nothing was observed or fewer
        than five training curves are long enough.
        """
        mean = np.full(len(curves), np.nan)
        std = np.full(len(curves), np.nan)
        df = np.ones(len(curves))
        lengths = observed_lengths(curves)
        for length in np.unique(lengths[lengths > 0]):
            model = self._model(int(length))
            if model is not None:
                rows = lengths == length
                partial = fill_gaps(curves[rows, :length])
                mean[rows], std[rows] = model.predict(configurations[rows], partial)
                df[rows] = model.df
        return Forecast(mean, std, df)

    def _model(self, length: int) -> SequentialModel | BlendedModel | None:
        # One lock for each length: whoever waits would otherwise fit the same model.
        with self._locks[length]:
            if length not in self._models:
                self._models[length] = self._fit_model(length)
            return self._models[length]

    def _fit_model(self, length: int) -> SequentialModel | BlendedModel | None:
        rows = np.flatnonzero(self._lengths >= length)
        if len(rows) < _MIN_CURVES:
            return None
        if len(rows) > self.max_curves:
            rng = np.random.default_rng([self.seed, length])
            rows = np.sort(rng.choice(rows, self.max_curves, replace=False))
        configurations, finals = self._configurations[rows], self._finals[rows]
        curves = self._curves[rows, :length]
        if self.regressor == "stacked":
            return BlendedModel.fit(configurations, curves, finals, seed=self.seed)
        return SequentialModel.fit(
            configurations,
            curves,
            finals,
            regressor=self.regressor,
            published=self.published,
            n_iter=self.n_iter,
            seed=self.seed,
        )

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state = dict(state)
        if "_locks" in state:
            state["_locks"] = len(state["_locks"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_locks" in state:
            state["_locks"] = [threading.Lock() for _ in range(state["_locks"])]
        super().__setstate__(state)
