from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import optuna
import pytest
from sklearn.base import clone

from optuna_perfpred import ParametricEnsemble
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.predictors._curve_families import FAMILIES


T = 20
STEPS = np.arange(1.0, T + 1)
# As in table 1 of the paper, with parameters that make a curve rise from about 0.2 to 0.8.
CURVES = {
    "vap": np.exp(-0.4 - 1.2 / STEPS + 0.06 * np.log(STEPS)),
    "pow3": 0.9 - 0.7 * STEPS**-0.6,
    "loglog_linear": np.log(0.35 * np.log(STEPS) + 1.2),
    "hill3": 0.85 * STEPS**1.2 / (3.0**1.2 + STEPS**1.2),
    "log_power": 0.85 / (1.0 + (STEPS / np.exp(1.2)) ** -1.1),
    "pow4": 0.95 - (0.8 * STEPS + 0.7) ** -0.7,
    "mmf": 0.85 - (0.85 - 0.15) / (1.0 + (0.3 * STEPS) ** 1.4),
    "exp4": 0.8 - np.exp(-0.5 * STEPS**0.7 - 0.2),
    "janoschek": 0.8 - (0.8 - 0.1) * np.exp(-0.3 * STEPS**0.8),
    "weibull": 0.8 - (0.8 - 0.1) * np.exp(-((0.25 * STEPS) ** 0.9)),
    "ilog2": 0.95 - 0.5 / np.log(STEPS + 1.0),
}
# The same parameters, as the families take them.
PARAMETERS = {
    "vap": (-0.4, -1.2, 0.06),
    "pow3": (0.9, 0.7, np.log(0.6)),
    "loglog_linear": (0.35, 1.2),
    "hill3": (0.85, np.log(1.2), np.log(3.0)),
    "log_power": (0.85, 1.2, -1.1),
    "pow4": (0.95, np.log(0.8), 0.7, np.log(0.7)),
    "mmf": (0.85, 0.85 - 0.15, np.log(0.3), np.log(1.4)),
    "exp4": (0.8, np.log(0.5), -0.2, np.log(0.7)),
    "janoschek": (0.8, 0.8 - 0.1, np.log(0.3), np.log(0.8)),
    "weibull": (0.8, 0.8 - 0.1, np.log(0.25), np.log(0.9)),
    "ilog2": (0.95, 0.5),
}


def quick(**kwargs):
    return ParametricEnsemble(**({"n_steps": 120, "n_burn_in": 60} | kwargs))


def fitted(predictor=None, curves=None):
    curves = np.stack(list(CURVES.values())) if curves is None else curves
    predictor = quick() if predictor is None else predictor
    return predictor.fit(np.empty((len(curves), 0)), curves, curves[:, -1])


def forecast(predictor, *rows):
    return predictor.predict(np.empty((len(rows), 0)), np.array(rows))


def seen_until(curve, length):
    return np.where(length >= STEPS, curve, np.nan)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_families_are_the_published_ones_and_rise(family):
    log_steps = np.log(STEPS)
    parameters = np.array(PARAMETERS[family.name])
    assert ((family.lower < parameters) & (parameters < family.upper)).all()
    assert family.formula(STEPS, log_steps, *parameters) == pytest.approx(CURVES[family.name])
    draws = np.random.default_rng(0).uniform(family.lower, family.upper, (200, len(parameters)))
    with np.errstate(over="ignore"):
        curves = family.formula(STEPS, log_steps, *draws.T[:, :, np.newaxis])
    assert curves.shape == (200, T)
    assert np.diff(curves, axis=1).min() >= -1e-9


def test_there_is_a_curve_of_each_family():
    assert [family.name for family in FAMILIES] == list(CURVES)


