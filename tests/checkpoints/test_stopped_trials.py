"""A stopped trial keeps its checkpoint while it may be continued, and a later trial goes on."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.artifacts import FileSystemArtifactStore
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
from tests.checkpoints.stopping import continue_trial
from tests.checkpoints.stopping import CONTINUES
from tests.checkpoints.stopping import files_by_trial
from tests.checkpoints.stopping import numbers_with_files
from tests.checkpoints.stopping import RESUMED_AT
from tests.checkpoints.stopping import study_that_stops
from tests.checkpoints.stopping import Trainer
from tests.retries import died


pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("error:.*checkpoint:UserWarning"),
]


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


@settings(max_examples=25)
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
