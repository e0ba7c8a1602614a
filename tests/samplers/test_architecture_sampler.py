"""The model-based sampler in a study."""

from __future__ import annotations

import pickle

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import ArchitectureSampler
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.nas import BlockSpace
from optuna_perfpred.nas import BudgetSpace
from optuna_perfpred.nas import CellSpace
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import GlobalPooling
from optuna_perfpred.nas import Linear
from optuna_perfpred.nas import ResidualBlock
from optuna_perfpred.nas import SeparableConvolution
from tests.samplers.searches import open_journal
from tests.samplers.searches import SPACE
from tests.samplers.searches import value_of


CELLS = CellSpace((3, 8, 8), 10)


def cell_value(architecture):
    """Counts convolutions, and asks for a skip beside them: a value to be learned."""
    names = [str(layer) for layer in CELLS.chosen(architecture)]
    return names.count("conv(3)") + 2.0 * (names[3] == "skip()") - 3.0 * ("none()" in names)


def run(study, n_trials, objective):
    for _ in range(n_trials):
        trial = study.ask()
        study.tell(trial, objective(trial))
    return study


def new_study(sampler, **kwargs):
    kwargs = {"direction": "maximize"} | kwargs
    return optuna.create_study(sampler=sampler, **kwargs)


def conv_value(trial):
    return float(value_of(SPACE.suggest(trial)))


