"""Many workers, threads and trials: decisions stay the same, and nobody waits."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
import multiprocessing
import threading
import time

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred import StoppingRule
from optuna_perfpred.pruners import _rule_assessor
from optuna_perfpred.pruners._stopping_rule import BoostedTrees
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import add_completed
from tests.pruners.studies import FixedForecast
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")


def journal(path):
    return JournalStorage(JournalFileBackend(str(path)))


def pruner(predictor):
    return PerformancePredictionPruner(SequentialRegression("ridge") if predictor else None)


def run_many(study, n=25):
    return [run(study, (7 * number) % n / n) for number in range(n)]


def forecasts(path, predictor):
    """Tell what a worker that comes anew foresees of running trials, step by step."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="study", storage=journal(path), pruner=pruner(predictor))
    told = []
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        curve = trial.intermediate_values
        for step in curve:
            trial.intermediate_values = {s: v for s, v in curve.items() if s <= step}
            pruned = study.pruner.prune(study, trial)
            assessment = study.pruner.assessment(study, trial)
            told.append((pruned, assessment and (assessment.probability, assessment.reason)))
    return told


def test_workers_with_the_same_history_decide_alike(tmp_path):
    """One that saw the study grow, and others that come anew in processes of their own."""
    grown, tasks = [], []
    for predictor in (False, True):
        path = tmp_path / f"journal-{predictor}.log"
        study = optuna.create_study(
            study_name="study",
            storage=journal(path),
            direction="maximize",
            pruner=pruner(predictor),
        )
        run_many(study)
        states = {trial.state for trial in study.get_trials(deepcopy=False)}
        assert states == {TrialState.COMPLETE, TrialState.PRUNED}
        told = []
        for x in (0.5, 0.9, 0.99):
            trial = study.ask(X)
            for step, value in enumerate(accuracy_curve(x, seed=int(100 * x))[:-1]):
                trial.report(value, step)
                pruned = trial.should_prune()
                assessment = study.pruner.assessment(study, trial)
                told.append((pruned, assessment and (assessment.probability, assessment.reason)))
        assert any(assessment is not None for _, assessment in told)
        grown += [told, told]
        tasks += [(path, predictor)] * 2
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(forecasts, *zip(*tasks, strict=True))) == grown


def test_a_single_worker_decides_in_a_storage_as_in_memory(tmp_path):
    """There the finished trials are not read at each step, but none finishes in between."""
    in_memory = study_with(PerformancePredictionPruner(), n=0, study_name="study")
    stored = study_with(
        PerformancePredictionPruner(), n=0, study_name="study", storage=journal(tmp_path / "log")
    )
    expected = run_many(in_memory)
    assert len(set(expected)) > 3
    assert run_many(stored) == expected


def test_trials_of_other_workers_are_learned_of_while_a_trial_runs(tmp_path):
    study = study_with(PerformancePredictionPruner(), n=0, storage=journal(tmp_path / "log"))
    other = optuna.load_study(study_name=study.study_name, storage=journal(tmp_path / "log"))
    trial = study.ask(X)
    trial.report(0.0, 0)
    assert not trial.should_prune()  # It has nothing to be compared with.
    add_completed(other)
    # Not at once: a step takes no time here.
    deadline = time.monotonic() + 60.0
    while not trial.should_prune():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("predictor", [False, True])
def test_threads_use_the_last_models_while_one_refits(predictor, monkeypatch):
    started, released = threading.Event(), threading.Event()
    fits = []

    def fitted(original):
        def fit(*args, **kwargs):
            fits.append(threading.current_thread().name)
            if threading.current_thread().name == "refitting":
                started.set()
                assert released.wait(60)
            return original(*args, **kwargs)

        return fit

    if predictor:
        monkeypatch.setattr(FixedForecast, "fit", fitted(FixedForecast.fit))
        study = study_with(PerformancePredictionPruner(FixedForecast(mean=-100.0)))
    else:
        monkeypatch.setattr(_rule_assessor.Learned, "of", fitted(_rule_assessor.Learned.of))
        study = study_with(PerformancePredictionPruner())
    assert run(study, 0.1) is not None
    n_fits = len(fits)
    assert n_fits > 0
    add_completed(study, 10)
    refitting = threading.Thread(target=run, args=(study, 0.5), name="refitting")
    refitting.start()
    try:
        assert started.wait(60)
        assert run(study, 0.1) is not None
        assert run(study, 0.1) is not None
        assert refitting.is_alive()
        assert fits[n_fits:] == ["refitting"]
    finally:
        released.set()
        refitting.join()


def test_a_failed_refit_is_tried_again():
    class Failing(FixedForecast):
        n_left = 1

        def fit(self, configurations, curves, finals):
            if len(finals) > 20 and Failing.n_left > 0:
                Failing.n_left -= 1
                raise MemoryError
            return self

    study = study_with(PerformancePredictionPruner(Failing(mean=-100.0)))
    assert run(study, 0.1) == 0
    add_completed(study, 10)
    with pytest.warns(UserWarning, match="not pruned because its forecast failed: MemoryError"):
        assert run(study, 0.1) == 1


def test_a_trial_with_the_identifier_of_a_deleted_one_is_told_why_it_is_pruned(tmp_path):
    storage = optuna.storages.get_storage(f"sqlite:///{tmp_path}/study.db")
    pruner = PerformancePredictionPruner()
    for _ in range(2):
        study = study_with(pruner, n=3, storage=storage, study_name="study")
        assert run(study, 0.0) is not None
        assert study.trials[3]._trial_id == 4
        assert "perfpred:reason" in study.trials[3].user_attrs
        optuna.delete_study(study_name="study", storage=storage)


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
    one_by_one = np.concatenate([trees.predict(row[np.newaxis]) for row in rows])
    assert len(np.unique(one_by_one)) >= min(n_leaves, 10)
    assert one_by_one.tolist() == trees.predict(rows).tolist()


def test_a_stored_rule_is_asked_in_both_ways():
    trees = StoppingRule()._trees
    rows = np.random.default_rng(0).normal(size=(200, len(trees.feature_names)))
    one_by_one = np.concatenate([trees.predict(row[np.newaxis]) for row in rows])
    assert one_by_one.tolist() == trees.predict(rows).tolist()
