from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor
from scipy.linalg import cho_solve
from scipy.linalg import LinAlgError
from scipy.linalg import solve_triangular


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred._arrays import Floats

    Block = npt.NDArray[np.float32]


_LENGTHS = (3.0, 1.0, 0.3)
_SHARES = (
    (0.5, 0.3, 0.2),
    (0.4, 0.6, 0.0),
    (0.7, 0.3, 0.0),
    (0.5, 0.0, 0.5),
    (0.3, 0.0, 0.7),
    (1.0, 0.0, 0.0),
)
_NOISES = (0.1, 0.02, 0.4)
# The whole grid would take seconds: its coordinates are tried in turn, twice.
_N_PASSES = 2
# The first of each is what does well with the first dozens of networks, in which the likelihood
# knows little. Anything else has to be so much more likely, in logarithms.
_PENALTY = 1.5


class _Kernel(NamedTuple):
    shares: int = 0
    lengths: tuple[int, ...] = ()
    noise: int = 0


class RewardModel:
    """A Gaussian process on rows that are described in several ways.

    The covariance of two rows is that of their networks times that of their other parameters; the
    one of networks is the weighted mean of one for each of three descriptions, so that networks
    may be alike in any of them. Each falls with the squared distance. Weights, lengths and noise
    are those of a small grid with the largest marginal likelihood.

    Args:
        blocks:
            Descriptions of ``n`` rows: three of the networks, then any number of others. Each of
            shape ``(n, d)``, with any ``d``, also 0.
        targets:
            What is learned; the kernel is chosen for the first column. Shape: ``(n, m)``.
        choosing:
            Rows to choose the kernel with.

    Attributes:
        noise:
            The variance of the first target that is luck.
    """

    def __init__(
        self, blocks: Sequence[Block], targets: Floats, choosing: npt.NDArray[np.intp]
    ) -> None:
        self._blocks = list(blocks)
        distances = [_squared_distances(block, block) for block in blocks]
        self._scales = [max(float(distance.mean()), 1e-12) for distance in distances]
        scaled = [d / scale for d, scale in zip(distances, self._scales, strict=True)]
        self._means = targets.mean(axis=0)
        centred = targets - self._means
        part = np.ix_(choosing, choosing)
        self._kernel = _choose([d[part] for d in scaled], centred[choosing, 0])
        covariances = self._covariances(scaled).astype(np.float64)
        covariances[np.diag_indices(len(targets))] += _NOISES[self._kernel.noise]
        self._factor = cho_factor(covariances, lower=True)
        self._weights: Floats = cho_solve(self._factor, centred)
        self._variances = (centred * self._weights).mean(axis=0)
        self.noise = _NOISES[self._kernel.noise] * max(float(self._variances[0]), 1e-12)

    def predict(self, blocks: Sequence[Block]) -> tuple[Floats, Floats]:
        """Foresee the targets of other rows.

        Args:
            blocks:
                Descriptions of ``k`` rows.

        Returns:
            Means and standard deviations, both of shape ``(k, m)``.
        """
        scaled = [
            _squared_distances(block, known) / scale
            for block, known, scale in zip(blocks, self._blocks, self._scales, strict=True)
        ]
        covariances = self._covariances(scaled).astype(np.float64)
        means = self._means + covariances @ self._weights
        explained = solve_triangular(self._factor[0], covariances.T, lower=True)
        variances = np.maximum(1.0 - np.einsum("ij,ij->j", explained, explained), 1e-9)
        return means, np.sqrt(variances[:, np.newaxis] * np.maximum(self._variances, 1e-12))

    def _covariances(self, scaled: Sequence[Block]) -> Block:
        similar = [
            np.exp(-distance / np.float32(_LENGTHS[length]))
            for distance, length in zip(scaled, self._kernel.lengths, strict=True)
        ]
        return _combine(similar, _SHARES[self._kernel.shares])


def _combine(covariances: Sequence[Block], shares: tuple[float, ...]) -> Block:
    combined = np.zeros_like(covariances[0])
    for covariance, share in zip(covariances, shares, strict=False):
        if share > 0.0:
            combined += np.float32(share) * covariance
    for other in covariances[len(shares) :]:
        combined *= other
    return combined


def _squared_distances(rows: Block, columns: Block) -> Block:
    squares = np.einsum("ij,ij->i", rows, rows)[:, np.newaxis]
    distances: Block = squares + np.einsum("ij,ij->i", columns, columns) - 2.0 * (rows @ columns.T)
    np.maximum(distances, np.float32(0.0), out=distances)
    return distances


def _choose(scaled: Sequence[Block], target: Floats) -> _Kernel:
    similar = [[np.exp(-d / np.float32(length)) for length in _LENGTHS] for d in scaled]
    known: dict[_Kernel, float] = {}

    def likelihood(kernel: _Kernel) -> float:
        if kernel not in known:
            parts = [of[length] for of, length in zip(similar, kernel.lengths, strict=True)]
            covariances = _combine(parts, _SHARES[kernel.shares]).astype(np.float64)
            covariances[np.diag_indices(len(target))] += _NOISES[kernel.noise]
            try:
                factor = cho_factor(covariances, lower=True)
            except LinAlgError:
                known[kernel] = -np.inf
                return -np.inf
            variance = max(float(target @ cho_solve(factor, target)) / len(target), 1e-12)
            log_determinant = float(np.log(np.diag(factor[0])).sum())
            changes = sum(i > 0 for i in (kernel.shares, kernel.noise, *kernel.lengths))
            known[kernel] = (
                -0.5 * len(target) * np.log(variance) - log_determinant - _PENALTY * changes
            )
        return known[kernel]

    best = _Kernel(lengths=(0,) * len(scaled))
    for _ in range(_N_PASSES):
        best = max((best._replace(noise=i) for i in range(len(_NOISES))), key=likelihood)
        best = max((best._replace(shares=i) for i in range(len(_SHARES))), key=likelihood)
        for block in range(len(scaled)):
            before, after = best.lengths[:block], best.lengths[block + 1 :]
            best = max(
                (best._replace(lengths=(*before, i, *after)) for i in range(len(_LENGTHS))),
                key=likelihood,
            )
    return best
