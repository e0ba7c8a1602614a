"""The sampler in a study."""

from __future__ import annotations

import pickle

import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import QLearningSampler
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import RecurrentSpace
from tests.samplers.searches import objective
from tests.samplers.searches import run_trial
from tests.samplers.searches import search
from tests.samplers.searches import SPACE
from tests.samplers.searches import value_of


def test_it_finds_better_architectures_than_chance():
    last = {"q": [], "random": []}
    for seed in range(3):
        for name, sampler in (
            ("q", QLearningSampler(SPACE, n_trials=120, seed=seed)),
            ("random", RandomSampler(seed=seed)),
        ):
            last[name].extend(trial.value for trial in search(120, sampler).trials[-12:])
    assert np.mean(last["q"]) > np.mean(last["random"]) + 0.5


def test_the_greedy_architecture_is_a_good_one():
    study = search(200)
    values = [trial.value for trial in search(200, RandomSampler(seed=1)).trials]
    assert value_of(study.sampler.best_architecture(study)) > np.quantile(values, 0.8)


def test_epsilon_zero_follows_the_policy_and_one_does_not():
    study = search(60, RandomSampler(seed=0))
    study.sampler = greedy = QLearningSampler(SPACE, epsilon_schedule=[(0.0, 1)], seed=0)
    for _ in range(5):
        policy = greedy.policy(study)
        architecture = SPACE.suggest(study.ask())
        for state, layer in SPACE.trajectory(architecture):
            assert str(layer) in policy.get(SPACE.agent_state(state), str(layer))
    study.sampler = QLearningSampler(SPACE, epsilon_schedule=[(1.0, 1)], seed=0)
    assert len({SPACE.suggest(study.ask()) for _ in range(50)}) > 25


def shares_of_greedy_first_layers(schedule, n_trained, **kwargs):
    """How often the first layer is the greedy one of four, after so many architectures."""
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
    trained = set()
    while len(trained) < n_trained:
        run_trial(study)
        trained.add(study.trials[-1].user_attrs["architecture"])
    sampler = QLearningSampler(SPACE, epsilon_schedule=schedule, seed=0, **kwargs)
    study.sampler = sampler
    drawn = [next(iter(_params(study).values())) for _ in range(300)]
    (greedy,) = sampler.policy(study)[SPACE.agent_state(SPACE.initial_state)]
    return drawn.count(greedy) / len(drawn)


def _params(study):
    trial = study.ask()
    SPACE.suggest(trial)
    return trial.params


@pytest.mark.parametrize(
    ("schedule", "n_trained", "epsilon", "kwargs"),
    [
        ([(1.0, 10), (0.2, 10)], 9, 1.0, {}),
        ([(1.0, 10), (0.2, 10)], 10, 0.2, {}),
        ([(1.0, 10), (0.2, 10)], 40, 0.2, {"n_trials": 20}),
        ("published", 40, 1.0, {}),
        ("auto", 19, 1.0, {"n_trials": 100}),
        ("auto", 40, 0.5, {"n_trials": 100}),
        ("auto", 39, 1.0, {}),
        ("auto", 60, 0.6, {}),
        ("auto", 40, 0.1, {"n_trials": 40}),
    ],
)
def test_exploration_follows_the_schedule(schedule, n_trained, epsilon, kwargs):
    share = shares_of_greedy_first_layers(schedule, n_trained, **kwargs)
    assert share == pytest.approx(1.0 - epsilon * 3 / 4, abs=0.08)


def test_a_known_architecture_does_not_advance_the_schedule():
    study = optuna.create_study(direction="maximize")
    study.sampler = QLearningSampler(SPACE, epsilon_schedule=[(1.0, 2), (0.0, 1)], seed=0)
    for _ in range(20):
        study.enqueue_trial(SPACE.params("[C(4,1,1), SM(10)]"))
        run_trial(study)
    assert len({SPACE.suggest(study.ask()) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": 1.1}, "learning_rate"),
        ({"discount": -0.1}, "discount"),
        ({"initial_q": 2.0}, "initial_q"),
        ({"replay_size": -1}, "replay_size"),
        ({"replay_size": 1.5}, "replay_size"),
        ({"n_trials": 0}, "n_trials"),
        ({"epsilon_schedule": "linear"}, "linear"),
        ({"epsilon_schedule": []}, "pairs"),
        ({"epsilon_schedule": [1.0, 0.5]}, "pairs"),
        ({"epsilon_schedule": [(1.5, 10)]}, r"\[0, 1\]"),
        ({"epsilon_schedule": [(float("nan"), 10)]}, r"\[0, 1\]"),
        ({"epsilon_schedule": [(0.5, 0)]}, "positive"),
        ({"epsilon_schedule": [(0.5, 2.5)]}, "positive"),
        ({"epsilon_schedule": [(1.0, 50), (0.1, 40)], "n_trials": 100}, "sum to 90"),
    ],
)
def test_bad_arguments_are_refused_by_name(kwargs, message):
    with pytest.raises(ValueError, match=message):
        QLearningSampler(SPACE, **kwargs)


def test_foreign_parameters_go_to_the_independent_sampler():
    class Always(RandomSampler):
        def sample_independent(self, study, trial, param_name, param_distribution):
            assert param_name == "learning_rate"
            return 0.25

    study = optuna.create_study(
        direction="maximize", sampler=QLearningSampler(SPACE, independent_sampler=Always())
    )

    def with_learning_rate(trial):
        SPACE.suggest(trial)
        return trial.suggest_float("learning_rate", 0.0, 1.0)

    study.optimize(with_learning_rate, n_trials=5)
    assert [trial.value for trial in study.trials] == [0.25] * 5


