"""Trials that break a constraint, or will, are stopped, and never are the reference."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.samplers import NSGAIISampler
from optuna.samplers import TPESampler
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.pruners import report_constraints
from optuna_perfpred.replay import replay
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import N_STEPS


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")

SPACE = {"x": FloatDistribution(0.0, 1.0), "size": FloatDistribution(0.0, 2.0)}


def latency_curve(size, seed=0):
    """Milliseconds above what is allowed, which grow towards ``size - 1``."""
    noise = 0.01 * np.random.default_rng([7, seed]).normal(size=N_STEPS)
    return (size * (1.0 - 0.7 ** np.arange(1, N_STEPS + 1)) - 1.0 + noise).tolist()


def train(study, x, size, *, seed=99, known=False, reported=True):
    """Run a trial; return the step at which it was pruned, or the number of all steps."""
    study.enqueue_trial({"x": x, "size": size})
    trial = study.ask(SPACE)
    latencies = latency_curve(size, seed)
    if known:
        trial.set_constraint("latency", size - 1.0)
    for step, value in enumerate(accuracy_curve(x, seed=seed)):
        trial.report(value, step)
        if reported:
            report_constraints(trial, {"latency": latencies[step]}, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    if not known:
        trial.set_constraint("latency", latencies[-1])
    study.tell(trial, value)
    return N_STEPS


def study_with(pruner, n=20, sizes=(0.2, 1.9), **kwargs):
    """A study of complete trials, of which every other one breaks the constraint."""
    study = optuna.create_study(direction="maximize", pruner=NopPruner(), **kwargs)
    for number in range(n):
        train(study, ((number * 7) % n) / n, sizes[number % len(sizes)], seed=number)
    study.pruner = pruner
    return study


PRUNERS = [
    PerformancePredictionPruner,
    lambda: PerformancePredictionPruner(SequentialRegression("ridge")),
]


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_trial_that_breaks_a_known_constraint_is_stopped_at_once(pruner):
    study = study_with(pruner())
    assert train(study, 0.99, 1.5, known=True) == 0
    reason = study.trials[-1].user_attrs["perfpred:reason"]
    assert "it breaks the constraint 'latency', which is 0.5 > 0." in reason
    assert train(study, 0.99, 0.9, known=True) == N_STEPS
    json.dumps([trial.user_attrs for trial in study.trials], allow_nan=False)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_trial_that_will_break_a_constraint_is_stopped(pruner):
    study = study_with(pruner())
    step = train(study, 0.99, 1.8)
    # Then it was still satisfied.
    assert latency_curve(1.8, 99)[step] < 0.0
    assert (
        "chance to satisfy the constraint 'latency'"
        in study.trials[-1].user_attrs["perfpred:reason"]
    )
    assert train(study, 0.99, 0.3) == N_STEPS


def test_nobody_knows_of_a_constraint_that_is_only_set_at_the_end():
    study = study_with(PerformancePredictionPruner())
    assert train(study, 0.99, 1.8, reported=False) == N_STEPS


def test_trials_that_break_a_constraint_are_never_the_reference():
    study = optuna.create_study(direction="maximize", pruner=NopPruner())
    for number in range(20):
        x = ((number * 7) % 20) / 20
        train(study, x, 1.9 if x > 0.55 else 0.2, seed=number)  # The good ones break it.
    study.pruner = PerformancePredictionPruner()
    best = max(t.value for t in study.trials if t.constraints["latency"] <= 0.0)
    assert train(study, 0.1, 0.2) < N_STEPS
    assert f"to beat {best:.4g}" in study.trials[-1].user_attrs["perfpred:reason"]
    assert train(study, 0.7, 0.2) == N_STEPS


@pytest.mark.parametrize("known", [True, False])
def test_if_everything_breaks_a_constraint_no_trial_is_stopped_and_it_is_told(known):
    study = study_with(PerformancePredictionPruner(), sizes=(1.7, 1.9))
    with pytest.warns(UserWarning, match="None of the first 10 trials satisfies"):
        assert train(study, 0.1, 1.8, known=known) == N_STEPS
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # It was told.
        assert train(study, 0.99, 1.8, known=known) == N_STEPS


def test_trials_that_broke_a_constraint_get_no_second_chance():
    pruner = PerformancePredictionPruner(second_chance="retrain")
    study = study_with(pruner)
    for constraint in (0.5, -0.5):
        trial = create_trial(
            state=TrialState.PRUNED,
            params={"x": 0.99, "size": 1.0},
            distributions=SPACE,
            intermediate_values=dict(enumerate(accuracy_curve(0.99)[:8])),
        )
        trial.set_constraint("latency", constraint)
        study.add_trial(trial)
    finished = pruner._finished.of(study).read_now(study)
    chances = pruner._chances.of(study).of(finished, study.trials)
    assert [chance.trial.number for chance in chances] == [21]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_survived_and_kept_as_json(value):
    study = study_with(PerformancePredictionPruner())
    trial = study.ask(SPACE)
    for step, accuracy in enumerate(accuracy_curve(0.9)):
        trial.report(accuracy, step)
        report_constraints(trial, {"latency": value}, step)
        trial.should_prune()
    attrs = study.trials[-1].system_attrs
    assert "Infinity" not in json.dumps(attrs, allow_nan=False)


def test_what_others_wrote_is_not_trusted():
    study = study_with(PerformancePredictionPruner())
    trial = study.ask(SPACE)
    for key, value in (("x", {}), ("1", 3), ("2", {"latency": "high"}), ("-1", {"latency": 9.0})):
        study._storage.set_trial_system_attr(trial._trial_id, f"perfpred:reported:{key}", value)
    for step, accuracy in enumerate(accuracy_curve(0.99, seed=99)):
        trial.report(accuracy, step)
        assert not trial.should_prune()


@pytest.mark.parametrize(
    ("values", "step", "match"),
    [
        ({"latency": "high"}, 0, "'latency' must be a number, but got 'high'"),
        ({"latency": None}, 0, "'latency' must be a number"),
        ({3: 1.0}, 0, "numbers by names"),
        ([1.0], 0, "numbers by names"),
        ({"latency": 1.0}, -1, "integer of at least 0"),
        ({"latency": 1.0}, 0.5, "integer of at least 0"),
    ],
)
def test_bad_reports_are_refused(values, step, match):
    with pytest.raises(ValueError, match=match):
        report_constraints(optuna.create_study().ask(), values, step)


@pytest.mark.parametrize("sampler", [TPESampler, NSGAIISampler])
def test_a_search_under_a_constraint_finds_a_feasible_trial_with_fewer_steps(sampler):
    n_steps = {}
    for pruner in (PerformancePredictionPruner(), NopPruner()):
        study = optuna.create_study(direction="maximize", sampler=sampler(seed=0), pruner=pruner)

        def objective(trial):
            size = trial.suggest_float("size", 0.0, 2.0)
            latencies = latency_curve(size, trial.number)
            # Larger networks are better.
            for step, value in enumerate(accuracy_curve(size / 2.0, seed=trial.number)):
                trial.report(value, step)
                report_constraints(trial, {"latency": latencies[step]}, step)
                if trial.should_prune():
                    trial.set_constraint("latency", latencies[step])
                    raise optuna.TrialPruned
            trial.set_constraint("latency", latencies[-1])
            return value

        study.optimize(objective, n_trials=25)
        assert study.best_trial.params["size"] == pytest.approx(0.95, abs=0.2)
        n_steps[type(pruner)] = sum(len(t.intermediate_values) for t in study.trials)
    assert n_steps[PerformancePredictionPruner] < 0.7 * n_steps[NopPruner]


def test_a_replay_stops_what_was_to_break_a_constraint():
    study = study_with(None, n=30)
    report = replay(study, PerformancePredictionPruner(), order="random", seed=0)
    stopped = [t for t in report.trials if "chance to satisfy" in (t.reason or "")]
    assert stopped
    assert report.best_kept == 1.0


def test_a_stopped_trial_can_be_explained():
    study = study_with(PerformancePredictionPruner())
    train(study, 0.99, 1.8)
    assert "latency" in str(explain(study, study.trials[-1].number))
