"""The table: what trials teach, and that it is a function of the storage."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import QLearningSampler
from tests.samplers.searches import objective
from tests.samplers.searches import run_trial
from tests.samplers.searches import search
from tests.samplers.searches import SPACE
from tests.samplers.searches import value_of


def published_table(trajectories, values, numbers, learning_rate=0.01, discount=1.0, q0=0.5):
    """The update of the paper, written down again with no thought of speed."""
    q = {}

    def update(trajectory, reward):
        path = [(SPACE.agent_state(state), str(layer)) for state, layer in trajectory]
        legal = [[str(la) for la in SPACE.legal_layers(state)] for state, _ in trajectory]
        q[path[-1]] = q.get(path[-1], q0) + learning_rate * (reward - q.get(path[-1], q0))
        for i in reversed(range(len(path) - 1)):
            best = max(q.get((path[i + 1][0], layer), q0) for layer in legal[i + 1])
            old = q.get(path[i], q0)
            q[path[i]] = old + learning_rate * (discount * best - old)

    for n, number in enumerate(numbers, start=1):
        seen = np.asarray(values[:n])
        rewards = [((seen < v).sum() + (seen <= v).sum()) / (2 * n) for v in seen]
        update(trajectories[n - 1], rewards[n - 1])
        for i in np.random.default_rng(number).integers(n, size=100):
            update(trajectories[i], rewards[i])
    return q


def flat(table):
    return {(state, la): q for state, values in table.items() for la, q in values.items()}


def assert_same_values(table, expected, q0=0.5):
    table = flat(table)
    assert set(expected) <= set(table)
    for cell, q in table.items():
        assert q == pytest.approx(expected.get(cell, q0), abs=1e-12)


def test_table_is_that_of_the_published_update_rule():
    study = search(25, RandomSampler(seed=0))
    trajectories = [SPACE.read_layers(trial.params) for trial in study.trials]
    values = [trial.value for trial in study.trials]
    expected = published_table(trajectories, values, range(25))
    assert_same_values(QLearningSampler(SPACE).q_table(study), expected)
    shortsighted = QLearningSampler(SPACE, learning_rate=0.1, discount=0.9, initial_q=0.2)
    expected = published_table(trajectories, values, range(25), 0.1, 0.9, 0.2)
    assert_same_values(shortsighted.q_table(study), expected, 0.2)


@settings(max_examples=25)
@given(st.permutations(range(12)), st.integers(1, 5), st.randoms(use_true_random=False))
def test_table_does_not_depend_on_the_order_in_which_trials_end(order, every, random):
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
    observer = QLearningSampler(SPACE)
    trials = [study.ask() for _ in order]
    values = [float(value_of(SPACE.suggest(trial))) for trial in trials]
    for n_ended, number in enumerate(order):
        study.tell(trials[number], values[number])
        if n_ended % every == 0:
            observer.q_table(study)  # Learns what has ended so far, and unlearns it if it must.
    newcomer = QLearningSampler(SPACE, seed=random.randrange(100))
    assert observer.q_table(study) == newcomer.q_table(study)


def test_a_trial_that_ends_long_after_its_followers_is_learned_in_its_place():
    study = search(5, RandomSampler(seed=0))
    late = study.ask()
    value = objective(late)
    observer = QLearningSampler(SPACE)
    for _ in range(300):
        run_trial(study)
        observer.q_table(study)
    study.tell(late, value)
    assert observer.q_table(study) == QLearningSampler(SPACE).q_table(study)


def test_a_running_trial_that_never_ends_keeps_nobody_from_learning():
    study = search(3, RandomSampler(seed=0))
    SPACE.suggest(study.ask())
    run_trial(study)
    values = flat(QLearningSampler(SPACE).q_table(study))
    last = study.trials[-1]
    state, layer = SPACE.read_layers(last.params)[-1]
    assert values[SPACE.agent_state(state), str(layer)] != 0.5


@settings(max_examples=20)
@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
def test_rewards_do_not_depend_on_scale_or_direction(scale, shift):
    numbers = np.random.default_rng(0).permutation(8)
    tables = []
    for direction, sign in (("maximize", 1.0), ("minimize", -1.0)):
        for a, b in ((1.0, 0.0), (scale, shift)):
            study = optuna.create_study(direction=direction, sampler=RandomSampler(seed=0))
            for number in numbers:
                trial = study.ask()
                SPACE.suggest(trial)
                study.tell(trial, sign * (a * float(number * 100) + b))
            tables.append(QLearningSampler(SPACE).q_table(study))
    assert all(one == other for one, other in pairwise(tables))


def test_infinite_values_teach_as_the_worst_and_the_best():
    study = optuna.create_study(direction="minimize", sampler=RandomSampler(seed=1))
    for value in (1.0, np.inf, -np.inf):
        trial = study.ask()
        SPACE.suggest(trial)
        study.tell(trial, value)
    values = flat(QLearningSampler(SPACE, learning_rate=1.0, replay_size=0).q_table(study))
    ends = [SPACE.read_layers(trial.params)[-1] for trial in study.trials]
    rewards = [values[SPACE.agent_state(state), str(layer)] for state, layer in ends]
    assert rewards == pytest.approx([1 / 2, 1 / 4, 5 / 6])


def end_values(study, **kwargs):
    sampler = QLearningSampler(SPACE, learning_rate=1.0, replay_size=0, **kwargs)
    values = flat(sampler.q_table(study))
    ends = [SPACE.read_layers(trial.params)[-1] for trial in study.trials]
    return [values.get((SPACE.agent_state(state), str(layer))) for state, layer in ends]


def enqueued_study(*notations):
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
    for notation in notations:
        study.enqueue_trial(SPACE.params(notation))
    return study


NETWORKS = ("[C(4,1,1), SM(10)]", "[C(8,1,1), SM(10)]", "[C(4,3,1), SM(10)]")


def third_trial():
    """A running trial, and its study with completed ones that have the values 1 and 2."""
    study = enqueued_study(*NETWORKS)
    for value in (1.0, 2.0):
        trial = study.ask()
        SPACE.suggest(trial)
        study.tell(trial, value)
    trial = study.ask()
    SPACE.suggest(trial)
    return study, trial


def test_a_pruned_trial_teaches_its_predicted_value():
    study, trial = third_trial()
    trial.report(0.1, 1)
    trial.set_user_attr("perfpred:predicted_value", 1.5)
    study.tell(trial, state=TrialState.PRUNED)
    assert end_values(study)[2] == pytest.approx(1 / 2)  # Between the two.


@pytest.mark.parametrize("predicted", [None, "a string", float("nan")])
def test_a_pruned_trial_without_a_prediction_teaches_its_last_value(predicted):
    study, trial = third_trial()
    trial.report(9.0, 1)
    trial.report(0.1, 2)
    trial.set_user_attr("perfpred:predicted_value", predicted)
    study.tell(trial, state=TrialState.PRUNED)
    assert end_values(study)[2] == pytest.approx(1 / 6)  # Below both.


def test_failed_trials_and_pruned_ones_without_a_value_do_not_teach():
    study = enqueued_study(*NETWORKS)
    run_trial(study)
    run_trial(study, TrialState.FAIL)
    trial = study.ask()
    SPACE.suggest(trial)
    study.tell(trial, state=TrialState.PRUNED)
    assert end_values(study)[1:] == [None, None]
    assert QLearningSampler(SPACE).q_table(study)


def test_infeasible_trials_teach_as_the_worst():
    study = enqueued_study(*NETWORKS)
    for value, constraint in ((1.0, -1.0), (2.0, 0.0), (3.0, 0.5)):
        trial = study.ask()
        SPACE.suggest(trial)
        trial.set_constraint("weights", constraint)
        study.tell(trial, value)
    assert end_values(study)[2] == pytest.approx(1 / 6)


def test_trials_without_an_architecture_of_the_space_are_passed_over():
    study = search(5, RandomSampler(seed=0))
    table = QLearningSampler(SPACE).q_table(study)
    lone = study.ask()
    lone.suggest_float("learning_rate", 0.0, 1.0)
    study.tell(lone, 1.0)
    unfinished = study.ask()
    name = next(iter(SPACE.params("[C(4,1,1), SM(10)]")))
    unfinished.suggest_categorical(name, study.trials[0].distributions[name].choices)
    study.tell(unfinished, 1.0)
    assert QLearningSampler(SPACE).q_table(study) == table


def test_policy_is_the_layers_of_the_largest_value():
    study = search(30)
    table = study.sampler.q_table(study)
    policy = study.sampler.policy(study)
    assert set(policy) == set(table)
    for state, layers in policy.items():
        best = max(table[state].values())
        assert layers == tuple(la for la, value in table[state].items() if value == best)


def test_best_architecture_follows_the_policy():
    study = search(100)
    best = study.sampler.best_architecture(study)
    policy = study.sampler.policy(study)
    for state, layer in SPACE.trajectory(best):
        assert str(layer) in policy.get(SPACE.agent_state(state), str(layer))


def test_inspection_without_a_study_shows_the_last_one_sampled_for():
    sampler = QLearningSampler(SPACE, seed=0)
    with pytest.raises(ValueError, match="pass a study"):
        sampler.q_table()
    study = search(10, sampler)
    SPACE.suggest(study.ask())
    assert sampler.q_table() == sampler.q_table(study)
    assert sampler.policy() == sampler.policy(study)
