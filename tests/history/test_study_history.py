from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from datetime import timedelta
from datetime import timezone
import gc

import optuna
from optuna.trial import create_trial
from optuna.trial import TrialState

from optuna_perfpred.history import PerStudy
from optuna_perfpred.history import StudyHistory


def completed(study):
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def study_of(*values):
    study = optuna.create_study()
    for value in values:
        study.add_trial(create_trial(value=value, intermediate_values={0: value}))
    return study


def test_each_trial_is_read_once():
    history = StudyHistory()
    study = study_of(0.0, 1.0)
    first = history.update(completed(study))
    study.add_trial(create_trial(value=2.0))
    second = history.update(completed(study))
    assert [record.value for record in second] == [0.0, 1.0, 2.0]
    assert all(a is b for a, b in zip(first, second, strict=False))
    assert history.update(completed(study)) is second


def test_records_are_in_the_order_of_completion():
    study = optuna.create_study()
    trials = [study.ask() for _ in range(3)]
    for number in (2, 0, 1):
        study.tell(trials[number], float(number))
    assert [r.number for r in StudyHistory().update(completed(study))] == [2, 0, 1]


def test_a_trial_learned_of_late_takes_its_place():
    """Another worker's trial may become visible after ours that was completed later."""
    study = optuna.create_study()
    trials = [study.ask() for _ in range(2)]
    study.tell(trials[1], 1.0)
    study.tell(trials[0], 0.0)
    everything = completed(study)
    history = StudyHistory()
    history.update([trial for trial in everything if trial.number == 0])
    assert [record.number for record in history.update(everything)] == [1, 0]


def test_completion_times_with_and_without_time_zone_are_compared():
    study = optuna.create_study()
    now = datetime.now()
    for moment in (now, (now + timedelta(hours=1)).replace(tzinfo=timezone.utc)):
        trial = create_trial(value=0.0)
        trial.datetime_complete = moment
        study.add_trial(trial)
    assert len(StudyHistory().update(completed(study))) == 2


def test_a_new_study_with_the_identifiers_of_a_deleted_one_is_not_mixed_with_it():
    history = StudyHistory()
    history.update(completed(study_of(0.0, 1.0, 2.0)))
    assert [r.value for r in history.update(completed(study_of(7.0)))] == [7.0]


def test_infeasible_trials_are_marked():
    study = optuna.create_study()
    for violation in (1.0, -1.0):
        trial = study.ask()
        trial.set_constraint("memory", violation)
        study.tell(trial, 0.0)
    assert [r.feasible for r in StudyHistory().update(completed(study))] == [False, True]


def test_threads_share_one_history():
    study = study_of(*range(200))
    trials = completed(study)
    history = StudyHistory()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: history.update(trials[:n]), range(1, 201)))
    assert [r.number for r in history.update(trials)] == list(range(200))
    for n, records in enumerate(results, start=1):
        assert len(records) >= n
        assert len({record.number for record in records}) == len(records)


def test_objects_are_kept_per_study_and_forgotten_with_the_storage():
    made = []

    def make(study):
        made.append(study.study_name)
        return object()

    storage = optuna.storages.InMemoryStorage()
    per_study = PerStudy(make)
    one = optuna.create_study(storage=storage, study_name="one")
    two = optuna.create_study(storage=storage, study_name="two")
    assert per_study.of(one) is per_study.of(one)
    assert per_study.of(one) is not per_study.of(two)
    assert made == ["one", "two"]
    del one, two, storage
    gc.collect()
    assert len(per_study._objects) == 0
