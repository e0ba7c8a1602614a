from __future__ import annotations

import numpy as np
import pytest

from optuna_perfpred import StoppingRule
from optuna_perfpred.forecasts import BoostedTrees


def random_tree(random, n_nodes):
    """Give a tree as arrays: features, left and right children, in the order of growth."""
    left, right = list(range(n_nodes)), list(range(n_nodes))
    leaves = [0]
    for child in range(1, n_nodes, 2):
        node = leaves.pop(random.integers(len(leaves)))
        left[node], right[node] = child, child + 1
        leaves += [child, child + 1]
    return left, right


@pytest.mark.parametrize("n_leaves", [1, 2, 31, 64, 100])
def test_one_row_ends_in_the_leaves_that_it_ends_in_among_others(n_leaves):
    random = np.random.default_rng(n_leaves)
    n_trees, n_nodes, n_features = 20, 2 * n_leaves - 1, 5
    children = [random_tree(random, n_nodes) for _ in range(n_trees)]
    shape = (n_trees, n_nodes)
    trees = BoostedTrees(
        feature=random.integers(n_features, size=shape, dtype=np.uint8),
        threshold=random.integers(-2, 3, size=shape).astype(np.float32),
        left=np.array([left for left, _ in children], dtype=np.uint8),
        right=np.array([right for _, right in children], dtype=np.uint8),
        missing_left=random.random(shape) < 0.5,
        value=random.normal(size=shape).astype(np.float32),
        depth=np.array(n_nodes),
        baseline=np.array(0.1),
        feature_names=np.array([f"feature {i}" for i in range(n_features)]),
    )
    # Whole numbers, as the thresholds are, so that many are equal to one.
    rows = random.integers(-3, 4, size=(300, n_features)).astype(np.float64)
    rows[random.random(rows.shape) < 0.2] = np.nan
    one_by_one = np.concatenate([trees.log_odds(row[np.newaxis]) for row in rows])
    assert len(np.unique(one_by_one)) >= min(n_leaves, 10)
    assert one_by_one.tolist() == trees.log_odds(rows).tolist()


def test_a_stored_rule_is_asked_in_both_ways():
    trees = StoppingRule()._trees
    rows = np.random.default_rng(0).normal(size=(200, len(trees.feature_names)))
    one_by_one = np.concatenate([trees.log_odds(row[np.newaxis]) for row in rows])
    assert one_by_one.tolist() == trees.log_odds(rows).tolist()
