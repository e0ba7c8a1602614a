"""What is not used is not imported, and what is missing is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

import optuna_perfpred.integration


HEAVY = ("lightning", "mlflow", "torch", "transformers", "wandb")


def test_no_library_is_imported_before_it_is_used():
    code = (
        "import sys, optuna_perfpred, optuna_perfpred.integration\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "module", "missing"),
    [
        ("LightningPruningCallback", "_lightning", "lightning"),
        ("TransformersPruningCallback", "_transformers", "transformers"),
    ],
)
def test_what_to_install_is_told(monkeypatch, name, module, missing):
    monkeypatch.delitem(sys.modules, f"optuna_perfpred.integration.{module}", raising=False)
    for imported in [key for key in sys.modules if key.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, imported)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf'{name} needs .*"optuna_perfpred\[{missing}\]"'):
        getattr(optuna_perfpred.integration, name)


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_which_tracker_to_install_is_told(monkeypatch, tracker):
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(ImportError, match=rf'pip install "optuna_perfpred\[{tracker}\]"'):
        optuna_perfpred.integration.TrackerCallback(tracker)


def test_another_name_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        optuna_perfpred.integration.absent  # noqa: B018
