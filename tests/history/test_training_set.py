from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.trial import create_trial
import pytest

from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.history import read_record
from optuna_perfpred.history import TrainingSet


def records_of(*curves, values=None):
    study = optuna.create_study()
    for index, curve in enumerate(curves):
        value = index if values is None else values[index]
        study.add_trial(create_trial(value=value, intermediate_values=curve))
    return [read_record(trial) for trial in study.trials]


def test_columns_are_the_steps_of_all_trials_with_gaps_interpolated():
    records = records_of({0: 0.0, 10: 1.0}, {5: 2.0, 20: 5.0})
    training_set = TrainingSet(records, sign=1.0)
    assert training_set.steps.tolist() == [0, 5, 10, 20]
    nan = math.nan
    np.testing.assert_array_equal(
        training_set.curves, [[0.0, 0.5, 1.0, nan], [nan, 2.0, 3.0, 5.0]]
    )


def test_order_of_reporting_does_not_matter():
    [shuffled] = TrainingSet(records_of({3: 0.3, 1: 0.1, 2: 0.2}), sign=1.0).curves
    assert shuffled.tolist() == [0.1, 0.2, 0.3]


def test_values_of_a_minimizing_study_are_negated():
    training_set = TrainingSet(records_of({0: 1.0}, {0: 2.0}, values=[3.0, 4.0]), sign=-1.0)
    assert training_set.curves.tolist() == [[-1.0], [-2.0]]
    assert training_set.finals.tolist() == [-3.0, -4.0]


def test_nan_is_not_reported_and_infinity_is_the_worst_or_best_known():
    records = records_of(
        {0: 1.0, 1: math.nan, 2: 3.0}, {0: math.inf, 2: -math.inf}, values=[3.0, math.inf]
    )
    training_set = TrainingSet(records, sign=1.0)
    assert training_set.steps.tolist() == [0, 2]
    assert training_set.curves.tolist() == [[1.0, 3.0], [3.0, 1.0]]
    assert training_set.finals.tolist() == [3.0, 3.0]


def test_a_better_value_than_any_before_is_kept():
    training_set = TrainingSet(records_of({0: 1.0, 1: 2.0}), sign=1.0)
    _, curve = training_set.encode([({}, np.array([0]), np.array([100.0]))])
    assert curve[0, 0] == 100.0


def test_curve_with_nothing_but_nan_stays_nan():
    training_set = TrainingSet(records_of({0: 1.0}, {0: math.nan}), sign=1.0)
    assert math.isnan(training_set.curves[1, 0])


def test_trials_without_reports_give_no_columns():
    assert TrainingSet(records_of({}, {}), sign=1.0).curves.shape == (2, 0)


def test_long_curves_are_read_at_a_hundred_steps_that_span_them():
    training_set = TrainingSet(records_of({step: float(step) for step in range(5000)}), sign=1.0)
    assert len(training_set.steps) == 100
    assert training_set.steps[[0, -1]].tolist() == [0, 4999]
    assert training_set.curves[0].tolist() == training_set.steps.tolist()


def test_horizon_ends_the_curves():
    records = records_of({0: 0.0, 5: 0.5, 20: 2.0})
    training_set = TrainingSet(records, sign=1.0, horizon=10)
    assert training_set.steps.tolist() == [0, 5, 10]
    assert training_set.curves[0].tolist() == [0.0, 0.5, 1.0]


def suggest(params, **attrs):
    """Run one trial that suggests parameters by (method, arguments)."""
    study = optuna.create_study()
    trial = study.ask()
    for name, (method, args, kwargs) in params.items():
        getattr(trial, f"suggest_{method}")(name, *args, **kwargs)
    for name, value in attrs.items():
        trial.set_user_attr(name, value)
    study.tell(trial, 0.0)
    return study.trials[0]


def encode(trials, feature_attrs=(), new=()):
    records = [read_record(trial, feature_attrs) for trial in trials]
    training_set = TrainingSet(records, sign=1.0)
    rows, _ = training_set.encode(
        [(read_configuration(trial, feature_attrs), *read_curve(trial)) for trial in new]
    )
    return training_set.configurations, rows


def fixed(name, distribution, value):
    return create_trial(value=0.0, params={name: value}, distributions={name: distribution})


