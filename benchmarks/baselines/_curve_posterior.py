from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit
from scipy.special import log_expit
from scipy.special import logit

from baselines._curve_families import FAMILIES
from baselines._curve_families import MAX_VALUE


if TYPE_CHECKING:
    import numpy.typing as npt

    from baselines._curve_families import CurveFamily

    Array = npt.NDArray[np.float64]


N_DIMENSIONS = sum(len(family.bounds) + 1 for family in FAMILIES) + 1
# The noise is at least that of an accuracy on ten thousand images. Its logarithm has the prior of
# LC-PFN (Adriaensen et al. 2023): a flat one lets a handful of points be fitted exactly.
_LN_SIGMA_BOUNDS = (float(np.log(1e-4)), float(np.log(0.5)))
_LN_SIGMA_MEAN, _LN_SIGMA_STD = -4.0, 1.0
# How far from the least-squares fits walkers start, on the logit scale: a few hundred steps leave
# an ensemble that starts closer too narrow, and one that starts further away too wide.
_SPREAD = 0.5
# A fit may lie on a bound, where its logit is infinite: this share of the way to the other one.
_EDGE = 0.02
_N_STARTS = 500
_N_LEAST_SQUARES_STEPS = 30
# Successive steps differ little; of long chains, a tenth of the steps are evaluated.
_THINNING = 10
_MIN_STEPS_LEFT = 100


class CurvePosterior:
    """The posterior of a weighted sum of curve families, given the first values of a curve.

    Parameters are sampled as logits of their place between their bounds, in which the flat prior
    between them is a smooth one: no proposal lies outside. In this order: those of each family,
    the weight of each family before their sum is brought to 1, the logarithm of the noise.

    Args:
        steps:
            The steps observed, counted from 1. Shape: ``(n,)``.
        values:
            What was observed, on the scale of accuracies. Shape: ``(n,)``.
        horizon:
            The step to forecast.
    """

    def __init__(self, steps: Array, values: Array, horizon: int) -> None:
        self._values = values
        self._steps = np.append(steps, float(horizon))
        self._log_steps = np.log(self._steps)
        n = len(FAMILIES)
        self._ends = np.cumsum([len(family.bounds) for family in FAMILIES])
        self._lower = np.concatenate(
            [*(family.lower for family in FAMILIES), np.zeros(n), _LN_SIGMA_BOUNDS[:1]]
        )
        upper = np.concatenate(
            [*(family.upper for family in FAMILIES), np.ones(n), _LN_SIGMA_BOUNDS[1:]]
        )
        self._span = upper - self._lower

    def log_probability(self, logits: Array) -> Array:
        """Give the logarithm of the posterior density, up to a constant.

        Args:
            logits:
                One row a walker. Shape: ``(m, d)``.

        Returns:
            Shape: ``(m,)``; minus infinity where the prior is zero.
        """
        parameters = self._lower + self._span * expit(logits)
        curve = self._curve(parameters, self._steps, self._log_steps)
        end, ln_sigma = curve[:, -1], parameters[:, -1]
        squares = ((curve[:, :-1] - self._values) ** 2).sum(axis=1)
        log_prior = (
            (log_expit(logits) + log_expit(-logits)).sum(axis=1)
            - 0.5 * ((ln_sigma - _LN_SIGMA_MEAN) / _LN_SIGMA_STD) ** 2
        )  # fmt: skip
        density = (
            log_prior - 0.5 * squares * np.exp(-2.0 * ln_sigma) - len(self._values) * ln_sigma
        )
        allowed = (end >= 0.0) & (end <= MAX_VALUE) & np.isfinite(density)
        return np.where(allowed, density, -np.inf)

    def start(self) -> Array:
        """Give the families' least-squares fits, equally weighted, as logits. Shape: ``(d,)``."""
        fits = [_fit(family, self._steps[:-1], self._values) for family in FAMILIES]
        parameters = np.concatenate([*fits, np.full(len(FAMILIES), 0.5), [0.0]])
        curve = self._curve(parameters[np.newaxis], self._steps, self._log_steps)[0, :-1]
        ln_sigma = np.log(np.sqrt(np.mean((curve - self._values) ** 2)) + 1e-12)
        # Few points are fitted too well: the noise is not less than it usually is.
        parameters[-1] = max(float(ln_sigma), _LN_SIGMA_MEAN)
        place = (parameters - self._lower) / self._span
        return np.asarray(logit(np.clip(place, _EDGE, 1.0 - _EDGE)))

    def sample(
        self, n_walkers: int, n_steps: int, n_burn_in: int, seed: int
    ) -> tuple[Array, Array]:
        """Draw from the posterior by ensemble MCMC.

        Args:
            n_walkers:
                The number of walkers.
            n_steps:
                The number of steps of each walker.
            n_burn_in:
                How many of them are discarded.
            seed:
                The seed.

        Returns:
            The values at the horizon and the standard deviations of the noise, each of shape
            ``(m,)``. Empty if no walker found a curve that the prior allows.
        """
        import emcee

        # emcee has its own legacy generator and takes the state of one.
        random = np.random.RandomState(seed)
        walkers = self.start() + _SPREAD * random.standard_normal((n_walkers, N_DIMENSIONS))
        sampler = emcee.EnsembleSampler(
            n_walkers,
            N_DIMENSIONS,
            self.log_probability,
            vectorize=True,
            moves=[(emcee.moves.DEMove(), 0.9), (emcee.moves.DEMove(gamma0=1.0), 0.1)],
        )
        sampler.random_state = random.get_state()
        with np.errstate(all="ignore"):
            sampler.run_mcmc(walkers, n_steps, skip_initial_state_check=True)
            thinning = min(_THINNING, (n_steps - n_burn_in) // _MIN_STEPS_LEFT + 1)
            kept: dict[str, Any] = {"discard": n_burn_in, "thin": thinning, "flat": True}
            allowed = np.isfinite(sampler.get_log_prob(**kept))
            logits = sampler.get_chain(**kept)[allowed]
            parameters = self._lower + self._span * expit(logits)
            ends = self._curve(parameters, self._steps[-1:], self._log_steps[-1:])[:, 0]
        return ends, np.exp(parameters[:, -1])

    def _curve(self, parameters: Array, steps: Array, log_steps: Array) -> Array:
        columns = parameters.T[:, :, np.newaxis]
        weights = columns[self._ends[-1] : -1]
        weights = weights / weights.sum(axis=0)
        curve = np.zeros((len(parameters), len(steps)))
        first = 0
        for family, weight, end in zip(FAMILIES, weights, self._ends, strict=True):
            curve += weight * family.formula(steps, log_steps, *columns[first:end])
            first = end
        return curve


def _fit(family: CurveFamily, steps: Array, values: Array) -> Array:
    # The best of many points between the bounds is in the valley of the optimum, or of one.
    lower, upper = family.lower, family.upper
    log_steps = np.log(steps)
    starts = np.random.default_rng(0).uniform(lower, upper, (_N_STARTS, len(lower)))

    def residuals(parameters: Array) -> Array:
        curve = family.formula(steps, log_steps, *parameters)
        return np.nan_to_num(curve - values, nan=1e3, posinf=1e3, neginf=-1e3)

    with np.errstate(all="ignore"):
        curves = family.formula(steps, log_steps, *starts.T[:, :, np.newaxis])
        best = starts[np.nanargmin(((curves - values) ** 2).sum(axis=1))]
        fit = least_squares(
            residuals,
            best,
            bounds=(lower, upper),
            x_scale=upper - lower,
            max_nfev=_N_LEAST_SQUARES_STEPS,
        )
    return np.asarray(fit.x)
