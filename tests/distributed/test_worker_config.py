from __future__ import annotations

import sys

import optuna
import pytest

from optuna_perfpred import _cli
from tests.distributed.worker_files import HEADER
from tests.distributed.worker_files import Place
from tests.distributed.worker_files import STUDY


# Tells with what the study was made.
TELLS = """
def objective(trial):
    pruner, sampler = trial.study.pruner, trial.study.sampler
    trial.set_user_attr("pruner", type(pruner).__name__)
    trial.set_user_attr("sampler", type(sampler).__name__)
    inner = getattr(pruner, "_wrapped_pruner", None)
    trial.set_user_attr("inner", [type(inner).__name__, getattr(inner, "_n_startup_trials", None)])
    return 1.0
"""
NO_HOOK = "import optuna\nfrom optuna import create_study\n"
WHOLE = """
direction = "maximize"

[sampler]
class = "optuna.samplers.RandomSampler"
seed = 3

[pruner]
class = "optuna.pruners.PatientPruner"
patience = 2
wrapped_pruner = { class = "optuna.pruners.MedianPruner", n_startup_trials = 7 }
"""


@pytest.fixture(autouse=True)
def _own_path(monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, str(tmp_path / "study.journal"))


@pytest.fixture
def config(tmp_path):
    """Give a function that writes a configuration and gives the option that names it."""

    def write(text):
        (tmp_path / "study.toml").write_text(text)
        return ["--config", str(tmp_path / "study.toml")]

    return write


def told_by(place):
    return place.study().trials[0].user_attrs


def test_the_hook_beside_the_objective_makes_the_study(place):
    assert place.run(TELLS, "--n-trials", "1") == 0
    assert (told_by(place)["sampler"], told_by(place)["pruner"]) == ("RandomSampler", "NopPruner")


def test_the_configuration_makes_the_study_if_it_is_given(place, config, caplog):
    assert place.run(TELLS, "--n-trials", "1", *config(WHOLE)) == 0
    assert told_by(place) == {
        "sampler": "RandomSampler",
        "pruner": "PatientPruner",
        "inner": ["MedianPruner", 7],
    }
    assert place.study().direction.name == "MAXIMIZE"
    assert "give a sampler no seed where several workers run" in caplog.text


def test_the_default_is_to_predict(place, config):
    options = config('direction = "minimize"\n')
    assert place.run(TELLS, "--n-trials", "1", *options, header=NO_HOOK) == 0
    assert told_by(place)["pruner"] == "PerformancePredictionPruner"
    assert told_by(place)["sampler"] == "TPESampler"
    assert place.study().direction.name == "MINIMIZE"


def test_a_study_that_exists_needs_no_direction(place):
    optuna.create_study(storage=place.open(), study_name=STUDY, direction="maximize")
    assert place.run(TELLS, "--n-trials", "1", header=NO_HOOK) == 0
    assert told_by(place)["pruner"] == "PerformancePredictionPruner"


def test_a_new_study_without_a_direction_is_told_how_to_get_one(place, capsys):
    assert place.run(TELLS, header=NO_HOOK) == 1
    told = capsys.readouterr().err
    assert f"There is no study '{STUDY}' yet" in told
    assert "create_study(storage, study_name)" in told


