"""Real Ray clusters on this machine, whose one GPU two workers share."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred.distributed import run_on_ray
from tests.distributed.cluster_objective import HOLD
from tests.distributed.cluster_objective import N_FREE
from tests.servers import unavailable


try:
    import ray
except ImportError:
    ray = None

FILE = str(Path(__file__).with_name("cluster_objective.py"))
HEARTBEAT = {"heartbeat_interval": 1, "grace_period": 3}
PASSWORD = "pa55-of-ray"
WAIT_SECONDS = 240.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start Ray on loopback; give its address."""
    if ray is None:
        unavailable("Ray is not installed (pip install ray)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray hands the environment down to its workers.
        patch.setenv(HOLD, str(tmp_path_factory.mktemp("ray") / "hold"))
        # A new one, even if one is known to this host.
        ray.init(
            "local",
            num_cpus=2,
            num_gpus=1,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@pytest.fixture
def url(postgresql_url):
    """The server trusts its host and takes any password."""
    return postgresql_url.replace("postgres@", f"postgres:{PASSWORD}@")


def running_trials(url):
    """Give the running trials that have told where they run."""
    try:
        study = optuna.load_study(study_name="study", storage=url)
    except (KeyError, optuna.exceptions.StorageInternalError):
        return []  # The workers have not created it yet.
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if "gpu" in trial.user_attrs]


def wait_for(condition):
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "What the test waits for did not happen."
        time.sleep(0.1)


def kill_a_worker(url, hold, killed):
    """Kill a worker in the middle of a trial, and wait until another is in its place."""
    try:
        wait_for(lambda: [t.number >= N_FREE for t in running_trials(url)] == [True, True])
        trials = running_trials(url)
        os.kill(trials[0].user_attrs["process"], signal.SIGKILL)
        killed.append(trials[0])
        known = {trial.user_attrs["process"] for trial in trials}
        wait_for(lambda: {t.user_attrs["process"] for t in running_trials(url)} - known)
    finally:
        hold.unlink()


@pytest.mark.slow
def test_workers_share_a_gpu_and_one_that_is_killed_is_started_again(cluster, url, capfd):
    killed = []
    hold = Path(os.environ[HOLD])
    hold.touch()
    killer = threading.Thread(target=kill_a_worker, args=(url, hold, killed))
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
    assert all(trial.state.is_finished() for trial in study.trials)
    assert {trial.user_attrs["gpu"] for trial in study.trials} == {"0"}

    [died] = killed
    assert study.trials[died.number].state == TrialState.FAIL
    [retry] = [t for t in study.trials if t.params == died.params and t.number != died.number]
    assert retry.state in (TrialState.COMPLETE, TrialState.PRUNED)
    # Two, and the one that Ray started in the place of the killed.
    assert len({trial.user_attrs["process"] for trial in study.trials}) == 3

    output = capfd.readouterr()
    assert "Joined the study" in output.out + output.err
    assert PASSWORD not in output.out + output.err
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    texts = [file.read_bytes() for file in logs.rglob("*") if file.is_file()]
    assert any(b"Joined the study" in text for text in texts)
    assert not any(PASSWORD.encode() in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        ("absent", "has no function 'absent'"),
        ("failing", "The objective failed again and again"),
        ("dying", "Ray gave it up: .*worker process has died"),
    ],
)
def test_a_worker_that_fails_for_good_is_told(cluster, url, objective, reason):
    with pytest.raises(RuntimeError, match=f"1 of 1 workers failed:\n  worker 0: .*{reason}"):
        run_on_ray(
            f"{FILE}:{objective}",
            storage=url,
            study_name="study",
            n_workers=1,
            num_gpus=0.5,
            max_restarts=1,
        )


_SCRIPT = """
import signal
import sys
from optuna_perfpred.distributed import run_on_ray

# What is started in the background, as the tests may be, is born ignoring it.
signal.signal(signal.SIGINT, signal.default_int_handler)
run_on_ray(
    sys.argv[1], storage=sys.argv[2], study_name="study", n_workers=3, num_gpus=0.5,
    address=sys.argv[3],
)
"""


@pytest.mark.slow
def test_ctrl_c_leaves_no_trial_running(cluster, url, tmp_path):
    command = [sys.executable, "-c", _SCRIPT, f"{FILE}:objective", url, cluster]
    with (tmp_path / "log").open("w") as log:
        script = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        # There is no room for the third.
        wait_for(lambda: len(running_trials(url)) == 2 or script.poll() is not None)
        script.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            script.wait(WAIT_SECONDS)
    finally:
        script.kill()
    told = (tmp_path / "log").read_text()
    assert script.wait() == -signal.SIGINT, told
    assert "told to stop" in told
    assert "did not stop" not in told
    assert PASSWORD not in told
    trials = optuna.load_study(study_name="study", storage=url).trials
    states = Counter(trial.state for trial in trials)
    assert states[TrialState.RUNNING] == 0
    # They wait for whoever goes on with the study.
    assert states[TrialState.WAITING] == states[TrialState.FAIL] <= 2


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
