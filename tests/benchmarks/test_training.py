from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.pruners._stopping_rule import BoostedTrees
from tests.benchmarks.curve_sets import write_set
from tests.pruners.studies import run
from tests.pruners.studies import study_with


@pytest.fixture
def train(monkeypatch):
    folder = Path(__file__).parents[2] / "benchmarks" / "stopping_rule"
    monkeypatch.syspath_prepend(str(folder))
    import train

    return train


def test_a_rule_is_trained_saved_and_used(train, tmp_path, monkeypatch):
    left_out, others = tmp_path / "left_out", tmp_path / "others"
    for number, path in enumerate((left_out / "a_1", left_out / "a_2", others / "b")):
        path.parent.mkdir(exist_ok=True)
        write_set(path, number)
    monkeypatch.setattr(train, "N_IDEAL_HISTORIES", 1)
    monkeypatch.setattr(train, "N_PRUNED_HISTORIES", 2)
    rule, rules = tmp_path / "rule.npz", tmp_path / "rules"
    arguments = ["--curves", left_out, others, "--output", rule, "--leave-out", left_out]
    arguments += ["--rules", rules]
    monkeypatch.setattr("sys.argv", ["train.py", *map(str, arguments)])
    train.main()
    # Sets of one family are left out together.
    assert (rules / "a_1.npz").read_bytes() == (rules / "a_2.npz").read_bytes()
    assert (rules / "a_1.npz").read_bytes() != rule.read_bytes()
    study = study_with(PerformancePredictionPruner(StoppingRule(rule)))
    assert run(study, 0.1) is not None
    assert run(study, 0.99) is None


def test_the_trees_are_those_of_the_classifier(train, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 5)).astype(np.float32)
    X[rng.random(X.shape) < 0.2] = np.nan
    y = np.nan_to_num(X[:, 0]) * np.nan_to_num(X[:, 1]) + np.isnan(X[:, 2]) > 0.5
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X, y)
    train.as_arrays(model, ["a", "b", "c", "d", "e"]).save(tmp_path / "trees.npz")
    probability = BoostedTrees.load(tmp_path / "trees.npz").predict(X.astype(np.float64))
    np.testing.assert_allclose(probability, model.predict_proba(X)[:, 1], rtol=1e-5)
