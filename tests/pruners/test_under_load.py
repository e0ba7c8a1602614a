"""Many workers, threads and trials: decisions stay the same, and nobody waits."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
import multiprocessing
import threading
import time

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.forecasts import _study_forecast
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
    return foreseen(study)


def foreseen(study):
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
        for x in (0.5, 0.9, 0.99):
            trial = study.ask(X)
            for step, value in enumerate(accuracy_curve(x, seed=int(100 * x))[:-1]):
                trial.report(value, step)
        told = foreseen(study)
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
    pruner = PerformancePredictionPruner(confidence=0.5)
    study = study_with(pruner, n=0, storage=journal(tmp_path / "log"))
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
        monkeypatch.setattr(_study_forecast.Learned, "of", fitted(_study_forecast.Learned.of))
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
