from __future__ import annotations

import random
import threading

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred.history import FinishedTrialsReader
from optuna_perfpred.history import StudyHistory


@pytest.fixture
def study(tmp_path):
    """A study that another process may change."""
    return journal_study(tmp_path)


def journal_study(folder):
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return optuna.create_study(storage=storage, study_name="study", load_if_exists=True)


class Reading:
    """A reader of a study on a clock of its own, on which each read takes one second."""

    def __init__(self, study):
        self.now = 0.0
        self.n_reads = 0
        self._study = study
        self._get_trials = study.get_trials
        study.get_trials = self.get_trials
        self._reader = FinishedTrialsReader(clock=lambda: self.now)

    def get_trials(self, *args, **kwargs):
        trials = self._get_trials(*args, **kwargs)
        self.n_reads += 1
        self.now += 1.0
        return trials

    def __call__(self, trial):
        return self._reader.read(self._study, frozen(trial))


def frozen(trial):
    return trial.study._storage.get_trial(trial._trial_id)


def numbers(records):
    return [record.number for record in records]


def finish(study, state=TrialState.COMPLETE):
    trial = study.ask()
    trial.report(0.0, 0)
    study.tell(trial, 0.0 if state == TrialState.COMPLETE else None, state=state)


def test_completed_and_pruned_trials_are_read(study):
    states = (TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE, TrialState.PRUNED)
    for state in states:
        finish(study, state)
    reader = FinishedTrialsReader()
    finished = reader.read(study, frozen(study.ask()))
    assert [trial.state for trial in reader.trials] == [*states, TrialState.RUNNING]
    assert numbers(finished.completed) == [2]
    assert numbers(finished.pruned) == [0, 3]
    assert len(finished) == 3
    assert numbers(finished) == [2, 0, 3]
    assert numbers(finished.latest(2)) == [2, 3]


def test_reading_takes_at_most_a_tenth_of_the_time(study):
    finish(study)
    reading = Reading(study)
    trial = study.ask()
    first = reading(trial)
    reading(trial)  # The first read of all fetched everything; this one shows the cost.
    assert reading.n_reads == 2
    finish(study)
    reading.now = 10.9
    assert reading(trial) is first
    assert reading.n_reads == 2
    reading.now = 11.0
    assert numbers(reading(trial)) == [0, 2]
    assert reading.n_reads == 3


def test_a_step_that_takes_longer_than_ten_reads_is_always_judged_by_the_latest(study):
    reading = Reading(study)
    trial = study.ask()
    for n in range(5):
        assert len(reading(trial)) == n
        finish(study)
        reading.now += 9.0


def test_a_trial_that_asks_for_the_first_time_sees_the_latest(study):
    """The only worker of a study therefore always decides by all trials that have finished."""
    reading = Reading(study)
    for n in range(4):
        trial = study.ask()
        for _ in range(3):
            assert len(reading(trial)) == n
        study.tell(trial, 0.0)
    assert reading.n_reads == 5


def test_what_one_trial_has_read_serves_the_others(study):
    reading = Reading(study)
    one, two = study.ask(), study.ask()
    for trial in (one, two):
        reading(trial)
        reading(trial)
    finish(study)
    three = study.ask()
    latest = reading(three)
    assert len(latest) == 1
    assert reading(one) is latest
    assert reading(two) is latest


def test_a_study_in_memory_is_always_read():
    study = optuna.create_study(storage=InMemoryStorage())
    reading = Reading(study)
    trial = study.ask()
    for n in range(4):
        assert len(reading(trial)) == n
        finish(study)
    assert reading.n_reads == 4


def test_a_failed_read_is_raised_and_tried_again(study):
    finish(study)
    reader = FinishedTrialsReader()
    trial = frozen(study.ask())
    get_trials = study.get_trials

    def fail(*args, **kwargs):
        raise ConnectionError

    study.get_trials = fail
    with pytest.raises(ConnectionError):
        reader.read(study, trial)
    study.get_trials = get_trials
    assert len(reader.read(study, trial)) == 1


