"""The baselines are what their authors published."""

from __future__ import annotations

import importlib
import math
import sys

from baselines import BayesianCurveNetwork
from baselines import InContextPredictor
from baselines import LastSeenValue
from baselines import ParametricEnsemble
from baselines._curve_families import FAMILIES
import numpy as np
import pytest
from sklearn.metrics import r2_score
import torch


T = 20
needs_ifbo = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="ifbo does not support this Python version"
)


def seen_until(curves, length):
    partial = curves.copy()
    partial[..., length:] = np.nan
    return partial


def test_the_last_seen_value_errs_as_it_did_at_the_same_step():
    curves = np.array([[0.1, 0.5, 0.7], [0.2, 0.4, 0.9], [0.3, 0.3, np.nan]])
    configurations = np.empty((3, 0))
    predictor = LastSeenValue().fit(configurations, curves, np.array([0.7, 0.9, 0.6]))
    partial = np.array([[0.4, np.nan, np.nan], [0.4, 0.6, np.nan], [np.nan] * 3])
    forecast = predictor.predict(configurations, partial)
    np.testing.assert_array_equal(forecast.mean, [0.4, 0.6, np.nan])
    errors = np.array([[0.6, 0.7, 0.3], [0.2, 0.5, 0.3]])
    np.testing.assert_allclose(forecast.std[:2], np.sqrt(np.mean(errors**2, axis=1)))


# LC-Net.


def families(configurations):
    """The three basis functions; the configuration sets their parameters."""
    t = np.arange(1, T + 1) / T
    b = (0.2 + 0.8 * configurations[:, 1])[:, np.newaxis]
    c = (0.1 + 0.6 * configurations[:, 2])[:, np.newaxis]
    vapour_pressure = np.exp(-0.2 - 0.1 * b / t) - np.exp(-0.2 - 0.1 * b)
    logarithm = 0.4 * b * np.log(t)
    hill_3 = b * (1.0 / (c / t + 1.0) - 1.0 / (c + 1.0))
    return np.stack([vapour_pressure, logarithm, hill_3], axis=-1)


def make_lc_net_trials(n, seed=0):
    """Curves that mix the families as the configuration says, with noise."""
    rng = np.random.default_rng(seed)
    configurations = rng.uniform(size=(n, 3))
    ends = 0.4 + 0.4 * configurations[:, 0] - 0.2 * (configurations[:, 1] - 0.5) ** 2
    shares = np.exp(2.0 * configurations)
    shares /= shares.sum(axis=1, keepdims=True)
    rises = np.einsum("ntf,nf->nt", families(configurations), shares)
    curves = ends[:, np.newaxis] + rises + 0.02 * rng.normal(size=(n, T))
    return configurations, curves, curves[:, -1].copy()


def test_lc_net_beats_the_last_seen_value_and_its_intervals_hold():
    predictor = BayesianCurveNetwork(
        condition_on_partial=False, n_burn_in=2500, n_samples=40, keep_every=20
    ).fit(*make_lc_net_trials(100))
    configurations, curves, finals = make_lc_net_trials(1000, seed=1)
    forecast = predictor.predict(configurations, seen_until(curves, 5))
    low, high = forecast.interval(0.9)
    assert 0.85 <= np.mean((low <= finals) & (finals <= high)) <= 0.95
    assert r2_score(finals, forecast.mean) > 0.9 > r2_score(finals, curves[:, 4])


def test_what_was_observed_of_a_curve_moves_the_forecast_of_lc_net():
    asked, partial, means = np.full((1, 3), 0.5), np.full((1, T), np.nan), []
    for level in (0.2, 1.2):
        partial[0, 5:15] = level
        predictor = BayesianCurveNetwork(
            n_burn_in=300, n_samples=20, keep_every=10, learning_rate=1e-2
        )
        means.append(predictor.fit(*make_lc_net_trials(30)).predict(asked, partial).mean[0])
    assert means[1] - means[0] > 0.1


def test_sghmc_samples_a_normal_density_with_its_mean_and_variance():
    from baselines._sghmc import sample_sghmc

    mean = torch.tensor([1.0, -2.0, 0.5])
    precision = torch.tensor([0.5, 2.0, 8.0])
    samples = sample_sghmc(
        lambda position: (position - mean) * precision,
        torch.zeros(1000, 3),
        n_burn_in=1500,
        n_samples=30,
        keep_every=40,
        learning_rate=0.03,
        generator=torch.Generator().manual_seed(0),
    ).flatten(0, 1)
    errors = (samples.mean(0) - mean) * precision.sqrt()
    assert errors.abs().max() < 0.05
    assert (samples.var(0) * precision).sub(1.0).abs().max() < 0.2


# LCE.

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


def lce_forecast(*rows):
    curves = np.stack(list(CURVES.values()))
    predictor = ParametricEnsemble(n_steps=120, n_burn_in=60)
    predictor.fit(np.empty((len(curves), 0)), curves, curves[:, -1])
    return predictor.predict(np.empty((len(rows), 0)), np.array(rows))


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


