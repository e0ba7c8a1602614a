"""Boosting and forests by number of trees, mini-batch k-means, non-negative factorisation."""

from __future__ import annotations

from functools import partial
import warnings

from _data import arrays
from _data import classification
from _data import digits
from _data import table
from _study import Config
from _study import Draw
from _study import Study
from _training import CEILING
from _training import number
import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss


def _thin(values: list[float], n_steps: int) -> list[float]:
    """Every k-th value, so that n_steps remain."""
    every = len(values) // n_steps
    return values[every - 1 :: every][:n_steps]


def _boosting_space(draw: Draw) -> Config:
    return {
        "learning_rate": draw.log(0.01, 1.0),
        "max_leaf_nodes": draw.log_integer(3, 40),
        "min_samples_leaf": draw.log_integer(2, 60),
        "l2_regularization": draw.log(1e-4, 100.0),
        "max_features": draw.choice(0.3, 0.6, 1.0),
    }


def _narrow_boosting_space(draw: Draw) -> Config:
    return {
        "learning_rate": draw.normal_log(0.15, 0.15),
        "max_leaf_nodes": draw.integer(8, 11),
        "min_samples_leaf": draw.integer(10, 20),
        "l2_regularization": draw.normal_log(1.0, 0.5),
        "max_features": 0.5,
    }


def _hist_boosting(metric: str, config: Config, seed: int, n_steps: int) -> list[float]:
    classes = 2 if metric == "log_loss" else 3
    x, y, x_valid, y_valid = arrays(classification(600, 1000, classes, 0.0, 1))
    model = HistGradientBoostingClassifier(
        max_iter=n_steps, early_stopping=False, random_state=seed, max_bins=64, **config
    ).fit(x, y)
    if metric == "log_loss":
        return [log_loss(y_valid, p) for p in model.staged_predict_proba(x_valid)]
    return [float(np.mean(y_valid == p)) for p in model.staged_predict(x_valid)]


def _diabetes_boosting_space(draw: Draw) -> Config:
    loss = draw.choice("squared_error", "absolute_error", "huber")
    return {
        "learning_rate": draw.log(0.003, 1.0),
        "max_depth": draw.integer(1, 6),
        "subsample": draw.uniform(0.2, 1.0),
        "max_features": draw.choice(0.2, 0.5, 1.0),
        "loss": loss,
        "alpha": draw.uniform(0.5, 0.95) if loss == "huber" else None,
    }


def _diabetes_boosting(config: Config, seed: int, n_steps: int) -> list[float]:
    x, y, x_valid, y_valid = arrays(table("diabetes", 300, 142))
    given = {key: value for key, value in config.items() if value is not None}
    model = GradientBoostingRegressor(n_estimators=2 * n_steps, random_state=seed, **given)
    model.fit(x, y)
    errors = [float(np.mean((y_valid - p) ** 2)) for p in model.staged_predict(x_valid)]
    return _thin(errors, n_steps)


def _forest_space(draw: Draw) -> Config:
    return {
        "kind": draw.choice("random", "extra"),
        "max_depth": draw.integer(1, 12),
        "max_features": draw.choice(1, 2, 4, 8, 16, 32),
        "min_samples_leaf": draw.log_integer(1, 30),
        "criterion": draw.choice("gini", "entropy"),
        "max_samples": draw.log(0.02, 1.0),
    }


def _forest(config: Config, seed: int, n_steps: int) -> list[float]:
    """Validation accuracy of the first 4, 8, ... trees of a forest."""
    x, y, x_valid, y_valid = arrays(digits(800, 600, 6))
    options = {key: value for key, value in config.items() if key != "kind"}
    cls = RandomForestClassifier if config["kind"] == "random" else ExtraTreesClassifier
    forest = cls(4 * n_steps, random_state=seed, bootstrap=True, **options).fit(x, y)
    votes = np.cumsum([tree.predict_proba(x_valid) for tree in forest.estimators_], axis=0)
    return _thin([float(np.mean(v.argmax(1) == y_valid)) for v in votes], n_steps)


def _k_means_space(draw: Draw) -> Config:
    return {
        "n_clusters": draw.log_integer(2, 60),
        "init": draw.choice("k-means++", "random"),
        "batch_size": draw.log_integer(8, 300),
        "reassignment_ratio": draw.log(1e-3, 0.3),
    }


def _k_means(config: Config, seed: int, n_steps: int) -> list[float]:
    """Mean squared distance of held-out digits to their cluster."""
    x, _, x_valid, _ = arrays(digits(1000, 700, 7))
    size = max(int(number(config, "batch_size")), int(number(config, "n_clusters")))
    model = MiniBatchKMeans(random_state=seed, n_init=1, **config)
    rng = np.random.default_rng(seed)
    curve = []
    for _ in range(n_steps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.partial_fit(x[rng.integers(len(x), size=size)])
        curve.append(-float(model.score(x_valid)) / len(x_valid))
    return curve


def _nmf_space(draw: Draw) -> Config:
    return {
        "rank": draw.log_integer(2, 40),
        "init_scale": draw.log(1e-3, 10.0),
        "l1": draw.log(1e-4, 1.0),
        "exponent": draw.uniform(0.3, 1.9),
        "updates": draw.choice(1, 2, 3),
    }


def _nmf(config: Config, seed: int, n_steps: int) -> list[float]:
    """Reconstruction error of digits under damped or overshooting multiplicative updates."""
    v = (digits(400, 500, 7).x.numpy() + 0.6).clip(0.0)
    rng, rank = np.random.default_rng(seed), int(number(config, "rank"))
    scale, l1, power = (number(config, key) for key in ("init_scale", "l1", "exponent"))
    w, h = scale * rng.random((len(v), rank)), scale * rng.random((rank, v.shape[1]))
    curve = []
    for _ in range(n_steps):
        for _ in range(int(number(config, "updates"))):
            h = (h * (w.T @ v / (w.T @ w @ h + l1 + 1e-9)) ** power).clip(1e-12, 1e6)
            w = (w * (v @ h.T / (w @ h @ h.T + l1 + 1e-9)) ** power).clip(1e-12, 1e6)
        curve.append(min(float(np.mean((v - w @ h) ** 2)), CEILING))
    return curve


STUDIES = (
    Study(
        "hist_boosting_logloss",
        "minimize",
        "validation log loss",
        "make_classification, histogram gradient boosting by number of trees",
        100,
        _boosting_space,
        partial(_hist_boosting, "log_loss"),
        140,
    ),
    Study(
        "diabetes_boosting_mse",
        "minimize",
        "validation mean squared error",
        "diabetes, gradient boosting by number of trees",
        60,
        _diabetes_boosting_space,
        _diabetes_boosting,
    ),
    Study(
        "digits_forest",
        "maximize",
        "validation accuracy",
        "digits, random forests and extra trees by number of trees",
        15,
        _forest_space,
        _forest,
        140,
    ),
    Study(
        "boosting_narrow_accuracy",
        "maximize",
        "validation accuracy",
        "make_classification with 3 classes, boosting in a narrow space around good values",
        60,
        _narrow_boosting_space,
        partial(_hist_boosting, "accuracy"),
    ),
    Study(
        "digits_k_means_inertia",
        "minimize",
        "mean squared distance to the cluster",
        "digits, mini-batch k-means",
        15,
        _k_means_space,
        _k_means,
        140,
    ),
    Study(
        "digits_nmf_error",
        "minimize",
        "mean squared reconstruction error",
        "digits, non-negative factorisation by damped or overshooting multiplicative updates",
        50,
        _nmf_space,
        _nmf,
        140,
    ),
)
