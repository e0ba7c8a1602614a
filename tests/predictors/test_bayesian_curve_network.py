from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import math
import pickle
import sys

import numpy as np
import optuna
import pytest
from sklearn.base import clone
from sklearn.metrics import r2_score

from optuna_perfpred import BayesianCurveNetwork
from optuna_perfpred import LastSeenValue
from optuna_perfpred import PerformancePredictionPruner


torch = pytest.importorskip("torch")

T = 20
NOISE = 0.02
# Shorter than the defaults, but long enough for the chains to arrive nearby.
SHORT = {"n_burn_in": 500, "n_samples": 20, "keep_every": 10, "learning_rate": 1e-2}
# For what does not depend on the chains having arrived.
TINY = {"n_burn_in": 20, "n_samples": 6, "keep_every": 2, "n_chains": 2}


def families(configurations):
    """The three basis functions; the configuration sets their parameters."""
    t = np.arange(1, T + 1) / T
    b = (0.2 + 0.8 * configurations[:, 1])[:, np.newaxis]
    c = (0.1 + 0.6 * configurations[:, 2])[:, np.newaxis]
    vapour_pressure = np.exp(-0.2 - 0.1 * b / t) - np.exp(-0.2 - 0.1 * b)
    logarithm = 0.4 * b * np.log(t)
    hill_3 = b * (1.0 / (c / t + 1.0) - 1.0 / (c + 1.0))
    return np.stack([vapour_pressure, logarithm, hill_3], axis=-1)


def make_trials(n, seed=0, family=None):
    """Curves of one family, or mixed as the configuration says, with noise."""
    rng = np.random.default_rng(seed)
    configurations = rng.uniform(size=(n, 3))
    ends = 0.4 + 0.4 * configurations[:, 0] - 0.2 * (configurations[:, 1] - 0.5) ** 2
    if family is None:
        shares = np.exp(2.0 * configurations)
        shares /= shares.sum(axis=1, keepdims=True)
    else:
        shares = np.tile(np.eye(3)[family], (n, 1))
    rises = np.einsum("ntf,nf->nt", families(configurations), shares)
    curves = ends[:, np.newaxis] + rises + NOISE * rng.normal(size=(n, T))
    return configurations, curves, curves[:, -1].copy()


def seen_until(curves, length):
    partial = curves.copy()
    partial[:, length:] = np.nan
    return partial


def is_finite(forecast):
    return bool((np.isfinite(forecast.mean) & (forecast.std > 0.0)).all())


def assert_same(forecast, expected):
    np.testing.assert_array_equal(forecast.mean, expected.mean)
    np.testing.assert_array_equal(forecast.std, expected.std)


@pytest.fixture(scope="module")
def reused():
    """Reuses one posterior of 100 curves."""
    predictor = BayesianCurveNetwork(
        condition_on_partial=False, n_burn_in=2500, n_samples=40, keep_every=20
    )
    return predictor.fit(*make_trials(100))


def test_intervals_of_held_out_curves_contain_what_they_promise(reused):
    configurations, curves, finals = make_trials(1000, seed=1)
    low, high = reused.predict(configurations, seen_until(curves, 5)).interval(0.9)
    assert 0.85 <= np.mean((low <= finals) & (finals <= high)) <= 0.95


def test_the_last_seen_value_is_beaten(reused):
    configurations, curves, finals = make_trials(200, seed=2)
    partial = seen_until(curves, 5)
    forecast = reused.predict(configurations, partial)
    baseline = LastSeenValue().fit(*make_trials(100)).predict(configurations, partial)
    assert r2_score(finals, forecast.mean) > 0.9 > r2_score(finals, baseline.mean)


@pytest.mark.parametrize("family", [0, 1, 2])
def test_curves_of_each_family_are_recovered_from_their_configuration(family):
    predictor = BayesianCurveNetwork(condition_on_partial=False, **SHORT)
    predictor.fit(*make_trials(60, family=family))
    configurations, curves, finals = make_trials(40, seed=1, family=family)
    forecast = predictor.predict(configurations, seen_until(curves, 3))
    low, high = forecast.interval(0.99)
    assert np.mean((low <= finals) & (finals <= high)) >= 0.95
    assert np.abs(forecast.mean - finals).mean() < 0.06


