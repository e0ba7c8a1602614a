"""What the user names may be anything: each is told in a line, and nothing is overwritten."""

from __future__ import annotations

from contextlib import suppress
import gzip
import json
import os
from pathlib import Path
import sqlite3
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

import optuna_perfpred
from optuna_perfpred import _cli
from optuna_perfpred import StoppingRule
from optuna_perfpred.replay import load_curves
from tests.dashboard.studies import make_study
from tests.distributed.worker_files import COMMAND


RULE = Path(optuna_perfpred.__file__).parent / "forecasts/stopping_rule.npz"
KINDS = ("absent", "folder", "empty", "text", "binary", "truncated", "zeros", "fifo", "null")


def make(kind, folder):
    """Make what is in the way; give its path."""
    path = folder / "given"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("Dear diary,\n" * 100)
    elif kind == "binary":
        path.write_bytes(bytes(range(128, 256)) * 100)
    elif kind == "truncated":
        path.write_bytes(RULE.read_bytes()[:5000])
    elif kind == "zeros":  # A gigabyte, without a place on the disk.
        with path.open("wb") as file:
            file.truncate(2**30)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "null":
        path.symlink_to("/dev/null")
    return path


def look(path):
    found = os.lstat(path) if os.path.lexists(path) else None
    return None if found is None else (found.st_mode, found.st_size, found.st_mtime_ns)


def tells(capsys, path, *arguments):
    """Run a command that fails; check that it tells of the path in a line, and changes nothing."""
    before = look(path), sorted(os.listdir(path.parent))
    assert _cli.main(arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert (look(path), sorted(os.listdir(path.parent))) == before
    return told.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_storage_that_is_none(kind, tmp_path, capsys, monkeypatch):
    path = make(kind, tmp_path)
    objective = tmp_path.parent / f"{tmp_path.name}_train.py"
    objective.write_text("def objective(trial):\n    return 0.0\n")
    worker = ["worker", f"{objective}:objective", "--study-name", "x", "--n-trials", "1"]
    for storage in (str(path), f"sqlite:///{path}"):
        for command in (
            ["replay"],
            ["advise"],
            ["explain", "0"],
            ["report", "-o", str(tmp_path.parent / "page.html")],
            ["dashboard", "--port", "0"],
            *([] if kind == "empty" else [worker]),
        ):
            assert tells(capsys, path, *command, "--storage", storage)
    told = tells(capsys, path, "replay", "--storage-file", str(path))
    assert str(path) in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_that_is_none(kind, tmp_path):
    path = make(kind, tmp_path)
    with pytest.raises(ValueError, match="must be a stopping rule's file"):
        StoppingRule(path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "absent"])
@pytest.mark.parametrize("name", ["meta.json", "curves.csv", "curves.csv.gz", "configs.csv"])
def test_curves_that_are_none(kind, name, tmp_path, capsys):
    (tmp_path / "meta.json").write_text('{"direction": "maximize"}')
    if name != "curves.csv.gz":
        (tmp_path / "curves.csv").write_text("curve_id,1,2\na,0.1,0.2\n")
    (tmp_path / name).unlink(missing_ok=True)
    make(kind, tmp_path).rename(tmp_path / name)
    if name == "configs.csv" and kind in ("folder", "fifo", "null"):
        return  # Not a file, and none is needed.
    with pytest.raises((ValueError, FileNotFoundError), match=r"meta|curve|config"):
        load_curves(tmp_path)


def test_curves_that_are_too_much(tmp_path):
    (tmp_path / "meta.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="not valid JSON"):
        load_curves(tmp_path)
    (tmp_path / "meta.json").write_text('{"direction": "maximize"}')
    with gzip.open(tmp_path / "curves.csv.gz", "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(bytes(2**20))
    with pytest.raises(ValueError, match="unpacks to more than"):
        load_curves(tmp_path)
    (tmp_path / "curves.csv").write_text('curve_id,1\na,0.1\nb,"' + "x" * 200_000)
    with pytest.raises(ValueError, match=r"curves.csv, line \d+, has"):
        load_curves(tmp_path)


def changed(name, change):
    with np.load(RULE) as arrays:
        return {**arrays, name: change(arrays[name])}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("value", lambda a: a * np.nan),
        ("value", lambda a: a[:-1]),
        ("value", lambda a: a.astype(str)),
        ("threshold", lambda a: a * np.nan),
        ("left", lambda a: a + np.uint8(200)),
        ("feature", lambda a: a + np.uint8(200)),
        ("feature", lambda a: a.astype(float)),
        ("depth", lambda a: a - 1000),
        ("depth", lambda a: a + 10**9),
        ("baseline", lambda a: a * np.inf),
        ("peers_value", lambda a: a * np.inf),
        ("feature_names", lambda a: np.arange(len(a))),
    ],
)
def test_a_rule_with_numbers_that_do_not_fit(name, change, tmp_path):
    np.savez(tmp_path / "rule.npz", **changed(name, change))
    with pytest.raises(ValueError, match="must be a stopping rule's file"):
        StoppingRule(tmp_path / "rule.npz")


