from __future__ import annotations

import matplotlib
from matplotlib import pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def _no_windows():
    matplotlib.use("Agg")
    yield
    plt.close("all")
