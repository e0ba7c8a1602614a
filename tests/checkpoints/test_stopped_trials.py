"""A stopped trial keeps its checkpoint while it may be continued, and a later trial goes on."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.pruners import BasePruner
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from optuna_perfpred import Checkpoint
from optuna_perfpred.visualization import savings
from tests.checkpoints.resuming import begin_and_die
from tests.checkpoints.resuming import Death
from tests.checkpoints.resuming import files
from tests.checkpoints.resuming import go_on
from tests.checkpoints.resuming import loaded
from tests.checkpoints.resuming import N_STEPS
from tests.checkpoints.resuming import value_at
from tests.retries import died


pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("error:.*checkpoint:UserWarning"),
]
CONTINUES = "perfpred:continues"
RESUMED_AT = "perfpred:resumed_at"


class StopAfter(BasePruner):
    """Stops the trials of some numbers after some step."""

    def __init__(self, steps):
        self.steps = steps

    def prune(self, study, trial):
        return trial.last_step == self.steps.get(trial.number)


class Trainer:
    """An objective whose state is the steps it was trained for, in order.

    Attributes:
        trained:
            Of each trial, the steps that it trained itself.
    """

    def __init__(self, store, **kwargs):
        self.store, self.kwargs = store, kwargs
        self.trained = {}
        self.lock = threading.Lock()

    def __call__(self, trial):
        trial.suggest_float("x", 0.0, 1.0)
        steps = self.trained[trial.number] = []
        with Checkpoint(trial, self.store, **self.kwargs) as checkpoint:
            state = list(checkpoint.load() or b"")
            value = checkpoint.value
            for step in range(checkpoint.start, N_STEPS):
                state.append(step)
                steps.append(step)
                value = value_at(step, trial.number)
                trial.report(value, step)
                checkpoint.save(bytes(state), step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            assert state == list(range(N_STEPS))
        return value


def study_that_stops(steps, **kwargs):
    return optuna.create_study(pruner=StopAfter(steps), **kwargs)


def continue_trial(study, number):
    study.enqueue_trial(study.trials[number].params, user_attrs={CONTINUES: number})


def stopped_at(study, store, value, *, predicted=None, size=10):
    """A trial that was stopped, without a context manager."""
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    trial.report(value, 0)
    Checkpoint(trial, store, keep=1000).save(bytes(size), 0)
    if predicted is not None:
        trial.set_user_attr("perfpred:predicted_value", predicted)
    study.tell(trial, state=TrialState.PRUNED)
    return trial.number


def numbers_with_files(study, folder):
    """The numbers of the trials whose own checkpoint is still there."""
    left = {path.name[:32] for path in files(folder)}
    numbers = []
    for trial in study.trials:  # A retried trial has the names of the one before it.
        own = trial.user_attrs.get("perfpred:checkpoint_names", [])[:1]
        if left.intersection(own):
            left.difference_update(own)
            numbers.append(trial.number)
    return numbers


def files_by_trial(study, folder):
    """The files in an order that does not depend on their random names."""
    names = [n for t in study.trials for n in t.user_attrs.get("perfpred:checkpoint_names", [])]
    return sorted(files(folder), key=lambda path: (names.index(path.name[:32]), path.name[32:]))


@pytest.mark.parametrize("store", ["folder", "artifacts"])
def test_a_stopped_trial_goes_on_with_its_curve_whole(tmp_path, store):
    study = study_that_stops({0: 3})
    artifacts = FileSystemArtifactStore(tmp_path)
    objective = Trainer(artifacts if store == "artifacts" else tmp_path / "checkpoints")
    study.optimize(objective, n_trials=1)
    assert study.trials[0].user_attrs["perfpred:checkpoint"] is True
    assert len(files(tmp_path)) == 1
    continue_trial(study, 0)
    study.optimize(objective, n_trials=1)
    stopped, continued = study.trials
    assert continued.state == TrialState.COMPLETE
    assert objective.trained[1] == [4, 5, 6, 7]
    assert continued.intermediate_values == {
        step: value_at(step, attempt=int(step > 3)) for step in range(N_STEPS)
    }
    assert continued.params == stopped.params
    assert not files(tmp_path)


def test_a_trial_can_be_stopped_and_continued_again_and_again(tmp_path):
    # Trial 1 is stopped before it saves: trial 2 goes on from what trial 0 saved.
    study = study_that_stops({0: 1, 2: 2, 3: 5})
    objective = Trainer(tmp_path)
    study.optimize(objective, n_trials=1)
    continue_trial(study, 0)
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    with pytest.raises(optuna.TrialPruned), Checkpoint(trial, tmp_path) as checkpoint:  # noqa: PT012
        assert checkpoint.load() == bytes([0, 1])
        raise optuna.TrialPruned
    study.tell(trial, state=TrialState.PRUNED)
    assert numbers_with_files(study, tmp_path) == [0]
    for number in (1, 2, 3):
        continue_trial(study, number)
        study.optimize(objective, n_trials=1)
        # Only the latest is left of those that go on with one another.
        assert numbers_with_files(study, tmp_path) == ([] if number == 3 else [number + 1])
    assert objective.trained == {0: [0, 1], 2: [2], 3: [3, 4, 5], 4: [6, 7]}
    assert [trial.state.name for trial in study.trials] == ["PRUNED"] * 4 + ["COMPLETE"]
    assert study.trials[4].intermediate_values == {
        step: value_at(step, attempt) for step, attempt in enumerate([0, 0, 2, 3, 3, 3, 4, 4])
    }
    assert not files(tmp_path)


def test_a_continued_trial_whose_worker_dies_is_tried_again(tmp_path):
    study = study_that_stops({0: 1})
    study.optimize(Trainer(tmp_path), n_trials=1)
    continue_trial(study, 0)
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    assert loaded(trial, tmp_path) == (2, bytes([0, 1]), value_at(1))
    died(study, trial)  # Before it saved.
    begin_and_die(study, tmp_path, attempt=2, dies_after=5)
    trial = go_on(study, tmp_path, attempt=3)
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "FAIL", "FAIL", "COMPLETE"]
    assert trial.intermediate_values == {
        step: value_at(step, attempt) for step, attempt in enumerate([0, 0, 2, 2, 2, 3, 3, 3])
    }
    assert [t.user_attrs.get(RESUMED_AT) for t in study.trials] == [None, 1, 1, 4]
    saved = savings(study)  # The last step before the death was not saved.
    assert (saved.steps_trained, saved.steps_repeated) == (N_STEPS + 1, 0)
    assert not files(tmp_path)


def test_a_trial_that_was_tried_again_is_stopped_and_continued(tmp_path):
    study = study_that_stops({1: 5})
    begin_and_die(study, tmp_path, dies_after=3)
    objective = Trainer(tmp_path)
    study.optimize(objective, n_trials=1)
    assert numbers_with_files(study, tmp_path) == [1]
    continue_trial(study, 1)
    study.optimize(objective, n_trials=1)
    assert objective.trained == {1: [3, 4, 5], 2: [6, 7]}
    assert savings(study).steps_trained == N_STEPS + 1
    assert not files(tmp_path)


def test_a_trial_that_lost_its_checkpoint_trains_all_steps_again(tmp_path):
    study = study_that_stops({0: 1})
    study.optimize(Trainer(tmp_path), n_trials=1)
    continue_trial(study, 0)
    begin_and_die(study, tmp_path, attempt=2, dies_after=5)
    assert study.trials[1].user_attrs[RESUMED_AT] == 1
    for path in files(tmp_path):
        path.unlink()
    with pytest.warns(UserWarning, match="the trial begins anew"):
        trial = go_on(study, tmp_path, attempt=3)
    assert trial.user_attrs[RESUMED_AT] is None
    saved = savings(study)
    # The retry repeats the two of the stopped trial; those of a failed one are no second chance.
    assert (saved.steps_trained, saved.steps_repeated) == (2 + 4 + N_STEPS, 2)


def test_a_worker_that_was_cut_off_does_not_take_the_checkpoint_away(tmp_path):
    study = study_that_stops({0: 1})
    study.optimize(Trainer(tmp_path), n_trials=1)
    continue_trial(study, 0)
    cut_off = study.ask()
    cut_off.suggest_float("x", 0.0, 1.0)
    checkpoint = Checkpoint(cut_off, tmp_path, keep=0)
    assert checkpoint.load() is not None
    died(study, cut_off)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        checkpoint.remove()
    checkpoint.__exit__(optuna.TrialPruned, None, None)
    assert go_on(study, tmp_path).state == TrialState.COMPLETE


def test_a_trial_that_another_process_failed_keeps_its_checkpoint(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    with pytest.raises(optuna.TrialPruned), Checkpoint(trial, tmp_path, keep=0) as checkpoint:  # noqa: PT012
        checkpoint.save(b"state", 0)
        study.tell(trial.number, state=TrialState.FAIL)
        raise optuna.TrialPruned
    assert numbers_with_files(study, tmp_path) == [0]


@pytest.mark.parametrize(
    "value",
    [1, 2, 7, -1, 10**30, "0", 0.0, True, False, [0], {"number": 0}],
    ids=str,
)
def test_what_names_no_stopped_trial_begins_anew(tmp_path, value):
    study = study_that_stops({0: 3})
    study.optimize(Trainer(tmp_path), n_trials=2)  # Trial 0 is stopped, trial 1 is complete.
    study.enqueue_trial(study.trials[0].params, user_attrs={CONTINUES: value})
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    with pytest.warns(UserWarning, match="Trial 2 does not go on from a checkpoint") as caught:
        assert loaded(trial, tmp_path)[:2] == (0, None)
    assert str(caught[0].message).endswith(f"but is {value!r}")
    assert study.trials[2].intermediate_values == {}
    assert numbers_with_files(study, tmp_path) == [0]


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING])
def test_only_stopped_trials_are_continued(tmp_path, state):
    study = optuna.create_study()
    trial = study.ask()
    Checkpoint(trial, tmp_path).save(b"state", 0)
    if state.is_finished():
        study.tell(trial, 0.0 if state == TrialState.COMPLETE else None, state)
    continue_trial(study, 0)
    with pytest.warns(UserWarning, match="must be the number of an earlier trial"):
        assert Checkpoint(study.ask(), tmp_path).load() is None


def test_stopped_trials_that_claim_to_continue_one_another(tmp_path):
    study = optuna.create_study()
    for other in (1, 0):
        study.enqueue_trial({}, user_attrs={CONTINUES: other})
    for trial in (study.ask(), study.ask()):
        Checkpoint(trial, tmp_path).save(bytes([trial.number]), 0)
        study.tell(trial, state=TrialState.PRUNED)
    continue_trial(study, 1)
    assert Checkpoint(study.ask(), tmp_path).load() == bytes([1])


def test_nan_may_be_a_parameter(tmp_path):
    study = optuna.create_study()
    study.enqueue_trial({"x": math.nan})
    trial = study.ask()
    trial.suggest_categorical("x", [0.0, math.nan])
    Checkpoint(trial, tmp_path).save(b"state", 0)
    study.tell(trial, state=TrialState.PRUNED)
    study.enqueue_trial({"x": float("nan")}, user_attrs={CONTINUES: 0})
    assert Checkpoint(study.ask(), tmp_path).load() == b"state"


@pytest.mark.parametrize("where", ["enqueued", "suggested"])
def test_other_parameters_begin_anew(tmp_path, where):
    study = study_that_stops({0: 3})
    study.optimize(Trainer(tmp_path), n_trials=1)
    x = study.trials[0].params["x"]
    study.enqueue_trial({"x": x / 2}, user_attrs={CONTINUES: 0})
    trial = study.ask()
    if where == "suggested":
        trial.suggest_float("x", 0.0, 1.0)
    with pytest.warns(UserWarning, match="must be the number of an earlier trial .* same param"):
        assert loaded(trial, tmp_path)[:2] == (0, None)
    # The same holds for names that were copied.
    study.enqueue_trial({"x": x / 2}, user_attrs=study.trials[0].user_attrs)
    with pytest.warns(UserWarning, match="begins anew"):
        assert loaded(study.ask(), tmp_path)[:2] == (0, None)


def test_a_failed_trial_of_other_parameters_is_told(tmp_path):
    study = optuna.create_study()
    begin_and_die(study, tmp_path, dies_after=3)
    study.enqueue_trial({"x": 2.0}, user_attrs=study.trials[0].user_attrs)
    study.ask()  # The retry.
    with pytest.warns(UserWarning, match="trial 0, which saved it, has other parameters|anew"):
        assert loaded(study.ask(), tmp_path)[:2] == (0, None)


def test_parameters_that_the_objective_does_not_ask_for_any_more(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    for name in ("x", "y"):
        trial.suggest_float(name, 0.0, 1.0)
    Checkpoint(trial, tmp_path).save(b"both", 0)
    study.tell(trial, state=TrialState.PRUNED)
    continue_trial(study, 0)
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    assert Checkpoint(trial, tmp_path).load() == b"both"
    # One that is asked for only now had no say in the first training.
    study.tell(trial, state=TrialState.FAIL)
    continue_trial(study, 0)
    trial = study.ask()
    trial.suggest_float("z", 0.0, 1.0)
    with pytest.warns(UserWarning, match="with the same parameters"):
        assert Checkpoint(trial, tmp_path).load() is None


def test_a_trial_of_the_user_with_the_same_parameters_begins_anew(tmp_path):
    study = study_that_stops({0: 3})
    objective = Trainer(tmp_path)
    study.optimize(objective, n_trials=1)
    study.enqueue_trial(study.trials[0].params)
    study.optimize(objective, n_trials=1)
    assert objective.trained[1] == list(range(N_STEPS))
    assert numbers_with_files(study, tmp_path) == [0]


def test_a_trial_that_saved_nothing_is_continued_from_the_first_step(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    trial.report(math.nan, 0)
    study.tell(trial, state=TrialState.PRUNED)
    assert "perfpred:checkpoint" not in study.trials[0].user_attrs
    continue_trial(study, 0)
    objective = Trainer(tmp_path)
    study.optimize(objective, n_trials=1)
    assert objective.trained[1] == list(range(N_STEPS))


def test_nan_and_infinity_are_reported_again(tmp_path):
    study = optuna.create_study()
    trial = study.ask()
    for step, value in enumerate([math.nan, math.inf, 0.5]):
        trial.report(value, 10 * step)
    Checkpoint(trial, tmp_path).save(b"state", 25)
    study.tell(trial, state=TrialState.PRUNED)
    continue_trial(study, 0)
    assert loaded(study.ask(), tmp_path) == (26, b"state", 0.5)
    assert study.trials[1].intermediate_values == pytest.approx(
        {0: math.nan, 10: math.inf, 20: 0.5}, nan_ok=True
    )


@pytest.mark.parametrize("how", ["gone", "cut", "other version", "other trial"])
def test_a_checkpoint_that_cannot_be_used(tmp_path, how):
    study = study_that_stops({0: 3, 1: 5})
    objective = Trainer(tmp_path)
    study.optimize(objective, n_trials=2)
    paths = {path.name[:32]: path for path in files(tmp_path)}
    first, other = (
        paths[trial.user_attrs["perfpred:checkpoint_names"][0]] for trial in study.trials
    )
    content = first.read_bytes()
    match = "begins anew"
    if how == "gone":
        first.unlink()
    elif how == "cut":
        first.write_bytes(content[:60])
        match += "|left out.*not a whole checkpoint"
    elif how == "other version":
        first.write_bytes(content.replace(b"ckpt-1", b"ckpt-2", 1))
        match += "|left out.*of another version"
    else:
        first.write_bytes(other.read_bytes())
    continue_trial(study, 0)
    with pytest.warns(UserWarning, match=match) as caught:
        study.optimize(objective, n_trials=1)
    assert len(caught) == len(match.split("|"))
    assert objective.trained[2] == list(range(N_STEPS))
    assert study.trials[2].state == TrialState.COMPLETE
    assert numbers_with_files(study, tmp_path) == [1]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_least_promising_go_first(tmp_path, direction):
    study = optuna.create_study(direction=direction)
    sign = 1.0 if direction == "minimize" else -1.0
    # What the pruner predicted counts more than what was reported last.
    worst = stopped_at(study, tmp_path, sign * 0.0, predicted=sign * 9.0)
    best = stopped_at(study, tmp_path, sign * 9.0, predicted=sign * 0.1)
    second = stopped_at(study, tmp_path, sign * 0.2)
    broken = [
        stopped_at(study, tmp_path, value, predicted=predicted)
        for value, predicted in [(math.nan, None), (math.inf, "0.0"), (-math.inf, math.nan)]
    ]
    third = stopped_at(study, tmp_path, sign * 0.3, predicted=math.nan)
    assert numbers_with_files(study, tmp_path) == sorted([worst, best, second, *broken, third])
    trial = study.ask()
    Checkpoint(trial, tmp_path, keep=3).save(b"running", 0)
    assert numbers_with_files(study, tmp_path) == [best, second, third, trial.number]


def test_a_budget_of_bytes(tmp_path):
    study = optuna.create_study()
    for value in range(4):
        stopped_at(study, tmp_path, float(value), size=100_000)
    stopped_at(study, tmp_path, 9.0, size=10)
    trial = study.ask()
    Checkpoint(trial, tmp_path, max_bytes=250_000).save(b"running", 0)
    # None that is less promising stays because it is smaller.
    assert numbers_with_files(study, tmp_path) == [0, 1, trial.number]


@pytest.mark.parametrize("keep", [0, 1])
def test_a_trial_that_is_stopped_has_its_place_among_the_others(tmp_path, keep):
    study = study_that_stops(dict.fromkeys(range(6), 2))
    study.optimize(Trainer(tmp_path, keep=keep), n_trials=6)  # The values rise with the number.
    assert numbers_with_files(study, tmp_path) == list(range(keep))
    assert len(files(tmp_path)) == keep


def test_trials_that_run_wait_or_failed_are_in_no_budget(tmp_path):
    study = study_that_stops({0: 1})
    study.optimize(Trainer(tmp_path), n_trials=1)
    begin_and_die(study, tmp_path, dies_after=3)
    retry = study.ask()
    failed = study.ask()
    Checkpoint(failed, tmp_path).save(b"state", 0)
    study.tell(failed, state=TrialState.FAIL)
    continue_trial(study, 0)  # It waits.
    Checkpoint(study.ask({}), tmp_path, keep=0).save(b"state", 0)
    continued = next(trial for trial in study.trials if CONTINUES in trial.user_attrs)
    assert continued.state == TrialState.RUNNING  # It was the one that saved.
    Checkpoint(study.ask({}), tmp_path, keep=0).save(b"state", 0)
    assert numbers_with_files(study, tmp_path) == [0, 1, 3, 4, 5]
    assert loaded(retry, tmp_path)[0] == 3


def test_what_is_over_is_removed_when_another_trial_saves(tmp_path):
    """Without a context manager, as an objective is free to use none."""

    def objective(trial):
        trial.suggest_float("x", 0.0, 1.0)
        checkpoint = Checkpoint(trial, tmp_path)
        state = list(checkpoint.load() or b"")
        for step in range(checkpoint.start, N_STEPS):
            state.append(step)
            checkpoint.save(bytes(state), step)
            trial.report(value_at(step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        assert state == list(range(N_STEPS))
        return value_at(N_STEPS - 1)

    study = study_that_stops({1: 3, 2: 5})
    study.optimize(objective, n_trials=2)
    assert numbers_with_files(study, tmp_path) == [1]  # That of 0, which is complete, is gone.
    continue_trial(study, 1)
    study.optimize(objective, n_trials=1)
    assert numbers_with_files(study, tmp_path) == [1, 2]
    study.optimize(objective, n_trials=1)
    assert numbers_with_files(study, tmp_path) == [2, 3]
    continue_trial(study, 2)
    study.optimize(objective, n_trials=2)
    assert numbers_with_files(study, tmp_path) == [5]


def test_an_artifact_store_has_a_budget_as_well(tmp_path):
    store = FileSystemArtifactStore(tmp_path)
    study = study_that_stops(dict.fromkeys(range(30), 2))
    study.optimize(Trainer(store, keep=3), n_trials=30)
    assert numbers_with_files(study, tmp_path) == [0, 1, 2]
    trial = study.ask()  # One that is better takes the place of one that was stopped long ago.
    with pytest.raises(optuna.TrialPruned), Checkpoint(trial, store, keep=3) as checkpoint:  # noqa: PT012
        checkpoint.save(b"state", 0)
        trial.report(-1.0, 0)
        raise optuna.TrialPruned
    study.tell(trial, state=TrialState.PRUNED)
    assert numbers_with_files(study, tmp_path) == [0, 1, 30]
    study = study_that_stops({}, direction="maximize")  # The best are the last.
    study.optimize(Trainer(store, keep=3), n_trials=1)
    study.pruner = StopAfter(dict.fromkeys(range(30), 2))
    study.optimize(Trainer(store, keep=3), n_trials=29)
    assert numbers_with_files(study, tmp_path) == [27, 28, 29]


def test_a_finished_study_leaves_nothing(tmp_path):
    """Unless another process goes on, or another study has its checkpoints there."""
    other = study_that_stops({0: 1})
    other.optimize(Trainer(tmp_path), n_trials=1)
    study = study_that_stops(dict.fromkeys(range(6), 2))
    study.optimize(Trainer(tmp_path), n_trials=8)
    begin_and_die(study, tmp_path, dies_after=3)
    running = study.ask()
    continue_trial(study, 2)
    Checkpoint.clear(study, tmp_path)
    assert numbers_with_files(study, tmp_path) == [2, 8]
    assert loaded(running, tmp_path)[0] == 3
    study.optimize(Trainer(tmp_path), n_trials=1)
    study.tell(running, state=TrialState.FAIL)
    Checkpoint.clear(study, str(tmp_path))
    assert numbers_with_files(other, tmp_path) == [0]
    Checkpoint.clear(other, FileSystemArtifactStore(tmp_path))
    assert list(tmp_path.iterdir()) == []
    Checkpoint.clear(study, tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_does_not_end_the_trial(tmp_path):
    class Broken(FileSystemArtifactStore):
        def remove(self, artifact_id):
            raise PermissionError("not yours")

    study = study_that_stops({0: 1, 1: 2})
    with pytest.warns(UserWarning, match="could not be removed.*not yours") as caught:
        study.optimize(Trainer(Broken(tmp_path), keep=0), n_trials=3)
    assert len(caught) == 3
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED", "COMPLETE"]
    with pytest.warns(UserWarning, match="could not be removed.*not yours"):
        Checkpoint.clear(study, Broken(tmp_path))


FULL = """
import os
import resource
import sys

