from __future__ import annotations

import os
from pathlib import Path
import re
import shutil
import signal
import sqlite3
import subprocess
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
import pytest

from optuna_perfpred import _cli
from optuna_perfpred.replay import _comparison
from tests.distributed.worker_files import COMMAND
from tests.replay.studies import crossing_curves
from tests.replay.studies import recorded_study


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Give a folder with one study in an SQLite database and in a journal."""
    folder = tmp_path_factory.mktemp("recorded")
    recorded_study(storage=RDBStorage(f"sqlite:///{folder / 'study.db'}"), study_name="cnn")
    journal = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    recorded_study(storage=journal, study_name="cnn")
    return folder


@pytest.fixture
def sqlite_url(recorded, tmp_path):
    shutil.copy(recorded / "study.db", tmp_path)
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(params=["sqlite", "sqlite file", "journal"])
def storage(request, recorded):
    """Give what the user passes as `--storage`."""
    return {
        "sqlite": f"sqlite:///{recorded / 'study.db'}",
        "sqlite file": str(recorded / "study.db"),
        "journal": str(recorded / "study.journal"),
    }[request.param]


def run(capsys, *argv):
    """Run the command; give its exit status, output and errors."""
    status = _cli.main(argv)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def table(out):
    """Give the rows of a table by their first word."""
    rows = [line.split() for line in out.splitlines() if re.search(r"\d %  ", line)]
    return {row[0]: row[1:] for row in rows}


def error(capsys, *argv):
    """Run a command that fails; give its one line on the standard error."""
    status, out, err = run(capsys, *argv)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("optuna-perfpred: ")
    return err


def test_replay_prints_a_row_for_each_pruner(storage, capsys):
    status, out, _ = run(
        capsys, "replay", "--storage", storage, "--study-name", "cnn", "--pruner", "none,median"
    )
    assert status == 0
    assert "'cnn' (maximize): 30 trials of up to 8 steps, in the order of their numbers" in out
    rows = table(out)
    assert list(rows) == ["none", "median"]
    assert rows["none"][:4] == ["240", "0.0", "%", "1.00"]
    assert float(rows["median"][3]) > 1.0


def test_replay_compares_ours_with_the_stock_pruners_by_default(sqlite_url, capsys):
    _, out, _ = run(capsys, "replay", "--storage", sqlite_url, "--study-name", "cnn")
    assert list(table(out)) == ["none", "median", "percentile", "halving", "hyperband", "ours"]


def test_arguments_reach_the_replay(sqlite_url, capsys):
    arguments = ["--order", "random", "--repeats", "3", "--seed", "7", "--budget", "5"]
    arguments += ["--workers", "4", "--trials", "20", "--pruner", "median", "--details"]
    status, out, _ = run(capsys, "replay", "--storage", sqlite_url, *arguments)
    assert status == 0
    assert "in 3 random orders (seed 7), for 5 full trainings, 4 workers" in out
    assert "miss" in out
    assert "wall clock" in out
    assert "Replay of study 'cnn' with MedianPruner" in out


def test_the_study_is_read_and_not_changed(sqlite_url, capsys):
    before = optuna.load_study(study_name="cnn", storage=sqlite_url).trials
    run(capsys, "replay", "--storage", sqlite_url, "--pruner", "median,ours")
    assert optuna.get_all_study_names(sqlite_url) == ["cnn"]
    assert optuna.load_study(study_name="cnn", storage=sqlite_url).trials == before


def test_the_names_of_an_unknown_study_s_neighbours_are_told(storage, capsys):
    told = error(capsys, "replay", "--storage", storage, "--study-name", "rnn")
    assert "'rnn'" in told
    assert "'cnn'" in told


def test_the_name_is_needed_if_there_are_several_studies(sqlite_url, capsys):
    optuna.create_study(storage=sqlite_url, study_name="rnn")
    told = error(capsys, "replay", "--storage", sqlite_url)
    assert "'cnn', 'rnn'" in told


def test_an_unknown_pruner_is_told_with_those_that_are_known(sqlite_url, capsys):
    told = error(capsys, "replay", "--storage", sqlite_url, "--pruner", "median,mediam")
    assert "'mediam'" in told
    assert "hyperband" in told


@pytest.mark.parametrize("prefix", ["sqlite:///", "sqlite:///file:", ""])
def test_a_missing_database_is_told_and_not_created(prefix, tmp_path, capsys):
    told = error(capsys, "replay", "--storage", f"{prefix}{tmp_path / 'missing.db'}")
    assert "missing.db" in told
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else_is_told_and_not_changed(tmp_path, capsys):
    with sqlite3.connect(tmp_path / "photos.db") as database:
        database.execute("CREATE TABLE photos (name TEXT)")
    told = error(capsys, "replay", "--storage", f"sqlite:///{tmp_path / 'photos.db'}")
    assert "not a storage of Optuna" in told
    with sqlite3.connect(tmp_path / "photos.db") as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("photos",)]


def test_a_postgresql_database(postgresql_url, capsys):
    arguments = ["replay", "--storage", postgresql_url, "--pruner", "median"]
    assert "not a storage of Optuna" in error(capsys, *arguments)
    assert "not a storage of Optuna" in error(capsys, *arguments)  # It has made no tables.
    recorded_study(crossing_curves(n_trials=5), storage=RDBStorage(postgresql_url))
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert list(table(out)) == ["median"]


def test_a_file_that_is_no_storage_is_told(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("Optuna\nis\nfun\n")
    told = error(capsys, "replay", "--storage", str(tmp_path / "notes.txt"))
    assert "notes.txt" in told


@pytest.mark.parametrize("url", ["nosuchdb://user:secret@host/x", "sqlite://"])
def test_an_unreadable_url_is_told_without_its_password(url, capsys):
    assert "secret" not in error(capsys, "replay", "--storage", url)


def test_a_server_that_does_not_answer_is_told_without_the_password(capsys):
    told = error(capsys, "advise", "--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert "cannot be read" in told
    assert "secret" not in told


def test_a_study_without_whole_curves_is_told(tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, study_name="new")
    assert "nothing to replay" in error(capsys, "replay", "--storage", url)


def test_a_bad_number_is_told(sqlite_url, capsys):
    told = error(capsys, "replay", "--storage", sqlite_url, "--pruner", "none", "--workers", "0")
    assert "n_workers" in told


def write_curves(folder):
    folder.mkdir(parents=True)
    curves = crossing_curves(n_trials=10)
    header = ",".join(map(str, range(1, curves.shape[1] + 1)))
    rows = [f"{i}," + ",".join(map(str, curve)) for i, curve in enumerate(curves)]
    (folder / "curves.csv").write_text("\n".join([f"curve_id,{header}", *rows]))
    (folder / "meta.json").write_text('{"direction": "maximize"}')


def test_curves_prints_a_table_for_each_folder(tmp_path, capsys):
    write_curves(tmp_path / "sets" / "resnet")
    write_curves(tmp_path / "sets" / "lstm")
    _, both, _ = run(capsys, "curves", str(tmp_path / "sets"), "--pruner", "none")
    assert re.findall(r"Study '(\w+)'", both) == ["lstm", "resnet"]
    assert both.count("none ") == 2
    _, one, _ = run(capsys, "curves", str(tmp_path / "sets" / "lstm"), "--pruner", "none")

    def without_duration(output):
        return re.sub(r"\S+\n$", "", output)

    assert without_duration(one) == without_duration(both[: len(one)])


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_folder_without_curves_is_told(name, tmp_path, capsys):
    assert str(tmp_path) in error(capsys, "curves", str(tmp_path / name))


@pytest.mark.parametrize("command", ["advise", "trust"])
def test_advise_recommends_settings(command, sqlite_url, capsys, monkeypatch):
    monkeypatch.setattr(_comparison, "SETTINGS", ({}, {"confidence": 0.9}))
    arguments = ["--study-name", "cnn", "--repeats", "2", "--seed", "0"]
    status, out, _ = run(capsys, command, "--storage", sqlite_url, *arguments)
    assert status == 0
    assert list(table(out)) == [
        "MedianPruner()",
        "PerformancePredictionPruner()",
        "PerformancePredictionPruner(confidence=0.9)",
    ]
    assert re.search(r"Recommended: PerformancePredictionPruner\((confidence=0.9)?\)\n", out)
    assert "in 2 random orders (seed 0)" in out


def test_the_console_script_is_this_function(pytestconfig):
    project = (pytestconfig.rootpath / "pyproject.toml").read_text()
    assert f'optuna-perfpred = "{_cli.__name__}:{_cli.main.__name__}"' in project


EXIT_CODES = (Path(__file__).parents[1] / "examples/README.md").read_text()


def documented(command):
    """Give the exit codes of a command in the table."""
    [row] = re.findall(rf"\| `{command}\b.*\| ([\d, ]+) \|", EXIT_CODES)
    return {int(code) for code in row.split(", ")}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("replay", ["--pruner", "none"]),
        ("curves", None),
        ("advise", ["--n-repeats", "1"]),
        ("explain", ["3"]),
        ("report", ["-o"]),
        ("dashboard", None),
        ("worker", None),
    ],
)
def test_the_exit_codes_of_each_command(command, arguments, sqlite_url, tmp_path, monkeypatch):
    monkeypatch.setattr(_comparison, "SETTINGS", ({},))
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    codes = set()
    if arguments == ["-o"]:
        arguments = ["-o", str(tmp_path / "page.html")]
    if command == "worker":
        (tmp_path / "train.py").write_text("def objective(trial):\n    return 0.0\n")
        arguments = [f"{tmp_path / 'train.py'}:objective", "--n-trials", "1"]
        arguments += ["--study-name", "cnn"]
    if arguments is not None:
        codes.add(_cli.main([command, *arguments, "--storage", sqlite_url]))
    if command == "curves":
        write_curves(tmp_path / "set")
        codes.add(_cli.main([command, str(tmp_path / "set"), "--pruner", "none"]))
        codes.add(_cli.main([command, str(tmp_path)[:-1] + "x"]))
    else:
        missing = f"sqlite:///{tmp_path / 'missing.db'}"
        codes.add(_cli.main([command, *(arguments or []), "--storage", missing]))
    assert codes == ({1} if command == "dashboard" else {0, 1})
    with pytest.raises(SystemExit) as ended:
        _cli.main([command, *(arguments or []), "--nonsense"])
    assert {*codes, ended.value.code} <= documented(command)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("return 0.0", 0),
        ("raise RuntimeError", 3),
        ("raise RuntimeError('CUDA error: an illegal memory access')", 4),
        ("os.kill(os.getpid(), signal.SIGINT)", 130),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_the_exit_codes_of_a_worker(end, code, tmp_path):
    objective = f"import os, signal, time\ndef objective(trial):\n    {end}\n    time.sleep(20)\n"
    (tmp_path / "train.py").write_text(objective)
    arguments = [f"{tmp_path / 'train.py'}:objective", "--study-name", "x", "--n-trials", "1"]
    storage = str(tmp_path / "x.journal")
    optuna.create_study(storage=JournalStorage(JournalFileBackend(storage)), study_name="x")
    done = subprocess.run([COMMAND, "worker", *arguments, "--storage", storage])
    assert done.returncode == code
    assert code in documented("worker")


@pytest.mark.parametrize("command", ["replay", "curves", "advise", "explain", "report"])
def test_an_interrupted_command_ends_with_130(command, sqlite_url, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna, "get_all_study_names", interrupt)
    monkeypatch.setattr(_cli, "load_curves", interrupt)
    if command == "curves":
        write_curves(tmp_path / "set")
    given = {"curves": [str(tmp_path / "set")], "explain": ["3"], "report": ["-o", "page.html"]}
    arguments = [command, *given.get(command, [])]
    if command != "curves":
        arguments += ["--storage", sqlite_url]
    assert _cli.main(arguments) == 130
    assert 130 in documented(command)


def test_an_unknown_option_is_answered_with_the_nearest_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        _cli.main(["replay", "--n-worker", "3", "--xyzzy=topsecret"])
    told = capsys.readouterr().err
    assert "--n-worker (did you mean --n-workers?), --xyzzy\n" in told


@pytest.mark.parametrize("command", [[COMMAND], [sys.executable, "-m", "optuna_perfpred"]])
def test_an_interrupt_while_modules_are_imported_is_quiet(command, tmp_path):
    # In the place of one of the first.
    (tmp_path / "optuna.py").write_text("import os\nos.kill(os.getpid(), 2)\nimport numpy\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        # What is started in the background inherits that the signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == -signal.SIGINT
    assert (done.stdout, done.stderr) == ("", "")
