"""A family's trainings as trials of an Optuna study, run by several processes."""

from __future__ import annotations

import dataclasses
from functools import cache
from functools import partial
import hashlib
import time
from typing import Any
from typing import TYPE_CHECKING

from _recording_families import FAMILIES
from joblib import delayed
from joblib import Parallel
import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


if TYPE_CHECKING:
    from pathlib import Path

    from _recording_family import Family
    from _recording_family import Sizes
    from optuna import Study
    from optuna import Trial
    from optuna.distributions import BaseDistribution


CONFIGURATION = "configuration"  # User attribute: the number of the configuration.
SECONDS = "seconds"  # User attribute: the duration of each epoch.
SIZES = "sizes"  # User attribute of the study.


class NumberedSampler(RandomSampler):
    """Draws at random; a parameter's value depends only on the configuration's number.

    So it makes no difference which process trains a configuration, when, and how often.
    """

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        configuration = trial.user_attrs[CONFIGURATION]
        sampler = RandomSampler(seed_of(study.study_name, configuration, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def seed_of(*parts: object) -> int:
    """A seed that is the same in all processes and versions of Python."""
    # Not a checksum: those of similar texts would be related.
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:4], "big")


def run_training(trial: Trial, family: Family, sizes: Sizes) -> float:
    """The objective: trains the trial's configuration, reports each epoch, asks the pruner.

    The duration of the epochs is kept in the user attribute `seconds`, without what the study's
    storage and the pruner take.
    """
    data = family.load(sizes)
    seed = seed_of(family.name, "weights", trial.user_attrs[CONFIGURATION])
    values = family.train(trial, data, sizes, seed)
    seconds: list[float] = []
    value = float("nan")
    for epoch in range(1, sizes.n_epochs + 1):
        start = time.perf_counter()
        value = next(values)
        seconds.append(round(time.perf_counter() - start, 6))
        trial.report(value, epoch)
        if trial.should_prune():
            trial.set_user_attr(SECONDS, seconds)
            raise optuna.TrialPruned
    trial.set_user_attr(SECONDS, seconds)
    return value


@cache
def open_study(file: Path, name: str) -> Study:
    """The study of a family in a journal file, which is created if need be."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Opened once a process: a journal is read from its beginning.
    return optuna.create_study(
        study_name=name,
        direction=FAMILIES[name].direction,
        # The lock is a link: relative to its folder, a relative path would lead nowhere.
        storage=JournalStorage(JournalFileBackend(str(file.resolve()))),
        sampler=NumberedSampler(),
        pruner=NopPruner(),
        load_if_exists=True,
    )


def _objective(trial: Trial, family: Family, sizes: Sizes, configuration: int) -> float:
    trial.set_user_attr(CONFIGURATION, configuration)
    return run_training(trial, family, sizes)


def _record_one(file: Path, name: str, sizes: Sizes, configuration: int) -> None:
    study = open_study(file, name)
    objective = partial(
        _objective, family=FAMILIES[name], sizes=sizes, configuration=configuration
    )
    study.optimize(objective, n_trials=1)


def completed(study: Study) -> dict[int, FrozenTrial]:
    """The finished trainings by the number of their configuration, in this order."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    by_number = {trial.user_attrs[CONFIGURATION]: trial for trial in trials}
    return dict(sorted(by_number.items()))


def _remove_lock(file: Path) -> None:
    """Unlocks a journal that a killed process has left locked; others hold it only for moments."""
    lock = file.with_name(f"{file.name}.lock")
    patience = time.monotonic() + 3.0
    while lock.is_symlink() and time.monotonic() < patience:
        time.sleep(0.1)
    lock.unlink(missing_ok=True)


def record(name: str, sizes: Sizes, file: Path, jobs: int) -> Study:
    """Runs the trainings that a family's study lacks.

    Args:
        name: Name of the family.
        sizes: Its sizes; those of a study that exists already must be the same.
        file: Journal of the study.
        jobs: Number of processes.

    Returns:
        The study, with one complete trial for each configuration.

    Raises:
        ValueError: If the journal holds a recording of other sizes.
    """
    _remove_lock(file)
    study = open_study(file, name)
    wanted = dataclasses.asdict(sizes) | {"n_trials": None}  # More trials may be added.
    if study.user_attrs.setdefault(SIZES, wanted) != wanted:
        raise ValueError(
            f"{file} was recorded with {study.user_attrs[SIZES]}, and cannot go on with {wanted}."
        )
    study.set_user_attr(SIZES, wanted)
    # Nobody else writes: what is running belongs to a process that was killed.
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    missing = sorted(set(range(sizes.n_trials)) - completed(study).keys())
    Parallel(jobs)(delayed(_record_one)(file, name, sizes, number) for number in missing)
    return study
