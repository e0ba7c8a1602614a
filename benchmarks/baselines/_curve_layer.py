from __future__ import annotations

from itertools import pairwise
import math
from typing import Any
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid


if TYPE_CHECKING:
    from torch import Tensor


# Of all tensors, whatever the process' defaults: on so small ones a GPU is slower.
CPU_FLOATS: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}

_N_HIDDEN = 50
# Parameters of the basis functions, their weights, the asymptote and the noise.
_N_OUTPUTS = 12
# The logarithm of the noise's variance lies between these, in RoBO's code, and starts as in pybnn.
_LOG_VARIANCES = (-10.0, 10.0)
_FIRST_LOG_VARIANCE = math.log(1e-3)


class CurveNetwork:
    """The network of LC-Net for ``s`` vectors of weights at once.

    Three layers of 50 tanh units read the configuration. What they give are the asymptote of its
    learning curve, the parameters of three basis functions of time, the functions' weights, and
    the variance of the noise. All basis functions vanish at the horizon, so that the asymptote is
    the final value. Weights are rows of one matrix, so that a sampler handles one tensor.

    Args:
        n_inputs:
            Number of the configuration's features; may be 0.
    """

    def __init__(self, n_inputs: int) -> None:
        widths = (n_inputs, _N_HIDDEN, _N_HIDDEN, _N_HIDDEN, _N_OUTPUTS)
        self._shapes = list(pairwise(widths))
        self._sizes = [
            size for rows, columns in self._shapes for size in (rows * columns, columns)
        ]

    def initial_weights(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw weights to start from, normal with variance 1 / (number of inputs of a unit).

        Args:
            n:
                Number of vectors.
            generator:
                Source of the randomness.

        Returns:
            Weights of shape ``(n, p)``.
        """
        parts = []
        for rows, columns in self._shapes:
            weights = torch.empty(n, rows * columns, **CPU_FLOATS).normal_(generator=generator)
            parts += [weights / math.sqrt(max(rows, 1)), torch.zeros(n, columns, **CPU_FLOATS)]
        low, high = _LOG_VARIANCES
        share = (_FIRST_LOG_VARIANCE - low) / (high - low)
        parts[-1][:, 7] = math.log(share / (1.0 - share))
        return torch.cat(parts, dim=1)

    def __call__(
        self, weights: Tensor, configurations: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give the mean and the logarithm of the variance of values of learning curves.

        Args:
            weights:
                Rows of weights. Shape: ``(s, p)``.
            configurations:
                The configurations of ``n`` values for each row of weights. Shape: ``(s, n, d)``.
            times:
                When the values were observed, as a share of the horizon, above 0. Shape:
                ``(s, n)``.

        Returns:
            Means and logarithms of variances, each of shape ``(s, n)``.
        """
        parts = torch.split(weights, self._sizes, dim=1)
        hidden = configurations
        for index, (rows, columns) in enumerate(self._shapes):
            if index > 0:
                hidden = torch.tanh(hidden)
            matrix = parts[2 * index].view(len(weights), rows, columns)
            hidden = torch.baddbmm(parts[2 * index + 1].unsqueeze(1), hidden, matrix)
        return _learning_curve(hidden, times)


def _learning_curve(outputs: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Read the last layer's outputs of shape ``(s, n, 12)`` as learning curves."""
    log_time = times.log()
    a1, b1, c1, a2, a3, b3, asymptote, noise = torch.sigmoid(outputs[..., :8]).unbind(-1)
    # Hill's function takes a power of c3 / t, which overflows unless c3 stays a logarithm.
    log_c3 = logsigmoid(outputs[..., 8])
    shares = torch.softmax(outputs[..., 9:], -1)

    vapour_pressure = torch.exp(-a1 - 0.1 * (b1 / times + c1 * log_time)) - torch.exp(
        -a1 - 0.1 * b1
    )
    logarithm = 0.5 * a2 * log_time
    hill_3 = a3 * (torch.sigmoid(b3 * (log_time - log_c3)) - torch.sigmoid(-b3 * log_c3))
    basis = torch.stack([vapour_pressure, logarithm, hill_3], dim=-1)

    low, high = _LOG_VARIANCES
    return asymptote + (shares * basis).sum(-1), low + (high - low) * noise
