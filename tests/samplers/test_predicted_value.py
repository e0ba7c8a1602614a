from __future__ import annotations

import copy
import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import GridSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PredictedValueSampler


PREDICTED = "perfpred:predicted_value"


class Witness(BaseSampler):
    """Keeps what it is shown."""

    def __init__(self, look=None):
        self.look = look or (lambda study: study.get_trials(deepcopy=False))
        self.shown = None
        self.told = []
        self.n_reseeded = 0

    def before_trial(self, study, trial):
        self.shown = self.look(study)

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return param_distribution.to_external_repr(0.0)

    def after_trial(self, study, trial, state, values):
        self.told.append((state, values))

    def reseed_rng(self):
        self.n_reseeded += 1


def ask_for_pruned_trial(study, *, last=1.0, step=3, **attrs):
    trial = study.ask()
    trial.suggest_float("x", -1.0, 1.0)
    if last is not None:
        trial.report(last, step)
    for name, value in attrs.items():
        trial.set_user_attr(f"perfpred:{name}", value)
    return trial


def add_pruned(study, **kwargs):
    trial = ask_for_pruned_trial(study, **kwargs)
    study.tell(trial, state=TrialState.PRUNED)
    return trial.number


def add_completed(study, value=0.5, constraint=None):
    trial = study.ask()
    trial.suggest_float("x", -1.0, 1.0)
    if constraint is not None:
        trial.set_constraint("c", constraint)
    study.tell(trial, value)
    return trial.number


def look(study, what):
    """What the wrapped sampler of a study reads from it."""
    study.sampler = PredictedValueSampler(witness := Witness(what), n_startup_trials=1)
    study.ask()
    return witness.shown


def test_a_pruned_trial_is_shown_as_completed_at_its_predicted_value():
    study = optuna.create_study()
    add_completed(study)
    number = add_pruned(study, predicted_value=0.25, step=3, last=7.0)
    stored = copy.deepcopy(study.trials)
    shown = look(study, lambda s: s.get_trials(deepcopy=False))[number]
    assert (shown.state, shown.value, shown.values) == (TrialState.COMPLETE, 0.25, [0.25])
    for attribute in ("number", "params", "distributions", "intermediate_values", "user_attrs"):
        assert getattr(shown, attribute) == getattr(stored[number], attribute)
    assert shown.datetime_complete == stored[number].datetime_complete
    # For everybody else nothing has changed.
    assert study.trials[: len(stored)] == stored
    assert study.best_value == 0.5


@pytest.mark.parametrize("value", [None, "0.25", math.nan, math.inf, True, [0.25]])
def test_a_trial_without_a_usable_prediction_stays_pruned(value):
    study = optuna.create_study()
    add_completed(study)
    number = add_pruned(study, predicted_value=value, last=7.0)
    shown = look(study, lambda s: s.trials)[number]
    assert (shown.state, shown.value) == (TrialState.PRUNED, 7.0)


def test_a_prediction_of_the_run_that_a_retried_trial_replaces_is_ignored():
    study = optuna.create_study()
    add_completed(study)
    older = add_pruned(study, predicted_value=0.25, step=3, last=1.0)
    assert look(study, lambda s: s.trials)[older].state == TrialState.COMPLETE
    trial = ask_for_pruned_trial(study, predicted_value=0.25, last=1.0, step=3)
    trial.set_user_attr("perfpred:step", 5)
    study.tell(trial, state=TrialState.PRUNED)
    assert look(study, lambda s: s.trials)[trial.number].state == TrialState.PRUNED


def test_a_trial_pruned_before_its_constraints_were_set_stays_pruned():
    study = optuna.create_study()
    add_completed(study, constraint=-1.0)
    without = add_pruned(study, predicted_value=0.25)
    trial = ask_for_pruned_trial(study, predicted_value=0.25)
    trial.set_constraint("c", 1.0)
    study.tell(trial, state=TrialState.PRUNED)
    shown = look(study, lambda s: s.trials)
    assert shown[without].state == TrialState.PRUNED
    assert shown[trial.number].state == TrialState.COMPLETE
    assert shown[trial.number].constraints == {"c": 1.0}


@given(
    kinds=st.lists(
        st.sampled_from(["complete", "predicted", "pruned", "fail", "run"]), max_size=8
    ),
    states=st.none() | st.sets(st.sampled_from(list(TrialState))),
)
@settings(max_examples=60, deadline=None)
def test_all_ways_to_read_trials_agree(kinds, states):
    study = optuna.create_study()
    expected = []
    for kind in kinds:
        state = TrialState.PRUNED
        if kind == "complete":
            add_completed(study)
            state = TrialState.COMPLETE
        elif kind == "predicted":
            add_pruned(study, predicted_value=0.25)
            state = TrialState.COMPLETE if "complete" in kinds else TrialState.PRUNED
        elif kind == "pruned":
            add_pruned(study)
        else:
            trial = study.ask()
            state = TrialState.RUNNING
            if kind == "fail":
                study.tell(trial, state=TrialState.FAIL)
                state = TrialState.FAIL
        expected.append(state)
    expected.append(TrialState.RUNNING)  # The one that is asked for.
    if states is None:
        in_states = list(enumerate(expected))
    else:
        in_states = [(n, state) for n, state in enumerate(expected) if state in states]

    def read(shown):
        return (
            shown.get_trials(deepcopy=True, states=states),
            shown.get_trials(deepcopy=False, states=states),
            shown._get_trials(deepcopy=False, states=states, use_cache=True),
            shown._get_trials(deepcopy=True, states=states, use_cache=False),
        )

    for trials in look(study, read):
        assert [(trial.number, trial.state) for trial in trials] == in_states