def test_a_curve_of_each_family_is_recovered():
    noise = 0.005 * np.random.default_rng(0).standard_normal(T)
    forecasts = lce_forecast(*(seen_until(curve + noise, T // 2) for curve in CURVES.values()))
    ends = np.array([curve[-1] for curve in CURVES.values()])
    low, high = forecasts.interval(0.95)
    outside = (ends < low) | (ends > high)
    assert [name for name, out in zip(CURVES, outside, strict=True) if out] == []
    errors = np.abs(forecasts.mean - ends)
    assert np.median(errors) < 0.025
    # The double logarithm goes on rising.
    assert errors.max() < 0.06
    assert (high - low).max() < 0.3


def test_lce_needs_three_values():
    forecasts = lce_forecast(seen_until(CURVES["pow3"], 2), seen_until(CURVES["pow3"], 3))
    assert np.isnan(forecasts.mean).tolist() == [True, False]


# FT-PFN and LC-PFN, small and untrained: they depend on everything that they are given.


def make_ft_pfn(n_bars=50, emsize=16):
    """FT-PFN, but small and untrained: it depends on everything that it is given."""
    from ifbo.bar_distribution import BarDistribution
    from ifbo.encoders import get_normalized_uniform_encoder
    from ifbo.encoders import Linear
    from ifbo.positional_encodings import NoPositionalEncoding
    from ifbo.priors.ftpfn_prior import get_encoder
    from ifbo.transformer import TransformerModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TransformerModel(
            encoder=get_encoder()(12, emsize),
            ninp=emsize,
            nhead=2,
            nhid=2 * emsize,
            nlayers=2,
            y_encoder=get_normalized_uniform_encoder(Linear)(1, emsize),
            pos_encoder=NoPositionalEncoding(emsize),
            decoder_dict={"standard": (None, n_bars)},
        )
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    network.criterion = BarDistribution(torch.linspace(0.0, 1.0, n_bars + 1))
    return network


@needs_ifbo
def test_a_forecast_of_ft_pfn_is_that_of_its_package(tmp_path):
    ifbo = importlib.import_module("ifbo")
    (tmp_path / ".model").mkdir()
    weights = tmp_path / ".model" / ifbo.download.WEIGHTS_FINAL_NAME("0.0.1")
    torch.save(make_ft_pfn(), weights)
    configurations = np.array([[0.0, 0.5], [1.0, 0.0], [0.25, 1.0]])
    curves = np.array([[0.0, 0.3, 0.5, 0.6], [0.2, 0.7, 0.9, 1.0], [0.1, 0.2, np.nan, 0.25]])
    finals = np.array([0.6, 1.0, 0.25])
    predictor = InContextPredictor(weights=weights).fit(configurations, curves, finals)
    asked = np.array([[0.5, 0.75]]), np.array([[0.1, 0.35, np.nan, np.nan]])
    forecast = predictor.predict(*asked)

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


def make_lc_pfn(*, published_loop, n_bars=50, emsize=16):
    """LC-PFN, but small and untrained, with PyTorch's loop over its layers or lcpfn's own."""
    from lcpfn.bar_distribution import BarDistribution
    from lcpfn.encoders import get_normalized_uniform_encoder
    from lcpfn.encoders import Linear
    from lcpfn.encoders import Normalize
    import lcpfn.layer
    from lcpfn.positional_encodings import NoPositionalEncoding
    from lcpfn.transformer import TransformerModel

    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        # Making layers, unlike reading them, needs names that it expects of PyTorch's `import *`.
        for name in ["Dropout", "LayerNorm", "Linear", "MultiheadAttention"]:
            patch.setattr(lcpfn.layer, name, getattr(torch.nn, name), raising=False)
        torch.manual_seed(0)
        network = TransformerModel(
            torch.nn.Sequential(
                Normalize(0.0, 101.0), Normalize(0.5, math.sqrt(1 / 12)), Linear(1, emsize)
            ),
            n_out=n_bars,
            ninp=emsize,
            nhead=2,
            nhid=2 * emsize,
            nlayers=2,
            dropout=0.2,
            y_encoder=get_normalized_uniform_encoder(Linear)(1, emsize),
            pos_encoder=NoPositionalEncoding(emsize),
            all_layers_same_init=published_loop,
        )
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    network.criterion = BarDistribution(torch.linspace(0.0, 1.0, n_bars + 1))
    return network


def test_a_forecast_of_lc_pfn_is_that_of_its_package(tmp_path):
    lcpfn = pytest.importorskip(
        "lcpfn",
        reason="lcpfn pins an old PyTorch: pip install --no-deps --ignore-requires-python lcpfn",
    )
    weights = tmp_path / "tiny.pt"
    torch.save(make_lc_pfn(published_loop=True), weights)
    model = lcpfn.LCPFN.__new__(lcpfn.LCPFN)
    torch.nn.Module.__init__(model)
    model.model = make_lc_pfn(published_loop=False).eval()
    model.model.load_state_dict(torch.load(weights, weights_only=False).state_dict())
    curves = np.array([[0.0, 0.4, 0.5, 0.6], [0.3, 0.7, 0.9, 1.0]])
    predictor = InContextPredictor("lc-pfn", weights=weights)
    predictor.fit(np.empty((2, 0)), curves, curves[:, -1])
    forecast = predictor.predict(np.empty((1, 0)), np.array([[0.2, 0.5, np.nan, np.nan]]))
    observed = {
        "x_train": torch.tensor([[1.0], [2.0]]),
        "y_train": torch.tensor([[0.2], [0.5]]) / 1.1,
        "x_test": torch.tensor([[4.0]]),
    }
    expected = model.predict_mean(**observed).item()
    assert forecast.mean[0] == pytest.approx(1.1 * expected, abs=1e-5)
    variance = model.model.criterion.variance(model(**observed)).item()
    assert forecast.std[0] == pytest.approx(1.1 * math.sqrt(variance), abs=1e-5)


@needs_ifbo
def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"state": "dict"}, path)
    with pytest.raises(ValueError, match=r"other\.pt does not hold a network of FT-PFN"):
        InContextPredictor(weights=path)
