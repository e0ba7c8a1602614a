from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from xml.etree import ElementTree

import optuna

from tests.visualization.studies import add
from tests.visualization.studies import small_study


EXAMPLES = Path(__file__).parents[2] / "examples"


def texts(file):
    tree = ElementTree.parse(file)
    return {text.text for text in tree.iter("{http://www.w3.org/2000/svg}text")}


def test_the_script_draws_the_study_and_the_readme_s_picture_is_of_its_kind(tmp_path):
    storage = f"sqlite:///{tmp_path}/quickstart.db"
    optuna.copy_study(
        from_study_name="small",
        from_storage=small_study()._storage,
        to_storage=storage,
        to_study_name="digits",
    )
    add(optuna.load_study(study_name="digits", storage=storage), [0.1, 0.99])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "plot_quickstart.py"), "picture.svg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    drawn = texts(tmp_path / "picture.svg")
    assert "best value 0.99 (trial 7)" in drawn
    shared = {
        "Learning curves and forecasts of digits",
        "validation accuracy",
        "epoch",
        "trained to the end",
        "stopped by a forecast",
        "forecast ± one standard error",
    }
    assert shared <= drawn
    assert shared <= texts(EXAMPLES / "quickstart.svg")
