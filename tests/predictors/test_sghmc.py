from __future__ import annotations

import pytest


torch = pytest.importorskip("torch")

from optuna_perfpred.predictors._sghmc import sample_sghmc  # noqa: E402


def sample(gradient, n_coordinates, *, n_chains=100, **kwargs):
    settings = {
        "n_burn_in": 1500,
        "n_samples": 30,
        "keep_every": 40,
        "learning_rate": 0.03,
        "generator": torch.Generator().manual_seed(0),
    }
    return sample_sghmc(gradient, torch.zeros(n_chains, n_coordinates), **settings | kwargs)


def test_a_normal_density_is_sampled_with_its_mean_and_variance():
    mean = torch.tensor([1.0, -2.0, 0.5])
    precision = torch.tensor([0.5, 2.0, 8.0])
    samples = sample(lambda position: (position - mean) * precision, 3, n_chains=1000).flatten(
        0, 1
    )
    errors = (samples.mean(0) - mean) * precision.sqrt()
    assert errors.abs().max() < 0.05
    assert (samples.var(0) * precision).sub(1.0).abs().max() < 0.2


def test_samples_are_independent_across_chains_and_decorrelate_along_them():
    samples = sample(lambda position: position, 1, learning_rate=0.1, keep_every=100)[..., 0]
    assert torch.corrcoef(torch.stack([samples[:-1].ravel(), samples[1:].ravel()]))[0, 1] < 0.1
    assert torch.corrcoef(samples.T).triu(1).abs().mean() < 0.2


def test_the_posterior_of_linear_regression_is_sampled_from_mini_batches():
    """The noise of the mini-batches must neither widen the posterior nor shift it."""
    generator = torch.Generator().manual_seed(0)
    n, noise = 200, 0.5
    X = torch.randn(n, 3, generator=generator)
    y = X @ torch.tensor([0.5, -1.0, 2.0]) + noise * torch.randn(n, generator=generator)
    covariance = torch.linalg.inv(X.T @ X / noise**2 + torch.eye(3))
    mean = covariance @ X.T @ y / noise**2

    def gradient(weights):
        rows = torch.randint(n, (len(weights), 20), generator=generator)
        residuals = torch.einsum("cbp,cp->cb", X[rows], weights) - y[rows]
        slope = torch.einsum("cbp,cb->cp", X[rows], residuals) * (n / 20)
        return slope / noise**2 + weights

    samples = sample(gradient, 3, learning_rate=0.02).flatten(0, 1)
    assert ((samples.mean(0) - mean) / covariance.diag().sqrt()).abs().max() < 0.1
    torch.testing.assert_close(torch.cov(samples.T), covariance, rtol=0.2, atol=1e-4)


def test_equal_seeds_give_equal_samples():
    runs = [
        sample(
            lambda position: position,
            2,
            n_burn_in=5,
            n_samples=3,
            keep_every=2,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (1, 1, 2)
    ]
    assert runs[0].shape == (3, 100, 2)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
