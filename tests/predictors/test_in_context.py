from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import math
import pickle
import random
import warnings

import numpy as np
import optuna
import pytest
from sklearn.base import clone

from optuna_perfpred import InContextPredictor
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.predictors import _pretrained


torch = pytest.importorskip("torch")
ifbo = pytest.importorskip("ifbo", reason="ifbo does not support this Python version")

T = 8
FILE_NAME = ifbo.download.WEIGHTS_FINAL_NAME("0.0.1")


def make_trials(n=30, d=2, seed=0):
    rng = np.random.default_rng(seed)
    configurations = rng.uniform(size=(n, d))
    ends = 0.4 + 0.5 * configurations[:, :1].sum(axis=1)
    rates = rng.uniform(0.5, 0.9, size=(n, 1))
    curves = ends[:, np.newaxis] * (1.0 - rates ** np.arange(1, T + 1))
    return configurations, curves, curves[:, -1].copy()


def seen_until(curves, length):
    partial = curves.copy()
    partial[:, length:] = np.nan
    return partial


def assert_same(forecast, expected):
    np.testing.assert_array_equal(forecast.mean, expected.mean)
    np.testing.assert_array_equal(forecast.std, expected.std)


@pytest.fixture
def weights(ft_pfn_weights):
    return ft_pfn_weights


@pytest.fixture
def prompts(weights):
    """What the network is given: the observations and the query, and the observed values."""
    given = []
    network = _pretrained.load_network("ft-pfn", weights)
    hook = network.register_forward_pre_hook(
        lambda _, args: given.append((args[0][0].squeeze(1).numpy(), args[0][1].numpy()))
    )
    yield given
    hook.remove()


def test_a_forecast_is_that_of_ifbo_for_the_same_observations(weights, tmp_path):
    configurations = np.array([[0.0, 0.5], [1.0, 0.0], [0.25, 1.0]])
    curves = np.array([[0.0, 0.3, 0.5, 0.6], [0.2, 0.7, 0.9, 1.0], [0.1, 0.2, np.nan, 0.25]])
    finals = np.array([0.6, 1.0, 0.25])
    predictor = InContextPredictor(weights=weights).fit(configurations, curves, finals)
    asked = np.array([[0.5, 0.75]]), np.array([[0.1, 0.35, np.nan, np.nan]])
    forecast = predictor.predict(*asked)

    (tmp_path / ".model").mkdir()
    (tmp_path / ".model" / FILE_NAME).write_bytes(weights.read_bytes())
    (tmp_path / ".model" / ifbo.download.FILENAME("0.0.1")).touch()
    steps = torch.tensor([0.25, 0.5, 0.75, 1.0])

    def curve(configuration, values):
        known = ~np.isnan(values)
        y = torch.tensor(values[known] / 1.1, dtype=torch.float32)
        parameters = torch.tensor(configuration, dtype=torch.float32)
        return ifbo.Curve(hyperparameters=parameters, t=steps[known], y=y)

    context = [curve(*row) for row in zip(configurations, curves, strict=True)]
    context.append(curve(asked[0][0], asked[1][0]))
    query = ifbo.Curve(hyperparameters=context[-1].hyperparameters, t=torch.tensor([1.0]))
    (expected,) = ifbo.FTPFN(target_path=tmp_path).predict(context, [query])
    mean = expected.criterion.mean(expected.logits).item()
    std = expected.criterion.variance(expected.logits).sqrt().item()
    assert forecast.mean[0] == pytest.approx(1.1 * mean, abs=1e-5)
    assert forecast.std[0] == pytest.approx(1.1 * std, abs=1e-5)
    assert math.isinf(forecast.df)


def test_forecasts_follow_the_unit_of_the_values(weights):
    configurations, curves, finals = make_trials(6)
    asked = seen_until(curves, 3)
    accuracy = InContextPredictor(weights=weights).fit(configurations, curves, finals)
    loss = InContextPredictor(weights=weights)
    loss.fit(configurations, 500.0 * (curves - 1.0), 500.0 * (finals - 1.0))
    expected = accuracy.predict(configurations, asked)
    forecast = loss.predict(configurations, 500.0 * (asked - 1.0))
    np.testing.assert_allclose(forecast.mean, 500.0 * (expected.mean - 1.0), rtol=1e-4)
    np.testing.assert_allclose(forecast.std, 500.0 * expected.std, rtol=1e-4)


