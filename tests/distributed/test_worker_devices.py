"""A worker on each device, in processes of their own."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from urllib.parse import quote_plus

import pytest
import sqlalchemy

from optuna_perfpred.distributed._supervisor import Supervisor
from tests.distributed.worker_files import COMMAND
from tests.distributed.worker_files import Place
from tests.distributed.workers import wait_until


# The first trial waits for its end, and others for nothing.
TELLS = """
def objective(trial):
    x = trial.suggest_float("x", 0.0, 1.0)
    trial.set_user_attr("pid", os.getpid())
    trial.set_user_attr("device", os.environ.get("CUDA_VISIBLE_DEVICES"))
    print("trial", trial.number, flush=True)
    while trial.number < {n_waiting} or not os.path.exists({gate!r}):
        time.sleep(0.05)
    return x
"""
OPTIONS = ("--heartbeat-interval", "1", "--grace-period", "2")


@pytest.fixture
def start(tmp_path):
    started = []

    def start(place, objective, *options, **environment):
        process = subprocess.Popen(
            [COMMAND, *place.arguments(objective, *options)],
            stdout=(tmp_path / "output").open("w"),
            stderr=(tmp_path / "errors").open("w"),
            env={**os.environ, **environment},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def attributes(place, number):
    """Give a trial's user attributes once the objective has set them, or nothing."""
    try:
        attributes = place.study().trials[number].user_attrs
    except (KeyError, IndexError):
        return {}
    return attributes if "device" in attributes else {}


@pytest.mark.parametrize("is_late", [False, True])
def test_a_killed_worker_is_started_again_and_its_trial_tried_again(start, tmp_path, is_late):
    place = Place(tmp_path, f"sqlite:///{tmp_path / 'study.sqlite3'}?timeout=20")
    limits = ("--devices", "1,0", "--n-trials", "2")
    gate = tmp_path / "gate"
    objective = TELLS.format(n_waiting=1, gate=str(gate))
    process = start(place, objective, *limits, *OPTIONS, CUDA_VISIBLE_DEVICES="4,7")
    wait_until(lambda: attributes(place, 0) and attributes(place, 1))
    victim = attributes(place, 0)
    os.kill(victim["pid"], signal.SIGKILL)
    if not is_late:
        # Both have begun what they begin before the trial counts as dead.
        wait_until(lambda: attributes(place, 2))
        time.sleep(4.0)
    gate.touch()
    assert process.wait(60.0) == 0

    trials = place.study().trials
    # Each started two trials; the one that died was tried again by either, if need be by the
    # last one, on top of its own.
    assert trials[0].state.name == "FAIL"
    assert {trial.state.name for trial in trials[1:]} == {"COMPLETE"}
    assert [t.params for t in trials].count(trials[0].params) == 2
    devices = [trial.user_attrs["device"] for trial in trials]
    if not is_late:
        assert sorted(devices) == ["4", "4", "7", "7"]
    assert 4 <= len(trials) <= 5
    output, errors = (tmp_path / "output").read_text(), (tmp_path / "errors").read_text()
    assert f"[gpu {victim['device']}] trial 0\n" in output
    for trial in trials[1:]:
        # That it is tried again shows in the number, while the attributes are the first one's.
        assert f"] trial {trial.number}\n" in output
    assert f"The worker [gpu {victim['device']}] ended with the code 137; it is started" in errors
    assert errors.count("SQLite lets its writers wait") == 1


def test_the_trial_with_which_the_last_worker_died_is_tried_again(start, tmp_path):
    place = Place(tmp_path, f"sqlite:///{tmp_path / 'study.sqlite3'}?timeout=20")
    gate = tmp_path / "gate"
    gate.touch()
    objective = TELLS.format(n_waiting=1, gate=str(gate))
    options = ("--devices", "auto", "--n-trials", "1", *OPTIONS)
    process = start(place, objective, *options, CUDA_VISIBLE_DEVICES="")
    wait_until(lambda: attributes(place, 0))
    os.kill(attributes(place, 0)["pid"], signal.SIGKILL)
    assert process.wait(60.0) == 0
    assert place.states() == ["FAIL", "COMPLETE"]


# Tells everybody the URL of the storage, in all ways that a worker can hide.
INDISCREET = """
import logging, pathlib, subprocess, threading, traceback, warnings

def objective(trial):
    url = os.environ["OPTUNA_STORAGE"]
    trial.set_user_attr("device", os.environ["CUDA_VISIBLE_DEVICES"])
    with open({processes!r}, "ab") as file:
        for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            file.write(process.read_bytes() + b"\\n")
    print("printed", url, flush=True)
    subprocess.run(["sh", "-c", 'echo "echoed $OPTUNA_STORAGE"'])
    warnings.warn("warned " + url)
    logging.getLogger("mine").error("logged %s", url)
    thread = threading.Thread(target=int, args=("threaded " + url,))
    thread.start()
    thread.join()
    if trial.number < 2:
        raise RuntimeError("raised " + url)
    time.sleep(600.0)
"""
PASSWORD = "se/cr@et"


