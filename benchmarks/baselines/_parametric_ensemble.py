from __future__ import annotations

from typing import TYPE_CHECKING

from joblib import delayed
from joblib import Parallel
import numpy as np

from baselines._curve_posterior import CurvePosterior
from baselines._curve_posterior import N_DIMENSIONS
from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.predictors._base import check_training_arrays
from optuna_perfpred.predictors._base import CurvePredictor
from optuna_perfpred.predictors._base import Forecast


if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self


# One or two values leave a forecast to the prior.
_MIN_VALUES = 3
# Where the worst and the best known values lie on the scale of the families: like an accuracy's
# chance level and its good values, with room above.
_LOW, _HIGH = 0.1, 0.9
# Tukey's outer fence: values further from the quartiles than this many of their distances.
_FENCE = 3.0


class ParametricEnsemble(CurvePredictor):
    """Extrapolate each curve by a weighted sum of eleven parametric families.

    The method (LCE) of Domhan, Springenberg, Hutter, "Speeding up Automatic Hyperparameter
    Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI 2015. The
    value at step ``t`` is the sum of ``w_k φ_k(t)`` over the families ``φ_k`` and normal noise;
    the weights, the families' parameters and the noise are sampled from their posterior by
    ensemble MCMC. It learns nothing from configurations, and from completed curves only the
    horizon and the range of values. A curve costs seconds: it is here to be compared with.

    It needs emcee: ``pip install "optuna_perfpred[baselines]"``.

    As in the authors' code, weights are not negative and sum to 1, no family falls, the value at
    the horizon is bounded, and walkers start at the least-squares fits of the families, equally
    weighted. It departs from the code in this:

    * values are brought to the scale of accuracies by the range of the completed curves, so that
      it also forecasts losses; the value at the horizon may exceed the best known one by three
      quarters of that range, where the code allows 100 times an accuracy of 1,
    * parameters are bounded, and rates, exponents and the noise are sampled as logarithms: flat
      priors without bounds are not proper, and prefer the largest rates,
    * the logarithm of the noise has the normal prior of LC-PFN (Adriaensen et al. 2023) instead
      of a flat one, with which a few points are fitted exactly,
    * parameters are sampled without bounds, as logits, by differential evolution moves: the
      published stretch move was measured not to converge within the published number of steps,
    * it leaves out two options of the code: weights by recency, and cutting off the beginning of
      a curve that does not yet rise.

    Example:

        .. testcode::

            import numpy as np
            from baselines import ParametricEnsemble

            curves = 0.9 - 0.6 / np.outer(np.linspace(0.5, 1.5, 12), np.arange(1, 21))
            no_configurations = np.empty((12, 0))
            predictor = ParametricEnsemble(n_steps=200, n_burn_in=100)
            predictor.fit(no_configurations[:10], curves[:10], curves[:10, -1])

            partial = curves[10:].copy()
            partial[:, 10:] = np.nan
            forecast = predictor.predict(no_configurations[10:], partial)

    Args:
        n_walkers:
            Number of walkers of the ensemble. At least twice the number of parameters, 96.
        n_steps:
            Number of steps of each walker.
        n_burn_in:
            How many of them are discarded. The defaults are the paper's; 300 and 100 give nearly
            the same forecasts in a seventh of the time.
        n_jobs:
            Number of processes that forecast curves side by side, as in scikit-learn.
        seed:
            Seed of the walkers. Equal seeds and equal curves give equal forecasts, whichever
            other curves are forecast with them.

    Raises:
        ImportError:
            If emcee is not installed.
        ValueError:
            If an argument is too small, or ``n_burn_in`` is not less than ``n_steps``.
    """

    def __init__(
        self,
        *,
        n_walkers: int = 100,
        n_steps: int = 2500,
        n_burn_in: int = 500,
        n_jobs: int | None = None,
        seed: int = 0,
    ) -> None:
        _check_that_emcee_is_installed()
        check_at_least("n_walkers", n_walkers, 2 * N_DIMENSIONS)
        check_at_least("n_steps", n_steps, 1)
        check_at_least("n_burn_in", n_burn_in, 0)
        check_at_least("seed", seed, 0)
        if n_burn_in >= n_steps:
            raise ValueError(
                f"`n_burn_in` must be less than `n_steps`, but got {n_burn_in=} and {n_steps=}."
            )
        self.n_walkers = n_walkers
        self.n_steps = n_steps
        self.n_burn_in = n_burn_in
        self.n_jobs = n_jobs
        self.seed = seed

    def fit(
        self,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        finals: npt.NDArray[np.float64],
    ) -> Self:
        """Learn the horizon and the range of values. See :meth:`CurvePredictor.fit`."""
        check_training_arrays(configurations, curves, finals)
        values = np.concatenate([curves[np.isfinite(curves)], finals])
        self._horizon = curves.shape[1]
        self._range = _usual_range(values) if len(values) else (np.nan, np.nan)
        return self

    def predict(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> Forecast:
        """Forecast final values, one curve after another. See :meth:`CurvePredictor.predict`.

        Skipped steps are left out. A forecast is NaN where fewer than three values were observed:
        it would be the prior's. The mean and the standard error are those of the values at the
        horizon, noise included, over the posterior.
        """
        forecasts = Parallel(self.n_jobs)(delayed(self._forecast)(curve) for curve in curves)
        mean, std = np.array(forecasts, dtype=float).reshape(len(curves), 2).T
        return Forecast(mean, std)

    def _forecast(self, curve: npt.NDArray[np.float64]) -> tuple[float, float]:
        known = np.flatnonzero(np.isfinite(curve))
        if len(known) < _MIN_VALUES:
            return np.nan, np.nan
        values = curve[known]
        # A curve below all others is its own measure; its first steps may lie far below the rest.
        low = min(self._range[0], float(np.median(values)))
        high = max(self._range[1], float(values.max()))
        unit = (high - low) / (_HIGH - _LOW)
        if not np.isfinite(unit):
            return np.nan, np.nan
        if unit == 0.0:
            unit = abs(high) or 1.0
            low = high - unit * (_HIGH - _LOW)
        scaled = _LOW + (np.maximum(values, low) - low) / unit
        posterior = CurvePosterior(1.0 + known.astype(float), scaled, self._horizon)
        ends, sigmas = posterior.sample(self.n_walkers, self.n_steps, self.n_burn_in, self.seed)
        if len(ends) == 0:
            return np.nan, np.nan
        mean = low + unit * (ends.mean() - _LOW)
        return mean, unit * np.sqrt(ends.var() + np.mean(sigmas**2))


def _usual_range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    # Diverged runs would leave all others no difference on the scale.
    with np.errstate(over="ignore"):
        low, high = np.quantile(values, [0.25, 0.75])
        margin = _FENCE * (high - low)
        usual = values[(values >= low - margin) & (values <= high + margin)]
    return float(usual.min(initial=low)), float(usual.max(initial=high))


def _check_that_emcee_is_installed() -> None:
    try:
        import emcee  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Curves are sampled with emcee: `pip install "optuna_perfpred[baselines]"`.'
        ) from error
