"""The packages for OptunaHub load as from its registry, and are what the registry wants."""

from __future__ import annotations

from pathlib import Path
import re
import sys

import pytest
import yaml

import optuna_perfpred
from tests.servers import unavailable


REGISTRY = Path(__file__).parents[2] / "examples" / "optunahub"
PACKAGES = sorted(
    str(file.parent.relative_to(REGISTRY / "package"))
    for file in REGISTRY.glob("package/*/*/__init__.py")
)


@pytest.fixture
def optunahub():
    try:
        import optunahub
    except ImportError:
        unavailable("OptunaHub is not installed (pip install optunahub)")
    return optunahub


def test_there_are_packages():
    assert PACKAGES == [
        "pruners/performance_prediction",
        "samplers/architecture",
        "samplers/predicted_value",
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_example_runs_with_the_local_package(package, optunahub, monkeypatch):
    def load(name):
        return optunahub.load_local_module(name, registry_root=str(REGISTRY / "package"))

    module = load(package)
    [name] = module.__all__
    assert getattr(module, name) is getattr(optuna_perfpred, name)

    readme = (REGISTRY / "package" / package / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.setattr(optunahub, "load_module", load)
    names = {}
    exec(compile(code, package, "exec"), names)
    assert isinstance(names["study"].best_value, float)
    used = names["study"].pruner if package.startswith("pruners") else names["study"].sampler
    assert type(used).__name__ == name
    del sys.modules[module.__name__]


@pytest.mark.parametrize("package", PACKAGES)
def test_it_has_what_the_registry_wants(package):
    folder = REGISTRY / "package" / package
    assert {path.name for path in folder.iterdir() if path.name != "__pycache__"} == {
        "LICENSE",
        "README.md",
        "__init__.py",
        "requirements.txt",
    }
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    keys = {"author", "title", "description", "tags", "optuna_versions", "license"}
    assert yaml.safe_load(front).keys() == keys
    assert all(
        f"## {title}\n" in text for title in ("Abstract", "APIs", "Installation", "Example")
    )
    assert (folder / "requirements.txt").read_text() == "optuna_perfpred\n"