@pytest.fixture
def stopped(start, postgresql_url, tmp_path):
    """Give a place where two workers have been at work on one GPU until SIGTERM."""
    place = Place(
        tmp_path, postgresql_url.replace("postgres@", f"postgres:{quote_plus(PASSWORD)}@")
    )
    objective = INDISCREET.format(processes=str(tmp_path / "processes"))
    process = start(place, objective, "--devices", "auto", CUDA_VISIBLE_DEVICES="0,0")
    wait_until(lambda: attributes(place, 2) and attributes(place, 3))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60.0) == 143
    return place


def test_workers_are_stopped_with_the_one_that_started_them_and_show_no_password(stopped):
    assert stopped.states() == ["FAIL", "FAIL", "FAIL", "FAIL", "WAITING", "WAITING"]
    output = (stopped.folder / "output").read_text()
    assert {line.split("]")[0] for line in output.splitlines()} == {"[gpu 0 #1", "[gpu 0 #2"}

    errors = (stopped.folder / "errors").read_text()
    for word in ("warned", "logged", "threaded", "raised"):
        assert f"{word} postgresql+psycopg://postgres:***@" in errors
    for word in ("printed", "echoed"):
        assert f"{word} postgresql+psycopg://postgres:***@" in output
    assert errors.count("could be seen in the list of processes") == 1
    processes = (stopped.folder / "processes").read_text(errors="replace")
    assert f"worker\0{stopped.file}:objective" in processes
    engine = sqlalchemy.create_engine(stopped.storage)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(engine).get_table_names()
        rows = [connection.execute(sqlalchemy.text(f"SELECT * FROM {t}")).all() for t in tables]
    engine.dispose()
    assert "device" in str(rows)
    for text in (output, errors, processes, str(rows)):
        assert PASSWORD not in text
        assert quote_plus(PASSWORD) not in text


def test_no_worker_outlives_the_one_that_started_it(start, tmp_path):
    place = Place(tmp_path, str(tmp_path / "study.journal"))
    process = start(
        place,
        TELLS.format(n_waiting=1, gate=str(tmp_path)),
        "--devices",
        "auto",
        CUDA_VISIBLE_DEVICES="",
    )
    wait_until(lambda: attributes(place, 0))
    process.kill()
    wait_until(lambda: place.states() == ["FAIL", "WAITING"])
    assert "There is no GPU: one worker runs on the CPU." in (tmp_path / "errors").read_text()
    wait_until(lambda: not Path(f"/proc/{attributes(place, 0)['pid']}/fd/0").exists())


def supervise(code, *, n_devices=1, **settings):
    """Run a supervisor whose workers are a few lines; give its exit code."""
    return Supervisor(
        lambda n_trials, timeout: [sys.executable, "-c", code, str(n_trials), str(timeout)],
        [str(i) for i in range(n_devices)],
        **{"n_trials": None, "timeout": None, **settings},
        environ=os.environ,
        redact=lambda text: text,
        first_delay=0.01,
    ).run()


def test_a_worker_that_crashes_again_and_again_is_given_up(tmp_path, caplog):
    code = f"open({str(tmp_path / 'starts')!r}, 'a').write('.'); import os; os.abort()"
    assert supervise(code) == 128 + signal.SIGABRT
    assert len((tmp_path / "starts").read_text()) == 6
    assert "6 times in a row; it is given up" in caplog.text


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([0, 3], 3), ([0, 143], 143), ([143, 3], 3), ([3, 1], 1), ([0, 2], 2), ([0, 0], 0)],
)
def test_the_exit_code_is_the_worst_of_the_workers(codes, worst):
    code = f"import os, sys; sys.exit({codes}[int(os.environ['CUDA_VISIBLE_DEVICES'])])"
    assert supervise(code, n_devices=len(codes)) == worst


def test_a_worker_that_is_started_again_has_only_the_rest_to_do(tmp_path, caplog):
    code = f"""
import os, sys
open({str(tmp_path / "given")!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
open(os.environ["OPTUNA_PERFPRED_COUNT_FILE"], "ab").write(b"..")
sys.exit(4)
"""
    assert supervise(code, n_trials=5, timeout=100.0) == 4
    given = [line.split() for line in (tmp_path / "given").read_text().splitlines()]
    # The last time only to settle what was left.
    assert [n_trials for n_trials, _ in given] == ["5", "3", "1", "0"]
    seconds = [float(timeout) for _, timeout in given]
    assert 100.0 >= seconds[0] > seconds[1] > seconds[2] > seconds[3] > 0.0
    assert "there is nothing left for it" in caplog.text