import optuna

from optuna_perfpred import Checkpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # As on a disk that is full.
study = optuna.create_study()


def objective(trial):
    with Checkpoint(trial, sys.argv[1]) as checkpoint:
        checkpoint.load()
        for step in range(checkpoint.start, 6):
            trial.report(step, step)
            checkpoint.save(bytes(10 if step < 2 else 1_000_000), step)
            print(os.listdir(sys.argv[1]))
        raise optuna.TrialPruned


study.optimize(objective, n_trials=1)
"""


def test_a_full_disk_keeps_the_last_whole_checkpoint(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ended.stderr.count("A checkpoint could not be saved: OSError(27") == 1
    assert "Trial 0 pruned" in ended.stderr
    assert "-1" in ended.stdout
    assert "unfinished" not in ended.stdout  # Nothing is left of those that did not fit.
    [path] = tmp_path.iterdir()
    assert path.stat().st_size < 1000


@pytest.mark.parametrize("storage", ["memory", "journal"])
def test_workers_that_stop_and_continue_at_once(tmp_path, storage):
    """With SQLite, threads of Optuna may take the same waiting trial."""
    backend = JournalFileBackend(f"{tmp_path}/study.journal")
    storage = InMemoryStorage() if storage == "memory" else JournalStorage(backend)
    folder = tmp_path / "checkpoints"
    study = study_that_stops(dict.fromkeys(range(12), 3), storage=storage)
    objective = Trainer(folder, keep=20)
    study.optimize(objective, n_trials=12, n_jobs=4)
    assert numbers_with_files(study, folder) == list(range(12))
    for number in range(12):
        continue_trial(study, number)
    study.optimize(objective, n_trials=12, n_jobs=4)
    for trial in study.trials[12:]:
        assert trial.state == TrialState.COMPLETE
        assert objective.trained[trial.number] == [4, 5, 6, 7]
        assert sorted(trial.intermediate_values) == list(range(N_STEPS))
    assert not files(folder)


def test_two_trials_that_continue_the_same_one(tmp_path):
    """Whoever enqueues should prevent it: none may lose its trial."""
    study = study_that_stops({0: 3})
    objective = Trainer(tmp_path)
    study.optimize(objective, n_trials=1)
    for _ in range(3):
        continue_trial(study, 0)
    second = study.ask()
    assert loaded(second, tmp_path)[0] == 0 + 4
    study.optimize(objective, n_trials=1)
    study.tell(second, state=TrialState.FAIL)
    with pytest.warns(UserWarning, match="begins anew"):
        study.optimize(objective, n_trials=1)
    assert objective.trained[2] == [4, 5, 6, 7]
    assert objective.trained[3] == list(range(N_STEPS))


def test_saving_writes_to_the_storage_at_the_first_time_only(tmp_path, monkeypatch):
    study = optuna.create_study()
    trial = study.ask()
    written = []
    monkeypatch.setattr(
        study._storage, "set_trial_user_attr", lambda *args: written.append(args[1])
    )
    checkpoint = Checkpoint(trial, tmp_path)
    assert not written
    for step in range(5):
        checkpoint.save(b"state", step)
    assert written == ["perfpred:checkpoint_names", "perfpred:checkpoint"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_happens_no_step_is_counted_twice(tmp_path_factory, data):
    """Trials stop, die, fail and go on in any order; files are lost."""
    folder = tmp_path_factory.mktemp("checkpoints")
    study = optuna.create_study()
    keep = data.draw(st.integers(0, 2))
    for _ in range(data.draw(st.integers(3, 10))):
        stopped = [t.number for t in study.trials if t.state == TrialState.PRUNED]
        if stopped and data.draw(st.booleans()):
            continue_trial(study, data.draw(st.sampled_from(stopped)))
        if files(folder) and data.draw(st.integers(0, 4)) == 0:
            data.draw(st.sampled_from(files_by_trial(study, folder))).unlink()
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        end = data.draw(st.integers(0, N_STEPS))
        how = data.draw(st.sampled_from(["stopped", "died", "failed"]))
        state, steps = None, []
        try:
            with Checkpoint(trial, folder, keep=keep) as checkpoint:
                try:
                    state = list(checkpoint.load() or b"")
                except UserWarning:  # Some are lost.
                    state = []
                assert state == list(range(checkpoint.start))
                assert checkpoint.start <= N_STEPS
                for step in range(checkpoint.start, N_STEPS):
                    steps.append(step)
                    state.append(step)
                    trial.report(value_at(step, trial.number), step)
                    checkpoint.save(bytes(state), step)
                    if step == end:
                        raise {"stopped": optuna.TrialPruned, "died": Death, "failed": ValueError}[
                            how
                        ]
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except ValueError:
            study.tell(trial, state=TrialState.FAIL)
        except Death:
            died(study, trial)
        else:
            study.tell(trial, 0.0)
        curve = study.trials[trial.number].intermediate_values
        assert sorted(curve) == state
        assert all(curve[step] == value_at(step, trial.number) for step in steps)
    for waiting in study.get_trials(states=[TrialState.WAITING]):
        study._storage.set_trial_state_values(waiting._trial_id, TrialState.FAIL)
    Checkpoint.clear(study, folder)
    assert list(folder.iterdir()) == []
