from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="package", autouse=True)
def _little_garbage():
    """Trainer collects garbage after each training: not among all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()
