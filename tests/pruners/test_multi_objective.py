"""Trials of studies with several objectives are stopped by their expected hypervolume."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import NSGAIISampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import PredictedValueSampler
from optuna_perfpred.pruners import MultiObjectivePruning
from tests.pruners.studies import N_STEPS


# A failed forecast is survived with a warning; here it is a failed test.
pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")

SPACE = {"size": FloatDistribution(0.0, 1.0), "lr": FloatDistribution(0.0, 1.0)}
BOTH = ["minimize", "minimize"]


def errors(size, lr, seed):
    """Larger networks are better, if the learning rate is near 0."""
    noise = 0.01 * np.random.default_rng([3, seed]).normal(size=N_STEPS)
    return 0.1 + 0.5 * (1.0 - size) + lr + 0.7 ** np.arange(1, N_STEPS + 1) + noise


def latencies(size, seed):
    return size * (1.0 - 0.6 ** np.arange(1, N_STEPS + 1)) + 0.001 * (seed % 3)


class Objective:
    def __init__(self, *, known=True, stops=True, **kwargs):
        self.known, self.stops, self.kwargs = known, stops, kwargs
        self.n_steps = 0

    def __call__(self, trial):
        size, lr = (trial.suggest_float(name, 0.0, 1.0) for name in SPACE)
        error, latency = errors(size, lr, trial.number), latencies(size, trial.number)
        if self.known:
            latency[:] = latency[-1]
        known = {"latency": latency[0]} if self.known else None
        pruning = MultiObjectivePruning(trial, ["error", "latency"], known=known, **self.kwargs)
        for step in range(N_STEPS):
            self.n_steps += 1
            values = {"error": error[step]}
            if not self.known:
                values["latency"] = latency[step]
            pruning.report(values, step)
            if self.stops and pruning.should_prune():
                raise optuna.TrialPruned
        return error[-1], latency[-1]


def study_of(n=20, objective=None, **kwargs):
    """A study of complete trials."""
    study = optuna.create_study(directions=BOTH, sampler=TPESampler(seed=1), **kwargs)
    study.optimize(objective or Objective(stops=False), n_trials=n)
    return study


def run(study, size, lr, objective=None):
    """Run one more trial, and give it."""
    study.enqueue_trial({"size": size, "lr": lr})
    study.optimize(objective or Objective(), n_trials=1)
    return study.trials[-1]


@pytest.mark.parametrize("known", [True, False])
def test_a_trial_far_behind_the_front_is_stopped_and_one_on_it_is_not(known):
    study = study_of(objective=Objective(known=known, stops=False))
    trial = run(study, 0.5, 0.9, Objective(known=known))
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["perfpred:step"] < N_STEPS - 1
    assert "hypervolume" in trial.user_attrs["perfpred:reason"]
    assert "error" in trial.user_attrs["perfpred:reason"]
    for size in (0.05, 0.3, 0.5):  # Where the front has gaps.
        assert run(study, size, 0.0, Objective(known=known)).state == TrialState.COMPLETE


def test_directions_may_differ():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=TPESampler(seed=1))

    def objective(trial):
        size, lr = (trial.suggest_float(name, 0.0, 1.0) for name in SPACE)
        accuracy = 1.0 - errors(size, lr, trial.number)
        pruning = MultiObjectivePruning(trial, ["accuracy", "size"], known={"size": size})
        for step, value in enumerate(accuracy):
            pruning.report({"accuracy": value}, step)
            if trial.number >= 20 and pruning.should_prune():
                raise optuna.TrialPruned
        return accuracy[-1], size

    study.optimize(objective, n_trials=20)
    assert run(study, 0.5, 0.9, objective).state == TrialState.PRUNED
    assert run(study, 0.5, 0.0, objective).state == TrialState.COMPLETE


def hypervolume(study):
    losses = np.array([t.values for t in study.best_trials])
    reference_point = np.array([1.5, 1.1])
    losses = losses[(losses < reference_point).all(axis=1)]
    return optuna._hypervolume.compute_hypervolume(losses, reference_point)


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: TPESampler(seed=2),
        lambda: PredictedValueSampler(NSGAIISampler(population_size=8, seed=2)),
    ],
)
def test_a_search_that_stops_finds_as_much_with_as_many_steps(sampler):
    unpruned = optuna.create_study(directions=BOTH, sampler=sampler())
    unpruned.optimize(Objective(stops=False), n_trials=24)
    objective = Objective()
    study = optuna.create_study(directions=BOTH, sampler=sampler())
    while objective.n_steps < 24 * N_STEPS:
        study.optimize(objective, n_trials=1)
    assert len(study.trials) > 30
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert hypervolume(study) > 0.98 * hypervolume(unpruned)


@pytest.mark.parametrize("base", [TPESampler, NSGAIISampler])
def test_a_sampler_may_be_shown_stopped_trials_at_their_predicted_values(base):
    study = study_of()
    trial = run(study, 0.5, 0.9)
    predicted = trial.user_attrs["perfpred:predicted_values"]
    assert predicted == pytest.approx([errors(0.5, 0.9, 20)[-1], 0.5], abs=0.2)
    shown = PredictedValueSampler(base())._show(study).trials
    assert [t.state for t in shown] == [TrialState.COMPLETE] * 21
    assert shown[-1].values == predicted
    # For everybody else it stays pruned, also if somebody has written what is no prediction.
    assert study.trials[-1].state == TrialState.PRUNED
    for written in ("high", [0.1], [0.1, math.nan], [0.1, None]):
        study._storage.get_trial(trial._trial_id).user_attrs["perfpred:predicted_values"] = written
        shown = PredictedValueSampler(base())._show(study).trials
        assert shown[-1].state == TrialState.PRUNED
    study.sampler = PredictedValueSampler(base(seed=0))
    study.optimize(Objective(), n_trials=2)


def test_a_scalarised_objective_is_one_objective():
    study = optuna.create_study(sampler=TPESampler(seed=1), pruner=PerformancePredictionPruner())

    def objective(trial):
        size, lr = (trial.suggest_float(name, 0.0, 1.0) for name in SPACE)
        for step, error in enumerate(errors(size, lr, trial.number)):
            trial.report(error + 0.3 * size, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return error + 0.3 * size

    study.optimize(objective, n_trials=25)
    assert any(trial.state == TrialState.PRUNED for trial in study.trials)


def test_what_was_reported_is_one_attribute_for_each_step():
    study = study_of(n=1)
    attrs = study.trials[0].system_attrs
    assert len([key for key in attrs if key.startswith("perfpred:reported:")]) == N_STEPS
    assert set(attrs["perfpred:reported:3"]) == {"error"}
    assert study.trials[0].user_attrs == {}


def test_another_process_decides_alike():
    url = "sqlite://"  # Each storage object reads anew; in memory it is one for both.
    storage = optuna.storages.RDBStorage(url)
    study = study_of(n=8, storage=storage, study_name="shared")
    other = optuna.load_study(study_name="shared", storage=optuna.storages._CachedStorage(storage))
    steps = [run(s, 0.5, 0.9).user_attrs["perfpred:step"] for s in (study, other)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_is_survived(value):
    study = study_of()
    trial = study.ask(SPACE)
    pruning = MultiObjectivePruning(trial, ["error", "latency"], known={"latency": 0.5})
    for step in range(N_STEPS):
        pruning.report({"error": value}, step)
        stops = pruning.should_prune()
        assert not (math.isnan(value) and stops)  # Then nobody can know.
    json.dumps(study.trials[-1].system_attrs, allow_nan=False)


def test_a_trial_with_one_objective_unknown_is_never_stopped():
    study = study_of()
    trial = study.ask(SPACE)
    pruning = MultiObjectivePruning(trial, ["error", "latency"])
    for step in range(N_STEPS):
        pruning.report({"error": 9.0}, step)
        assert not pruning.should_prune()


def test_nothing_is_stopped_before_the_first_report_or_the_fifth_complete_trial():
    study = study_of(n=4)
    assert not MultiObjectivePruning(study.ask(SPACE), ["error", "latency"]).should_prune()
    assert run(study, 0.5, 1.0).state == TrialState.COMPLETE


def test_nothing_is_stopped_before_the_warm_up():
    study = study_of()
    trial = run(study, 0.5, 0.9, Objective(n_warmup_steps=7))
    assert trial.user_attrs["perfpred:step"] == 7


def test_trials_that_break_a_constraint_are_stopped_and_no_part_of_the_front():
    study = optuna.create_study(directions=BOTH, sampler=TPESampler(seed=1))
    objective = Objective(stops=False)

    def constrained(trial):
        values = objective(trial)
        trial.set_constraint("size", trial.params["size"] - 0.5)
        return values

    study.optimize(constrained, n_trials=24)
    study.enqueue_trial({"size": 0.7, "lr": 0.0})
    trial = study.ask(SPACE)
    trial.set_constraint("size", 0.2)
    pruning = MultiObjectivePruning(trial, ["error", "latency"], known={"latency": 0.7})
    pruning.report({"error": 0.3}, 0)
    assert pruning.should_prune()
    assert "constraint 'size'" in study.trials[-1].user_attrs["perfpred:reason"]


def test_a_constraint_that_everything_breaks_stops_nothing():
    study = optuna.create_study(directions=BOTH, sampler=TPESampler(seed=1))
    objective = Objective()

    def constrained(trial):
        trial.set_constraint("size", 1.0)
        return objective(trial)

    study.optimize(constrained, n_trials=12)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


def test_it_never_raises_and_warns_once(monkeypatch):
    study = study_of()
    trial = study.ask(SPACE)
    pruning = MultiObjectivePruning(trial, ["error", "latency"], known={"latency": 0.5})
    monkeypatch.setattr(study._storage, "get_all_trials", None)
    pruning.report({"error": 9.0}, 0)
    with pytest.warns(UserWarning, match="its forecast failed"):
        assert not pruning.should_prune()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruning.report({"error": 9.0}, 1)
        assert not pruning.should_prune()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"names": ["error"]}, "2 different strings"),
        ({"names": ["error", "error"]}, "2 different strings"),
        ({"names": "ab"}, "2 different strings"),
        ({"known": {"size": 1.0}}, "names of objectives, 'error', 'latency', but got 1.0 for"),
        ({"known": {"latency": math.nan}}, "finite numbers"),
        ({"known": {"latency": "high"}}, "finite numbers"),
        ({"n_warmup_steps": -1}, "`n_warmup_steps`"),
        ({"interval_steps": 0}, "`interval_steps`"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    trial = optuna.create_study(directions=BOTH).ask()
    with pytest.raises(ValueError, match=match):
        MultiObjectivePruning(trial, **{"names": ["error", "latency"], **arguments})


@pytest.mark.parametrize(
    ("values", "step", "match"),
    [
        ({"latencies": 1.0}, 0, "of objectives, 'error', 'latency'"),
        ({"error": "high"}, 0, "'error' must be a number"),
        ({"error": None}, 0, "'error' must be a number"),
        (0.5, 0, "numbers by names"),
        ({"error": 1.0}, -1, "`step`"),
    ],
)
def test_bad_reports_are_refused(values, step, match):
    trial = optuna.create_study(directions=BOTH).ask()
    with pytest.raises(ValueError, match=match):
        MultiObjectivePruning(trial, ["error", "latency"]).report(values, step)


def test_a_study_with_one_objective_has_its_own_way():
    with pytest.raises(ValueError, match=r"call `trial\.report`"):
        MultiObjectivePruning(optuna.create_study().ask(), ["error"])
