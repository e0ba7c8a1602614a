from __future__ import annotations

import copy
import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler
from optuna.samplers import CmaEsSampler
from optuna.samplers import GPSampler
from optuna.samplers import GridSampler
from optuna.samplers import NSGAIIISampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import PredictedValueSampler
from optuna_perfpred.forecasts import StudyForecast
from tests.pruners import studies as curves


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
@settings(max_examples=60)
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


def test_a_forecast_is_made_once(monkeypatch):
    """As long as the study has learned nothing new: samplers read it several times a trial."""
    asked = []
    forecast = StudyForecast.of
    monkeypatch.setattr(
        StudyForecast, "of", lambda *args: asked.append(len(args[2])) or forecast(*args)
    )
    study = curves.study_with(MedianPruner())
    for x in (0.1, 0.2):
        assert curves.run(study, x) is not None
    twice = look(study, lambda s: [s.get_trials(deepcopy=False)[20:22] for _ in range(2)])
    assert asked == [2]
    assert twice[0] == twice[1]
    assert {trial.state for trial in twice[0]} == {TrialState.COMPLETE}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_trials_that_any_pruner_has_stopped_are_shown_at_forecasts(direction):
    """They have no attributes: what they are worth follows from the completed trials."""
    study = curves.study_with(MedianPruner(), direction)
    sign = 1.0 if direction == "maximize" else -1.0
    xs = (0.05, 0.2, 0.35)
    reached = [curves.run(study, x) for x in xs]
    assert None not in reached
    stored = copy.deepcopy(study.trials)
    assert all(trial.user_attrs == {} for trial in stored)
    shown = look(study, lambda s: s.get_trials(deepcopy=False))[20:23]
    assert {trial.state for trial in shown} == {TrialState.COMPLETE}
    values = [sign * trial.value for trial in shown]
    assert values == sorted(set(values))
    for trial, x in zip(shown, xs, strict=True):
        assert abs(sign * trial.value - x) < 0.15
        assert trial.values == [trial.value]
    # The storage still has what they reported last, and no attributes.
    assert study.trials[:23] == stored


def test_the_forecast_of_a_stopped_trial_changes_as_the_study_learns():
    study = curves.study_with(MedianPruner(), n=6)
    number = len(study.trials)
    assert curves.run(study, 0.05) is not None

    def shown(study):
        return study.get_trials(deepcopy=False)[number].value

    study.sampler = PredictedValueSampler(witness := Witness(shown), n_startup_trials=1)
    study.tell(study.ask(), state=TrialState.FAIL)
    early = witness.shown
    study.tell(study.ask(), state=TrialState.FAIL)
    assert witness.shown == early  # A failed trial teaches nothing.
    curves.add_completed(study, 30)
    study.ask()
    assert witness.shown != early
    assert abs(witness.shown - 0.05) <= abs(early - 0.05) + 0.02


def test_what_an_objective_knew_better_is_a_last_resort():
    """The attribute of a pruned trial is shown only if its curve tells nothing."""
    study = curves.study_with(MedianPruner())
    told = []
    for reported in (0.05, math.nan):
        trial = study.ask(curves.X)
        for step in range(5):
            trial.report(reported, step)
        trial.set_user_attr(PREDICTED, 123.0)
        study.tell(trial, state=TrialState.PRUNED)
        told.append(trial.number)
    by_curve, by_attribute = (look(study, lambda s: s.trials)[number] for number in told)
    assert by_curve.value < 0.9
    assert by_attribute.value == 123.0


def test_where_reports_tell_nothing_of_what_is_returned_trials_stay_pruned():
    study = optuna.create_study(direction="maximize")
    for number in range(20):
        trial = study.ask(curves.X)
        for step, value in enumerate(curves.accuracy_curve(number / 20, seed=number)):
            trial.report(1.0 - value, step)
        study.tell(trial, value)
    stopped = study.ask(curves.X)
    for step in range(5):
        stopped.report(0.9, step)
    study.tell(stopped, state=TrialState.PRUNED)
    assert look(study, lambda s: s.trials)[stopped.number].state == TrialState.PRUNED


