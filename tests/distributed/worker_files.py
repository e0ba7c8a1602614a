"""Files that a user of `optuna-perfpred worker` writes, and the command run in this process."""

from __future__ import annotations

import os
from pathlib import Path
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend

from optuna_perfpred import _cli


COMMAND = str(Path(sys.executable).with_name("optuna-perfpred"))
STUDY = "cnn"
HEADER = """
import optuna, os, signal, sys, time

def create_study(storage, study_name):
    return optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(),
        pruner=optuna.pruners.NopPruner(),
    )
"""


class Place:
    """A folder with the objective of a study and with its storage."""

    def __init__(self, folder, storage):
        self.folder = folder
        self.storage = storage
        self.file = folder / f"train_{folder.name}.py"

    def write(self, objective, header=HEADER):
        """Write the module; give how the objective is named to a worker."""
        self.file.write_text(f"{header}\n{objective}")
        return f"{self.file}:objective"

    def arguments(self, objective, *options, header=HEADER):
        named = self.write(objective, header)
        return ["worker", named, "--storage", self.storage, "--study-name", STUDY, *options]

    def run(self, objective, *options, header=HEADER):
        """Run a worker in this process; give its exit code."""
        return _cli.main(self.arguments(objective, *options, header=header))

    def open(self):
        if "://" in self.storage:
            return RDBStorage(self.storage)
        return JournalStorage(JournalFileBackend(self.storage))

    def study(self):
        return optuna.load_study(study_name=STUDY, storage=self.open())

    def states(self):
        return [trial.state.name for trial in self.study().trials]


def work_in_group(arguments, folder):
    """Run the command in this process, with a group of its own and files for what it prints."""
    os.setsid()
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.exit(_cli.main(arguments))
