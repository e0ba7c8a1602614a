"""What goes wrong around the pruner does the study no harm."""

from __future__ import annotations

import copy
import math
import pickle
import threading
import warnings

import optuna
from optuna.pruners import NopPruner
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import add_completed
from tests.pruners.studies import FixedForecast
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X


# A failed forecast is survived with a warning; here it is a failed test unless expected.
pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")


@pytest.mark.parametrize("best", [math.inf, -math.inf])
def test_an_infinite_best_value_prunes_nothing(best):
    """Nothing beats it: a bug of the objective must not end every later trial."""
    direction = "maximize" if best > 0 else "minimize"
    study = study_with(PerformancePredictionPruner(top_n=1), direction)
    study.add_trial(create_trial(value=best))
    assert run(study, 0.0) is None


def test_infeasible_trials_set_no_reference():
    def constrained(feasible):
        study = study_with(PerformancePredictionPruner(top_n=1, confidence=0.5))
        trial = study.ask()
        trial.set_constraint("memory", -1.0 if feasible else 1.0)
        study.tell(trial, 100.0)
        return study

    assert run(constrained(feasible=True), 0.99) is not None
    assert run(constrained(feasible=False), 0.99) is None


def test_a_trial_that_reports_only_nan_goes_on():
    study = study_with(PerformancePredictionPruner())
    assert run(study, 0.0, curve=[math.nan] * (N_STEPS - 1) + [0.0]) is None


def test_a_trial_that_diverges_to_infinity_is_pruned():
    study = study_with(PerformancePredictionPruner(), "minimize")
    assert run(study, 0.5, curve=[-0.1, *[math.inf] * (N_STEPS - 1)]) is not None


def test_one_pruner_serves_several_studies_without_mixing_them():
    pruner = PerformancePredictionPruner()
    storage = optuna.storages.InMemoryStorage()
    high = study_with(pruner, storage=storage, study_name="high")
    low = study_with(pruner, "minimize", storage=storage, study_name="low")
    empty = optuna.create_study(pruner=pruner, storage=storage, study_name="empty")
    assert run(high, 0.1) is not None
    assert run(low, 0.1) is not None
    assert run(empty, 0.1) is None
    assert run(high, 0.99) is None
    assert run(low, 0.99) is None


def test_a_failing_storage_is_warned_of_once_and_survived():
    study = study_with(PerformancePredictionPruner())
    study.get_trials = failing
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(study, 0.1) is None
    [warning] = [w for w in caught if "not pruned" in str(w.message)]
    assert "server closed the connection" in str(warning.message)


def failing(*args, **kwargs):
    raise ConnectionError("server closed the connection")


def test_a_reason_that_cannot_be_written_does_not_change_the_decision(monkeypatch):
    study = study_with(PerformancePredictionPruner())
    monkeypatch.setattr(study._storage, "set_trial_user_attr", failing)
    with pytest.warns(UserWarning, match="recorded.*server closed"):
        assert run(study, 0.1) is not None


def test_a_failing_predictor_or_wrapped_pruner_is_survived():
    class Broken(FixedForecast):
        def predict(self, configurations, curves):
            raise ZeroDivisionError

    class BrokenPruner(NopPruner):
        def prune(self, study, trial):
            raise ZeroDivisionError

    for pruner in (
        PerformancePredictionPruner(Broken()),
        PerformancePredictionPruner(wrapped_pruner=BrokenPruner()),
    ):
        with pytest.warns(UserWarning, match="ZeroDivisionError"):
            assert run(study_with(pruner), 0.99) is None


def test_a_retried_trial_is_judged_by_its_own_reports():
    """Heartbeat retries copy the user attributes of the trial that died."""
    study = study_with(PerformancePredictionPruner())
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            system_attrs={"fixed_params": {"x": 0.99}},
            user_attrs={"perfpred:step": 15, "perfpred:predicted_value": 0.0},
        )
    )
    trial = study.ask(X)
    assert trial.params == {"x": 0.99}
    for step, value in enumerate(accuracy_curve(0.99)):
        trial.report(value, step)
        assert not trial.should_prune()


def test_nothing_is_read_when_no_decision_is_due():
    study = study_with(PerformancePredictionPruner(n_warmup_steps=5, interval_steps=5))
    reads = []
    get_trials = study.get_trials
    study.get_trials = lambda *args, **kwargs: reads.append(step) or get_trials(*args, **kwargs)
    trial = study.ask(X)
    for step, value in enumerate(accuracy_curve(0.99)):
        trial.report(value, step)
        trial.should_prune()
    assert reads == [5, 10, 15]


def test_a_slow_refit_does_not_stop_other_threads():
    started, released = threading.Event(), threading.Event()

    class Slow(FixedForecast):
        def fit(self, configurations, curves, finals):
            if len(finals) > 20 and not started.is_set():
                started.set()
                assert released.wait(60)
            return self

    study = study_with(PerformancePredictionPruner(Slow(mean=-100.0)))
    assert run(study, 0.5) == 0
    add_completed(study, 10)
    refitting = threading.Thread(target=run, args=(study, 0.5))
    refitting.start()
    try:
        assert started.wait(60)
        assert run(study, 0.5) == 0  # While the other thread is still fitting.
        assert refitting.is_alive()
    finally:
        released.set()
        refitting.join()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_decide_like_the_original(copied):
    pruner = PerformancePredictionPruner(top_n=3, warm_start=[study_with(NopPruner())])
    expected = run(study_with(pruner), 0.1)
    assert expected is not None
    assert run(study_with(copied(pruner)), 0.1) == expected


def test_a_deleted_study_teaches_its_successor_nothing(tmp_path):
    """SQLite gives the identifiers of a deleted study to the next one."""
    storage = optuna.storages.get_storage(f"sqlite:///{tmp_path}/study.db")
    pruner = PerformancePredictionPruner()
    steps = []
    for direction in ("maximize", "minimize", "minimize"):
        study = study_with(pruner, direction, storage=storage, study_name="study")
        assert study._study_id == 1
        steps.append(run(study, 0.1))
        assert run(study, 0.99) is None
        optuna.delete_study(study_name="study", storage=storage)
    assert None not in steps


@pytest.mark.parametrize("shadow", [False, True])
def test_a_trial_that_another_process_has_ended_is_stopped(shadow):
    study = study_with(PerformancePredictionPruner(confidence=0.1, shadow=shadow))
    trial = study.ask()
    trial.suggest_float("x", 0.1, 0.1)
    for step, value in enumerate(accuracy_curve(0.1)[:-1]):
        trial.report(value, step)
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    with pytest.warns(UserWarning, match="missed its heartbeats. Raise the storage's grace"):
        assert trial.should_prune()
