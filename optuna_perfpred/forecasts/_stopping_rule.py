from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields
import functools
from importlib import resources
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING
import zipfile

import numpy as np

from optuna_perfpred._files import check_file
from optuna_perfpred.forecasts._features import FEATURE_NAMES
from optuna_perfpred.forecasts._features import PEER_FEATURE_NAMES


if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from optuna_perfpred._arrays import Flags
    from optuna_perfpred._arrays import Floats
    from optuna_perfpred._arrays import Places

# The leaves of a tree are the bits of an integer.
_MAX_LEAVES = 64
# Ours unpacks to a hundredth of it.
_MAX_BYTES = 2**27


class StoppingRule:
    """A pretrained rule: the probability that a running trial will end as the best of its study.

    A gradient-boosted classifier, trained on simulated histories of recorded studies, asks for
    features of the trial and of the completed ones that have no unit: distances and gains in the
    spread of the final values, ranks, what ranks have meant for the end, lags, and the forecast
    of a regression fitted on the completed trials. It knows from other studies what these mean
    when only few trials of the own one are complete. A second, smaller one compares trials that
    began together as long as none is complete. What they were trained on, and with what success
    on studies they were not trained on, is told in ``benchmarks/stopping_rule/README.md``.

    Args:
        path:
            A file written by ``benchmarks/stopping_rule/train.py``. If :obj:`None`, the rule that
            comes with the package.

    Raises:
        ValueError:
            If the file is not such a file, or was written by a version with other features.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = path
        file = resources.files(__package__) / "stopping_rule.npz" if path is None else Path(path)
        try:
            if isinstance(file, Path):
                check_file(file, _MAX_BYTES)
            with file.open("rb") as stream:
                with zipfile.ZipFile(stream) as archive:
                    if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
                        raise ValueError("it is too large")
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as arrays:
                    self._trees = BoostedTrees.of_arrays(arrays)
                    self._peer_trees = BoostedTrees.of_arrays(arrays, prefix="peers_")
        # A damaged archive raises whatever its part that is damaged leads to.
        except Exception as error:
            raise ValueError(
                f"`path` must be a stopping rule's file, but got {path=}: {error!r}"
            ) from error
        for trees, names in ((self._trees, FEATURE_NAMES), (self._peer_trees, PEER_FEATURE_NAMES)):
            if tuple(trees.feature_names) != names:
                raise ValueError(
                    "`path` must be a rule that was trained for the features of this version, "
                    f"but got {path=}. Train it again."
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(path={self.path!r})"

    def log_odds(self, rows: Floats) -> Floats:
        """Give the log-odds of ending better than the best completed trial.

        Args:
            rows:
                Rows of :func:`~optuna_perfpred.forecasts.features`. Shape: ``(n, n_features)``.

        Returns:
            The log-odds of shape ``(n,)``.
        """
        return self._trees.log_odds(rows)

    def peer_log_odds(self, rows: Floats) -> Floats:
        """Give the log-odds of ending as the best of those that have come as far.

        Args:
            rows:
                Rows of :func:`~optuna_perfpred.forecasts.peer_features`. Shape:
                ``(n, n_features)``.

        Returns:
            The log-odds of shape ``(n,)``.
        """
        return self._peer_trees.log_odds(rows)


def relative_chance(probability: Floats, remaining: Floats, n_finished: int) -> Floats:
    """Compare a trial with a new one: the chance of a new best for each step still to train.

    If trials are exchangeable, a new one will be the best of all with probability
    ``1 / (n_finished + 1)`` and costs a full curve; this one with the given probability and costs
    what remains. To prune below a constant ratio is optimal in the long run: a trial that becomes
    the best now is still the best after ``N`` trials with probability ``(n_finished + 1) / N``.

    Args:
        probability:
            The probability that the trial will end as the best.
        remaining:
            What it still has to train, in trainings of average length.
        n_finished:
            The number of trials that have finished.

    Returns:
        The chance per step as a multiple of a new trial's.
    """
    return probability * (n_finished + 1) / remaining


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
    missing_left: Flags
    value: npt.NDArray[np.float32]
    depth: npt.NDArray[np.int64]
    baseline: Floats
    feature_names: npt.NDArray[np.str_]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any], prefix: str = "") -> BoostedTrees:
        """Take the trees out of what :meth:`arrays` gave, read from a NumPy archive.

        Raises:
            KeyError:
                If one is missing.
            ValueError:
                If one does not fit the others.
        """
        trees = cls(**{field.name: arrays[prefix + field.name] for field in fields(cls)})
        nodes = (trees.feature, trees.threshold, trees.left, trees.right, trees.missing_left)
        shape, kinds = trees.value.shape, "".join(a.dtype.kind for a in (*nodes, trees.value))
        n_features = trees.feature_names.size
        children = np.maximum(trees.left, trees.right)
        if len(shape) != 2 or any(array.shape != shape for array in nodes) or kinds != "ufuubf":
            raise ValueError("its nodes have not the same shape, or other types")
        if trees.depth.shape != () or trees.depth.dtype.kind not in "iu" or trees.depth < 0:
            raise ValueError("its depth is not a number of levels")
        if trees.depth > _MAX_LEAVES or trees.baseline.shape != ():
            raise ValueError("it is deeper than it has leaves, or has no single baseline")
        if trees.feature_names.dtype.kind != "U" or trees.feature_names.ndim != 1:
            raise ValueError("its features have no names")
        if trees.feature.max(initial=0) >= n_features or children.max(initial=0) >= shape[1]:
            raise ValueError("it has no such feature or node")
        if not np.isfinite(trees.value).all() or not np.isfinite(trees.baseline):
            raise ValueError("the value of a leaf is not finite")
        if np.isnan(trees.threshold).any():
            raise ValueError("a threshold is not a number")
        return trees

    def arrays(self, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
        """Give the arrays by their names, to be written to a NumPy archive without objects."""
        return {prefix + field.name: getattr(self, field.name) for field in fields(self)}

    def log_odds(self, rows: Floats) -> Floats:
        """Give the log-odds of the positive class.

        Args:
            rows:
                Features, NaN where missing. Shape: ``(n, n_features)``.

        Returns:
            Log-odds of shape ``(n,)``.
        """
        if len(rows) == 1 and self._splits is not None:
            leaves = self._splits.leaves(rows[0])[np.newaxis]
        else:
            leaves = self._walk(rows)
        trees = np.arange(len(self.feature))
        log_odds: Floats = self.value[trees, leaves].sum(axis=1, dtype=np.float64) + self.baseline
        return log_odds

    def _walk(self, rows: Floats) -> Places:
        """Give the leaves that rows end in, level by level. Shape: ``(n, n_trees)``.

        The nodes of all trees are numbered through, and pairs of a row and a tree that have come
        to a leaf are left alone: most leaves are far above the deepest.
        """
        n_trees, n_nodes = self.feature.shape
        root = n_nodes * np.arange(n_trees, dtype=np.int32)
        feature = self.feature.ravel().astype(np.int32)
        threshold, missing_left = self.threshold.ravel(), self.missing_left.ravel()
        left, right = ((root[:, np.newaxis] + c).ravel() for c in (self.left, self.right))
        is_leaf = left == np.arange(left.size)
        children = np.column_stack([right, left]).ravel()
        values = np.ascontiguousarray(rows).ravel()
        missing = np.isnan(values)
        first = np.repeat(rows.shape[1] * np.arange(len(rows), dtype=np.int32), n_trees)
        node = np.tile(root, len(rows))
        going_on = np.flatnonzero(~is_leaf.take(node))
        for _ in range(int(self.depth)):
            at = node.take(going_on)
            asked = first.take(going_on) + feature.take(at)
            goes_left = values.take(asked) <= threshold.take(at)
            goes_left |= missing.take(asked) & missing_left.take(at)
            at = children.take(2 * at + goes_left)
            node[going_on] = at
            going_on = going_on[~is_leaf.take(at)]
        leaves: Places = (node.reshape(-1, n_trees) - root).astype(np.intp)
        return leaves

    @functools.cached_property
    def _splits(self) -> _Splits | None:
        return _Splits.of(self)


@dataclass(frozen=True)
class _Splits:
    """The splits of all trees, to find the leaves of one row without a loop over levels.

    All splits are asked at once, also those that the row does not pass. Each at which it goes
    right rules out the leaves on its left; the leaf that the row ends in is the leftmost one that
    is not ruled out (Lucchese et al. 2015, "QuickScorer"). That is the leaf of the walk from the
    root, seven times as fast.

    Attributes:
        feature:
            The index of the feature that a split asks. Shape: ``(n_trees, n_splits)``, as all but
            the last one.
        threshold:
            A feature at most this large goes left.
        missing_left:
            Whether NaN goes left.
        on_the_left:
            The leaves on its left, one bit each, the leftmost leaf of the tree the lowest one.
        nodes:
            The node of each leaf from left to right. Shape: ``(n_trees, n_leaves)``.
    """

    feature: Places
    threshold: Floats
    missing_left: Flags
    on_the_left: npt.NDArray[np.uint64]
    nodes: Places

    @classmethod
    def of(cls, trees: BoostedTrees) -> _Splits | None:
        """Find the splits; :obj:`None` if a tree has too many leaves."""
        n_trees = len(trees.feature)
        found = [_splits_and_leaves(tree) for tree in zip(trees.left, trees.right, strict=True)]
        n_leaves = max(len(leaves) for _, leaves in found)
        if n_leaves > _MAX_LEAVES:
            return None
        shape = (n_trees, max(n_leaves - 1, 1))
        # A tree with fewer splits is filled up with some that rule out nothing.
        splits = cls(
            feature=np.zeros(shape, dtype=np.intp),
            threshold=np.zeros(shape),
            missing_left=np.zeros(shape, dtype=np.bool_),
            on_the_left=np.zeros(shape, dtype=np.uint64),
            nodes=np.zeros((n_trees, n_leaves), dtype=np.intp),
        )
        for tree, (on_the_left, leaves) in enumerate(found):
            nodes = list(on_the_left)
            at = (tree, slice(len(nodes)))
            splits.feature[at] = trees.feature[tree, nodes]
            splits.threshold[at] = trees.threshold[tree, nodes]
            splits.missing_left[at] = trees.missing_left[tree, nodes]
            splits.on_the_left[at] = list(on_the_left.values())
            splits.nodes[tree, : len(leaves)] = leaves
        return splits

    def leaves(self, row: Floats) -> Places:
        """Give the nodes of the leaves that a row ends in. Shape: ``(n_trees,)``."""
        goes_left = row[self.feature] <= self.threshold
        missing = np.isnan(row)
        if missing.any():
            goes_left |= missing[self.feature] & self.missing_left
        ruled_out = np.bitwise_or.reduce(
            np.where(goes_left, np.uint64(0), self.on_the_left), axis=1
        )
        # The lowest bit that is not set, as a power of two.
        leftmost = ~ruled_out & (ruled_out + np.uint64(1))
        _, place = np.frexp(leftmost.astype(np.float64))
        nodes: Places = self.nodes[np.arange(len(self.nodes)), place - 1]
        return nodes


def _splits_and_leaves(
    children: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> tuple[dict[int, int], list[int]]:
    """Give, for each split of a tree, the leaves on its left as bits, and all leaves."""
    left, right = children
    on_the_left: dict[int, int] = {}
    leaves: list[int] = []

    def visit(node: int) -> None:
        if left[node] == node:  # A leaf is its own child.
            leaves.append(node)
            return
        first = len(leaves)
        visit(int(left[node]))
        on_the_left[node] = (1 << len(leaves)) - (1 << first)
        visit(int(right[node]))

    visit(0)
    return on_the_left, leaves
