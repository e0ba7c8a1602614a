from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import math
import pickle

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.model_selection import LeaveOneOut

from optuna_perfpred import SequentialRegression
from optuna_perfpred.predictors._regressors import fit_kernel_ridge
from optuna_perfpred.predictors._regressors import fit_ols
from optuna_perfpred.predictors._regressors import fit_rbf_kernel_ridge
from optuna_perfpred.predictors._regressors import fit_ridge
from optuna_perfpred.predictors._regressors import fit_stack
from optuna_perfpred.predictors._regressors import REGRESSORS


T = 20
UNPUBLISHED = ("kernel_ridge", "stacked")
VARIANTS = [
    *((regressor, False) for regressor in REGRESSORS),
    *((regressor, True) for regressor in REGRESSORS if regressor not in UNPUBLISHED),
]


def make_trials(n, seed=0, noise=0.005):
    """Curves whose end depends on the configuration and shows in them only gradually."""
    rng = np.random.default_rng(seed)
    configurations = rng.uniform(size=(n, 2))
    ends = 0.5 + 0.3 * configurations[:, 0] - 0.2 * (configurations[:, 1] - 0.4) ** 2
    rates = rng.uniform(0.7, 0.95, size=n)
    progress = 1.0 - rates[:, np.newaxis] ** np.arange(1, T + 1)
    curves = ends[:, np.newaxis] * progress + noise * rng.normal(size=(n, T))
    return configurations, curves, curves[:, -1].copy()


def seen_until(curves, length):
    partial = curves.copy()
    partial[:, length:] = np.nan
    return partial


def mean_error(predictor, length=5):
    configurations, curves, finals = make_trials(100, seed=1)
    forecast = predictor.predict(configurations, seen_until(curves, length))
    return np.abs(forecast.mean - finals).mean()


def predictor_of(regressor, **kwargs):
    n_iter = {"nu_svr_linear": 10, "nu_svr_rbf": 20, "random_forest": 2}.get(regressor)
    return SequentialRegression(regressor, n_iter=n_iter, **kwargs)


@pytest.mark.parametrize(("regressor", "published"), VARIANTS)
def test_regressions_beat_the_last_seen_value(regressor, published):
    predictor = predictor_of(regressor, published=published).fit(*make_trials(60))
    _, curves, finals = make_trials(100, seed=1)
    assert mean_error(predictor) < 0.5 * np.abs(curves[:, 4] - finals).mean()