def test_another_direction_than_that_of_the_study_is_told(place, config, capsys):
    optuna.create_study(storage=place.open(), study_name=STUDY, direction="maximize")
    assert place.run(TELLS, *config('direction = "minimize"')) == 1
    assert "has the direction maximize, but the configuration says minimize" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("direction = ", "is no TOML file"),
        ('direction = "up"', "must be one of ('minimize', 'maximize'), but got 'up'"),
        ("n_trials = 3", "may hold direction, sampler, pruner, but holds ['n_trials']"),
        ('pruner = "MedianPruner"', "`pruner` must be a table with a class"),
        ("[pruner]\npatience = 2", "`pruner` must be a table with a class"),
        ('[pruner]\nclass = "os.system"', "must be one of optuna.samplers.*, optuna.pruners.*"),
        ('[pruner]\nclass = "optuna.pruners.Best"', "optuna.pruners has BasePruner, "),
        ('[pruner]\nclass = "optuna.pruners._median.MedianPruner"', "must be one of"),
        ('[pruner]\nclass = "optuna.samplers.TPESampler"', "`pruner` must be a pruner"),
        ('[pruner]\nclass = "optuna.pruners.MedianPruner"\nx = 1', "`pruner` cannot be made: "),
        (
            '[pruner]\nclass = "optuna_perfpred.PerformancePredictionPruner"\nconfidence = 2.0',
            "`confidence` must be between 0 and 1",
        ),
        (
            '[pruner]\nclass = "optuna.pruners.PatientPruner"\npatience = 1\n'
            'wrapped_pruner = { class = "subprocess.Popen" }',
            "class of `pruner.wrapped_pruner` must be one of",
        ),
    ],
)
def test_a_bad_configuration_is_told(text, told, place, config, capsys):
    assert place.run(TELLS, *config(text)) == 1
    captured = capsys.readouterr().err
    assert told in captured
    assert "/study.toml'" in captured
    assert captured.count("\n") == 1
    assert place.open().get_all_studies() == []


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (HEADER.replace("load_if_exists=True,", ""), "load_if_exists=True"),
        (HEADER.replace("storage=storage,", ""), "in the storage that it is given"),
        (HEADER.replace("return optuna", "optuna"), "but returned None"),
        (HEADER.replace('"maximize"', '"up"'), "failed: ValueError: "),
        ("import no_such_package", "cannot be imported: ModuleNotFoundError: "),
        ("raise SystemExit(0)", "cannot be imported: SystemExit: 0"),
        ("raise OSError('mysql://me:topsecret@host/db')", "OSError: mysql://me:***@host/db"),
    ],
)
def test_a_bad_module_is_told(header, told, place, capsys):
    optuna.create_study(storage=place.open(), study_name=STUDY, direction="maximize")
    assert place.run(TELLS, header=header) == 1
    assert told in capsys.readouterr().err
    assert place.states() == []


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ("train", "MODULE:FUNCTION"),
        ("no_such_module_here:objective", "'no_such_module_here' cannot be imported"),
        ("nowhere/train.py:objective", "There is no file 'nowhere/train.py'"),
        ("math:objective", "'math' has no function 'objective'"),
        ("math:pi", "'math' has no function 'pi'"),
    ],
)
def test_a_bad_objective_is_told(objective, told, place, capsys):
    arguments = place.arguments(TELLS)
    assert _cli.main([arguments[0], objective, *arguments[2:]]) == 1
    assert told in capsys.readouterr().err


def test_an_objective_finds_the_modules_beside_it(place):
    (place.folder / f"beside_{place.folder.name}.py").write_text("VALUE = 4.0\n")
    objective = f"from beside_{place.folder.name} import VALUE\n"
    objective += "def objective(trial):\n    return VALUE\n"
    assert place.run(objective, "--n-trials", "1") == 0
    assert place.study().best_value == 4.0


def test_a_module_is_found_in_the_working_directory(place, monkeypatch):
    monkeypatch.chdir(place.folder)
    arguments = place.arguments(TELLS, "--n-trials", "1")
    assert _cli.main([arguments[0], f"{place.file.stem}:objective", *arguments[2:]]) == 0
    assert place.states() == ["COMPLETE"]


def test_the_storage_comes_from_a_file_or_from_the_environment(place, monkeypatch, capsys):
    named = place.write(TELLS)
    arguments = ["worker", named, "--study-name", STUDY, "--n-trials", "1"]
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    assert _cli.main(arguments) == 1
    assert "--storage, --storage-file or the environment variable OPTUNA_STORAGE" in (
        capsys.readouterr().err
    )
    monkeypatch.setenv("OPTUNA_STORAGE", place.storage)
    assert _cli.main(arguments) == 0
    monkeypatch.delenv("OPTUNA_STORAGE")
    (place.folder / "url").write_text(f"{place.storage}\n")
    assert _cli.main([*arguments, "--storage-file", str(place.folder / "url")]) == 0
    assert place.states() == ["COMPLETE"] * 2
    (place.folder / "url").write_text("\n")
    assert _cli.main([*arguments, "--storage-file", str(place.folder / "url")]) == 1


def test_a_storage_in_memory_is_refused(place, capsys):
    place.storage = "sqlite:///:memory:"
    assert place.run(TELLS) == 1
    assert "in memory only" in capsys.readouterr().err


def test_the_help_tells_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        _cli.main(["worker", "--help"])
    assert "143  stopped by SIGTERM" in capsys.readouterr().out


def test_an_argument_that_cannot_be_read_is_told_without_a_password(capsys):
    url = "mysql+pymysql://me:topsecret@host/db"
    with pytest.raises(SystemExit, match="2"):
        _cli.main(["worker", "train:objective", "--study-name", STUDY, "--strage", url])
    told = capsys.readouterr().err
    assert "--strage (did you mean --storage?)" in told
    assert "topsecret" not in told
