"""What a release says of itself in several places is the same, and its wheel is checked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
import re
import sys
import zipfile

import pytest
import yaml

import optuna_perfpred


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = (GITHUB / "conda" / "meta.yaml").read_text(encoding="utf-8")


def test_the_version_is_everywhere_the_same():
    version = optuna_perfpred.__version__
    assert PROJECT["version"] == version
    citation = yaml.safe_load((GITHUB / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert f'set version = "{version}"' in CONDA


def test_the_conda_recipe_needs_what_the_package_needs():
    ours = {text.split(";")[0].strip() for text in PROJECT["dependencies"]}
    run = CONDA.split("  run:\n")[1].split("\n\n")[0]
    theirs = {"".join(line.split("#")[0].split()[1:]) for line in run.splitlines()}
    assert theirs == {*ours, f"python{PROJECT['requires-python']}"}


def test_the_matrix_has_the_versions_that_are_claimed():
    workflow = yaml.safe_load((GITHUB / "workflows" / "test.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["versions"]["strategy"]["matrix"]["python"]
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert set(claimed) <= set(tested)
    assert PROJECT["requires-python"] == f">={tested[0]}"


def test_each_form_and_workflow_can_be_read():
    files = [*GITHUB.rglob("*.yml"), GITHUB / "CITATION.cff", ROOT / ".pre-commit-config.yaml"]
    assert len(files) >= 7
    for file in files:
        assert yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.fixture
def check_wheel():
    spec = importlib.util.spec_from_file_location("check_wheel", GITHUB / "check_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_wheel_is_checked(check_wheel, tmp_path):
    wheel = tmp_path / "good.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (*check_wheel.NEEDED, "optuna_perfpred-0.1.0.dist-info/METADATA"):
            archive.writestr(name, "")
    assert check_wheel.faults(wheel) == []

    with zipfile.ZipFile(wheel, "w") as archive:
        for name in check_wheel.NEEDED - {"optuna_perfpred/py.typed"}:
            archive.writestr(name, "")
        archive.writestr("tests/test_cli.py", bytes(check_wheel.MAX_BYTES))
    missing, foreign, large = check_wheel.faults(wheel)
    assert missing == "optuna_perfpred/py.typed is missing."
    assert foreign == "tests/test_cli.py does not belong there."
    assert "more than 600,000" in large


def test_the_files_that_a_wheel_needs_are_there(check_wheel):
    assert all((ROOT / name).is_file() for name in check_wheel.NEEDED)
