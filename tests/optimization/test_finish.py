from __future__ import annotations

import logging

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import finish
from optuna_perfpred import PerformancePredictionPruner
from tests.optimization.trainings import continuing
from tests.optimization.trainings import N_STEPS
from tests.optimization.trainings import new_study
from tests.optimization.trainings import plain
from tests.optimization.trainings import Trainings
from tests.optimization.trainings import values


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")
X = {"x": FloatDistribution(0.0, 1.0)}


def add(study, x, n_steps=N_STEPS, curve=None, **kwargs):
    """Add a trial, stopped if it has not all its steps."""
    curve = values(x)[:n_steps] if curve is None else curve
    study.add_trial(
        create_trial(
            state=TrialState.COMPLETE if len(curve) == N_STEPS else TrialState.PRUNED,
            value=curve[-1] if len(curve) == N_STEPS else None,
            params={"x": x},
            distributions=X,
            intermediate_values=dict(enumerate(curve)),
            **kwargs,
        )
    )


def wrongly_stopped(pruner=None, **kwargs):
    """A study in which the best three of fifteen trials were stopped after eight steps."""
    study = new_study(pruner, **kwargs)
    for number in range(12):
        add(study, 0.05 * number)
    for x in (0.92, 0.98, 0.95):
        add(study, x, 8)
    for x in (0.1, 0.2):
        add(study, x, 8)
    return study


@pytest.mark.parametrize("pruner", [None, MedianPruner(), HyperbandPruner(max_resource=N_STEPS)])
def test_the_best_ones_of_the_stopped_are_found(pruner):
    study = wrongly_stopped(pruner)
    own = study.pruner
    result = finish(study, plain)
    assert result.best_before == values(0.55)[-1]
    assert result.best_after == study.best_value > 0.9
    assert result.n_trials == len(continuing(study)) == len(study.trials) - 17
    assert result.n_steps == sum(len(t.intermediate_values) for t, _ in continuing(study))
    assert not {0.1, 0.2} & {trial.params["x"] for trial, _ in continuing(study)}
    assert study.pruner is own


