from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from optuna_perfpred.predictors import Forecast


def forecast_of(mean, std, df=math.inf):
    return Forecast(np.array([mean], dtype=float), np.array([std], dtype=float), df)


@given(st.floats(-10, 10), st.floats(1e-3, 10), st.floats(1, 100), st.floats(-10, 10))
def test_probability_is_that_of_students_t(mean, std, df, value):
    [probability] = forecast_of(mean, std, df).probability_of_beating(value)
    assert probability == pytest.approx(stats.t.sf(value, df, mean, std), abs=1e-12)


def test_infinite_degrees_of_freedom_are_normal():
    [probability] = forecast_of(1.0, 2.0).probability_of_beating(2.0)
    assert probability == pytest.approx(stats.norm.sf(0.5))


@pytest.mark.parametrize(("mean", "expected"), [(0.9, 0.0), (1.0, 0.5), (1.1, 1.0)])
def test_a_certain_forecast(mean, expected):
    assert forecast_of(mean, 0.0).probability_of_beating(1.0).tolist() == [expected]


def test_no_forecast_no_probability():
    assert np.isnan(forecast_of(math.nan, math.nan).probability_of_beating(1.0)).all()


@given(st.floats(0.01, 0.99), st.sampled_from([2.0, 20.0, math.inf]))
def test_interval_holds_its_probability(confidence, df):
    forecast = forecast_of(1.0, 0.5, df)
    [low], [high] = forecast.interval(confidence)
    inside = forecast.probability_of_beating(low) - forecast.probability_of_beating(high)
    assert inside == pytest.approx(confidence, abs=1e-6)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_interval_refuses_what_is_no_probability(confidence):
    with pytest.raises(ValueError, match=f"confidence={confidence}"):
        forecast_of(0.0, 1.0).interval(confidence)