@pytest.mark.parametrize(("regressor", "published"), VARIANTS)
def test_standard_error_is_the_size_of_the_errors(regressor, published):
    predictor = predictor_of(regressor, published=published).fit(*make_trials(60))
    configurations, curves, finals = make_trials(300, seed=2)
    forecast = predictor.predict(configurations, seen_until(curves, 5))
    error = np.sqrt(np.mean((forecast.mean - finals) ** 2))
    assert 0.5 * error < forecast.std[0] < 2.0 * error


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_equal_seeds_give_equal_forecasts(regressor):
    configurations, curves, finals = make_trials(40)
    forecasts = [
        predictor_of(regressor, seed=3)
        .fit(configurations, curves, finals)
        .predict(configurations, seen_until(curves, 4))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(forecasts[0].mean, forecasts[1].mean)
    np.testing.assert_array_equal(forecasts[0].std, forecasts[1].std)


def linear_data():
    configurations, curves, finals = make_trials(30)
    return np.hstack([configurations, curves[:, :5]]), finals - finals.mean()


def test_leave_one_out_of_least_squares_equals_refits():
    X, y = linear_data()
    _, residuals = fit_ols(X, y, squarable=np.zeros(X.shape[1], dtype=bool))
    refitted = cross_val_predict(LinearRegression(), X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(residuals, y - refitted, rtol=1e-3)


def test_leave_one_out_of_ridge_equals_refits():
    X, y = linear_data()
    model, residuals = fit_ridge(X, y, squarable=np.zeros(X.shape[1], dtype=bool))
    refitted = cross_val_predict(Ridge(alpha=model["ridge"].alpha_), X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(residuals, y - refitted, rtol=1e-6)


def test_leave_one_out_of_kernel_ridge_equals_refits():
    X, y = linear_data()
    model, residuals = fit_kernel_ridge(X, y, seed=0)
    refitted = cross_val_predict(clone(model), X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(residuals, y - refitted, atol=1e-9)


def test_an_importance_below_zero_by_rounding_is_none():
    X, y = linear_data()
    importances = np.full(X.shape[1], 0.2)
    importances[-1] = -1e-18
    model, residuals = fit_rbf_kernel_ridge(X, y, importances, seed=0)
    assert np.isfinite(residuals).all()
    changed = X.copy()
    changed[:, -1] += 1.0
    weights = model["featureweights"].set_params(exponent=0.5).fit(X)
    np.testing.assert_array_equal(weights.transform(changed), weights.transform(X))


def test_a_member_that_is_wrong_gets_hardly_any_weight():
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    residuals = [0.1 * rng.normal(size=60), 0.1 * rng.normal(size=60), 3.0 * rng.normal(size=60)]
    stack, together = fit_stack([(None, r) for r in residuals], y)
    assert stack.weights.sum() == pytest.approx(1.0)
    assert (stack.weights >= 0.0).all()
    assert stack.weights[2] < 0.05
    assert np.std(together) < 0.09


def test_rows_of_different_length_are_forecast_together():
    configurations, curves, finals = make_trials(40)
    predictor = SequentialRegression().fit(configurations, curves, finals)
    mixed = np.vstack([seen_until(curves[:1], length) for length in (0, 1, 7, T)])
    together = predictor.predict(np.repeat(configurations[:1], 4, axis=0), mixed)
    assert np.isnan(together.mean[0])
    for row in (1, 2, 3):
        alone = predictor.predict(configurations[:1], mixed[row : row + 1])
        assert together.mean[row] == pytest.approx(alone.mean[0])
        assert together.std[row] == pytest.approx(alone.std[0])


def test_training_curves_that_ended_early_teach_only_what_they_saw():
    predictor = SequentialRegression()
    configurations, curves, finals = make_trials(40)
    shorter = curves.copy()
    shorter[20:, 10:] = np.nan
    until_5 = seen_until(curves, 5)
    until_15 = seen_until(curves, 15)
    mixed = clone(predictor).fit(configurations, shorter, finals)
    whole = clone(predictor).fit(configurations, curves, finals)
    long_only = clone(predictor).fit(configurations[:20], curves[:20], finals[:20])
    for expected, partial in ((whole, until_5), (long_only, until_15)):
        np.testing.assert_allclose(
            mixed.predict(configurations, partial).std,
            expected.predict(configurations, partial).std,
        )


def test_too_few_training_curves_give_no_forecast():
    configurations, curves, finals = make_trials(10)
    curves[4:, 10:] = np.nan
    predictor = SequentialRegression().fit(configurations, curves, finals)
    assert np.isfinite(predictor.predict(configurations, seen_until(curves, 10)).mean).all()
    assert np.isnan(predictor.predict(configurations[:4], curves[:4]).mean).all()


def test_skipped_steps_are_interpolated():
    configurations, curves, finals = make_trials(40, noise=0.0)
    gappy = curves.copy()
    gappy[::2, 3] = np.nan
    forecasts = [
        SequentialRegression().fit(configurations, c, finals).predict(configurations, c)
        for c in (curves, gappy)
    ]
    np.testing.assert_allclose(forecasts[0].mean, forecasts[1].mean, atol=0.01)


def test_the_value_returned_is_learned_even_if_it_is_not_the_last_reported():
    """An objective may return the best value of a curve that falls at its end."""
    configurations, curves, _ = make_trials(60)
    curves[:, -5:] -= 0.3
    finals = curves.max(axis=1)
    predictor = SequentialRegression().fit(configurations, curves, finals)
    forecast = predictor.predict(configurations, seen_until(curves, 15))
    assert np.abs(forecast.mean - finals).mean() < 0.02


def test_one_diverged_curve_hardly_changes_the_other_forecasts():
    configurations, curves, finals = make_trials(60)
    before = mean_error(SequentialRegression().fit(configurations, curves, finals))
    curves[0, 3:] = -1e30
    finals[0] = -1e30
    after = mean_error(SequentialRegression().fit(configurations, curves, finals))
    assert after < 2.0 * before


def test_a_perplexity_beyond_the_training_curves_is_carried_on():
    configurations, curves, finals = make_trials(60)
    predictor = predictor_of("nu_svr_rbf").fit(configurations, -100 * curves, -100 * finals)
    outlier = np.full((1, T), np.nan)
    outlier[0, :5] = [-900.0, -850.0, -800.0, -790.0, -785.0]
    assert predictor.predict(configurations[:1], outlier).mean[0] < -500.0


def test_threads_get_the_forecasts_of_one_thread():
    configurations, curves, finals = make_trials(40)
    partials = [seen_until(curves, length) for length in range(1, T)] * 3
    alone = SequentialRegression().fit(configurations, curves, finals)
    shared = SequentialRegression().fit(configurations, curves, finals)
    with ThreadPoolExecutor(6) as pool:
        forecasts = list(pool.map(lambda p: shared.predict(configurations, p), partials))
    for partial, forecast in zip(partials, forecasts, strict=True):
        np.testing.assert_array_equal(alone.predict(configurations, partial).mean, forecast.mean)


def test_a_fitted_predictor_is_pickled():
    configurations, curves, finals = make_trials(40)
    predictor = SequentialRegression().fit(configurations, curves, finals)
    partial = seen_until(curves, 5)
    expected = predictor.predict(configurations, partial).mean
    restored = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(restored.predict(configurations, partial).mean, expected)
    np.testing.assert_array_equal(
        restored.predict(configurations, seen_until(curves, 6)).mean,
        predictor.predict(configurations, seen_until(curves, 6)).mean,
    )


def test_long_histories_are_sampled():
    configurations, curves, finals = make_trials(300)
    means = []
    for max_curves in (50, 300):
        predictor = SequentialRegression("ridge", max_curves=max_curves)
        predictor.fit(configurations, curves, finals)
        assert mean_error(predictor) < 0.02
        means.append(predictor.predict(configurations, seen_until(curves, 5)).mean)
    assert not np.array_equal(*means)


@pytest.mark.parametrize("regressor", ["stacked", "ridge"])
@pytest.mark.parametrize("n", [30, 100])
def test_intervals_hold_what_they_promise(regressor, n):
    """On curves with a diverged one among every ten, whose errors are not normal."""
    held = []
    for seed in range(8):
        configurations, curves, finals = make_trials(n + 200, seed=seed, noise=0.02)
        finals[::10] -= 0.3 * np.random.default_rng(seed).random(len(finals[::10]))
        predictor = SequentialRegression(regressor).fit(configurations[:n], curves[:n], finals[:n])
        lower, upper = predictor.predict(configurations, seen_until(curves, 5)).interval(0.9)
        held.append(((lower <= finals) & (finals <= upper))[n:].mean())
    assert 0.85 <= np.mean(held) <= 0.95


def test_a_configuration_outside_the_range_counts_as_the_nearest_inside():
    configurations, curves, finals = make_trials(60)
    predictor = SequentialRegression("ridge").fit(configurations, curves, finals)
    edge = configurations[:1].copy()
    edge[0, 1] = configurations[:, 1].max()
    far = edge + np.array([[0.0, 1e6]])
    partial = seen_until(curves[:1], 5)
    expected = predictor.predict(edge, partial).mean
    np.testing.assert_array_equal(predictor.predict(far, partial).mean, expected)


@pytest.mark.parametrize("regressor", ["stacked", "ridge"])
def test_a_curve_that_does_not_move_is_not_expected_to(regressor):
    configurations, curves, finals = make_trials(60)
    predictor = SequentialRegression(regressor).fit(configurations, curves, finals)
    stuck = seen_until(np.full((1, T), 0.1), 5)
    assert predictor.predict(configurations[:1], stuck).mean[0] == pytest.approx(0.1)
    # Unless there is one among those that it learned from.
    curves[0, :10] = 0.1
    predictor.fit(configurations, curves, finals)
    assert predictor.predict(configurations[:1], stuck).mean[0] > 0.11


def test_unknown_regressor_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'nu_svr_rbf'.*regressor='svm'"):
        SequentialRegression("svm")


def test_a_regressor_that_was_not_published_is_refused_as_published():
    with pytest.raises(ValueError, match=r"'nu_svr_rbf'.*regressor='stacked'"):
        SequentialRegression(published=True)


@pytest.mark.parametrize("argument", [{"n_iter": 0}, {"max_curves": 4}])
def test_bad_arguments_are_refused(argument):
    [(name, value)] = argument.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        SequentialRegression(**argument)


def test_arrays_that_do_not_fit_are_refused():
    configurations, curves, finals = make_trials(10)
    predictor = SequentialRegression()
    with pytest.raises(ValueError, match="10, 10 and 9 rows"):
        predictor.fit(configurations, curves, finals[:9])
    with pytest.raises(ValueError, match="vector"):
        predictor.fit(configurations, curves, finals[:, np.newaxis])
    with pytest.raises(ValueError, match="finite"):
        predictor.fit(configurations, curves, finals * math.nan)


sizes = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60)
@given(data=st.data(), regressor=st.sampled_from(["ols", "ridge", "stacked"]))
def test_any_arrays_give_a_forecast_without_warning_or_error(data, regressor):
    n = data.draw(st.integers(0, 12))
    d = data.draw(st.integers(0, 3))
    t = data.draw(st.integers(0, 6))
    curve_values = st.one_of(st.just(math.nan), sizes)
    configurations = data.draw(hnp.arrays(float, (n, d), elements=sizes))
    curves = data.draw(hnp.arrays(float, (n, t), elements=curve_values))
    finals = data.draw(hnp.arrays(float, n, elements=sizes))
    predictor = SequentialRegression(regressor).fit(configurations, curves, finals)
    forecast = predictor.predict(configurations, curves)
    known = np.isfinite(forecast.mean)
    assert (forecast.std[known] >= 0.0).all()
    probability = forecast.probability_of_beating(0.0)
    assert ((probability[known] >= 0.0) & (probability[known] <= 1.0)).all()
    assert np.isnan(probability[~known]).all()
