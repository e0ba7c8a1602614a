from __future__ import annotations

from typing import TYPE_CHECKING

import torch


if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


# Share of the momentum that friction takes at each step, as in the authors' code.
_FRICTION = 0.05
# The least variance of the noise and the least square of a gradient, as in the authors' code.
_TINY = 1e-16


@torch.no_grad()
def sample_sghmc(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    n_burn_in: int,
    n_samples: int,
    keep_every: int,
    learning_rate: float,
    generator: torch.Generator,
) -> Tensor:
    """Sample a density by scale-adapted stochastic gradient Hamiltonian Monte Carlo.

    Springenberg, Klein, Falkner, Hutter, "Bayesian Optimization with Robust Bayesian Neural
    Networks" (NIPS 2016), section 4; the order of the updates is that of the authors' code
    (``pybnn``). During the burn-in the square of each gradient is averaged over a window that
    adapts itself (equations 8 and 9); its root is the mass of each coordinate. Afterwards the
    mass stays, so that the chain samples the density (equation 10). The noise that the gradients
    bring with them is estimated by their mean square and left out of the noise that is added.

    Args:
        gradient:
            Gives an unbiased estimate of the gradient of the negative logarithm of the density,
            which need not be normalized, at positions of shape ``(c, p)``, in that shape.
        start:
            Where ``c`` independent chains start. Shape: ``(c, p)``.
        n_burn_in:
            Number of steps before the first sample.
        n_samples:
            Number of samples to keep of each chain.
        keep_every:
            Number of steps from one sample to the next.
        learning_rate:
            Step size; its square multiplies the gradient.
        generator:
            Source of all randomness.

    Returns:
        Samples of shape ``(n_samples, c, p)``.
    """
    position = start.clone()
    momentum = torch.zeros_like(start)
    window = torch.ones_like(start)
    mean = torch.ones_like(start)
    mean_square = torch.ones_like(start)
    step_size = noise_scale = mean_square
    samples = start.new_empty((n_samples, *start.shape))

    for step in range(1, n_burn_in + n_samples * keep_every + 1):
        slope = gradient(position)
        if step <= n_burn_in:
            weight = 1.0 / (window + 1.0)
            window += 1.0 - window * mean * mean / (mean_square + _TINY)
            mean.lerp_(slope, weight)
            mean_square.lerp_(slope * slope, weight)
        if step <= max(n_burn_in, 1):
            step_size = learning_rate**2 / (mean_square.sqrt() + _TINY)
            variance = 2.0 * _FRICTION * step_size - learning_rate**4
            noise_scale = variance.clamp_(min=_TINY).sqrt_()
        noise = torch.empty_like(position).normal_(generator=generator)
        momentum.mul_(1.0 - _FRICTION).addcmul_(step_size, slope, value=-1.0)
        momentum.addcmul_(noise_scale, noise)
        position += momentum
        n_since = step - n_burn_in
        if n_since > 0 and n_since % keep_every == 0:
            samples[n_since // keep_every - 1] = position
    return samples
