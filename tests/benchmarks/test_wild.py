from __future__ import annotations

from pathlib import Path
import shutil
import sqlite3
import subprocess
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "wild.py"


def add_trials(study, n_trials=20):
    for number in range(n_trials):
        value = (7 * number % n_trials) / n_trials
        curve = {step: value + 0.1 * (number % 3) / (step + 1) for step in range(10)}
        study.add_trial(create_trial(value=min(curve.values()), intermediate_values=curve))


def test_what_users_left_is_found_and_replayed(tmp_path):
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    database = folder / "deep" / "study.db"
    add_trials(optuna.create_study(storage=f"sqlite:///{database}", study_name="a | b"))
    shutil.copy(database, folder / "the-same.bak")
    journal = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    add_trials(optuna.create_study(storage=journal, study_name="journal"), 15)
    optuna.create_study(storage=journal, directions=["minimize", "maximize"])
    add_trials(optuna.create_study(storage=journal, study_name="short"), 3)
    (folder / "README.md").write_text("Nothing of Optuna.")
    (folder / "empty.db").touch()
    with sqlite3.connect(folder / "other.db") as other:
        other.execute("CREATE TABLE birds (name TEXT)")
    (folder / "cut.db").write_bytes(database.read_bytes()[:5000])
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    arguments = [folder, "--pruners", "none", "ours", "--n-orders", "2", "--jobs", "1"]
    output = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = output.splitlines()
    assert sorted(line.partition(":")[0] for line in lines[:2]) == ["cut.db", "other.db"]
    assert "4 single-objective studies, 2 with at least 12 completed curves" in output
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
    assert rows[2][1:9] == ["deep/study.db", "a / b", "20", "20", "0%", "0%", "0%", "10-10"]
    replays = rows[6:]
    assert [row[1] for row in replays] == [
        "deep/study.db, a / b",
        "journal.log, journal",
        "**that return their last or best report, 2**",
        "**all, 2**",
    ]
    assert all(row[2] in ("1.0 / 1.00 / 0.000", "1.00 / 1.00 / 0.000") for row in replays)
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