def test_the_forecast_is_that_of_the_study_s_pruner():
    """Its feature attributes are used where they are all that tells trials apart."""

    def error(feature_attrs):
        pruner = PerformancePredictionPruner(feature_attrs=feature_attrs, n_startup_trials=999)
        study = optuna.create_study(direction="maximize", pruner=pruner)
        rng = np.random.default_rng(0)
        depths = rng.integers(1, 9, size=50)
        for number, depth in enumerate(depths):
            trial = study.ask()
            trial.set_user_attr("num_layers", int(depth))
            n_steps = curves.N_STEPS if number < 40 else 3
            for step in range(n_steps):
                trial.report(depth * step / curves.N_STEPS + rng.normal(), step)
            if number < 40:
                study.tell(trial, depth * 0.95 + rng.normal())
            else:
                study.tell(trial, state=TrialState.PRUNED)
        shown = look(study, lambda s: s.get_trials(deepcopy=False))[40:50]
        assert {trial.state for trial in shown} == {TrialState.COMPLETE}
        return np.mean([abs(t.value - d) for t, d in zip(shown, depths[40:], strict=True)])

    assert error(("num_layers",)) < error(())


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


def test_stopped_trials_of_each_bracket_are_forecast():
    """Whichever bracket is read first, and however few of its trials have ended."""
    pruner = HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
    # The name decides on the brackets.
    study = optuna.create_study(direction="maximize", pruner=pruner, study_name="brackets")
    study.sampler = PredictedValueSampler(witness := Witness(), n_startup_trials=1)
    seen = set()
    for number in range(60):
        trial = study.ask(curves.X)
        curve = curves.accuracy_curve(number / 60, seed=number)
        n_steps = curves.N_STEPS if number % 3 == 0 else 5
        for step, value in enumerate(curve[:n_steps]):
            trial.report(value, step)
            trial.should_prune()  # At the first report the pruner makes its brackets.
        study.tell(trial, *([value] if number % 3 == 0 else [None, TrialState.PRUNED]))
        if number >= 30:
            seen.add(pruner._get_bracket_id(study, study.trials[number]))
            states = {trial.state for trial in witness.shown}
            assert TrialState.PRUNED not in states or TrialState.COMPLETE not in states
    assert len(seen) > 1


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


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("base", [NSGAIISampler, NSGAIIISampler])
def test_populations_are_made_of_trials_that_were_trained(base):
    class Evolution(base):
        def before_trial(self, study, trial):
            self.shown = study
            super().before_trial(study, trial)

    study = curves.study_with(MedianPruner())
    assert curves.run(study, 0.05) is not None
    study.sampler = PredictedValueSampler(sampler := Evolution(seed=0), n_startup_trials=1)
    study.ask(curves.X)
    assert sampler.shown is study
    assert sampler.shown.trials[20].state == TrialState.PRUNED


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "base",
    [
        None,
        CmaEsSampler(seed=0, n_startup_trials=2),
        GPSampler(seed=0, n_startup_trials=5),
        TPESampler(seed=0, n_startup_trials=5, multivariate=True),
    ],
)
def test_samplers_search_beside_any_pruner(base):
    def objective(trial):
        x, y = (trial.suggest_float(name, -1.0, 1.0) for name in "xy")
        for step in range(12):
            value = (x - 0.3) ** 2 + y**2 + 0.7**step
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study = optuna.create_study(sampler=PredictedValueSampler(base), pruner=MedianPruner())
    study.optimize(objective, n_trials=40)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.best_value < 0.3


def test_the_default_is_the_sampler_that_optuna_has_by_default():
    assert str(PredictedValueSampler()) == "PredictedValueSampler(TPESampler)"
    assert type(optuna.create_study().sampler) is TPESampler


def test_with_several_objectives_trials_that_optuna_stopped_stay_as_they_are():
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.tell(study.ask(), [0.0, 1.0])
    study.tell(study.ask(), state=TrialState.PRUNED)
    shown = look(study, lambda s: s.trials)
    states = [trial.state for trial in shown]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING]


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


@pytest.mark.parametrize("wrong", ["tpe", 5, TPESampler])
def test_what_is_not_a_sampler_is_refused(wrong):
    with pytest.raises(ValueError, match="base_sampler"):
        PredictedValueSampler(wrong)


def test_a_negative_number_of_startup_trials_is_refused():
    with pytest.raises(ValueError, match="n_startup_trials"):
        PredictedValueSampler(RandomSampler(), n_startup_trials=-1)
