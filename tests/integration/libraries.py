from __future__ import annotations

import importlib
import os

import pytest


def library(name):
    """Import a library; skip the tests that need it, where not everything must be tested."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} is not installed", allow_module_level=True)
