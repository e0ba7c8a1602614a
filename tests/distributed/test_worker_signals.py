"""Workers in processes of their own, and the signals that end them."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import time

import pytest

from tests.distributed.worker_files import COMMAND
from tests.distributed.worker_files import HEADER
from tests.distributed.worker_files import Place


# Reports all the time, so that the signal finds the storage at work; ends if it runs again.
ENDLESS = """
def objective(trial):
    x = trial.suggest_float("x", 0.0, 1.0)
    if trial.number > 0:
        return x
    child = os.fork()
    while child == 0:
        time.sleep(1.0)
    for step in range(1_000_000):
        trial.report(x, step)
        if step == 2:
            print(child, flush=True)
"""
STUBBORN = """
def objective(trial):
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60.0)
        except KeyboardInterrupt:
            print("not yet", flush=True)
"""
WAIT_SECONDS = 60.0


@pytest.fixture
def start(tmp_path):
    """Give a function that starts a worker, waits for its objective and gives what it prints."""
    started = []

    def start(place, objective, *options):
        process = subprocess.Popen(
            [COMMAND, *place.arguments(objective, *options)],
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "errors").open("w"),
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)
        process.stdout.close()


def is_alive(pid):
    try:
        # What no parent waits for stays as a zombie.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def check_that_it_was_stopped_cleanly(place):
    assert place.states() == ["FAIL", "WAITING"]
    first, again = place.study().trials
    assert first.intermediate_values
    assert again.params == first.params
    assert place.run(ENDLESS, "--n-trials", "1") == 0
    assert place.states() == ["FAIL", "COMPLETE"]
    assert place.study().best_value == first.params["x"]


def test_a_scheduler_stops_a_worker_on_a_database(start, postgresql_url, tmp_path):
    place = Place(tmp_path, postgresql_url)
    process, child = start(place, ENDLESS)
    # The whole group gets it, and some schedulers send it again at once.
    os.killpg(process.pid, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(WAIT_SECONDS) == 143
    assert not is_alive(int(child))
    assert "Traceback" not in (tmp_path / "errors").read_text()
    check_that_it_was_stopped_cleanly(place)


def test_a_user_stops_a_worker_on_a_journal(start, tmp_path):
    place = Place(tmp_path, str(tmp_path / "study.journal"))
    process, _ = start(place, ENDLESS)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(WAIT_SECONDS) == 130
    check_that_it_was_stopped_cleanly(place)


def test_a_second_signal_ends_a_worker_that_does_not_stop(start, tmp_path):
    place = Place(tmp_path, str(tmp_path / "study.journal"))
    process, _ = start(place, STUBBORN)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "not yet\n"
    time.sleep(1.1)  # A signal that comes sooner belongs to the first.
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_SECONDS) == 143
    assert "Ended at once" in (tmp_path / "errors").read_text()
    assert place.states() == ["RUNNING"]


def test_a_signal_before_the_first_trial_starts_none(tmp_path):
    place = Place(tmp_path, str(tmp_path / "study.journal"))
    header = HEADER + "\nos.kill(os.getpid(), signal.SIGTERM)\n"
    assert place.run(ENDLESS, header=header) == 143
    assert place.states() == []