@pytest.mark.parametrize(
    ("space", "value"), [(SPACE, value_of), (CELLS, cell_value)], ids=["layers", "cells"]
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_finds_better_networks_than_chance(space, value, direction):
    sign = 1.0 if direction == "maximize" else -1.0
    best = {"model": [], "random": []}
    for seed in range(3):
        for name, sampler in (
            ("model", ArchitectureSampler(space, seed=seed)),
            ("random", RandomSampler(seed=seed)),
        ):
            study = new_study(sampler, direction=direction)
            run(study, 40, lambda trial: sign * float(value(space.suggest(trial))))
            best[name].append(sign * study.best_value)
            last = [sign * trial.value for trial in study.trials[-15:]]
            best[name].append(np.mean(last))
    assert np.mean(best["model"]) > np.mean(best["random"]) + 0.2


def test_proposals_are_a_function_of_the_storage(tmp_path):
    storage = open_journal(tmp_path / "study.journal")
    study = new_study(ArchitectureSampler(SPACE, seed=3), storage=storage)

    def objective(trial):
        rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
        return value_of(SPACE.suggest(trial)) - abs(np.log10(rate) + 2.0)

    run(study, 25, objective)
    kept = study.ask()
    objective(kept)
    # Another process: what it knows is in the storage alone.
    again = optuna.load_study(
        study_name=study.study_name,
        storage=open_journal(tmp_path / "study.journal"),
        sampler=ArchitectureSampler(SPACE, seed=3),
    )
    study.tell(kept, state=TrialState.FAIL)
    first, second = (s.ask() for s in (study, again))
    assert first.number + 1 == second.number
    # The same number proposes the same; another number something else.
    copies = [new_study(ArchitectureSampler(SPACE, seed=3)) for _ in range(2)]
    for copy in copies:
        copy.add_trials(study.get_trials()[:26])
        trial = copy.ask()
        objective(trial)
    assert copies[0].trials[-1].params == copies[1].trials[-1].params
    other = new_study(ArchitectureSampler(SPACE, seed=4))
    other.add_trials(study.get_trials()[:26])
    objective(other.ask())
    assert other.trials[-1].params != copies[0].trials[-1].params


def test_a_sampler_made_anew_before_each_trial_proposes_what_one_that_stayed_does(tmp_path):
    proposed = []
    for renew in (False, True):
        sampler = ArchitectureSampler(CELLS, seed=1)
        study = new_study(sampler, storage=f"sqlite:///{tmp_path}/{renew}.db")
        for _ in range(18):
            if renew:
                study = optuna.load_study(
                    study_name=study.study_name,
                    storage=f"sqlite:///{tmp_path}/{renew}.db",
                    sampler=pickle.loads(pickle.dumps(sampler)),
                )
            run(study, 1, lambda trial: cell_value(CELLS.suggest(trial)))
        proposed.append([trial.params for trial in study.trials])
    assert proposed[0] == proposed[1]


def test_workers_that_ask_at_once_get_different_networks():
    study = new_study(ArchitectureSampler(CELLS, seed=0))
    run(study, 20, lambda trial: cell_value(CELLS.suggest(trial)))
    tried = {str(trial.params) for trial in study.trials}
    asked = []
    for _ in range(12):
        trial = study.ask()
        CELLS.suggest(trial)
        asked.append(str(trial.params))
    assert len(set(asked)) == 12
    assert not set(asked) & tried


def test_threads_share_a_sampler():
    study = new_study(ArchitectureSampler(SPACE, seed=0))
    study.optimize(conv_value, n_trials=30, n_jobs=3)
    assert len({trial.user_attrs["architecture"] for trial in study.trials}) > 10


def test_layers_and_other_parameters_are_modelled_together():
    sampler = ArchitectureSampler(CELLS, seed=0)
    study = new_study(sampler)

    def objective(trial):
        architecture = CELLS.suggest(trial)
        rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
        deep = cell_value(architecture) > 1.0
        wanted = -3.0 if deep else -1.0  # Good networks need another rate.
        return cell_value(architecture) - abs(np.log10(rate) - wanted) - (optimizer == "sgd")

    run(study, 60, objective)
    space = sampler.infer_relative_search_space(study, study.trials[-1])
    assert set(space) == {"rate", "optimizer"}
    last = study.trials[-15:]
    assert np.mean([trial.params["optimizer"] == "adam" for trial in last]) > 0.8
    assert np.mean([abs(np.log10(trial.params["rate"]) + 3.0) for trial in last]) < 0.8
    assert study.best_value > 3.0


def test_a_trial_that_continues_a_stopped_one_counts_in_its_place():
    """The same proposal as if the stopped trial had failed."""
    proposals = []
    for forgotten in (False, True):
        study = new_study(ArchitectureSampler(SPACE, seed=0))
        run(study, 14, conv_value)
        enqueued = SPACE.params("[C(8,3,1), P(2,2), SM(10)]")
        study.enqueue_trial(enqueued)
        trial = study.ask()
        conv_value(trial)
        trial.report(-9.0, 1)
        study.tell(trial, state=TrialState.FAIL if forgotten else TrialState.PRUNED)
        study.enqueue_trial(enqueued, user_attrs={"perfpred:continues": trial.number})
        run(study, 1, conv_value)
        proposals.append([])
        for _ in range(3):
            trial = study.ask()
            conv_value(trial)
            proposals[-1].append(trial.params)
    assert proposals[0] == proposals[1]


@pytest.mark.parametrize("attr", [True, -1, 10**9, "3", None, 3.0, [3], 13])
def test_an_attribute_that_tells_of_no_continued_trial_is_ignored(attr):
    proposals = []
    for user_attrs in ({}, {"perfpred:continues": attr}):
        study = new_study(ArchitectureSampler(SPACE, seed=0))
        run(study, 13, conv_value)
        study.enqueue_trial(SPACE.params("[C(8,3,1), P(2,2), SM(10)]"), user_attrs=user_attrs)
        run(study, 1, conv_value)
        conv_value(study.ask())
        proposals.append(study.trials[-1].params)
    assert proposals[0] == proposals[1]


def test_stopped_trials_teach():
    """Networks that are stopped at once are proposed no more, whatever the others are worth."""
    study = new_study(ArchitectureSampler(CELLS, seed=0))
    n_stopped = []
    for _ in range(40):
        trial = study.ask()
        names = [str(layer) for layer in CELLS.chosen(CELLS.suggest(trial))]
        bad = "AP(3,1)" in names
        n_stopped.append(bad)
        trial.report(0.1 if bad else 0.9, 0)
        if bad:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, 0.9 + 0.01 * names.count("skip()"))
    assert np.mean(n_stopped[-15:]) < 0.4 < np.mean(n_stopped[:10])


def test_it_works_with_the_pruner():
    study = new_study(ArchitectureSampler(SPACE, seed=0), pruner=PerformancePredictionPruner())

    def objective(trial):
        final = value_of(SPACE.suggest(trial))
        for step in range(12):
            trial.report(final - 3.0 * 0.6**step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return final

    study.optimize(objective, n_trials=50)
    assert len(study.get_trials(states=(TrialState.PRUNED,))) > 5
    assert study.best_value > -0.3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), None])
