"""The job array of examples/slurm on a real Slurm cluster of two nodes on this machine."""

from __future__ import annotations

from collections import Counter
import os
from pathlib import Path
import subprocess
import sys
import time

import optuna
from optuna.trial import TrialState
import pytest

from tests.distributed.cluster_objective import HOLD
from tests.distributed.cluster_objective import N_FREE
from tests.slurm import slurm_cluster


SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "workers.sbatch"
OBJECTIVE = f"{Path(__file__).with_name('cluster_objective.py')}:objective"
PASSWORD = "pa55-of-slurm"
WAIT_SECONDS = 180.0
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.fixture
def slurm():
    with slurm_cluster() as cluster:
        yield cluster


def wait_until(condition, slurm):
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, slurm.logs()
        time.sleep(0.2)


@pytest.mark.slow
def test_tasks_that_are_preempted_or_out_of_time_are_requeued(slurm, postgresql_url, tmp_path):
    url = postgresql_url.replace("postgres@", f"postgres:{PASSWORD}@")
    storage_file = tmp_path / "storage"
    storage_file.touch(mode=0o600)
    storage_file.write_text(f"{url}\n")
    study = optuna.create_study(study_name="study", storage=url, direction="maximize")

    hold = tmp_path / "hold"
    hold.touch()
    job = slurm.run(
        *("sbatch", "--parsable", f"--chdir={tmp_path}", "--array=0-1", str(SCRIPT), OBJECTIVE),
        *("--study-name", "study", "--max-trials", "40"),
        OPTUNA_STORAGE_FILE=str(storage_file),
        OMP_NUM_THREADS="1",
        PATH=os.pathsep.join([str(Path(sys.executable).parent), slurm.environment["PATH"]]),
        **{HOLD: str(hold)},
    )

    def restarts():
        return [slurm.job(f"{job}_{task}")["Restarts"] for task in (0, 1)]

    def n_held(n_restarts):
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        held = [t for t in running if t.number >= N_FREE and "node" in t.user_attrs]
        return sum(trial.user_attrs["restarts"] == n_restarts for trial in held)

    wait_until(lambda: n_held("0") == 2, slurm)
    # Takes the node of one of the two.
    slurm.run("sbatch", "--partition=urgent", "--gres=gpu:1", "--output=/dev/null", "--wrap=true")
    wait_until(lambda: "1" in restarts(), slurm)
    # The other one gets the warning that otherwise comes before the time limit.
    slurm.run("scancel", "--batch", "--signal=USR1", f"{job}_{restarts().index('0')}")
    # Not before: a task counts as restarted while its old worker is still ending.
    wait_until(lambda: restarts() == ["1", "1"] and n_held("1") == 2, slurm)
    hold.unlink()
    wait_until(lambda: not slurm.run("squeue", "--noheader"), slurm)

    for task in (0, 1):
        shown = slurm.job(f"{job}_{task}")
        assert (shown["JobState"], shown["ExitCode"]) == ("COMPLETED", "0:0"), slurm.logs()
        assert PASSWORD not in str(shown)
    states = Counter(trial.state for trial in study.trials)
    assert 40 <= states[TrialState.COMPLETE] + states[TrialState.PRUNED] <= 41
    # Those of the two tasks, which were tried again.
    assert states[TrialState.FAIL] == 2, (states, [t.user_attrs for t in study.trials])
    assert set(states) <= {*FINISHED, TrialState.FAIL}
    finished = [trial for trial in study.trials if trial.state in FINISHED]
    assert {trial.user_attrs["node"] for trial in finished} == {"n1", "n2"}
    assert {trial.user_attrs["gpu"] for trial in finished} == {"0"}
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert all(any(f.params == trial.params for trial in finished) for f in failed)

    logs = [log.read_text() for log in tmp_path.glob("optuna-worker-*.log")]
    assert len(logs) == 2
    # Each task ran twice, and its second log did not overwrite the first.
    assert [log.count("Joined the study") for log in logs] == [2, 2]
    assert not any(PASSWORD in log for log in [*logs, slurm.logs()])


@pytest.fixture
def programs(tmp_path):
    """Put a worker and a Slurm in the path that only tell how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, status in (("optuna-perfpred", "$STATUS"), ("scontrol", "0")):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\nexit {status}\n')
        program.chmod(0o755)
    return folder


def run_script(programs, mode, **environment):
    storage_file = programs / "storage"
    storage_file.touch()
    storage_file.chmod(mode)
    return subprocess.run(
        ["bash", str(SCRIPT), "train.py:objective", "--study-name", "study"],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "OPTUNA_STORAGE_FILE": str(storage_file),
            "SLURM_JOB_ID": "7",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("status", "restarts", "is_requeued"),
    [("0", "0", False), ("3", "0", False), ("4", "0", True), ("4", "10", False)],
)
def test_a_task_that_lost_its_storage_is_requeued(programs, status, restarts, is_requeued):
    result = run_script(programs, 0o600, STATUS=status, SLURM_RESTART_COUNT=restarts)
    worker = "optuna-perfpred worker train.py:objective --study-name study"
    worker += f" --storage-file {programs / 'storage'}"
    requeue = ["scontrol requeue 7"] if is_requeued else []
    assert result.stdout.splitlines() == [worker, *requeue]
    assert result.returncode == int(status)


def test_a_storage_file_that_others_can_read_is_refused(programs):
    result = run_script(programs, 0o644, STATUS="0")
    assert result.returncode == 1
    assert "with mode 600" in result.stderr
    assert result.stdout == ""
