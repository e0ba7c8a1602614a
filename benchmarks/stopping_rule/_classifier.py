"""The classifier of a stopping rule: fitted by scikit-learn, stored as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special
from sklearn.ensemble import HistGradientBoostingClassifier

from optuna_perfpred.forecasts import BoostedTrees
from optuna_perfpred.forecasts import FEATURE_NAMES
from optuna_perfpred.forecasts import PEER_FEATURE_NAMES


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from _histories import Decisions
    import numpy.typing as npt


# A record that was drawn from very many would decide a leaf by itself.
LARGEST_WEIGHT = 50.0


def fit(
    decisions: Decisions, *, max_iter: int = 150, max_leaf_nodes: int = 31
) -> HistGradientBoostingClassifier:
    """Fit the classifier. Few leaves with many decisions each: what holds on other sets."""
    model = HistGradientBoostingClassifier(
        max_iter=max_iter,
        max_leaf_nodes=max_leaf_nodes,
        min_samples_leaf=200,
        learning_rate=0.1,
        l2_regularization=1.0,
        early_stopping=False,
        max_bins=128,
        random_state=0,
    )
    weight = np.minimum(decisions.weight / decisions.weight.mean(), LARGEST_WEIGHT)
    return model.fit(decisions.features, decisions.best, sample_weight=weight)


def fit_peers(decisions: Decisions) -> HistGradientBoostingClassifier:
    """Fit the smaller classifier for trials of which none is complete."""
    return fit(decisions, max_iter=60, max_leaf_nodes=8)


def predict(
    model: HistGradientBoostingClassifier, rows: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Give probabilities as `predict_proba` does, without its checks, which take longer."""
    raw = model._raw_predict(np.ascontiguousarray(rows, dtype=np.float64), n_threads=1)
    return special.expit(raw[:, 0])


def as_arrays(model: HistGradientBoostingClassifier, feature_names: Sequence[str]) -> BoostedTrees:
    """Take the trees out of scikit-learn's classifier."""
    trees = [iteration[0] for iteration in model._predictors]
    n_nodes = max(len(tree.nodes) for tree in trees)

    def padded(name: str) -> np.ndarray:
        return np.array([np.pad(t.nodes[name], (0, n_nodes - len(t.nodes))) for t in trees])

    leaf = padded("is_leaf").astype(bool)
    node = np.arange(n_nodes)
    return BoostedTrees(
        feature=padded("feature_idx").astype(np.uint8),
        threshold=padded("num_threshold").astype(np.float32),
        left=np.where(leaf, node, padded("left")).astype(np.uint8),
        right=np.where(leaf, node, padded("right")).astype(np.uint8),
        missing_left=padded("missing_go_to_left").astype(bool),
        value=padded("value").astype(np.float32),
        depth=np.array(max(tree.get_max_depth() for tree in trees)),
        baseline=np.array(float(np.ravel(model._baseline_prediction)[0])),
        feature_names=np.array(feature_names),
    )


def save(
    file: Path, rule: HistGradientBoostingClassifier, peers: HistGradientBoostingClassifier
) -> None:
    """Write both classifiers as one NumPy archive, the second one's names after `peers_`."""
    np.savez_compressed(
        file,
        **as_arrays(rule, FEATURE_NAMES).arrays(),
        **as_arrays(peers, PEER_FEATURE_NAMES).arrays(prefix="peers_"),
    )
