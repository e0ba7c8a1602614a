from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from scipy import special


if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    import numpy.typing as npt


@dataclass(frozen=True)
class BoostedTrees:
    """A gradient-boosted classifier as plain arrays.

    The arrays are those of :class:`sklearn.ensemble.HistGradientBoostingClassifier`, which cannot
    be stored but by pickle and takes over a millisecond for a single row. A leaf is its own
    child.

    Attributes:
        feature:
            The index of the feature that a node asks. Shape: ``(n_trees, n_nodes)``, as all.
        threshold:
            A feature at most this large goes left.
        left:
            The left child.
        right:
            The right child.
        missing_left:
            Whether NaN goes left.
        value:
            The value of a leaf.
        depth:
            The depth of the deepest tree. Shape: ``()``.
        baseline:
            The value to which those of the leaves are added. Shape: ``()``.
        feature_names:
            The names of the features. Shape: ``(n_features,)``.
    """

    feature: npt.NDArray[np.uint8]
    threshold: npt.NDArray[np.float32]
    left: npt.NDArray[np.uint8]
    right: npt.NDArray[np.uint8]
    missing_left: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float32]
    depth: npt.NDArray[np.int64]
    baseline: npt.NDArray[np.float64]
    feature_names: npt.NDArray[np.str_]

    @classmethod
    def load(cls, file: Path | IO[bytes]) -> BoostedTrees:
        """Read what :meth:`save` has written: a NumPy archive without objects."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def save(self, file: Path) -> None:
        """Write a NumPy archive."""
        np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    def predict(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give the probability of the positive class.

        Args:
            rows:
                Features, NaN where missing. Shape: ``(n, n_features)``.

        Returns:
            Probabilities of shape ``(n,)``.
        """
        trees = np.arange(len(self.feature))
        row = np.arange(len(rows))[:, np.newaxis]
        node = np.zeros((len(rows), len(trees)), dtype=np.intp)
        for _ in range(int(self.depth)):
            asked = rows[row, self.feature[trees, node]]
            goes_left = np.where(
                np.isnan(asked),
                self.missing_left[trees, node],
                asked <= self.threshold[trees, node],
            )
            node = np.where(goes_left, self.left[trees, node], self.right[trees, node])
        probability: npt.NDArray[np.float64] = special.expit(
            self.value[trees, node].sum(axis=1, dtype=np.float64) + self.baseline
        )
        return probability
