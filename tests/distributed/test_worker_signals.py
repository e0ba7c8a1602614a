"""Workers in processes of their own, and the signals that end them."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
import signal
import time

import pytest

from tests.distributed.worker_files import HEADER
from tests.distributed.worker_files import Place
from tests.distributed.worker_files import work_in_group
from tests.distributed.workers import wait_until


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
    # A process of `workers` has imported everything, and forks.
    context = multiprocessing.get_context("forkserver")
    started = []

    def start(place, objective):
        arguments = (place.arguments(objective), tmp_path)
        process = context.Process(target=work_in_group, args=arguments)
        process.start()
        started.append(process)
        wait_until(lambda: read(tmp_path, "output").endswith("\n"))
        return process, read(tmp_path, "output").strip()

    yield start
    for process in started:
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def read(folder, name):
    return (folder / name).read_text() if (folder / name).exists() else ""


def end(process):
    """Wait for the end of a process; give its exit code."""
    process.join(WAIT_SECONDS)
    return process.exitcode


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
    assert end(process) == 143
    wait_until(lambda: not is_alive(int(child)))
    assert "Traceback" not in read(tmp_path, "errors")
    check_that_it_was_stopped_cleanly(place)


def test_a_user_stops_a_worker_on_a_journal(start, tmp_path):
    place = Place(tmp_path, str(tmp_path / "study.journal"))
    process, _ = start(place, ENDLESS)
    os.killpg(process.pid, signal.SIGINT)
    assert end(process) == 130
    check_that_it_was_stopped_cleanly(place)


def test_a_second_signal_ends_a_worker_that_does_not_stop(start, tmp_path):
    place = Place(tmp_path, str(tmp_path / "study.journal"))
    process, _ = start(place, STUBBORN)
    os.kill(process.pid, signal.SIGTERM)
    wait_until(lambda: "not yet" in read(tmp_path, "output"))
    time.sleep(5.1)  # A signal that comes sooner belongs to the first.
    os.kill(process.pid, signal.SIGTERM)
    assert end(process) == 143
    assert "Ended at once" in read(tmp_path, "errors")
    assert place.states() == ["RUNNING"]


def test_a_signal_before_the_first_trial_starts_none(tmp_path):
    place = Place(tmp_path, str(tmp_path / "study.journal"))
    header = HEADER + "\nos.kill(os.getpid(), signal.SIGTERM)\n"
    assert place.run(ENDLESS, header=header) == 143
    assert place.states() == []
