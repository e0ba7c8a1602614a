from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from optuna.pruners._percentile import _is_first_in_interval_step
from optuna.trial import create_trial
import pytest

from optuna_perfpred.history import is_due
from optuna_perfpred.history import last_step
from optuna_perfpred.history import read_curve


def due_steps(steps, **settings):
    reports = {}
    found = []
    for step in steps:
        reports[step] = 0.0
        if is_due(reports, **settings):
            found.append(step)
    return found


@pytest.mark.parametrize("n", [201, 1_000, 60_000])
@pytest.mark.parametrize("first", [0, 1_700_000_000])
def test_a_long_curve_is_read_evenly_with_its_ends_and_extremes(n, first):
    values = np.sin(np.arange(n) / 37.0)
    values[n // 3], values[n // 5] = 5.0, np.nan
    reports = dict(zip(range(first, first + n), values.tolist(), strict=True))
    steps, read = read_curve(create_trial(value=0.0, intermediate_values=reports))
    assert 100 <= len(steps) <= 205
    assert (steps[0], steps[-1]) == (first, first + n - 1)
    assert np.diff(steps).max() <= max(2, n // 100)
    assert np.nanmax(read) == 5.0
    assert np.nanmin(read) == np.nanmin(values)
    np.testing.assert_array_equal(read, [reports[step] for step in steps])


def test_a_curve_of_200_reports_is_read_whole():
    reports = {step: float(step % 7) for step in reversed(range(200))}
    steps, values = read_curve(create_trial(value=0.0, intermediate_values=reports))
    assert dict(zip(steps.tolist(), values.tolist(), strict=True)) == reports


def test_a_trial_is_judged_at_each_step_and_later_at_most_a_hundredth_of_them_later():
    found = due_steps(range(60_000))
    assert found[:200] == list(range(200))
    assert all(b - a <= max(1, b // 100) for a, b in pairwise(found))
    assert len(found) < 1_200
    # However far apart its reports are.
    assert len(due_steps(range(0, 200_000, 1_000))) == 200


@given(
    st.lists(st.integers(0, 150), min_size=1, unique=True), st.integers(0, 20), st.integers(1, 9)
)
def test_short_curves_are_judged_when_optuna_would(steps, warmup, interval):
    reports = {}
    for step in steps:
        reports[step] = 0.0
        last = max(reports)
        assert last_step(reports) == last
        assert is_due(reports, warmup, interval) == (
            last >= warmup and _is_first_in_interval_step(last, reports.keys(), warmup, interval)
        )