def test_foreign_parameters_may_come_between_the_layers_and_are_optimized():
    def mixed(trial):
        rate = trial.suggest_float("rate", 0.0, 1.0)
        architecture = SPACE.suggest(trial)
        momentum = trial.suggest_float("momentum", 0.0, 1.0)
        return float(value_of(architecture)) - 10 * abs(rate - 0.3) - 10 * abs(momentum - 0.7)

    study = optuna.create_study(
        direction="maximize", sampler=QLearningSampler(SPACE, n_trials=100, seed=0)
    )
    study.optimize(mixed, n_trials=100)
    assert study.best_params["rate"] == pytest.approx(0.3, abs=0.15)
    assert study.best_params["momentum"] == pytest.approx(0.7, abs=0.15)


def reusing_study(n_pruned):
    """Train the same architecture four times, and another one twice; give what was trained."""
    sampler = QLearningSampler(SPACE, reuse_known=True, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trained = []

    def reusing(trial):
        architecture = SPACE.suggest(trial)
        known = sampler.known_value(trial, architecture)
        if known is not None:
            return known
        trained.append(trial.number)
        trial.report(0.1 * trial.number, 1)
        trial.report(0.2 * trial.number, 2)
        if trial.number < n_pruned:
            trial.set_user_attr("perfpred:predicted_value", 0.5)
            raise optuna.TrialPruned
        return float(trial.number)

    for notation in (*["[C(4,1,1), SM(10)]"] * 4, *["[C(8,1,1), SM(10)]"] * 2):
        study.enqueue_trial(SPACE.params(notation))
    study.optimize(reusing, n_trials=6)
    return study, trained


def test_an_architecture_that_was_completed_has_its_value():
    study, trained = reusing_study(n_pruned=0)
    assert trained == [0, 4]
    assert [trial.value for trial in study.trials] == [0.0, 0.0, 0.0, 0.0, 4.0, 4.0]
    attrs = [trial.user_attrs.get("perfpred:reused_trial") for trial in study.trials]
    assert attrs == [None, 0, 0, 0, None, 4]


def test_an_architecture_that_was_pruned_is_pruned_at_once_and_teaches_the_same():
    study, trained = reusing_study(n_pruned=2)
    assert trained == [0, 4]
    assert [trial.state for trial in study.trials[:4]] == [TrialState.PRUNED] * 4
    for trial in study.trials[1:4]:
        assert trial.intermediate_values == {2: 0.0}
        assert trial.user_attrs["perfpred:predicted_value"] == 0.5
        assert trial.user_attrs["perfpred:reused_trial"] == 0


def test_a_completed_trial_is_known_before_a_pruned_one():
    study, _ = reusing_study(n_pruned=1)
    study.enqueue_trial(SPACE.params("[C(4,1,1), SM(10)]"))
    trial = study.ask()
    SPACE.suggest(trial)
    study.tell(trial, 7.0)  # Trained again, without asking.
    study.enqueue_trial(SPACE.params("[C(4,1,1), SM(10)]"))
    trial = study.ask()
    assert study.sampler.known_value(trial, SPACE.suggest(trial)) == 7.0


def test_without_reuse_known_there_is_no_known_value():
    study = search(3)
    study.enqueue_trial(SPACE.params(SPACE.parse(study.trials[0].user_attrs["architecture"])))
    trial = study.ask()
    assert study.sampler.known_value(trial, SPACE.suggest(trial)) is None


def test_same_seed_same_search():
    searches = [search(40, QLearningSampler(SPACE, n_trials=40, seed=3)) for _ in range(2)]
    assert searches[0].trials[-1].params == searches[1].trials[-1].params
    assert [t.params for t in searches[0].trials] == [t.params for t in searches[1].trials]


def test_threads_share_one_table():
    study = optuna.create_study(
        direction="maximize", sampler=QLearningSampler(SPACE, n_trials=80, seed=0)
    )
    study.optimize(objective, n_trials=80, n_jobs=4)
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
    assert study.sampler.q_table(study) == QLearningSampler(SPACE).q_table(study)


def test_one_sampler_serves_several_studies():
    sampler = QLearningSampler(SPACE, seed=0)
    first, second = search(10, sampler), search(5, sampler, direction="minimize")
    run_trial(first)
    assert sampler.q_table(first) == QLearningSampler(SPACE).q_table(first)
    assert sampler.q_table(second) == QLearningSampler(SPACE).q_table(second)


def test_it_learns_from_all_brackets_of_hyperband():
    study = search(30, pruner=HyperbandPruner(1, 9))
    table = QLearningSampler(SPACE).q_table(study)
    SPACE.suggest(study.ask())
    assert study.sampler.q_table() == table


def test_a_pickled_sampler_goes_on():
    study = search(20)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    run_trial(study)
    assert study.sampler.q_table(study) == QLearningSampler(SPACE).q_table(study)


@pytest.mark.parametrize("other", [ConvNetSpace((1, 16, 16), 10), RecurrentSpace(10)])
def test_an_objective_that_suggests_from_another_space_is_told(other):
    study = optuna.create_study(sampler=QLearningSampler(SPACE))
    with pytest.raises(ValueError, match="another space"):
        other.suggest(study.ask())


def test_with_the_pruner_the_search_ends_hopeless_trainings():
    study = optuna.create_study(
        direction="maximize",
        sampler=QLearningSampler(SPACE, n_trials=60, seed=0),
        pruner=PerformancePredictionPruner(),
    )

    def training(trial):
        final = value_of(SPACE.suggest(trial))
        for epoch in range(1, 21):
            value = float(-8 + (final + 8) * (1 - 0.7**epoch))
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study.optimize(training, n_trials=60)
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert all("perfpred:predicted_value" in trial.user_attrs for trial in pruned)
    assert study.sampler.q_table(study) == QLearningSampler(SPACE).q_table(study)
