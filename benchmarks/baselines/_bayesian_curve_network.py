from __future__ import annotations

import threading
from typing import Any
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.predictors._base import check_training_arrays
from optuna_perfpred.predictors._base import CurvePredictor
from optuna_perfpred.predictors._base import Forecast
from optuna_perfpred.predictors._sequential_model import extremes
from optuna_perfpred.predictors._sequential_model import Standardizer


if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self


# Of the network's values from 0 to 1, those below and above what was seen in training.
_HEADROOM = 0.1


class BayesianCurveNetwork(CurvePredictor):
    """Predict learning curves by LC-Net, a Bayesian neural network with a learning-curve layer.

    The method of Klein, Falkner, Springenberg, Hutter, "Learning Curve Prediction with Bayesian
    Neural Networks" (ICLR 2017). Three layers of 50 tanh units read the configuration and give
    the parameters of its learning curve: the asymptote, the weights of three basis functions of
    the time (vapour pressure, logarithm and Hill's function) and their parameters, and the
    variance of the noise. All values of all curves are the training data. The posterior of the
    network's weights is sampled by scale-adapted stochastic gradient Hamiltonian Monte Carlo
    (Springenberg et al., NIPS 2016), and the forecast is the mean and the standard deviation of
    the final value over the samples, noise included, as a normal distribution.

    As in the paper, curves that are still running are training data, too: :meth:`predict`
    samples a posterior given the completed curves and the observed part of all rows it is asked
    for, which takes seconds. That is meant for studies whose trainings take hours, and for
    comparisons. It knows a trial only by its configuration: unlike
    :class:`SequentialRegression` it hardly tells apart two trials with alike configurations.

    What the paper leaves open follows the authors' code: RoBO's ``lcnet`` for the basis functions
    vapour pressure and Hill's, which vanish at the horizon, and for the normal prior of the
    weights and of the logarithm of the noise's variance; pybnn's for the choice of the three
    functions, batches of 20 values, 3000 steps of burn-in and 100 samples. It differs in this:

    * 4 short chains run side by side instead of one of 13,000 steps. That costs less time, since
      such small networks are bound by the overhead of each operation, and chains that start
      apart differ more than samples of one chain.
    * The learning rate is 0.005 instead of 0.01. With 0.01, the noise of the gradients exceeds the
      sampler's own in some coordinates and widens the posterior: of curves drawn from the model,
      intervals that promise 90 % contained 96 % of the final values, and with 0.005 they
      contained 93 %. Larger batches help there as well, but forecast recorded curves worse.
    * Of pybnn's logarithm, ``a ln(b t) + c``, its value at the horizon is subtracted as from the
      other two functions, which leaves ``a ln(t)``. The asymptote is thus the final value.
    * The noise's variance starts at 0.001 as in pybnn, instead of at 1, and is part of the
      forecast as in Springenberg et al. (2016), which the authors' ``predict`` leaves out.
    * Values are scaled linearly so that those of the training curves lie between 0.1 and 0.9;
      the asymptote lies between 0 and 1. Outliers count as the nearest value that is none, by
      the rule of :class:`SequentialRegression`. Configurations are standardized, outliers drawn
      in by the same rule.

    The final values count as observed at the last column, in place of what was reported there; a
    final value that does not continue the curve, such as the best of a curve that falls, counts as
    noise. A row of which nothing was observed is forecast from its configuration alone.

    Args:
        n_burn_in:
            Number of steps that each chain takes before its first sample.
        n_samples:
            Number of samples of all chains together.
        keep_every:
            Number of steps from one sample of a chain to its next. The authors' code takes 100
            in its single chain; 50 in each of four are as many steps apart.
        n_chains:
            Number of chains. They are computed together: four take about 1.5 times as long as
            one of the same length.
        learning_rate:
            Step size of the sampler. With a fifth of it the chains have not arrived after the
            burn-in; with six times as much they jump too far to find the posterior.
        batch_size:
            Number of values, of all curves, from which a gradient is estimated.
        condition_on_partial:
            If :obj:`True`, :meth:`predict` samples a posterior that knows the observed parts of
            the rows it is asked for. If :obj:`False`, the posterior given the completed curves is
            sampled once, when it is first needed, and a forecast depends on the configuration
            alone.
        seed:
            Seed of the sampler. Equal seeds, training curves and rows asked for together give
            equal forecasts; neither PyTorch's nor NumPy's global random state is used.

    Raises:
        ImportError:
            If PyTorch is missing.
        ValueError:
            If a number is too small.
    """

    def __init__(
        self,
        *,
        n_burn_in: int = 3000,
        n_samples: int = 100,
        keep_every: int = 50,
        n_chains: int = 4,
        learning_rate: float = 5e-3,
        batch_size: int = 20,
        condition_on_partial: bool = True,
        seed: int = 0,
    ) -> None:
        check_at_least("n_burn_in", n_burn_in, 0)
        check_at_least("n_samples", n_samples, 1)
        check_at_least("keep_every", keep_every, 1)
        check_at_least("n_chains", n_chains, 1)
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        if not 0.0 < learning_rate < np.inf:
            raise ValueError(f"`learning_rate` must be positive, but got {learning_rate=}.")
        # What is missing shall be known before a study starts, not within its first objective.
        _require_torch()
        self.n_burn_in = n_burn_in
        self.n_samples = n_samples
        self.keep_every = keep_every
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.condition_on_partial = condition_on_partial
        self.seed = seed

    def fit(
        self,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        finals: npt.NDArray[np.float64],
    ) -> Self:
        """Take the training curves; the posterior is sampled when it is first needed.

        See :meth:`CurvePredictor.fit`.
        """
        check_training_arrays(configurations, curves, finals)
        self._lock = threading.Lock()
        self._weights: npt.NDArray[np.float32] | None = None
        self._n_training = len(finals)
        if len(finals) == 0:
            return self
        ended = np.column_stack([curves[:, :-1], finals])
        self._set_range(ended)
        self._standardizer = Standardizer(configurations, robust=True)
        self._training = self._observations(configurations, ended)
        return self

    def predict(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> Forecast:
        """Forecast final values, sampling a posterior if there is none for these rows.

        See :meth:`CurvePredictor.predict`. A forecast is NaN if there are no training curves, or
        all chains diverged.
        """
        from baselines._weight_posterior import predict_finals

        unknown = np.full(len(curves), np.nan)
        if self._n_training == 0 or len(curves) == 0:
            return Forecast(unknown, unknown)
        weights = self._posterior(configurations, curves)
        if len(weights) == 0:
            return Forecast(unknown, unknown)
        mean, variance = predict_finals(weights, self._standardizer.transform(configurations))
        return Forecast(self._low + self._width * mean, self._width * np.sqrt(variance))

    def _posterior(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        if self.condition_on_partial and np.isfinite(curves).any():
            partial = self._observations(configurations, curves)
            together = [np.concatenate(pair) for pair in zip(self._training, partial, strict=True)]
            return self._sample(*together)
        # Whoever waits would otherwise sample the same posterior.
        with self._lock:
            if self._weights is None:
                self._weights = self._sample(*self._training)
            return self._weights

    def _sample(
        self,
        configurations: npt.NDArray[np.float64],
        times: npt.NDArray[np.float64],
        values: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float32]:
        from baselines._weight_posterior import sample_weights

        return sample_weights(
            configurations,
            times,
            values,
            n_chains=self.n_chains,
            n_burn_in=self.n_burn_in,
            n_samples=self.n_samples,
            keep_every=self.keep_every,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def _observations(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Give the configuration, the time and the scaled value of each value observed."""
        rows, columns = np.nonzero(np.isfinite(curves))
        values = np.clip(curves[rows, columns], self._worst, self._best)
        return (
            self._standardizer.transform(configurations)[rows],
            (columns + 1.0) / curves.shape[1],
            (values - self._low) / self._width,
        )

    def _set_range(self, curves: npt.NDArray[np.float64]) -> None:
        values = curves[np.isfinite(curves)]
        drawn_in = np.clip(values, *extremes(values))
        self._worst, self._best = float(drawn_in.min()), float(drawn_in.max())
        span = self._best - self._worst
        if span == 0.0:
            # Any scale will do; a value's own size suits accuracies and losses alike.
            span = abs(self._best) or 1.0
        self._width = span / (1.0 - 2.0 * _HEADROOM)
        self._low = (self._best + self._worst - self._width) / 2.0

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_lock", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._lock = threading.Lock()


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Bayesian neural networks need PyTorch, which is not installed: "
            '`pip install "optuna_perfpred[baselines]"`.'
        ) from error
