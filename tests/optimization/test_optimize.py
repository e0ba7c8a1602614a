from __future__ import annotations

from datetime import datetime
from datetime import timedelta
import itertools
import re
import time

import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import finish
from optuna_perfpred import optimize
from optuna_perfpred import PerformancePredictionPruner
from tests.optimization.trainings import continuing
from tests.optimization.trainings import hasty
from tests.optimization.trainings import n_new
from tests.optimization.trainings import N_STEPS
from tests.optimization.trainings import n_trained
from tests.optimization.trainings import new_study
from tests.optimization.trainings import plain
from tests.optimization.trainings import Trainings
from tests.optimization.trainings import values


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    return None if request.param == "memory" else f"sqlite:///{tmp_path}/study.db"


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_a_paused_training_goes_on_where_it_was(n_jobs, storage):
    study, trainings = new_study(hasty(), storage=storage), Trainings()
    optimize(study, trainings, n_trials=30, n_paused=100, n_jobs=n_jobs)
    assert n_new(study) == 30
    assert all(trial.state in FINISHED for trial in study.trials)
    assert continuing(study)
    for trial, stopped in continuing(study):
        assert stopped.state == TrialState.PRUNED
        assert trial.params == stopped.params
        assert stopped.intermediate_values.items() <= trial.intermediate_values.items()
        assert trial.last_step > stopped.last_step
    # No step twice, each one the next of its curve.
    assert trainings.n_steps == n_trained(study)
    for trial in study.trials:
        curve = values(trial.params["x"])[: len(trial.intermediate_values)]
        assert trial.intermediate_values == dict(enumerate(curve))
    assert trainings.open == 0


def test_what_is_completed_is_told_of_the_trial_that_went_on():
    study = new_study(hasty())
    optimize(study, Trainings(), n_trials=25)
    ended = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert any("perfpred:continues" in trial.user_attrs for trial in ended)
    for trial in ended:
        assert trial.value == values(trial.params["x"])[-1]
        assert trial.user_attrs["ended_as"] == trial.number


def test_attributes_and_constraints_go_on_too():
    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        trial.set_user_attr("size", [1, 2])
        trial.set_constraint("memory", -x)
        yield from values(x)

    study = new_study(hasty())
    optimize(study, objective, n_trials=20)
    assert continuing(study)
    for trial, _ in continuing(study):
        assert trial.user_attrs["size"] == [1, 2]
        assert trial.constraints == {"memory": -trial.params["x"]}


def test_a_parameter_may_be_asked_for_after_the_pause():
    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        for step, value in enumerate(values(x)):
            if step == N_STEPS - 1:
                trial.suggest_int("late", 0, 10)
            yield value

    study = new_study(hasty())
    optimize(study, objective, n_trials=25)
    completed = study.get_trials(states=[TrialState.COMPLETE])
    assert any("perfpred:continues" in trial.user_attrs for trial in completed)
    assert all(trial.params.keys() == {"x", "late"} for trial in completed)


@pytest.mark.parametrize("pruner", [MedianPruner(), PerformancePredictionPruner(shadow=True)])
def test_by_another_pruner_trials_are_pruned_as_by_optuna(pruner):
    ours, theirs = new_study(pruner), new_study(pruner)
    trainings = Trainings()
    optimize(ours, trainings, n_trials=30)
    theirs.optimize(plain, n_trials=30)
    assert [(t.state, t.value) for t in ours.trials] == [(t.state, t.value) for t in theirs.trials]
    assert trainings.most_open == 1


@pytest.mark.parametrize("n_paused", [0, 2])
def test_no_more_are_paused_than_asked_for(n_paused):
    trainings = Trainings()
    optimize(new_study(hasty()), trainings, n_trials=20, n_paused=n_paused)
    assert trainings.most_open == n_paused + 1
    assert trainings.open == 0


def test_what_the_user_has_enqueued_beyond_n_trials_waits():
    study = new_study(hasty())
    for number in range(30):
        study.enqueue_trial({"x": (number * 7 % 30) / 30})
    optimize(study, Trainings(), n_trials=20)
    waiting = study.get_trials(states=[TrialState.WAITING])
    assert [trial.number for trial in waiting] == list(range(20, 30))
    assert continuing(study)


