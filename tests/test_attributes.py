"""What others wrote into the attributes of a study breaks nothing that reads them."""

from __future__ import annotations

import math

import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred import _cli
from optuna_perfpred import FastHyperbandPruner
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import QLearningSampler
from optuna_perfpred import visualization
from optuna_perfpred.dashboard._server import Panels
from optuna_perfpred.dashboard._server import serve_from
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.distributed._retry import Retry
from optuna_perfpred.explanation import explain
from optuna_perfpred.replay import replay
from tests.dashboard.studies import make_study
from tests.samplers.searches import search
from tests.samplers.searches import SPACE


USER = ("predicted_value", "predicted_std", "probability_of_beating_best", "step", "reason")
USER = (*USER, "audit", "reused_trial", "checkpoint", "continues", "second_chance", "resumed_at")
USER = tuple(f"perfpred:{name}" for name in USER)
SYSTEM = ("perfpred:cut", "perfpred:stops", "failed_trial", "retry_history", "completed_rung_0")
VALUES = (
    "text",
    "",
    "x" * 5000,
    None,
    [],
    [None, "a"],
    {},
    {"a": [1]},
    math.nan,
    math.inf,
    -math.inf,
    -1,
    2.5,
    10**400,
    True,
    False,
    1e300,
)
FIGURES = [name for name in visualization.__all__ if name.startswith("plot_")]


@pytest.fixture(params=[("user", key) for key in USER] + [("system", key) for key in SYSTEM])
def spoilt(request):
    kind, key = request.param
    study = make_study()
    for trial in study._storage._studies[study._study_id].trials:
        value = VALUES[trial.number % len(VALUES)]
        attrs = trial.user_attrs if kind == "user" else trial.system_attrs
        if trial.number >= len(VALUES):
            trial.user_attrs |= {
                "perfpred:step": 3,
                "perfpred:audit": True,
                "perfpred:reason": "So.",
            }
        attrs[key] = value
    return study


def test_all_that_reads_a_study_survives(spoilt, tmp_path):
    assert "nan" not in str(PerformancePredictionPruner().audit(spoilt))
    assert list(tell(spoilt))
    for trial in spoilt.trials[::3]:
        assert str(explain(spoilt, trial.number))
    for name in FIGURES:
        if name not in ("plot_replay", "plot_policy"):
            assert getattr(visualization, name)(spoilt).to_json()
    assert visualization.plot_replay(replay(spoilt, spoilt.pruner)).to_json()
    retry = Retry(3)
    for trial in spoilt.trials:
        retry.successor(trial)


@pytest.mark.parametrize("key", [*USER, "architecture", "num_layers", "num_weights"])
def test_what_learns_from_networks_survives(key):
    sampler = QLearningSampler(SPACE, n_trials=20, seed=0, reuse_known=True)
    study = search(len(VALUES), sampler, "maximize")
    for trial, value in zip(study._storage._studies[study._study_id].trials, VALUES, strict=True):
        trial.user_attrs[key] = value
        trial.state = TrialState.PRUNED if trial.number % 2 else TrialState.COMPLETE
    fresh = QLearningSampler(SPACE, n_trials=20, seed=0, reuse_known=True)
    assert visualization.plot_policy(study, fresh).to_json()
    study.sampler = fresh
    trial = study.ask()
    architecture = SPACE.suggest(trial)
    try:
        known = fresh.known_value(trial, architecture)
    except optuna.TrialPruned:
        return
    assert known is None or math.isfinite(known)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("key", ["dashboard:note_ver", "dashboard:note_str:0"])
def test_the_server_survives(key, value):
    study = make_study()
    study._storage.set_study_system_attr(study._study_id, key, value)
    served = serve_from(study._storage)
    served.set_panels((study._study_id, study.study_name), Panels({}, "A note."))
    (shown,) = served.get_all_studies()
    assert "A note." in shown.system_attrs["dashboard:note_str:0"]


@pytest.mark.parametrize("pruner", [PerformancePredictionPruner(), FastHyperbandPruner(1, 20)])
def test_pruners_survive(spoilt, pruner):
    spoilt.pruner = pruner
    trial = spoilt.ask({"rate": optuna.distributions.FloatDistribution(0.0, 1.0)})
    frozen = spoilt._storage._studies[spoilt._study_id].trials[-1]
    source = spoilt.trials[3]
    frozen.user_attrs |= source.user_attrs
    frozen.system_attrs |= source.system_attrs
    for step in range(1, 10):
        trial.report(1.0 - 0.01 * step, step)
        assert trial.should_prune() in (True, False)


def test_the_report_survives_all_at_once(tmp_path, capsys):
    storage = f"sqlite:///{tmp_path / 'study.sqlite3'}"
    study = make_study(storage)
    storable = [value for value in VALUES if value != 10**400]
    trials = study.get_trials(deepcopy=False)
    for n, trial in enumerate(trials):
        for m, key in enumerate(USER):
            template = optuna.trial.create_trial(
                state=trial.state,
                value=trial.value,
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values=trial.intermediate_values,
                user_attrs={**trial.user_attrs, key: storable[(n + m) % len(storable)]},
            )
            study.add_trial(template)
    page = tmp_path / "page.html"
    assert _cli.main(["report", "--storage", storage, "-o", str(page)]) == 0
    assert page.stat().st_size > 1000
    for number in (31, 35, 40):
        assert _cli.main(["explain", "--storage", storage, str(number)]) == 0
    assert study.get_trials(states=(TrialState.PRUNED,))
