"""The examples in docstrings run, and their fragments name what there is."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
import re
import textwrap

import pytest

import optuna_perfpred


PACKAGE = Path(optuna_perfpred.__file__).parent
_BLOCK = re.compile(
    r"^( *)\.\. (testcode|code-block)::[^\n]*\n((?:\1 +[^\n]*\n|\n)+)", re.MULTILINE
)


def examples():
    """Give the code of all examples by kind: programs, or fragments of a program of the user's."""
    found = {"testcode": [], "code-block": []}
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not _BLOCK.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                docstring = ast.get_docstring(node) or ""
                for _, kind, code in _BLOCK.findall(docstring + "\n"):
                    name = f"{path.stem}.{node.name}"
                    found[kind].append(pytest.param(textwrap.dedent(code), id=name))
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("code", EXAMPLES["testcode"])
def test_an_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "<example>", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("code", EXAMPLES["code-block"])
def test_a_fragment_can_be_read_and_imports_what_there_is(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name)


def test_there_are_examples():
    assert len(EXAMPLES["testcode"]) >= 8
    assert len(EXAMPLES["code-block"]) >= 8
