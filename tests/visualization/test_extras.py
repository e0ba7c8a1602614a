from __future__ import annotations

import subprocess
import sys

from matplotlib import pyplot as plt
import optuna
import pytest

from optuna_perfpred import QLearningSampler
from optuna_perfpred import visualization
from tests.samplers.searches import SPACE


CALLS = {
    "plot_calibration": lambda study: (study,),
    "plot_forecasts": lambda study: (study,),
    "plot_policy": lambda study: (study, QLearningSampler(SPACE)),
    "plot_replay": lambda study: ([],),
    "plot_savings": lambda study: (study,),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("library", ["plotly", "matplotlib"])
def test_a_missing_library_is_told_with_the_extra_that_has_it(monkeypatch, library, name):
    for module in list(sys.modules):
        if module.partition(".")[0] == library:
            monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, library, None)
    figures = visualization if library == "plotly" else visualization.matplotlib
    study = optuna.create_study()
    message = rf"needs {library}, which is not installed .* `pip install \"optuna_perfpred\[plot\]"
    with pytest.raises(ImportError, match=message):
        getattr(figures, name)(*CALLS[name](study))


def test_both_have_the_same_figures():
    assert set(CALLS) == set(visualization.matplotlib.__all__)
    assert set(CALLS) | {"Savings", "matplotlib", "savings"} == set(visualization.__all__)


def test_a_name_with_two_dollars_is_no_formula(tmp_path):
    study = optuna.create_study(study_name=r"$\cost$")
    for name in ("plot_calibration", "plot_forecasts", "plot_savings"):
        getattr(visualization.matplotlib, name)(study)
        plt.savefig(tmp_path / "figure.png")


def test_the_package_needs_neither():
    code = """
import sys
sys.modules["plotly"] = sys.modules["matplotlib"] = None
import optuna, optuna_perfpred.visualization
print(optuna_perfpred.visualization.savings(optuna.create_study()).steps_saved)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
