from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import logging
import re
import sqlite3
import sys

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred.distributed import _storage
from optuna_perfpred.distributed import run_worker
from optuna_perfpred.distributed._retry import Retry
from optuna_perfpred.distributed._storage import open_storage
from tests.distributed.worker_files import HEADER
from tests.distributed.worker_files import Place
from tests.distributed.worker_files import STUDY


SQUARE = """
def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    for step in range(3):
        trial.report(-x * x * step, step)
    return -x * x
"""
FAILS_AT = """
def objective(trial):
    if trial.number in {numbers}:
        raise RuntimeError("cannot train")
    return 1.0
"""


@pytest.fixture(autouse=True)
def _own_path(monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture
def place(tmp_path):
    """Give a place whose storage is made at once."""
    return Place(tmp_path, str(tmp_path / "study.journal"))


@pytest.fixture
def database(tmp_path):
    return Place(tmp_path, f"sqlite:///{tmp_path / 'study.sqlite3'}?timeout=0.1")


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "optuna_perfpred")
    return caplog


def test_a_worker_runs_its_trials_and_tells_of_each(database, log):
    assert database.run(SQUARE, "--n-trials", "3") == 0
    study = database.study()
    assert study.direction.name == "MAXIMIZE"
    assert database.states() == ["COMPLETE"] * 3
    told = re.findall(r"Trial (\d) completed at step 2 in .* s: (\S+); best (\S+) of", log.text)
    values = [trial.value for trial in study.trials]
    assert [(int(number), float(value)) for number, value, _ in told] == [
        (trial.number, pytest.approx(trial.value, rel=1e-4)) for trial in study.trials
    ]
    assert float(told[-1][2]) == pytest.approx(max(values), rel=1e-4)
    assert "no heartbeat" not in log.text


def test_a_pruned_trial_is_told_and_counts_as_finished(place, log):
    pruned = "def objective(trial):\n    trial.report(0.5, 7)\n    raise optuna.TrialPruned\n"
    assert place.run(pruned, "--max-trials", "2") == 0
    assert place.states() == ["PRUNED"] * 2
    assert re.search(r"Trial 1 pruned at step 7 in .* s: 0.5; none completed yet", log.text)


def test_a_journal_is_taken_and_its_want_of_a_heartbeat_told(place, log):
    assert place.run(SQUARE, "--n-trials", "2") == 0
    assert place.states() == ["COMPLETE"] * 2
    assert "This storage has no heartbeat" in log.text


def test_a_grpc_proxy_is_taken(tmp_path, log):
    from optuna.storages._grpc.server import make_server

    from tests.servers import free_port

    behind = Place(tmp_path, str(tmp_path / "study.journal"))
    address = f"127.0.0.1:{free_port()}"
    server = make_server(behind.open(), *address.split(":"))
    server.start()
    try:
        place = Place(tmp_path, f"grpc://{address}")
        assert place.run(SQUARE, "--n-trials", "2") == 0
    finally:
        server.stop(None)
    assert behind.states() == ["COMPLETE"] * 2
    assert "This storage has no heartbeat" in log.text


def test_a_server_that_does_not_answer_is_worth_another_start(place, log, monkeypatch):
    monkeypatch.setattr(_storage, "_N_ATTEMPTS", 2)
    place.storage = "postgresql+psycopg://me:topsecret@127.0.0.1:1/db"
    assert place.run(SQUARE) == 4
    assert "'postgresql+psycopg://me:***@127.0.0.1:1/db' failed: " in log.text
    assert "topsecret" not in log.text


def test_workers_that_start_at_once_on_an_empty_database(postgresql_url):
    def open_one(_):
        limits = {"heartbeat_interval": 60, "grace_period": 120}
        return open_storage(postgresql_url, **limits, retry=Retry(3)).get_all_studies()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(open_one, range(4))) == [[]] * 4


def test_no_trial_begins_when_the_study_has_enough(place):
    assert place.run(SQUARE, "--max-trials", "2") == 0
    assert place.run(SQUARE, "--max-trials", "2") == 0
    assert len(place.states()) == 2


def test_no_trial_begins_after_the_timeout(place):
    slow = "def objective(trial):\n    time.sleep(0.3)\n    return 1.0\n"
    assert place.run(slow, "--timeout", "0.2") == 0
    assert place.states() == ["COMPLETE"]


def test_the_objective_can_stop_the_study(place):
    stops = "def objective(trial):\n    trial.study.stop()\n    return 1.0\n"
    assert place.run(stops) == 0
    assert place.states() == ["COMPLETE"]


