"""What pruners would do in the studies that people have really made.

    python benchmarks/wild.py FOLDER [--pruners NAME ...] [--n-orders 3] [--jobs 2]

`FOLDER` holds Optuna's files as their users left them: SQLite databases of any schema since 2.0
and journals, at any depth and of any name. Each is copied, and the copy is brought to the schema
of the Optuna that is installed: the files are only read. A study of which another one holds half
of the completed trials counts once.

Replayed are the single-objective studies with enough completed curves, in random orders, the same
for all pruners: how many times fewer steps were trained than in full, how often the best
completed trial was completed again, and how far the best completed value is from the best one, in
interquartile ranges of the values (at most 1). What other pruners have stopped has no known end
and is left out, so that what is replayed is better than what their samplers proposed: there is
less to save, and the rest is closer to the best.

Before it, a census: the studies' trials and states, how long their curves are, and whether what a
trial returns is its last report or its best one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import redirect_stdout
import io
import os
from pathlib import Path
import shutil
import tempfile
from typing import NamedTuple
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from pruners import Curves
from pruners import Options
from pruners import PRUNERS
import sqlalchemy

from optuna_perfpred._storages import has_other_tables
from optuna_perfpred._storages import is_journal_file
from optuna_perfpred._storages import is_sqlite_file
from optuna_perfpred._storages import open_storage
from optuna_perfpred._storages import open_study
from optuna_perfpred.replay import replay


DEFAULT = ("none", "median", "median_warmup", "halving", "hyperband", "ours")
MIN_COMPLETED, MIN_REPORTS = 12, 3
# Of the trials of a study that is said to return its last or best report.
LEAST_RETURNED = 0.8


class Found(NamedTuple):
    """A study in a file."""

    file: str
    copy: str
    name: str
    trials: list[optuna.trial.FrozenTrial]
    direction: StudyDirection

    @property
    def curves(self) -> list[optuna.trial.FrozenTrial]:
        """The completed trials that reported."""
        return [
            trial
            for trial in self.trials
            if trial.state == TrialState.COMPLETE and trial.intermediate_values
        ]

    @property
    def is_replayable(self) -> bool:
        reports = [len(trial.intermediate_values) for trial in self.curves]
        return len(reports) >= MIN_COMPLETED and bool(np.median(reports) >= MIN_REPORTS)

    @property
    def returned(self) -> tuple[float, float]:
        """The shares of the trials that return their last report, and their best one."""
        sign = 1.0 if self.direction == StudyDirection.MAXIMIZE else -1.0
        last, best = [], []
        for trial in self.curves:
            reports = trial.intermediate_values
            last.append(trial.value == reports[max(reports)])
            best.append(trial.value == sign * max(sign * value for value in reports.values()))
        return float(np.mean(last)), float(np.mean(best))

    @property
    def ends(self) -> set[tuple[str, float | None]]:
        return {(str(trial.datetime_complete), trial.value) for trial in self.curves}


def find(folder: Path, copies: Path) -> list[Found]:
    """Find the studies in the files of a folder; what cannot be read is told."""
    found: list[Found] = []
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number, file in enumerate(files):
        name = str(file.relative_to(folder))
        copy = copies / f"{number}-{file.name}"
        try:
            is_database = is_sqlite_file(file)
            if not is_database and not is_journal_file(file):
                continue
            for suffix in ("", "-wal"):  # What an unclosed database has not yet taken in.
                if Path(f"{file}{suffix}").is_file():
                    shutil.copy(f"{file}{suffix}", f"{copy}{suffix}")
            if is_database:
                if has_other_tables(sqlalchemy.create_engine(f"sqlite:///{copy}")):
                    raise ValueError("a database, but not of Optuna")
                with redirect_stdout(io.StringIO()):
                    RDBStorage(f"sqlite:///{copy}", skip_compatibility_check=True).upgrade()
            found += read(name, str(copy))
        except Exception as error:
            # Whatever is wrong with one of somebody's files, the others are read.
            print(f"{name}: not read, {str(error).splitlines()[0][:120]}")
    return found


def read(file: str, copy: str) -> list[Found]:
    """Read the single-objective studies of a storage."""
    storage = open_storage(copy)
    return [
        Found(
            file, copy, study.study_name, storage.get_all_trials(study._study_id), study.direction
        )
        for study in storage.get_all_studies()
        if len(study.directions) == 1
    ]


def without_repeated(found: list[Found]) -> list[Found]:
    """Leave out the studies of which another one holds at least half of the trials."""
    kept: list[Found] = []
    for study in sorted(found, key=lambda study: -len(study.curves)):
        if not any(2 * len(study.ends & other.ends) >= len(study.ends) for other in kept):
            kept.append(study)
    return sorted(kept, key=lambda study: (study.file, study.name))


def measure(study: Found, pruner_name: str, n_orders: int) -> tuple[float, float, float]:
    """Give speed-up, share of orders in which the best was kept, and regret."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    lengths = [len(trial.intermediate_values) for trial in study.curves]
    last_step = max(max(trial.intermediate_values) for trial in study.curves)
    pruner = PRUNERS[pruner_name][1](Curves(max(1, last_step), max(lengths)), Options(20, None))
    report = replay(
        open_study(study.copy, study.name), pruner, order="random", n_repeats=n_orders, seed=0
    )
    regrets = [repeat.regret / report.iqr if repeat.regret else 0.0 for repeat in report.repeats]
    return report.speed_up, report.best_kept, float(np.mean(np.minimum(regrets, 1.0)))


