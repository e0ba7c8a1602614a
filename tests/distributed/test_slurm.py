"""The job array of examples/slurm on a real Slurm cluster of two nodes on this machine."""

from __future__ import annotations

from collections import Counter
import os
from pathlib import Path
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

    def n_held():
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(trial.number >= N_FREE and "node" in trial.user_attrs for trial in running)

    wait_until(lambda: n_held() == 2, slurm)
    # Takes the node of one of the two.
    slurm.run("sbatch", "--partition=urgent", "--gres=gpu:1", "--output=/dev/null", "--wrap=true")
    wait_until(lambda: "1" in restarts(), slurm)
    # The other one gets the warning that otherwise comes before the time limit.
    slurm.run("scancel", "--batch", "--signal=USR1", f"{job}_{restarts().index('0')}")
    wait_until(lambda: restarts() == ["1", "1"] and n_held() == 2, slurm)
    hold.unlink()
    wait_until(lambda: not slurm.run("squeue", "--noheader"), slurm)

    for task in (0, 1):
        shown = slurm.job(f"{job}_{task}")
        assert (shown["JobState"], shown["ExitCode"]) == ("COMPLETED", "0:0"), slurm.logs()
        assert PASSWORD not in str(shown)
    states = Counter(trial.state for trial in study.trials)
    assert 40 <= states[TrialState.COMPLETE] + states[TrialState.PRUNED] <= 41
    # Those of the two tasks, which were tried again.
    assert states[TrialState.FAIL] == 2
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