def test_a_failed_trial_is_told_with_its_cause_and_the_next_is_run(place, log):
    assert place.run(FAILS_AT.format(numbers="{1, 2}"), "--n-trials", "4") == 0
    assert place.states() == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert "Trial 1 failed in 0.0 s: RuntimeError('cannot train')" in log.text
    assert "in objective\n    raise RuntimeError" in log.text


def test_a_broken_objective_is_given_up(place, log):
    assert place.run(FAILS_AT.format(numbers="range(1, 99)")) == 3
    assert place.states() == ["COMPLETE", *["FAIL"] * 5]
    assert "5 trials in a row failed" in log.text


def test_a_worker_of_which_all_trials_fail_has_failed(place):
    assert place.run(FAILS_AT.format(numbers="range(9)"), "--n-trials", "2") == 3


@pytest.mark.parametrize(
    ("end", "told"),
    [("sys.exit(0)", "sys.exit(0)"), ("return float('nan')", "its value is not a number")],
)
def test_what_is_no_value_is_a_failure(end, told, place, log):
    assert place.run(f"def objective(trial):\n    {end}\n", "--n-trials", "1") == 3
    assert place.states() == ["FAIL"]
    assert told in log.text


def make_stale(place):
    """Leave a trial that runs without a sign of life for long."""
    storage = optuna.storages.RDBStorage(place.storage)
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
    trial = study.ask()
    trial.suggest_float("x", -1, 1)
    storage.record_heartbeat(trial._trial_id)
    storage.engine.dispose()
    with sqlite3.connect(place.folder / "study.sqlite3") as opened:
        opened.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    return trial


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_trial_of_a_dead_worker_is_tried_again(database):
    dead = make_stale(database)
    assert database.run(SQUARE, "--n-trials", "1") == 0
    assert database.states() == ["FAIL", "COMPLETE"]
    again = database.study().trials[1]
    assert again.params == dead.params
    assert RetryHeartbeatStaleTrialCallback.retry_history(again) == [dead.number]


def test_a_trial_whose_workers_died_too_often_is_not_tried_again(database, log):
    dead = make_stale(database)
    assert database.run(SQUARE, "--n-trials", "1", "--max-retry", "0") == 0
    assert database.states() == ["FAIL", "COMPLETE"]
    assert database.study().trials[1].params != dead.params
    assert "died too often" in log.text