def test_a_curve_of_each_family_is_recovered():
    noise = 0.005 * np.random.default_rng(0).standard_normal(T)
    forecasts = forecast(
        fitted(), *(seen_until(curve + noise, T // 2) for curve in CURVES.values())
    )
    ends = np.array([curve[-1] for curve in CURVES.values()])
    low, high = forecasts.interval(0.95)
    outside = (ends < low) | (ends > high)
    assert [name for name, out in zip(CURVES, outside, strict=True) if out] == []
    errors = np.abs(forecasts.mean - ends)
    assert np.median(errors) < 0.025
    # The double logarithm goes on rising.
    assert errors.max() < 0.06
    assert (high - low).max() < 0.3


def draw_from_prior(rng):
    """Curves of the model itself, with parameters between the bounds of the prior."""
    while True:
        weights = rng.uniform(size=len(FAMILIES))
        curve = np.zeros(T)
        for family, weight in zip(FAMILIES, weights / weights.sum(), strict=True):
            with np.errstate(all="ignore"):
                curve += weight * family.formula(
                    STEPS, np.log(STEPS), *rng.uniform(family.lower, family.upper)
                )
        if 0.0 <= curve[-1] <= 1.5:
            return curve + np.exp(rng.normal(-4.0, 1.0)) * rng.standard_normal(T)


def test_the_interval_holds_the_final_value_as_often_as_it_says():
    rng = np.random.default_rng(0)
    curves = np.array([draw_from_prior(rng) for _ in range(40)])
    # Two curves that give the values the range for which the prior is meant.
    scale = np.array([np.full(T, 0.1), np.full(T, 0.9)])
    forecasts = forecast(fitted(curves=scale), *(seen_until(curve, T // 2) for curve in curves))
    low, high = forecasts.interval(0.9)
    inside = (low <= curves[:, -1]) & (curves[:, -1] <= high)
    assert 0.85 <= inside.mean() <= 0.95
    # Bounds as wide as the prior would also hold them.
    assert np.median(forecasts.std) < 0.5 * curves[:, -1].std()


def test_losses_are_forecast_as_well_as_accuracies():
    accuracies = np.stack(list(CURVES.values()))
    partial = seen_until(CURVES["pow3"], 10)
    [accuracy] = forecast(fitted(), partial).mean
    # A perplexity of 500 at an accuracy of 0, of 100 at 1.
    [loss] = forecast(fitted(curves=400.0 * accuracies - 500.0), 400.0 * partial - 500.0).mean
    assert loss == pytest.approx(400.0 * accuracy - 500.0, abs=4.0)


def test_a_diverged_training_curve_hardly_changes_the_forecast():
    curves = np.stack(list(CURVES.values()))
    diverged = np.vstack([curves, np.full(T, -1e4)])
    partial = seen_until(CURVES["hill3"], 10)
    [without] = forecast(fitted(), partial).mean
    [with_it] = forecast(fitted(curves=diverged), partial).mean
    assert with_it == pytest.approx(without, abs=0.02)


def test_a_diverging_curve_is_forecast_to_end_far_below():
    huge = seen_until(-1e4 * np.linspace(0.5, 1.5, T), 10)
    recovered = seen_until(np.where(STEPS == 1, -1e4, CURVES["pow3"]), 10)
    forecasts = forecast(fitted(), huge, recovered)
    assert forecasts.mean[0] < -3e3
    assert forecasts.mean[1] == pytest.approx(CURVES["pow3"][-1], abs=0.1)
    assert forecasts.probability_of_beating(0.5)[0] < 0.01


def test_a_constant_curve_stays_where_it_is():
    constant = np.full((5, T), 0.5)
    [mean] = forecast(fitted(), seen_until(constant[0], 10)).mean
    assert mean == pytest.approx(0.5, abs=0.05)
    forecasts = forecast(fitted(curves=constant), seen_until(constant[0], 10))
    assert forecasts.mean[0] == pytest.approx(0.5, abs=0.05)
    assert 0.0 < forecasts.std[0] < 0.1


def test_fewer_than_three_values_give_no_forecast():
    curve = CURVES["pow3"]
    two = np.where((STEPS == 2) | (STEPS == 9), curve, np.nan)
    forecasts = forecast(fitted(), np.full(T, np.nan), two, seen_until(curve, 3))
    assert np.isnan(forecasts.mean).tolist() == [True, True, False]
    assert np.isnan(forecasts.std).tolist() == [True, True, False]


@pytest.mark.filterwarnings("error")
def test_odd_training_curves_are_no_error():
    shortest = {"n_steps": 4, "n_burn_in": 2}
    partial = seen_until(CURVES["pow3"], 10)
    assert np.isnan(forecast(fitted(quick(**shortest), np.empty((0, T))), partial).mean).all()
    for curves in (
        CURVES["pow3"][np.newaxis],
        np.zeros((3, T)),
        np.array([CURVES["vap"], np.append(np.full(T - 1, np.nan), 0.5)]),
    ):
        assert np.isfinite(forecast(fitted(quick(**shortest), curves), partial).std).all()
    largest = np.finfo(float).max * np.where(STEPS % 2 == 0, 1.0, -1.0)
    fitted(quick(**shortest), np.array([largest, CURVES["vap"]]))
    forecast(fitted(quick(**shortest)), largest, -largest, np.full(T, 1e-320))


def test_skipped_steps_are_left_out_of_the_likelihood():
    curve = seen_until(CURVES["janoschek"], 12)
    gappy = np.where(STEPS % 3 == 0, curve, np.nan)
    # The same values without the gaps, as if of successive steps, end lower: 12 is not 4.
    dense = np.full(T, np.nan)
    dense[:4] = gappy[~np.isnan(gappy)]
    forecasts = forecast(fitted(), gappy, dense)
    assert forecasts.mean[0] == pytest.approx(CURVES["janoschek"][-1], abs=0.05)
    assert abs(forecasts.mean[0] - forecasts.mean[1]) > 0.01


def test_no_rows_give_no_forecasts():
    assert fitted().predict(np.empty((0, 0)), np.empty((0, T))).mean.shape == (0,)


def test_equal_seeds_give_equal_forecasts_and_other_generators_are_left_alone():
    partial = seen_until(CURVES["pow3"], 10)
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = forecast(fitted(), partial)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    # Neither the other rows nor the number of processes matter.
    second = forecast(fitted(quick(n_jobs=2)), seen_until(CURVES["vap"], 5), partial)
    other = forecast(fitted(quick(seed=1)), partial)
    assert (second.mean[1], second.std[1]) == (first.mean[0], first.std[0])
    assert other.mean[0] != first.mean[0]


def test_a_fitted_predictor_is_pickled_and_cloned():
    predictor = fitted(quick(n_walkers=98, seed=3))
    partial = seen_until(CURVES["pow3"], 5)
    expected = forecast(predictor, partial).mean
    copy = pickle.loads(pickle.dumps(predictor))
    assert forecast(copy, partial).mean == expected
    assert clone(predictor).get_params() == predictor.get_params()


def test_the_pruner_stops_curves_that_end_low():
    def objective(trial):
        end = [0.9, 0.3][trial.number % 2] + 0.001 * trial.number
        for step in range(1, 7):
            value = end * (1.0 - 0.5 / step)
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    pruner = PerformancePredictionPruner(
        quick(n_steps=60, n_burn_in=30),
        n_startup_trials=4,
        n_warmup_steps=3,
        confidence=0.9,
        top_n=1,
    )
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.optimize(objective, n_trials=6)
    pruned = [trial.number for trial in study.trials if trial.state.name == "PRUNED"]
    assert pruned == [5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_walkers": 95}, "`n_walkers` must be an integer of at least 96, but got 95"),
        ({"n_steps": 0}, "`n_steps` must be an integer of at least 1, but got 0"),
        ({"n_burn_in": -1}, "`n_burn_in` must be an integer of at least 0, but got -1"),
        ({"n_steps": 9, "n_burn_in": 9}, "n_burn_in=9 and n_steps=9"),
        ({"seed": -1}, "`seed` must be an integer of at least 0, but got -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ParametricEnsemble(**arguments)


def test_missing_emcee_is_told_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "emcee", None)
    with pytest.raises(ImportError, match=r'pip install "optuna_perfpred\[mcmc\]"'):
        ParametricEnsemble()


def test_the_package_does_not_import_emcee():
    code = "import sys, optuna_perfpred; sys.exit('emcee' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
