from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from baselines._curve_layer import CPU_FLOATS
from baselines._curve_layer import CurveNetwork
from baselines._sghmc import sample_sghmc


if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor


# The prior of the noise's logarithmic variance is normal, with these, as in RoBO's code.
_NOISE_PRIOR_MEAN = math.log(1e-4)
_NOISE_PRIOR_VARIANCE = 0.01


def sample_weights(
    configurations: npt.NDArray[np.float64],
    times: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    *,
    n_chains: int,
    n_burn_in: int,
    n_samples: int,
    keep_every: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> npt.NDArray[np.float32]:
    """Sample the weights of a curve network given observed values.

    The prior of each weight is standard normal.

    Args:
        configurations:
            The configuration of each value. Shape: ``(n, d)``.
        times:
            When each value was observed, as a share of the horizon, above 0. Shape: ``(n,)``.
        values:
            The values, about 0 to 1. Shape: ``(n,)``.
        n_chains:
            Number of chains.
        n_burn_in:
            Steps of each chain before its first sample.
        n_samples:
            Number of samples of all chains together.
        keep_every:
            Steps from one sample of a chain to its next.
        learning_rate:
            Step size of the sampler.
        batch_size:
            Number of values that a gradient is estimated from.
        seed:
            Seed of the start, the mini-batches and the sampler's noise.

    Returns:
        Weights of shape ``(n_samples, p)``; fewer rows if chains diverged.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    network = CurveNetwork(configurations.shape[1])
    # One tensor: each mini-batch is taken by one operation.
    data = torch.tensor(np.column_stack([configurations, times, values]), **CPU_FLOATS)
    n = len(data)
    shape = (n_chains, min(batch_size, n))

    def gradient(weights: Tensor) -> Tensor:
        rows = torch.randint(n, shape, generator=generator, device="cpu")
        batch = data[rows]
        with torch.enable_grad():
            leaf = weights.detach().requires_grad_()
            mean, log_variance = network(leaf, batch[..., :-2], batch[..., -2])
            squares = (batch[..., -1] - mean).square() * torch.exp(-log_variance)
            noise_prior = (log_variance - _NOISE_PRIOR_MEAN).square().mean(1)
            energy = (0.5 * n) * (squares + log_variance).mean(1).sum()
            energy = energy + noise_prior.sum() / (2.0 * _NOISE_PRIOR_VARIANCE)
            (slope,) = torch.autograd.grad(energy, leaf)
        return slope + weights

    # A caller's inference mode must not reach the gradients.
    with torch.inference_mode(False):
        samples = sample_sghmc(
            gradient,
            network.initial_weights(n_chains, generator),
            n_burn_in=n_burn_in,
            n_samples=math.ceil(n_samples / n_chains),
            keep_every=keep_every,
            learning_rate=learning_rate,
            generator=generator,
        )
    weights = samples.flatten(0, 1)[:n_samples].numpy()
    finite: npt.NDArray[np.float32] = weights[np.isfinite(weights).all(axis=1)]
    return finite


def predict_finals(
    weights: npt.NDArray[np.float32], configurations: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the mean and the variance of the final values' predictive distribution.

    Args:
        weights:
            Samples of a network's weights. Shape: ``(s, p)``.
        configurations:
            Shape: ``(n, d)``.

    Returns:
        Means and variances, of the samples' means and of the noise together, each of shape
        ``(n,)``.
    """
    network = CurveNetwork(configurations.shape[1])
    x = torch.tensor(configurations, **CPU_FLOATS)
    with torch.no_grad():
        means, log_variances = network(
            torch.from_numpy(weights),
            x.expand(len(weights), *x.shape),
            torch.ones(len(weights), len(x), **CPU_FLOATS),
        )
        means = means.double()
        variance = means.var(0, correction=0) + log_variances.double().exp().mean(0)
        return means.mean(0).numpy(), variance.numpy()