def test_the_study_itself_is_as_always_meanwhile():
    """Others hold it too: they ask it for trials of their own, and stop it."""
    study, seen = new_study(hasty()), []

    def objective(trial):
        seen.append(trial.study is study)
        yield from values(trial.suggest_float("x", 0.0, 1.0))
        if trial.number == 3:
            asked.append(study.ask())
            study.stop()

    asked = []
    optimize(study, objective, callbacks=[lambda told, _: seen.append(told is study)])
    assert len(seen) == 8
    assert all(seen)
    assert asked[0].number == 4
    assert study.trials[4].state == TrialState.RUNNING


def test_one_at_a_time_optimizes_a_study():
    study = new_study()

    def objective(trial):
        with pytest.raises(RuntimeError, match="The study is being optimized already"):
            finish(study, objective)
        yield 0.5

    optimize(study, objective, n_trials=1)
    assert study.best_value == 0.5


def test_it_may_be_called_again():
    study, trainings = new_study(), Trainings()
    pruner = study.pruner
    for n in (10, 20):
        optimize(study, trainings, n_trials=10)
        assert n_new(study) == n
    assert study.pruner is pruner
    study.optimize(plain, n_trials=1)


def test_stopping_the_study_closes_what_is_paused():
    study, trainings = new_study(), Trainings()

    def stop(study, trial):
        if trial.number == 15:
            assert trainings.open > 0
            study.stop()

    optimize(study, trainings, n_trials=30, callbacks=[stop])
    assert len(study.trials) == 16
    assert all(trial.state in FINISHED for trial in study.trials)
    assert trainings.open == 0


def test_after_the_timeout_nothing_begins():
    def objective(trial):
        for value in values(trial.suggest_float("x", 0.0, 1.0)):
            time.sleep(0.001)
            yield value

    study = new_study()
    start = time.monotonic()
    optimize(study, objective, timeout=1.0)
    assert 1.0 <= time.monotonic() - start < 20.0
    assert all(trial.state in FINISHED for trial in study.trials)


def test_near_the_timeout_a_stopped_one_is_preferred():
    study = new_study()
    start = datetime.now() - timedelta(hours=3)
    for number in range(20):
        curve = values(number / 20)[: N_STEPS if number < 19 else 8]
        study.add_trial(
            FrozenTrial(
                number=number,
                trial_id=number,
                state=TrialState.COMPLETE if number < 19 else TrialState.PRUNED,
                value=curve[-1],
                datetime_start=start,
                datetime_complete=start + timedelta(hours=2),
                params={"x": number / 20},
                distributions={"x": FloatDistribution(0.0, 1.0)},
                user_attrs={},
                system_attrs={},
                intermediate_values=dict(enumerate(curve)),
            )
        )
    optimize(study, Trainings(), n_trials=1, timeout=3600.0)
    assert [stopped.number for _, stopped in continuing(study)][:1] == [19]
    assert study.trials[20].user_attrs["perfpred:continues"] == 19


def test_a_value_that_is_returned_is_that_of_the_trial():
    def objective(trial):
        yield 1.0
        yield 3.0
        return 2.0

    study = new_study()
    optimize(study, objective, n_trials=1)
    assert study.trials[0].value == 2.0
    assert study.trials[0].intermediate_values == {0: 1.0, 1: 3.0}


def test_steps_may_be_yielded():
    def objective(trial):
        yield 10, 0.5
        yield 0.6
        yield 20, 0.7

    study = new_study()
    optimize(study, objective, n_trials=1)
    assert study.trials[0].intermediate_values == {10: 0.5, 11: 0.6, 20: 0.7}
    assert study.trials[0].value == 0.7