def test_nothing_is_shown_as_finished_before_enough_trials_are():
    study = optuna.create_study(sampler=PredictedValueSampler(witness := Witness()))
    number = add_pruned(study, predicted_value=0.25)
    for n_completed in range(7):
        study.tell(study.ask(), state=TrialState.FAIL)
        shown = witness.shown[number].state
        assert shown == (TrialState.COMPLETE if n_completed >= 5 else TrialState.PRUNED)
        add_completed(study)


def test_a_finish_is_made_once():
    study = optuna.create_study()
    add_completed(study)
    number = add_pruned(study, predicted_value=0.25)
    twice = look(study, lambda s: [s.get_trials(deepcopy=False)[number] for _ in range(2)])
    assert twice[0] is twice[1]


def test_what_is_copied_may_be_changed():
    study = optuna.create_study()
    add_completed(study)
    number = add_pruned(study, predicted_value=0.25)

    def spoil(shown):
        shown.trials[number].user_attrs.clear()
        return shown.trials[number]

    assert look(study, spoil).user_attrs[PREDICTED] == 0.25
    assert study.trials[number].user_attrs[PREDICTED] == 0.25


def test_all_else_is_the_study_itself():
    study = optuna.create_study(direction="maximize", study_name="mine")
    study.set_user_attr("a", 1)
    add_completed(study)
    add_pruned(study, predicted_value=0.25)
    names = ("study_name", "direction", "directions", "user_attrs", "best_value", "pruner")
    shown = look(study, lambda s: s)
    assert isinstance(shown, optuna.Study)
    for name in names:
        assert getattr(shown, name) == getattr(study, name)
    shown.set_user_attr("a", 2)
    assert study.user_attrs == {"a": 2}
    with pytest.raises(AttributeError, match="no_such"):
        _ = shown.no_such


def test_a_sampler_stops_the_study_itself():
    sampler = GridSampler({"x": [0.0, 0.5]})
    study = optuna.create_study(sampler=PredictedValueSampler(sampler))
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1), n_trials=20)
    assert len(study.trials) == 2


def test_a_sampler_is_told_how_a_trial_ends_as_it_is():
    study = optuna.create_study(
        sampler=PredictedValueSampler(witness := Witness(), n_startup_trials=1)
    )
    add_completed(study)
    add_pruned(study, predicted_value=0.25, last=1.0)
    assert witness.told == [
        (TrialState.COMPLETE, [0.5]),
        (TrialState.PRUNED, [1.0]),
    ]


def test_brackets_of_hyperband_stay_apart():
    pruner = HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
    study = optuna.create_study(pruner=pruner)
    trial = ask_for_pruned_trial(study, step=1)
    trial.should_prune()  # At the first report the pruner makes its brackets.
    study.tell(trial, state=TrialState.FAIL)
    for _ in range(30):
        add_completed(study)
        add_pruned(study, predicted_value=0.25)
    study.sampler = PredictedValueSampler(witness := Witness(), n_startup_trials=1)
    number = study.ask().number
    mine = pruner._get_bracket_id(study, study.trials[number])
    assert {pruner._get_bracket_id(study, trial) for trial in witness.shown} == {mine}
    assert TrialState.PRUNED not in {trial.state for trial in witness.shown}
    assert 0 < len(witness.shown) < number


def test_several_studies_share_a_sampler():
    sampler = PredictedValueSampler(witness := Witness(), n_startup_trials=1)
    for value in (0.25, 0.125):
        study = optuna.create_study(sampler=sampler)
        add_completed(study)
        number = add_pruned(study, predicted_value=value)
        study.ask()
        assert witness.shown[number].value == value


def test_the_gp_learns_from_pruned_trials():
    def search(wrap):
        base = GPSampler(seed=0, n_startup_trials=5)
        study = optuna.create_study(sampler=wrap(base))
        add_completed(study, value=0.25)
        for x in (-0.9, -0.5, -0.1, 0.1, 0.3, 0.6, 0.7, 0.8, 0.9):
            study.enqueue_trial({"x": x})
            add_pruned(study, predicted_value=(x - 0.5) ** 2)
        trial = study.ask()
        trial.suggest_float("x", -1.0, 1.0)
        return trial.relative_params

    found = search(lambda base: PredictedValueSampler(base, n_startup_trials=1))
    assert abs(found["x"] - 0.5) < 0.1
    # One completed trial alone is too few for it to begin.
    assert search(lambda base: base) == {}


def test_with_several_objectives_the_sampler_is_on_its_own():
    study = optuna.create_study(directions=["minimize", "maximize"])
    shown = look(study, lambda s: s)
    assert shown is study


def test_in_a_database(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    add_completed(study)
    number = add_pruned(study, predicted_value=0.25)
    reloaded = optuna.load_study(study_name=study.study_name, storage=study._storage)
    assert look(reloaded, lambda s: s.trials)[number].value == 0.25
    assert study.trials[number].state == TrialState.PRUNED


def test_reseeding_is_passed_on():
    sampler = PredictedValueSampler(witness := Witness(), n_startup_trials=1)
    sampler.reseed_rng()
    assert witness.n_reseeded == 1


@pytest.mark.parametrize("wrong", [None, "tpe", TPESampler])
def test_what_is_not_a_sampler_is_refused(wrong):
    with pytest.raises(ValueError, match="base_sampler"):
        PredictedValueSampler(wrong)


def test_a_negative_number_of_startup_trials_is_refused():
    with pytest.raises(ValueError, match="n_startup_trials"):
        PredictedValueSampler(RandomSampler(), n_startup_trials=-1)
