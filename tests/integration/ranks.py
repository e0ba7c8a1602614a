"""Processes as `torchrun` starts them, but forked, which is quicker."""

from __future__ import annotations

import contextlib
import os
import socket
import time

import optuna
import torch.distributed as dist
from torch.multiprocessing import start_processes

from optuna_perfpred import PerformancePredictionPruner


N_RANKS = 2
SECONDS = 180.0


def run_ranks(function, *arguments):
    """Call a function in each rank; raise if one fails, or if they hang."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ranks = start_processes(
        _run, (port, function, arguments), N_RANKS, join=False, start_method="fork"
    )
    deadline = time.monotonic() + SECONDS
    try:
        while not ranks.join(timeout=1.0):
            assert time.monotonic() < deadline, "The ranks hang."
    finally:
        for process in ranks.processes:
            process.kill()


def optimize(storage, objective, n_trials=1):
    """Run trials on rank 0, and their trainings on all."""
    if dist.get_rank() == 0:
        study = optuna.load_study(
            study_name="study", storage=storage, pruner=PerformancePredictionPruner()
        )
        study.optimize(objective, n_trials=n_trials)
    else:
        for _ in range(n_trials):
            with contextlib.suppress(optuna.TrialPruned):
                objective(None)


def _run(rank, port, function, arguments):
    os.environ |= {
        "GROUP_RANK": "0",
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(N_RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "TORCHELASTIC_RUN_ID": "none",
        "WORLD_SIZE": str(N_RANKS),
    }
    dist.init_process_group("gloo")
    try:
        function(*arguments)
    finally:
        dist.destroy_process_group()