@pytest.mark.parametrize(
    ("yielded", "told"),
    [
        ("good", "must yield a number, or \\(step, number\\), but yielded 'good'"),
        ("0.5", "but yielded '0.5'"),
        (None, "but yielded None"),
        ((1, 2, 3), "but yielded \\(1, 2, 3\\)"),
        (("a", 0.5), "but yielded \\('a', 0.5\\)"),
        ((0, 0.5), "must be at least 1, but it yielded 0"),
    ],
)
@pytest.mark.parametrize("pruner", [None, MedianPruner()])
def test_a_trial_that_yields_no_number_fails_alone(pruner, yielded, told, caplog):
    def objective(trial):
        yield 0.1
        if trial.number == 3:
            yield yielded
        yield 0.2

    study = new_study(pruner)
    optimize(study, objective, n_trials=6)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.FAIL) == 1
    assert states[3] == TrialState.FAIL
    assert study.trials[3].intermediate_values == {0: 0.1}
    assert any(
        re.search(f"Trial 3 fails: .*{told}", record.getMessage()) for record in caplog.records
    )


def test_nan_is_a_step_without_a_value():
    def objective(trial):
        yield 0.1
        yield float("nan")
        if trial.number != 1:
            yield 0.2

    study = new_study()
    optimize(study, objective, n_trials=3)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def test_a_trial_without_steps_needs_a_value():
    def objective(trial):
        if trial.number == 1:
            return 1.0
        return
        yield

    study = new_study()
    optimize(study, objective, n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_an_exception_fails_its_trial(n_jobs):
    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        if next(count) == 8:
            raise OverflowError("too much")
        yield from values(x)

    count = itertools.count()
    study = new_study()
    with pytest.raises(OverflowError, match="too much"):
        optimize(study, objective, n_trials=20, n_jobs=n_jobs)
    assert len(study.get_trials(states=[TrialState.FAIL])) == 1
    assert all(trial.state.is_finished() for trial in study.trials)
    assert n_new(study) < 20
    count = itertools.count()
    study = new_study()
    optimize(study, objective, n_trials=20, n_jobs=n_jobs, catch=OverflowError)
    assert len(study.get_trials(states=[TrialState.FAIL])) == 1
    assert n_new(study) == 20


def test_a_training_that_does_not_end_well_harms_nothing(caplog):
    def objective(trial):
        try:
            yield from values(trial.suggest_float("x", 0.0, 1.0))
        except GeneratorExit:
            raise RuntimeError("the file is gone") from None

    study = new_study()
    optimize(study, objective, n_trials=20)
    assert "did not end well: RuntimeError('the file is gone')" in caplog.text
    assert all(trial.state in FINISHED for trial in study.trials)


def test_an_objective_may_prune_itself():
    def objective(trial):
        yield 0.5
        raise optuna.TrialPruned

    study = new_study()
    optimize(study, objective, n_trials=3)
    assert {trial.state for trial in study.trials} == {TrialState.PRUNED}


def test_a_trial_enqueued_with_other_parameters_begins_anew():
    study, trainings = new_study(), Trainings()

    def enqueue(study, trial):
        if trial.state == TrialState.PRUNED and not continuing(study):
            study.enqueue_trial({"x": 0.123}, user_attrs={"perfpred:continues": trial.number})

    optimize(study, trainings, n_trials=20, callbacks=[enqueue])
    trial = next(t for t in study.trials if t.params["x"] == 0.123)
    assert trial.intermediate_values[0] == values(0.123)[0]


def test_bad_arguments():
    study = new_study()
    with pytest.raises(ValueError, match=r"`objective` must be a generator function.*plain"):
        optimize(study, plain, n_trials=1)
    with pytest.raises(ValueError, match="`n_trials` must be an integer of at least 1"):
        optimize(study, Trainings(), n_trials=0)
    with pytest.raises(ValueError, match="`n_paused` must be an integer of at least 0"):
        optimize(study, Trainings(), n_trials=1, n_paused=-1)
    with pytest.raises(ValueError, match="`timeout` must be positive"):
        optimize(study, Trainings(), timeout=0)
    several = optuna.create_study(directions=["minimize", "minimize"], sampler=RandomSampler())
    with pytest.raises(ValueError, match="must have one objective, but has 2"):
        optimize(several, Trainings(), n_trials=1)
    assert study.trials == []