def test_the_final_value_stands_at_the_end_of_a_training_curve(weights, prompts):
    configurations, curves, finals = make_trials(5)
    curves[2, 5:] = np.nan
    predictor = InContextPredictor(weights=weights).fit(configurations, curves, finals - 0.1)
    predictor.predict(configurations[:1], seen_until(curves[:1], 2))
    (x, y) = prompts[-1]
    at_end = np.flatnonzero(x[:-1, 1] == 1.0)
    np.testing.assert_array_equal(x[at_end, 0], [1, 2, 3, 4, 5])
    low = min(np.nanmin(curves), finals.min() - 0.1)
    width = 1.1 * (np.nanmax(curves) - low)
    np.testing.assert_allclose(y[at_end, 0], (finals - 0.1 - low) / width, atol=1e-6)


@pytest.mark.parametrize(
    ("n", "d", "max_context"), [(300, 2, 1000), (30, 2, 20), (2000, 25, 1000), (3, 0, 100)]
)
def test_the_network_is_given_no_more_than_it_knows(n, d, max_context, weights, prompts):
    configurations, curves, finals = make_trials(n, d)
    predictor = InContextPredictor(weights=weights, max_context=max_context)
    predictor.fit(configurations, curves, finals)
    forecast = predictor.predict(configurations[:2] + 5.0, seen_until(curves[:2] - 9.0, 5))
    assert np.isfinite(forecast.mean + forecast.std).all()
    for x, y in prompts:
        assert len(y) == len(x) - 1 <= max_context
        assert len(np.unique(x[:, 0])) == x[-1, 0] <= 1000
        assert 3 <= x.shape[1] <= 12
        assert x[:, 1:].min() >= 0.0
        assert x[:, 1:].max() <= 1.0
        assert 0.0 <= y.min() <= y.max() <= 1.0
        # The trial's own observations, its last one among them.
        assert 5 / T in x[:-1][x[:-1, 0] == x[-1, 0], 1]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_of_many_parameters_those_related_to_the_final_value_are_kept(sign, weights, prompts):
    configurations, curves, finals = make_trials(40, 1)
    noise = np.random.default_rng(1).uniform(size=(40, 30))
    predictor = InContextPredictor(weights=weights)
    predictor.fit(np.hstack([noise, sign * configurations]), curves, finals)
    asked = np.array([*np.full(30, 0.5), configurations.max()])
    predictor.predict(asked[np.newaxis], seen_until(curves[:1], 2))
    assert prompts[-1][0].shape[1] == 12
    assert prompts[-1][0][-1, -1] == pytest.approx(1.0)


def test_more_curves_than_the_context_holds_are_drawn_by_the_seed(weights):
    configurations, curves, finals = make_trials(60)
    asked = configurations[:4], seen_until(curves[:4], 4)
    forecasts = [
        InContextPredictor(weights=weights, max_context=40, seed=seed)
        .fit(configurations, curves, finals)
        .predict(*asked)
        for seed in [3, 3, 4]
    ]
    assert_same(forecasts[0], forecasts[1])
    assert not np.array_equal(forecasts[0].mean, forecasts[2].mean)


def test_a_forecast_depends_on_its_own_row_only(weights):
    configurations, curves, finals = make_trials()
    asked = seen_until(curves, 4)
    asked[1] = np.nan
    asked[2, 1] = np.nan
    predictor = InContextPredictor(weights=weights).fit(configurations, curves, finals)
    forecast = predictor.predict(configurations, asked)
    alone = predictor.predict(configurations[2:3], asked[2:3])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(forecast.mean)), [1])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(forecast.std)), [1])
    assert forecast.mean[2] == alone.mean[0]
    assert predictor.predict(configurations[:0], asked[:0]).mean.shape == (0,)


