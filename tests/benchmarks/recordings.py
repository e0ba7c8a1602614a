"""What recordings need, and small ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path
import shutil

from tests.servers import unavailable


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DIAMONDS = "diamonds_perceptrons"
FASHION = "fashion_convnets"
KJV = "kjv_language_models"
NAMES = (KJV, FASHION, DIAMONDS)


def check_data(name):
    """Skip the test, or fail where everything must be tested, if the data is not installed."""
    if name == DIAMONDS and importlib.util.find_spec("plotnine") is None:
        unavailable("No table of diamonds (pip install plotnine)")
    if name == FASHION and not Path("/usr/share/datasets/fashion-mnist").is_dir():
        unavailable(
            "Fashion-MNIST is not installed (Debian: apt-get install dataset-fashion-mnist)"
        )
    if name == KJV and shutil.which("bible") is None:
        unavailable("No King James Bible (Debian: apt-get install bible-kjv)")