def label(name: str) -> str:
    """Give a name as a cell of a table."""
    return " ".join(name.replace("|", "/").split())[:60]


def print_census(found: list[Found]) -> None:
    print(
        "| file | study | trials | completed curves | pruned | failed | running or waiting | ",
        end="",
    )
    print("steps | returns the last report / the best |")
    print("|" + " --- |" * 9)
    for study in found:
        n = len(study.trials)
        states = Counter(trial.state for trial in study.trials)
        lengths = [len(trial.intermediate_values) for trial in study.curves]
        last, best = study.returned
        cells = [
            label(study.file),
            label(study.name),
            n,
            len(study.curves),
            f"{states[TrialState.PRUNED] / n:.0%}",
            f"{states[TrialState.FAIL] / n:.0%}",
            f"{(states[TrialState.RUNNING] + states[TrialState.WAITING]) / n:.0%}",
            f"{min(lengths)}-{max(lengths)}",
            f"{last:.0%} / {best:.0%}",
        ]
        print("|", " | ".join(map(str, cells)), "|")


def print_replays(found: list[Found], pruners: list[str], n_orders: int, jobs: int) -> None:
    results = Parallel(jobs)(
        delayed(measure)(study, pruner, n_orders) for study in found for pruner in pruners
    )
    table = np.array(results).reshape(len(found), len(pruners), 3)
    print("| study | " + " | ".join(PRUNERS[name][0] for name in pruners) + " |")
    print("|" + " --- |" * (len(pruners) + 1))
    for study, row in zip(found, table, strict=True):
        cells = [f"{speed:.1f} / {kept:.2f} / {regret:.3f}" for speed, kept, regret in row]
        print(f"| {label(study.file)}, {label(study.name)} | " + " | ".join(cells) + " |")
    returns_report = np.array([max(study.returned) >= LEAST_RETURNED for study in found])
    for title, rows in (
        ("that return their last or best report", returns_report),
        ("that return something else", ~returns_report),
        ("all", np.ones(len(found), dtype=bool)),
    ):
        cells = [
            f"{np.exp(np.log(of_pruner[:, 0]).mean()):.2f} / {of_pruner[:, 1].mean():.2f} / "
            f"{of_pruner[:, 2].mean():.3f}"
            for of_pruner in table[rows].swapaxes(0, 1)
        ]
        if rows.any():
            print(f"| **{title}, {rows.sum()}** | " + " | ".join(cells) + " |")
    print(
        f"\nSpeed-up / best kept / regret in interquartile ranges; {n_orders} random orders each."
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pruners", nargs="*", choices=PRUNERS, default=list(DEFAULT))
    parser.add_argument("--n-orders", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if not args.folder.is_dir():
        parser.error(f"there is no folder {args.folder}")
    with tempfile.TemporaryDirectory() as copies:
        found = find(args.folder, Path(copies))
        n_found = len(found)
        found = without_repeated([study for study in found if study.is_replayable])
        print(
            f"{n_found} single-objective studies, {len(found)} with at least {MIN_COMPLETED} "
            f"completed curves of {MIN_REPORTS} reports, each once.\n"
        )
        if found:
            print_census(found)
            print()
            print_replays(found, args.pruners, args.n_orders, args.jobs)


if __name__ == "__main__":
    main()
