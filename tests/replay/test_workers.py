from __future__ import annotations

from datetime import datetime
from datetime import timedelta

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.replay import replay
from tests.replay.studies import crossing_curves
from tests.replay.studies import PruneAt
from tests.replay.studies import recorded_study


class Spy(BasePruner):
    """Notes at each check which trials are complete, and never prunes."""

    def __init__(self):
        self.seen = []

    def __deepcopy__(self, memo):
        return self

    def prune(self, study, trial):
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self.seen.append((trial.number, trial.last_step, {t.number for t in completed}))
        return False


def timed_study(durations, n_reports):
    """Give a study whose trials took these seconds; None for one of unknown duration."""
    study = optuna.create_study(direction="maximize")
    start = datetime(2026, 1, 1)
    for number, (seconds, n) in enumerate(zip(durations, n_reports, strict=True)):
        study.add_trial(
            FrozenTrial(
                number=-1,
                trial_id=-1,
                state=TrialState.COMPLETE,
                value=float(number),
                datetime_start=start,
                datetime_complete=start + timedelta(seconds=seconds or 0),
                params={},
                distributions={},
                user_attrs={},
                system_attrs={},
                intermediate_values=dict.fromkeys(range(n), float(number)),
            )
        )
    return study


def test_one_worker_trains_one_trial_after_the_other():
    spy = Spy()
    report = replay(recorded_study([[0.0, 1.0]] * 3), spy, n_workers=1)
    assert spy.seen == [
        (number, step, set(range(number))) for number in range(3) for step in (1, 2)
    ]
    assert report.wall_clock == report.wall_clock_without_pruning == report.steps_trained == 6


def test_workers_train_at_the_same_time_and_see_what_is_complete_by_then():
    spy = Spy()
    report = replay(recorded_study([[0.0] * 3, [0.0] * 2, [0.0] * 2]), spy, n_workers=2)
    assert spy.seen == [
        (0, 1, set()),
        (1, 1, set()),
        (0, 2, set()),
        (1, 2, set()),
        (0, 3, {1}),
        (2, 1, {0, 1}),
        (2, 2, {0, 1}),
    ]
    assert report.wall_clock == 4.0
    assert [trial.ended for trial in report.trials] == [3.0, 2.0, 4.0]


def test_a_worker_takes_the_next_trial_when_one_is_pruned():
    study = recorded_study([[0.0] * 4, [0.0] * 4, [0.0] * 2])
    report = replay(study, PruneAt({round(1 / 3, 6): 1}), n_workers=2)
    assert [trial.ended for trial in report.trials] == [4.0, 1.0, 3.0]
    assert report.wall_clock == 4.0
    assert report.wall_clock_without_pruning == 6.0


def test_recorded_durations_are_the_time_of_steps():
    study = timed_study([10.0, 4.0, 6.0], [5, 2, 3])
    report = replay(study, NopPruner(), n_workers=2, step_time="recorded")
    assert report.time_unit == "seconds"
    assert [trial.ended for trial in report.trials] == pytest.approx([10.0, 4.0, 10.0])
    assert report.wall_clock == pytest.approx(10.0)


def test_a_trial_without_a_duration_takes_the_median_of_the_others():
    study = timed_study([10.0, None, 30.0, 2.0], [10, 10, 10, 2])
    report = replay(study, NopPruner(), step_time="recorded")
    ended = np.diff([0.0] + [trial.ended for trial in report.trials])
    assert ended == pytest.approx([10.0, 10.0, 30.0, 2.0])


@settings(max_examples=25)
@given(
    n_workers=st.integers(1, 60),
    seed=st.integers(0, 100),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_workers_share_the_same_work(n_workers, seed, lengths):
    rng = np.random.default_rng(seed)
    study = recorded_study([rng.normal(size=length) for length in lengths])
    report = replay(study, NopPruner(), order="random", seed=seed, n_workers=n_workers)
    assert report.steps_trained == sum(lengths)
    assert report.best_kept == 1.0
    lower = max(sum(lengths) / n_workers, max(lengths))
    assert lower <= report.wall_clock <= sum(lengths) / n_workers + max(lengths)
    assert report.wall_clock == report.wall_clock_without_pruning
    pruned = replay(study, MedianPruner(), order="random", seed=seed, n_workers=n_workers)
    assert pruned.wall_clock <= pruned.wall_clock_without_pruning == report.wall_clock


def test_a_budget_is_shared_by_the_workers():
    study = recorded_study([[0.0] * 4] * 6)
    report = replay(study, NopPruner(), n_workers=4, budget=1.5)
    assert [trial.steps_trained for trial in report.trials] == [2, 2, 1, 1]
    assert {trial.state for trial in report.trials} == {TrialState.RUNNING}


def test_a_thousand_workers():
    study = recorded_study(crossing_curves(n_trials=1500, n_steps=4))
    report = replay(study, MedianPruner(), n_workers=1000)
    # All workers start before anything is complete, so the first thousand are trained in full.
    assert {trial.steps_trained for trial in report.trials[:1000]} == {4}
    assert any(trial.steps_trained < 4 for trial in report.trials[1000:])
    assert report.wall_clock_without_pruning == 8.0


def test_ours_prunes_in_parallel_too():
    report = replay(recorded_study(), PerformancePredictionPruner(), n_workers=8)
    assert report.steps_saved > 0
    assert report.wall_clock < report.wall_clock_without_pruning