def test_a_rule_damaged_anywhere(tmp_path):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(RULE.read_bytes(), dtype=np.uint8)
    path = tmp_path / "rule.npz"
    for _ in range(100):
        damaged = whole.copy()
        damaged[rng.integers(len(whole), size=3)] = rng.integers(256, size=3)
        path.write_bytes(damaged.tobytes())
        with suppress(ValueError):  # Nothing else, and some damage does no harm.
            StoppingRule(path)


def test_a_rule_that_unpacks_to_gigabytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "rule.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("value.npy", bytes(2**28))
    with pytest.raises(ValueError, match="too large"):
        StoppingRule(tmp_path / "rule.npz")


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('study') / 'study.sqlite3'}"
    make_study(url)
    return url


def test_a_report_follows_links_and_writes_into_pipes(storage, tmp_path):
    real, link, fifo = (tmp_path / name for name in ("real.html", "link.html", "fifo"))
    real.write_text("old")
    link.symlink_to(real)
    os.mkfifo(fifo)
    assert _cli.main(["report", "--storage", storage, "-o", str(link)]) == 0
    assert link.is_symlink()
    assert real.read_text().startswith("<!DOCTYPE html>")
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    assert _cli.main(["report", "--storage", storage, "-o", str(fifo)]) == 0
    reader.join(60.0)
    assert read[0].startswith("<!DOCTYPE html>")
    assert fifo.is_fifo()


def test_a_report_goes_to_the_standard_output_and_a_closed_pipe_is_quiet(storage):
    command = [COMMAND, "report", "--storage", storage, "-o", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert done.stdout.rstrip().endswith("</html>")
    assert Path("/dev/stdout").is_symlink()
    shell = f"{COMMAND} explain --storage {storage} 20 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_a_worker_leaves_the_database_of_another_program(tmp_path, capsys):
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE photos (name TEXT)")
    objective = tmp_path.parent / f"{tmp_path.name}_train.py"
    objective.write_text("def objective(trial):\n    return 0.0\n")
    arguments = ["worker", f"{objective}:objective", "--study-name", "x"]
    for storage in (str(path), f"sqlite:///{path}"):
        told = tells(capsys, path, *arguments, "--storage", storage)
        assert "another program" in told or "no study" in told
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql+psycopg:/u:TOPSECRET@h/db",
        "u:TOPSECRET@h/db",
        "host=h password = TOPSECRET",
        "host=h password=TOPSECRET",
        "nosuchdb://u:TOPSECRET@h/db",
        "TOPSECRET@h",
    ],
)
@pytest.mark.parametrize("command", ["replay", "advise", "explain", "worker", "dashboard"])
def test_what_is_no_storage_is_not_repeated(storage, command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {"explain": ["1"], "worker": ["math:floor", "--study-name", "x"]}.get(command, [])
    assert _cli.main([command, *more, "--storage", storage]) == 1
    monkeypatch.setenv("OPTUNA_STORAGE", storage)
    assert _cli.main([command, *more]) == 1
    with pytest.raises(SystemExit):
        _cli.main([command, *more, "--storag", storage])
    assert "SECRET" not in str(capsys.readouterr())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["replay", "advise", "explain", "report"])
def test_an_empty_storage_is_told(command, capsys, monkeypatch, storage):
    monkeypatch.setenv("OPTUNA_STORAGE", storage)
    more = {"explain": ["1"], "report": ["-o", "page.html"]}.get(command, [])
    assert _cli.main([command, *more, "--storage", ""]) == 1
    assert "There is no storage" in capsys.readouterr().err


def test_a_password_leaves_the_list_of_processes(storage):
    url = "postgresql+psycopg://me:topsecret@127.0.0.1:1/x"
    for arguments in (["replay"], ["advise"], ["explain", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "optuna_perfpred", *arguments, "--storage", url],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "could be seen in the list of processes" in done.stderr
        assert "topsecret" not in done.stderr


def test_a_journal_needs_its_operations(tmp_path, capsys):
    (tmp_path / "some.json").write_text(json.dumps({"name": "x"}))
    told = tells(
        capsys, tmp_path / "some.json", "dashboard", "--storage", str(tmp_path / "some.json")
    )
    assert "neither an SQLite database nor a journal" in told
