from __future__ import annotations

import subprocess
import sys

import optuna
from optuna_dashboard import get_note
from optuna_dashboard import save_note
from optuna_dashboard import save_plotly_graph_object
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
import plotly.graph_objects as go
import plotly.io
import pytest

from optuna_perfpred import QLearningSampler
from optuna_perfpred.dashboard import publish_figures
from optuna_perfpred.dashboard import write_report
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.visualization import savings
from tests.dashboard.studies import make_study


NAMES = {"perfpred-forecasts", "perfpred-savings", "perfpred-calibration"}


def figures(study):
    attrs = study._storage.get_study_system_attrs(study._study_id)
    return {
        name: plotly.io.from_json(text) for name, text in get_plotly_graph_objects(attrs).items()
    }


def n_points(figure):
    return sum(len(trace.x or ()) for trace in figure.data)


def test_figures_and_note_are_published_and_replaced():
    study = make_study()
    save_note(study, "Mine.")
    save_plotly_graph_object(study, go.Figure(), graph_object_id="mine")
    publish_figures(study)
    assert set(figures(study)) == NAMES | {"mine"}
    before = n_points(figures(study)["perfpred-savings"])

    study.add_trials(study.trials)
    publish_figures(study)
    assert set(figures(study)) == NAMES | {"mine"}
    assert n_points(figures(study)["perfpred-savings"]) > before
    note = get_note(study)
    assert note.startswith("Mine.")
    assert note.count("What pruning did") == 1
    assert "60 on " in note


def test_the_note_tells_what_was_saved_risked_and_audited():
    study = make_study()
    publish_figures(study)
    note = get_note(study)
    saved, audit = savings(study), audit_study(study)
    assert audit.n_audited > 0
    assert saved.n_pruned > 0
    assert f"about {saved.steps_saved:,} steps" in note
    assert f"{len(audit.false_prunes)} of {audit.n_audited} trials that would have" in saved.audit
    assert saved.audit in note
    audited = [t.number for t in study.trials if t.user_attrs.get("perfpred:audit")]
    listed = [f"Trial {number}: at step" in note for number in audited]
    assert sum(listed) == min(10, len(audited))


@pytest.mark.parametrize("trials", ["none", "running", "without curves", "nan"])
def test_studies_with_next_to_nothing_to_show_are_published(trials, tmp_path):
    study = optuna.create_study()
    if trials == "running":
        study.ask().report(1.0, 1)
    elif trials == "without curves":
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    elif trials == "nan":
        study.add_trial(
            optuna.trial.create_trial(value=1.0, intermediate_values={1: float("nan")})
        )
    publish_figures(study)
    assert set(figures(study)) == NAMES
    assert "Saved" in get_note(study)
    write_report(study, tmp_path / "report.html")


def test_the_policy_of_q_learning_is_shown(tmp_path):
    space = ConvNetSpace((1, 8, 8), num_classes=2)
    study = optuna.create_study(sampler=QLearningSampler(space, n_trials=4, seed=0))
    study.optimize(lambda trial: float(len(space.suggest(trial).layers)), n_trials=4)
    publish_figures(study)
    assert set(figures(study)) == NAMES | {"perfpred-policy"}
    write_report(study, tmp_path / "report.html")
    assert "What the search has learned" in (tmp_path / "report.html").read_text()


def test_a_study_with_several_objectives_is_refused(tmp_path):
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="has 2 objectives"):
        publish_figures(study)
    with pytest.raises(ValueError, match="has 2 objectives"):
        write_report(study, tmp_path / "report.html")


@pytest.mark.parametrize("missing", ["optuna_dashboard", "plotly"])
def test_a_missing_library_is_told_with_the_extra_to_install(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
import optuna
from optuna_perfpred.dashboard import publish_figures, write_report
try:
    publish_figures(optuna.create_study())
    write_report(optuna.create_study(), "/dev/null")
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    extra = {"optuna_dashboard": "dashboard", "plotly": "plot"}[missing]
    assert f'pip install "optuna_perfpred[{extra}]"' in result.stdout, result.stderr