def test_values_that_are_no_finite_numbers_do_no_harm(bad):
    study = new_study(ArchitectureSampler(SPACE, seed=0))
    for number in range(30):
        trial = study.ask()
        value = conv_value(trial)
        if number % 3:
            study.tell(trial, value)
        elif bad is None or np.isnan(bad):
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, bad)
    assert len({trial.user_attrs["architecture"] for trial in study.trials[10:]}) > 5


def test_constraints_are_learned():
    def constraints(trial):
        return [trial.user_attrs["num_weights"] - 600.0]

    sampler = ArchitectureSampler(SPACE, constraints_func=constraints, seed=0)
    study = new_study(sampler)
    # The larger the better, but for the constraint.
    run(study, 50, lambda trial: np.log(SPACE.suggest(trial).num_weights))
    kept = [trial.user_attrs["num_weights"] <= 600 for trial in study.trials[20:]]
    assert np.mean(kept) > 0.6
    assert 400 < np.exp(study.best_value) <= 600


def test_budgets_are_kept_by_construction():
    space = BudgetSpace(SPACE, max_weights=600)
    study = new_study(ArchitectureSampler(space, seed=0))
    run(study, 30, lambda trial: np.log(space.suggest(trial).num_weights))
    weights = [trial.user_attrs["num_weights"] for trial in study.trials]
    assert max(weights) <= 600
    assert max(weights) > 500


def test_two_objectives_are_traded():
    volumes = {"model": [], "random": []}
    for seed in range(3):
        for name, sampler in (
            ("model", ArchitectureSampler(CELLS, seed=seed)),
            ("random", RandomSampler(seed=seed)),
        ):
            study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
            for _ in range(50):
                trial = study.ask()
                architecture = CELLS.suggest(trial)
                study.tell(trial, [cell_value(architecture), architecture.num_weights])
            points = np.array([[-t.values[0], t.values[1] / 1e6] for t in study.trials])
            volumes[name].append(optuna._hypervolume.compute_hypervolume(points, np.array([4, 2])))
    assert np.mean(volumes["model"]) > np.mean(volumes["random"])


def test_enqueued_networks_are_taken_and_partial_ones_completed():
    study = new_study(ArchitectureSampler(SPACE, seed=0))
    study.enqueue_trial(SPACE.params("[C(4,1,1), SM(10)]"))
    run(study, 15, conv_value)
    assert study.trials[0].user_attrs["architecture"] == "[C(4,1,1), SM(10)]"
    name = SPACE.parameter_name(SPACE.initial_state)
    for layer in ("C(4,1,1)", "C(8,3,1)"):
        study.enqueue_trial({name: layer})
        run(study, 1, conv_value)
        assert study.trials[-1].user_attrs["architecture"].startswith(f"[{layer}, ")
    study.enqueue_trial({name: "P(2,2)"})
    trial = study.ask()
    with pytest.raises(ValueError, match="The enqueued layer 1, P"):
        SPACE.suggest(trial)
    study.tell(trial, state=TrialState.FAIL)
    run(study, 1, conv_value)


def test_an_objective_that_suggests_from_another_space_is_told():
    study = new_study(ArchitectureSampler(SPACE, seed=0))
    with pytest.raises(ValueError, match="the objective suggests from another space"):
        ConvNetSpace((1, 16, 16), 10, max_depth=4).suggest(study.ask())


def test_a_layer_that_the_space_does_not_have_is_named():
    study = new_study(ArchitectureSampler(SPACE, seed=0))
    trial = study.ask()
    trial.suggest_categorical("layer_1[mine]", ["Mine(3)"])
    with pytest.raises(ValueError, match=r"trial 0 is none: .*Mine\(3\)"):
        trial.suggest_categorical("layer_2[mine]", ["Mine(3)", "SM(10)"])


def test_trials_of_another_space_teach_nothing():
    study = new_study(RandomSampler(seed=0))
    run(study, 15, lambda trial: cell_value(CELLS.suggest(trial)))
    other = new_study(ArchitectureSampler(SPACE, seed=0))
    other.add_trials(study.trials)
    run(other, 3, conv_value)
    assert all("architecture" in trial.user_attrs for trial in other.trials[-3:])


def test_when_all_networks_are_known_it_goes_on():
    blocks = [ResidualBlock(4), SeparableConvolution(4)]
    space = BlockSpace((1, 6, 6), blocks, heads=[[GlobalPooling(), Linear(2)]], max_depth=2)
    study = new_study(ArchitectureSampler(space, n_startup_trials=1, seed=0))
    run(study, 12, lambda trial: space.suggest(trial).num_weights)
    assert len({trial.user_attrs["architecture"] for trial in study.trials[:6]}) == 6


