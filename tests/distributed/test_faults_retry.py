"""Errors and deaths while the trials of dead workers are taken up again."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import optuna
from optuna.trial import TrialState
import pytest
import sqlalchemy

from optuna_perfpred.distributed._patient_storage import PatientStorage
from optuna_perfpred.distributed._retry import AlreadyRetriedError
from optuna_perfpred.distributed._retry import Retry
from tests.distributed.checks import check_trials
from tests.distributed.objectives import STEP_SECONDS
from tests.distributed.workers import Crew


N_DEAD = 3
pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.sqlite3'}?timeout=60"
    return request.getfixturevalue("postgresql_url")


def open_storage(url):
    return PatientStorage(url, retry=Retry(3), heartbeat_interval=1, grace_period=2)


def make_dead(storage):
    """Make a study with trials whose worker died long ago; give its identifier."""
    study = optuna.create_study(storage=storage)
    for _ in range(N_DEAD):
        study.ask().suggest_float("x", 0.0, 1.0)
    with storage.engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
        )
    return study._study_id


def check_retried_once(storage, study_id):
    trials = storage.get_all_trials(study_id)
    assert [t.state for t in trials] == [TrialState.FAIL] * N_DEAD + [TrialState.WAITING] * N_DEAD
    assert sorted(t.system_attrs["retry_history"][-1] for t in trials[N_DEAD:]) == [0, 1, 2]


def test_an_error_at_any_statement_loses_no_trial_and_doubles_none(url):
    n_statements, storage = 0, open_storage(url)
    for failing in range(1000):
        study_id = make_dead(storage)
        seen = 0

        def fail(*args, failing=failing):
            nonlocal seen
            seen += 1
            if seen == failing + 1:
                raise sqlalchemy.exc.InternalError("injected", None, ValueError("injected"))

        sqlalchemy.event.listen(storage.engine, "before_cursor_execute", fail)
        try:
            storage.settle_dead(study_id)
        except optuna.exceptions.StorageInternalError:
            n_statements += 1
        sqlalchemy.event.remove(storage.engine, "before_cursor_execute", fail)
        storage.settle_dead(study_id)
        check_retried_once(storage, study_id)
        if seen <= failing:
            break
    assert n_statements == failing > 3 * N_DEAD
    storage.engine.dispose()


def test_workers_that_settle_at_once_retry_each_trial_once(url):
    storage = open_storage(url)
    others = [open_storage(url) for _ in range(4)]
    for _ in range(5):
        study_id = make_dead(storage)
        barrier = threading.Barrier(len(others))

        def settle(other, barrier=barrier, study_id=study_id):
            barrier.wait()
            other.settle_dead(study_id)

        threads = [threading.Thread(target=settle, args=(other,)) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check_retried_once(storage, study_id)
    for opened in (storage, *others):
        opened.engine.dispose()


def test_a_retry_that_a_stopped_worker_made_is_not_made_again(url):
    storage = open_storage(url)
    study_id = make_dead(storage)
    study = optuna.load_study(study_name=storage.get_study_name_from_id(study_id), storage=storage)
    retry = Retry(3)
    for _ in range(2):
        retry(study, study.trials[1], is_stopped=True)
    successor = retry.successor(study.trials[1])
    with pytest.raises(AlreadyRetriedError):
        storage.create_new_trial(study_id, successor)
    storage.settle_dead(study_id)
    retried = [t.system_attrs["retry_history"][-1] for t in study.trials[N_DEAD:]]
    assert sorted(retried) == [0, 1, 2]


def test_a_waiting_trial_runs_at_one_of_two_workers_that_see_it_at_once(url):
    storage, other = open_storage(url), open_storage(url)
    study = optuna.create_study(storage=storage)
    study.enqueue_trial({"x": 0.5})
    (waiting,) = study.get_trials(deepcopy=False)
    took = []

    def come_first(connection, cursor, statement, *args):
        # Between what the one reads and what it writes.
        if statement.startswith("UPDATE trials") and not took:
            took.append(other.set_trial_state_values(waiting._trial_id, TrialState.RUNNING))

    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", come_first)
    took.append(storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING))
    assert took == [True, False]
    assert list(storage.heartbeats(study._study_id)) == [waiting._trial_id]
    other.set_trial_state_values(waiting._trial_id, TrialState.COMPLETE, [0.0])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    for opened in (storage, other):
        opened.engine.dispose()


def test_kills_at_any_moment_lose_no_trial(url, tmp_path):
    # More by PERFPRED_TEST_KILLS.
    n_kills = int(os.environ.get("PERFPRED_TEST_KILLS", "6"))
    rng = random.Random(0)
    with Crew(url, tmp_path, grace_period=2, max_retry=100) as crew:
        workers = [crew.start(10**6, **{STEP_SECONDS: "0.02"}) for _ in range(2)]
        for n in range(n_kills):
            time.sleep(rng.uniform(0.0, 1.5))
            os.kill(workers[n % 2].pid, signal.SIGKILL)
            workers[n % 2].wait()
            workers[n % 2] = crew.start(10**6, **{STEP_SECONDS: "0.02"})
        for worker in workers:
            worker.kill()
        # The last one out settles what is left.
        assert crew.start(1).wait() == 0
        trials = crew.study.get_trials(deepcopy=False)
        check_trials(crew.study, crew.events())
        retried = [t.system_attrs.get("retry_history", [None])[-1] for t in trials]
        assert sorted(number for number in retried if number is not None) == crew.failed()


def test_nothing_is_left_running_or_waiting_once_there_are_enough_trials(url, tmp_path):
    with Crew(url, tmp_path, grace_period=2) as crew:
        doomed = crew.start(10**6, **{STEP_SECONDS: "1.0"})
        crew.wait_for(lambda events: any(event.kind == "began" for event in events))
        other = crew.start(2)
        time.sleep(0.1)
        doomed.kill()
        assert other.wait() == 0
        check_trials(crew.study, crew.events())
        assert len(crew.failed()) == 1