@pytest.mark.parametrize(
    ("direction", "stock"),
    [("maximize", MedianPruner(n_startup_trials=2)), ("minimize", HyperbandPruner(1, N_STEPS))],
)
def test_a_search_of_a_stock_pruner(direction, stock):
    def objective(trial):
        sign = 1.0 if trial.study.direction.name == "MAXIMIZE" else -1.0
        for step, value in enumerate(values(trial.suggest_float("x", 0.0, 1.0))):
            trial.report(sign * value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return sign * value

    study = optuna.create_study(
        direction=direction, sampler=optuna.samplers.RandomSampler(seed=3), pruner=stock
    )
    study.optimize(objective, n_trials=40)
    assert study.get_trials(states=[TrialState.PRUNED])
    result = finish(study, objective, steps=200)
    better = max if direction == "maximize" else min
    assert result.best_after == better(result.best_before, result.best_after)
    assert len(study.trials) == 40 + result.n_trials


def badly_ordered(storage, **kwargs):
    """Make a study whose stopped trials look worse in their next steps than they end."""
    pruner = PerformancePredictionPruner(second_chance="retrain", **kwargs)
    study = new_study(pruner, storage=storage, study_name="end")
    for x in np.linspace(0.3, 0.6, 12):
        add(study, float(x))
    for x in np.random.default_rng(0).uniform(0.4, 0.7, 6):
        add(study, float(x), 4)
    return study


def how_far(study):
    return [(trial.params["x"], trial.last_step) for trial, _ in continuing(study)]


@pytest.mark.parametrize("confidence", [None, 0.3])
def test_workers_are_as_patient_at_the_end(confidence):
    """Each knows the storage alone."""
    finished = badly_ordered(InMemoryStorage(), confidence=confidence)
    finish(finished, plain)

    def by_workers(*, patient):
        storage = InMemoryStorage()
        badly_ordered(storage)
        while True:
            pruner = PerformancePredictionPruner(second_chance="retrain", confidence=confidence)
            study = optuna.load_study(study_name="end", storage=storage, pruner=pruner)
            pruner.enqueue_stopped(study)
            waiting = study.get_trials(states=[TrialState.WAITING])
            if not waiting:
                return how_far(study)
            if not patient:
                storage.set_trial_user_attr(waiting[0]._trial_id, "perfpred:least_ratio", None)
            study.optimize(plain, n_trials=1)

    assert by_workers(patient=True) == how_far(finished)
    # Otherwise one is stopped a second time.
    assert by_workers(patient=False) != how_far(finished)


@pytest.mark.parametrize("ratio", ["0.1", True, -0.1, 0.0, 1.5, float("nan"), None, [0.1]])
def test_how_patient_to_be_is_not_believed_of_anybody(ratio):
    def answers(**attrs):
        study = badly_ordered(None, confidence=0.1)
        stopped = study.trials[16]
        study.enqueue_trial(
            {"x": stopped.params["x"]}, user_attrs={"perfpred:continues": 16, **attrs}
        )
        study.optimize(plain, n_trials=1)
        return study.trials[18].last_step

    usual = answers()
    assert answers(**{"perfpred:least_ratio": ratio}) == usual
    assert answers(**{"perfpred:least_ratio": 0.085}) != usual


def test_nothing_is_done_twice():
    study = wrongly_stopped()
    finish(study, plain)
    n = len(study.trials)
    assert finish(study, plain).n_trials == 0
    assert len(study.trials) == n


def test_a_generator_goes_on_and_is_kept_where_it_is_stopped_again():
    study, trainings = wrongly_stopped(), Trainings()
    result = finish(study, trainings)
    assert result.best_after > 0.9
    assert trainings.n_steps == result.n_steps
    assert trainings.open == 0


def test_steps_of_a_checkpoint_cost_nothing():
    def resumed(trial):
        stopped = trial.study.trials[trial.user_attrs["perfpred:continues"]]
        for step, value in stopped.intermediate_values.items():
            trial.report(value, step)
        for step, value in enumerate(values(trial.suggest_float("x", 0.0, 1.0))[8:], start=8):
            n_trained.append(step)
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    n_trained = []
    result = finish(
        wrongly_stopped(PerformancePredictionPruner(second_chance="checkpoint")), resumed
    )
    assert result.n_trials > 0
    assert result.n_steps == len(n_trained)
    study = new_study()
    for trial in wrongly_stopped().trials:
        add(study, trial.params["x"], len(trial.intermediate_values))
    for x in (0.93, 0.97):
        add(study, x, 8, user_attrs={"perfpred:checkpoint": True})
    n_trained = []
    result = finish(study, resumed, n_trials=1)
    assert result.n_steps == len(n_trained) == 12


def test_limits():
    study = wrongly_stopped()
    assert finish(study, plain, n_trials=1).n_trials == 1
    study = wrongly_stopped()
    assert finish(study, plain, steps=1)[:2] == (1, N_STEPS)
    study = wrongly_stopped()
    assert finish(study, plain, timeout=1e-6).n_trials == 0
    for kwargs in ({"steps": 0}, {"n_trials": 0}, {"timeout": -1.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(kwargs))}` must be"):
            finish(study, plain, **kwargs)
    with pytest.raises(ValueError, match="`objective` must be a function of a trial"):
        finish(study, "objective")
    with pytest.raises(ValueError, match="must have one objective"):
        finish(optuna.create_study(directions=["minimize"] * 2), plain)


def test_what_waits_in_the_queue_stays_there():
    study = wrongly_stopped()
    study.enqueue_trial({"x": 0.5})
    assert finish(study, plain).n_trials > 0
    assert [t.number for t in study.get_trials(states=[TrialState.WAITING])] == [17]


def test_what_the_pruner_has_enqueued_goes_first():
    study = wrongly_stopped()
    study.enqueue_trial({"x": 0.92}, user_attrs={"perfpred:continues": 12})
    assert finish(study, plain, n_trials=1).n_trials == 1
    assert [(t.number, stopped.number) for t, stopped in continuing(study)] == [(17, 12)]
    assert study.trials[17].state.is_finished()


def test_an_error_leaves_the_study_as_it_was():
    def objective(trial):
        raise OverflowError("too much")

    study = wrongly_stopped(MedianPruner())
    own = study.pruner
    with pytest.raises(OverflowError):
        finish(study, objective)
    assert study.pruner is own
    assert [trial.state for trial in study.trials[17:]] == [TrialState.FAIL]
    # Whoever goes on with one that broke breaks again: the others are left.
    result = finish(study, objective, catch=OverflowError)
    assert result.n_trials == 2
    assert result.best_after == result.best_before


def test_an_objective_that_never_stops_ends():
    def objective(trial):
        for step, value in enumerate(values(trial.suggest_float("x", 0.0, 1.0))):
            trial.report(value, step)
            trial.should_prune()
        return value

    assert finish(wrongly_stopped(), objective).n_trials >= 1


def test_an_objective_that_swallows_what_stops_it():
    def objective(trial):
        try:
            for step, value in enumerate(values(trial.suggest_float("x", 0.0, 1.0))):
                trial.report(value, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
        except Exception:
            trial.set_user_attr("swallowed", True)
        return value

    study = wrongly_stopped(PerformancePredictionPruner(second_chance="retrain", confidence=0.1))
    study.optimize(objective, n_trials=8)
    finish(study, objective)
    assert {trial.state for trial in study.trials[17:]} == {TrialState.COMPLETE}
    numbers = [stopped.number for _, stopped in continuing(study)]
    assert len(set(numbers)) == len(numbers) > 0
    assert any("swallowed" in trial.user_attrs for trial in study.trials)


def test_a_study_that_can_be_told_nothing_of(caplog):
    study = new_study(NopPruner())
    assert finish(study, plain) == (0, 0, None, None)
    for x in (0.5, 0.9):
        add(study, x, 8)
    assert finish(study, plain) == (0, 0, None, None)
    study = new_study(MedianPruner())
    for number in range(12):
        add(study, 0.05 * number)
    add(study, 0.9, curve=[])
    add(study, 0.9, curve=[float("nan")])
    add(study, 0.9, curve=[0.1])
    with caplog.at_level(logging.WARNING):
        finish(study, plain)
    assert not caplog.records or all("nan" not in r.getMessage() for r in caplog.records)
    assert not {12, 13} & {stopped.number for _, stopped in continuing(study)}


def test_it_tells_what_it_will_do(caplog):
    with caplog.at_level(logging.INFO, logger="optuna_perfpred"):
        finish(wrongly_stopped(), plain)
    assert "3 stopped trials are worth going on with." in caplog.text
    assert "the best value was" in caplog.text
