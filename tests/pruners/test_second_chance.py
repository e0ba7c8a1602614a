"""Stopped trials that are gone on with once they are worth more than new ones."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.distributed._retry import Retry
from optuna_perfpred.distributed._storage import open_storage
from tests.pruners.sentences import is_sentence
from tests.retries import died


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned", "error:No stopped trial")

N_STEPS = 20
SPACE = {"x": FloatDistribution(0.0, 3.0), "lateness": FloatDistribution(0.0, 1.0)}
N_STOPPED = 4
STOPPED_AT = 2


def curve(x, lateness):
    """Late trials begin far worse and end better."""
    end = x + lateness
    return [end * (1 - (0.6 + 0.35 * lateness) ** (step + 1)) for step in range(N_STEPS)]


def add(study, x, lateness, stopped_at=None, **user_attrs):
    values = curve(x, lateness)[: None if stopped_at is None else stopped_at + 1]
    study.add_trial(
        create_trial(
            state=TrialState.COMPLETE if stopped_at is None else TrialState.PRUNED,
            value=values[-1] if stopped_at is None else None,
            params={"x": x, "lateness": lateness},
            distributions=SPACE,
            intermediate_values=dict(enumerate(values)),
            user_attrs=user_attrs,
        )
    )


def study_of(pruner=None, *, known_late=True, storage=None, **user_attrs):
    """Make a study in which late trials were stopped early; late ones have won since, or not."""
    study = optuna.create_study(
        study_name="chances",
        direction="maximize",
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruner or PerformancePredictionPruner(second_chance="retrain"),
    )
    for number in range(N_STOPPED):
        add(study, 0.8 + 0.05 * number, 0.9, stopped_at=STOPPED_AT, **user_attrs)
    for x in np.linspace(0.1, 0.6, 8):
        add(study, float(x), 0.0)
    for x in np.linspace(0.1, 0.6, 8):
        add(study, float(x) + (0.0 if known_late else 2.0), 0.9 if known_late else 0.0)
    return study


def ask(study, x=0.05, lateness=0.0, n_reports=1):
    """Run a bad new trial up to its first question; return the answer."""
    trial = study.ask({})
    values = curve(
        trial.suggest_float("x", x, x + 0.01), trial.suggest_float("lateness", 0.0, 0.01)
    )
    for step in range(n_reports):
        trial.report(values[step], step)
    return trial, trial.should_prune()


def going_on(study):
    return [t for t in study.trials if "perfpred:continues" in t.user_attrs]


def train(study, trial):
    """Train what was asked for until it ends, from its first step."""
    values = curve(trial.params["x"], trial.params["lateness"])
    for step, value in enumerate(values):
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, values[-1])


def test_a_stopped_trial_goes_on_once_it_is_worth_more_than_a_new_one():
    study = study_of()
    trial, _ = ask(study)
    (waiting,) = going_on(study)
    number = waiting.user_attrs["perfpred:continues"]
    assert waiting.state == TrialState.WAITING
    assert number < N_STOPPED
    assert waiting.system_attrs["fixed_params"] == study.trials[number].params
    said = waiting.user_attrs["perfpred:second_chance"]
    assert said.startswith(f"Goes on with trial {number}, stopped at step {STOPPED_AT}: by now ")
    assert is_sentence("second chance", said)
    study.tell(trial, state=TrialState.PRUNED)

    continued = study.ask(SPACE)
    assert continued.params == study.trials[number].params
    train(study, continued)
    assert study.best_trial.number == continued.number


def test_one_that_is_worth_less_does_not():
    study = study_of(known_late=False)
    ask(study)
    assert going_on(study) == []


@pytest.mark.parametrize(
    "pruner",
    [
        PerformancePredictionPruner(),  # No trial has saved a checkpoint.
        PerformancePredictionPruner(second_chance="never"),
        PerformancePredictionPruner(second_chance="retrain", shadow=True),
        PerformancePredictionPruner(SequentialRegression("ridge")),
    ],
)
def test_no_second_chance(pruner):
    study = study_of(pruner)
    ask(study)
    assert going_on(study) == []


def test_what_was_trained_before_decides_nothing():
    """From its first step on the trial looks as it did when it was stopped."""
    never = study_of(PerformancePredictionPruner(second_chance="never", confidence=0.1))
    never.enqueue_trial(never.trials[0].params)
    asked_for_the_first_time = never.ask(SPACE)
    again = study_of(PerformancePredictionPruner(confidence=0.1, second_chance="retrain"))
    again.enqueue_trial(again.trials[0].params, user_attrs={"perfpred:continues": 0})
    trial = again.ask(SPACE)
    answers = []
    for step in range(STOPPED_AT + 1):
        for each in (asked_for_the_first_time, trial):
            each.report(-1.0, step)
        answers.append((asked_for_the_first_time.should_prune(), trial.should_prune()))
    assert answers[-1] == (True, False)
    assert not any(answer for _, answer in answers)
    trial.report(-1.0, STOPPED_AT + 1)
    assert trial.should_prune()


def test_with_a_checkpoint_a_trial_costs_less_and_goes_on_sooner():
    def worth(second_chance, **user_attrs):
        study = study_of(PerformancePredictionPruner(second_chance=second_chance), **user_attrs)
        ask(study)
        (waiting,) = going_on(study)
        said = waiting.user_attrs["perfpred:second_chance"]
        return float(said.rsplit("per step ", 1)[1].split()[0])

    assert worth("checkpoint") > worth("retrain")
    assert worth("auto", **{"perfpred:checkpoint": True}) == worth("checkpoint")
    with pytest.raises(ValueError, match="not enough values"):
        worth("auto", **{"perfpred:checkpoint": "yes"})


def test_each_goes_on_once_and_counts_once():
    study = study_of()

    def objective(trial):
        x, lateness = trial.suggest_float("x", 0.0, 3.0), trial.suggest_float("lateness", 0.0, 1.0)
        values = curve(x, lateness)
        for step, value in enumerate(values):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return values[-1]

    study.optimize(objective, n_trials=40)
    continued = [t.user_attrs["perfpred:continues"] for t in going_on(study)]
    assert len(continued) >= 2
    assert len(set(continued)) == len(continued)
    for trial in going_on(study):
        stopped = study.trials[trial.user_attrs["perfpred:continues"]]
        assert stopped.state == TrialState.PRUNED
        if trial.state.is_finished():
            assert trial.params == stopped.params
            assert trial.last_step > stopped.last_step


def test_a_trial_that_ends_at_the_same_step_again_does_not_go_on_for_ever():
    study = study_of()

    def objective(trial):
        x, lateness = trial.suggest_float("x", 0.0, 3.0), trial.suggest_float("lateness", 0.0, 1.0)
        for step, value in enumerate(curve(x, lateness)[: STOPPED_AT + 1]):
            trial.report(value, step)
            trial.should_prune()
        raise optuna.TrialPruned  # It does not ask: memory is short.

    study.optimize(objective, n_trials=40)
    continued = [t.user_attrs["perfpred:continues"] for t in going_on(study)]
    assert len(set(continued)) == len(continued)
    # None goes on with one that has gone on.
    assert not {t.number for t in going_on(study)} & set(continued)


@pytest.mark.parametrize(
    "claimed", ["12", None, True, -1, 10**30, 1.0, [0], {"a": 1}, 4, 99, 100_000]
)
def test_what_others_write_is_not_trusted(claimed):
    """Nothing is stopped, kept or counted because of it."""
    answers = []
    for attributes in ({}, {"perfpred:continues": claimed}):
        study = study_of(PerformancePredictionPruner(confidence=0.3))
        study.enqueue_trial({"x": 0.0, "lateness": 0.5}, user_attrs=attributes)
        trial = study.ask(SPACE)
        for step in range(STOPPED_AT + 1):
            trial.report(curve(0.0, 0.5)[step], step)
            answers.append(trial.should_prune())
    half = len(answers) // 2
    assert answers[:half] == answers[half:]


def test_a_second_trial_with_the_same_ends_when_it_asks():
    study = study_of()
    for _ in range(2):
        study.enqueue_trial(study.trials[0].params, user_attrs={"perfpred:continues": 0})
    first, second = study.ask(SPACE), study.ask(SPACE)
    value = curve(**first.params)[0]
    first.report(value, 0)
    second.report(value, 0)
    assert not first.should_prune()
    assert second.should_prune()
    reason = study.trials[second.number].user_attrs["perfpred:reason"]
    assert reason == f"Trial {first.number} goes on with trial 0 already."


def test_a_trial_that_broke_is_left_alone_and_one_whose_worker_died_is_tried_again():
    study = study_of()
    asking, _ = ask(study)
    continued = study.ask(SPACE)
    number = continued.user_attrs["perfpred:continues"]
    died(study, continued)
    retried = study.ask(SPACE)
    assert retried.user_attrs["perfpred:continues"] == number
    train(study, retried)
    study.tell(asking, state=TrialState.FAIL)
    assert study.best_trial.number == retried.number

    study = study_of()
    asking, _ = ask(study)
    broken = study.ask(SPACE)
    study.tell(broken, state=TrialState.FAIL)
    study.tell(asking, state=TrialState.PRUNED)
    ask(study)
    continued = [t.user_attrs["perfpred:continues"] for t in going_on(study)]
    assert len(set(continued)) == len(continued) == 2


class CannotAdd(InMemoryStorage):
    def create_new_trial(self, study_id, template_trial=None):
        if template_trial is not None and template_trial.state == TrialState.WAITING:
            raise OSError("The disk is full.")
        return super().create_new_trial(study_id, template_trial)


def test_a_storage_that_cannot_add_trials_is_told_of_once():
    study = study_of(storage=CannotAdd())
    with pytest.warns(
        UserWarning, match="No stopped trial could be gone on with: OSError"
    ) as told:
        trial, _ = ask(study)
    assert len([w for w in told if "No stopped trial" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trial.report(-5.0, 1)
        assert trial.should_prune()


def test_sqlite_may_give_a_waiting_trial_to_two_workers_so_none_waits(tmp_path):
    study = study_of(storage=f"sqlite:///{tmp_path / 'study.sqlite3'}")
    other = study.ask(SPACE)
    ask(study)
    assert going_on(study) == []
    study.tell(other, state=TrialState.FAIL)
    study.tell(study.trials[-1].number, state=TrialState.FAIL)
    ask(study)
    assert len(going_on(study)) == 1


def test_pickled_and_loaded():
    pruner = pickle.loads(pickle.dumps(PerformancePredictionPruner(second_chance="never")))
    study = study_of(pruner)
    ask(study)
    assert going_on(study) == []


@pytest.mark.parametrize("second_chance", ["always", None, True, "Retrain"])
def test_bad_argument(second_chance):
    allowed = "'auto', 'checkpoint', 'retrain', 'never'"
    with pytest.raises(ValueError, match=f"`second_chance` must be one of {allowed}, but got"):
        PerformancePredictionPruner(second_chance=second_chance)


def _storage(place):
    if place.startswith("postgresql"):
        return optuna.storages.get_storage(place)
    if place.startswith("sqlite"):
        return open_storage(place, heartbeat_interval=60, grace_period=120, retry=Retry(0))
    return JournalStorage(JournalFileBackend(place))


def _ask_at_once(place, barrier):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    study = optuna.load_study(
        study_name="chances",
        storage=_storage(place),
        pruner=PerformancePredictionPruner(second_chance="retrain"),
    )
    trial = study.ask(SPACE)
    trial.report(0.01, 0)
    barrier.wait(60.0)
    trial.should_prune()
    barrier.wait(60.0)
    study.tell(trial, state=TrialState.PRUNED)
    barrier.wait(60.0)
    continued = study.ask(SPACE)
    continued.set_user_attr(f"run by {os.getpid()}", True)
    continued.report(0.01, 0)


@pytest.mark.parametrize("kind", ["journal", "postgresql", "sqlite"])
def test_eight_workers_that_ask_at_once_never_go_on_with_one_twice(kind, request, tmp_path):
    if kind == "journal":
        place = str(tmp_path / "journal")
    elif kind == "sqlite":
        place = f"sqlite:///{tmp_path / 'study.sqlite3'}"
    else:
        place = request.getfixturevalue("postgresql_url")
    study = study_of(storage=_storage(place))
    # Forked from a process that has imported everything, a worker begins at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pruners.test_second_chance", "psycopg"])
    barrier = context.Barrier(8)
    workers = [context.Process(target=_ask_at_once, args=(place, barrier)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    left = [t for t in going_on(study) if t.state != TrialState.FAIL]
    continued = [t.user_attrs["perfpred:continues"] for t in left]
    assert len(set(continued)) == len(continued) == N_STOPPED
    assert all(trial.state == TrialState.RUNNING for trial in left)
    for trial in left:
        assert sum(name.startswith("run by ") for name in trial.user_attrs) == 1