def test_what_was_observed_of_a_curve_moves_its_forecast():
    """A configuration like others', but a curve far above or below theirs."""
    configurations, curves, finals = make_trials(30, family=1)
    asked = np.full((1, 3), 0.5)
    asked[0, 0] = 1.5
    partial = np.full((1, T), np.nan)
    means = []
    for level in (0.2, 1.2):
        partial[0, 5:15] = level
        predictor = BayesianCurveNetwork(**SHORT)
        means.append(predictor.fit(configurations, curves, finals).predict(asked, partial).mean[0])
    assert means[1] - means[0] > 0.2


def test_without_conditioning_only_the_configuration_counts(reused):
    configurations, curves, _ = make_trials(3, seed=3)
    forecast = reused.predict(configurations, seen_until(curves, 5))
    assert_same(reused.predict(configurations, seen_until(curves + 0.3, 9)), forecast)
    assert len(np.unique(forecast.mean)) == 3


def test_rows_without_observations_are_forecast_from_their_configuration():
    trials = make_trials(10)
    unseen = np.full((10, T), np.nan)
    forecasts = [
        BayesianCurveNetwork(condition_on_partial=condition, **TINY)
        .fit(*trials)
        .predict(trials[0], unseen)
        for condition in (True, False)
    ]
    assert is_finite(forecasts[0])
    assert_same(forecasts[0], forecasts[1])


@pytest.mark.parametrize("n_samples", [1, 5])
@pytest.mark.parametrize("n_chains", [1, 3])
def test_forecasts_have_one_row_a_trial(n_samples, n_chains):
    configurations, curves, finals = make_trials(8)
    settings = {**TINY, "n_samples": n_samples, "n_chains": n_chains}
    predictor = BayesianCurveNetwork(**settings).fit(configurations, curves, finals)
    for m in (0, 1, 5):
        forecast = predictor.predict(configurations[:m], seen_until(curves[:m], 4))
        assert forecast.mean.shape == forecast.std.shape == (m,)
        assert is_finite(forecast)


def one_curve(configurations, curves, finals):
    return configurations[:1], curves[:1], finals[:1]


def no_features(configurations, curves, finals):
    return configurations[:, :0], curves, finals


def equal_features(configurations, curves, finals):
    return np.ones_like(configurations), curves, finals


def constant_curves(configurations, curves, finals):
    return configurations, np.full_like(curves, -3.0), np.full_like(finals, -3.0)


def zeros(configurations, curves, finals):
    return configurations, 0.0 * curves, 0.0 * finals


def gaps(configurations, curves, finals):
    curves = curves.copy()
    curves[::2, 1:-1:3] = np.nan
    curves[1] = np.nan
    curves[2, 6:] = np.nan
    return configurations, curves, finals


def huge_losses(configurations, curves, finals):
    curves, finals = -100.0 * curves, -100.0 * finals
    curves[0, 3:] = -1e30
    finals[0] = -1e30
    curves[1, 2] = -math.inf
    return configurations, curves, finals


def one_step(configurations, curves, finals):
    return configurations, curves[:, -1:], finals


def no_step(configurations, curves, finals):
    return configurations, curves[:, :0], finals


@pytest.mark.parametrize(
    "change",
    [
        one_curve,
        no_features,
        equal_features,
        constant_curves,
        zeros,
        gaps,
        huge_losses,
        one_step,
        no_step,
    ],
)
@pytest.mark.parametrize("condition", [True, False])
def test_odd_curves_are_forecast(condition, change):
    configurations, curves, finals = change(*make_trials(12))
    predictor = BayesianCurveNetwork(condition_on_partial=condition, **TINY)
    predictor.fit(configurations, curves, finals)
    forecast = predictor.predict(configurations, seen_until(curves, 5))
    assert is_finite(forecast)
    middle = np.median(finals)
    assert np.abs(forecast.mean - middle).max() < 4.0 * max(abs(middle), 1.0)