def test_threads_do_not_wait_for_a_read(study):
    finish(study)
    reader = FinishedTrialsReader()
    trials = [frozen(study.ask()) for _ in range(2)]
    known = reader.read(study, trials[0])
    get_trials = study.get_trials
    started, released = threading.Event(), threading.Event()

    def get_slowly(*args, **kwargs):
        started.set()
        assert released.wait(60)
        return get_trials(*args, **kwargs)

    study.get_trials = get_slowly
    other = threading.Thread(target=reader.read, args=(study, trials[1]))
    other.start()
    try:
        assert started.wait(60)
        assert reader.read(study, trials[0]) is known
    finally:
        released.set()
        other.join()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_read_bit_by_bit_is_what_is_read_at_once(seed):
    """Whatever is enqueued, started, finished and failed in between, and in which order."""
    draw = random.Random(seed)
    study = optuna.create_study()
    bit_by_bit = FinishedTrialsReader()
    asking = frozen(study.ask())
    running = []
    for _ in range(60):
        action = draw.choice(["ask", "tell", "tell", "enqueue", "add"])
        if action == "ask":
            running.append(study.ask())
        elif action == "enqueue":
            study.enqueue_trial({})
        elif action == "add":
            study.add_trial(create_trial(value=0.0, intermediate_values={0: 1.0}))
        elif running:
            trial = running.pop(draw.randrange(len(running)))
            trial.report(1.0, 0)
            state = draw.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            study.tell(trial, 1.0 if state == TrialState.COMPLETE else None, state=state)
        if draw.random() < 0.5:
            finished = bit_by_bit.read(study, asking)
            at_once = FinishedTrialsReader().read(study, asking)
            assert numbers(finished.completed) == numbers(at_once.completed)
            assert numbers(finished.pruned) == numbers(at_once.pruned)
    completed = study.get_trials(states=(TrialState.COMPLETE,))
    expected = StudyHistory().update(completed)
    assert len(expected) > 5
    assert numbers(bit_by_bit.read(study, asking).completed) == numbers(expected)


def test_a_trial_that_becomes_visible_late_is_found():
    study = optuna.create_study()
    for _ in range(5):
        finish(study)
    asking = frozen(study.ask())
    reader = FinishedTrialsReader()
    trials = study.get_trials(deepcopy=False)
    study.get_trials = lambda **_: [trial for trial in trials if trial.number != 2]
    assert numbers(reader.read(study, asking)) == [0, 1, 3, 4]
    study.get_trials = lambda **_: trials
    assert numbers(reader.read(study, asking)) == [0, 1, 2, 3, 4]


def test_a_new_study_with_the_identifiers_of_a_deleted_one_is_not_mixed_with_it(tmp_path):
    storage = optuna.storages.get_storage(f"sqlite:///{tmp_path}/study.db")
    reader = FinishedTrialsReader()
    for n_trials in (3, 0, 2):
        study = optuna.create_study(storage=storage, study_name="study")
        assert study._study_id == 1
        for _ in range(n_trials):
            finish(study)
        trial = study.ask()
        assert len(reader.read(study, frozen(trial))) == n_trials
        optuna.delete_study(study_name="study", storage=storage)


@pytest.mark.parametrize(
    ("attribute", "x", "n_finished"),
    [("seconds", 0.5, 1), ("num_weights", 0.5, 2), ("seconds", 0.6, 2)],
)
def test_a_continued_trial_is_that_of_the_same_parameters_or_layers(attribute, x, n_finished):
    """An attribute may differ from one training to the next; another network is another trial."""
    study = optuna.create_study()
    distributions = {"x": FloatDistribution(0.0, 1.0)}
    for n_steps, of_trial, attrs in (
        (2, 0.5, {attribute: 1.0}),
        (5, x, {attribute: 2.0, "perfpred:continues": 0}),
    ):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if n_steps == 2 else TrialState.COMPLETE,
                value=1.0,
                params={"x": of_trial},
                distributions=distributions,
                user_attrs=attrs,
                intermediate_values=dict.fromkeys(range(n_steps), 1.0),
            )
        )
    assert len(FinishedTrialsReader([attribute]).read_now(study)) == n_finished