def test_log_parameters_are_encoded_as_logarithms():
    log = optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)
    matrix, _ = encode([fixed("lr", log, 10.0**-k) for k in range(4)])
    np.testing.assert_allclose(np.diff(matrix[:, 0]), -math.log(10.0))


def test_integers_and_stepped_floats_keep_their_value():
    integer = optuna.distributions.IntDistribution(1, 9, step=2)
    matrix, _ = encode([fixed("n", integer, 1), fixed("n", integer, 7)])
    assert matrix[:, 0].tolist() == [1.0, 7.0]


def test_choices_are_one_hot_and_unseen_ones_are_tolerated():
    choices = optuna.distributions.CategoricalDistribution(["a", None, 1.5, True])
    matrix, new = encode(
        [fixed("c", choices, "a"), fixed("c", choices, None)], new=[fixed("c", choices, True)]
    )
    assert sorted(matrix.tolist()) == [[0.0, 1.0], [1.0, 0.0]]
    assert new.tolist() == [[0.0, 0.0]]


def test_absent_parameters_take_the_mean_and_are_marked():
    uniform = optuna.distributions.FloatDistribution(0.0, 10.0)
    trials = [fixed("x", uniform, 2.0), fixed("x", uniform, 4.0), create_trial(value=0.0)]
    matrix, _ = encode(trials)
    assert matrix.tolist() == [[2.0, 0.0], [4.0, 0.0], [3.0, 1.0]]


def test_a_parameter_that_only_the_new_trial_has_is_ignored():
    uniform = optuna.distributions.FloatDistribution(0.0, 10.0)
    matrix, new = encode(
        [fixed("x", uniform, 2.0), fixed("x", uniform, 4.0)], new=[fixed("renamed", uniform, 9.0)]
    )
    assert matrix.tolist() == [[2.0], [4.0]]
    assert new.tolist() == [[3.0]]


def test_one_name_with_two_kinds_of_distribution_is_two_features():
    number = fixed("x", optuna.distributions.FloatDistribution(0.0, 1.0), 0.5)
    choice = fixed("x", optuna.distributions.CategoricalDistribution(["a"]), "a")
    logarithm = fixed("x", optuna.distributions.FloatDistribution(0.1, 1.0, log=True), 1.0)
    matrix, _ = encode([number, choice, logarithm])
    assert np.isfinite(matrix).all()
    assert len(np.unique(matrix, axis=0)) == 3


def test_attributes_are_features_when_named():
    trials = [suggest({}, num_weights=10.0**k, kind="conv", shuffle=True) for k in range(4)]
    assert encode(trials)[0].shape == (4, 0)
    matrix, _ = encode(trials, ["num_weights"])
    np.testing.assert_allclose(np.diff(matrix[:, 0]), math.log(10.0))
    matrix, new = encode(
        [suggest({}, kind="conv", n=3), suggest({}, kind="dense", n=4)],
        ["kind", "n", "missing"],
        new=[suggest({}, kind=["no", "scalar"], n=10**400)],
    )
    assert matrix.shape == (2, 3)
    assert np.isfinite(new).all()


@given(
    curves=st.lists(
        st.dictionaries(st.integers(0, 10**6), st.floats(), max_size=8), min_size=1, max_size=6
    ),
    sign=st.sampled_from([-1.0, 1.0]),
    horizon=st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_any_curves_give_finite_arrays_with_nan_only_where_unreported(curves, sign, horizon):
    training_set = TrainingSet(records_of(*curves), sign=sign, horizon=horizon)
    assert not np.isinf(training_set.curves).any()
    assert np.isfinite(training_set.finals).all()
    assert (np.diff(training_set.steps) > 0).all()
    for row in np.isnan(training_set.curves):
        known = np.flatnonzero(~row)
        assert len(known) == 0 or not row[known[0] : known[-1]].any()


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_study_is_read_the_same_in_whatever_order_its_trials_complete(n_jobs):
    study = optuna.create_study()

    def objective(trial):
        trial.report(trial.suggest_float("x", 0.0, 1.0), 0)
        return trial.number

    study.optimize(objective, n_trials=12, n_jobs=n_jobs)
    training_set = TrainingSet([read_record(t) for t in study.trials], sign=1.0)
    assert sorted(training_set.finals.tolist()) == list(range(12))