def test_one_diverged_curve_hardly_changes_the_forecasts_of_others():
    configurations, curves, finals = huge_losses(*make_trials(60))
    predictor = BayesianCurveNetwork(condition_on_partial=False, **SHORT)
    predictor.fit(configurations, curves, finals)
    asked, others, expected = make_trials(50, seed=1)
    forecast = predictor.predict(asked, seen_until(others, 5))
    assert np.abs(forecast.mean + 100.0 * expected).mean() < 8.0


def test_no_training_curves_give_no_forecast():
    configurations, curves, finals = make_trials(4)
    predictor = BayesianCurveNetwork(**TINY).fit(configurations[:0], curves[:0], finals[:0])
    forecast = predictor.predict(configurations, curves)
    assert np.isnan(forecast.mean).all()
    assert np.isnan(forecast.std).all()


@pytest.mark.parametrize("condition", [True, False])
def test_equal_seeds_give_equal_forecasts_and_global_states_stay(condition):
    configurations, curves, finals = make_trials(12)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    forecasts = [
        BayesianCurveNetwork(condition_on_partial=condition, seed=seed, **TINY)
        .fit(configurations, curves, finals)
        .predict(configurations, seen_until(curves, 5))
        for seed in (3, 3, 4)
    ]
    assert_same(forecasts[0], forecasts[1])
    assert (forecasts[0].mean != forecasts[2].mean).all()
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_modes_do_not_matter(mode):
    configurations, curves, finals = make_trials(12)
    predictor = BayesianCurveNetwork(**TINY).fit(configurations, curves, finals)
    partial = seen_until(curves, 5)
    expected = predictor.predict(configurations, partial)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mode():
            assert_same(predictor.predict(configurations, partial), expected)
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize("condition", [True, False])
def test_threads_get_the_forecasts_of_one_thread(condition):
    configurations, curves, finals = make_trials(12)
    predictor = BayesianCurveNetwork(condition_on_partial=condition, **TINY)
    expected = clone(predictor).fit(configurations, curves, finals)
    predictor.fit(configurations, curves, finals)
    partials = [seen_until(curves, length) for length in range(1, 7)]
    with ThreadPoolExecutor(6) as pool:
        forecasts = list(pool.map(lambda p: predictor.predict(configurations, p), partials))
    for partial, forecast in zip(partials, forecasts, strict=True):
        assert_same(forecast, expected.predict(configurations, partial))


@pytest.mark.parametrize("condition", [True, False])
def test_a_fitted_predictor_is_pickled(condition):
    configurations, curves, finals = make_trials(12)
    predictor = BayesianCurveNetwork(condition_on_partial=condition, **TINY)
    partial = seen_until(curves, 5)
    expected = predictor.fit(configurations, curves, finals).predict(configurations, partial)
    restored = pickle.loads(pickle.dumps(predictor))
    assert_same(restored.predict(configurations, partial), expected)
    unfitted = pickle.loads(pickle.dumps(clone(predictor)))
    assert unfitted.get_params() == predictor.get_params()


def test_a_study_is_pruned_by_it():
    pruner = PerformancePredictionPruner(
        BayesianCurveNetwork(**SHORT | {"n_burn_in": 150}),
        n_startup_trials=12,
        n_warmup_steps=4,
    )
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=sampler)

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        for step in range(8):
            trial.report(x * (1.0 - 0.6**step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study.optimize(objective, n_trials=12)
    for x in (0.05, 0.1, 0.95):
        study.enqueue_trial({"x": x})
    study.optimize(objective, n_trials=3)
    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert {trial.params["x"] for trial in pruned} == {0.05, 0.1}
    for trial in pruned:
        assert trial.user_attrs["perfpred:predicted_value"] < 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_burn_in", -1),
        ("n_samples", 0),
        ("keep_every", 0),
        ("n_chains", 1.5),
        ("batch_size", 0),
        ("seed", -1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
    ],
)
def test_bad_arguments_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*{value}"):
        BayesianCurveNetwork(**{name: value})


def test_arrays_that_do_not_fit_are_refused():
    configurations, curves, finals = make_trials(10)
    with pytest.raises(ValueError, match="10, 10 and 9 rows"):
        BayesianCurveNetwork().fit(configurations, curves, finals[:9])


def test_without_pytorch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'pip install "optuna_perfpred\[bnn\]"'):
        BayesianCurveNetwork()
