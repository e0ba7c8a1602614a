"""Real Ray clusters on this machine, whose one GPU two workers share."""

from __future__ import annotations

from collections import Counter
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
import pytest

from optuna_perfpred.distributed import run_on_ray
from tests.servers import unavailable


try:
    import ray
except ImportError:
    ray = None

FILE = str(Path(__file__).with_name("cluster_objective.py"))
HEARTBEAT = {"heartbeat_interval": 1, "grace_period": 3}
PASSWORD = "pa55-of-ray"
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def cluster():
    """Start Ray on loopback; give its address."""
    if ray is None:
        unavailable("Ray is not installed (pip install ray)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, _node_ip_address="127.0.0.1")
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@pytest.fixture
def url(postgresql_url):
    """The server trusts its host and takes any password."""
    return postgresql_url.replace("postgres@", f"postgres:{PASSWORD}@")


def kill_a_worker(url, killed):
    """Kill a worker in the middle of a trial, once some trials have finished."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.05)
        try:
            trials = optuna.load_study(study_name="study", storage=url).trials
        except (KeyError, optuna.exceptions.StorageInternalError):
            continue  # The workers have not created it yet.
        running = [t for t in trials if t.state == TrialState.RUNNING and t.last_step is not None]
        if len(trials) < 5 or not running:
            continue
        trial = running[-1]
        os.kill(trial.user_attrs["process"], signal.SIGSTOP)
        # It may have ended between the look and the signal, or while it told its end.
        time.sleep(0.2)
        trials = optuna.load_study(study_name="study", storage=url).trials
        if trials[trial.number].state == TrialState.RUNNING:
            os.kill(trial.user_attrs["process"], signal.SIGKILL)
            killed.append(trial)
            return
        os.kill(trial.user_attrs["process"], signal.SIGCONT)


@pytest.mark.slow
def test_workers_share_a_gpu_and_one_that_is_killed_is_started_again(cluster, url, capfd):
    killed = []
    killer = threading.Thread(target=kill_a_worker, args=(url, killed))
    killer.start()
    run_on_ray(
        f"{FILE}:objective",
        storage=url,
        study_name="study",
        n_workers=2,
        max_trials=40,
        num_gpus=0.5,
        **HEARTBEAT,
    )
    killer.join()

    study = optuna.load_study(study_name="study", storage=url)
    states = Counter(trial.state for trial in study.trials)
    assert 40 <= states[TrialState.COMPLETE] + states[TrialState.PRUNED] <= 41
    assert states[TrialState.FAIL] == 1
    assert len(study.trials) == states.total() - states[TrialState.RUNNING]
    assert {t.user_attrs["gpu"] for t in study.trials if t.state.is_finished()} == {"0"}

    [died] = killed
    assert study.trials[died.number].state == TrialState.FAIL
    [retry] = [
        t
        for t in study.trials
        if RetryHeartbeatStaleTrialCallback.retried_trial_number(t) == died.number
    ]
    assert retry.params == died.params
    assert retry.state in (TrialState.COMPLETE, TrialState.PRUNED)
    # Two, and the one that Ray started in the place of the killed.
    workers = {t.user_attrs["process"] for t in study.trials}
    assert len(workers) == 3
    assert (
        max(
            t.number
            for t in study.trials
            if t.user_attrs["process"] not in {study.trials[died.number].user_attrs["process"]}
        )
        > died.number
    )

    output = capfd.readouterr()
    assert "Joined the study" in output.out + output.err
    assert PASSWORD not in output.out + output.err
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    texts = [file.read_bytes() for file in logs.rglob("*") if file.is_file()]
    assert any(b"Joined the study" in text for text in texts)
    assert not any(PASSWORD.encode() in text for text in texts)


@pytest.mark.slow
def test_a_worker_that_fails_for_good_is_told(cluster, url):
    with pytest.raises(RuntimeError, match=r"(?s)2 of 2 workers failed.*has no function 'absent'"):
        run_on_ray(f"{FILE}:absent", storage=url, study_name="study", n_workers=2, num_gpus=0.5)


_SCRIPT = """
import sys
from optuna_perfpred.distributed import run_on_ray

run_on_ray(
    sys.argv[1], storage=sys.argv[2], study_name="study", n_workers=2, num_gpus=0.5,
    address=sys.argv[3],
)
"""


@pytest.mark.slow
def test_ctrl_c_leaves_no_trial_running(cluster, url):
    script = subprocess.Popen([sys.executable, "-c", _SCRIPT, f"{FILE}:objective", url, cluster])
    try:
        wait_for_running(script, url, 2)
        script.send_signal(signal.SIGINT)
        assert script.wait(WAIT_SECONDS) == -signal.SIGINT
    finally:
        script.kill()
    trials = optuna.load_study(study_name="study", storage=url).trials
    states = Counter(trial.state for trial in trials)
    assert states[TrialState.RUNNING] == 0
    # They wait for whoever goes on with the study.
    assert states[TrialState.WAITING] == states[TrialState.FAIL] <= 2


def wait_for_running(script, url, n_running):
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and script.poll() is None:
        time.sleep(0.1)
        try:
            study = optuna.load_study(study_name="study", storage=url)
        except (KeyError, optuna.exceptions.StorageInternalError):
            continue
        if len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))) >= n_running:
            return
    pytest.fail("The workers did not begin.")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_workers": 0}, "n_workers"),
        ({"num_gpus": 1.5}, "num_gpus"),
        ({"num_cpus": -1.0}, "num_cpus"),
        ({"max_restarts": -2}, "max_restarts"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_starts(wrong, named):
    arguments = {"storage": "sqlite://", "study_name": "study", "n_workers": 1} | wrong
    with pytest.raises(ValueError, match=f"`{named}` must be"):
        run_on_ray(f"{FILE}:objective", **arguments)


def test_what_to_install_is_told_if_ray_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "optuna_perfpred\[ray\]"'):
        run_on_ray(f"{FILE}:objective", storage="sqlite://", study_name="study", n_workers=1)
