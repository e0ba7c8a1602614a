"""Workers that are killed, and workers that come later."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred import QLearningSampler
from tests.samplers.searches import open_journal
from tests.samplers.searches import run_trial
from tests.samplers.searches import SPACE
from tests.samplers.searches import STUDY


ROOT = Path(__file__).parents[2]
SEARCHES = "tests.samplers.searches"


def start(function, *args):
    return subprocess.Popen(
        [sys.executable, "-m", SEARCHES, function, *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def n_finished(study):
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def test_killed_workers_leave_a_table_that_any_new_process_finds_again(tmp_path):
    path = tmp_path / "study.journal"
    study = optuna.create_study(study_name=STUDY, storage=open_journal(path), direction="maximize")
    workers = [start("work", path, seed) for seed in range(2)]
    try:
        deadline = time.monotonic() + 120
        while n_finished(study) < 40 and time.monotonic() < deadline:
            time.sleep(0.05)
            assert all(worker.poll() is None for worker in workers)
    finally:
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.communicate()
    assert n_finished(study) >= 40
    here = repr(QLearningSampler(SPACE, seed=1).q_table(study))
    printed, _ = start("print_table", path).communicate(timeout=120)
    assert printed.strip() == here
    # And the search goes on.
    study.sampler = QLearningSampler(SPACE, seed=2)
    run_trial(study)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_worker_that_watched_all_along_has_the_table_of_a_newcomer(tmp_path, storage):
    if storage == "sqlite":
        opened = f"sqlite:///{tmp_path / 'study.db'}"
    else:
        opened = open_journal(tmp_path / "study.journal")
    sampler = QLearningSampler(SPACE, n_trials=30, seed=0)
    study = optuna.create_study(storage=opened, direction="maximize", sampler=sampler)
    for _ in range(30):
        run_trial(study)
    newcomer = optuna.load_study(study_name=study.study_name, storage=opened)
    assert sampler.q_table(study) == QLearningSampler(SPACE).q_table(newcomer)
