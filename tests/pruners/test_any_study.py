"""Whatever a study holds, the pruner does it no harm and decides alike in every process."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
import math
import multiprocessing
import warnings

from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner


ODD_VALUES = [math.nan, math.inf, -math.inf, 1e300, -1e300, 0.0]

values = st.one_of(
    st.floats(-1.0, 1.0), st.floats(1.0, 1e4), st.sampled_from(ODD_VALUES), st.floats()
)
steps = st.one_of(
    st.integers(4, 8).map(lambda n: list(range(n))),
    st.integers(4, 8).map(lambda n: list(range(1, n))),
    st.integers(4, 8).map(lambda n: list(range(0, 2 * n, 2))),
    st.lists(st.integers(0, 20), max_size=8, unique=True),
    st.lists(st.integers(0, 10**9), max_size=3, unique=True),
)
curves = st.builds(
    lambda steps, values: list(zip(steps, values, strict=False)),
    steps,
    st.lists(values, min_size=8, max_size=8),
)
finals = st.one_of(st.floats(-1.0, 1.0), st.sampled_from([math.inf, -math.inf, 1e300, 5e3]))
trials = st.fixed_dictionaries(
    {
        "curve": curves,
        "final": finals,
        "optimizer": st.sampled_from(["adam", "sgd", None, 3]),
        "lr": st.floats(1e-8, 1e2),
        "layers": st.one_of(st.none(), st.integers(1, 512)),
        "attr": st.sampled_from([None, True, "wide", 7, 1e12, math.inf, math.nan, 10**400]),
    }
)
studies = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(["minimize", "maximize"]),
        "completed": st.lists(trials, min_size=6, max_size=14),
        "probes": st.lists(trials, min_size=1, max_size=4),
        "n_jobs": st.integers(1, 3),
        "n_startup_trials": st.integers(0, 8),
        "interval_steps": st.integers(1, 3),
        "top_n": st.integers(1, 3),
        "horizon": st.one_of(st.none(), st.integers(1, 30)),
    }
)


def make_pruner(script):
    return PerformancePredictionPruner(
        n_startup_trials=script["n_startup_trials"],
        interval_steps=script["interval_steps"],
        top_n=script["top_n"],
        horizon=script["horizon"],
        confidence=0.8,
        feature_attrs=("attr",),
    )


def play(trial, trial_script):
    """Suggest parameters, some of them conditional or renamed, and report the curve."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", None, 3])
    name = "lr" if trial_script["lr"] > 1e-3 else f"lr of {optimizer}"
    trial.suggest_float(name, 1e-8, 1e2, log=True)
    if trial_script["layers"] is not None:
        trial.suggest_int("layers", 1, 512)
    if trial_script["attr"] is not None:
        trial.set_user_attr("attr", trial_script["attr"])
    decisions = []
    for step, value in trial_script["curve"]:
        trial.report(value, step)
        decisions.append(trial.should_prune())
    return decisions


def decide_on_probes(path, script):
    """Judge every running trial after each of its reports, as a new process finds them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="study",
        storage=JournalStorage(JournalFileBackend(path)),
        pruner=make_pruner(script),
    )
    return judge(study)


def judge(study):
    decisions = []
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        reports = trial.intermediate_values
        for n in range(len(reports) + 1):
            trial.intermediate_values = dict(list(reports.items())[:n])
            decisions.append(study.pruner.prune(study, trial))
    return decisions


@pytest.fixture(scope="module")
def other_process():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=studies)
def test_never_raises_and_decides_alike_in_a_second_process(
    script, other_process, tmp_path_factory
):
    path = str(tmp_path_factory.mktemp("journal") / "study.journal")
    study = optuna.create_study(
        study_name="study",
        storage=JournalStorage(JournalFileBackend(path)),
        direction=script["direction"],
        pruner=make_pruner(script),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    decisions = []

    def objective(trial):
        trial_script = script["completed"][trial.number]
        decisions.extend(play(trial, trial_script))
        return trial_script["final"]

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The trial is not pruned")
        warnings.filterwarnings("error", category=RuntimeWarning)
        study.optimize(objective, n_trials=len(script["completed"]), n_jobs=script["n_jobs"])
        for probe in script["probes"]:
            decisions.extend(play(study.ask(), probe))
        decisions.extend(here := judge(study))
    assert {type(decision) for decision in decisions} <= {bool}
    assert all(t.state != TrialState.FAIL for t in study.get_trials(deepcopy=False))
    assert other_process.submit(decide_on_probes, path, script).result() == here