def test_one_diverged_run_does_not_blur_the_others(weights):
    configurations, curves, finals = make_trials()
    curves[0, 3:] = finals[0] = -1e100
    predictor = InContextPredictor(weights=weights).fit(configurations, curves, finals)
    forecast = predictor.predict(configurations, seen_until(curves, 5))
    assert (forecast.std[1:] < 3.0).all()
    assert np.isfinite(forecast.mean).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_training_curves_are_enough_if_their_values_differ(n, weights):
    configurations, curves, finals = make_trials()
    predictor = InContextPredictor(weights=weights)
    predictor.fit(configurations[:n], curves[:n], finals[:n])
    forecast = predictor.predict(configurations[5:7], seen_until(curves[5:7], 1))
    assert np.isfinite(forecast.mean).all() == (n > 0)


@pytest.mark.parametrize("curve", [np.full(T, 0.5), np.full(T, np.nan), np.empty(0)])
def test_nothing_is_told_of_values_without_a_range(curve, weights):
    curves = np.tile(curve, (4, 1))
    predictor = InContextPredictor(weights=weights)
    predictor.fit(np.zeros((4, 1)), curves, np.full(4, 0.5))
    assert np.isnan(predictor.predict(np.zeros((4, 1)), curves).mean).all()


def test_global_random_states_are_left_alone(weights, nothing_loaded):
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    configurations, curves, finals = make_trials(60)
    predictor = InContextPredictor(weights=weights, max_context=40)
    predictor.fit(configurations, curves, finals).predict(configurations, seen_until(curves, 2))
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_threads_get_the_forecasts_of_one(weights):
    configurations, curves, finals = make_trials()
    predictor = InContextPredictor(weights=weights).fit(configurations, curves, finals)
    asked = [(configurations[:4], seen_until(curves[:4], length)) for length in [1, 3, 5, 7] * 2]
    with ThreadPoolExecutor(4) as pool:
        forecasts = list(pool.map(lambda arrays: predictor.predict(*arrays), asked))
    for arrays, forecast in zip(asked, forecasts, strict=True):
        assert_same(forecast, predictor.predict(*arrays))


def test_copies_share_the_network(weights, nothing_loaded, tmp_path, monkeypatch):
    configurations, curves, finals = make_trials(6)
    asked = configurations, seen_until(curves, 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.pt").write_bytes(weights.read_bytes())
    predictor = InContextPredictor(weights="my.pt").fit(configurations, curves, finals)
    expected = predictor.predict(*asked)
    # An objective may work elsewhere, and tidy up.
    (tmp_path / "my.pt").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickled = pickle.dumps(predictor)
    assert len(pickled) < len(weights.read_bytes()) / 2
    assert_same(pickle.loads(pickled).predict(*asked), expected)
    unfitted = clone(predictor)
    assert unfitted.get_params() == predictor.get_params()
    assert_same(unfitted.fit(configurations, curves, finals).predict(*asked), expected)


def optimize(study, n_trials):
    def objective(trial):
        end = trial.suggest_float("end", 0.0, 1.0)
        for step in range(T):
            trial.report(end * (1.0 - 0.6 ** (step + 1)), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return end * (1.0 - 0.6**T)

    study.optimize(objective, n_trials=n_trials)


def make_study(predictor):
    pruner = PerformancePredictionPruner(
        predictor, n_startup_trials=5, n_warmup_steps=2, confidence=0.05, audit_rate=0.0, seed=0
    )
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(direction="maximize", pruner=pruner, sampler=sampler)


def test_a_study_is_pruned_by_it(weights):
    study = make_study(InContextPredictor(weights=weights))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimize(study, 10)
    pruned = study.get_trials(states=[optuna.trial.TrialState.PRUNED])
    assert pruned
    assert all(0.0 < t.user_attrs["perfpred:predicted_value"] < 1.1 for t in pruned)


def test_a_worker_without_weights_says_so_and_goes_on(weights, nothing_loaded, tmp_path):
    path = tmp_path / "gone.pt"
    path.write_bytes(weights.read_bytes())
    sent = pickle.dumps(InContextPredictor(weights=path))
    path.unlink()
    _pretrained._networks.clear()
    study = make_study(pickle.loads(sent))
    with pytest.warns(UserWarning, match=r"weights of FT-PFN were not found: .*gone\.pt") as told:
        optimize(study, 7)
    assert len(told) == 1  # Not one for each step.
    assert all(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials)


@pytest.mark.parametrize("arguments", [{"model": "gpt"}, {"max_context": 19}])
def test_bad_arguments_are_refused(arguments, weights):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        InContextPredictor(**{"weights": weights} | arguments)