@pytest.mark.parametrize("n_startup_trials", [0, -1])
def test_bad_arguments_are_refused(n_startup_trials):
    with pytest.raises(ValueError, match="n_startup_trials"):
        ArchitectureSampler(SPACE, n_startup_trials=n_startup_trials)


def test_the_best_architecture_is_no_lucky_one():
    study = new_study(ArchitectureSampler(CELLS, seed=0))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="has a value yet"):
        study.sampler.best_architecture(study)
    run(study, 30, lambda trial: cell_value(CELLS.suggest(trial)) + 0.1 * rng.normal())
    study.enqueue_trial(CELLS.params(CELLS.parse(study.trials[0].user_attrs["architecture"])))
    lucky = study.ask()
    worth = cell_value(CELLS.suggest(lucky))
    study.tell(lucky, study.best_value + 0.01)
    assert study.best_trial.number == lucky.number
    assert cell_value(study.sampler.best_architecture(study)) > worth


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_what_looks_best_is_trained_again_where_trainings_differ_by_chance(noise):
    rng = np.random.default_rng(0)
    study = new_study(RandomSampler(seed=0))

    def objective(trial):
        value = cell_value(CELLS.suggest(trial)) + noise * rng.normal()
        return value - 0.1 * abs(np.log10(trial.suggest_float("rate", 1e-4, 1.0, log=True)))

    run(study, 79, objective)
    study.sampler = ArchitectureSampler(CELLS, seed=0)
    run(study, 30, objective)
    known = {}
    for trial in study.trials:
        known.setdefault(tuple(sorted(trial.params.items())), []).append(trial)
    again = [trials for trials in known.values() if len(trials) > 1]
    assert all(trials[0].number < trials[1].number >= 80 for trials in again)
    if noise == 0.0:
        assert sum(len(trials) - 1 for trials in again) <= 2
    else:
        assert sum(len(trials) - 1 for trials in again) > 2
        values = [cell_value(CELLS.parse(t[0].user_attrs["architecture"])) for t in again]
        assert np.mean(values) > 2.0


def test_enqueued_beginnings_and_running_networks_are_not_trained_again():
    rng = np.random.default_rng(0)
    study = new_study(RandomSampler(seed=0))
    run(study, 90, lambda trial: cell_value(CELLS.suggest(trial)) + rng.normal())
    study.sampler = ArchitectureSampler(CELLS, seed=0)
    first = next(iter(study.trials[0].params.items()))
    study.enqueue_trial(dict([first]))
    trials = [study.ask() for _ in range(8)]
    networks = [CELLS.suggest(trial) for trial in trials]
    assert trials[0].params[first[0]] == first[1]
    assert len(set(networks)) == len(networks)


@pytest.mark.parametrize("case", ["two objectives", "violated"])
def test_what_is_not_to_be_chosen_is_not_trained_again(case):
    """Of two objectives no network is the best one, and one that violates a constraint is none."""
    rng = np.random.default_rng(0)
    two = case == "two objectives"
    constraints = None if two else lambda trial: [1.0]
    sampler = ArchitectureSampler(CELLS, n_startup_trials=90, constraints_func=constraints, seed=0)
    study = optuna.create_study(directions=["maximize"] * (1 + two), sampler=sampler)

    def objective(trial):
        value = cell_value(CELLS.suggest(trial)) + rng.normal()
        return (value, rng.normal()) if two else value

    run(study, 130, objective)
    known = {trial.user_attrs["architecture"] for trial in study.trials[:90]}
    new = [trial.user_attrs["architecture"] for trial in study.trials[90:]]
    assert len(set(new) - known) == len(new)


def test_trainings_that_are_stopped_at_other_steps_do_not_differ_by_chance():
    rng = np.random.default_rng(0)
    study = new_study(ArchitectureSampler(CELLS, n_startup_trials=80, seed=0))

    def objective(trial):
        value = cell_value(CELLS.suggest(trial))
        for step in range(1, 6):
            trial.report(value - 1.0 / step, step)
            if rng.uniform() < 0.3:
                raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=130)
    new = [trial.user_attrs["architecture"] for trial in study.trials[80:]]
    known = {trial.user_attrs["architecture"] for trial in study.trials[:80]}
    assert len(set(new) - known) >= len(new) - 2