def test_clean_stops_do_not_count_as_deaths(place):
    stopped = """
def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    if trial.number < 3:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60.0)
    return x
"""
    for _ in range(3):
        assert place.run(stopped, "--max-retry", "0") == 143
    assert place.run(stopped, "--max-retry", "0", "--n-trials", "1") == 0
    assert place.states() == ["FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert len({trial.params["x"] for trial in place.study().trials}) == 1


def test_a_trial_shows_life_before_the_sampler_has_done_its_work(database, log):
    header = HEADER.replace("optuna.samplers.RandomSampler()", "Broken()") + (
        "class Broken(optuna.samplers.RandomSampler):\n"
        "    def before_trial(self, study, trial):\n"
        "        raise RuntimeError('no sample')\n"
    )
    assert database.run(SQUARE, header=header) == 3
    assert "No trial could be made: RuntimeError('no sample')" in log.text
    with sqlite3.connect(database.folder / "study.sqlite3") as opened:
        beats = opened.execute("SELECT COUNT(*) FROM trial_heartbeats").fetchone()
    assert beats == (5,)
    assert database.states() == ["RUNNING"] * 5


LOCKS = """
import sqlite3, threading

def lock(trial, seconds):
    database = sqlite3.connect({file!r}, check_same_thread=False, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    threading.Timer(seconds, database.execute, ("COMMIT",)).start()
"""


@pytest.mark.parametrize(
    "objective",
    [
        "    lock(trial, 0.5)\n    trial.report(1.0, 1)\n    return 2.0",
        "    trial.report(1.0, 1)\n    lock(trial, 0.5)\n    return 2.0",
    ],
)
def test_nothing_is_lost_while_the_database_does_not_answer(objective, database, log):
    header = HEADER + LOCKS.format(file=str(database.folder / "study.sqlite3"))
    code = database.run(f"def objective(trial):\n{objective}\n", "--n-trials", "2", header=header)
    assert code == 0
    assert [t.value for t in database.study().trials] == [2.0, 2.0]
    assert [t.intermediate_values for t in database.study().trials] == [{1: 1.0}] * 2
    assert "The storage does not answer" in log.text


def test_a_trial_that_another_worker_took_for_dead_is_left_to_it(place, log):
    given_up = """
def objective(trial):
    if trial.number == 0:
        trial.storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
    if {reports}:
        trial.report(0.5, 0)
    return 1.0
"""
    assert place.run(given_up.format(reports=False), "--n-trials", "2") == 0
    assert place.run(given_up.format(reports=True), "--n-trials", "1") == 0
    assert place.states() == ["FAIL", "COMPLETE", "COMPLETE"]
    assert "Trial 0 was taken for dead" in log.text
    assert "1 of 1 trials of this worker; a longer grace period" in log.text


def test_a_worker_that_lost_its_gpu_leaves_its_trial_to_a_new_process(place):
    lost = FAILS_AT.replace("cannot train", "CUDA error: an illegal memory access")
    assert place.run(lost.format(numbers="[1]"), "--n-trials", "9") == 4
    assert place.states() == ["COMPLETE", "FAIL", "WAITING"]


def test_the_log_is_as_before_after_a_worker(place):
    def settings():
        package = logging.getLogger("optuna_perfpred")
        return (
            optuna.logging.get_verbosity(),
            package.level,
            package.handlers[:],
            logging.getLogRecordFactory(),
            logging.getLogger("optuna.study._optimize").level,
        )

    before = settings()
    assert (
        run_worker(place.write(SQUARE), storage=place.storage, study_name=STUDY, n_trials=1) == 0
    )
    assert settings() == before


def test_a_continued_trial_counts_once_among_all(place):
    storage = JournalStorage(JournalFileBackend(place.storage))
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
    stopped = study.ask()
    study.tell(stopped, state=TrialState.PRUNED)
    study.enqueue_trial({"x": 0.5}, user_attrs={"perfpred:continues": stopped.number})
    path = place.write(SQUARE)
    assert run_worker(path, storage=place.storage, study_name=STUDY, max_trials=3) == 0
    assert [trial.user_attrs.get("perfpred:continues") for trial in study.trials] == [
        None,
        0,
        None,
        None,
    ]


CLIMBS = """
import optuna, optuna_perfpred

def create_study(storage, study_name):
    pruner = optuna_perfpred.PerformancePredictionPruner(second_chance="retrain")
    return optuna.load_study(storage=storage, study_name=study_name, pruner=pruner)

def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    for step in range(20):
        trial.report(x * (1 - 0.8 ** (step + 1)), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x
"""


def study_with_a_stopped_good_trial(place):
    """Make a study whose trials 20 and 21 were stopped: the best of all, and the worst."""
    storage = JournalStorage(JournalFileBackend(place.storage))
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
    for number, x in enumerate((*np.linspace(0.3, 0.5, 20), 0.9, 0.1)):
        curve = x * (1 - 0.8 ** np.arange(1, 21))
        n_steps = 20 if number < 20 else 4
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if n_steps == 20 else TrialState.PRUNED,
                value=float(curve[n_steps - 1]),
                params={"x": float(x)},
                distributions={"x": FloatDistribution(0, 1)},
                intermediate_values=dict(enumerate(curve[:n_steps].tolist())),
            )
        )
    return study


def test_the_last_worker_goes_on_with_what_was_stopped_though_the_study_has_enough(place):
    study = study_with_a_stopped_good_trial(place)
    study.enqueue_trial({"x": 0.25})
    path = place.write(CLIMBS)
    assert run_worker(path, storage=place.storage, study_name=STUDY, max_trials=22) == 0
    # The good one, not the bad one, nor what waits as a trial of its own.
    assert [trial.user_attrs.get("perfpred:continues") for trial in study.trials[22:]] == [
        None,
        20,
    ]
    states = [trial.state for trial in study.trials[22:]]
    assert states == [TrialState.WAITING, TrialState.COMPLETE]
    assert study.best_value == 0.9
    # No new one comes that it would have to be worth as much as.
    assert 0.0 < study.trials[-1].user_attrs["perfpred:least_ratio"] < 0.25


def test_a_worker_that_alone_has_enough_leaves_what_was_stopped(place):
    study = study_with_a_stopped_good_trial(place)
    study.enqueue_trial({"x": 0.25})
    study.enqueue_trial({"x": 0.9}, user_attrs={"perfpred:continues": 20})
    path = place.write(SQUARE)
    assert run_worker(path, storage=place.storage, study_name=STUDY, n_trials=1) == 0
    assert [trial.state.is_finished() for trial in study.trials[22:]] == [True, False]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_trials", 0),
        ("max_trials", 0),
        ("timeout", 0),
        ("heartbeat_interval", 0),
        ("grace_period", 60),
        ("max_retry", -1),
    ],
)
def test_a_bad_argument_is_told(argument, value, place):
    with pytest.raises(ValueError, match=f"`{argument}` must be .* but got .*{value}"):
        run_worker(
            place.write(SQUARE), storage=place.storage, study_name=STUDY, **{argument: value}
        )
    assert not (place.folder / "study.sqlite3").exists()
