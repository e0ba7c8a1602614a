from __future__ import annotations

from pathlib import Path
import pickle

import numpy as np
from optuna.pruners import NopPruner
import pytest

import optuna_perfpred
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from tests.pruners.studies import run
from tests.pruners.studies import study_with


RULE_FILE = Path(optuna_perfpred.__file__).parent / "forecasts/stopping_rule.npz"


def test_another_rule_can_be_given():
    study = study_with(PerformancePredictionPruner(StoppingRule(RULE_FILE)))
    assert run(study, 0.1) == run(study_with(PerformancePredictionPruner()), 0.1)
    restored = pickle.loads(pickle.dumps(PerformancePredictionPruner(StoppingRule(RULE_FILE))))
    assert run(study_with(restored), 0.1) is not None


def test_what_is_no_rule_is_refused(tmp_path):
    (tmp_path / "rule.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with np.load(RULE_FILE) as arrays:  # As an older version wrote it: without peers.
        older = {k: a for k, a in arrays.items() if not k.startswith("peers_")}
        np.savez(tmp_path / "older.npz", **older)
    for name in ("missing.npz", "rule.npz", "other.npz", "older.npz"):
        with pytest.raises(ValueError, match="must be a stopping rule's file, but got path="):
            StoppingRule(tmp_path / name)
    with pytest.raises(ValueError, match="must be a CurvePredictor, a StoppingRule or None"):
        PerformancePredictionPruner(NopPruner())


@pytest.mark.parametrize("name", ["feature_names", "peers_feature_names"])
def test_a_rule_for_other_features_is_refused(tmp_path, name):
    with np.load(RULE_FILE) as arrays:
        np.savez(tmp_path / "old.npz", **{**arrays, name: arrays[name][::-1]})
    with pytest.raises(ValueError, match="trained for the features of this version"):
        StoppingRule(tmp_path / "old.npz")


def test_the_rule_is_small_and_holds_no_python_objects():
    assert RULE_FILE.stat().st_size < 1e6
    with np.load(RULE_FILE, allow_pickle=False) as arrays:
        assert all(array.dtype != object for array in arrays.values())
