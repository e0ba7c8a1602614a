"""The regressions of the gain, by whichever of the two Gram matrices is smaller."""

from __future__ import annotations

import numpy as np
import pytest

from optuna_perfpred.forecasts._gain_regression import GainRegression


N_STEPS = 6


def trials(n, n_features, seed):
    rng = np.random.default_rng(seed)
    configurations = rng.normal(size=(n, n_features))
    finals = configurations[:, 0] - 0.5 * configurations[:, 1] + 0.1 * rng.normal(size=n)
    shares = 1.0 - 0.7 ** np.arange(1, N_STEPS + 1)
    return finals[:, np.newaxis] * shares + 0.01 * rng.normal(size=(n, N_STEPS)), configurations


@pytest.mark.parametrize("n", [8, 20, 60])
@pytest.mark.parametrize("n_constant", [1, 40, 300])
def test_features_that_never_vary_change_nothing(n, n_constant):
    """With many of them there are more features than trials, with few there are fewer."""
    curves, configurations = trials(n, 3, seed=n)
    constant = np.ones((n, n_constant))
    narrow = GainRegression(curves, curves[:, -1], configurations)
    wide = GainRegression(curves, curves[:, -1], np.hstack([configurations, constant]))
    np.testing.assert_allclose(wide.residuals, narrow.residuals, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(wide.std, narrow.std, rtol=1e-6)
    others, of_others = trials(5, 3, seed=1)
    np.testing.assert_allclose(
        wide.predict(others[:, :4], np.hstack([of_others, np.ones((5, n_constant))])),
        narrow.predict(others[:, :4], of_others),
        rtol=1e-6,
    )


@pytest.mark.parametrize(("n", "n_features"), [(60, 3), (12, 50)])
def test_the_residuals_are_those_of_trials_left_out(n, n_features):
    """A trial's own final value has no part in what is predicted of it."""
    curves, configurations = trials(n, n_features, seed=3)
    regression = GainRegression(curves, curves[:, -1], configurations)
    in_sample = curves[:, -1] - regression.predict(curves[:, :-1], configurations)[:, 0]
    assert np.mean(regression.residuals[0] ** 2) > np.mean(in_sample**2)
