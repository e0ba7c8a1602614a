from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.forecasts import BoostedTrees
from optuna_perfpred.forecasts import peer_features
from tests.benchmarks.curve_sets import write_set
from tests.pruners.studies import run
from tests.pruners.studies import study_with


@pytest.fixture
def scripts(monkeypatch):
    folder = Path(__file__).parents[2] / "benchmarks" / "stopping_rule"
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def train(scripts):
    import train

    return train


@pytest.fixture
def variations(scripts):
    import _variations

    return _variations


def test_a_rule_is_trained_saved_and_used(train, tmp_path, monkeypatch, capsys):
    one_family, own = tmp_path / "one_family", tmp_path / "own"
    for number, path in enumerate((one_family / "a_1", one_family / "a_2", own / "b", own / "c")):
        path.parent.mkdir(exist_ok=True)
        write_set(path, number)
    monkeypatch.setattr(train, "N_IDEAL_HISTORIES", 1)
    monkeypatch.setattr(train, "N_PRUNED_HISTORIES", 2)
    rule, rules = tmp_path / "rule.npz", tmp_path / "rules"
    arguments = ["--curves", one_family, own, "--output", rule]
    arguments += ["--leave-out-families", "--rules", rules]
    monkeypatch.setattr("sys.argv", ["train.py", *map(str, arguments)])
    train.main()
    table = capsys.readouterr().out
    assert "| one_family | 2 |" in table
    assert "| b | 1 |" in table
    assert "| all | 4 |" in table
    # Sets of one family are left out together.
    written = {path.stem: path.read_bytes() for path in rules.glob("*.npz")}
    assert written.keys() == {"a_1", "a_2", "b", "c"}
    assert written["a_1"] == written["a_2"]
    assert len({*written.values(), rule.read_bytes()}) == 4

    study = study_with(PerformancePredictionPruner(StoppingRule(rule)))
    assert run(study, 0.1) is not None
    assert run(study, 0.99) is None


def test_a_rule_tells_the_best_of_those_that_began_together(scripts, tmp_path):
    from _classifier import fit_peers
    from _classifier import predict
    from _histories import Decisions
    from _peers import simulate_peers
    from _variations import read_curves

    decisions = []
    for seed in range(3):
        write_set(tmp_path / str(seed), seed)
        decisions.append(simulate_peers(read_curves(tmp_path / str(seed)), 60, [seed]))
    model = fit_peers(Decisions.concatenate(decisions))
    quality = np.linspace(0.0, 1.0, 16)[:, np.newaxis]
    rows = peer_features(quality * np.linspace(0.1, 1.0, 10), np.arange(16))
    chance = predict(model, rows)
    assert chance[15] > 3.0 * chance[8]


def test_sets_of_a_folder_are_a_family_unless_their_kinds_differ(train, tmp_path):
    for path in ("trees/t_1", "trees/t_2", "own/digits_a", "own/digits_b", "own/xor_a"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "meta.json").touch()
    families = train.families_of([tmp_path / "trees", tmp_path / "own"])
    assert {path.name: family for path, family in families.items()} == {
        "t_1": "trees",
        "t_2": "trees",
        "digits_a": "digits",
        "digits_b": "digits",
        "xor_a": "xor",
    }


def test_large_families_are_thinned(train, monkeypatch):
    monkeypatch.setattr(train, "MOST_SETS", 3)
    families = {Path(f"a_{i}"): "a" for i in range(9)} | {Path("b"): "b"}
    assert [path.name for path in train.thinned(families)] == ["a_0", "a_4", "a_8", "b"]


def test_a_trial_that_returns_its_best_value_stops_when_it_stays_the_same(variations):
    curves = np.array([[1.0, 3.0, 2.0, 2.0, 4.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    recorded = variations.Curves(np.empty((2, 0)), curves, np.array([6, 6]))
    highest = variations.best_so_far(recorded)
    np.testing.assert_array_equal(highest.curves[0], [1.0, 3.0, 3.0, 3.0, 4.0, 4.0])
    np.testing.assert_array_equal(highest.lengths, [6, 6])
    stopped = variations.best_so_far(recorded, patience=2)
    np.testing.assert_array_equal(stopped.curves[0], [1.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    np.testing.assert_array_equal(stopped.curves[1], curves[1])
    np.testing.assert_array_equal(stopped.lengths, [4, 6])


def test_proposals_crowd_between_recorded_curves(variations):
    rng = np.random.default_rng(0)
    curves = np.cumsum(rng.random((40, 10)), axis=1)
    recorded = variations.Curves(rng.random((40, 2)), curves, np.full(40, 10))
    crowded = variations.crowd(recorded, rng)
    assert crowded.curves.shape == (variations.N_PROPOSALS, 10)
    assert (crowded.curves >= curves.min(axis=0)).all()
    assert (crowded.curves <= curves.max(axis=0)).all()
    assert (crowded.configurations.max(axis=0) <= recorded.configurations.max(axis=0)).all()


def test_histories_do_not_depend_on_other_sets(scripts, tmp_path):
    from _histories import simulate
    from _variations import read_curves

    write_set(tmp_path / "a", 0)
    curves = read_curves(tmp_path / "a")
    one, again, other = (simulate(curves, None, 3, [seed]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.features, again.features)
    assert len(one.best) != len(other.best) or (one.best != other.best).any()
    assert one.weight.sum() == pytest.approx(1.0)


def test_the_trees_are_those_of_the_classifier(scripts, tmp_path):
    from _classifier import as_arrays

    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 5)).astype(np.float32)
    X[rng.random(X.shape) < 0.2] = np.nan
    y = np.nan_to_num(X[:, 0]) * np.nan_to_num(X[:, 1]) + np.isnan(X[:, 2]) > 0.5
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X, y)
    np.savez(tmp_path / "trees.npz", **as_arrays(model, ["a", "b", "c", "d", "e"]).arrays())
    with np.load(tmp_path / "trees.npz") as arrays:
        log_odds = BoostedTrees.of_arrays(arrays).log_odds(X.astype(np.float64))
    np.testing.assert_allclose(log_odds, model.decision_function(X), rtol=1e-5, atol=1e-6)
